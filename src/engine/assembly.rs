//! In the background a joined final becomes one plain file, for those who read the data directory. Until then, and where
//! there is no space for it, it is a list of segments: whole and readable all the same.
//!
//! The order that lets a crash fall anywhere: copy, sync file and directory, switch the final's record, give the parts
//! names of their own in the new file, switch their records, and only then remove the old names. Each switch survives a
//! power cut before what it replaces is removed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::join::Look;
use super::table::Entry;
use super::{Inner, More, load};
use crate::blob::{Blob, BlobError, File, JoinParts, Segment};
use crate::error::Reject;
use crate::lock::Guard;
use crate::state::{Change, Detail, Mark, Promise, StateError};
use crate::upload::{Record, Status, UploadId};

/// Bytes copied between two looks at the world.
const STEP: u64 = 8 << 20;
/// Space that is left to uploads, and not assembled into.
const MARGIN: u64 = 64 << 20;
/// When what could not be assembled is tried again; for want of space also whenever an upload goes.
const AGAIN: Duration = Duration::from_secs(30);
/// Parts that are switched in one commit.
const BATCH: usize = 256;

impl Inner {
    /// Runs until the server stops.
    pub(super) async fn assembler(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            for id in self.waiting.take_due() {
                self.finish_waiting(&id, Look::AtAll).await;
            }
            match self.state.marked(Mark::Assembling).await {
                Ok(ids) => {
                    let was_short = self.short_of_space.swap(false, Ordering::Relaxed);
                    for id in ids {
                        self.assemble(&id, was_short).await;
                    }
                }
                Err(error) => warn!(%error, "what is to be assembled cannot be listed"),
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.assemble.notified() => {}
                () = self.waiting.notify.notified() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn assemble(self: &Arc<Self>, id: &UploadId, was_short: bool) {
        let Some(entry) = self.entry_logged(id).await else {
            return;
        };
        let Some(joiner) = self.blobs.join() else {
            return;
        };
        let blob = entry.blob();
        let result = match (&*blob, entry.record().status) {
            _ if self.stop.is_cancelled() => Ok(()),
            (Blob::Own(_), Status::Assembling) => self.move_complete(id).await,
            (Blob::Segments(segments), Status::Assembling) => {
                self.assemble_into_one(&entry, joiner, segments).await
            }
            // The last server ended between the final's switch and its parts'.
            (blob, Status::Completed) if blob.one_file().is_some() => {
                self.adopt_parts(&entry, joiner).await
            }
            (_, Status::Failed(_)) => self.give_up(&entry).await,
            _ => Ok(()),
        };
        match result {
            Ok(()) => {}
            Err(Reject::Blob(BlobError::Full)) => {
                self.short_of_space.store(true, Ordering::Relaxed);
                if was_short {
                    debug!(%id, "still no space to assemble");
                } else {
                    warn!(%id, "no space to assemble: the upload stays a list of segments, whole and readable");
                }
            }
            Err(error) => warn!(%id, %error, "assembly failed and is tried again"),
        }
    }

    /// What failed is not looked at again and again.
    async fn give_up(&self, entry: &Entry) -> Result<(), Reject> {
        let _guard = self.hold(&entry.id, false).await?;
        let record = entry.record();
        if !matches!(record.status, Status::Failed(_)) {
            return Ok(());
        }
        let more = More {
            marks: vec![(Mark::Assembling, false)],
            ..More::default()
        };
        self.change(entry, record, Promise::Queued, more).await
    }

    async fn assemble_into_one(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        joiner: &dyn JoinParts,
        segments: &[Segment],
    ) -> Result<(), Reject> {
        match self.copy(entry, joiner, segments).await {
            Ok(true) => {
                self.switch(entry, joiner).await?;
                // At once: a chosen path's list takes its place.
                self.discard(&[File::List(entry.id.clone())]).await;
                // The parts have their own names still.
                self.drop_segments(entry, segments);
                self.move_complete(&entry.id).await?;
                self.adopt_parts(entry, joiner).await
            }
            Ok(false) => {
                self.discard(&[File::Draft(entry.id.clone())]).await;
                Ok(())
            }
            Err(error) => {
                self.discard(&[File::Draft(entry.id.clone())]).await;
                Err(error.into())
            }
        }
    }

    /// Copies everything, paced. `false`: the upload ended meanwhile, or the server stops.
    async fn copy(
        &self,
        entry: &Entry,
        joiner: &dyn JoinParts,
        segments: &[Segment],
    ) -> Result<bool, BlobError> {
        let length: u64 = segments.iter().map(|segment| segment.len).sum();
        let room = self.blobs.space().await?;
        if room.is_some_and(|room| room.free < length.saturating_add(MARGIN)) {
            return Err(BlobError::Full);
        }
        let mut at = 0;
        while at < length {
            if self.stop.is_cancelled() || entry.record().status != Status::Assembling {
                return Ok(false);
            }
            let began = Instant::now();
            at = joiner.copy(&entry.id, segments, at, STEP).await?;
            if self.appending.load(Ordering::Relaxed) > 0 {
                // Uploads come first: a quarter of the time is enough for copying beside them.
                let pause =
                    (began.elapsed() * 3).clamp(Duration::from_millis(2), Duration::from_secs(1));
                tokio::time::sleep(pause).await;
            }
        }
        // Before the lock: it may take long.
        joiner.sync_draft(&entry.id).await?;
        Ok(true)
    }

    /// The draft becomes the upload's file.
    async fn switch(self: &Arc<Self>, entry: &Entry, joiner: &dyn JoinParts) -> Result<(), Reject> {
        let id = &entry.id;
        let _guard = self.hold(id, false).await?;
        let record = entry.record();
        if record.status != Status::Assembling {
            self.discard(&[File::Draft(id.clone())]).await;
            return Err(Reject::NotFound);
        }
        joiner.finish(id).await?;
        let more = More {
            details: vec![(Detail::Segments, None)],
            marks: Vec::new(),
        };
        let next = Record {
            status: Status::Completed,
            synced: record.offset,
            ..record
        };
        self.change(entry, next, Promise::Synced, more).await?;
        entry.image().blob = Arc::new(Blob::Own(id.clone()));
        // One that a hook wants elsewhere is told of once it is there.
        let stays = entry.image().path.is_none();
        let path = stays.then(|| self.blobs.name(&File::Upload(id.clone())));
        info!(%id, length = entry.record().offset, path, "upload assembled");
        Ok(())
    }

    /// The final's names of its parts' files go, once nobody reads in them any more. What a stop leaves of them is swept
    /// after the next start.
    fn drop_segments(self: &Arc<Self>, entry: &Arc<Entry>, segments: &[Segment]) {
        let old: Vec<File> = segments
            .iter()
            .map(|segment| segment.file.clone())
            .collect();
        let (inner, entry) = (self.clone(), entry.clone());
        self.tasks.spawn(async move {
            while !entry.readers_gone() && !inner.stop.is_cancelled() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if entry.readers_gone() {
                inner.discard(&old).await;
            }
        });
    }

    /// The parts' records point at their ranges in the final's file from now on, and their own files go. With that the
    /// final is done.
    async fn adopt_parts(
        self: &Arc<Self>,
        entry: &Entry,
        joiner: &dyn JoinParts,
    ) -> Result<(), Reject> {
        let Some(whole) = entry.blob().one_file() else {
            return Ok(());
        };
        let parts = entry.image().parts.clone();
        let mut seen = HashSet::new();
        let mut start = 0;
        let mut moves = Vec::new();
        for part in parts.iter() {
            let part = match self.entry(part).await {
                Ok(part) => part,
                // Its length went with its tombstone, and what follows it cannot be placed: it keeps its own files.
                Err(Reject::NotFound | Reject::State(StateError::Damaged(_))) => break,
                Err(reject) => return Err(reject),
            };
            let record = part.record();
            if !record.is_complete() && !record.is_tombstone() {
                break;
            }
            if seen.insert(part.id.clone()) && record.offset > 0 && record.is_complete() {
                moves.push((part, start, record.offset));
            }
            start += record.offset;
        }
        for batch in moves.chunks(BATCH) {
            self.adopt_batch(&whole, joiner, batch).await?;
        }
        let _guard = self.hold(&entry.id, false).await?;
        if entry.record().status != Status::Completed {
            return Ok(());
        }
        let more = More {
            marks: vec![(Mark::Assembling, false)],
            ..More::default()
        };
        self.change(entry, entry.record(), Promise::Flushed, more)
            .await
    }

    async fn adopt_batch(
        self: &Arc<Self>,
        whole: &File,
        joiner: &dyn JoinParts,
        batch: &[(Arc<Entry>, u64, u64)],
    ) -> Result<(), Reject> {
        let mut held: Vec<(Box<dyn Guard>, &Arc<Entry>, Segment)> = Vec::new();
        let mut changes = Vec::new();
        for (entry, start, len) in batch {
            let guard = self.hold(&entry.id, false).await?;
            let record = entry.record();
            if !record.is_complete() || *entry.blob() != Blob::Own(entry.id.clone()) {
                continue;
            }
            let segment = joiner.adopt(&entry.id, whole, *start, *len).await?;
            changes.push(Change {
                details: vec![(Detail::Segments, Some(load::encode(&[segment.clone()][..])))],
                // The final's file was synced before its record was switched.
                ..Change::record(&entry.id, Some(record.clone()), Some(synced(&record)))
            });
            held.push((guard, entry, segment));
        }
        if let Err(reject) = self.commit(changes, Promise::Synced).await {
            // After any other failure nobody knows which names the records have: the sweeper finds out.
            if matches!(
                reject,
                Reject::State(StateError::Conflict | StateError::Damaged(_))
            ) {
                let new: Vec<File> = held.iter().map(|(_, _, s)| s.file.clone()).collect();
                self.discard(&new).await;
            }
            return Err(reject);
        }
        let mut old = Vec::with_capacity(held.len());
        for (_, entry, segment) in &held {
            let mut image = entry.image();
            image.blob = Arc::new(Blob::Segments(vec![segment.clone()]));
            image.record = synced(&image.record);
            drop(image);
            old.push(File::Upload(entry.id.clone()));
        }
        self.discard(&old).await;
        Ok(())
    }

    pub(super) async fn discard(&self, files: &[File]) {
        if let Err(error) = self.blobs.remove(files).await {
            warn!(%error, "files are removed later");
        }
    }
}

/// A complete upload whose bytes are on the disk.
fn synced(record: &Record) -> Record {
    Record {
        synced: record.offset,
        ..record.clone()
    }
}
