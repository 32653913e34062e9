//! One connection: HTTP/1 or HTTP/2, its limits, and its graceful end.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::header::UPGRADE;
use http::{Method, Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::far::Look;
use super::first::First;
use super::share::{Held, Sharing};
use super::stack::{App, Stack};
use crate::config::Config;
use crate::engine::FarEnd;
use crate::security::auth::Peer;
use crate::security::rate::turn;

/// The largest request head on HTTP/2, as HTTP/1's read buffer makes it there. hyper's own 16 KiB is too small for a
/// final upload of a thousand parts.
const MAX_HEAD: u32 = 400 * 1024;
/// Bytes in flight to one upload: a fast client far away, and a bound on what a stalled disk piles up in memory.
const STREAM_WINDOW: u32 = 2 << 20;
/// And to all uploads of a connection.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Frames that clients may send. More would be fewer and larger writes, but h2 takes at most 5/4 × head ÷ frame
/// CONTINUATIONs, and clients send those of 16 KiB whatever they may: here 240 KiB of them, with 64 KiB only 112.
const MAX_FRAME: u32 = 32 * 1024;
const MAX_STREAMS: u32 = 128;
/// An HTTP/2 client that is silent is asked whether it is there, and has as long again to say so.
const PING: Duration = Duration::from_secs(20);

/// How connections are spoken with, and how they are told to end.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    h1: http1::Builder,
    h2: Option<http2::Builder<Tasks>>,
    tasks: Tasks,
    held: Arc<Held>,
    /// Connections finish what they have begun, and end.
    stop: CancellationToken,
}

/// Tasks that are waited for at the end, and dropped when the wait is over.
#[derive(Debug, Clone)]
pub(super) struct Tasks {
    pub(super) running: TaskTracker,
    pub(super) abort: CancellationToken,
}

/// Runs HTTP/2's streams, which are tasks of their own.
impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        let abort = self.abort.clone();
        self.running
            .spawn(async move { abort.run_until_cancelled_owned(stream).await.map(drop) });
    }
}

impl Connections {
    pub(super) fn new(config: &Config, stop: CancellationToken) -> Self {
        let tasks = Tasks {
            running: TaskTracker::new(),
            abort: CancellationToken::new(),
        };
        Self {
            h1: http1(config.header_timeout),
            // Over TLS the client says which it speaks.
            h2: (config.enable_h2c || config.tls.tls_certificate.is_some())
                .then(|| http2(tasks.clone())),
            tasks,
            held: Arc::new(Held::new(config.limits.total().bytes.map(turn))),
            stop,
        }
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Serves a connection to its end.
    pub(super) async fn serve<I, A>(&self, io: I, first: First, peer: Option<Peer>, stack: Stack<A>)
    where
        I: AsyncRead + AsyncWrite + Look + Unpin + Send + 'static,
        A: App,
    {
        let far = Arc::<FarEnd>::default();
        let io = TokioIo::new(Sharing::new(io, self.held.clone(), far.clone()));
        let upgraded = TaskTracker::new();
        let service = Upgradable {
            stack,
            peer,
            far,
            upgraded: upgraded.clone(),
        };
        let ended = match (&self.h2, first) {
            (Some(h2), First::Http2) => {
                let connection = h2.serve_connection(io, service);
                let end = http2::Connection::graceful_shutdown;
                // On the heap: it is larger than HTTP/1's, whose are many.
                Box::pin(self.until_stop(connection, end)).await
            }
            _ => {
                let connection = self.h1.serve_connection(io, service).with_upgrades();
                self.until_stop(connection, http1::UpgradeableConnection::graceful_shutdown)
                    .await
            }
        };
        if let Err(error) = ended {
            debug!(error = &error as &dyn std::error::Error, "connection ended");
        }
        // A WebSocket is the same connection still: it counts as one, and the end waits for it.
        upgraded.close();
        upgraded.wait().await;
    }

    async fn until_stop<C>(&self, connection: C, end: impl FnOnce(Pin<&mut C>)) -> hyper::Result<()>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = pin!(connection);
        tokio::select! {
            biased; // a request that has come is begun before the connection hears of the stop
            ended = connection.as_mut() => return ended,
            () = self.stop.cancelled() => end(connection.as_mut()),
        }
        connection.await
    }
}

/// A connection's stack: a request finds where it came from, one that may wait unread its far end, and one that asks for another
/// protocol where to leave what will speak it.
struct Upgradable<A> {
    stack: Stack<A>,
    peer: Option<Peer>,
    far: Arc<FarEnd>,
    upgraded: TaskTracker,
}

impl<A: App> Service<Request<Incoming>> for Upgradable<A> {
    type Response = <Stack<A> as Service<Request<Incoming>>>::Response;
    type Error = <Stack<A> as Service<Request<Incoming>>>::Error;
    type Future = <Stack<A> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if request.headers().contains_key(UPGRADE) {
            request.extensions_mut().insert(self.upgraded.clone());
        }
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        // An HTTP/2 connection is read all the time.
        if request.method() == Method::POST && request.version() != Version::HTTP_2 {
            request.extensions_mut().insert(self.far.clone());
        }
        self.stack.call(request)
    }
}

/// hyper's read buffer (408 KiB) is the limit of a head, and what is left in it is a body's first frame.
pub(super) fn http1(head: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head) // also of an idle connection
        .half_close(true); // a client may close its side after the last byte and wait for the answer
    builder
}

fn http2(tasks: Tasks) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEAD)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}
