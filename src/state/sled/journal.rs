//! What was committed since the database was last flushed, in a file of its own. One write to the kernel makes a group of
//! commits survive `kill -9`, where sled waits for the disk twice with each batch, and with each flush; the database follows a
//! little later, with all that came meanwhile in one batch. At the next start it is given what it lacks.
//!
//! Each entry names the one before it, and the database holds the number of the last one that is in it. So an entry is
//! never applied to anything but the state that it followed, whatever a loss of power left of the two files.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use sled::{Batch, Db};
use tracing::{debug, info};

use super::{Writes, keys};

/// The file, in the database's directory.
const NAME: &str = "journal";
/// Past so many bytes the database is flushed: what is read at a start is bounded.
const MOST: u64 = 4 << 20;
/// Space is reserved in such steps. What was written without may be found to have none later, and takes what others were told
/// is not there.
const STEP: u64 = 256 << 10;
/// Length and CRC-32C of what follows them.
const HEAD: usize = 8;

/// The file begins with what came since the database's last flush; behind that lies what came before.
pub(super) struct Journal {
    file: File,
    /// Where the next one goes.
    len: u64,
    /// Up to where there is space.
    reserved: u64,
    /// The number of the last entry there was.
    last: u64,
    /// Whether everything since the last flush is in it.
    whole: bool,
}

/// One group of commits.
struct Entry {
    /// The number of the one before it.
    after: u64,
    number: u64,
    writes: Writes,
}

impl Journal {
    /// Opens the journal of `db`, which lies in `dir`, after giving `db` what it lacks.
    pub(super) fn open(db: &Db, dir: &Path) -> sled::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).mode(0o600);
        let mut file = options.open(dir.join(NAME))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut journal = Self {
            file,
            len: 0,
            reserved: 0,
            last: stored(db)?,
            whole: true,
        };
        journal.catch_up(db, &bytes)?;
        Ok(journal)
    }

    /// Writes those entries to the database that follow what it holds.
    fn catch_up(&mut self, db: &Db, bytes: &[u8]) -> sled::Result<()> {
        let had = self.last;
        let mut lacked = Writes::new();
        for entry in entries(bytes) {
            if entry.after == self.last {
                self.last = entry.number;
                lacked.extend(entry.writes);
            }
        }
        if self.last > had {
            info!(
                writes = lacked.len(),
                "the state database is given what it lacked"
            );
            db.apply_batch(self.batch(&lacked))?;
            db.flush()?;
        }
        Ok(())
    }

    /// Adds a group of commits. `number` is that of the entry if it is above all before it.
    pub(super) fn add(&mut self, writes: &Writes, number: u64) {
        let after = self.last;
        self.last = number.max(after + 1);
        if self.whole {
            self.write(after, writes);
        }
    }

    /// What the database is to be given for all entries from the first that it lacks.
    pub(super) fn batch(&self, writes: &Writes) -> Batch {
        let mut batch = Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(&key[..], &value[..]),
                None => batch.remove(&key[..]),
            }
        }
        batch.insert(keys::JOURNALED, &self.last.to_be_bytes());
        batch
    }

    fn write(&mut self, after: u64, writes: &Writes) {
        let entry = encode(after, self.last, writes);
        let entry = entry.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
        let written = entry.and_then(|entry| {
            let len = entry.len() as u64;
            self.reserve(self.len + len)?;
            self.file.write_all_at(&entry, self.len)?;
            Ok(len)
        });
        match written {
            Ok(len) => self.len += len,
            Err(error) => {
                // On a full disk, most likely: the database has space of its own.
                debug!(%error, "the state database's journal cannot be written");
                self.whole = false;
            }
        }
    }

    /// Sees that there is space up to `end`.
    fn reserve(&mut self, end: u64) -> io::Result<()> {
        if end <= self.reserved {
            return Ok(());
        }
        let end = end.next_multiple_of(STEP);
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, end) {
            // Where none can be reserved, the write tells.
            Ok(()) | Err(Errno::OPNOTSUPP) => {
                self.reserved = end;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether what was added survives `kill -9` without a flush of the database.
    pub(super) fn keeps(&self) -> bool {
        self.whole && self.len < MOST
    }

    /// The database was flushed: nothing of what was added is needed any more, and what comes is written over it. The file
    /// keeps its space, for a disk that is full later.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.whole = true;
    }
}

/// The number of the last entry that is in the database.
fn stored(db: &Db) -> sled::Result<u64> {
    let number = db.get(keys::JOURNALED)?;
    let number = number.and_then(|bytes| bytes.as_ref().try_into().ok());
    Ok(number.map_or(0, u64::from_be_bytes))
}

/// An entry as bytes; `None`: it is too long.
fn encode(after: u64, number: u64, writes: &Writes) -> Option<Vec<u8>> {
    let body = postcard::to_extend(&(after, number, writes), vec![0; HEAD]);
    let mut entry = body.ok()?;
    let len = u32::try_from(entry.len() - HEAD).ok()?;
    let sum = crc32c::crc32c(&entry[HEAD..]);
    entry[..4].copy_from_slice(&len.to_le_bytes());
    entry[4..HEAD].copy_from_slice(&sum.to_le_bytes());
    Some(entry)
}

/// The entries at the beginning, each of which follows the one before it.
fn entries(mut bytes: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    while let Some((entry, rest)) = decode(bytes) {
        if entries
            .last()
            .is_some_and(|last| last.number != entry.after)
        {
            break;
        }
        entries.push(entry);
        bytes = rest;
    }
    entries
}

/// The first entry, and the bytes behind it.
fn decode(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let len = u32::from_le_bytes(head[..4].try_into().ok()?);
    let sum = u32::from_le_bytes(head[4..].try_into().ok()?);
    let (body, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    if crc32c::crc32c(body) != sum {
        return None;
    }
    let (after, number, writes) = postcard::from_bytes(body).ok()?;
    let entry = Entry {
        after,
        number,
        writes,
    };
    Some((entry, rest))
}

#[cfg(test)]
mod tests;
