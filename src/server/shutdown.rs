//! The end: what asks for it, and its order.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::conn::Tasks;
use crate::engine::{DataDir, Engine};

/// Time for what is cut to end, and then for the state to reach the disk.
const CLOSING: Duration = Duration::from_secs(5);

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next one's name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// From the stop to the last byte: accept nothing more, let uploads seal, then a bounded wait.
pub(super) async fn sequence(
    stop: CancellationToken,
    closed: CancellationToken,
    tasks: Tasks,
    storage: Option<Storage>,
    grace: Duration,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = broken(storage.as_ref()) => {
            error!("without the state store nothing can be promised: the server ends, and recovers at its next start");
            stop.cancel();
        }
    }
    // Connections hear it too: each ends after what it has begun
    info!(?grace, "stopping");
    closed.cancelled().await;
    if let Some(storage) = &storage {
        storage.engine.stop(); // appends seal, commit, and let their requests answer
    }
    tasks.running.close();
    let drained = || async {
        tasks.running.wait().await;
        if let Some(storage) = &storage {
            storage.engine.stopped().await; // commits may outlive their requests
        }
    };
    if timeout(grace, drained()).await.is_err() {
        warn!(
            open = tasks.running.len(),
            "the time to stop is over; what is still open is cut"
        );
        tasks.abort.cancel();
        if timeout(CLOSING, drained()).await.is_err() {
            // Something may still write: a clean end cannot be noted.
            return warn!("stopped in the middle of a write; the next start recovers");
        }
    }
    if let Some(storage) = storage
        && timeout(CLOSING, storage.close()).await.is_err()
    {
        warn!("the disk is too slow to wait for; the next start recovers");
    }
    info!("stopped");
}

async fn broken(storage: Option<&Storage>) {
    match storage {
        Some(storage) => storage.engine.broken().await,
        None => std::future::pending().await,
    }
}

/// What is closed last.
pub(super) struct Storage {
    pub(super) engine: Engine,
    pub(super) dir: JoinHandle<DataDir>,
}

impl Storage {
    async fn close(self) {
        if let Err(error) = self.engine.close().await {
            return error!(%error, "the state was not closed well; the next start recovers");
        }
        // Last, since it says that everything is on the disk.
        let close = |dir: DataDir| tokio::task::spawn_blocking(move || dir.close());
        let closed = match self.dir.await {
            Ok(dir) => close(dir).await.map_err(io::Error::other).flatten(),
            Err(panic) => Err(io::Error::other(panic)),
        };
        if let Err(error) = closed {
            warn!(%error, "the clean end could not be noted; the next start recovers");
        }
    }
}
