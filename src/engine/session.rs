//! Sessions: finals whose parts, the chunks, are known beforehand. Their bytes lie where they belong in the session's one
//! file from the start, so that nothing is copied when the last one is there.
//!
//! A chunk is a partial upload, `{session}/{n}`, whose blob is a range of the session's file. The file is sparse: its length
//! proves nothing, and so a chunk's record is in the state store before anything of it is told. A chunk without a record is
//! missing. Its record is made when its first bytes count.
//!
//! Reading order: here what a session is; `create`, `chunk` (a POST of one), `places` (how many at a time; `far_end`, whether who waits is there still), `repeat` (one after the end), `finalize`, `look` (what a client sees), `front`
//! (the whole file's hash), `load` (from the state store, and after a loss of power), `end`, `notes` (its directory).
//!
//! Locks are taken session first, chunk second; a chunk's writer waits for its session's for a
//! moment only.

mod chunk;
mod create;
mod end;
mod far_end;
mod finalize;
mod front;
mod load;
mod look;
mod notes;
mod places;
mod repeat;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub use self::chunk::{ChunkBody, Chunked};
pub use self::create::NewSession;
pub use self::far_end::FarEnd;
pub use self::look::{Resume, SessionView};
pub use crate::upload::Priority;

use self::front::Front;
use self::look::Meter;
use self::places::Waiters;
use super::table::{Entry, Live};
use crate::blob::{Blob, File, Segment};
use crate::error::Reject;
use crate::protocol::sha256::Sum;
use crate::security::user::{OwnRates, Owner};
use crate::upload::{Record, UploadId, UserId};

/// The most chunks that a session has.
const MAX_CHUNKS: u64 = 100_000;
/// How often a session's own record follows its chunks; where sessions live shortly, more often.
const KEEP: Duration = Duration::from_secs(5);

/// What sessions may be. All of it is checked before it comes here.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Bytes of a chunk, where the client does not say.
    pub chunk_size: u64,
    /// The least that a client may ask for.
    pub chunk_min: u64,
    /// The most.
    pub chunk_max: u64,
    /// So many chunks of one session are taken in at a time.
    pub parallel: u32,
    /// Where each session has a directory for people to look at.
    pub notes: Option<Notes>,
}

/// Where sessions' directories are, and with which permissions they are made.
#[derive(Debug, Clone)]
pub struct Notes {
    /// Above all of them.
    pub dir: PathBuf,
    /// Of directories.
    pub dir_mode: u32,
    /// Of files.
    pub file_mode: u32,
}

impl Default for SessionOptions {
    /// Chunks of 1 MiB, four at a time, and no directories.
    fn default() -> Self {
        Self {
            chunk_size: 1 << 20,
            chunk_min: 64 << 10,
            chunk_max: 64 << 20,
            parallel: 4,
            notes: None,
        }
    }
}

/// What is stored of a session beside its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) filename: String,
    pub(crate) chunk_size: u64,
    pub(crate) parallel: u32,
    pub(crate) verify: bool,
    pub(crate) priority: Priority,
    pub(crate) file_hash: Option<Sum>,
    /// Of the token, which itself is told once and kept nowhere.
    pub(crate) token: Sum,
    /// How fast the owner may be, where the credential that began it says so: with the token the credential is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rates: Option<OwnRates>,
}

/// A session in memory.
pub(crate) struct Session {
    pub(crate) id: UploadId,
    pub(crate) facts: Facts,
    pub(crate) size: u64,
    pub(crate) total: u32,
    progress: Mutex<Progress>,
    /// Chunks that are taken in.
    places: Arc<Semaphore>,
    waiting: Mutex<Waiters>,
    front: tokio::sync::Mutex<Front>,
    following: AtomicBool,
    /// Bytes that were there when the disk was last asked for them.
    sync_asked: AtomicU64,
    finalizing: AtomicBool,
    /// The disk lost bytes of its file. Its record says so a moment later.
    faulted: AtomicBool,
    meter: Mutex<Meter>,
    /// Held while its directory is written.
    writing: Mutex<()>,
    to_be_noted: AtomicBool,
}

