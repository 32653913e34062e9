//! A disk that hangs: who only asks is answered all the same, and nothing is lost.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::support::disk::Disk;
use crate::support::http2::Http2;
use crate::support::{Client, Conn, Process, Reply, bytes, until};

const UPLOADS: usize = 64;
const LENGTH: usize = 1 << 20;
/// Sent, and written, before the disk is frozen.
const BEFORE: usize = LENGTH / 4;
/// The most that an answer may take which needs no disk.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Sends a quarter of the body at once and the rest after `go`, in pieces.
async fn send_in_two(
    client: Client,
    path: String,
    body: Vec<u8>,
    mut go: watch::Receiver<bool>,
) -> Reply {
    let mut conn = client.connect().await;
    conn.begin_patch(&path, 0, body.len() as u64).await;
    conn.send(&body[..BEFORE]).await;
    go.wait_for(|go| *go).await.expect("the test goes on");
    for piece in body[BEFORE..].chunks(64 << 10) {
        conn.send(piece).await;
    }
    conn.reply().await
}

/// Threads of the process that wait for the disk, and can be woken by nothing else.
fn stuck(process: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process is there");
    let states = tasks.flatten().filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    });
    states.filter(|state| *state == 'D').count()
}

/// Asks on a connection of its own, or on one that was there before.
struct Asker {
    client: Client,
    kept: Conn,
}

impl Asker {
    /// The time of the fastest of some requests: the machine has other work, too. All of them must be answered well.
    async fn fastest(&mut self, method: &str, path: &str, keep: bool) -> Duration {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let request = self.client.tus(method, path);
            let begun = Instant::now();
            let reply = if keep {
                self.kept.send(&request.to_bytes()).await;
                self.kept.reply_to(method).await
            } else {
                request.send().await
            };
            best = best.min(begun.elapsed());
            assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
        }
        best
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_frozen_who_asks_is_answered_and_then_all_goes_on() {
    let disk = Disk::ext4(256);
    let server = Process::start(&disk.path().join("data"), &[]);
    let client = *server;
    let touched = client.create(10).await;
    assert_eq!(client.patch(&touched, 0, "hello").send().await.status, 204);
    let mut asker = Asker {
        client,
        kept: client.connect().await,
    };
    asker.fastest("HEAD", &touched, true).await;

    let (go, wait) = watch::channel(false);
    let mut uploads = Vec::new();
    for seed in 0..UPLOADS {
        let path = client.create(LENGTH as u64).await;
        let body = bytes(seed as u64, LENGTH);
        let sent = send_in_two(client, path.clone(), body.clone(), wait.clone());
        uploads.push((path, body, tokio::spawn(sent)));
    }
    for (path, ..) in &uploads {
        until("the first bytes are written", || async {
            client.offset(path).await == BEFORE as u64
        })
        .await;
    }

    let ice = disk.freeze();
    go.send(true).expect("uploads that wait");
    // A connection that was there first: a new one would wake the server up.
    let took = asker.fastest("HEAD", &touched, true).await;
    assert!(took < AT_ONCE, "HEAD took {took:?}");
    until("the uploads hang", || async {
        stuck(server.pid()) >= UPLOADS / 2
    })
    .await;
    for (busy, ..) in &uploads[..5] {
        for (method, path, keep) in [
            ("HEAD", &touched[..], true),
            ("HEAD", busy, true),
            ("HEAD", &touched, false),
            ("HEAD", busy, false),
            ("GET", "/healthz", true),
            ("GET", "/healthz", false),
        ] {
            let took = asker.fastest(method, path, keep).await;
            assert!(took < AT_ONCE, "{method} {path} took {took:?}");
        }
    }
    assert_eq!(client.offset(&touched).await, 5);
    assert!(stuck(server.pid()) > 0 && ice.still(), "it thawed too soon");
    drop(ice);

    for (path, body, sent) in uploads {
        let reply = sent.await.expect("no panic");
        assert_eq!(
            (reply.status, reply.number("Upload-Offset")),
            (204, Some(LENGTH as u64)),
            "{reply:?}"
        );
        assert!(client.get(&path).await.body == body, "the bytes of {path}");
    }
    assert_eq!(client.patch(&touched, 5, "world").send().await.status, 204);
    assert_eq!(client.get(&touched).await.body, b"helloworld");
}

/// The other streams of an HTTP/2 connection do not hang with the one that writes, not even where its bytes have just given
/// the connection something to do: announcing more room, after a third of a stream's window of 2 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_frozen_a_connection_of_http2_answers_its_other_streams() {
    const LENGTH: usize = 3 << 20;
    const BEFORE: usize = 690_000;
    let disk = Disk::ext4(64);
    let server = Process::start(&disk.path().join("data"), &[]);
    let client = *server;
    let path = client.create(LENGTH as u64).await;
    let sent = bytes(1, LENGTH);
    let mut http2 = Http2::connect(&client).await;
    let (pieces, body) = Http2::body();
    let patched = tokio::spawn(http2.patch(&path, 0, sent.len(), body));
    pieces.send(&sent[..BEFORE]).await;
    until("the first bytes are written", || async {
        client.offset(&path).await == BEFORE as u64
    })
    .await;

    let ice = disk.freeze();
    pieces.send(&sent[BEFORE..LENGTH / 2]).await;
    until("the upload hangs", || async { stuck(server.pid()) > 0 }).await;
    pieces.send(&sent[LENGTH / 2..]).await;
    drop(pieces);
    for _ in 0..5 {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(http2.ask("HEAD", &path).await.status(), 200);
            best = best.min(begun.elapsed());
        }
        assert!(best < AT_ONCE, "HEAD took {best:?}");
    }
    assert!(stuck(server.pid()) > 0 && ice.still(), "it thawed too soon");
    drop(ice);
    assert_eq!(patched.await.expect("no panic").status(), 204);
    assert!(client.get(&path).await.body == sent, "the bytes");
}
