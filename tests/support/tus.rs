//! What a client does, with any server.

use std::net::SocketAddr;
use std::path::Path;

use super::client::{Conn, Reply, Request};
use super::{file_of, len_of, until};

/// A client of the server at this address.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub addr: SocketAddr,
}

impl Client {
    /// Sends bytes as they are, and reads one answer.
    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut conn = self.connect().await;
        conn.send(bytes).await;
        conn.reply().await
    }

    pub async fn connect(&self) -> Conn {
        Conn::open(self.addr).await
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.addr, method, path)
    }

    /// A tus request: with `Tus-Resumable`.
    pub fn tus(&self, method: &str, path: &str) -> Request {
        self.request(method, path).header("Tus-Resumable", "1.0.0")
    }

    /// Creates an upload and returns the path of its URL.
    pub async fn create(&self, length: u64) -> String {
        let reply = self
            .tus("POST", "/files/")
            .header("Upload-Length", length)
            .send()
            .await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.location_path()
    }

    pub fn patch(&self, path: &str, offset: u64, body: impl Into<Vec<u8>>) -> Request {
        self.tus("PATCH", path)
            .header("Upload-Offset", offset)
            .header("Content-Type", "application/offset+octet-stream")
            .body(body)
    }

    pub async fn head(&self, path: &str) -> Reply {
        self.tus("HEAD", path).send().await
    }

    /// The offset that HEAD tells.
    pub async fn offset(&self, path: &str) -> u64 {
        let reply = self.head(path).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.number("Upload-Offset").expect("an offset")
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path).send().await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.tus("DELETE", path).send().await
    }

    /// A complete upload with these bytes.
    pub async fn whole(&self, bytes: &[u8]) -> String {
        let path = self.create(bytes.len() as u64).await;
        assert_eq!(self.patch(&path, 0, bytes).send().await.status, 204);
        path
    }

    /// Creates a partial upload and returns the path of its URL.
    pub async fn partial(&self, length: u64) -> String {
        let created = self
            .tus("POST", "/files/")
            .header("Upload-Length", length)
            .header("Upload-Concat", "partial")
            .send()
            .await;
        assert_eq!(created.status, 201, "{created:?}");
        created.location_path()
    }

    /// A complete partial upload with these bytes.
    pub async fn part(&self, bytes: &[u8]) -> String {
        let path = self.partial(bytes.len() as u64).await;
        if !bytes.is_empty() {
            assert_eq!(self.patch(&path, 0, bytes).send().await.status, 204);
        }
        path
    }

    /// Asks for a final made of these parts.
    pub async fn join(&self, parts: &[String]) -> Reply {
        self.tus("POST", "/files/")
            .header("Upload-Concat", format!("final;{}", parts.join(" ")))
            .send()
            .await
    }

    /// Begins a PATCH whose body is `length` bytes, sends `bytes` of them, and waits until HEAD tells them.
    pub async fn hang(&self, path: &str, offset: u64, length: u64, bytes: &[u8]) -> Conn {
        let mut conn = self.connect().await;
        conn.begin_patch(path, offset, length).await;
        conn.send(bytes).await;
        until("HEAD tells what was sent", || async {
            self.offset(path).await == offset + bytes.len() as u64
        })
        .await;
        conn
    }

    /// The same for a PATCH that HEAD tells nothing of while it runs: `headers` make it chunked, or put it under a
    /// checksum. Waits until the bytes are on the disk, in the server's directory `data`.
    pub async fn hang_untold(&self, data: &Path, path: &str, headers: &str, bytes: &[u8]) -> Conn {
        let before = self.offset(path).await;
        let mut conn = self.connect().await;
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {before}\r\n\
             Content-Type: application/offset+octet-stream\r\n{headers}\r\n\r\n"
        );
        conn.send(head.as_bytes()).await;
        if headers.contains("chunked") {
            conn.send(format!("{:x}\r\n", bytes.len()).as_bytes()).await;
            conn.send(bytes).await;
            conn.send(b"\r\n").await;
        } else {
            conn.send(bytes).await;
        }
        let file = file_of(data, path);
        until("the bytes are on the disk", || async {
            len_of(&file) >= before + bytes.len() as u64
        })
        .await;
        assert_eq!(self.offset(path).await, before, "nothing of it is told");
        conn
    }
}
