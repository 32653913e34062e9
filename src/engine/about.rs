//! The sidecar: what of an upload must be known to make its record anew, as JSON beside the blob. Written once.

use serde::{Deserialize, Serialize};

use super::session::Facts;
use crate::blob::ChosenPath;
use crate::upload::{Kind, Millis, UploadId, UserId};

/// The sidecar's content.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) id: UploadId,
    pub(crate) kind: Kind,
    /// `None` where it was deferred at creation.
    pub(crate) length: Option<u64>,
    /// `Upload-Metadata` as received: what passed its parser is ASCII.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<String>,
    /// `Upload-Concat` as received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) concat: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<UploadId>,
    pub(crate) created: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<UserId>,
    /// What makes it a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Facts>,
    /// Of a session: its file is whole, which its length does not tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) whole: bool,
    /// Where a hook wants its finished file to lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<ChosenPath>,
}

impl About {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl About {
    /// The sidecar of a new upload.
    pub(crate) fn of(id: &UploadId, image: &super::table::Image) -> Self {
        let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            id: id.clone(),
            kind: image.record.kind,
            length: image.record.length,
            metadata: image.metadata.as_ref().map(text),
            concat: image.concat.as_ref().map(text),
            parts: image.parts.to_vec(),
            created: image.record.created,
            owner: image.record.owner.clone(),
            session: image.session.as_ref().map(|session| session.facts.clone()),
            whole: false,
            path: image.path.clone(),
        }
    }
}
