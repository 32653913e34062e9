//! An engine in memory, whose disk writes nothing until it may, and whose steps can be waited for.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use highwater::blob::memory::MemoryBlobs;
use highwater::blob::{Blob, BlobError, BlobStore, BlobWriter, File, Pieces, Room, Segment};
use highwater::config::{Durability, Share};
use highwater::engine::{Content, Engine, NO_LIMIT, Options, SessionOptions};
use highwater::lock::memory::MemoryLocker;
use highwater::lock::{Guard, Locker};
use highwater::security::quota::Bounds;
use highwater::security::types::Types;
use highwater::state::memory::MemoryState;
use highwater::upload::UploadId;
use tokio::sync::Semaphore;

/// What a test holds of it.
pub struct Steps {
    /// A permit for each write.
    pub may_write: Semaphore,
    /// Writes that were begun.
    pub writes: AtomicUsize,
    /// How often a holder was asked to give way.
    pub asked: AtomicUsize,
    /// Bytes of its disk's 100 that are free.
    pub free: AtomicU64,
}

/// Blobs in memory; each write takes one permit.
struct Slow {
    blobs: MemoryBlobs,
    steps: Arc<Steps>,
}

/// Locks in memory, with the asking counted.
struct Counted {
    locks: MemoryLocker,
    steps: Arc<Steps>,
}

#[async_trait]
impl Locker for Counted {
    fn try_lock(&self, id: &UploadId) -> Option<Box<dyn Guard>> {
        self.locks.try_lock(id)
    }

    async fn lock(&self, id: &UploadId, ask: bool, patience: Duration) -> Option<Box<dyn Guard>> {
        let locking = self.locks.lock(id, ask, patience);
        self.steps
            .asked
            .fetch_add(usize::from(ask), Ordering::SeqCst);
        locking.await
    }
}

/// An engine that may not write yet.
pub async fn engine() -> (Engine, Arc<Steps>) {
    let steps = Arc::new(Steps {
        may_write: Semaphore::new(0),
        writes: AtomicUsize::new(0),
        asked: AtomicUsize::new(0),
        free: AtomicU64::new(100),
    });
    let blobs = Slow {
        blobs: MemoryBlobs::default(),
        steps: steps.clone(),
    };
    let locks = Counted {
        locks: MemoryLocker::default(),
        steps: steps.clone(),
    };
    let options = Options {
        durability: Durability::Process,
        max_size: NO_LIMIT,
        min_size: 0,
        expire_after: None,
        expire_completed: None,
        assemble: false,
        keep_partials: true,
        network_timeout: None,
        pause_after: Duration::from_secs(5),
        bounds: Bounds::default(),
        types: Types::default(),
        content: Content::default(),
        sessions: SessionOptions::default(),
        hooks: Arc::default(),
        power_cuts: 0,
        disk_warn: Share::Bytes(0),
        disk_stop: Share::Bytes(10),
        power_lost: false,
    };
    let opened = Engine::open(
        options,
        Arc::new(blobs),
        Arc::new(MemoryState::new()),
        Arc::new(locks),
        false,
    );
    let (engine, _) = opened.await.expect("an engine in memory");
    (engine, steps)
}

struct SlowWriter {
    writer: Box<dyn BlobWriter>,
    steps: Arc<Steps>,
}

#[async_trait]
impl BlobWriter for SlowWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.steps.writes.fetch_add(1, Ordering::SeqCst);
        let permit = self.steps.may_write.acquire().await;
        permit.expect("never closed").forget();
        self.writer.write(bytes).await
    }

    fn position(&self) -> u64 {
        self.writer.position()
    }

    async fn sync(&mut self) -> Result<(), BlobError> {
        self.writer.sync().await
    }

    async fn cut(&mut self, to: u64) -> Result<(), BlobError> {
        self.writer.cut(to).await
    }

    async fn close(self: Box<Self>) -> Result<(), BlobError> {
        self.writer.close().await
    }
}

#[async_trait]
impl BlobStore for Slow {
    async fn create(&self, id: &UploadId, about: &[u8], empty: bool) -> Result<(), BlobError> {
        self.blobs.create(id, about, empty).await
    }

    async fn amend(&self, id: &UploadId, about: &[u8]) -> Result<(), BlobError> {
        self.blobs.amend(id, about).await
    }

    async fn append(
        &self,
        blob: &Blob,
        at: u64,
        length: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        Ok(Box::new(SlowWriter {
            writer: self.blobs.append(blob, at, length).await?,
            steps: self.steps.clone(),
        }))
    }

    async fn read(&self, blob: &Blob, range: Range<u64>) -> Result<Pieces, BlobError> {
        self.blobs.read(blob, range).await
    }

    async fn stored(&self, blob: &Blob) -> Result<u64, BlobError> {
        self.blobs.stored(blob).await
    }

    async fn cut(&self, blob: &Blob, to: u64) -> Result<(), BlobError> {
        self.blobs.cut(blob, to).await
    }

    async fn sync(&self, id: &UploadId, blob: &Blob) -> Result<(), BlobError> {
        self.blobs.sync(id, blob).await
    }

    async fn about(
        &self,
        id: &UploadId,
    ) -> Result<Option<(Vec<u8>, Option<Vec<Segment>>)>, BlobError> {
        self.blobs.about(id).await
    }

    async fn remove(&self, files: &[File]) -> Result<(), BlobError> {
        self.blobs.remove(files).await
    }

    async fn shards(&self) -> Result<Vec<String>, BlobError> {
        self.blobs.shards().await
    }

    async fn files(&self, shard: &str) -> Result<Vec<File>, BlobError> {
        self.blobs.files(shard).await
    }

    fn name(&self, file: &File) -> String {
        self.blobs.name(file)
    }

    async fn space(&self) -> Result<Option<Room>, BlobError> {
        let free = self.steps.free.load(Ordering::SeqCst);
        Ok(Some(Room { free, total: 100 }))
    }
}
