//! An HTTP/1.1 client made of a socket: it can send what a correct client would not.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest that any answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The `code` of a problem, else empty.
    pub code: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }

    /// The path of `Location`, which must be absolute.
    pub fn location_path(&self) -> String {
        let location = self.header("Location").expect("a Location");
        let (_, rest) = location.split_once("://").expect("an absolute Location");
        rest[rest.find('/').expect("a path")..].to_owned()
    }
}

/// One connection.
pub struct Conn {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Conn {
    pub async fn open(addr: SocketAddr) -> Self {
        Self::try_open(addr).await.expect("a connection")
    }

    /// The same, `None` if there is no server.
    pub async fn try_open(addr: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(addr).await.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self {
            stream,
            read: Vec::new(),
        })
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .await
            .expect("the bytes go out");
    }

    /// The socket, and what was read of it beyond the last answer.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.read)
    }

    /// Sends a PATCH head for a body of `length` bytes, and nothing of the body.
    pub async fn begin_patch(&mut self, path: &str, offset: u64, length: u64) {
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: {length}\r\n\r\n"
        );
        self.send(head.as_bytes()).await;
    }

    /// Reads the next answer; interim ones (1xx) count as answers.
    pub async fn reply(&mut self) -> Reply {
        self.reply_to("").await
    }

    /// Reads the answer to a request of this method: one to HEAD has no body.
    pub async fn reply_to(&mut self, method: &str) -> Reply {
        self.try_reply(method).await.expect("an answer")
    }

    /// The same, `None` if the connection ends before a whole answer.
    pub async fn try_reply(&mut self, method: &str) -> Option<Reply> {
        timeout(PATIENCE, self.read_reply(method))
            .await
            .expect("an answer in time")
    }

    async fn read_reply(&mut self, method: &str) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut reply = Reply {
            status,
            headers,
            body: Vec::new(),
            code: String::new(),
        };
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        if !bodiless {
            if let Some(length) = reply.number("Content-Length") {
                let length = usize::try_from(length).ok()?;
                while self.read.len() < length {
                    self.more().await?;
                }
                reply.body = self.read.drain(..length).collect();
            } else if reply.header("Transfer-Encoding").is_some() {
                reply.body = self.chunked().await?;
            } else {
                while self.more().await.is_some() {}
                reply.body = std::mem::take(&mut self.read);
            }
        }
        if reply.header("Content-Type") == Some("application/problem+json")
            && !reply.body.is_empty()
        {
            let problem: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
            assert_eq!(problem["status"], reply.status);
            let code = problem["code"].as_str();
            code.expect("a code").clone_into(&mut reply.code);
        }
        Some(reply)
    }

    async fn chunked(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let at = loop {
                if let Some(at) = self.read.windows(2).position(|w| w == b"\r\n") {
                    break at;
                }
                self.more().await?;
            };
            let size =
                usize::from_str_radix(std::str::from_utf8(&self.read[..at]).ok()?, 16).ok()?;
            self.read.drain(..at + 2);
            while self.read.len() < size + 2 {
                self.more().await?;
            }
            body.extend(self.read.drain(..size));
            self.read.drain(..2);
            if size == 0 {
                return Some(body);
            }
        }
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 64 << 10];
        match self.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.read.extend_from_slice(&buffer[..n]);
                Some(())
            }
        }
    }
}

/// A request on a connection of its own.
#[derive(Clone)]
pub struct Request {
    addr: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunked: bool,
    trailers: Vec<(String, String)>,
}

impl Request {
    pub fn new(addr: SocketAddr, method: &str, path: &str) -> Self {
        Self {
            addr,
            method: method.into(),
            path: path.into(),
            headers: vec![("Host".into(), addr.to_string())],
            body: None,
            chunked: false,
            trailers: Vec::new(),
        }
    }

    pub fn method(&self) -> &str {
        &self.method
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// With this `Upload-Metadata`.
    #[must_use]
    pub fn described(self, pairs: &[(&str, impl AsRef<[u8]>)]) -> Self {
        self.header("Upload-Metadata", super::metadata(pairs))
    }

    /// Removes every header of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends the body in chunks, without a length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// A trailer, sent whether announced or not.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl Display) -> Self {
        self.trailers.push((name.into(), value.to_string()));
        self.chunked = true;
        self
    }

    /// What goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let body = self.body.clone().unwrap_or_default();
        if self.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            let mut out = head.into_bytes();
            for chunk in body.chunks(16 << 10) {
                out.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n");
            for (name, value) in &self.trailers {
                out.extend(format!("{name}: {value}\r\n").into_bytes());
            }
            out.extend_from_slice(b"\r\n");
            return out;
        }
        let has_length = self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if self.body.is_some() && !has_length {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut out = head.into_bytes();
        out.extend(body);
        out
    }

    pub async fn send(self) -> Reply {
        self.try_send().await.expect("an answer")
    }

    /// The same, `None` if the server is gone before its whole answer.
    pub async fn try_send(self) -> Option<Reply> {
        let mut conn = Conn::try_open(self.addr).await?;
        // A refusal may come, and the connection end, while the body is still on its way.
        let _ = conn.stream.write_all(&self.to_bytes()).await;
        conn.try_reply(&self.method).await
    }
}
