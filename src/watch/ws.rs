//! `GET /progress`: the WebSocket. The handshake is ours, over the connection's own HTTP/1.1; frames are tungstenite's.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug};

use super::follow::{Asked, Follower, looks, refusal};
use crate::answer::{ResponseBody, empty};
use crate::error::Reject;
use crate::hooks::cause;
use crate::progress::Told;
use crate::protocol::{HeaderError, one};

/// The largest message of a client.
const LARGEST: usize = 16 << 10;
/// How long a client has to answer a close, and what is read of it meanwhile.
const GOODBYE: Duration = Duration::from_millis(500);
const REST: u64 = 1 << 20;
/// Source: RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A handshake that is as it should be.
pub(super) struct Upgrade {
    on: OnUpgrade,
    accept: HeaderValue,
    /// Where the connection's server waits for what becomes of it.
    tasks: TaskTracker,
}

impl Upgrade {
    /// # Errors
    /// `UpgradeRequired` for what is no handshake of version 13 over HTTP/1.1; `Header` for a key that is none.
    /// Source: RFC 6455, 4.2.1.
    pub(super) fn of<B>(request: &mut Request<B>) -> Result<Self, Reject> {
        let headers = request.headers();
        let version = headers.get(SEC_WEBSOCKET_VERSION);
        let asked = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && lists(headers, &CONNECTION, "upgrade")
            && lists(headers, &UPGRADE, "websocket")
            && version.is_some_and(|version| version == "13");
        let tasks = request.extensions().get::<TaskTracker>().cloned();
        let Some(tasks) = tasks.filter(|_| asked) else {
            return Err(Reject::UpgradeRequired);
        };
        let accept = accept(headers)?;
        let on = hyper::upgrade::on(request);
        Ok(Self { on, accept, tasks })
    }

    /// The answer, after which the connection is a WebSocket.
    pub(super) fn begin(
        self,
        follower: Follower,
        asked: Asked,
        timeout: Duration,
    ) -> Response<ResponseBody> {
        let on = self.on;
        let speak = async move {
            match on.await {
                Ok(upgraded) => {
                    let session = Session::new(upgraded, follower, timeout).await;
                    session.run(asked).await;
                }
                Err(error) => debug!(%error, "not upgraded"),
            }
        };
        // Whoever shows its credential in a message alone, of that hooks are asked then, and for this request.
        let speak = cause::within(cause::current(), speak);
        self.tasks.spawn(speak.in_current_span());
        let mut answer = empty(StatusCode::SWITCHING_PROTOCOLS);
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        answer
    }
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    let mut tokens = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    tokens.any(|one| one.trim().eq_ignore_ascii_case(token))
}

fn accept(headers: &HeaderMap) -> Result<HeaderValue, HeaderError> {
    const NAME: &str = "Sec-WebSocket-Key";
    let key = one(headers, NAME)?.ok_or(HeaderError::Missing(NAME))?;
    let sixteen = STANDARD.decode(key).is_ok_and(|key| key.len() == 16);
    if !sixteen {
        return Err(HeaderError::Malformed(NAME));
    }
    let sum = Sha1::new_with_prefix(key).chain_update(GUID).finalize();
    HeaderValue::from_str(&STANDARD.encode(sum)).map_err(|_| HeaderError::Malformed(NAME))
}

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// The client closed, or is gone.
    Gone,
    /// With a code and a word for the client.
    Close(CloseCode, &'static str),
}

/// One WebSocket.
struct Session {
    socket: Socket,
    follower: Follower,
    /// A client of which nothing is heard for so long is gone.
    patience: Duration,
    heard: Instant,
}

