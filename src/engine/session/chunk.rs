//! One POST of a chunk: hashed while it arrives, written to its place, and counted only when all of it is right.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http_body::Body;
use tracing::warn;

use super::super::append::{MOMENT, SILENCE, Seen};
use super::super::content::Sniffing;
use super::super::end::close_well;
use super::super::ingest::{Ended, Ingest};
use super::super::table::{Entry, Live};
use super::super::{Engine, Inner, More, PATIENCE, now};
use super::{Busy, ChunkOf, FarEnd, OwnedSession, Session};
use crate::config::Durability;
use crate::error::Reject;
use crate::lock::Guard;
use crate::meter::{Meter, Running};
use crate::protocol::checksum::{Algorithm, Digest};
use crate::protocol::sha256::Sum;
use crate::security::rate::Pace;
use crate::state::{Detail, Mark, Promise};
use crate::upload::{Failure, Record, UploadId};

/// What comes with a chunk's body.
#[derive(Debug, Clone)]
pub struct ChunkBody {
    /// `Content-Length`; `None` for a chunked body.
    pub length: Option<u64>,
    /// The SHA-256 that it must have.
    pub sum: Option<Sum>,
    /// It waits for its turn, unless so many wait already.
    pub waiting: usize,
    /// Of its connection, where that is not read while it waits.
    pub far_end: Option<Arc<FarEnd>>,
    /// How fast it may come in; `None`: as it likes.
    pub pace: Option<Pace>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    /// Its number.
    pub number: u32,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256, where that was worked out.
    pub sum: Option<Sum>,
    /// Whether it was all there before.
    pub repeated: bool,
    /// Chunks that are there.
    pub uploaded: u32,
    /// Chunks that are not.
    pub remaining: u32,
}

impl Engine {
    /// Takes a chunk in, or compares it with what is there of it: bytes that are stored are hashed, and never written again.
    ///
    /// # Errors
    /// Before the body is read: `NotFound` and the like, `HashRequired`, `ChunkTooShort`, `ChunkTooLong`, `TooManyWaiting`,
    /// `Locked`, and `ChunkCut` for one whose client went while it waited. After it: the same two, `ChecksumMismatch`, `ChunkDiffers`, `ChunkCut`, `IdleRequest`, what storage says. Nothing
    /// is kept then.
    pub async fn chunk<B>(
        &self,
        owned: &OwnedSession,
        number: u32,
        chunk: ChunkBody,
        body: B,
    ) -> Result<Chunked, Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let session = &owned.session;
        let total = session.total;
        let id = session.chunk_id(number);
        let id = id.ok_or(Reject::NoSuchChunk { total })?;
        let whole = self.inner.usable(&session.id).await?;
        if session.facts.verify && chunk.sum.is_none() {
            return Err(Reject::HashRequired);
        }
        let size = session.size_of(number);
        match chunk.length {
            Some(length) if length < size => return Err(Reject::ChunkTooShort { size }),
            Some(length) if length > size => return Err(Reject::ChunkTooLong { size }),
            _ => {}
        }
        // Here, and not in the task below: an HTTP/2 stream that is reset while it waits gives its place in the queue up.
        let place = self.inner.place(session, number, &chunk).await?;
        let (inner, entry) = (self.inner.clone(), owned.entry.clone());
        self.inner
            .run(async move {
                let _place = place;
                let chunked = match (inner.turn_of_chunk(&id).await, whole.session()) {
                    (Ok(turn), _) => inner.clone().take_chunk(turn, chunk, body).await,
                    // Before this, or while it waited.
                    (Err(Reject::NotFound), Some(session)) if whole.record().is_complete() => {
                        inner
                            .repeat_chunk(&whole, &session, number, chunk, body)
                            .await
                    }
                    (Err(reject), _) => Err(reject),
                };
                if let Err(Reject::TypeMismatch(_)) = &chunked {
                    inner.condemn(&entry, Failure::TypeMismatch).await;
                }
                // The session's entry was in use until here: what became of the chunk was seen by it.
                drop(entry);
                chunked
            })
            .await
    }
}

impl Inner {
    /// Everything before the first byte is asked for; from here on the session does not expire.
    async fn turn_of_chunk(self: &Arc<Self>, id: &UploadId) -> Result<Turn, Reject> {
        let entry = self.usable(id).await?;
        let guard = self.chunk_turn(&entry).await?;
        let entry = self.usable(id).await?;
        let (of, whole) = self.session_of(&entry).await?.ok_or(Reject::NotFound)?;
        let record = entry.record();
        let live = Arc::new(Live::at(record.offset, record.synced, false));
        let busy = self.begin_chunk(&entry, &live).await?;
        Ok(Turn {
            of,
            whole,
            entry,
            guard,
            live,
            record,
            _busy: busy,
        })
    }

