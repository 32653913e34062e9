//! Records in this process's memory, for tests and for servers that may forget.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Change, Detail, Letter, Mark, Promise, StateError, StateStore};
use crate::upload::{Record, UploadId};

/// State that ends with the process; every promise holds for exactly as long as that.
#[derive(Default)]
pub struct MemoryState {
    uploads: Mutex<Uploads>,
}

#[derive(Default)]
struct Uploads {
    all: BTreeMap<UploadId, Upload>,
    letters: BTreeMap<u64, Vec<u8>>,
    closed: bool,
}

#[derive(Clone)]
struct Upload {
    record: Record,
    details: BTreeMap<Detail, Vec<u8>>,
    marks: BTreeSet<Mark>,
}

impl MemoryState {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<MutexGuard<'_, Uploads>, StateError> {
        let uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if uploads.closed {
            return Err(StateError::Store("closed".to_owned()));
        }
        Ok(uploads)
    }
}

impl Uploads {
    fn apply(&mut self, changes: Vec<Change>, letters: Vec<Letter>) -> Result<(), StateError> {
        let mut staged: BTreeMap<UploadId, Option<Upload>> = BTreeMap::new();
        for change in changes {
            let now = match staged.remove(&change.id) {
                Some(staged) => staged,
                None => self.all.get(&change.id).cloned(),
            };
            if change.expect.as_ref() != now.as_ref().map(|upload| &upload.record) {
                return Err(StateError::Conflict);
            }
            let id = change.id.clone();
            staged.insert(id, changed(now, change));
        }
        for (id, upload) in staged {
            match upload {
                Some(upload) => self.all.insert(id, upload),
                None => self.all.remove(&id),
            };
        }
        for (number, letter) in letters {
            match letter {
                Some(letter) => self.letters.insert(number, letter),
                None => self.letters.remove(&number),
            };
        }
        Ok(())
    }
}

/// What a change makes of an upload.
fn changed(now: Option<Upload>, change: Change) -> Option<Upload> {
    let record = change.record?;
    let (mut details, mut marks) =
        now.map_or_else(Default::default, |upload| (upload.details, upload.marks));
    for (detail, value) in change.details {
        match value {
            Some(value) => details.insert(detail, value),
            None => details.remove(&detail),
        };
    }
    for (mark, set) in change.marks {
        if set {
            marks.insert(mark);
        } else {
            marks.remove(&mark);
        }
    }
    Some(Upload {
        record,
        details,
        marks,
    })
}

#[async_trait]
impl StateStore for MemoryState {
    async fn get(&self, id: &UploadId) -> Result<Option<Record>, StateError> {
        Ok(self.open()?.all.get(id).map(|upload| upload.record.clone()))
    }

    async fn detail(&self, id: &UploadId, detail: Detail) -> Result<Option<Vec<u8>>, StateError> {
        let uploads = self.open()?;
        Ok(uploads
            .all
            .get(id)
            .and_then(|upload| upload.details.get(&detail).cloned()))
    }

    async fn commit_with(
        &self,
        changes: Vec<Change>,
        letters: Vec<Letter>,
        promise: Promise,
    ) -> Result<(), StateError> {
        match self.open()?.apply(changes, letters) {
            Err(error) if promise == Promise::Queued => {
                tracing::warn!(%error, "a queued change was refused");
                Ok(())
            }
            applied => applied,
        }
    }

    async fn letters(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StateError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let uploads = self.open()?;
        let found = uploads.letters.range((start, Bound::Unbounded)).take(limit);
        Ok(found
            .map(|(number, letter)| (*number, letter.clone()))
            .collect())
    }

    async fn letter(&self, number: u64) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.open()?.letters.get(&number).cloned())
    }

    async fn scan(
        &self,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<(UploadId, Record)>, StateError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let uploads = self.open()?;
        Ok(uploads
            .all
            .range::<UploadId, _>((start, Bound::Unbounded))
            .take(limit)
            .map(|(id, upload)| (id.clone(), upload.record.clone()))
            .collect())
    }

    async fn marked(&self, mark: Mark) -> Result<Vec<UploadId>, StateError> {
        let uploads = self.open()?;
        Ok(uploads
            .all
            .iter()
            .filter(|(_, upload)| upload.marks.contains(&mark))
            .map(|(id, _)| id.clone())
            .collect())
    }

    async fn close(&self) -> Result<(), StateError> {
        self.uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, reopen};
    use super::*;

    macro_rules! holds {
        ($($name:ident)*) => { $(
            #[tokio::test]
            async fn $name() {
                contract::$name(&MemoryState::new()).await;
            }
        )* };
    }

    contract::suite!(holds);

    #[tokio::test]
    async fn what_is_written_is_there() {
        let store = MemoryState::new();
        reopen::write_everything(&store).await;
        reopen::everything_is_there(&store).await;
        reopen::take_half_away(&store).await;
        reopen::half_is_gone(&store).await;
    }
}
