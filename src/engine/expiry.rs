//! The paced sweeper: what expired, tombstones whose time is over, files that belong to nobody. And the small chores:
//! files of resting uploads are closed, entries nobody asks for leave the memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::end::{all_files, is_loss};
use super::table::Entry;
use super::{Inner, More, millis, now};
use crate::blob::{Blob, BlobWriter, File};
use crate::error::Reject;
use crate::state::{Change, Mark, Promise};
use crate::upload::{Kind, Record, Status, UploadId};

/// How long a tombstone stands.
const TOMBSTONE: Duration = Duration::from_hours(24);
/// A file of the last append rests this long before it is closed and what was reserved ahead is given back.
const REST: Duration = Duration::from_secs(10);
/// Between two chores.
const CHORES: Duration = Duration::from_secs(1);
/// Records looked at in one step, and the pause after it.
const PAGE: usize = 500;
const PAUSE: Duration = Duration::from_millis(10);
/// How often files are held against records.
const ORPHANS: Duration = Duration::from_hours(1);

impl Inner {
    /// Runs until the server stops.
    pub(super) async fn chores(self: Arc<Self>) {
        while self.unless_stopped(CHORES).await {
            self.rest(REST).await;
            self.table.evict();
            self.hub.rest();
        }
    }

    /// Runs until the server stops. The first round looks at every unfinished upload, every complete one that is not known to
    /// be synced, and every file, so that what a crash or an older server left is mended even if nobody asks for it.
    pub(super) async fn sweeper(self: Arc<Self>) {
        let life = [self.options.expire_after, self.options.expire_completed]
            .into_iter()
            .flatten()
            .min();
        let between = life.map_or(Duration::from_mins(1), |life| {
            (life / 4).clamp(Duration::from_millis(250), Duration::from_mins(1))
        });
        let mut first = true;
        let mut orphans_next = Instant::now();
        loop {
            let held = self.walks.sweep.lock().await;
            self.sweep(first).await;
            first = false;
            if Instant::now() >= orphans_next {
                self.sweep_files().await;
                orphans_next = Instant::now() + ORPHANS;
            }
            drop(held);
            if !self.unless_stopped(between).await {
                return;
            }
        }
    }

