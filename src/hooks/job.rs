//! A complete upload as work for whoever comes next: what is handed on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Call, Event, Fault};
use crate::protocol::sha256::Sum;
use crate::upload::{Priority, UploadId, UserId};

/// The header and the field by which a receiver knows a job that it has already.
pub const KEY: &str = "idempotency-key";

/// What is handed on. It lies in the outbox as it goes out, but for what is worked out before it goes: its `sha256`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The upload.
    pub id: UploadId,
    /// The same however often it comes, and no other upload's, not even of one that had the same id before.
    pub key: String,
    /// Which of two goes first.
    pub priority: Priority,
    /// Where its bytes lie, if in one file.
    pub path: Option<String>,
    /// Where they lie otherwise.
    pub segments: Option<Vec<Range>>,
    /// Where it can be downloaded from, where the server knows its own address.
    pub url: Option<String>,
    /// In bytes.
    pub size: u64,
    /// Of all of them, where it was asked for.
    pub sha256: Option<Sum>,
    /// The media type that the client said.
    pub declared_type: Option<String>,
    /// The media type that the first bytes are of.
    pub detected_type: Option<String>,
    /// Who created it.
    pub owner: Option<UserId>,
    /// What the client said of it.
    pub metadata: BTreeMap<String, String>,
    /// When it was created, in UTC.
    pub created: String,
    /// When it was complete.
    pub completed: String,
}

/// Some bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Which file.
    pub path: String,
    /// The first byte.
    pub start: u64,
    /// How many.
    pub length: u64,
}

impl Job {
    /// What a receiver is told.
    #[must_use]
    pub fn call(&self) -> Call {
        Call {
            event: Event::Job,
            id: self.key.clone(),
            sequence: 0,
            upload: self.id.to_string(),
            size: self.size,
            offset: self.size,
            forward: vec![(KEY.to_owned(), self.key.clone())],
            body: self.to_json(),
        }
    }

    /// As it goes out.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Texts and numbers always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What a call hands on.
    ///
    /// # Errors
    /// If it is no job.
    pub fn of(call: &Call) -> Result<Self, Fault> {
        let job = serde_json::from_slice(&call.body);
        job.map_err(|error| Fault(format!("this is no job: {error}")))
    }
}
