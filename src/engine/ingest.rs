//! The one loop that touches the bytes of a body. A cut body is a normal end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::account::AsItComes;
use super::append::open_mark;
use super::content::Sniffing;
use super::end::is_loss;
use super::table::{Entry, Live};
use super::{Inner, now, retry};
use crate::blob::{BlobError, BlobWriter};
use crate::config::Durability;
use crate::error::Reject;
use crate::lock::Guard;
use crate::protocol::checksum::Digest;
use crate::protocol::sha256::Hasher;
use crate::security::quota::Excess;
use crate::security::rate::Pace;
use crate::security::sniff::Mismatch;
use crate::state::Promise;

/// No timeout, for a timer that wants one.
pub(super) const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// How a body ended.
pub(super) enum Ended {
    /// All of it came, with its trailers.
    Eof(Option<HeaderMap>),
    /// The client went away, or broke the framing.
    Cut,
    /// No frame for the network timeout.
    Idle,
    /// A newer request asked for the upload.
    Asked,
    /// The server stops.
    Stopped,
    /// More bytes than there was room for.
    Overflow,
    /// More bytes than the client may store; those before count.
    Unaffordable(Excess),
    /// Its first bytes are not what they were declared as.
    Mismatch(Mismatch),
    /// Storage failed; what was written before counts.
    Failed(BlobError),
}

/// A body on its way into a blob.
pub(super) struct Ingest<'a> {
    pub(super) engine: &'a Arc<Inner>,
    pub(super) entry: &'a Arc<Entry>,
    pub(super) live: &'a Arc<Live>,
    /// Where the body begins.
    pub(super) base: u64,
    /// How many bytes may still come.
    pub(super) room: u64,
    pub(super) digest: Option<Digest>,
    /// Whether bytes count as they arrive: not under a checksum, and not in a chunked body, whose trailers may bring one.
    pub(super) countable: bool,
    /// Opened when the first byte comes.
    pub(super) writer: Option<Box<dyn BlobWriter>>,
    /// When the record was last written.
    pub(super) recorded: Instant,
    /// Up to where the disk was last asked to have the bytes.
    pub(super) sync_asked: u64,
    /// Whether the file's own length witnesses its bytes. A range of a larger file does not: what is told of it is in the
    /// state store before.
    witnessed: bool,
    /// Bytes at the body's beginning that are stored already: they are hashed and not written.
    pub(super) known: u64,
    /// The sum of those, once all of them came.
    pub(super) known_sum: Option<Vec<u8>>,
    /// The hash of a session's whole file, where this body goes on with it.
    pub(super) front: Option<(u64, Hasher)>,
    /// The hash of everything up to there, where that is wanted: up to the last byte written, and past what is cut off again.
    pub(super) whole: Option<(u64, Hasher)>,
    /// Where the length is not known: what comes is charged as it comes.
    pub(super) charge: Option<AsItComes>,
    /// How fast bytes may come in.
    pub(super) pace: Option<Pace>,
    /// Until the first bytes of a file are judged.
    pub(super) sniffing: Option<Sniffing>,
    /// Whether bytes are held against a checksum, or against what is stored: until then they may not be the client's.
    pub(super) checked: bool,
    /// What first bytes of such a body are not; for the end of it.
    pub(super) mismatch: Option<Mismatch>,
}

impl<'a> Ingest<'a> {
    /// A body that begins where `live` stands, with room for so many bytes; nothing of it counts before its end.
    pub(super) fn new(
        engine: &'a Arc<Inner>,
        entry: &'a Arc<Entry>,
        live: &'a Arc<Live>,
        room: u64,
        writer: Option<Box<dyn BlobWriter>>,
    ) -> Self {
        let base = live.offset.load(Ordering::Acquire);
        Self {
            engine,
            entry,
            live,
            base,
            room,
            digest: None,
            countable: false,
            writer,
            recorded: Instant::now(),
            sync_asked: base,
            witnessed: !entry.is_chunk(),
            known: 0,
            known_sum: None,
            front: None,
            whole: None,
            charge: None,
            pace: None,
            sniffing: None,
            checked: false,
            mismatch: None,
        }
    }
}

