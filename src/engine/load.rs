//! From the stores into memory: an upload is held against its blob when it is first asked for, and mended.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{Instrument, error, info, warn};

use super::content::no_marks;
use super::session::{ChunkOf, Session};
use super::table::{Entry, Image};
use super::{Inner, More, now};
use crate::blob::Blob;
use crate::config::Durability;
use crate::error::Reject;
use crate::state::{Detail, Mark, Promise, StateError};
use crate::upload::{Failure, Kind, Record, Status, UploadId};

/// Details that are lists, as bytes.
pub(super) fn encode<T: Serialize + ?Sized>(list: &T) -> Vec<u8> {
    postcard::to_stdvec(list).unwrap_or_default()
}

pub(super) fn decode<T: DeserializeOwned>(id: &UploadId, bytes: &[u8]) -> Result<T, Reject> {
    postcard::from_bytes(bytes).map_err(|_| StateError::Damaged(id.clone()).into())
}

impl Inner {
    /// The upload, whatever its state; loaded if need be.
    pub(super) async fn entry(self: &Arc<Self>, id: &UploadId) -> Result<Arc<Entry>, Reject> {
        if let Some(entry) = self.table.slot(id).get() {
            return Ok(entry.clone());
        }
        // In a task of its own: a request that goes away must not leave a mended upload half loaded.
        let (inner, id) = (self.clone(), id.clone());
        let load = async move {
            let slot = inner.table.slot(&id);
            let loaded = slot.get_or_try_init(|| inner.load(&id)).await.cloned();
            if loaded.is_err() {
                drop(slot);
                inner.table.forget_empty(&id);
            }
            loaded
        };
        match tokio::spawn(load.in_current_span()).await {
            Ok(loaded) => loaded,
            Err(panic) => {
                error!(%panic, "loading an upload ended in a panic");
                Err(Reject::Panicked)
            }
        }
    }

    /// The upload, if it has not ended: it can be terminated, even if it failed.
    pub(super) async fn there(self: &Arc<Self>, id: &UploadId) -> Result<Arc<Entry>, Reject> {
        let entry = self.entry(id).await?;
        let failed = matches!(entry.record().status, Status::Failed(_));
        if failed {
            Ok(entry)
        } else {
            self.usable(id).await
        }
    }

    /// The upload, if it can still be used.
    pub(super) async fn usable(self: &Arc<Self>, id: &UploadId) -> Result<Arc<Entry>, Reject> {
        let entry = self.entry(id).await?;
        if let Some(chunk) = entry.chunk() {
            self.chunk_lives(&chunk).await?;
        }
        self.standing(&entry)?;
        Ok(entry)
    }

    /// Whether an upload can still be used.
    pub(super) fn standing(&self, entry: &Entry) -> Result<(), Reject> {
        let (status, expires) = {
            let image = entry.image();
            let faulted = |session: &Arc<Session>| session.is_faulted();
            if image.session.as_ref().is_some_and(faulted) && !image.record.is_tombstone() {
                return Err(Reject::BlobLost);
            }
            // While bytes come it lives, whatever the record of before them says; and a final that waits, as long as
            // its parts: the sweeper looks at them.
            let lives = match &image.session {
                Some(session) => session.is_busy(),
                None => image.live.is_some() || image.record.is_waiting(),
            };
            (image.record.status, image.record.expires.filter(|_| !lives))
        };
        match status {
            Status::Cancelled => Err(Reject::NotFound),
            Status::Expired => Err(Reject::Expired),
            Status::Failed(Failure::BlobLost | Failure::DiskFault) => Err(Reject::BlobLost),
            Status::Failed(Failure::PartGone) => Err(Reject::PartGone),
            Status::Failed(Failure::TooLarge) => Err(Reject::PartsTooLarge),
            Status::Failed(Failure::TooSmall) => Err(Reject::PartsTooSmall),
            Status::Failed(Failure::FileHash) => Err(Reject::FileHashMismatch),
            Status::Failed(Failure::Malware) => Err(Reject::MalwareFound),
            Status::Failed(Failure::Unscanned) => Err(Reject::Unscanned),
            Status::Failed(Failure::TypeMismatch) => Err(Reject::TypeMismatch(
                "the bytes of this upload were not what they were declared as, or are not taken here".into(),
            )),
            Status::Active | Status::Assembling | Status::Completed | Status::Scanning
                if expires.is_some_and(|at| at <= now()) && !self.waiting.needs(&entry.id) =>
            {
                Err(Reject::Expired)
            }
            Status::Active | Status::Assembling | Status::Completed | Status::Scanning => Ok(()),
        }
    }

