//! What the tests share: a server in this process on port 0 with a fresh directory, the real binary as a process, and a
//! client that writes bytes to a socket and knows nothing of the server's code.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod client;
pub mod process;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use highwater::config::Config;
use highwater::server::{self, Running};

pub use client::{Conn, Reply, Request};

/// A server in this process.
pub struct Server {
    pub addr: SocketAddr,
    dir: tempfile::TempDir,
    running: Option<Running>,
    config: Config,
}

/// The defaults, but for a port of the system's choice and a fresh directory.
pub async fn start() -> Server {
    start_with(|_| {}).await
}

/// The same, with something changed.
pub async fn start_with(change: impl FnOnce(&mut Config)) -> Server {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = Config::for_test();
    config.upload_dir = dir.path().join("data");
    change(&mut config);
    let running = server::start(config.clone())
        .await
        .expect("the server starts");
    let addr = running.addr().expect("a TCP address");
    Server {
        addr,
        dir,
        running: Some(running),
        config,
    }
}

impl Server {
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

    /// A complete partial upload with these bytes.
    pub async fn part(&self, bytes: &[u8]) -> String {
        let created = self
            .tus("POST", "/files/")
            .header("Upload-Length", bytes.len())
            .header("Upload-Concat", "partial")
            .send()
            .await;
        assert_eq!(created.status, 201, "{created:?}");
        let path = created.location_path();
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

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Every file below the data directory but the state store's, as paths relative to it.
    pub fn stored_files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let data = self.data();
        for tree in ["files", "info", "segments"] {
            walk(&data.join(tree), &mut |path| {
                found.push(
                    path.strip_prefix(&data)
                        .expect("below")
                        .display()
                        .to_string(),
                );
            });
        }
        found.sort();
        found
    }

    /// Stops gracefully and starts again over the same directory.
    pub async fn restart(&mut self) {
        self.stop().await;
        let running = server::start(self.config.clone())
            .await
            .expect("the server starts again");
        self.addr = running.addr().expect("a TCP address");
        self.running = Some(running);
    }

    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.wait().await;
        }
    }
}

fn walk(dir: &Path, found: &mut dyn FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found(&path);
        }
    }
}

/// Waits until `done` says so; panics with `what` after 20 s.
pub async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let start = std::time::Instant::now();
    while !done().await {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The id at the end of an upload's path.
pub fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Bytes that differ along their length, from a seed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
