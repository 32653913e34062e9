//! The tree under the commit thread: compares, writes all or nothing, flushes and syncs.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sled::{Batch, Db, IVec, Tree};
use tracing::warn;

use super::super::{Change, StateError};
use super::committer::{Fault, Ground};
use super::{keys, read_error};
use crate::upload::{Record, UploadId};

/// How long the files may take to become free once the database is closed.
const RELEASE: Duration = Duration::from_secs(10);

/// An open database; its thread is the only one that writes to it.
pub(super) struct SledGround {
    db: Db,
    /// The database's file, opened here for `sync_data`, which sled's `flush` lacks.
    file: File,
    /// Differs from write to write, and from run to run.
    stamp: u64,
}

impl SledGround {
    /// Takes over `db`, which lies in `dir`; `stamp` is above that of every run before.
    pub(super) fn new(db: Db, dir: &Path, stamp: u64) -> std::io::Result<Self> {
        let file = File::open(dir.join("db"))?;
        Ok(Self { db, file, stamp })
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
    fn apply(&mut self, changes: &[Change]) -> Result<(), Fault> {
        if let [change] = changes
            && let Some(record) = &change.record
            && change.details.is_empty()
            && change.marks.is_empty()
        {
            return self.swap(change, record);
        }
        self.stamp += 1;
        let mut staged = Staged {
            tree: &self.db,
            stamp: self.stamp,
            writes: BTreeMap::new(),
        };
        for change in changes {
            staged.add(change)?;
        }
        if staged.writes.is_empty() {
            return Ok(());
        }
        self.db
            .apply_batch(staged.batch())
            .map_err(|error| Fault::Broken(error.to_string()))
    }

    fn flush(&mut self) -> Result<(), Fault> {
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

fn encode(record: &Record) -> Result<Vec<u8>, Fault> {
    keys::encode(record).map_err(|error| Fault::Refused(StateError::Store(error.to_string())))
}

fn refused(id: &UploadId, error: sled::Error) -> Fault {
    Fault::Refused(read_error(id, error))
}

/// Whether the record is what `change` expects. A damaged one is like none to a change that clears what is left of it, so
/// that it can be made anew.
fn compare(change: &Change, current: Option<&[u8]>) -> Result<(), Fault> {
    let is_met = match (current.map(keys::decode), &change.expect) {
        (Some(None), None) if change.record.is_none() => true,
        (Some(None), _) => {
            return Err(Fault::Refused(StateError::Damaged(change.id.clone())));
        }
        (None, expected) => expected.is_none(),
        (Some(current), expected) => current == *expected,
    };
    if is_met {
        Ok(())
    } else {
        Err(Fault::Refused(StateError::Conflict))
    }
}

/// A commit as it grows: what it will write, over what the tree holds.
struct Staged<'a> {
    tree: &'a Tree,
    stamp: u64,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Staged<'_> {
    fn add(&mut self, change: &Change) -> Result<(), Fault> {
        let id = &change.id;
        let key = keys::record(id);
        match self.writes.get(&key) {
            Some(staged) => compare(change, staged.as_deref())?,
            None => {
                let current = self.tree.get(&key).map_err(|error| refused(id, error))?;
                compare(change, current.as_deref())?;
            }
        }
        let Some(record) = &change.record else {
            self.writes.insert(key, None);
            for mark in keys::MARKS {
                self.writes.insert(keys::mark(mark, id), None);
            }
            return self.clear(id, &keys::details(id));
        };
        self.writes.insert(key, Some(encode(record)?));
        for (mark, set) in &change.marks {
            let value = set.then(Vec::new);
            self.writes.insert(keys::mark(*mark, id), value);
        }
        for (detail, value) in &change.details {
            let prefix = keys::detail(id, *detail);
            self.clear(id, &prefix)?;
            let Some(value) = value else { continue };
            let pieces = keys::cut(&prefix, self.stamp, value).ok_or_else(|| {
                let why = format!("{} bytes are too many for a detail", value.len());
                Fault::Refused(StateError::Store(why))
            })?;
            let pieces = pieces.into_iter().map(|(key, piece)| (key, Some(piece)));
            self.writes.extend(pieces);
        }
        Ok(())
    }

    /// Removes all keys with a prefix, those staged before too.
    fn clear(&mut self, id: &UploadId, prefix: &[u8]) -> Result<(), Fault> {
        let staged = self.writes.range_mut(prefix.to_vec()..);
        for (_, value) in staged.take_while(|(key, _)| key.starts_with(prefix)) {
            *value = None;
        }
        for key in self.tree.scan_prefix(prefix).keys() {
            let key: IVec = key.map_err(|error| refused(id, error))?;
            self.writes.insert(key.to_vec(), None);
        }
        Ok(())
    }

    fn batch(self) -> Batch {
        let mut batch = Batch::default();
        for (key, value) in self.writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }
}