impl Ingest<'_> {
    /// How often the record follows a running body.
    const RECORD_EVERY: Duration = Duration::from_secs(1);
    /// In `complete` mode, how many bytes a loss of power may take from an unfinished upload, about.
    pub(super) const SYNC_EVERY: u64 = 64 << 20;

    /// Offset after the last byte written.
    pub(super) fn position(&self) -> u64 {
        self.writer
            .as_ref()
            .map_or(self.base, |writer| writer.position())
    }

    /// Takes the body in until it ends, one way or another.
    pub(super) async fn run<B>(&mut self, mut body: B, guard: &dyn Guard) -> Ended
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let engine = self.engine.clone();
        let patience = engine.options.network_timeout.unwrap_or(FOR_EVER);
        let stopped = engine.stop.cancelled();
        tokio::pin!(stopped);
        let mut asked = guard.asked_to_yield();
        loop {
            while let Some(rest) = self.rest().filter(|_| !body.is_end_stream()) {
                tokio::select! {
                    biased;
                    () = &mut asked => return Ended::Asked,
                    () = &mut stopped => return Ended::Stopped,
                    () = sleep(rest) => {}
                }
            }
            let frame = tokio::select! {
                biased;
                // A body that has come to its announced end is taken in, whoever asks: else neither of two PATCHes at one
                // offset would succeed, one taken over after its last byte and the other too late for its offset.
                () = &mut asked, if !body.is_end_stream() => return Ended::Asked,
                () = &mut stopped, if !body.is_end_stream() => return Ended::Stopped,
                frame = timeout(patience, body.frame()) => match frame {
                    Ok(frame) => frame,
                    Err(_) => return Ended::Idle,
                },
            };
            let chunk = match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Ended::Eof(None),
                Some(Err(_)) => return Ended::Cut,
                Some(Ok(Err(last))) => return Ended::Eof(last.into_trailers().ok()),
                Some(Ok(Ok(chunk))) if chunk.is_empty() => continue,
                Some(Ok(Ok(chunk))) => chunk,
            };
            self.live.frame_came();
            match self.room.checked_sub(chunk.len() as u64) {
                Some(left) => self.room = left,
                None => return Ended::Overflow,
            }
            if let Err(mismatch) = self.sniff(&chunk) {
                return Ended::Mismatch(mismatch);
            }
            let (chunk, excess) = self.afford(chunk);
            let chunk = self.hash(chunk);
            if !chunk.is_empty()
                && let Err(error) = self.write(chunk).await
            {
                return Ended::Failed(error);
            }
            if let Some(excess) = excess {
                return Ended::Unaffordable(excess);
            }
        }
    }

    /// How long to read nothing, so that bytes come no faster than they may. That is no silence of the client's.
    fn rest(&self) -> Option<Duration> {
        let rest = self.pace.as_ref()?.rest()?;
        self.live.frame_came();
        Some(rest)
    }

    /// Those of the bytes that the client may store, and what stands against the rest.
    fn afford(&self, mut chunk: Bytes) -> (Bytes, Option<Excess>) {
        if let Some(pace) = &self.pace {
            pace.came(chunk.len());
        }
        let Some(charge) = &self.charge else {
            return (chunk, None);
        };
        let (granted, excess) = charge.take(chunk.len() as u64);
        chunk.truncate(usize::try_from(granted).unwrap_or(usize::MAX));
        (chunk, excess)
    }

    /// Judges first bytes, before more than those are written. Those that are to be checked first are no reason to end an
    /// upload yet.
    fn sniff(&mut self, chunk: &[u8]) -> Result<(), Mismatch> {
        if let Some(sniffing) = &mut self.sniffing
            && let Some(verdict) = sniffing.take(chunk)
        {
            self.sniffing = None;
            if self.checked {
                self.mismatch = verdict.err();
            } else {
                verdict?;
            }
        }
        Ok(())
    }

    /// What stands against a body that came to its end and is what its client sent.
    pub(super) fn judged(&mut self) -> Result<(), Reject> {
        let mismatch = self.mismatch.take();
        mismatch.map_or(Ok(()), |mismatch| Err(mismatch.into()))
    }

    /// Takes bytes into the hashes; returns those that are to be written.
    fn hash(&mut self, mut chunk: Bytes) -> Bytes {
        if let Some((_, front)) = &mut self.front {
            front.update(&chunk);
        }
        let Some(digest) = &mut self.digest else {
            return chunk;
        };
        if self.known > 0 {
            let known = usize::try_from(self.known).unwrap_or(usize::MAX);
            let head = chunk.split_to(known.min(chunk.len()));
            digest.update(&head);
            self.known -= head.len() as u64;
            if self.known == 0 {
                self.known_sum = Some(digest.clone().finish());
            }
        }
        digest.update(&chunk);
        chunk
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        // What is not written to its end is not hashed to its end.
        let whole = self.whole.take().map(|whole| (whole, chunk.clone()));
        if self.witnessed {
            self.write_once(chunk).await?;
        } else {
            self.write_patiently(chunk).await?;
        }
        if let Some(((at, mut hash), chunk)) = whole {
            hash.update(&chunk);
            self.whole = Some((at + chunk.len() as u64, hash));
        }
        if self.countable {
            self.tell();
            if self.recorded.elapsed() >= Self::RECORD_EVERY {
                self.record().await?;
            }
        }
        Ok(())
    }

    /// Bytes of a session's chunk: an error that may pass is met with patience.
    async fn write_patiently(&mut self, mut rest: Bytes) -> Result<(), BlobError> {
        let mut pauses = retry::pauses();
        loop {
            let before = self.position();
            let written = self.write_once(rest.clone()).await;
            let Err(error) = written else { return Ok(()) };
            let Some(pause) = pauses.next().filter(|_| retry::write_may_pass(&error)) else {
                return Err(error);
            };
            warn!(id = %self.entry.id, %error, ?pause, "a write is tried again");
            let done = usize::try_from(self.position() - before).unwrap_or(usize::MAX);
            drop(rest.split_to(done.min(rest.len())));
            tokio::time::sleep(pause).await;
        }
    }

    async fn write_once(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        let writer = if let Some(writer) = &mut self.writer {
            writer
        } else {
            let length = self.entry.record().length;
            self.writer.insert(
                self.engine
                    .blobs
                    .append(&self.entry.blob(), self.base, length)
                    .await?,
            )
        };
        let written = writer.write(chunk).await;
        self.live.offset.store(writer.position(), Ordering::Release);
        written
    }

    /// Lets HEAD tell what has been written, as far as the mode calls that safe. The last byte of an upload is told by the
    /// commit: it makes the upload complete, and that promises more.
    fn tell(&self) {
        let safe = match self.engine.options.durability {
            _ if !self.witnessed => false,
            Durability::Process => true,
            Durability::Complete => self.room > 0,
            Durability::Every => false,
        };
        if safe {
            self.live.told.store(self.position(), Ordering::Release);
        }
    }

    /// The record follows, so that a state store read by others is never far behind; in `every` mode the bytes are synced
    /// first, and may be told from then on.
    async fn record(&mut self) -> Result<(), BlobError> {
        self.recorded = Instant::now();
        let end = self.position();
        let mut record = self.entry.record();
        if record.length == Some(end) {
            return Ok(());
        }
        self.sync_beside(end);
        record.synced = record.synced.max(self.live.synced.load(Ordering::Acquire));
        let every = self.engine.options.durability == Durability::Every;
        if every && let Some(writer) = &mut self.writer {
            writer.sync().await?;
            record.synced = end;
        }
        let Ok(mut next) = record.advance(end, now()) else {
            return Ok(());
        };
        self.engine.stamp(&mut next);
        let promise = if every {
            Promise::Synced
        } else {
            Promise::Queued
        };
        // A record that cannot be written ends the upload at its end, with the state store's own error.
        if self
            .engine
            .change(self.entry, next, promise, open_mark(self.entry))
            .await
            .is_ok()
        {
            self.live.told.fetch_max(end, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Long uploads are synced as they grow, without waiting: a loss of power does not send them back to their start.
    fn sync_beside(&mut self, end: u64) {
        if self.engine.options.durability != Durability::Complete
            || end - self.sync_asked < Self::SYNC_EVERY
        {
            return;
        }
        self.sync_asked = end;
        let (engine, entry, live) = (self.engine.clone(), self.entry.clone(), self.live.clone());
        self.engine.tasks.spawn(async move {
            match engine.blobs.sync(&entry.id, &entry.blob()).await {
                Ok(()) => {
                    live.synced.fetch_max(end, Ordering::AcqRel);
                }
                Err(error) if is_loss(&error) => {
                    live.lost.store(true, Ordering::Release);
                    if let Some(of) = entry.chunk() {
                        // Its writer may have ended by now; the file is its session's.
                        engine.fault_session(&of.session).await;
                    }
                }
                Err(error) => warn!(id = %entry.id, %error, "not synced"),
            }
        });
    }
}
