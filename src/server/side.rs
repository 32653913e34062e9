//! The side thread: it accepts connections, answers `/healthz` itself, and hands everything else to the workers.
//!
//! It has a runtime of its own, so that a health check is answered while every worker is busy with a disk. A connection
//! that is handed over leaves this runtime's reactor for the workers': two system calls once, none later.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use super::accept::accept_all;
use super::body::{RequestBody, ResponseBody};
use super::conn::{self, Connections};
use super::first::{self, First, Prefixed};
use super::listen::Bound;
use super::places::{Place, Places};
use super::stack::{App, Stack};
use super::tls::{self, Wire};
use crate::answer::empty;
use crate::meter::Meter;
use crate::security::auth::Peer;
use crate::security::kept::Kept;
use crate::security::tls::Tls;

/// Where a connection is from, and what it holds for as long as it lives.
type Permit = (Option<Peer>, OwnedSemaphorePermit, Place);

/// How long health checks under way may take once the server stops.
const LAST_CHECKS: Duration = Duration::from_secs(1);

/// What the side thread works with.
#[derive(Debug, Clone)]
pub(super) struct Side<A> {
    pub(super) stack: Stack<A>,
    pub(super) connections: Connections,
    /// What connections are encrypted with, if they are.
    pub(super) tls: Option<Arc<Kept<Tls>>>,
    /// The workers' runtime.
    pub(super) workers: Handle,
    /// The most connections at a time.
    pub(super) limit: usize,
    /// The most of one address.
    pub(super) places: Places,
    /// Time for the first bytes of a connection, as for a head.
    pub(super) patience: Duration,
    /// The longest that bytes sent to a client may stay unread; zero for no limit.
    pub(super) unread: Duration,
    /// Stops accepting; cancelled too when this thread ends for a reason of its own, so that the server is never deaf.
    pub(super) stop: CancellationToken,
}

impl<A: App> Side<A> {
    /// Starts the thread. The token is cancelled once nothing is accepted any more and the listening socket is closed.
    pub(super) fn start(self, bound: Bound) -> io::Result<CancellationToken> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let closed = CancellationToken::new();
        let (last, on_closed) = (self.stop.clone(), closed.clone());
        thread::Builder::new()
            .name("highwater-side".into())
            .spawn(move || {
                let _guards = (last.drop_guard(), on_closed.clone().drop_guard());
                if let Err(error) = runtime.block_on(self.run(bound, on_closed)) {
                    error!(%error, "cannot accept connections");
                }
            })?;
        Ok(closed)
    }

    async fn run(self, bound: Bound, closed: CancellationToken) -> io::Result<()> {
        let limit = Arc::new(Semaphore::new(self.limit));
        let opening = TaskTracker::new();
        match bound {
            Bound::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                accept_all(listener, limit, &self.stop, |s, permit| {
                    self.open(s, permit, &opening);
                })
                .await;
            }
            Bound::Unix(listener, file) => {
                let listener = (file, UnixListener::from_std(listener)?);
                accept_all(listener, limit, &self.stop, |s, permit| {
                    self.open(s, permit, &opening);
                })
                .await;
            }
        }
        opening.close();
        closed.cancel();
        let _ = timeout(LAST_CHECKS, opening.wait()).await;
        Ok(())
    }

    fn open<S: Socket>(&self, socket: S, permit: OwnedSemaphorePermit, opening: &TaskTracker) {
        let peer = socket.peer();
        let Some(place) = self.places.take(peer) else {
            debug!("an address has as many connections as --max-connections-per-address");
            return self.stack.meter.turned_away.one();
        };
        opening.spawn(self.clone().sort(socket, (peer, permit, place)));
    }

    /// Looks at a connection's first bytes and brings it to whoever serves it.
    async fn sort<S: Socket>(self, socket: S, permit: Permit) {
        socket.tune(self.unread);
        if self.tls.is_some() {
            // What it asks for is known after the handshake, which is work for the workers.
            return self.lead(None, socket, permit);
        }
        let first = timeout(self.patience, first::read(socket));
        // A connection that has asked for nothing yet is closed by the stop.
        let Some(Ok(Ok(Some((first, io))))) = self.stop.run_until_cancelled(first).await else {
            return;
        };
        if first == First::Health {
            answer(io, self.patience, self.stack.meter).await;
        } else {
            let Prefixed { prefix, io } = io;
            self.lead(Some((first, prefix)), io, permit);
        }
    }

    /// Brings a connection to the workers, with what was read of it.
    fn lead<S: Socket>(self, begun: Option<(First, Bytes)>, io: S, permit: Permit) {
        if let Err(error) = self.hand_over(begun, io, permit) {
            debug!(%error, "connection lost on its way to the workers");
        }
    }

    fn hand_over<S: Socket>(
        self,
        begun: Option<(First, Bytes)>,
        io: S,
        permit: Permit,
    ) -> io::Result<()> {
        let peer = permit.0;
        let (loose, workers) = (io.loose()?, self.workers.clone());
        let tasks = self.connections.tasks().clone();
        let serve = async move {
            let _permit = permit;
            match S::bind(loose) {
                Ok(io) => {
                    let wire = match begun {
                        Some((first, prefix)) => {
                            Some((Wire::Plain(Prefixed { prefix, io }), first))
                        }
                        None => encrypted(io, self.tls, self.patience, &self.stop).await,
                    };
                    if let Some((wire, first)) = wire {
                        self.connections.serve(wire, first, peer, self.stack).await;
                    }
                }
                Err(error) => debug!(%error, "connection lost on its way to the workers"),
            }
        };
        // On the heap: a future that is handed on is kept at each place it went through.
        let serve = tasks.abort.run_until_cancelled_owned(Box::pin(serve));
        tasks.running.spawn_on(serve, &workers);
        Ok(())
    }
}