/// Which chunks are there.
#[derive(Default)]
struct Progress {
    /// A bit for each complete chunk.
    done: Vec<u64>,
    /// A bit for each that may have a record.
    stored: Vec<u64>,
    count: u32,
    bytes: u64,
    /// Those that are begun, and how far.
    begun: BTreeMap<u32, u64>,
    /// Those that are written now.
    live: BTreeMap<u32, Arc<Live>>,
}

/// Which chunk of which session an upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkOf {
    pub(crate) session: UploadId,
    pub(crate) number: u32,
}

/// A session whose token was shown.
pub struct OwnedSession {
    pub(super) session: Arc<Session>,
    pub(super) entry: Arc<Entry>,
}

impl OwnedSession {
    /// Which.
    #[must_use]
    pub fn id(&self) -> &UploadId {
        &self.session.id
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.session.owner(self.entry.image().record.owner.as_ref())
    }

    /// The chunk of this number.
    ///
    /// # Errors
    /// `NoSuchChunk` if it is no number from 1 to the last chunk's.
    pub fn chunk_number(&self, text: &str) -> Result<u32, Reject> {
        let total = self.session.total;
        number(text)
            .filter(|n| *n <= total)
            .ok_or(Reject::NoSuchChunk { total })
    }
}

/// A chunk's number as it is written: decimal digits, the first of them not 0.
fn number(text: &str) -> Option<u32> {
    let digits = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl ChunkOf {
    /// From an id alone; whether there is such a session, and such a chunk, is another question.
    pub(crate) fn named(id: &UploadId) -> Option<Self> {
        let (session, n) = id.as_str().rsplit_once('/')?;
        Some(Self {
            session: session.parse().ok()?,
            number: number(n)?,
        })
    }

    /// Of a stored upload: its bytes are a range of the file of the one it is named below.
    pub(crate) fn found(id: &UploadId, blob: &Blob) -> Option<Self> {
        let Blob::Segments(list) = blob else {
            return None;
        };
        let [only] = list.as_slice() else {
            return None;
        };
        Self::named(id).filter(|chunk| only.file == File::Upload(chunk.session.clone()))
    }
}

impl Session {
    pub(crate) fn new(id: &UploadId, facts: Facts, size: u64) -> Self {
        let total = size.div_ceil(facts.chunk_size.max(1));
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        let words = usize::try_from(total.div_ceil(64)).unwrap_or_default();
        let progress = Progress {
            done: vec![0; words],
            stored: vec![0; words],
            ..Progress::default()
        };
        Self {
            id: id.clone(),
            size,
            total,
            progress: Mutex::new(progress),
            places: Arc::new(Semaphore::new(usize::try_from(facts.parallel).unwrap_or(1))),
            waiting: Mutex::default(),
            front: tokio::sync::Mutex::default(),
            following: AtomicBool::new(false),
            sync_asked: AtomicU64::new(0),
            finalizing: AtomicBool::new(false),
            faulted: AtomicBool::new(false),
            meter: Mutex::default(),
            writing: Mutex::default(),
            to_be_noted: AtomicBool::new(false),
            facts,
        }
    }

    /// The owner, by the session's record, as the session remembers this one.
    pub(crate) fn owner(&self, owner: Option<&UserId>) -> Option<Owner> {
        owner.map(|id| Owner {
            id: id.clone(),
            rates: self.facts.rates.unwrap_or_default(),
        })
    }

    /// Whether a client's token is this session's.
    pub(crate) fn admits(&self, token: &str) -> bool {
        self.facts.token.is_of(token)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of a chunk. `None` only for one that the session does not have.
    pub(crate) fn chunk_id(&self, n: u32) -> Option<UploadId> {
        let known = (1..=self.total).contains(&n);
        format!("{}/{n}", self.id).parse().ok().filter(|_| known)
    }

    /// Where a chunk lies in the file.
    pub(crate) fn range(&self, n: u32) -> Range<u64> {
        let start = u64::from(n.saturating_sub(1)).saturating_mul(self.facts.chunk_size);
        let end = start.saturating_add(self.facts.chunk_size);
        start.min(self.size)..end.min(self.size)
    }

    /// Bytes of a chunk.
    pub(crate) fn size_of(&self, n: u32) -> u64 {
        let range = self.range(n);
        range.end - range.start
    }

    /// Where a chunk lies, as a blob.
    fn blob(&self, n: u32) -> Blob {
        Blob::Segments(vec![Segment {
            file: File::Upload(self.id.clone()),
            start: self.range(n).start,
            len: self.size_of(n),
        }])
    }

    /// Takes over what a chunk's record says; one without a record is missing.
    pub(crate) fn put(&self, n: u32, record: Option<&Record>) {
        let mut progress = self.progress();
        progress.note_stored(n, record.is_some());
        let complete = record.is_some_and(Record::is_complete);
        progress.set(n, complete, self.size_of(n));
        let begun = record.map_or(0, |record| record.offset);
        if complete || begun == 0 {
            progress.begun.remove(&n);
        } else {
            progress.begun.insert(n, begun);
        }
    }

    /// A commit of a chunk's record failed: whether it has one is to be asked of the state store.
    pub(crate) fn doubt(&self, n: u32) {
        self.progress().note_stored(n, true);
    }

    /// Whether it is known that a chunk has no record.
    pub(crate) fn is_unstored(&self, n: u32) -> bool {
        !Progress::is_set(&self.progress().stored, n)
    }

    /// Whether a chunk is complete.
    pub(crate) fn has(&self, n: u32) -> bool {
        self.progress().has(n)
    }

    /// Those that are not, in order.
    pub(crate) fn missing(&self) -> Vec<u32> {
        let progress = self.progress();
        (1..=self.total).filter(|n| !progress.has(*n)).collect()
    }

    /// How many are complete.
    pub(crate) fn count(&self) -> u32 {
        self.progress().count
    }

    /// Whether its file is being checked as a whole.
    pub(crate) fn is_finalizing(&self) -> bool {
        self.finalizing.load(Ordering::Acquire)
    }

    /// Whether bytes come, so that it lives.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_finalizing() || !self.progress().live.is_empty()
    }

    /// Whether the disk lost bytes of its file.
    pub(crate) fn is_faulted(&self) -> bool {
        self.faulted.load(Ordering::Acquire)
    }

    /// A chunk is written for as long as the answer lives.
    fn begin(self: Arc<Self>, n: u32, live: &Arc<Live>) -> Busy {
        self.progress().live.insert(n, live.clone());
        Busy(self, n)
    }
}

impl Progress {
    fn place(n: u32) -> (usize, u64) {
        let bit = n.saturating_sub(1);
        let word = usize::try_from(bit / 64).unwrap_or(usize::MAX);
        (word, 1 << (bit % 64))
    }

    fn note_stored(&mut self, n: u32, stored: bool) {
        let (word, bit) = Self::place(n);
        if let Some(word) = self.stored.get_mut(word) {
            *word = if stored { *word | bit } else { *word & !bit };
        }
    }

    fn is_set(bits: &[u64], n: u32) -> bool {
        let (word, bit) = Self::place(n);
        n > 0 && bits.get(word).is_some_and(|word| word & bit != 0)
    }

    fn has(&self, n: u32) -> bool {
        Self::is_set(&self.done, n)
    }

    fn set(&mut self, n: u32, done: bool, len: u64) {
        if self.has(n) == done {
            return;
        }
        let (word, bit) = Self::place(n);
        let Some(word) = self.done.get_mut(word) else {
            return;
        };
        *word ^= bit;
        if done {
            self.count += 1;
            self.bytes += len;
        } else {
            self.count -= 1;
            self.bytes -= len;
        }
    }
}

/// A chunk that is written.
pub(super) struct Busy(Arc<Session>, u32);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.progress().live.remove(&self.1);
    }
}
