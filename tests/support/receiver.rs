//! A receiver of hooks and of jobs: an HTTP server that says what the test tells it, and notes what it was sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::until;

/// What a receiver says.
pub enum Said {
    /// 200 with this.
    Json(Value),
    /// 200 with these bytes, whatever they are.
    Bytes(Vec<u8>),
    /// Another status.
    Status(u16),
    /// 200, and bytes without an end.
    Flood,
    /// Nothing, ever.
    Nothing,
    /// 200, once this is said.
    After(Arc<Notify>),
}

impl Said {
    pub fn fine() -> Self {
        Self::Json(json!({}))
    }
}

/// What it was sent.
#[derive(Debug, Clone)]
pub struct Call {
    pub headers: http::HeaderMap,
    pub raw: Vec<u8>,
    pub json: Value,
}

impl Call {
    pub fn event(&self) -> &str {
        self.json["Type"].as_str().expect("a type")
    }

    pub fn upload(&self) -> &Value {
        &self.json["Event"]["Upload"]
    }

    pub fn id(&self) -> &str {
        self.upload()["ID"].as_str().expect("an id")
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).expect("the header");
        value.to_str().expect("text")
    }
}

type Script = Box<dyn FnMut(&Call) -> Said + Send>;

#[derive(Clone)]
struct Shared {
    calls: Arc<Mutex<Vec<Call>>>,
    script: Arc<Mutex<Script>>,
}

pub struct Receiver {
    pub addr: SocketAddr,
    shared: Shared,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// One that says what `script` does.
    pub async fn start(script: impl FnMut(&Call) -> Said + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        let shared = Shared {
            calls: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(script))),
        };
        let task = tokio::spawn(serve(listener, shared.clone()));
        Self { addr, shared, task }
    }

    /// One that lets everything pass.
    pub async fn agreeable() -> Self {
        Self::start(|_| Said::fine()).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.addr)
    }

    /// From now on it says what `script` does.
    pub fn says(&self, script: impl FnMut(&Call) -> Said + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    /// All calls so far, in their order.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// Those of an event.
    pub fn of(&self, event: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.event() == event);
        calls
    }

    /// Waits for the call number `count` of an event, and gives the last one.
    pub async fn waits_for(&self, event: &str, count: usize) -> Call {
        until(&format!("{count} calls of {event}"), || async {
            self.of(event).len() >= count
        })
        .await;
        self.of(event).pop().expect("it is there")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Shared) {
    // Dropped with this task: what hangs ends with the test.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, shared.clone()));
            let served = hyper::server::conn::http1::Builder::new();
            let _ = served.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, shared: Shared) -> Result<Response<Body>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut raw = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        raw.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    let call = Call {
        headers: head.headers,
        json: serde_json::from_slice(&raw).expect("a hook is JSON"),
        raw,
    };
    let said = (lock(&shared.script))(&call);
    lock(&shared.calls).push(call);
    let (status, body) = match said {
        Said::Json(value) => (200, Full::from(value.to_string()).boxed_unsync()),
        Said::Bytes(bytes) => (200, Full::from(bytes).boxed_unsync()),
        Said::Status(status) => (status, Full::from("no").boxed_unsync()),
        Said::Nothing => std::future::pending().await,
        Said::After(word) => {
            word.notified().await;
            (200, Full::from("{}").boxed_unsync())
        }
        Said::Flood => {
            let piece = || Ok(Frame::data(Bytes::from_static(&[b' '; 16 << 10])));
            let flood = stream::repeat_with(piece);
            (200, StreamBody::new(flood).boxed_unsync())
        }
    };
    let response = Response::builder().status(status);
    let response = response.header("Content-Type", "application/json");
    Ok(response.body(body).expect("an answer"))
}