    async fn load(self: &Arc<Self>, id: &UploadId) -> Result<Arc<Entry>, Reject> {
        if let Some(chunk) = self.unstored_chunk(id).await {
            return Ok(chunk);
        }
        let record = match self.state.get(id).await? {
            Some(record) => record,
            None => match self.missing_chunk(id).await {
                Err(Reject::NotFound) => self.revive(id).await?.ok_or(Reject::NotFound)?,
                chunk => return chunk,
            },
        };
        let mut image = Image::new(id, record);
        image.metadata = self
            .state
            .detail(id, Detail::Metadata)
            .await?
            .map(Bytes::from);
        image.path = self.paths.of(id);
        if image.record.kind != Kind::Plain {
            image.concat = self
                .state
                .detail(id, Detail::Concat)
                .await?
                .map(Bytes::from);
        }
        if (image.record.kind != Kind::Plain || image.path.is_some())
            && let Some(segments) = self.state.detail(id, Detail::Segments).await?
        {
            image.blob = Arc::new(Blob::Segments(decode(id, &segments)?));
            image.chunk = ChunkOf::found(id, &image.blob);
        }
        if image.record.kind == Kind::Final
            && let Some(parts) = self.state.detail(id, Detail::Parts).await?
        {
            image.parts = decode::<Vec<UploadId>>(id, &parts)?.into();
        }
        if image.record.kind == Kind::Final {
            image.session = self.load_session(id, &image.record).await?;
        }
        image.digest = self.load_digest(id, &image.record).await?;
        let entry = Entry::new(id.clone(), image);
        if entry.is_chunk() {
            self.reconcile_chunk(&entry).await?;
            return Ok(Arc::new(entry));
        }
        let completed = self.reconcile(&entry).await?;
        let entry = Arc::new(entry);
        if completed && entry.is_complete_partial() {
            self.waiting.wake(id);
        }
        Ok(entry)
    }

    /// Holds the record against the blob. Bytes that were stored but never recorded count (a crash is a cut); bytes under
    /// a checksum that nobody verified do not. Answers whether this completed the upload.
    async fn reconcile(&self, entry: &Entry) -> Result<bool, Reject> {
        let record = entry.record();
        let blob = entry.blob();
        if record.is_complete() {
            // One that fails here has nothing left to be done. Doubt comes before loss: a file that is short now may be whole
            // again later, and what it holds is not known then either.
            let marks = no_marks();
            if record.is_unsynced() && record.power_cuts != self.options.power_cuts {
                error!(id = %entry.id, "a power cut came before this complete upload was synced: what its file holds is not known");
                self.fail(entry, Failure::DiskFault, marks).await;
            } else if self.blobs.stored(&blob).await? < record.offset {
                self.fail(entry, Failure::BlobLost, marks).await;
            }
            return Ok(false);
        }
        if record.status == Status::Failed(Failure::BlobLost) {
            self.resurrect(entry, record).await?;
            return Ok(false);
        }
        // A range of a larger file does not witness its own bytes, and a waiting final has none.
        if record.status != Status::Active
            || record.kind == Kind::Final
            || matches!(*blob, Blob::Segments(_))
        {
            return Ok(false);
        }
        let stored = self.blobs.stored(&blob).await?;
        let power_cut = record.power_cuts != self.options.power_cuts;
        let Some(keep) = safe_bytes(&record, stored, power_cut) else {
            self.fail(entry, Failure::BlobLost, Vec::new()).await;
            return Ok(false);
        };
        if stored > 0 {
            // Also where nothing is cut: space reserved before a crash is given back, if that is possible.
            match self.blobs.cut(&blob, keep).await {
                Err(error) if stored > keep => return Err(error.into()),
                Err(error) => warn!(id = %entry.id, %error, "reserved space stays reserved"),
                Ok(()) => {}
            }
        }
        let every = self.options.durability == Durability::Every;
        if keep == record.offset && !power_cut && !(every && keep > record.synced) {
            return Ok(false);
        }
        self.mend(entry, record, keep, stored).await
    }