impl Session {
    async fn new(upgraded: Upgraded, follower: Follower, patience: Duration) -> Self {
        // What a connection may cost: tungstenite would take 128 KiB for reading alone.
        let config = WebSocketConfig::default()
            .read_buffer_size(4 << 10)
            .write_buffer_size(8 << 10)
            .max_write_buffer_size(256 << 10)
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST));
        let io = TokioIo::new(upgraded);
        Self {
            socket: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
            follower,
            patience,
            heard: Instant::now(),
        }
    }

    /// Speaks until one of both ends it, or the server stops.
    async fn run(mut self, asked: Asked) {
        let stopping = self.follower.stopping();
        let end = tokio::select! {
            end = self.speak(asked) => end,
            () = stopping => End::Close(CloseCode::Away, "the server is going down"),
        };
        debug!(?end, "progress connection ended");
        if let End::Close(code, reason) = end {
            // A client that does not read is not waited for.
            let _ = timeout(GOODBYE, close(self.socket, code, reason)).await;
        }
    }

    async fn speak(&mut self, asked: Asked) -> End {
        let who = self.follower.who();
        for text in &asked.uploads {
            if let Err(reject) = self.follower.follow(text, None, &who).await
                && let Some(end) = self.send(Message::text(refusal(text, &reject))).await
            {
                return end;
            }
        }
        let mut ping = interval(self.patience / 3);
        let mut looks = looks();
        loop {
            let end = tokio::select! {
                message = self.socket.next() => self.received(message).await,
                told = self.follower.next() => self.pass_on(told).await,
                _ = ping.tick() => self.ping().await,
                _ = looks.tick() => self.look().await,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn received(&mut self, message: Option<Result<Message, Error>>) -> Option<End> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => {
                for refused in self.follower.obey(&text).await {
                    let end = self.send(Message::text(refused)).await;
                    if end.is_some() {
                        return end;
                    }
                }
                None
            }
            Some(Ok(Message::Binary(_))) => {
                Some(End::Close(CloseCode::Unsupported, "messages are JSON text"))
            }
            // tungstenite answers pings, and closes.
            Some(Ok(_)) => None,
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                Some(End::Close(CloseCode::Size, "messages have at most 16 KiB"))
            }
            Some(Err(Error::Utf8(_))) => Some(End::Close(CloseCode::Invalid, "not UTF-8")),
            Some(Err(Error::Protocol(_))) => {
                Some(End::Close(CloseCode::Protocol, "not a WebSocket's frames"))
            }
            Some(Err(_)) | None => Some(End::Gone),
        }
    }

    /// What there is, all of it in as few writes as fit.
    async fn pass_on(&mut self, mut told: Vec<Told>) -> Option<End> {
        loop {
            for one in told {
                let fed = timeout(self.patience, self.socket.feed(Message::text(one.json))).await;
                if !matches!(fed, Ok(Ok(()))) {
                    return Some(End::Gone);
                }
            }
            match self.follower.try_next() {
                Some(more) => told = more,
                None => return self.flush().await,
            }
        }
    }

    async fn ping(&mut self) -> Option<End> {
        if self.heard.elapsed() >= self.patience {
            return Some(End::Close(CloseCode::Policy, "no answer to a ping"));
        }
        self.send(Message::Ping(Vec::new().into())).await
    }

    async fn look(&mut self) -> Option<End> {
        let good = self.follower.may_go_on().await;
        (!good).then_some(End::Close(
            CloseCode::Policy,
            "the credential is not valid any more",
        ))
    }

    async fn send(&mut self, message: Message) -> Option<End> {
        let sent = timeout(self.patience, self.socket.send(message)).await;
        (!matches!(sent, Ok(Ok(())))).then_some(End::Gone)
    }

    async fn flush(&mut self) -> Option<End> {
        let sent = timeout(self.patience, self.socket.flush()).await;
        (!matches!(sent, Ok(Ok(())))).then_some(End::Gone)
    }
}

/// Says why, and reads what the client still sends: bytes that come to a closed socket would reset it, and take the reason
/// with them.
async fn close(mut socket: Socket, code: CloseCode, reason: &'static str) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    if socket.close(Some(frame)).await.is_ok() {
        let mut rest = socket.into_inner().take(REST);
        let mut buffer = [0; 4096];
        while matches!(rest.read(&mut buffer).await, Ok(1..)) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_accepted_as_the_specification_does() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "Sec-WebSocket-Key",
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        let accept = accept(&headers).unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
