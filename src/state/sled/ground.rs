//! The tree under the commit thread, and its journal: compares, writes all or nothing, flushes and syncs.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use sled::Db;
use tracing::warn;

use super::super::{Change, Letter};
use super::Writes;
use super::committer::{Fault, Ground};
use super::fresh::Fresh;
use super::journal::Journal;
use super::staged::Staged;

/// How long the files may take to become free once the database is closed.
const RELEASE: Duration = Duration::from_secs(10);
/// Past so many bytes what is fresh is written to the tree. Well below what is reserved for that.
const MOST: usize = 2 << 20;

/// With more than that, one more commit may be past [`MOST`].
const LIGHT: usize = MOST / 2;

/// Bytes past the database's end that are kept for it, so that uploads that fill the disk do not take the space in which
/// their offsets are to be written: sled never recovers from a write that failed.
const RESERVE: u64 = 8 << 20;
/// How long after there was no space to reserve it is tried again.
const RESERVE_AGAIN: Duration = Duration::from_secs(10);

/// An open database; who commits is the only one that writes to it.
pub(super) struct SledGround {
    db: Db,
    /// The database's file, opened here for `sync_data`, which sled's `flush` lacks.
    file: File,
    /// Differs from write to write, and from run to run.
    stamp: u64,
    journal: Journal,
    /// What this group of commits has changed: one entry of the journal.
    group: Writes,
    /// What is not in the tree yet.
    fresh: Fresh,
    /// Bytes that were put there.
    size: usize,
    /// When to reserve space at the earliest; `None`: this file system reserves none.
    reserve_from: Option<Instant>,
}

impl SledGround {
    /// Takes over `db`, which lies in `dir`, and its journal; `stamp` is above that of every run before.
    pub(super) fn new(db: Db, journal: Journal, dir: &Path, stamp: u64) -> std::io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(dir.join("db"))?;
        let mut ground = Self {
            db,
            file,
            stamp,
            journal,
            group: Writes::new(),
            fresh: Fresh::default(),
            size: 0,
            reserve_from: Some(Instant::now()),
        };
        ground.reserve();
        Ok(ground)
    }

    /// What is not in the tree yet, for those who read.
    pub(super) fn fresh(&self) -> Fresh {
        self.fresh.clone()
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

    /// Writes to the tree what is fresh.
    fn lay_down(&mut self) -> Result<(), Fault> {
        self.reserve();
        let batch = {
            let fresh = self.fresh.read();
            if fresh.is_empty() {
                return Ok(());
            }
            self.journal.batch(&fresh)
        };
        if let Err(error) = self.db.apply_batch(batch) {
            return Err(Fault::Broken(error.to_string()));
        }
        self.fresh.write().clear();
        self.size = 0;
        self.reserve();
        Ok(())
    }
}

impl Ground for SledGround {
    fn apply(&mut self, changes: &[Change], letters: &[Letter]) -> Result<(), Fault> {
        self.stamp += 1;
        let fresh = self.fresh.read();
        let mut commit = Staged::over(&self.db, &fresh, self.stamp);
        for change in changes {
            commit.add(change)?;
        }
        for (number, letter) in letters {
            commit.post(*number, letter.as_deref())?;
        }
        let writes = commit.writes;
        drop(fresh);
        for (key, value) in &writes {
            self.size += key.len() + value.as_ref().map_or(0, Vec::len);
        }
        self.fresh.write().extend(writes.clone());
        self.group.extend(writes);
        if self.size > MOST {
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Fault> {
        if !self.group.is_empty() {
            let group = std::mem::take(&mut self.group);
            self.journal.add(&group, self.stamp);
        }
        if self.size > MOST {
            self.lay_down()?;
        }
        Ok(())
    }

    fn keeps(&self) -> bool {
        self.journal.keeps()
    }

    fn is_light(&self) -> bool {
        self.journal.keeps() && self.size <= LIGHT
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.lay_down()?;
        if let Err(error) = self.db.flush() {
            return Err(Fault::Broken(error.to_string()));
        }
        self.journal.clear();
        Ok(())
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
        // A program that is being started at this moment has a copy of the file, and would keep the lock.
        let _ = file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::contract::{at, change, id, long};
    use super::super::super::{Detail, Mark, StateError};
    use super::super::fresh::View;
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
        let journal = Journal::open(&db, dir.path()).unwrap();
        let mut ground = SledGround::new(db, journal, dir.path(), 1).unwrap();
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
        let view = View {
            tree,
            fresh: ground.fresh(),
        };
        let check = || {
            assert_eq!(get(&view, &id("a")).unwrap(), Some(at(1)));
            let kept = detail(&view, &id("a"), Detail::Parts).unwrap();
            assert_eq!(kept, parts(5_000));
            assert_eq!(get(&view, &id("b")).unwrap(), None);
            assert_eq!(detail(&view, &id("b"), Detail::Parts).unwrap(), None);
            assert_eq!(marked(&view, Mark::Assembling).unwrap(), []);
            assert_eq!(get(&view, &id("c")).unwrap(), Some(at(0)));
        };
        check();
        ground.settle().unwrap();
        assert!(ground.keeps());
        check();
        ground.flush().unwrap();
        check();
        assert!(view.fresh.read().is_empty() && view.tree.len() > 5);
    }
}
