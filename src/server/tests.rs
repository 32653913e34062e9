//! Through real sockets, on a free port, with bytes written out.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;

use super::body::{RequestBody, ResponseBody};
use super::*;

mod bounds;
mod http;
mod stop;

/// An application for tests: what it does with a request stands in the path.
#[derive(Clone)]
struct Probe {
    /// Told each time that a request waits.
    waiting: mpsc::Sender<()>,
    /// A permit lets one waiting request go on.
    go: Arc<Semaphore>,
    /// `/block` blocks its worker until this is sent to.
    block: Arc<Mutex<mpsc::Receiver<()>>>,
}

struct Hand {
    waiting: mpsc::Receiver<()>,
    go: Arc<Semaphore>,
    unblock: mpsc::Sender<()>,
}

/// Longer than anything here takes; a test that waits for what does not come fails, and does not hang.
const LONG: Duration = Duration::from_secs(20);

impl Hand {
    /// Returns once so many more requests wait.
    async fn waiting(self, requests: usize) -> Self {
        let wait = move || {
            (0..requests).for_each(|_| self.waiting.recv_timeout(LONG).unwrap());
            self
        };
        tokio::task::spawn_blocking(wait).await.unwrap()
    }
}

async fn ended(running: Running) {
    tokio::time::timeout(LONG, running.wait()).await.unwrap();
}

fn probe() -> (Probe, Hand) {
    let (waiting, is_waiting) = mpsc::channel();
    let (unblock, block) = mpsc::channel();
    let go = Arc::new(Semaphore::new(0));
    let block = Arc::new(Mutex::new(block));
    let probe = Probe {
        waiting,
        go: Arc::clone(&go),
        block,
    };
    (
        probe,
        Hand {
            waiting: is_waiting,
            go,
            unblock,
        },
    )
}

impl Probe {
    async fn call(
        self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let id = request.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let head: usize = request
            .headers()
            .iter()
            .map(|(k, v)| k.as_str().len() + v.len())
            .sum();
        let path = request.uri().path().to_owned();
        let text = match path.as_str() {
            "/id" => id,
            "/head" => (head / 1024).to_string(),
            "/count" => count(request.into_body()).await.to_string(),
            "/panic" => panic!("as asked"),
            "/wait" => {
                self.waiting.send(()).unwrap();
                self.go.acquire().await.unwrap().forget();
                "waited".to_owned()
            }
            "/block" => {
                self.waiting.send(()).unwrap();
                self.block.lock().unwrap().recv().unwrap();
                "blocked".to_owned()
            }
            _ => {
                let mut refused = Response::new(full("refused"));
                *refused.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                return Ok(refused);
            }
        };
        Ok(Response::new(full(text)))
    }
}

fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    let body = Full::new(bytes.into()).map_err(|never| match never {});
    body.boxed_unsync()
}

async fn count(mut body: RequestBody) -> usize {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    bytes
}

async fn serve(config: Config) -> (Running, Hand) {
    let (probe, hand) = probe();
    let app = tower::service_fn(move |request| probe.clone().call(request));
    let config = config.checked().unwrap();
    let bound = listen::Bound::new(&config).await.unwrap();
    let running = start_with(&config, bound, app, None, None).unwrap();
    (running, hand)
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.addr().unwrap()).await.unwrap()
}

/// Sends these bytes and reads to the connection's end; they ask for it by `Connection: close`.
async fn raw(running: &Running, bytes: &[u8]) -> String {
    let mut socket = connect(running).await;
    socket.write_all(bytes).await.unwrap();
    to_end(&mut socket).await
}

async fn to_end(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads until the answer so far ends in this.
async fn until(socket: &mut TcpStream, end: &str) -> String {
    let mut answer = String::new();
    while !answer.ends_with(end) {
        let mut byte = [0];
        assert_eq!(
            socket.read(&mut byte).await.unwrap(),
            1,
            "ended after {answer:?}"
        );
        answer.push(char::from(byte[0]));
    }
    answer
}

async fn http2(
    running: &Running,
) -> hyper::Result<hyper::client::conn::http2::SendRequest<ResponseBody>> {
    let io = TokioIo::new(connect(running).await);
    let (send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    Ok(send)
}

async fn text(answer: Response<hyper::body::Incoming>) -> String {
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    String::from_utf8(bytes).unwrap()
}
