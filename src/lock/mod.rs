//! The port to who may write: one holder an upload, who can be asked to let go.

pub mod memory;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;

use crate::upload::UploadId;

/// One writer an upload.
#[async_trait]
pub trait Locker: Send + Sync + 'static {
    /// The lock, if nobody has it or waits for it.
    fn try_lock(&self, id: &UploadId) -> Option<Box<dyn Guard>>;

    /// Waits for the lock, in the order of arrival, at most `patience`; `None` after that. With `ask` the holder is
    /// asked to yield, and so is everybody who holds it before the caller does.
    async fn lock(&self, id: &UploadId, ask: bool, patience: Duration) -> Option<Box<dyn Guard>>;
}

/// The lock is held while this lives.
pub trait Guard: Send + Sync {
    /// Resolves once somebody asks for the lock. Owned, so that it can be polled beside the work.
    fn asked_to_yield(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
