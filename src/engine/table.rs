//! The uploads in memory: what is being written or was asked for lately. HEAD and offset checks are answered from here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::digest::Digested;
use super::session::{ChunkOf, Session};
use crate::blob::{Blob, BlobWriter, ChosenPath};
use crate::hooks::{Answer, Cause, cause};
use crate::upload::{Kind, Record, UploadId};

/// One upload in memory. Its record changes only under the upload's lock; reading it takes no lock but a short mutex.
pub(crate) struct Entry {
    pub(crate) id: UploadId,
    image: Mutex<Image>,
    /// Held by every reader of the blob's files, so that files are not removed under them.
    pub(crate) readers: Arc<()>,
    seen: AtomicU64,
}

/// What is known of an upload.
pub(crate) struct Image {
    pub(crate) record: Record,
    pub(crate) metadata: Option<Bytes>,
    pub(crate) concat: Option<Bytes>,
    pub(crate) parts: Arc<[UploadId]>,
    pub(crate) blob: Arc<Blob>,
    /// Where a hook wants its file to lie once it is complete.
    pub(crate) path: Option<ChosenPath>,
    /// The append that runs now.
    pub(crate) live: Option<Arc<Live>>,
    /// The file, still open from the last append, and since when it rests.
    pub(crate) writer: Option<(Box<dyn BlobWriter>, Instant)>,
    /// Whether the state store lists the upload as open.
    pub(crate) marked_open: bool,
    /// The last append was cut, or is so long ago that this was loaded since: the next one resumes it.
    pub(crate) broken_off: bool,
    /// Of a final that waits: the length it will have, once that was worked out.
    pub(crate) expected: Option<u64>,
    /// Of a session: what makes it one.
    pub(crate) session: Option<Arc<Session>>,
    /// Of a session's chunk: which one.
    pub(crate) chunk: Option<ChunkOf>,
    /// A chunk that no byte came of yet: the state store knows nothing of it.
    pub(crate) unstored: bool,
    /// A hook has stopped it, and what it said.
    pub(crate) stopped: Option<Answer>,
    /// What is known of its SHA-256, where that is wanted.
    pub(crate) digest: Option<Box<Digested>>,
}

/// The running append, as others see it.
pub(crate) struct Live {
    /// Offset after the last byte that was written.
    pub(crate) offset: Arc<AtomicU64>,
    /// The offset that HEAD tells: never one that could be taken back.
    pub(crate) told: AtomicU64,
    /// Bytes known to be on the disk, from syncs beside the writing.
    pub(crate) synced: AtomicU64,
    /// Whether bytes that are not told yet count when the body is cut: not under a checksum.
    pub(crate) keeps: bool,
    /// A newcomer takes over from the offset that HEAD told it: what came since must not be in its way.
    pub(crate) wanted: AtomicBool,
    /// A sync beside the writing found that the disk lost bytes.
    pub(crate) lost: AtomicBool,
    /// The request whose body it is.
    pub(crate) cause: Option<Arc<Cause>>,
    /// It holds one of its session's places.
    placed: AtomicBool,
    /// When the last frame came, in milliseconds on [`tick`]'s clock.
    frame: AtomicU64,
}

impl Live {
    pub(crate) fn at(offset: u64, synced: u64, keeps: bool) -> Self {
        Self {
            offset: Arc::new(AtomicU64::new(offset)),
            told: AtomicU64::new(offset),
            synced: AtomicU64::new(synced),
            keeps,
            wanted: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            cause: cause::current(),
            placed: AtomicBool::new(false),
            frame: AtomicU64::new(tick()),
        }
    }

    /// It holds one of its session's places, which others may wait for.
    pub(crate) fn take_place(&self) {
        self.placed.store(true, Ordering::Release);
    }

    pub(crate) fn has_place(&self) -> bool {
        self.placed.load(Ordering::Acquire)
    }

    /// A frame came: the holder is not silent.
    pub(crate) fn frame_came(&self) {
        self.frame.store(tick(), Ordering::Relaxed);
    }

    pub(crate) fn silent_for(&self) -> Duration {
        Duration::from_millis(tick().saturating_sub(self.frame.load(Ordering::Relaxed)))
    }
}

/// Milliseconds on a clock that never jumps.
pub(crate) fn tick() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Entry {
    pub(crate) fn new(id: UploadId, image: Image) -> Self {
        Self {
            id,
            image: Mutex::new(image),
            readers: Arc::new(()),
            seen: AtomicU64::new(tick()),
        }
    }

    pub(crate) fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody used it: it stays in memory.
    pub(crate) fn use_now(&self) {
        self.seen.store(tick(), Ordering::Relaxed);
    }

    pub(crate) fn record(&self) -> Record {
        self.image().record.clone()
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.image().session.clone()
    }

    pub(crate) fn chunk(&self) -> Option<ChunkOf> {
        self.image().chunk.clone()
    }

    pub(crate) fn is_chunk(&self) -> bool {
        self.image().chunk.is_some()
    }

    pub(crate) fn blob(&self) -> Arc<Blob> {
        self.image().blob.clone()
    }

    /// Whether nobody reads in the blob's files.
    pub(crate) fn readers_gone(&self) -> bool {
        Arc::strong_count(&self.readers) == 1
    }

    pub(crate) fn is_complete_partial(&self) -> bool {
        let image = self.image();
        image.record.kind == Kind::Partial && image.record.is_complete()
    }
}

