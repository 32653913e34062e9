//! After a body: what of it counts, and the commit of that, never before the bytes are as safe as the mode promises.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::StreamExt;
use http::HeaderMap;
use tracing::{info, warn};

use super::append::{Append, Appended, open_mark};
use super::end::{close_well, is_loss};
use super::ingest::{Ended, Ingest};
use super::table::Entry;
use super::{Inner, More, now, retry};
use crate::blob::{BlobError, BlobWriter, File};
use crate::config::Durability;
use crate::error::Reject;
use crate::progress::What;
use crate::protocol::HeaderError;
use crate::protocol::checksum::{Algorithm, ChecksumError, Digest, UploadChecksum};
use crate::protocol::sha256::{Hasher, Sum};
use crate::state::{Mark, Promise};
use crate::upload::{Failure, Kind, Record, Status};

impl Inner {
    /// After the body: what of it counts, and the commit of that.
    pub(super) async fn settle(
        self: &Arc<Self>,
        ingest: &mut Ingest<'_>,
        ended: Ended,
        append: &Append,
    ) -> Result<Appended, Reject> {
        if let Ended::Failed(error) = &ended
            && is_loss(error)
        {
            self.faulted(ingest.entry, error).await;
            return Err(Reject::BlobLost);
        }
        if ingest.live.lost.load(Ordering::Acquire) {
            self.fail(ingest.entry, Failure::DiskFault, Vec::new())
                .await;
            return Err(Reject::BlobLost);
        }
        let verdict = match &ended {
            Ended::Eof(trailers) => {
                let right = self.verify(ingest, append, trailers.as_ref()).await;
                right.and_then(|()| ingest.judged())
            }
            Ended::Overflow => Err(self.surplus(&ingest.entry.record(), append)),
            Ended::Mismatch(mismatch) => Err(mismatch.clone().into()),
            _ if append.is_checked() => Err(Reject::ChecksumMismatch),
            _ => Ok(()),
        };
        let given_way = matches!(ended, Ended::Asked | Ended::Cut | Ended::Idle)
            && ingest.live.wanted.load(Ordering::Acquire);
        if verdict.is_ok() && matches!(ended, Ended::Eof(_)) && append.is_checked() {
            self.tell(ingest.entry, What::Validated);
        }
        let end = if verdict.is_err() {
            ingest.base
        } else if given_way {
            // What HEAD did not tell is not in the way of a newcomer that believed it: to some clients a 409 is the end.
            ingest.live.told.load(Ordering::Acquire)
        } else {
            ingest.position()
        };
        let undone = match &mut ingest.writer {
            Some(writer) if end < writer.position() => writer.cut(end).await,
            _ => Ok(()),
        };
        let committed = match undone {
            Ok(()) => self.commit_offset(ingest, end).await,
            Err(error) => Err(error.into()),
        };
        if committed.is_err() {
            // The file may hold more than what counts: the next writer is a new one, and begins by cutting that.
            ingest.writer = None;
        }
        let appended = committed?;
        let offset = appended.offset;
        match (ended, verdict) {
            (Ended::Eof(_), Ok(())) => Ok(appended),
            (Ended::Eof(_) | Ended::Overflow, Err(reject)) => Err(reject),
            (Ended::Overflow, Ok(())) => Err(Reject::Surplus),
            (Ended::Unaffordable(excess), _) => {
                let of_user = ingest.entry.image().record.owner.is_some();
                Err(Reject::excess(excess, of_user, Some(offset)))
            }
            (Ended::Mismatch(mismatch), _) => Err(mismatch.into()),
            (Ended::Cut, _) => Err(Reject::BodyCut { offset }),
            (Ended::Idle, _) => Err(Reject::IdleBody { offset }),
            (Ended::Asked, _) => Err(Reject::TakenOver { offset }),
            (Ended::Stopped, _) => Err(Reject::Shutdown { offset }),
            (Ended::Failed(BlobError::Full), _) => Err(Reject::OutOfSpace { offset }),
            (Ended::Failed(error), _) => Err(error.into()),
        }
    }

