//! Records in sled 0.34: hot records small and by themselves, the rest in pieces beside them, one thread that writes.
//!
//! What sled leaves to its user is done here: each batch and each `flush` waits until the disk has taken some pages, and promises
//! nothing by it. So commits are in a journal and in memory first, and come into the tree much at a time; a power cut is met by
//! `sync_data` on a handle of our own; calls that may wait for the disk run on the blocking pool or the commit thread; a
//! database that does not open is set aside.

mod committer;
mod fresh;
mod ground;
mod journal;
mod keys;
mod open;
mod staged;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sled::Tree;
use tracing::error;

use self::committer::{Committer, closed};
use self::fresh::{Fresh, View};
use self::ground::SledGround;
pub use self::open::Opened;
use super::{Change, Detail, Letter, Mark, Promise, StateError, StateStore};
use crate::pace::{Pace, Work};
use crate::upload::{Record, UploadId};

/// How often a detail is read again that was changed meanwhile.
const REREADS: usize = 100;

/// Keys and what becomes of them; `None`: they go.
type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Records in a sled database. [`SledState::open`] opens it.
///
/// A commit whose future is dropped is applied all the same. A failing flush or sync stops the store: from then on every
/// commit is an error. A record that cannot be decoded is [`StateError::Damaged`] for its upload alone; a change that
/// expects none and leaves none clears it.
pub struct SledState {
    /// For reads; `None` once closed. Dropped before the committer, whose thread is to be the last to hold the database.
    tree: Mutex<Option<Tree>>,
    fresh: Fresh,
    committer: Committer<SledGround>,
}

impl SledState {
    /// With commits in the task while the disk is fast, as the blobs beside it are written.
    pub(crate) fn at(mut self, pace: Arc<Pace>) -> Self {
        self.committer.set_pace(pace);
        self
    }

    fn tree(&self) -> MutexGuard<'_, Option<Tree>> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a read of a few keys: in the task while the disk is fast, else where it may wait for it.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let Some(pace) = self.committer.pace() else {
            return self.read(look).await;
        };
        if let Some(_leave) = pace.try_inline(Work::Reads) {
            return look(&self.view()?);
        }
        self.read(move |view| pace.pooled(Work::Reads, || look(view)))
            .await
    }

    /// Runs a read where it may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let view = self.view()?;
        tokio::task::spawn_blocking(move || read(&view))
            .await
            .unwrap_or_else(|error| Err(StateError::Store(format!("a read ended: {error}"))))
    }

    /// What is stored now; an error once it is closed.
    fn view(&self) -> Result<View, StateError> {
        let tree = self.tree().clone().ok_or_else(closed)?;
        let fresh = self.fresh.clone();
        Ok(View { tree, fresh })
    }
}

/// What a failing read tells about the upload `id`.
fn read_error(id: &UploadId, error: sled::Error) -> StateError {
    match error {
        sled::Error::Corruption { .. } => StateError::Damaged(id.clone()),
        error => StateError::Store(error.to_string()),
    }
}

fn get(view: &View, id: &UploadId) -> Result<Option<Record>, StateError> {
    let Some(bytes) = view
        .get(&keys::record(id))
        .map_err(|error| read_error(id, error))?
    else {
        return Ok(None);
    };
    let record = keys::decode(&bytes);
    record
        .map(Some)
        .ok_or_else(|| StateError::Damaged(id.clone()))
}

/// A value in pieces; read again where `range` falls into the middle of a change.
fn whole<I: Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>>(
    range: impl Fn() -> I,
    failed: impl Fn(sled::Error) -> StateError,
    damaged: impl FnOnce() -> StateError,
) -> Result<Option<Vec<u8>>, StateError> {
    for _ in 0..REREADS {
        let pieces: Vec<_> = range()
            .map(|item| item.map(|(_, piece)| piece))
            .collect::<Result<_, _>>()
            .map_err(&failed)?;
        if pieces.is_empty() {
            return Ok(None);
        }
        if let Some(whole) = keys::join(&pieces) {
            return Ok(Some(whole));
        }
        // Read in the middle of a change, or damaged.
        std::thread::yield_now();
    }
    Err(damaged())
}