impl Image {
    pub(crate) fn new(id: &UploadId, record: Record) -> Self {
        Self {
            broken_off: record.offset > 0,
            record,
            metadata: None,
            concat: None,
            parts: Arc::new([]),
            blob: Arc::new(Blob::Own(id.clone())),
            path: None,
            live: None,
            writer: None,
            marked_open: false,
            expected: None,
            session: None,
            chunk: None,
            unstored: false,
            stopped: None,
            digest: None,
        }
    }

    /// Whether what is kept of the upload is more than most have.
    fn is_heavy(&self) -> bool {
        let text = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        text(&self.metadata) + text(&self.concat) > 4096 || self.parts.len() > 100
    }

    /// The offset that a client may be told now: the record's, or what the running append has made safe since.
    pub(crate) fn told(&self) -> u64 {
        let live = self
            .live
            .as_ref()
            .map_or(0, |live| live.told.load(Ordering::Acquire));
        self.record.offset.max(live)
    }
}

/// A place for an upload that is being loaded, or is loaded.
pub(crate) type Slot = OnceCell<Arc<Entry>>;

/// Every upload in memory.
#[derive(Default)]
pub(crate) struct Table {
    slots: Mutex<HashMap<UploadId, Arc<Slot>>>,
}

impl Table {
    /// Entries past this number are dropped once they rest.
    const ROOM: usize = 20_000;
    /// How long an entry stays after it was last asked for, room or not.
    const REST: u64 = 300_000;
    /// How long it stays at least: long enough for what was queued of it to be in the state store.
    const LEAST: u64 = 10_000;

    fn slots(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of an upload, made if there is none.
    pub(crate) fn slot(&self, id: &UploadId) -> Arc<Slot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(id) {
            if let Some(entry) = slot.get() {
                entry.use_now();
            }
            return slot.clone();
        }
        slots.entry(id.clone()).or_default().clone()
    }

    /// The upload, if it is in memory; asked for, it stays there.
    pub(crate) fn peek(&self, id: &UploadId) -> Option<Arc<Entry>> {
        let entry = self.slots().get(id)?.get()?.clone();
        entry.use_now();
        Some(entry)
    }

    /// The upload, if it is in memory; it is not kept there for it.
    pub(crate) fn glance(&self, id: &UploadId) -> Option<Arc<Entry>> {
        self.slots().get(id)?.get().cloned()
    }

    /// Uploads that bytes come for now.
    pub(crate) fn running(&self) -> Vec<Arc<Entry>> {
        let slots = self.slots();
        let entries = slots.values().filter_map(|slot| slot.get());
        entries
            .filter(|entry| entry.image().live.is_some())
            .cloned()
            .collect()
    }

    /// Forgets a slot that nothing was loaded into: an unknown id must not stay in memory.
    pub(crate) fn forget_empty(&self, id: &UploadId) {
        let mut slots = self.slots();
        if slots
            .get(id)
            .is_some_and(|slot| slot.get().is_none() && Arc::strong_count(slot) == 1)
        {
            slots.remove(id);
        }
    }

    /// Forgets an upload that is gone for good.
    pub(crate) fn forget(&self, id: &UploadId) {
        self.slots().remove(id);
    }

    /// Those of these uploads that are in memory, in their order; they are not kept there for it.
    pub(crate) fn loaded<'a>(
        &self,
        ids: impl Iterator<Item = &'a UploadId>,
    ) -> Vec<Option<Arc<Entry>>> {
        let slots = self.slots();
        let loaded = |id| slots.get(id).and_then(|slot| slot.get()).cloned();
        ids.map(loaded).collect()
    }

    /// Uploads whose file was left open and has rested for `least`.
    pub(crate) fn resting(&self, least: Duration) -> Vec<Arc<Entry>> {
        let rests = |entry: &&Arc<Entry>| {
            entry
                .image()
                .writer
                .as_ref()
                .is_some_and(|(_, since)| since.elapsed() >= least)
        };
        self.slots()
            .values()
            .filter_map(|slot| slot.get())
            .filter(rests)
            .cloned()
            .collect()
    }

    /// Drops what nobody holds and nobody asked for lately, and unused slots.
    pub(crate) fn evict(&self) {
        let mut slots = self.slots();
        let crowded = slots.len() > Self::ROOM;
        let now = tick();
        slots.retain(|_, slot| {
            let stays = |entry: &Arc<Entry>| {
                let image = entry.image();
                let patience = if crowded || image.is_heavy() {
                    Self::LEAST
                } else {
                    Self::REST
                };
                Arc::strong_count(entry) > 1
                    || image.writer.is_some()
                    || now.saturating_sub(entry.seen.load(Ordering::Relaxed)) < patience
            };
            Arc::strong_count(slot) > 1 || slot.get().is_some_and(stays)
        });
    }
}
