//! The server: sockets, connections, and what is around every request. The only place with hyper's wiring.
//!
//! Reading order: [`run`] and [`start`] here; `open` (what is below `--upload-dir`); `listen`, `accept`, `places` and `side`
//! (who accepts, and how many), `first` and `conn` (what a connection speaks; `tls` before that; `share` and `far`, what is read of it, and what is not), `stack` and `body` (what is
//! around a request), `routes` and `doors` (whose a request is), `reload` (what changes while it runs), `process` and
//! `shutdown` (the order of the end).

mod accept;
mod body;
mod conn;
mod doors;
mod far;
mod first;
mod listen;
mod open;
mod places;
mod process;
mod reload;
mod routes;
mod share;
mod shutdown;
mod side;
mod stack;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, ConfigError};
use crate::security::kept::Kept;
use crate::security::tls::Tls;
use open::Open;
pub use process::main_runtime;
use reload::Watched;
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

/// Runs the server until SIGINT or SIGTERM. At SIGHUP files are read anew, as by [`Running::reload`], and `hung_up` does what
/// else there is to do.
/// # Errors
/// When it cannot start, or ends otherwise than asked.
pub async fn run(config: Config, mut hung_up: impl FnMut()) -> Result<(), StartError> {
    let mut signals = shutdown::Signals::new().map_err(StartError::System)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(StartError::System)?;
    let running = tokio::select! {
        started = start(config) => started?,
        signal = signals.next() => {
            info!(signal, "stopped before it was started");
            return Ok(());
        }
    };
    process::notify("READY=1");
    let asked = loop {
        tokio::select! {
            signal = signals.next() => {
                info!(signal, "asked to stop");
                break true;
            }
            Some(()) = hangups.recv() => {
                info!("SIGHUP: reading anew what can be");
                running.reload();
                hung_up();
            }
            () = running.stop.cancelled() => break false,
        }
    };
    running.stop();
    process::notify("STOPPING=1");
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
    let tls = config.tls.open()?.map(Arc::new);
    // A port in use is told before anything is touched; connections wait until the records are known.
    let bound = listen::Bound::new(&config).await?;
    let Open {
        engine,
        dir,
        auth,
        app,
    } = open::open(&config, bound.addr()).await?;
    if let Some(addr) = bound.addr().filter(|addr| !addr.ip().is_loopback())
        && !auth.asks()
    {
        warn!(%addr, "OTHER MACHINES CAN REACH THIS SERVER, and it asks nobody who they are (--auth none): whoever connects can upload, download and delete");
    }
    let storage = shutdown::Storage { engine, dir };
    let mut watched = Vec::new();
    if config.auth.auth_file.is_some() {
        watched.push(Watched::new("credentials (--auth-file)", auth));
    }
    if let Some(tls) = &tls {
        watched.push(Watched::new(
            "certificate (--tls-certificate, --tls-key)",
            tls.clone(),
        ));
    }
    let running = start_with(&config, bound, app, tls, Some(storage))?;
    if !watched.is_empty() {
        let (asked, stop) = (running.asked.clone(), running.stop.clone());
        tokio::spawn(reload::watch(watched, asked, stop));
    }
    Ok(running)
}

/// Starts a server with an application of any kind; the configuration is checked.
fn start_with<A: App>(
    config: &Config,
    bound: listen::Bound,
    app: A,
    tls: Option<Arc<Kept<Tls>>>,
    storage: Option<shutdown::Storage>,
) -> Result<Running, StartError> {
    let limit = process::connection_limit(config.max_connections, process::raise_file_limit());
    let addr = bound.addr();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = match (&config.unix_sock, addr) {
        (Some(path), _) => format!("{scheme}://unix:{}:{}", path.display(), config.base_path),
        (None, Some(addr)) => format!("{scheme}://{addr}{}", config.base_path),
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
        tls,
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
        asked: Arc::default(),
        ended,
    })
}

/// A server that runs. Dropped, it is told to stop, and stops in the background.
#[derive(Debug)]
pub struct Running {
    addr: Option<SocketAddr>,
    url: String,
    stop: CancellationToken,
    /// To look at files.
    asked: Arc<Notify>,
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

    /// Reads files of credentials and certificates anew, now; the log tells what became of it. They are looked at every two
    /// seconds anyway.
    pub fn reload(&self) {
        self.asked.notify_one();
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