    /// The checksum verdict on a whole body.
    pub(super) async fn verify(
        &self,
        ingest: &mut Ingest<'_>,
        append: &Append,
        trailers: Option<&HeaderMap>,
    ) -> Result<(), Reject> {
        if let (Some(checksum), Some(digest)) = (&append.checksum, ingest.digest.take())
            && !checksum.matches(&digest.finish())
        {
            return Err(Reject::ChecksumMismatch);
        }
        // Bytes that were told as they came cannot be taken back: where no trailer was announced, and the body has a
        // length, one that comes all the same (HTTP/2) is not looked at.
        let trailer = trailers
            .filter(|_| !ingest.countable)
            .map_or(Ok(None), UploadChecksum::from_headers)
            .map_err(|error| match error {
                ChecksumError::Unknown => Reject::UnknownAlgorithm,
                ChecksumError::Header(error) => error.into(),
            })?;
        match trailer {
            // Its algorithm is known only now: the range is read back once.
            Some(checksum) => {
                let sum = self
                    .sum_of(
                        ingest.entry,
                        ingest.base..ingest.position(),
                        checksum.algorithm,
                    )
                    .await?;
                checksum
                    .matches(&sum)
                    .then_some(())
                    .ok_or(Reject::ChecksumMismatch)
            }
            None if append.trailer_announced && append.checksum.is_none() => {
                Err(HeaderError::Missing("Upload-Checksum").into())
            }
            None => Ok(()),
        }
    }

    pub(super) async fn sum_of(
        &self,
        entry: &Entry,
        range: Range<u64>,
        algorithm: Algorithm,
    ) -> Result<Vec<u8>, Reject> {
        let digest = Digest::new(algorithm);
        let digest = self.hash(entry, range, digest, Digest::update).await?;
        Ok(digest.finish())
    }

    /// Takes stored bytes into a hash: in the task, as those that arrive, while the next ones are read in the pool.
    pub(super) async fn hash<H>(
        &self,
        entry: &Entry,
        range: Range<u64>,
        mut hash: H,
        update: fn(&mut H, &[u8]),
    ) -> Result<H, Reject> {
        if range.is_empty() {
            return Ok(hash);
        }
        let mut pieces = self.read_stored(entry, range).await?;
        while let Some(piece) = pieces.next().await {
            update(&mut hash, &piece?);
        }
        Ok(hash)
    }

    /// SHA-256 of stored bytes.
    pub(super) async fn sha256_of(&self, entry: &Entry, range: Range<u64>) -> Result<Sum, Reject> {
        let hash = || self.hash(entry, range.clone(), Hasher::default(), Hasher::update);
        let hash = retry::patiently(&entry.id, retry::refusal_may_pass, hash);
        Ok(hash.await?.finish())
    }

    /// Commits `end` as the offset, never before its bytes are as safe as the mode promises.
    pub(super) async fn commit_offset(
        self: &Arc<Self>,
        ingest: &mut Ingest<'_>,
        end: u64,
    ) -> Result<Appended, Reject> {
        let entry = ingest.entry;
        let record = entry.record();
        let mut next = record.advance(end, now())?;
        let completes = next.is_complete() && !record.is_complete();
        let every = self.options.durability == Durability::Every;
        next.synced = next
            .synced
            .max(ingest.live.synced.load(Ordering::Acquire))
            .min(end);
        if every && end > record.synced && !completes {
            let synced = match &mut ingest.writer {
                Some(writer) => writer.sync().await,
                None => self.blobs.sync(&entry.id, &entry.blob()).await,
            };
            self.or_lost(entry, synced).await?;
            next.synced = end;
        }
        if let Some(mark) = record.unverified_from {
            // What stands verified up to here; a checked PATCH that follows finds its mark in place already.
            next.unverified_from = (!next.is_complete()).then_some(mark.max(end));
        }
        let before = entry.image().digest.clone();
        let hashed = Self::hash_after(ingest, end);
        let hash = self.hash_detail(hashed.as_deref());
        if completes {
            entry.image().digest = hashed.or_else(|| before.clone());
            if let Err(reject) = self.complete(entry, next).await {
                entry.image().digest = before;
                let told = ingest.live.told.load(Ordering::Acquire);
                self.keep_told(entry, told).await;
                return Err(reject);
            }
        } else if self.moves(&record, &next) {
            self.stamp(&mut next);
            let promise = match (every, next.unverified_from == record.unverified_from) {
                (true, _) => Promise::Synced,
                (false, false) => Promise::Flushed,
                (false, true) => Promise::Queued,
            };
            let mut more = open_mark(entry);
            more.details.extend(hash);
            self.change(entry, next, promise, more).await?;
            entry.image().digest = hashed.or(before);
        }
        let record = entry.record();
        Ok(Appended {
            offset: record.offset,
            expires: record.expires,
        })
    }

    /// Whether an unfinished upload's record is to be written: its offset or what is synced has moved, or its life is extended
    /// by a body that left nothing.
    fn moves(&self, before: &Record, after: &Record) -> bool {
        let every = self.options.durability == Durability::Every;
        before.status == Status::Active
            && (after.offset != before.offset
                || (every && after.synced != before.synced)
                || after.touched > before.touched.saturating_add(1000))
    }