    /// Waits; `false` if the server stops.
    pub(super) async fn unless_stopped(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// One paced walk over all records.
    pub(super) async fn sweep(self: &Arc<Self>, mend: bool) {
        let mut after: Option<UploadId> = None;
        loop {
            let page = match self.state.scan(after.as_ref(), PAGE).await {
                Ok(page) => page,
                Err(error) => return warn!(%error, "the sweep could not read the records"),
            };
            let Some((last, _)) = page.last() else { return };
            after = Some(last.clone());
            for (id, record) in &page {
                self.sweep_one(id, record, mend).await;
            }
            if !self.unless_stopped(PAUSE).await {
                return;
            }
        }
    }

    async fn sweep_one(self: &Arc<Self>, id: &UploadId, record: &Record, mend: bool) {
        let now = now();
        if record.is_tombstone() {
            if self.paths.of(id).is_some() {
                return self.sweep_path(id).await;
            }
            if record.touched.saturating_add(millis(TOMBSTONE)) <= now {
                let gone = Change::record(id, Some(record.clone()), None);
                // A sidecar without a record would bring the upload back.
                if let Err(error) = self.blobs.remove(&[File::About(id.clone())]).await {
                    return warn!(%id, %error, "a tombstone stays");
                }
                self.table.forget(id);
                match self.commit(vec![gone], Promise::Queued).await {
                    Ok(()) => self.meter.tombstones.one(),
                    Err(error) => warn!(%id, %error, "a tombstone stays"),
                }
            }
        } else if record.is_due(now) && !self.waiting.needs(id) {
            self.expire(id).await;
        } else if mend && self.is_left_chunk(id, record).await {
            self.forget_chunk_record(id, record).await;
        } else if mend && record.status == Status::Active && record.kind != Kind::Final {
            self.entry_logged(id).await;
        } else if mend && record.is_unsynced() && !self.stop.is_cancelled() {
            match self.sync_one(id).await {
                // Whoever holds it may be about to sync it; if not, the next start is soon enough.
                Ok(()) | Err(Reject::Locked) => {}
                Err(error) => warn!(%id, %error, "a complete upload is not synced"),
            }
        }
    }

    async fn expire(self: &Arc<Self>, id: &UploadId) {
        // Whoever writes to it now keeps it alive.
        let Some(guard) = self.locks.try_lock(id) else {
            return;
        };
        let Some(entry) = self.entry_logged(id).await else {
            return;
        };
        let record = entry.record();
        if record.is_tombstone() || !record.is_due(now()) {
            return;
        }
        if entry.session().is_some_and(|session| session.is_busy()) {
            return;
        }
        if record.is_waiting() {
            let mut next = record;
            next.touched = self.last_touched(&entry).await;
            self.stamp(&mut next);
            if !next.is_due(now()) {
                if let Err(reject) = self
                    .change(&entry, next, Promise::Queued, More::default())
                    .await
                {
                    warn!(%id, %reject, "a waiting final's life could not be extended");
                }
                return;
            }
        }
        let freed = self.freed_by(&all_files(id, &entry.blob())).await;
        match self.end(&entry, Status::Expired, guard.as_ref()).await {
            Ok(()) => {
                self.meter.swept_bytes.add(freed);
                debug!(%id, freed, "expired");
            }
            Err(reject) => warn!(%id, %reject, "an expired upload could not be removed"),
        }
    }

    /// One paced walk over all files: those of no upload, or of one that ended, go. Those with a sidecar are of an upload,
    /// whatever the state store knows.
    pub(super) async fn sweep_files(self: &Arc<Self>) {
        self.sweep_quarantine().await;
        let shards = match self.blobs.shards().await {
            Ok(shards) => shards,
            Err(error) => return warn!(%error, "the sweep could not list the files"),
        };
        let mut removed = 0usize;
        for shard in shards {
            let files = match self.blobs.files(&shard).await {
                Ok(files) => files,
                Err(error) => return warn!(%error, shard, "the sweep could not list the files"),
            };
            for file in files {
                removed += usize::from(self.remove_orphan(&shard, &file).await);
            }
            if !self.unless_stopped(PAUSE).await {
                return;
            }
        }
        if removed > 0 {
            info!(removed, "files of no upload removed");
        }
        self.sweep_notes().await;
    }

    /// Looked at and removed under its upload's lock, which a creation and a join hold until there is a record.
    async fn remove_orphan(self: &Arc<Self>, shard: &str, file: &File) -> bool {
        let Some(_guard) = self.locks.try_lock(file.owner()) else {
            return false;
        };
        if !self.is_orphan(file).await {
            return false;
        }
        let freed = self.freed_by(std::slice::from_ref(file)).await;
        match self.blobs.remove(std::slice::from_ref(file)).await {
            Ok(()) => {
                self.meter.orphans.one();
                self.meter.swept_bytes.add(freed);
                true
            }
            Err(error) => {
                warn!(%error, shard, ?file, "an orphaned file stays");
                false
            }
        }
    }

    async fn is_orphan(self: &Arc<Self>, file: &File) -> bool {
        match self.state.get(file.owner()).await {
            Ok(None) => matches!(self.entry(file.owner()).await, Err(Reject::NotFound)),
            Ok(Some(record)) if record.is_tombstone() => true,
            Ok(Some(_)) => {
                let Some(entry) = self.entry_logged(file.owner()).await else {
                    return false;
                };
                let blob = entry.blob();
                let status = entry.record().status;
                if matches!(status, Status::Failed(failure) if failure.is_refusal()) {
                    // A mark says that malware is still to be set aside.
                    let marked = self.state.marked(Mark::Scanning).await;
                    return marked.is_ok_and(|ids| !ids.contains(file.owner()));
                }
                match (file, &*blob) {
                    (File::About(_) | File::Chosen(..), _)
                    | (File::Upload(_), Blob::Own(_))
                    | (File::List(_), Blob::Segments(_)) => false,
                    // Assembly stands somewhere between its copy and the record's switch.
                    (File::Draft(_), _) | (File::Upload(_), Blob::Segments(_)) => {
                        status != Status::Assembling
                    }
                    (File::Link(..), Blob::Segments(segments)) => {
                        !segments.iter().any(|s| s.file == *file)
                    }
                    (File::Link(..) | File::List(_), Blob::Own(_)) => entry.readers_gone(),
                }
            }
            // What cannot be read is not thrown away.
            Err(_) => false,
        }
    }

    /// Closes the files of uploads that have rested for `least`: gives back what was reserved ahead for them.
    pub(super) async fn rest(self: &Arc<Self>, least: Duration) {
        for entry in self.table.resting(least) {
            let Some(_guard) = self.locks.try_lock(&entry.id) else {
                continue;
            };
            let writer = entry.image().writer.take();
            let Some((writer, _)) = writer else { continue };
            if let Err(error) = self.lay_down(&entry, writer).await {
                warn!(id = %entry.id, %error, "a file did not close well");
            }
        }
    }

    /// The file of a resting upload is closed, and what is in it is synced first, whatever the mode: an unfinished upload
    /// that nobody touches is not sent back to its start by the loss of power that may come hours later.
    pub(super) async fn lay_down(
        self: &Arc<Self>,
        entry: &Entry,
        mut writer: Box<dyn BlobWriter>,
    ) -> Result<(), Reject> {
        let mut record = entry.record();
        if record.synced < record.offset && writer.position() == record.offset {
            match writer.sync().await {
                Ok(()) => record.synced = record.offset,
                Err(error) if is_loss(&error) => self.faulted(entry, &error).await,
                Err(error) => warn!(id = %entry.id, %error, "not synced"),
            }
        }
        writer.close().await?;
        let marked = std::mem::take(&mut entry.image().marked_open);
        let before = entry.record();
        if before.status != Status::Active || (!marked && record == before) {
            return Ok(());
        }
        let marks = vec![(Mark::Open, false)];
        self.change(
            entry,
            record,
            Promise::Queued,
            More {
                marks,
                ..More::default()
            },
        )
        .await
    }
}
