//! The end of an upload that is not its completion: terminated, expired, or failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::{error, info, warn};

use super::content::no_marks;
use super::table::Entry;
use super::{Inner, More, now};
use crate::blob::{Blob, BlobError, BlobWriter, File};
use crate::error::Reject;
use crate::hooks::Event;
use crate::lock::Guard;
use crate::progress::What;
use crate::state::{Change, Mark, Promise};
use crate::upload::{Failure, Kind, Status, UploadId};

impl Inner {
    /// Ends an upload that somebody wants to be gone, if `judge` finds nothing against it; takes over from whoever writes.
    pub(super) async fn terminate(
        self: &Arc<Self>,
        id: &UploadId,
        judge: fn(&Entry) -> Result<(), Reject>,
    ) -> Result<(), Reject> {
        let entry = self.there(id).await?;
        judge(&entry)?;
        if let Some(chunk) = entry.chunk() {
            return self.drop_chunk(&entry, &chunk).await;
        }
        let asked = Instant::now();
        let guard = self.hold(id, true).await?;
        self.meter.lock_wait.observe(asked.elapsed());
        // Its last byte may have come before whoever wrote it let go.
        let entry = self.there(id).await?;
        judge(&entry)?;
        self.end(&entry, Status::Cancelled, guard.as_ref()).await
    }

    /// Makes a tombstone of an upload and removes its bytes. The guard shows that the caller holds the lock.
    pub(super) async fn end(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        status: Status,
        _held: &dyn Guard,
    ) -> Result<(), Reject> {
        self.let_go(entry).await;
        let record = entry.record();
        let more = More {
            marks: no_marks(),
            ..More::default()
        };
        self.change(entry, record.entombed(status, now()), self.firmly(), more)
            .await?;
        // The tombstone stands: from here on the upload is gone, whatever becomes of its files.
        self.clear(entry).await;
        match record.kind {
            Kind::Partial => self.part_gone(&entry.id).await,
            Kind::Final => self.waiting.forget(&entry.id),
            Kind::Plain => {}
        }
        info!(id = %entry.id, ?status, "upload ended");
        Ok(())
    }

    /// Removes what there is of an upload beside its record, which says by now that it has ended. Whether its files are gone.
    pub(super) async fn clear(self: &Arc<Self>, entry: &Arc<Entry>) -> bool {
        let session = entry.session();
        if let Some(session) = &session {
            self.quiet_chunks(session).await;
        }
        let removed = self.remove_all(entry).await;
        if let Err(error) = &removed {
            warn!(id = %entry.id, %error, "files of an ended upload are removed later");
        } else {
            self.release_path(entry).await;
        }
        if removed.is_ok() && self.short_of_space.load(Ordering::Relaxed) {
            self.assemble.notify_one();
        }
        if session.is_some() {
            self.forget_chunks(&entry.id).await;
            self.remove_notes(entry).await;
        }
        removed.is_ok()
    }

    /// Closes the file of an upload whose bytes are to go: a close that fails is no reason to keep them.
    pub(super) async fn let_go(&self, entry: &Entry) {
        let writer = entry.image().writer.take();
        if let Some((writer, _)) = writer {
            close_well(&entry.id, writer).await;
        }
    }

    /// Takes back an upload that nobody was told of: not even a tombstone stays. The sidecar goes before the record, which it
    /// would bring back.
    pub(super) async fn undo(self: &Arc<Self>, id: &UploadId) -> Result<(), Reject> {
        let _guard = self.hold(id, true).await?;
        let entry = self.entry(id).await?;
        self.let_go(&entry).await;
        self.remove_all(&entry).await?;
        let record = entry.record();
        // Its creation was told already, and so is its end where it was refused.
        let refused = matches!(record.status, Status::Failed(failure) if failure.is_refusal());
        let letters = if record.is_tombstone() || refused {
            Vec::new()
        } else {
            self.letters_for(Event::PostTerminate, &entry, &record)
        };
        let gone = Change::record(id, Some(record), None);
        self.commit_and_tell(vec![gone], letters, Promise::Flushed)
            .await?;
        self.table.forget(id);
        self.paths.release(id);
        self.tell(&entry, What::Cancelled);
        Ok(())
    }

    /// The blob is gone or too short: the upload has failed, the others go on.
    pub(super) async fn lost(&self, entry: &Entry) {
        self.fail(entry, Failure::BlobLost, Vec::new()).await;
    }

    /// A write or sync failed in a way that means lost bytes; those that the disk took and lost do not come back.
    pub(super) async fn faulted(self: &Arc<Self>, entry: &Entry, error: &BlobError) {
        error!(id = %entry.id, %error, "the disk lost bytes of this upload");
        if let Some(of) = entry.chunk() {
            self.fault_session(&of.session).await;
        }
        match error {
            BlobError::Lost => self.lost(entry).await,
            _ => self.fail(entry, Failure::DiskFault, Vec::new()).await,
        }
    }

    /// The same, found by a reader, who has no lock.
    pub(super) async fn found_lost(self: &Arc<Self>, id: &UploadId) -> Result<(), Reject> {
        let _guard = self.hold(id, false).await?;
        let entry = self.usable(id).await?;
        if self.blobs.stored(&entry.blob()).await? < entry.record().offset {
            self.lost(&entry).await;
        }
        Ok(())
    }

    pub(super) async fn fail(&self, entry: &Entry, failure: Failure, marks: Vec<(Mark, bool)>) {
        if failure.is_refusal() {
            info!(id = %entry.id, ?failure, "upload refused");
        } else {
            error!(id = %entry.id, ?failure, "upload failed");
        }
        let mut record = entry.record();
        record.status = Status::Failed(failure);
        record.touched = now();
        self.stamp(&mut record);
        if let Err(error) = self
            .change(
                entry,
                record,
                self.firmly(),
                More {
                    marks,
                    ..More::default()
                },
            )
            .await
        {
            warn!(id = %entry.id, %error, "the failure could not be recorded");
        }
        // Finals that wait for it are not to wait for ever.
        self.waiting.wake(&entry.id);
    }
}

/// Closes a file whose bytes count already, or are to go: a close that fails changes nothing.
pub(super) async fn close_well(id: &UploadId, writer: Box<dyn BlobWriter>) {
    if let Err(error) = writer.close().await {
        warn!(%id, %error, "a file did not close well");
    }
}

/// Every file that an upload may have.
pub(super) fn all_files(id: &UploadId, blob: &Blob) -> Vec<File> {
    let mut files = vec![File::Upload(id.clone()), File::About(id.clone())];
    if let Blob::Segments(segments) = blob {
        let own = segments
            .iter()
            .map(|segment| &segment.file)
            .filter(|file| file.owner() == id);
        files.extend(own.cloned());
        files.dedup();
        files.extend([File::Draft(id.clone()), File::List(id.clone())]);
    }
    files
}

/// Whether a failed write or sync means that bytes are lost: they are not where they were, or the kernel says so, which it
/// does once and calls the next sync a success.
pub(super) fn is_loss(error: &BlobError) -> bool {
    match error {
        BlobError::Lost => true,
        BlobError::Io { source, .. } => {
            source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        }
        BlobError::Full | BlobError::Fixed | BlobError::Taken { .. } => false,
    }
}