    /// A completion that failed: the upload is not complete, but what HEAD told of it stands.
    pub(super) async fn keep_told(&self, entry: &Entry, told: u64) {
        let record = entry.record();
        if record.status == Status::Active
            && let Ok(next) = record.advance(told.max(record.offset), now())
            && !next.is_complete()
            && let Err(error) = self
                .change(entry, next, Promise::Queued, More::default())
                .await
        {
            warn!(id = %entry.id, %error, "the offset could not be recorded");
        }
    }

    /// A sync that failed because bytes are lost ends the upload: the next sync would call itself a success.
    pub(super) async fn or_lost(
        self: &Arc<Self>,
        entry: &Entry,
        synced: Result<(), BlobError>,
    ) -> Result<(), Reject> {
        match synced {
            Err(error) if is_loss(&error) => {
                self.faulted(entry, &error).await;
                Err(Reject::BlobLost)
            }
            other => Ok(other?),
        }
    }

    /// Syncs an upload's `length` bytes, which are to be found under its name: a file that was removed or cut behind the
    /// server's back is still there for whoever writes to it, and for nobody else.
    pub(super) async fn sync_whole(&self, entry: &Entry, length: u64) -> Result<(), BlobError> {
        let blob = entry.blob();
        self.blobs.sync(&entry.id, &blob).await?;
        if self.blobs.stored(&blob).await? < length {
            return Err(BlobError::Lost);
        }
        Ok(())
    }

    /// Tells the operator where the bytes of an upload lie for good. A final's are told when it is one file, and nobody looks
    /// for a part's.
    pub(super) fn tell_complete(&self, entry: &Entry) {
        let (id, record) = (&entry.id, entry.record());
        if record.kind == Kind::Plain || entry.session().is_some() || entry.blob().is_chosen() {
            let own = || File::Upload(id.clone());
            let path = self
                .blobs
                .name(&entry.blob().one_file().unwrap_or_else(own));
            info!(%id, length = record.offset, path, "upload complete");
        }
    }

    /// What a change is promised that must hold after a power cut too, where the mode speaks of power cuts at all.
    pub(super) fn firmly(&self) -> Promise {
        match self.options.durability {
            Durability::Process => Promise::Flushed,
            Durability::Complete | Durability::Every => Promise::Synced,
        }
    }

    /// Commits a record that says complete, once its bytes are as safe as the mode promises, and lets finals know that
    /// waited for it.
    pub(super) async fn complete(
        self: &Arc<Self>,
        entry: &Entry,
        mut next: Record,
    ) -> Result<(), Reject> {
        let process = self.options.durability == Durability::Process;
        // A chunk is no upload of its own: what is promised of complete ones is promised of its session.
        let later = self.options.durability == Durability::Complete && entry.is_chunk();
        if !process && !later {
            let sync = || self.sync_whole(entry, next.offset);
            let synced = retry::patiently(&entry.id, retry::sync_may_pass, sync).await;
            self.or_lost(entry, synced).await?;
            next.synced = next.offset;
        }
        // Found while its chunks were written, or beside this.
        if entry.session().is_some_and(|session| session.is_faulted()) {
            return Err(Reject::BlobLost);
        }
        next.unverified_from = None;
        let mut details = self.hash_of_complete_chunk(entry, &next).await?;
        let hash = entry.image().digest.clone();
        details.extend(self.hash_of_complete(entry, next.offset));
        self.stamp(&mut next);
        // Without a sync it stays open until it has one; a chunk is synced with its session.
        let late = next.is_unsynced() && !entry.is_chunk();
        let marked = entry.image().marked_open;
        let mut marks = if marked == late {
            Vec::new()
        } else {
            vec![(Mark::Open, late)]
        };
        self.scan_first(&mut next, &mut marks);
        let promise = match (process, entry.record()) {
            (false, _) => Promise::Synced,
            // The blob's length witnesses the offset, but not a declared length or a checksum's verdict.
            (true, before)
                if before.unverified_from.is_some()
                    || before.length != next.length
                    || entry.session().is_some() =>
            {
                Promise::Flushed
            }
            (true, _) => Promise::Queued,
        };
        let changed = self.change(entry, next, promise, More { details, marks });
        if let Err(reject) = changed.await {
            entry.image().digest = hash;
            return Err(reject);
        }
        entry.image().marked_open = late;
        if late {
            self.late.push(&entry.id);
        }
        if entry.is_complete_partial() {
            self.part_complete(&entry.id).await;
        }
        Ok(())
    }

    /// The file stays open for the next PATCH; that of a complete upload is closed at once.
    pub(super) async fn put_away(&self, entry: &Entry, writer: Option<Box<dyn BlobWriter>>) {
        let Some(writer) = writer else { return };
        if entry.record().is_complete() {
            close_well(&entry.id, writer).await;
        } else {
            entry.image().writer = Some((writer, Instant::now()));
        }
    }
}