/// A connection after its handshake, and what it speaks; `None`: there was none, or no good one.
async fn encrypted<S: Socket>(
    io: S,
    tls: Option<Arc<Kept<Tls>>>,
    patience: Duration,
    stop: &CancellationToken,
) -> Option<(Wire<S>, First)> {
    // On the heap, since its connection outlives it by far.
    let handshake = Box::pin(timeout(patience, tls::handshake(io, tls?.get().config())));
    match stop.run_until_cancelled(handshake).await? {
        Ok(Ok(wire)) => return Some(wire),
        Ok(Err(error)) => debug!(%error, "no TLS handshake"),
        Err(_) => debug!("no TLS handshake in time"),
    }
    None
}

/// One answer, and the connection's end: what comes after it may be for the workers.
async fn answer<I>(io: I, patience: Duration, meter: Arc<Meter>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let app = tower::service_fn(nothing);
    let mut builder = conn::http1(patience);
    let connection = builder
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), Stack { app, meter });
    if let Err(error) = connection.await {
        debug!(
            error = &error as &dyn std::error::Error,
            "health check ended"
        );
    }
}

/// What is under the stack here: nothing. Only the server's own paths are asked for.
async fn nothing(_: Request<RequestBody>) -> Result<Response<ResponseBody>, Infallible> {
    Ok(empty(StatusCode::NOT_FOUND))
}

/// A socket that can move from one runtime to another.
trait Socket: AsyncRead + AsyncWrite + AsFd + Unpin + Send + Sized + 'static {
    type Loose: Send + 'static;
    /// Sets what a fresh socket needs.
    fn tune(&self, unread: Duration);
    /// Where it comes from; `None`: it is gone already.
    fn peer(&self) -> Option<Peer>;
    /// Leaves its runtime.
    fn loose(self) -> io::Result<Self::Loose>;
    /// Joins the runtime it is called in.
    fn bind(loose: Self::Loose) -> io::Result<Self>;
}

impl Socket for TcpStream {
    type Loose = std::net::TcpStream;

    fn tune(&self, unread: Duration) {
        let _ = self.set_nodelay(true); // fails on a socket that is closed already
        let unread = u32::try_from(unread.as_millis()).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(self, unread);
    }

    fn peer(&self) -> Option<Peer> {
        self.peer_addr().ok().map(Peer::Address)
    }

    fn loose(self) -> io::Result<Self::Loose> {
        self.into_std()
    }

    fn bind(loose: Self::Loose) -> io::Result<Self> {
        Self::from_std(loose)
    }
}

impl Socket for UnixStream {
    type Loose = std::os::unix::net::UnixStream;

    fn tune(&self, _: Duration) {}

    fn peer(&self) -> Option<Peer> {
        Some(Peer::Local)
    }

    fn loose(self) -> io::Result<Self::Loose> {
        self.into_std()
    }

    fn bind(loose: Self::Loose) -> io::Result<Self> {
        Self::from_std(loose)
    }
}
