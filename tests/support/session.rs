//! A client of the session API, with any server.

use highwater::protocol::sha256::Sum;
use serde_json::{Value, json};

use super::client::{Conn, Reply, Request};
use super::tus::Client;
use super::until;

/// A session, and the token to it.
#[derive(Debug, Clone)]
pub struct Session {
    pub client: Client,
    pub id: String,
    pub token: String,
    /// What the server answered at first.
    pub info: Value,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Client {
    /// Asks for a session.
    pub async fn initialize(&self, ask: &Value) -> Reply {
        let post = self.request("POST", "/uploads/initialize");
        post.body(ask.to_string()).send().await
    }

    /// A session.
    pub async fn session(&self, ask: &Value) -> Session {
        let reply = self.initialize(ask).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let info = reply.json();
        let text = |name: &str| info[name].as_str().expect("a text").to_owned();
        Session {
            client: *self,
            id: text("session_id"),
            token: text("session_token"),
            info,
        }
    }

    /// A session for these bytes in chunks of 64 KiB.
    pub async fn session_of(&self, bytes: &[u8]) -> Session {
        self.session(&json!({"filename": "f", "size": bytes.len(), "chunk_size": CHUNK}))
            .await
    }
}

/// The smallest chunk.
pub const CHUNK: usize = 64 << 10;

impl Session {
    /// A request with the token, below the session's URL.
    pub fn request(&self, method: &str, below: &str) -> Request {
        let path = format!("/uploads/{}{below}", self.id);
        self.owned(self.client.request(method, &path))
    }

    /// A tus request with the token, at the session's upload or, below it, a chunk.
    pub fn tus(&self, method: &str, below: &str) -> Request {
        let path = format!("/files/{}{below}", self.id);
        self.owned(self.client.tus(method, &path))
    }

    /// The request with the token.
    pub fn owned(&self, request: Request) -> Request {
        request.header("Authorization", format!("Bearer {}", self.token))
    }

    /// A POST of a chunk, without its hash.
    pub fn bare_chunk(&self, n: impl std::fmt::Display, body: &[u8]) -> Request {
        self.request("POST", &format!("/chunks/{n}")).body(body)
    }

    /// A POST of a chunk.
    pub fn chunk(&self, n: impl std::fmt::Display, body: &[u8]) -> Request {
        self.bare_chunk(n, body)
            .header("X-Chunk-SHA256", Sum::of(body))
    }

    /// Sends the n-th chunk of `bytes`, cut as this session cuts them.
    pub async fn send(&self, n: usize, bytes: &[u8]) -> Reply {
        let body = self.part(n, bytes);
        self.chunk(n, body).send().await
    }

    /// The n-th chunk of `bytes`.
    pub fn part<'b>(&self, n: usize, bytes: &'b [u8]) -> &'b [u8] {
        let size = self.info["chunk_size"].as_u64().expect("a size");
        let size = usize::try_from(size).expect("a size");
        bytes.chunks(size).nth(n - 1).expect("a chunk")
    }

    /// A PATCH of a chunk.
    pub fn patch(&self, n: usize, offset: usize, body: &[u8]) -> Request {
        self.tus("PATCH", &format!("/{n}"))
            .header("Upload-Offset", offset)
            .header("Content-Type", "application/offset+octet-stream")
            .body(body)
    }

    /// Begins a POST of a chunk of `whole`, and sends `now` bytes of it.
    pub async fn begin(&self, n: usize, whole: &[u8], now: usize) -> Conn {
        let request = self.chunk(n, whole).to_bytes();
        let mut conn = self.client.connect().await;
        let send = request.len() - whole.len() + now;
        conn.send(&request[..send]).await;
        conn
    }

    /// Begins the first four chunks of `data`, sends `now` bytes of each, and waits until these are taken in.
    pub async fn begin_four(&self, data: &[u8], now: usize) -> Vec<Conn> {
        let mut running = Vec::new();
        for n in 1..=4 {
            running.push(self.begin(n, self.part(n, data), now).await);
        }
        until("four are taken in", || async {
            self.status().await["bytes_transferred"] == 4 * now
        })
        .await;
        running
    }

    pub async fn status(&self) -> Value {
        let reply = self.request("GET", "/status").send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    pub async fn resume(&self) -> Value {
        let reply = self.request("GET", "/resume").send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    pub async fn finalize(&self) -> Reply {
        self.request("POST", "/finalize").send().await
    }

    pub async fn cancel(&self) -> Reply {
        self.request("DELETE", "").send().await
    }

    /// The bytes of the whole, once it is complete.
    pub async fn download(&self) -> Reply {
        let path = format!("/files/{}", self.id);
        self.owned(self.client.request("GET", &path)).send().await
    }
}
