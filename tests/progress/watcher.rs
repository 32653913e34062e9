//! A client of the WebSocket: the handshake written out, frames by tungstenite.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::{Client, Conn, Reply, id};

/// The longest that any message may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const HANDSHAKE: [(&str, &str); 4] = [
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

pub(crate) struct Watcher {
    pub socket: WebSocketStream<TcpStream>,
    shapes: BTreeMap<String, Vec<String>>,
}

/// Asks for the upgrade with these headers.
pub(crate) async fn ask(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (Conn, Reply) {
    let mut conn = Conn::open(addr).await;
    let mut head = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    conn.send(head.as_bytes()).await;
    // What follows the head of a 101 is not the answer's: it is read by nobody but the WebSocket.
    let reply = conn.reply().await;
    (conn, reply)
}

impl Watcher {
    pub(crate) async fn open(client: &Client, query: &str) -> Self {
        let (conn, reply) = ask(client.addr, &format!("/progress{query}"), &HANDSHAKE).await;
        assert_eq!(reply.status, 101, "{reply:?}");
        assert_eq!(
            reply.header("Sec-WebSocket-Accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        Self::on(conn).await
    }

    /// A connection that was upgraded.
    pub(crate) async fn on(conn: Conn) -> Self {
        let (stream, read) = conn.into_parts();
        Self {
            socket: WebSocketStream::from_partially_read(stream, read, Role::Client, None).await,
            shapes: shapes(),
        }
    }

    /// Follows the upload at `path`, and reads its snapshot.
    pub(crate) async fn of(client: &Client, path: &str) -> (Self, Value) {
        let mut watcher = Self::open(client, &format!("?upload={}", id(path))).await;
        let snapshot = watcher.next().await;
        assert_eq!(snapshot["event"], "snapshot", "{snapshot}");
        (watcher, snapshot)
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        let message = Message::text(message.to_string());
        self.socket.send(message).await.expect("it is sent");
    }

    pub(crate) async fn subscribe(&mut self, path: &str) {
        self.send(&json!({ "subscribe": [id(path)] })).await;
    }

    /// The next message, which has the fields that the documentation gives its kind.
    pub(crate) async fn next(&mut self) -> Value {
        let message = timeout(PATIENCE, self.try_next()).await;
        let message = message.expect("a message in time").expect("a message");
        self.check(&message);
        message
    }

    async fn try_next(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => {
                    return Some(serde_json::from_str(&text).expect("JSON"));
                }
                Ok(Message::Ping(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The messages up to the first of this kind, but progress; that one last.
    pub(crate) async fn until(&mut self, event: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let message = self.next().await;
            let found = message["event"] == event;
            if found || message["event"] != "progress" {
                all.push(message);
            }
            if found {
                return all;
            }
        }
    }

    /// The code with which the server closes, after whatever it still says.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await;
            match frame.expect("an end in time") {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("no close, but {other:?}"),
            }
        }
    }

    fn check(&self, message: &Value) {
        let name = message["event"].as_str().expect("an event");
        let known = self.shapes.get(name).expect("a documented event");
        let fields = message.as_object().expect("an object");
        let optional = ["chunk", "range", "code", "parts", "upload_id", "paused"];
        for field in fields.keys() {
            let may = known.contains(field) || (name == "snapshot" && field == "code");
            assert!(may, "{field} in {message}");
        }
        for field in known {
            let may_lack = optional.contains(&field.as_str());
            assert!(
                may_lack || fields.contains_key(field),
                "no {field}: {message}"
            );
        }
    }
}

/// The fields of each documented event.
fn shapes() -> BTreeMap<String, Vec<String>> {
    let text = include_str!("../../src/progress/EVENTS.md");
    let examples = text.split("```json\n").skip(1);
    let shape = |example: &str| {
        let json = example.split("\n```").next().expect("an end");
        let value: Value = serde_json::from_str(json).expect("JSON");
        let fields = value.as_object().expect("an object").keys().cloned();
        let name = value["event"].as_str().expect("a name").to_owned();
        (name, fields.collect())
    };
    examples.map(shape).collect()
}

pub(crate) fn names(all: &[Value]) -> Vec<&str> {
    all.iter()
        .map(|one| one["event"].as_str().expect("an event"))
        .collect()
}

pub(crate) fn number(message: &Value) -> u64 {
    message["sequence"].as_u64().expect("a number")
}
