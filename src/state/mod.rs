//! The port to where records lie: read, compare-and-set, scan.

pub mod memory;
pub mod sled;

#[cfg(test)]
mod contract;

use async_trait::async_trait;

use crate::upload::{Record, UploadId};

/// What is kept of an upload beside its hot record: set rarely, read rarely, of any size up to some 100 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detail {
    /// `Upload-Metadata`, byte for byte as received.
    Metadata,
    /// `Upload-Concat`, byte for byte as received.
    Concat,
    /// The ids of a final's parts.
    Parts,
    /// The segments of a blob that is not one file of its own.
    Segments,
    /// What makes a final a session.
    Session,
    /// The SHA-256 of a session's complete chunk, 32 bytes.
    Sha256,
    /// How far a session's file is hashed, and the hash's state.
    Front,
    /// Of a complete upload: what the pre-finish hook said, or that it is still to be asked.
    Finish,
    /// How far an upload is hashed, and the hash's state; of a complete one, its SHA-256.
    Digest,
    /// Where a hook wants the finished file to lie.
    Path,
}

/// A short list of uploads that have work left, found again after a crash without a look at every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mark {
    /// Bytes were written to it lately: looked at first after a crash. Or it is complete, and they are still to be synced.
    Open,
    /// A final that waits for its parts.
    Waiting,
    /// A final to be assembled.
    Assembling,
    /// A complete upload to be scanned.
    Scanning,
    /// A hook has chosen a path for it, which is its own until its files are gone.
    Path,
}

/// What a commit's answer promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Nothing: it is queued, in order with all other commits. For what the blob's length witnesses anyway.
    Queued,
    /// It survives `kill -9`.
    Flushed,
    /// It survives a power cut.
    Synced,
}

/// A change of one upload's state.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which upload.
    pub id: UploadId,
    /// What the record must be now; `None`: there must be none.
    pub expect: Option<Record>,
    /// What it becomes; `None`: it goes, and its details and marks with it.
    pub record: Option<Record>,
    /// Details to set, or (`None`) to remove.
    pub details: Vec<(Detail, Option<Vec<u8>>)>,
    /// Marks to set (`true`) or remove.
    pub marks: Vec<(Mark, bool)>,
}

impl Change {
    /// A change of the record alone.
    #[must_use]
    pub fn record(id: &UploadId, expect: Option<Record>, record: Option<Record>) -> Self {
        Self {
            id: id.clone(),
            expect,
            record,
            details: Vec::new(),
            marks: Vec::new(),
        }
    }
}

/// A letter of the outbox, by its number: to put there, over what has the number, or (`None`) to take out.
pub type Letter = (u64, Option<Vec<u8>>);

/// What goes wrong with state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A record was not what the change expected; nothing of the commit was applied.
    #[error("the record has changed meanwhile")]
    Conflict,
    /// A record that cannot be decoded.
    #[error("the record of {0} is damaged")]
    Damaged(UploadId),
    /// The store is closed, or failed; nothing is promised any more.
    #[error("state store: {0}")]
    Store(String),
}

/// Where records lie. Every backend passes the suite in `contract.rs`. No call blocks an async worker.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// The record of an upload. What is still queued may be missing from it.
    async fn get(&self, id: &UploadId) -> Result<Option<Record>, StateError>;

    /// A detail of an upload.
    async fn detail(&self, id: &UploadId, detail: Detail) -> Result<Option<Vec<u8>>, StateError>;

    /// Applies all changes or none (a crash included), in the order of the calls, and answers when `promise` holds. With
    /// `Queued` it answers at once, and a conflict is only logged.
    async fn commit(&self, changes: Vec<Change>, promise: Promise) -> Result<(), StateError> {
        self.commit_with(changes, Vec::new(), promise).await
    }

    /// The same, with letters that are there if the changes are.
    async fn commit_with(
        &self,
        changes: Vec<Change>,
        letters: Vec<Letter>,
        promise: Promise,
    ) -> Result<(), StateError>;

    /// Up to `limit` letters in the order of their numbers, from the first one after `after`. What is still queued may be
    /// missing.
    async fn letters(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StateError>;

    /// The letter of this number.
    async fn letter(&self, number: u64) -> Result<Option<Vec<u8>>, StateError>;

    /// Up to `limit` records in the order of their ids, from the first one after `after`. A damaged one is logged and
    /// left out.
    async fn scan(
        &self,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<(UploadId, Record)>, StateError>;

    /// Every upload with this mark.
    async fn marked(&self, mark: Mark) -> Result<Vec<UploadId>, StateError>;

    /// Applies what is queued, makes everything survive a power cut, and lets go of the files.
    async fn close(&self) -> Result<(), StateError>;
}
