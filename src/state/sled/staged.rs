//! A commit before it is written: compared with what there is, and turned into keys and values.

use sled::Tree;

use super::super::{Change, StateError};
use super::committer::Fault;
use super::{Writes, keys, read_error};
use crate::upload::{Record, UploadId};

/// What a commit will write, over what the commits before it will write, over what the tree holds.
pub(super) struct Staged<'a> {
    tree: &'a Tree,
    before: &'a Writes,
    stamp: u64,
    /// What it will write.
    pub(super) writes: Writes,
}

impl<'a> Staged<'a> {
    /// A commit with nothing in it yet.
    pub(super) fn over(tree: &'a Tree, before: &'a Writes, stamp: u64) -> Self {
        Self {
            tree,
            before,
            stamp,
            writes: Writes::new(),
        }
    }

    /// Adds a change, if its expectation is met.
    pub(super) fn add(&mut self, change: &Change) -> Result<(), Fault> {
        let id = &change.id;
        let key = keys::record(id);
        if let Some(staged) = self.writes.get(&key).or_else(|| self.before.get(&key)) {
            compare(change, staged.as_deref())?;
        } else {
            let current = self.tree.get(&key).map_err(|error| refused(id, error))?;
            compare(change, current.as_deref())?;
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

    /// Adds a letter, or takes it out.
    pub(super) fn post(&mut self, number: u64, letter: Option<&[u8]>) -> Result<(), Fault> {
        let prefix = keys::letter(number);
        let store = |why: String| Fault::Refused(StateError::Store(why));
        self.clear_with(&prefix, |error| store(error.to_string()))?;
        let Some(letter) = letter else { return Ok(()) };
        let pieces = keys::cut(&prefix, self.stamp, letter)
            .ok_or_else(|| store("a letter is too long".to_owned()))?;
        let pieces = pieces.into_iter().map(|(key, piece)| (key, Some(piece)));
        self.writes.extend(pieces);
        Ok(())
    }

    /// Removes all keys with a prefix, those that are not in the tree yet too.
    fn clear(&mut self, id: &UploadId, prefix: &[u8]) -> Result<(), Fault> {
        self.clear_with(prefix, |error| refused(id, error))
    }

    fn clear_with(
        &mut self,
        prefix: &[u8],
        fault: impl Fn(sled::Error) -> Fault,
    ) -> Result<(), Fault> {
        let mut keys = Vec::new();
        for writes in [self.before, &self.writes] {
            let from = writes.range(prefix.to_vec()..).map(|(key, _)| key);
            keys.extend(from.take_while(|key| key.starts_with(prefix)).cloned());
        }
        for key in self.tree.scan_prefix(prefix).keys() {
            keys.push(key.map_err(&fault)?.to_vec());
        }
        self.writes.extend(keys.into_iter().map(|key| (key, None)));
        Ok(())
    }
}

/// Whether the record is what `change` expects. A damaged one is like none to a change that clears what is left of it, so
/// that it can be made anew.
pub(super) fn compare(change: &Change, current: Option<&[u8]>) -> Result<(), Fault> {
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

/// A record as bytes.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>, Fault> {
    keys::encode(record).map_err(|error| Fault::Refused(StateError::Store(error.to_string())))
}

/// A commit whose upload cannot be read.
pub(super) fn refused(id: &UploadId, error: sled::Error) -> Fault {
    Fault::Refused(read_error(id, error))
}
