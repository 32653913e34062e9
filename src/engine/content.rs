//! What the bytes of an upload are: first bytes held against what is declared, names held against a rule, and the end of an
//! upload that must not be there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tracing::{info, warn};

use super::Inner;
use super::table::Entry;
use crate::blob::Blob;
use crate::error::Reject;
use crate::security::names::NamePolicy;
use crate::security::scan::ScanOptions;
use crate::security::sniff::{Declared, HEAD, Mismatch, Sniff};
use crate::state::Mark;
use crate::upload::{Failure, Kind, Status};

/// What is wanted of uploads' content. Nothing, by default.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// First bytes are looked at.
    pub sniff: Option<Arc<Sniff>>,
    /// What becomes of names of files that could deceive.
    pub names: NamePolicy,
    /// Complete uploads are looked through for malware.
    pub scan: Option<ScanOptions>,
    /// How long malware that was set aside is kept; `None`: until the operator removes it.
    pub quarantine_for: Option<Duration>,
}

/// The first bytes of a file that comes in.
pub(super) struct Sniffing {
    sniff: Arc<Sniff>,
    declared: Declared,
    head: Vec<u8>,
    /// So many are waited for.
    want: usize,
}

impl Sniffing {
    /// Takes bytes as they come; the verdict, once there are enough of them for it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<Result<(), Mismatch>> {
        let more = bytes.len().min(self.want - self.head.len());
        self.head.extend_from_slice(&bytes[..more]);
        if self.head.len() == self.want {
            return Some(self.sniff.judge(&self.head, &self.declared));
        }
        let foreseen = self.sniff.foresee(&self.head, &self.declared);
        foreseen.is_err().then_some(foreseen)
    }
}

impl From<Mismatch> for Reject {
    fn from(mismatch: Mismatch) -> Self {
        Self::TypeMismatch(mismatch.to_string())
    }
}

/// Of a length, as far as first bytes go.
fn head_of(length: u64) -> usize {
    usize::try_from(length).unwrap_or(HEAD).min(HEAD)
}

impl Inner {
    /// Metadata of a new upload, with the names in it as they are wanted.
    pub(super) fn named_well(&self, metadata: Option<Bytes>) -> Result<Option<Bytes>, Reject> {
        Ok(self.options.content.names.apply(metadata)?)
    }

    /// For a body that begins at `base`: what judges it, unless nobody wants that, or it is past the beginning of its file.
    /// Bytes that came before it are looked at with it. A part is judged in its final, if it comes first there.
    pub(super) async fn sniffing(
        self: &Arc<Self>,
        entry: &Entry,
        base: u64,
    ) -> Result<Option<Sniffing>, Reject> {
        let Some(sniff) = &self.options.content.sniff else {
            return Ok(None);
        };
        let whole = self.session_of(entry).await?;
        let record = entry.record();
        let begins = match &whole {
            Some((of, _)) => of.number == 1,
            None => record.kind != Kind::Partial,
        };
        let base = usize::try_from(base).unwrap_or(usize::MAX);
        let want = record.length.map_or(HEAD, head_of);
        if !begins || base >= want {
            return Ok(None);
        }
        let metadata = match &whole {
            Some((_, whole)) => whole.image().metadata.clone(),
            None => entry.image().metadata.clone(),
        };
        Ok(Some(Sniffing {
            sniff: sniff.clone(),
            declared: Declared::of(metadata.as_deref()),
            head: self.first_bytes(&entry.blob(), base).await?,
            want,
        }))
    }

    async fn first_bytes(&self, blob: &Blob, count: usize) -> Result<Vec<u8>, Reject> {
        let mut head = Vec::with_capacity(HEAD);
        if count > 0 {
            let mut pieces = self.blobs.read(blob, 0..count as u64).await?;
            while let Some(piece) = pieces.next().await {
                head.extend_from_slice(&piece?);
            }
        }
        Ok(head)
    }

    /// Judges stored bytes: those of a final's parts, and of an upload that is complete by the declaration of its length.
    pub(super) async fn judge_stored(
        &self,
        blob: &Blob,
        length: u64,
        metadata: Option<&[u8]>,
    ) -> Result<(), Reject> {
        if let Some(sniff) = &self.options.content.sniff {
            let head = self.first_bytes(blob, head_of(length)).await?;
            sniff.judge(&head, &Declared::of(metadata))?;
        }
        Ok(())
    }

    /// An upload whose bytes must not be there has failed, and they go; of a session's chunk, the whole session. For those who
    /// hold no lock of it any more.
    pub(super) async fn condemn(self: &Arc<Self>, entry: &Entry, failure: Failure) {
        let id = entry
            .chunk()
            .map_or_else(|| entry.id.clone(), |of| of.session);
        let condemned = async {
            let _guard = self.hold(&id, true).await?;
            let entry = self.usable(&id).await?;
            if entry.record().status == Status::Active {
                self.fail_and_clear(&entry, failure).await;
            }
            Ok::<_, Reject>(())
        };
        if let Err(error) = condemned.await {
            warn!(%id, %error, ?failure, "an upload that was refused is there still");
        }
    }

    /// The same, under the upload's lock.
    pub(super) async fn fail_and_clear(self: &Arc<Self>, entry: &Arc<Entry>, failure: Failure) {
        self.let_go(entry).await;
        self.fail(entry, failure, no_marks()).await;
        // Without a record that says so its bytes stay: they are all that is left of it.
        if matches!(entry.record().status, Status::Failed(_)) {
            self.clear(entry).await;
            info!(id = %entry.id, code = failure.code(), "the bytes of a refused upload are removed");
        }
    }
}

/// Nothing is left to be done of an upload that has ended.
pub(super) fn no_marks() -> Vec<(Mark, bool)> {
    [Mark::Open, Mark::Waiting, Mark::Assembling, Mark::Scanning]
        .map(|mark| (mark, false))
        .to_vec()
}
