//! One PATCH: take the lock (or take over), check the offset, let the bytes in, commit what counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body;

use super::end::close_well;
use super::ingest::Ingest;
use super::table::{Entry, Live};
use super::{Create, Engine, Inner, More, PATIENCE, View, now, view};
use crate::blob::BlobWriter;
use crate::config::Durability;
use crate::error::Reject;
use crate::lock::Guard;
use crate::progress::What;
use crate::protocol::checksum::{Digest, UploadChecksum};
use crate::security::rate::Pace;
use crate::security::user::User;
use crate::state::{Mark, Promise};
use crate::upload::{Failure, Kind, Millis, Record, Refused, UploadId};

/// A PATCH, parsed.
#[derive(Debug)]
pub struct Append {
    /// `Upload-Offset`.
    pub claimed: u64,
    /// `Upload-Length`, where the length was deferred.
    pub declared: Option<u64>,
    /// `Content-Length`; `None` for a chunked body.
    pub body_length: Option<u64>,
    /// `Upload-Checksum`.
    pub checksum: Option<UploadChecksum>,
    /// Whether `Trailer` announces `Upload-Checksum`.
    pub trailer_announced: bool,
    /// Who sends it; `None`: nobody is asked, or the bearer of a session's token.
    pub by: Option<Arc<User>>,
    /// How fast it may come in; `None`: as it likes.
    pub pace: Option<Pace>,
}

impl Append {
    /// Whether the body counts only once its checksum was found right.
    pub(super) fn is_checked(&self) -> bool {
        self.checksum.is_some() || self.trailer_announced
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The committed offset.
    pub offset: u64,
    /// When the upload expires, if it does.
    pub expires: Option<Millis>,
}

/// How long a holder must have been silent for anybody to take over.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
/// How long to wait for a holder that does not take bytes yet, or any more, before looking again.
pub(super) const MOMENT: Duration = Duration::from_millis(20);

impl Engine {
    /// Appends a body to an upload.
    ///
    /// # Errors
    /// Before the body is read: `NotFound` and the like, `FinalIsFixed`, `OffsetMismatch`, `Surplus`, `TooLarge`,
    /// `LengthKnown`, `LengthTooShort`, `Locked`. After it: `ChecksumMismatch`, `Surplus` (nothing is kept); `BodyCut`,
    /// `IdleBody`, `TakenOver`, `Shutdown`, `OutOfSpace` (what arrived is kept, unless it is under a checksum, or was told to
    /// nobody and gave way to a newcomer).
    pub async fn append<B>(
        &self,
        id: &UploadId,
        append: Append,
        body: B,
    ) -> Result<Appended, Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let (inner, to) = (self.inner.clone(), id.clone());
        let appended = self
            .inner
            .run(async move { inner.append(&to, append, body).await })
            .await;
        match appended {
            // Nothing was begun; where the upload stands can be told all the same.
            Err(Reject::Stopping) => Err(Reject::Shutdown {
                offset: self.look(id).await?.offset,
            }),
            other => other,
        }
    }

    /// A new upload with its first bytes. One whose body was cut stays, and is told with the failure; one whose body is
    /// refused does not.
    ///
    /// # Errors
    /// As [`Engine::create`] and [`Engine::append`]; nothing is left behind then.
    pub async fn create_with<B>(
        &self,
        create: Create,
        append: Append,
        body: B,
    ) -> Result<(View, Option<Reject>), Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        if let (Some(length), Some(coming)) = (create.length, append.body_length)
            && coming > length
        {
            return Err(Reject::Surplus);
        }
        let inner = self.inner.clone();
        self.inner
            .run(async move { inner.create_with(create, append, body).await })
            .await
    }
}

