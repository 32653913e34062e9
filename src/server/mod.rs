//! The server: sockets, connections, and what is around every request. The only place with hyper's wiring.
//!
//! Reading order: [`run`] and [`start`] here; `open` (what is below `--upload-dir`); `listen`, `accept` and `side` (who
//! accepts), `first` and `conn` (what a connection
//! speaks), `stack` (what is around a request), `doors` (whose a request is), `shutdown` (the order of the end).

mod accept;
mod body;
mod conn;
mod doors;
mod first;
mod listen;
mod open;
mod places;
mod process;
mod routes;
mod shutdown;
mod side;
mod stack;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{Config, ConfigError};
use crate::security::auth::Auth;
use open::Open;
pub use process::main_runtime;
use stack::App;

/// Why the server does not run, in a line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An option's value that it cannot run with.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No listening socket.
    #[error("cannot listen on {what}: {source}")]
    Listen {
        /// The address or path.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error("{0}")]
    Storage(String),
    /// No thread, runtime or signal handler.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
    /// It ended without being asked to.
    #[error("the server ended by itself; the log says why")]
    Deaf,
    /// It was told twice to stop, and did not wait for what was still open.
    #[error("stopped by a second signal before everything was closed")]
    Hurried,
}

/// Runs the server until SIGINT or SIGTERM.
/// # Errors
/// When it cannot start, or ends otherwise than asked.
pub async fn run(config: Config) -> Result<(), StartError> {
    let mut signals = shutdown::Signals::new().map_err(StartError::System)?;
    let running = tokio::select! {
        started = start(config) => started?,
        signal = signals.next() => {
            info!(signal, "stopped before it was started");
            return Ok(());
        }
    };
    let asked = tokio::select! {
        signal = signals.next() => {
            info!(signal, "asked to stop");
            true
        }
        () = running.stop.cancelled() => false,
    };
    running.stop();
    tokio::select! {
        () = running.wait() => if asked { Ok(()) } else { Err(StartError::Deaf) },
        _ = signals.next() => Err(StartError::Hurried),
    }
}

/// Starts a server in the current runtime, which should be [`main_runtime`]'s: it listens once this returns.
/// # Errors
/// When it cannot start.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let config = config.checked()?;
    // A port in use is told before anything is touched; connections wait until what was open at a crash is mended.
    let bound = listen::Bound::new(&config).await?;
    let Open {
        engine,
        dir,
        auth,
        app,
    } = open::open(&config, bound.addr()).await?;
    let open = !auth.asks();
    let storage = shutdown::Storage { engine, dir };
    if let Some(addr) = bound.addr().filter(|addr| open && !addr.ip().is_loopback()) {
        warn!(%addr, "OTHER MACHINES CAN REACH THIS SERVER, and it asks nobody who they are (--auth none): whoever connects can upload, download and delete");
    }
    let running = start_with(&config, bound, app, Some(storage))?;
    tokio::spawn(reload(auth, running.stop.clone()));
    Ok(running)
}

/// How often files of credentials are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Reads files of credentials anew when they change. One that cannot be used changes nothing, and is told once.
async fn reload(auth: Arc<Auth>, stop: CancellationToken) {
    let mut told = None;
    while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
        let auth = auth.clone();
        let read = tokio::task::spawn_blocking(move || auth.reload()).await;
        let Ok(read) = read else { return };
        let failed = match read {
            Ok(true) => {
                info!("the file of credentials has changed and was read anew");
                None
            }
            Ok(false) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = failed.as_ref().filter(|_| failed != told) {
            error!(
                error,
                "the file of credentials is not used as it is now; the last good one stays"
            );
        }
        told = failed;
    }
}

/// Starts a server with an application of any kind; the configuration is checked.
fn start_with<A: App>(
    config: &Config,
    bound: listen::Bound,
    app: A,
    storage: Option<shutdown::Storage>,
) -> Result<Running, StartError> {
    let limit = process::connection_limit(config.max_connections, process::raise_file_limit());
    let addr = bound.addr();
    let url = match (&config.unix_sock, addr) {
        (Some(path), _) => format!("http://unix:{}:{}", path.display(), config.base_path),
        (None, Some(addr)) => format!("http://{addr}{}", config.base_path),
        (None, None) => String::new(),
    };
    let meter = storage
        .as_ref()
        .map(|storage| storage.engine.meter().clone())
        .unwrap_or_default();
    let stop = CancellationToken::new();
    let connections = conn::Connections::new(config, stop.clone());
    let tasks = connections.tasks().clone();
    let side = side::Side {
        stack: stack::Stack { app, meter },
        connections,
        workers: Handle::current(),
        limit,
        places: places::Places::new(config.limits.max_connections_per_address),
        patience: config.header_timeout,
        unread: config.network_timeout,
        stop: stop.clone(),
    };
    let closed = side.start(bound).map_err(StartError::System)?;
    info!(%url, connections = limit, "listening");
    let sequence = shutdown::sequence(
        stop.clone(),
        closed,
        tasks,
        storage,
        config.shutdown_timeout,
    );
    let ended = tokio::spawn(sequence);
    Ok(Running {
        addr,
        url,
        stop,
        ended,
    })
}

/// A server that runs. Dropped, it is told to stop, and stops in the background.
#[derive(Debug)]
pub struct Running {
    addr: Option<SocketAddr>,
    url: String,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Running {
    /// The TCP address it listens on; `None` on a Unix socket.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// Where uploads are created, as the log tells it: `http://127.0.0.1:8080/files/`, or `http://unix:/path:/files/`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Begins the end: nothing more is accepted, requests that run may finish within `shutdown_timeout`.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end; it does not ask for it.
    pub async fn wait(mut self) {
        if let Err(error) = (&mut self.ended).await {
            warn!(%error, "the end was not orderly");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
