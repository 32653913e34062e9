//! One upload being written: each frame straight to its place, in the task or in the pool as [`crate::pace`] says.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::Shared;
use super::access::{opened, prepare, release, shrink, write_pooled};
use super::open::{Held, Slot};
use super::sys::{fault, finished, is_full, lost, pool, retried};
use super::tip::Tip;
use crate::blob::ranges::Target;
use crate::blob::{BlobError, BlobWriter};
use crate::pace::Work;

/// Cancel safe: what a dropped call began in the pool goes on, and the next call waits for it first.
pub(super) struct DiskWriter {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    position: u64,
    pending: Option<JoinHandle<Done>>,
    closed: bool,
}

/// Where the tip stands after pooled work, and what became of it.
type Done = (u64, Result<(), BlobError>);

impl DiskWriter {
    /// Opens `target` at `at`. Waits for the disk. See [`crate::blob::BlobStore::append`].
    pub(super) fn open(
        shared: Arc<Shared>,
        target: &Target,
        at: u64,
        length: Option<u64>,
    ) -> Result<Self, BlobError> {
        let writer = Self::enter(shared, target, at, length)?;
        let shared = &writer.shared;
        shared.with_space(|| prepare(shared, &writer.slot, at, false))?;
        Ok(writer)
    }

    /// The same, if that is a call or two: nobody writes there, there is a file to spare, nothing is to be cut and there is
    /// space.
    pub(super) fn open_briefly(
        shared: Arc<Shared>,
        target: &Target,
        at: u64,
        length: Option<u64>,
    ) -> Result<Option<Self>, BlobError> {
        if !shared.open.is_free(target) {
            return Ok(None);
        }
        let writer = Self::enter(shared, target, at, length)?;
        match prepare(&writer.shared, &writer.slot, at, true) {
            Ok(true) => Ok(Some(writer)),
            Ok(false) | Err(BlobError::Full) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn enter(
        shared: Arc<Shared>,
        target: &Target,
        at: u64,
        length: Option<u64>,
    ) -> Result<Self, BlobError> {
        if target.len.is_some_and(|len| at > len) {
            return Err(BlobError::Lost);
        }
        let path = shared.paths.of(&target.file);
        let tip = Tip::new(target, at, length);
        let slot = shared.open.enter(target.clone(), path, tip);
        // From here on the writer's drop frees the slot, whatever fails.
        Ok(Self {
            position: at,
            shared,
            slot,
            pending: None,
            closed: false,
        })
    }

    /// Waits for what a dropped call left behind, and takes over where it stands.
    async fn settle(&mut self) -> Result<(), BlobError> {
        let Some(task) = &mut self.pending else {
            return Ok(());
        };
        let joined = task.await;
        self.pending = None;
        let (position, result) = finished(joined)?;
        self.position = position;
        result
    }

    /// Does `work` on the open file in the pool.
    async fn pooled(
        &mut self,
        work: impl FnOnce(&Shared, &Slot, &mut Held) -> Result<(), BlobError> + Send + 'static,
    ) -> Result<(), BlobError> {
        let (shared, slot) = (self.shared.clone(), self.slot.clone());
        self.pending = Some(spawn_blocking(move || {
            let mut held = slot.lock();
            let result = work(&shared, &slot, &mut held);
            (held.tip.position(), result)
        }));
        self.settle().await
    }

    /// Closes the file in the task, if it is a matter of giving back its number alone; whether it did.
    fn close_inline(&self) -> bool {
        let Some(_permit) = self.shared.pace.try_inline(Work::Bytes) else {
            return false;
        };
        let rests = self.slot.try_lock().is_some_and(|held| {
            let file = held.file.as_ref();
            held.tip.is_released() && file.is_some_and(|file| is_named(file))
        });
        if rests {
            self.shared.open.leave(&self.slot);
        }
        rests
    }

    /// Writes in the task, if the disk is fast, a worker can be spared and the file is open. Returns what is left to be
    /// written in the pool.
    fn write_inline(&mut self, mut bytes: Bytes) -> Result<Bytes, BlobError> {
        let Some(_permit) = self.shared.pace.try_inline(Work::Bytes) else {
            return Ok(bytes);
        };
        let Some(mut held) = self.slot.try_lock() else {
            return Ok(bytes);
        };
        let Held { tip, file, .. } = &mut *held;
        let Some(file) = file.as_ref().filter(|_| bytes.len() as u64 <= tip.room()) else {
            return Ok(bytes);
        };
        self.shared.open.touch(&self.slot, Instant::now());
        let result = tip.write(file, &bytes);
        let before = std::mem::replace(&mut self.position, tip.position());
        match result {
            Ok(()) => Ok(Bytes::new()),
            Err(e) if is_full(&e) => {
                // The pool makes room, and tries the rest once more.
                let written = usize::try_from(self.position - before).unwrap_or(usize::MAX);
                Ok(bytes.split_off(written.min(bytes.len())))
            }
            Err(e) => Err(lost(&self.slot.path, e)),
        }
    }
}

#[async_trait]
impl BlobWriter for DiskWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.settle().await?;
        let rest = self.write_inline(bytes)?;
        if rest.is_empty() {
            return Ok(());
        }
        self.pooled(move |shared, slot, held| write_pooled(shared, slot, held, &rest))
            .await
    }

    fn position(&self) -> u64 {
        self.position
    }

    async fn sync(&mut self) -> Result<(), BlobError> {
        self.settle().await?;
        self.pooled(|shared, slot, held| {
            let file = opened(shared, slot, held)?;
            retried(|| file.sync_data()).map_err(|e| fault(&slot.path, e))?;
            if !held.named {
                shared.names.sync(&shared.open, [slot.path.as_path()])?;
                held.named = true;
            }
            Ok(())
        })
        .await
    }

    async fn cut(&mut self, to: u64) -> Result<(), BlobError> {
        self.settle().await?;
        self.pooled(move |shared, slot, held| {
            opened(shared, slot, held)?;
            let Held { tip, file, .. } = held;
            let Some(file) = file.as_ref().filter(|_| to < tip.position()) else {
                return Ok(());
            };
            if slot.target.len.is_none() {
                shrink(&slot.path, file, to)?;
            }
            tip.cut_to(to);
            Ok(())
        })
        .await
    }

    async fn close(mut self: Box<Self>) -> Result<(), BlobError> {
        let before = self.settle().await;
        self.closed = true;
        if self.close_inline() {
            return before;
        }
        let (shared, slot) = (self.shared.clone(), self.slot.clone());
        let released = pool(move || {
            let released = release(&slot);
            shared.open.leave(&slot);
            released
        });
        before.and(released.await)
    }
}

/// Whether the file has a name left: else closing it frees all that it holds.
fn is_named(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.nlink() > 0)
}

impl Drop for DiskWriter {
    /// Closes the file in the pool: closing the last name of a large removed file takes its time.
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let (shared, slot) = (self.shared.clone(), self.slot.clone());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || shared.open.leave(&slot));
        } else {
            shared.open.leave(&slot);
        }
    }
}
