//! The tree under the commit thread: compares, writes all or nothing, flushes and syncs.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use sled::{Batch, Db};
use tracing::warn;

use super::super::{Change, Letter};
use super::committer::{Fault, Ground};
use super::staged::{Staged, compare, encode, refused};
use super::{Writes, keys};
use crate::upload::Record;

/// How long the files may take to become free once the database is closed.
const RELEASE: Duration = Duration::from_secs(10);
/// Bytes that are staged at most before they are written.
const STAGED: usize = 4 << 20;

/// Bytes past the database's end that are kept for it, so that uploads that fill the disk do not take the space in which
/// their offsets are to be written: sled never recovers from a write that failed.
const RESERVE: u64 = 8 << 20;
/// How long after there was no space to reserve it is tried again.
const RESERVE_AGAIN: Duration = Duration::from_secs(10);

/// An open database; its thread is the only one that writes to it.
pub(super) struct SledGround {
    db: Db,
    /// The database's file, opened here for `sync_data`, which sled's `flush` lacks.
    file: File,
    /// Differs from write to write, and from run to run.
    stamp: u64,
    /// What this group of commits has changed and not written yet. A `Batch` costs sled a write to the file of its own,
    /// so there is one a group.
    staged: Writes,
    /// Bytes in it.
    size: usize,
    /// When to reserve space at the earliest; `None`: this file system reserves none.
    reserve_from: Option<Instant>,
}

impl SledGround {
    /// Takes over `db`, which lies in `dir`; `stamp` is above that of every run before.
    pub(super) fn new(db: Db, dir: &Path, stamp: u64) -> std::io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(dir.join("db"))?;
        let mut ground = Self {
            db,
            file,
            stamp,
            staged: Writes::new(),
            size: 0,
            reserve_from: Some(Instant::now()),
        };
        ground.reserve();
        Ok(ground)
    }

    /// Sees that there is space for the database to grow; sled cuts off what it needs no more, and the reserve with it.
    fn reserve(&mut self) {
        let Some(not_before) = self.reserve_from else {
            return;
        };
        let spare = |file: &File| {
            let file = file.metadata().ok()?;
            Some((file.len(), (file.blocks() * 512).saturating_sub(file.len())))
        };
        let Some((len, left)) = spare(&self.file) else {
            return;
        };
        if left >= RESERVE / 2 || Instant::now() < not_before {
            return;
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, len, RESERVE) {
            Ok(()) if spare(&self.file).is_some_and(|(_, left)| left >= RESERVE / 2) => {}
            Ok(()) => self.reserve_from = Some(Instant::now() + RESERVE_AGAIN),
            Err(Errno::NOSPC | Errno::DQUOT) => {
                warn!(left, "no space to reserve for the state database");
                self.reserve_from = Some(Instant::now() + RESERVE_AGAIN);
            }
            Err(_) => self.reserve_from = None,
        }
    }

    /// The change of one record that has neither details nor marks to change: one key, swapped.
    fn swap(&self, change: &Change, record: &Record) -> Result<(), Fault> {
        let key = keys::record(&change.id);
        let current = self
            .db
            .get(&key)
            .map_err(|error| refused(&change.id, error))?;
        compare(change, current.as_deref())?;
        let next = encode(record)?;
        if current.as_deref() == Some(&next[..]) {
            return Ok(());
        }
        match self.db.compare_and_swap(key, current, Some(next)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Fault::Broken("somebody else writes".to_owned())),
            Err(error) => Err(Fault::Broken(error.to_string())),
        }
    }
}

impl Ground for SledGround {
    fn apply(&mut self, changes: &[Change], letters: &[Letter]) -> Result<(), Fault> {
        if let [change] = changes
            && letters.is_empty()
            && let Some(record) = &change.record
            && change.details.is_empty()
            && change.marks.is_empty()
            && self.staged.is_empty()
        {
            return self.swap(change, record);
        }
        self.stamp += 1;
        let mut commit = Staged::over(&self.db, &self.staged, self.stamp);
        for change in changes {
            commit.add(change)?;
        }
        for (number, letter) in letters {
            commit.post(*number, letter.as_deref())?;
        }
        for (key, value) in commit.writes {
            self.size += key.len() + value.as_ref().map_or(0, Vec::len);
            self.staged.insert(key, value);
        }
        if self.size > STAGED {
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Fault> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (key, value) in std::mem::take(&mut self.staged) {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.size = 0;
        self.db
            .apply_batch(batch)
            .map_err(|error| Fault::Broken(error.to_string()))
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.reserve();
        match self.db.flush() {
            Ok(_) => Ok(()),
            Err(error) => Err(Fault::Broken(error.to_string())),
        }
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.file
            .sync_data()
            .map_err(|error| Fault::Broken(error.to_string()))
    }

    fn release(self) {
        let Self { db, file, .. } = self;
        drop(db);
        // sled's own threads, or a read under way, may hold it a moment longer.
        let start = Instant::now();
        while let Err(TryLockError::WouldBlock) = file.try_lock() {
            if start.elapsed() > RELEASE {
                warn!("the closed state database is still locked");
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::contract::{at, change, id, long};
    use super::super::super::{Detail, Mark, StateError};
    use super::super::{detail, get, marked};
    use super::*;

    fn with(mut change: Change, detail: Option<Vec<u8>>) -> Change {
        change.details = vec![(Detail::Parts, detail)];
        change
    }

    #[test]
    fn the_commits_of_a_group_see_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).flush_every_ms(None);
        let db = db.open().unwrap();
        let tree = (*db).clone();
        let mut ground = SledGround::new(db, dir.path(), 1).unwrap();
        let mut apply = |change: Change| ground.apply(&[change], &[]);

        let parts = |len| Some(long(len));
        apply(with(change("a", None, Some(at(0))), parts(10_000))).unwrap();
        apply(change("a", Some(at(0)), Some(at(1)))).unwrap();
        apply(with(change("a", Some(at(1)), Some(at(1))), parts(5_000))).unwrap();
        apply(with(change("b", None, Some(at(0))), parts(10_000))).unwrap();
        let mut assembling = change("b", Some(at(0)), Some(at(0)));
        assembling.marks = vec![(Mark::Assembling, true)];
        apply(assembling).unwrap();
        apply(change("b", Some(at(0)), None)).unwrap();
        apply(with(change("c", None, Some(at(0))), parts(10))).unwrap();
        let conflict = apply(change("a", Some(at(0)), Some(at(9))));
        assert!(matches!(
            conflict,
            Err(Fault::Refused(StateError::Conflict))
        ));
        ground.settle().unwrap();

        assert_eq!(get(&tree, &id("a")).unwrap(), Some(at(1)));
        let kept = detail(&tree, &id("a"), Detail::Parts).unwrap();
        assert_eq!(kept, parts(5_000));
        assert_eq!(get(&tree, &id("b")).unwrap(), None);
        assert_eq!(detail(&tree, &id("b"), Detail::Parts).unwrap(), None);
        assert_eq!(marked(&tree, Mark::Assembling).unwrap(), []);
        assert_eq!(get(&tree, &id("c")).unwrap(), Some(at(0)));
    }
}
