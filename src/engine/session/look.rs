//! A session as its owner sees it.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::table::Entry;
use super::super::{Engine, now};
use super::{OwnedSession, Priority, Session};
use crate::error::Reject;
use crate::protocol::sha256::Sum;
use crate::upload::{Failure, Millis, Status, UploadId, UserId};

/// A session as its owner sees it.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// Which.
    pub id: UploadId,
    /// Who created it; `None`: nobody was asked.
    pub owner: Option<UserId>,
    /// What the client calls the file.
    pub filename: String,
    /// Its bytes.
    pub size: u64,
    /// Bytes of every chunk but the last.
    pub chunk_size: u64,
    /// How many there are.
    pub total_chunks: u32,
    /// So many are taken in at a time.
    pub parallel: u32,
    /// The numbers of those that are there.
    pub uploaded: Vec<u32>,
    /// The whole file's SHA-256, where it was named.
    pub file_hash: Option<Sum>,
    /// Whether chunks must come with theirs.
    pub verify: bool,
    /// How urgent.
    pub priority: Priority,
    /// `Upload-Metadata`.
    pub metadata: Option<Bytes>,
    /// `active scanning assembling completed failed cancelled expired`.
    pub status: &'static str,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was created.
    pub created: Millis,
    /// When it expires, if it does.
    pub expires: Option<Millis>,
    /// Bytes that have arrived and were not taken back, those on their way included.
    pub bytes: u64,
    /// Bytes a second of late, where some came.
    pub rate: Option<u64>,
}

/// What is left to be sent.
#[derive(Debug, Clone)]
pub struct Resume {
    /// The numbers of chunks that are not complete.
    pub missing: Vec<u32>,
    /// Of those, the ones that are begun: number, bytes there, and the upload's name.
    pub partial: Vec<(u32, u64, UploadId)>,
}

impl Engine {
    /// The session as it is now, without waiting for anybody; a tombstone is shown, too.
    #[must_use]
    pub fn look_at_session(&self, owned: &OwnedSession) -> SessionView {
        view(&owned.entry, &owned.session)
    }

    /// What is left to be sent.
    ///
    /// # Errors
    /// As [`Engine::look`].
    pub async fn resume(&self, owned: &OwnedSession) -> Result<Resume, Reject> {
        let entry = self.inner.usable(owned.id()).await?;
        let session = &owned.session;
        let partial = {
            let progress = session.progress();
            let begun = progress.begun.iter();
            begun
                .filter_map(|(n, offset)| Some((*n, *offset, session.chunk_id(*n)?)))
                .collect()
        };
        let missing = if entry.record().is_complete() {
            Vec::new()
        } else {
            session.missing()
        };
        Ok(Resume { missing, partial })
    }
}

/// How much of a session is there.
pub(crate) struct There {
    /// Complete ones.
    pub(crate) chunks: u32,
    /// In bytes, with those on their way.
    pub(crate) bytes: u64,
}

impl Session {
    /// How much is there, by the status of its record: the chunks of one that is complete are not counted any more, and
    /// those of one that has ended are gone.
    pub(crate) fn there(&self, status: Status) -> There {
        let (chunks, bytes) = match status {
            Status::Assembling | Status::Completed | Status::Scanning => (self.total, self.size),
            Status::Cancelled | Status::Expired => (0, 0),
            Status::Failed(failure) if failure.is_refusal() => (0, 0),
            Status::Active | Status::Failed(_) => (self.count(), self.bytes()),
        };
        There { chunks, bytes }
    }

    /// For how long no byte came of those chunks that are written now; `None` if there are none.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        let progress = self.progress();
        progress.live.values().map(|live| live.silent_for()).min()
    }

    /// Bytes that are there, and those of chunks that are written now.
    pub(crate) fn bytes(&self) -> u64 {
        let progress = self.progress();
        let live = progress.live.iter().filter(|(n, _)| !progress.has(**n));
        let live = live.map(|(n, live)| (*n, live.offset.load(Ordering::Acquire)));
        let mut unfinished = progress.begun.clone();
        unfinished.extend(live);
        progress.bytes + unfinished.values().sum::<u64>()
    }
}

/// What `status` says.
pub(super) fn status(entry: &Entry, session: &Session) -> &'static str {
    let record = entry.record();
    let due = record.is_due(now()) && !session.is_busy();
    match record.status {
        Status::Cancelled => record.status.name(),
        _ if due => Status::Expired.name(),
        Status::Active if session.is_finalizing() => Status::Assembling.name(),
        status => status.name(),
    }
}

pub(super) fn view(entry: &Entry, session: &Session) -> SessionView {
    let record = entry.record();
    let bytes = session.there(record.status).bytes;
    let uploaded = if record.is_complete() {
        (1..=session.total).collect()
    } else if session.there(record.status).chunks == 0 {
        Vec::new()
    } else {
        let progress = session.progress();
        (1..=session.total).filter(|n| progress.has(*n)).collect()
    };
    let status = status(entry, session);
    let failure = match record.status {
        Status::Failed(failure) if status == record.status.name() => Some(failure),
        _ => None,
    };
    let rate = if record.status == Status::Active {
        let meter = session.meter.lock();
        meter
            .unwrap_or_else(PoisonError::into_inner)
            .rate(Instant::now(), bytes)
    } else {
        None
    };
    let metadata = entry.image().metadata.clone();
    SessionView {
        id: entry.id.clone(),
        owner: record.owner.clone(),
        filename: session.facts.filename.clone(),
        size: session.size,
        chunk_size: session.facts.chunk_size,
        total_chunks: session.total,
        parallel: session.facts.parallel,
        uploaded,
        file_hash: session.facts.file_hash,
        verify: session.facts.verify,
        priority: session.facts.priority,
        metadata,
        status,
        failure,
        created: record.created,
        expires: record.expires,
        bytes,
        rate,
    }
}

/// How fast bytes came of late.
#[derive(Default)]
pub(super) struct Meter {
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// What is older than this says nothing of now.
    const WINDOW: Duration = Duration::from_secs(10);
    /// Closer samples are one.
    const GRAIN: Duration = Duration::from_millis(100);

    /// So many bytes are there now; answers bytes a second since the window's begin, `None` if none came, or it is too early
    /// to tell.
    pub(super) fn rate(&mut self, now: Instant, bytes: u64) -> Option<u64> {
        let fresh = |(at, _): &(Instant, u64)| now.duration_since(*at) < Self::GRAIN;
        if !self.samples.back().is_some_and(fresh) {
            self.samples.push_back((now, bytes));
        }
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= Self::WINDOW)
        {
            self.samples.pop_front();
        }
        let (since, before) = self.samples.front()?;
        let millis = u64::try_from(now.duration_since(*since).as_millis()).ok()?;
        let came = bytes.saturating_sub(*before);
        let grain = u64::try_from(Self::GRAIN.as_millis()).ok()?;
        (millis >= grain && came > 0).then(|| came.saturating_mul(1000) / millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_late() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut meter = Meter::default();
        assert_eq!(meter.rate(at(0), 0), None);
        assert_eq!(meter.rate(at(50), 1000), None, "too early");
        assert_eq!(meter.rate(at(500), 1000), Some(2000));
        assert_eq!(meter.rate(at(1000), 3000), Some(3000));
        assert_eq!(meter.rate(at(11_000), 3000), None, "nothing came for long");
        assert_eq!(meter.rate(at(12_000), 4000), Some(1000 / 11));
    }
}