    async fn take_chunk<B>(
        self: Arc<Self>,
        turn: Turn,
        chunk: ChunkBody,
        body: B,
    ) -> Result<Chunked, Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let Turn {
            of,
            whole,
            entry,
            guard,
            live,
            record,
            _busy,
        } = turn;
        let session = whole.session().ok_or(Reject::NotFound)?;
        let _seen = Seen::show(&entry, &live);
        live.take_place();
        let running = self.appending();
        let metered = Metered::begin(&self.meter, &entry, &live);
        let arrived = Arriving {
            number: of.number,
            session: &session,
            entry: &entry,
            record,
            chunk,
        };
        // All of it comes, also what is known of it already. What is all there was judged then.
        let sniffing = if arrived.record.offset < arrived.size() {
            self.sniffing(&entry, 0).await?
        } else {
            None
        };
        let (mut ingest, ended) = arrived
            .take_in(&self, &live, sniffing, body, guard.as_ref())
            .await;
        let counted = self.count_chunk(&arrived, &mut ingest, ended).await;
        // Before they may be taken back: bytes that came are counted.
        drop(metered);
        if counted.is_err()
            && let Some(writer) = &mut ingest.writer
            && let Err(error) = writer.cut(arrived.record.offset).await
        {
            warn!(id = %entry.id, %error, "a chunk could not be taken back; it counts for nothing all the same");
        }
        if counted.is_err() {
            live.offset.store(arrived.record.offset, Ordering::Release);
            self.tell_end(&entry, &counted);
            entry.image().broken_off = counted.as_ref().is_err_and(breaks_off);
        }
        drop(running);
        if let Some(writer) = ingest.writer.take() {
            close_well(&entry.id, writer).await;
        }
        let (sum, repeated) = counted?;
        if !repeated && let Some(front) = ingest.front.take() {
            session.advance_front(of.number, front).await;
        }
        // Here, and not after its writer is forgotten: until then the session does not expire.
        self.chunk_came(&whole).await;
        let uploaded = session.count();
        Ok(Chunked {
            number: of.number,
            size: arrived.size(),
            sum,
            repeated,
            uploaded,
            remaining: session.total - uploaded,
        })
    }

    /// The lock of a chunk: waits for another request at the same chunk, which then is a repeat; takes over from one that is
    /// silent.
    async fn chunk_turn(&self, entry: &Entry) -> Result<Box<dyn Guard>, Reject> {
        let asked = Instant::now();
        let guard = loop {
            let live = entry.image().live.clone();
            if live.is_some_and(|live| live.silent_for() >= SILENCE) {
                break self.hold(&entry.id, true).await?;
            }
            if let Some(guard) = self.locks.lock(&entry.id, false, MOMENT).await {
                break guard;
            }
            if asked.elapsed() > PATIENCE {
                return Err(Reject::Locked);
            }
        };
        self.meter.lock_wait.observe(asked.elapsed());
        Ok(guard)
    }

    /// Judges a body that has ended, and makes it count. Answers the chunk's sum, and whether it was all there before.
    async fn count_chunk(
        self: &Arc<Self>,
        arrived: &Arriving<'_>,
        ingest: &mut Ingest<'_>,
        ended: Ended,
    ) -> Result<(Option<Sum>, bool), Reject> {
        let size = arrived.size();
        match ended {
            // A chunk's length is its session's, which was reserved with it.
            Ended::Unaffordable(excess) => return Err(Reject::excess(excess, true, None)),
            Ended::Eof(_) if ingest.room > 0 => return Err(Reject::ChunkTooShort { size }),
            Ended::Eof(_) => {}
            Ended::Overflow => return Err(Reject::ChunkTooLong { size }),
            Ended::Mismatch(mismatch) => return Err(mismatch.into()),
            Ended::Cut => return Err(Reject::ChunkCut),
            Ended::Idle => return Err(Reject::IdleRequest),
            Ended::Stopped => return Err(Reject::Stopping),
            Ended::Asked => {
                // By whoever ends the session, or by another POST of this chunk.
                self.usable(&arrived.entry.id).await?;
                return Err(Reject::Locked);
            }
            Ended::Failed(error) => return Err(error.into()),
        }
        let digest = ingest.digest.take().map(Digest::finish);
        let sum = digest.and_then(|sum| sum.try_into().ok()).map(Sum);
        if arrived.chunk.sum.is_some() && arrived.chunk.sum != sum {
            return Err(Reject::ChecksumMismatch);
        }
        let repeated = arrived.record.offset == size;
        self.compare_known(arrived, ingest.known_sum.take()).await?;
        ingest.judged()?;
        if repeated {
            return Ok((sum, true));
        }
        let mut next = arrived.record.advance(size, now())?;
        let every = self.options.durability == Durability::Every;
        if every {
            if let Some(writer) = &mut ingest.writer {
                let synced = writer.sync().await;
                self.or_lost(arrived.entry, synced).await?;
            }
            next.synced = size;
        }
        next.unverified_from = None;
        let promise = if every {
            Promise::Synced
        } else {
            Promise::Flushed
        };
        let more = More {
            details: vec![(Detail::Sha256, sum.map(|sum| sum.0.to_vec()))],
            marks: vec![(Mark::Open, false)],
        };
        self.change(arrived.entry, next, promise, more).await?;
        arrived.entry.image().marked_open = false;
        Ok((sum, false))
    }

    /// What was stored of a chunk before must be what came again.
    async fn compare_known(
        &self,
        arrived: &Arriving<'_>,
        came: Option<Vec<u8>>,
    ) -> Result<(), Reject> {
        let known = arrived.record.offset;
        if known == 0 {
            return Ok(());
        }
        let entry = arrived.entry;
        let stored = if known == arrived.size() {
            self.state.detail(&entry.id, Detail::Sha256).await?
        } else {
            None
        };
        let stored = match stored {
            Some(stored) => stored,
            None => self.sha256_of(entry, 0..known).await?.0.to_vec(),
        };
        if came == Some(stored) {
            Ok(())
        } else {
            Err(Reject::ChunkDiffers)
        }
    }

    /// The sum of a chunk that a PATCH completes, to be stored with it where the session is one of verified chunks: from then
    /// on its content is known, though nobody named it.
    pub(in super::super) async fn hash_of_complete_chunk(
        self: &Arc<Self>,
        entry: &Entry,
        next: &Record,
    ) -> Result<Vec<(Detail, Option<Vec<u8>>)>, Reject> {
        let Some((_, whole)) = self.session_of(entry).await? else {
            return Ok(Vec::new());
        };
        let verify = whole.session().is_some_and(|s| s.facts.verify);
        if !verify || !next.is_complete() {
            return Ok(Vec::new());
        }
        let sum = self.sha256_of(entry, 0..next.offset).await?;
        Ok(vec![(Detail::Sha256, Some(sum.0.to_vec()))])
    }

    /// A chunk's session, which stays in memory as long as the answer lives; `None` for what is no chunk.
    pub(in super::super) async fn session_of(
        self: &Arc<Self>,
        entry: &Entry,
    ) -> Result<Option<(ChunkOf, Arc<Entry>)>, Reject> {
        let Some(of) = entry.chunk() else {
            return Ok(None);
        };
        let whole = self.entry(&of.session).await?;
        Ok(Some((of, whole)))
    }

    /// Shows that a chunk is written. Whoever ends a session first says so, and then looks who writes; here it is the other way
    /// round, so that one sees the other.
    pub(in super::super) async fn begin_chunk(
        self: &Arc<Self>,
        entry: &Entry,
        live: &Arc<Live>,
    ) -> Result<Option<Busy>, Reject> {
        let Some((of, whole)) = self.session_of(entry).await? else {
            return Ok(None);
        };
        let busy = whole
            .session()
            .map(|session| session.begin(of.number, live));
        self.chunk_lives(&of).await?;
        Ok(busy)
    }
}