    async fn mend(
        &self,
        entry: &Entry,
        record: Record,
        keep: u64,
        stored: u64,
    ) -> Result<bool, Reject> {
        let (before, touched) = (record.offset, record.touched);
        if keep < before {
            warn!(id = %entry.id, before, offset = keep, "a power cut took bytes that were never synced");
        } else if keep > before || stored > keep {
            info!(id = %entry.id, before, offset = keep, stored, "bytes of a cut upload taken over from the disk");
        }
        // The one place where an offset may fall: after a power cut, to what is known to be on the disk.
        let from = Record {
            offset: before.min(keep),
            ..record
        };
        let mut next = from.advance(keep, touched)?;
        let completed = next.is_complete();
        let promise = match self.options.durability {
            Durability::Process => Promise::Queued,
            Durability::Complete if !completed => Promise::Queued,
            // It is told from here on, and what is told survives a power cut.
            Durability::Complete | Durability::Every => {
                self.blobs.sync(&entry.id, &entry.blob()).await?;
                next.synced = keep;
                Promise::Synced
            }
        };
        self.stamp(&mut next);
        let late = next.is_unsynced();
        let mut marks = vec![(Mark::Open, late)];
        self.scan_first(&mut next, &mut marks);
        let more = More {
            marks,
            ..More::default()
        };
        self.change(entry, next, promise, more).await?;
        if late {
            self.late.push(&entry.id);
        }
        Ok(completed)
    }

    /// Bytes that were gone are back, as after a file system that was not mounted.
    async fn resurrect(&self, entry: &Entry, record: Record) -> Result<(), Reject> {
        if self.blobs.stored(&entry.blob()).await? < record.offset {
            return Ok(());
        }
        if record.synced < record.offset && record.power_cuts != self.options.power_cuts {
            error!(id = %entry.id, "bytes that were lost are there again, but a power cut came before they were synced");
            self.fail(entry, Failure::DiskFault, Vec::new()).await;
            return Ok(());
        }
        warn!(id = %entry.id, "bytes that were lost are there again");
        let complete = record.length == Some(record.offset);
        let mut marks = Vec::new();
        let mut status = if complete {
            Status::Completed
        } else {
            Status::Active
        };
        let chosen = entry.blob().is_chosen();
        if complete && record.kind == Kind::Final && self.options.assemble {
            // Assembly goes on where it was.
            marks.push((Mark::Assembling, true));
            if matches!(*entry.blob(), Blob::Segments(_)) && !chosen {
                status = Status::Assembling;
            }
        }
        let mut next = Record { status, ..record };
        self.scan_first(&mut next, &mut marks);
        self.stamp(&mut next);
        let late = next.is_unsynced();
        if late {
            marks.push((Mark::Open, true));
        }
        let more = More {
            marks,
            ..More::default()
        };
        self.change(entry, next, Promise::Queued, more).await?;
        if late {
            self.late.push(&entry.id);
        }
        Ok(())
    }

    /// A final that is stored but cannot be loaded is told in the log, and is left alone.
    pub(super) async fn entry_logged(self: &Arc<Self>, id: &UploadId) -> Option<Arc<Entry>> {
        match self.entry(id).await {
            Ok(entry) => Some(entry),
            Err(Reject::NotFound) => None,
            Err(reject) => {
                error!(%id, %reject, "upload cannot be loaded");
                None
            }
        }
    }
}

/// How many of `stored` bytes count: all that arrived, but none past an unverified mark, and after a power cut none that
/// were never synced. `None` if bytes that must be there are not.
fn safe_bytes(record: &Record, stored: u64, power_cut: bool) -> Option<u64> {
    let witnessed = if power_cut {
        stored.min(record.synced)
    } else {
        stored
    };
    let must = if power_cut {
        record.synced
    } else {
        record.offset
    };
    if stored < must {
        return None;
    }
    let keep = record
        .unverified_from
        .map_or(witnessed, |mark| witnessed.min(mark));
    Some(record.length.map_or(keep, |length| keep.min(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_after_a_crash() {
        let record = Record {
            offset: 10,
            synced: 5,
            ..Record::new(Kind::Plain, Some(100), 1)
        };
        let checked = Record {
            unverified_from: Some(10),
            ..record.clone()
        };
        for (record, stored, power_cut, keep) in [
            (&record, 10, false, Some(10)),
            (&record, 15, false, Some(15)),
            (&record, 9, false, None),
            (&record, 15, true, Some(5)),
            (&record, 5, true, Some(5)),
            (&record, 4, true, None),
            (&checked, 15, false, Some(10)),
            (&checked, 9, false, None),
            (&checked, 15, true, Some(5)),
            (&record, 200, false, Some(100)),
        ] {
            assert_eq!(
                safe_bytes(record, stored, power_cut),
                keep,
                "{record:?} {stored} {power_cut}"
            );
        }
    }
}
