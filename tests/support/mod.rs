//! What the tests share: a server in this process on port 0 with a fresh directory, the real binary as a process, and a
//! client that writes bytes to a socket and knows nothing of the server's code.
#![expect(
    unreachable_pub,
    reason = "a module of the test program, not of a library"
)]

pub mod client;
pub mod disk;
pub mod http2;
pub mod power;
pub mod process;
pub mod receiver;
pub mod rounds;
pub mod session;
pub mod slow;
pub mod tus;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use highwater::config::Config;
use highwater::protocol::checksum::{Algorithm, Digest};
use highwater::server::{self, Running};

pub use client::{Conn, Reply};
pub use process::Process;
pub use rounds::{Dice, figure, percentile, rounds, seed};
pub use session::Session;
pub use tus::Client;

/// A server in this process.
pub struct Server {
    client: Client,
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
        client: Client { addr },
        dir,
        running: Some(running),
        config,
    }
}

impl Server {
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Every file below the data directory but the state store's, as paths relative to it.
    pub fn stored_files(&self) -> Vec<String> {
        stored_files(&self.data())
    }

    /// None of them is there, once what removes them is done.
    pub async fn nothing_is_left(&self) {
        until("nothing is left", || async {
            self.stored_files().is_empty()
        })
        .await;
    }

    /// Has it read its files anew.
    pub fn reload(&self) {
        self.running.as_ref().expect("it runs").reload();
    }

    /// Stops gracefully and starts again over the same directory.
    pub async fn restart(&mut self) {
        self.stop().await;
        let running = server::start(self.config.clone())
            .await
            .expect("the server starts again");
        self.client.addr = running.addr().expect("a TCP address");
        self.running = Some(running);
    }

    /// The same, with something changed.
    pub async fn change(&mut self, change: impl FnOnce(&mut Config)) {
        self.stop().await;
        change(&mut self.config);
        self.restart().await;
    }

    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.wait().await;
        }
    }
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Where in a data directory files lie, but for the state store's.
pub const TREES: [&str; 4] = ["files", "info", "segments", "sessions"];

/// Every file below a data directory but the state store's, as paths relative to it.
pub fn stored_files(data: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for tree in TREES {
        walk(&data.join(tree), &mut |path| {
            let below = path.strip_prefix(data).expect("below");
            found.push(below.display().to_string());
        });
    }
    found.sort();
    found
}

/// Where the bytes of a plain upload lie, once there are any.
pub fn file_of(data: &Path, path: &str) -> PathBuf {
    data.join("files").join(&id(path)[..2]).join(id(path))
}

/// How long a file is; nothing, if it is not there.
pub fn len_of(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |meta| meta.len())
}

pub fn walk(dir: &Path, found: &mut dyn FnMut(&Path)) {
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

/// That bytes are these; says where they differ first, and not what all of them are.
#[track_caller]
pub fn same(found: &[u8], expected: &[u8]) {
    let differ = || found.iter().zip(expected).position(|(a, b)| a != b);
    assert!(
        found == expected,
        "{} bytes instead of {}, other ones from {:?} on",
        found.len(),
        expected.len(),
        differ()
    );
}

/// Lets this process have as many files open as it may.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised to the hard one");
}

/// The id at the end of an upload's path.
pub fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `Upload-Metadata` of these values.
pub fn metadata(pairs: &[(&str, impl AsRef<[u8]>)]) -> String {
    let pair = |(key, value): &(&str, _)| format!("{key} {}", STANDARD.encode(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// `Upload-Checksum` for `data`.
pub fn checksum(algorithm: Algorithm, data: &[u8]) -> String {
    let mut digest = Digest::new(algorithm);
    digest.update(data);
    format!("{} {}", algorithm.name(), STANDARD.encode(digest.finish()))
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
