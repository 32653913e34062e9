//! The end: what asks for it, and its order.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::conn::Tasks;

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
    grace: Duration,
) {
    stop.cancelled().await; // connections hear it too: each ends after what it has begun
    info!(?grace, "stopping");
    closed.cancelled().await;
    // ENGINE, seal: its appends hear that the server stops; each seals, commits, and lets its request answer.
    tasks.running.close();
    let drained = async {
        tasks.running.wait().await;
        // ENGINE, drain: its tasks, which may outlive their requests.
    };
    if timeout(grace, drained).await.is_err() {
        warn!(
            open = tasks.running.len(),
            "the time to stop is over; what is still open is cut"
        );
        tasks.abort.cancel();
        tasks.running.wait().await;
    }
    // ENGINE, close: what it has not committed yet, and the data directory.
    info!("stopped");
}