impl Inner {
    async fn create_with<B>(
        self: Arc<Self>,
        create: Create,
        append: Append,
        body: B,
    ) -> Result<(View, Option<Reject>), Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let id = self.create(create).await?.id;
        let ended = self.clone().append(&id, append, body).await.err();
        match ended {
            // What was found in it is to be seen by the operator.
            Some(reject @ (Reject::MalwareFound | Reject::Unscanned)) => Err(reject),
            Some(reject) if reject.offset().is_none() => {
                self.undo(&id).await?;
                Err(reject)
            }
            ended => Ok((view(&*self.usable(&id).await?), ended)),
        }
    }

    async fn append<B>(
        self: Arc<Self>,
        id: &UploadId,
        append: Append,
        body: B,
    ) -> Result<Appended, Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let entry = self.usable(id).await?;
        if entry.record().kind == Kind::Final {
            return Err(Reject::FinalIsFixed);
        }
        // A chunk's session stays in memory, where its changes are seen.
        let _session = self.session_of(&entry).await?;
        let asked = Instant::now();
        let guard = self.turn(&entry, append.claimed).await?;
        self.meter.lock_wait.observe(asked.elapsed());
        // Whoever held it may have ended it.
        let entry = self.usable(id).await?;
        let mut ended = self.append_held(&entry, append, body, guard.as_ref()).await;
        drop(guard);
        if let Err(Reject::TypeMismatch(_)) = &ended {
            self.condemn(&entry, Failure::TypeMismatch).await;
        }
        if ended.is_ok() && entry.record().is_complete() {
            ended = self.await_verdict(id).await.and(ended);
        }
        Self::unless_hook_stopped(&entry, ended)
    }

    /// The lock for a writer at `claimed`. A newer PATCH takes over only at the holder's live or told offset, or when the
    /// holder is silent; a healthy holder is not disturbed. Where the told offset is behind the live one, taking over there
    /// drops what came since: that waits until the holder is silent, unless it would be dropped with every other end too.
    async fn turn(&self, entry: &Entry, claimed: u64) -> Result<Box<dyn Guard>, Reject> {
        let patience = Instant::now() + PATIENCE;
        let mut behind = None;
        loop {
            if let Some(guard) = self.locks.try_lock(&entry.id) {
                return Ok(guard);
            }
            let (live, told) = {
                let image = entry.image();
                (image.live.clone(), image.told())
            };
            if let Some(live) = live {
                let position = live.offset.load(Ordering::Acquire);
                let silent = live.silent_for() >= SILENCE;
                if claimed != told && claimed != position && !silent {
                    return Err(Reject::OffsetMismatch { actual: told });
                }
                if claimed != told || claimed == position || silent || !live.keeps {
                    live.wanted
                        .store(claimed == told && claimed != position, Ordering::Release);
                    return self.hold(&entry.id, true).await;
                }
                if *behind.get_or_insert(position) != position {
                    // It gets on; and unlike a 409, no client takes this for the end.
                    return Err(Reject::Locked);
                }
            }
            // Nothing to judge by yet, and over in a moment where somebody begins, ends or commits.
            if let Some(guard) = self.locks.lock(&entry.id, false, MOMENT).await {
                return Ok(guard);
            }
            if Instant::now() > patience {
                return Err(Reject::Locked);
            }
        }
    }

    async fn append_held<B>(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        append: Append,
        body: B,
        guard: &dyn Guard,
    ) -> Result<Appended, Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let began = Instant::now();
        let record = entry.record();
        let declared = match append.declared {
            Some(length) if append.claimed == record.offset => {
                self.declared(&record, length, &append)?
            }
            _ => record.clone(),
        };
        let room = declared.admit(append.claimed, self.max_size(append.by.as_deref()))?;
        if append.body_length.is_some_and(|length| length > room) {
            return Err(self.surplus(&declared, &append));
        }
        let keeps = !append.is_checked();
        let live = Arc::new(Live::at(append.claimed, record.synced, keeps));
        // Before anything is stored: a chunk's record must not come after its session's end.
        let _busy = self.begin_chunk(entry, &live).await?;
        let by = append.by.as_deref();
        let (_reserved, charge) = self.reserve_rest(&entry.id, by, (&record, &declared))?;
        // On the heap, as what comes after the body: many bodies wait at once, and none of them needs it then.
        Box::pin(self.prepare(entry, &record, declared, &append)).await?;
        let running = self.appending();
        let seen = Seen::show(entry, &live);
        self.tell(entry, What::Resumed);
        let counted = self.meter.throughput.begin(live.offset.clone());
        if std::mem::take(&mut entry.image().broken_off) {
            self.meter.resumes.one();
        }
        let sniffing = self.sniffing(entry, append.claimed).await?;
        let writer = self.kept_writer(entry, append.claimed).await;
        let mut ingest = Ingest::new(self, entry, &live, room, writer);
        ingest.digest = append
            .checksum
            .as_ref()
            .map(|checksum| Digest::new(checksum.algorithm));
        ingest.whole = self.hash_before(entry, append.claimed).await;
        ingest.charge = charge;
        ingest.pace.clone_from(&append.pace);
        ingest.sniffing = sniffing;
        ingest.checked = append.is_checked();
        ingest.countable = !append.is_checked() && append.body_length.is_some();
        let ended = ingest.run(body, guard).await;
        let result = Box::pin(self.settle(&mut ingest, ended, &append)).await;
        let writer = ingest.writer.take();
        drop((running, counted));
        self.meter.append_time.observe(began.elapsed());
        entry.image().broken_off = result.as_ref().is_err_and(|end| end.offset().is_some());
        self.put_away(entry, writer).await;
        drop(seen);
        // What did not count is not there.
        live.offset.store(entry.record().offset, Ordering::Release);
        self.tell_end(entry, &result);
        if let Ok(Some((_, whole))) = self.session_of(entry).await {
            self.chunk_came(&whole).await;
        }
        result
    }

    /// The writer that the last append left, if it stands where this one begins; else a new one cuts what is past that.
    pub(super) async fn kept_writer(&self, entry: &Entry, at: u64) -> Option<Box<dyn BlobWriter>> {
        let (writer, _) = entry.image().writer.take()?;
        if writer.position() == at {
            return Some(writer);
        }
        close_well(&entry.id, writer).await;
        None
    }

    fn declared(&self, record: &Record, length: u64, append: &Append) -> Result<Record, Reject> {
        let limit = record.most(self.max_size(append.by.as_deref()));
        let declared = record.declare_length(length, limit, now());
        let declared = declared.map_err(|refused| match refused {
            Refused::TooLong => Reject::TooLarge { limit },
            other => other.into(),
        })?;
        if record.length.is_none() {
            let part = record.kind == Kind::Partial;
            self.judge_size(Some(length), part, append.by.as_deref())?;
        }
        Ok(declared)
    }

    pub(super) fn surplus(&self, record: &Record, append: &Append) -> Reject {
        match record.length {
            Some(_) => Reject::Surplus,
            None => Reject::TooLarge {
                limit: record.most(self.max_size(append.by.as_deref())),
            },
        }
    }

    /// What must survive a crash before the first byte: a length that HEAD tells from now on, and the mark from which on
    /// bytes are unverified (or that there is none any more).
    async fn prepare(
        self: &Arc<Self>,
        entry: &Entry,
        old: &Record,
        new: Record,
        append: &Append,
    ) -> Result<(), Reject> {
        if append.body_length == Some(0) && !new.is_complete() && new == *old {
            return Ok(());
        }
        let mut next = new;
        if next.offset < next.length.unwrap_or(u64::MAX) {
            next.unverified_from = append.is_checked().then_some(append.claimed);
        }
        if next == *old {
            return Ok(());
        }
        if next.is_complete() && !old.is_complete() {
            let metadata = entry.image().metadata.clone();
            self.judge_stored(&entry.blob(), next.offset, metadata.as_deref())
                .await?;
            return self.complete(entry, next).await;
        }
        self.stamp(&mut next);
        let promise = if self.options.durability == Durability::Every {
            Promise::Synced
        } else {
            Promise::Flushed
        };
        self.change(entry, next, promise, More::default()).await
    }
}

/// The running append is visible to others for as long as this lives.
pub(super) struct Seen<'a>(&'a Entry);

impl<'a> Seen<'a> {
    pub(super) fn show(entry: &'a Entry, live: &Arc<Live>) -> Self {
        entry.image().live = Some(live.clone());
        Self(entry)
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        // What was queued at the end must be in the state store before the entry may leave the memory.
        self.0.use_now();
        self.0.image().live = None;
    }
}

/// An upload that got bytes is listed as open once.
pub(super) fn open_mark(entry: &Entry) -> More {
    let mut image = entry.image();
    if image.marked_open {
        return More::default();
    }
    image.marked_open = true;
    More {
        marks: vec![(Mark::Open, true)],
        ..More::default()
    }
}

impl From<Refused> for Reject {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::OffsetMismatch { actual } => Self::OffsetMismatch { actual },
            Refused::TooLong => Self::Surplus,
            Refused::LengthKnown => Self::LengthKnown,
            Refused::TooShort => Self::LengthTooShort,
            Refused::IsFinal => Self::FinalIsFixed,
        }
    }
}