fn detail(view: &View, id: &UploadId, detail: Detail) -> Result<Option<Vec<u8>>, StateError> {
    let prefix = keys::detail(id, detail);
    let failed = |error| read_error(id, error);
    let damaged = || StateError::Damaged(id.clone());
    whole(|| view.prefix(&prefix), failed, damaged)
}

fn scan(
    view: &View,
    after: Option<&UploadId>,
    limit: usize,
) -> Result<Vec<(UploadId, Record)>, StateError> {
    use Bound::{Excluded, Included};
    let start = after.map_or_else(
        || Included(keys::RECORDS.to_vec()),
        |id| Excluded(keys::record(id)),
    );
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    for item in view.range(start, keys::RECORDS_END.to_vec()) {
        let (key, value) = item.map_err(|error| StateError::Store(error.to_string()))?;
        match (keys::record_id(&key), keys::decode(&value)) {
            (Some(id), Some(record)) => found.push((id, record)),
            (id, _) => error!(?id, "a record is damaged and left out"),
        }
        if found.len() == limit {
            break;
        }
    }
    Ok(found)
}

fn marked(view: &View, mark: Mark) -> Result<Vec<UploadId>, StateError> {
    let mut found = Vec::new();
    for item in view.prefix(&keys::marked(mark)) {
        let (key, _) = item.map_err(|error| StateError::Store(error.to_string()))?;
        if let Some(id) = keys::marked_id(mark, &key) {
            found.push(id);
        } else {
            error!(?mark, "a mark is damaged and left out");
        }
    }
    Ok(found)
}

fn letters(
    view: &View,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, StateError> {
    let mut found = Vec::new();
    let mut next = after.map_or(Some(0), |after| after.checked_add(1));
    while let Some(from) = next
        && found.len() < limit
    {
        let start = Bound::Included(keys::letter(from));
        let item = view.range(start, keys::LETTERS_END.to_vec()).next();
        let Some(item) = item else { break };
        let (key, _) = item.map_err(|error| StateError::Store(error.to_string()))?;
        let number = keys::letter_number(&key);
        let Some(number) = number else { break };
        match letter(view, number) {
            Ok(Some(letter)) => found.push((number, letter)),
            Ok(None) => {}
            Err(error) => error!(number, %error, "a letter is damaged and left out"),
        }
        next = number.checked_add(1);
    }
    Ok(found)
}

fn letter(view: &View, number: u64) -> Result<Option<Vec<u8>>, StateError> {
    // No prefix: a number may end with the last byte there is.
    let next = number.checked_add(1);
    let end = next.map_or_else(|| keys::LETTERS_END.to_vec(), keys::letter);
    let range = || view.range(Bound::Included(keys::letter(number)), end.clone());
    let failed = |error: sled::Error| StateError::Store(error.to_string());
    let damaged = || StateError::Store(format!("letter {number} is damaged"));
    whole(range, failed, damaged)
}

#[async_trait]
impl StateStore for SledState {
    async fn get(&self, id: &UploadId) -> Result<Option<Record>, StateError> {
        let id = id.clone();
        self.look(move |view| get(view, &id)).await
    }

    async fn detail(&self, id: &UploadId, of: Detail) -> Result<Option<Vec<u8>>, StateError> {
        let id = id.clone();
        self.look(move |view| detail(view, &id, of)).await
    }

    async fn commit_with(
        &self,
        changes: Vec<Change>,
        letters: Vec<Letter>,
        promise: Promise,
    ) -> Result<(), StateError> {
        self.committer.commit(changes, letters, promise).await
    }

    async fn letters(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StateError> {
        self.read(move |view| letters(view, after, limit)).await
    }

    async fn letter(&self, number: u64) -> Result<Option<Vec<u8>>, StateError> {
        self.read(move |view| letter(view, number)).await
    }

    async fn scan(
        &self,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<(UploadId, Record)>, StateError> {
        let after = after.cloned();
        self.read(move |view| scan(view, after.as_ref(), limit))
            .await
    }

    async fn marked(&self, mark: Mark) -> Result<Vec<UploadId>, StateError> {
        self.read(move |view| marked(view, mark)).await
    }

    async fn close(&self) -> Result<(), StateError> {
        drop(self.tree().take());
        self.committer.close().await
    }
}
