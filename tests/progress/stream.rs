//! The same as Server-Sent Events.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::watcher::number;
use crate::support::http2::Http2;
use crate::support::{Client, Conn, id, start};

/// A stream, over HTTP/1.1, as a browser reads it.
pub(crate) struct Events {
    conn: Conn,
    text: String,
    /// The last `id`.
    pub last: Option<String>,
}

impl Events {
    pub(crate) async fn open(client: &Client, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut conn = client.connect().await;
        let addr = client.addr;
        let mut head = format!("GET /progress/events{query} HTTP/1.1\r\nHost: {addr}\r\n");
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        conn.send(head.as_bytes()).await;
        let mut events = Self {
            conn,
            text: String::new(),
            last: None,
        };
        let head = loop {
            if let Some((head, rest)) = events.text.split_once("\r\n\r\n") {
                let (head, rest) = (head.to_lowercase(), rest.to_owned());
                events.text = rest;
                break head;
            }
            assert!(events.more().await, "a head: {}", events.text);
        };
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        events
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let read = timeout(Duration::from_secs(30), self.conn.stream.read(&mut buffer)).await;
        let n = read.expect("something in time").expect("no error");
        self.text
            .push_str(std::str::from_utf8(&buffer[..n]).expect("UTF-8"));
        n > 0
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) async fn try_next(&mut self) -> Option<Value> {
        loop {
            // Chunks of the coding end lines of their own in between, which are no fields.
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let found = block.lines().find_map(|line| line.strip_prefix(name));
                    found.map(str::to_owned)
                };
                if let Some(id) = field("id: ") {
                    self.last = Some(id);
                }
                if let Some(data) = field("data: ") {
                    return Some(serde_json::from_str(&data).expect("JSON"));
                }
            }
            // The last chunk, or the connection's end.
            if self.text.ends_with("\r\n0\r\n\r\n") || !self.more().await {
                return None;
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.try_next().await.expect("a message")
    }

    pub(crate) async fn until(&mut self, event: &str) -> Value {
        loop {
            let one = self.next().await;
            if one["event"] == event {
                return one;
            }
        }
    }
}

#[tokio::test]
async fn the_same_messages_come_as_events_and_again_to_who_comes_back() {
    let mut server = start().await;
    let (one, two) = (server.create(6).await, server.create(3).await);
    let query = format!("?upload={}&upload=nothing&upload={}", id(&one), id(&two));
    let mut events = Events::open(&server, &query, &[]).await;
    let refused = events.next().await;
    assert_eq!(
        (&refused["event"], &refused["code"]),
        (&json!("error"), &json!("not-found"))
    );
    assert_eq!(events.next().await["event"], "snapshot");
    assert_eq!(events.next().await["upload_id"], id(&two));
    assert_eq!(server.patch(&one, 0, "abc").send().await.status, 204);
    let seen = events.until("chunk_uploaded").await;
    let last = events.last.clone().expect("an id");
    drop(events);
    // What happens to both is told to who comes back.
    assert_eq!(server.patch(&one, 3, "def").send().await.status, 204);
    assert_eq!(server.delete(&two).await.status, 204);
    let mut back = Events::open(&server, &query, &[("Last-Event-ID", &last)]).await;
    back.until("error").await;
    let mut ends = [back.next().await, back.next().await, back.next().await];
    ends.sort_by_key(|one| one["event"].as_str().expect("a name").to_owned());
    let names = ends
        .each_ref()
        .map(|one| one["event"].as_str().expect("a name"));
    assert_eq!(
        names,
        ["chunk_uploaded", "upload_cancelled", "upload_completed"]
    );
    assert_eq!(number(&ends[0]), number(&seen) + 1);
    // What is no id of this stream is none at all.
    for other in ["", "x", "1", "1-2-3-4", "ffffffffffffffffffff-1-2"] {
        let mut back = Events::open(&server, &query, &[("Last-Event-ID", other)]).await;
        back.until("error").await;
        assert_eq!(back.next().await["event"], "snapshot", "{other:?}");
    }
    server.stop().await;
    assert_eq!(
        back.try_next().await,
        None,
        "the end is told by the end of the stream"
    );
}

#[tokio::test]
async fn it_works_over_http_2_and_is_refused_what_it_cannot_do() {
    let server = start().await;
    let path = server.create(3).await;
    let mut http2 = Http2::connect(&server).await;
    let query = format!("/progress/events?upload={}", id(&path));
    let mut answer = http2.ask("GET", &query).await;
    assert_eq!(answer.status(), 200);
    let mut text = String::new();
    let mut asked = false;
    while !text.contains("upload_completed") {
        let frame = answer.frame().await.expect("a frame").expect("no error");
        let data = frame.into_data().expect("data");
        text.push_str(std::str::from_utf8(&data).expect("UTF-8"));
        if text.contains("snapshot") && !asked {
            asked = true;
            assert_eq!(server.patch(&path, 0, "abc").send().await.status, 204);
        }
    }
    let refused = http2.ask("GET", "/progress").await;
    assert_eq!(
        refused.status(),
        426,
        "there is no WebSocket over HTTP/2 here"
    );
    let many = vec!["upload=x"; 101].join("&");
    for (query, status, code) in [
        (String::new(), 400, "bad-subscription"),
        (format!("?{many}"), 429, "too-many-subscriptions"),
    ] {
        let reply = server.get(&format!("/progress/events{query}")).await;
        assert_eq!((reply.status, reply.code.as_str()), (status, code));
    }
    let preflight = server
        .request("OPTIONS", "/progress/events")
        .header("Origin", "https://app.example")
        .header("Access-Control-Request-Headers", "authorization");
    let preflight = preflight.send().await;
    assert_eq!(preflight.status, 204);
    let origin = preflight.header("Access-Control-Allow-Origin");
    assert_eq!(origin, Some("https://app.example"));
}