/// Leave to take a chunk in.
struct Turn {
    of: ChunkOf,
    whole: Arc<Entry>,
    entry: Arc<Entry>,
    guard: Box<dyn Guard>,
    live: Arc<Live>,
    /// From before it.
    record: Record,
    _busy: Option<Busy>,
}

/// A chunk's body is counted as running for as long as this lives.
struct Metered<'a> {
    meter: &'a Meter,
    began: Instant,
    _bytes: Running<'a>,
}

impl<'a> Metered<'a> {
    fn begin(meter: &'a Meter, entry: &Entry, live: &Live) -> Self {
        let mut image = entry.image();
        if std::mem::take(&mut image.broken_off) && !image.record.is_complete() {
            meter.resumes.one();
        }
        Self {
            meter,
            began: Instant::now(),
            _bytes: meter.throughput.begin(live.offset.clone()),
        }
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        self.meter.append_time.observe(self.began.elapsed());
    }
}

/// Whether a client that sends the chunk again goes on after what it did not choose.
fn breaks_off(reject: &Reject) -> bool {
    matches!(
        reject,
        Reject::ChunkCut | Reject::IdleRequest | Reject::Locked | Reject::Stopping
    )
}

/// A chunk that arrives.
struct Arriving<'a> {
    number: u32,
    session: &'a Arc<Session>,
    entry: &'a Arc<Entry>,
    /// From before it.
    record: Record,
    chunk: ChunkBody,
}

impl Arriving<'_> {
    fn size(&self) -> u64 {
        self.session.size_of(self.number)
    }

    async fn take_in<'i, B>(
        &'i self,
        engine: &'i Arc<Inner>,
        live: &'i Arc<Live>,
        sniffing: Option<Sniffing>,
        body: B,
        guard: &dyn Guard,
    ) -> (Ingest<'i>, Ended)
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let known = self.record.offset;
        let writer = engine.kept_writer(self.entry, known).await;
        let mut ingest = Ingest::new(engine, self.entry, live, self.size(), writer);
        let hashed = self.chunk.sum.is_some() || known > 0;
        ingest.checked = hashed;
        ingest.digest = hashed.then(|| Digest::new(Algorithm::Sha256));
        ingest.known = known;
        ingest.pace.clone_from(&self.chunk.pace);
        if known == 0 {
            ingest.front = self.session.front_before(self.number);
        }
        ingest.sniffing = sniffing;
        let ended = ingest.run(body, guard).await;
        (ingest, ended)
    }
}
