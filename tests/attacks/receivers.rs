//! Receivers of hooks that are out to hurt whoever calls them, beneath what `hooks::misbehave` makes them say: each costs the
//! request that asked, within its time, and a bounded amount of memory.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{Process, Server, start_with, stored_files, until};

/// What one sends: once, and then again and again until the other side has had enough.
#[derive(Clone, Default)]
struct Sends {
    once: Vec<u8>,
    ever: Vec<u8>,
    /// Between two of those.
    pause: Duration,
}

/// A receiver that reads the head of each call, and sends what it is made to.
struct Raw {
    addr: SocketAddr,
    calls: Arc<AtomicUsize>,
    /// Connections that are there.
    open: Arc<()>,
    sends: Arc<Mutex<Sends>>,
    task: JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Raw {
    /// One that closes on every call.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        let calls = Arc::<AtomicUsize>::default();
        let sends = Arc::<Mutex<Sends>>::default();
        let open = Arc::<()>::default();
        let (count, held, next) = (calls.clone(), Arc::clone(&open), sends.clone());
        let task = tokio::spawn(async move {
            // Dropped with this task.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let sends = next.lock().expect("no panic").clone();
                let (count, held) = (count.clone(), held.clone());
                connections.spawn(async move {
                    answer(socket, sends, count).await;
                    drop(held);
                });
            }
        });
        Self {
            addr,
            calls,
            open,
            sends,
            task,
        }
    }

    /// One that answers every call with this.
    async fn saying(text: &str) -> Self {
        let receiver = Self::start().await;
        receiver.sends(once(text));
        receiver
    }

    /// Waits until nobody holds a connection to it any more.
    async fn is_let_go(&self) {
        let own = 2; // its own, and its task's
        until("nobody reads on", || async {
            Arc::strong_count(&self.open) == own
        })
        .await;
    }

    /// What it sends from the next connection on.
    fn sends(&self, sends: Sends) {
        *self.sends.lock().expect("no panic") = sends;
    }

    fn url(&self) -> String {
        format!("http://{}/hooks", self.addr)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Answers one call, and closes.
async fn answer(mut socket: TcpStream, sends: Sends, calls: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        match socket.read(&mut buffer).await {
            Ok(read @ 1..) => head.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    calls.fetch_add(1, Ordering::Relaxed);
    if socket.write_all(&sends.once).await.is_err() || sends.ever.is_empty() {
        return;
    }
    while socket.write_all(&sends.ever).await.is_ok() {
        tokio::time::sleep(sends.pause).await;
    }
}

/// Longer than a call takes at most, and shorter than one would wait for a thing that hangs.
const SOON: Duration = Duration::from_secs(10);

fn once(text: &str) -> Sends {
    let once = text.as_bytes().to_vec();
    Sends {
        once,
        ..Sends::default()
    }
}

fn ever(first: &str, text: impl Into<Vec<u8>>) -> Sends {
    Sends {
        ever: text.into(),
        ..once(first)
    }
}

fn slowly(first: &str, text: &str) -> Sends {
    Sends {
        pause: Duration::from_millis(20),
        ..ever(first, text)
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

/// What has no end, as fast as it is read or drop by drop.
fn endless() -> Vec<(&'static str, Sends)> {
    let body = format!("{OK}\r\n");
    let chunked = |rest: &str| format!("{OK}Transfer-Encoding: chunked\r\n\r\n{rest}");
    let fields = format!("X: {}\r\n", "x".repeat(8000));
    let going_on = "HTTP/1.1 100 Continue\r\n\r\n".repeat(300);
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(200);
    let trailers = "X: y\r\n".repeat(1000);
    vec![
        ("a first line", ever("HTTP/1.1 200 ", [b'x'; 8000])),
        ("a head", ever(OK, fields)),
        ("a slow head", slowly(OK, "X: y\r\n")),
        ("words that it will answer", ever("", going_on)),
        ("hints", ever("", hints)),
        ("a body", ever(&body, [b' '; 8000])),
        ("a slow body", slowly(&body, " ")),
        (
            "a chunk",
            ever(&chunked("7fffffffffffffff\r\n"), [b' '; 8000]),
        ),
        ("trailers", ever(&chunked("0\r\n"), trailers)),
        ("an extension", ever(&chunked("0;"), [b'x'; 8000])),
    ]
}

/// What is cut, means two things, or is of another protocol.
fn broken() -> Vec<(&'static str, Sends)> {
    let ok = |rest: &str| once(&format!("{OK}{rest}"));
    let to_other =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{}";
    vec![
        ("nothing", once("")),
        ("half a head", ok("Content-")),
        ("half a body", ok("Content-Length: 20\r\n\r\n{}")),
        (
            "half a chunk",
            ok("Transfer-Encoding: chunked\r\n\r\n5\r\n{}"),
        ),
        (
            "two lengths",
            ok("Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
        ),
        (
            "a length over 2^64",
            ok("Content-Length: 18446744073709551618\r\n\r\n{}"),
        ),
        ("a fold", ok("X: y\r\n z\r\nContent-Length: 2\r\n\r\n[]")),
        (
            "a packed body",
            ok("Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x08"),
        ),
        ("no HTTP", once("220 mail.example ESMTP\r\n")),
        ("HTTP/2", once("\0\0\0\x04\0\0\0\0\0")),
        ("TLS", once("\x15\x03\x01\0\x02\x02\x46")),
        ("a switch of protocols", once(to_other)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_none() {
    const MORE: u64 = 16 << 20;
    let receiver = Raw::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let hooks = [
        "--hooks-http",
        &receiver.url(),
        "--hooks-enabled-events",
        "pre-create",
    ];
    let patience = ["--hooks-http-timeout", "700ms", "--hooks-http-retry", "1"];
    let server = Process::start(
        dir.path(),
        &[&hooks[..], &patience, &["--hooks-http-backoff", "10ms"]].concat(),
    );
    let before = server.memory();
    for (what, sends) in endless().into_iter().chain(broken()) {
        receiver.sends(sends);
        let calls = receiver.calls();
        let began = Instant::now();
        let post = server.tus("POST", "/files/").header("Upload-Length", 5);
        let reply = post.send().await;
        assert_eq!((reply.status, &*reply.code), (500, "hook-failed"), "{what}");
        assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
        assert!((1..=2).contains(&(receiver.calls() - calls)), "{what}");
        receiver.is_let_go().await;
        let after = server.memory();
        assert!(
            after < before + MORE,
            "{what}: {before} before, {after} after"
        );
        assert!(stored_files(dir.path()).is_empty(), "{what}");
    }
    receiver.sends(once(&format!("{OK}Content-Length: 2\r\n\r\n{{}}")));
    server.create(5).await;
}

/// Where an answer leads is nobody's business but the operator's: it is not followed, to itself or to what is in the same house.
#[tokio::test]
async fn redirects_are_not_followed() {
    let inside = Raw::saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
    for status in [301, 302, 303, 307, 308, 300] {
        for to in [
            inside.url(),
            "/hooks".to_owned(),
            "file:///etc/passwd".to_owned(),
        ] {
            let answer =
                format!("HTTP/1.1 {status} X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            let receiver = Raw::saying(&answer).await;
            let server = asking(&receiver.url()).await;
            let post = server.tus("POST", "/files/").header("Upload-Length", 5);
            let reply = post.send().await;
            assert_eq!(
                (reply.status, &*reply.code),
                (500, "hook-failed"),
                "{status} {to}"
            );
            assert_eq!(receiver.calls(), 1, "{status} {to}");
        }
    }
    assert_eq!(inside.calls(), 0);
}

async fn asking(url: &str) -> Server {
    let url = url.to_owned();
    start_with(|config| {
        config.hooks.hooks_http = url;
        config.hooks.hooks_enabled_events = "pre-create".parse().expect("events");
        config.hooks.hooks_http_timeout = Duration::from_secs(5);
        config.hooks.hooks_http_retry = 0;
    })
    .await
}

/// Whether a process of this group is there, but for those that nobody has buried yet.
fn lives(group: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    processes.flatten().any(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // `id (name) state parent group`
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split(' ').collect();
        matches!(fields[..], [state, _, of, ..] if of == group && state != "Z")
    })
}

/// Programs that leave others behind, out of the reach of whoever kills them and with their output in their hands; that multiply;
/// that stop.
#[tokio::test]
async fn programs_that_fork_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = tempfile::tempdir().expect("a directory");
    let script = |text: &str| {
        let new = dir.path().join("new");
        std::fs::write(&new, format!("#!/bin/sh\n{text}\n")).expect("it is written");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        std::fs::rename(&new, dir.path().join("pre-create")).expect("its name");
    };
    let hooks = dir.path().to_str().expect("text");
    // It ends; what it has left behind holds its output, from a session of its own.
    let left = dir.path().join("left");
    script("setsid sh -c 'echo $$ > left.new; mv left.new left; exec sleep 1000' & echo '{}'");
    let server = Process::start(
        data.path(),
        &["--hooks-dir", hooks, "--hooks-dir-timeout", "1s"],
    );
    let post = || {
        server
            .tus("POST", "/files/")
            .header("Upload-Length", 5)
            .send()
    };
    let began = Instant::now();
    let reply = post().await;
    assert_eq!((reply.status, &*reply.code), (500, "hook-failed"));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    until("it is known what was left behind", || async {
        left.exists()
    })
    .await;
    let child = std::fs::read_to_string(&left).expect("its id");
    let child = child
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let killed =
        rustix::process::kill_process(child.expect("an id"), rustix::process::Signal::KILL);
    killed.expect("it was there still");
    // With its output elsewhere it is nobody's, and what was said stands.
    script("setsid sleep 2 > /dev/null 2>&1 < /dev/null & echo '{}'");
    assert_eq!(post().await.status, 201);
    // It forks as it ends, again and again, in its own group: that is killed whole.
    script("echo $$ > group; again() { sleep 0.05; again & }; again; sleep 1000");
    assert_eq!(post().await.code, "hook-failed");
    let group = std::fs::read_to_string(dir.path().join("group")).expect("its id");
    until("all of them are gone", || async { !lives(group.trim()) }).await;
    // It reads nothing, and says what is too long in a moment.
    script("exec head -c 2000000 /dev/zero");
    assert_eq!(post().await.code, "hook-failed");
    script("printf '{}'; kill -STOP $$");
    assert_eq!(post().await.code, "hook-failed");
    script("echo '{}'");
    assert_eq!(post().await.status, 201);
}
