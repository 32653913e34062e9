//! A thousand clients that send a byte a second. In a body none of them is cut, since they get on; in a head all of them are.
//! Others do not notice them, and each costs little memory.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{
    Client, Conn, Process, bytes, figure, percentile, raise_file_limit, rounds, same,
};

const CLIENTS: usize = 1000;
/// How long a body, or a head, may be silent: longer than a second by what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that a slow client may cost, in bytes.
const COST: u64 = 128 << 10;
/// The longest that one answer in a hundred may take meanwhile, of a build without optimization on a busy machine.
const P99: Duration = Duration::from_secs(1);

fn started() -> (Process, tempfile::TempDir) {
    raise_file_limit();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let patience = format!("{}s", PATIENCE.as_secs());
    let options = [
        "--network-timeout",
        &patience,
        "--header-timeout",
        &patience,
    ];
    (Process::start(dir.path(), &options), dir)
}

/// One who knows nothing of the slow ones: whole uploads, one after the other, until it is told to stop. How long each of its
/// requests took.
async fn normal(client: Client, stop: watch::Receiver<bool>) -> Vec<Duration> {
    let mut took = Vec::new();
    let data = bytes(1, 50_000);
    while !*stop.borrow() {
        let begun = Instant::now();
        let path = client.create(50_000).await;
        took.push(begun.elapsed());
        let begun = Instant::now();
        let reply = client.patch(&path, 0, &data[..]).send().await;
        assert_eq!(reply.status, 204, "{reply:?}");
        took.push(begun.elapsed());
        let begun = Instant::now();
        assert_eq!(client.offset(&path).await, 50_000);
        took.push(begun.elapsed());
        let begun = Instant::now();
        same(&client.get(&path).await.body, &data);
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took
}

/// Lets a normal client work while `slow` runs, and tells what it met.
async fn beside<T>(what: &str, server: &Process, slow: impl Future<Output = T>) -> T {
    let (stop, stopped) = watch::channel(false);
    let working = tokio::spawn(normal(**server, stopped));
    let before = server.memory();
    let result = slow.await;
    stop.send(true).expect("it works still");
    let mut took = working.await.expect("no panic");
    let (p50, p99) = (percentile(&mut took, 50), percentile(&mut took, 99));
    let cost = server.memory().saturating_sub(before) / CLIENTS as u64;
    figure(
        what,
        format_args!(
            "beside {CLIENTS} of them {} requests, p50 {p50:.1?}, p99 {p99:.1?}; {} KiB of memory each",
            took.len(),
            cost >> 10
        ),
    );
    assert!(p99 < P99, "{p99:?}");
    assert!(cost < COST, "{cost} bytes each");
    result
}

/// A thousand connections that have sent this.
async fn connections(client: &Client, first: impl Fn(usize) -> Vec<u8>) -> Vec<Conn> {
    let mut all = Vec::new();
    for n in 0..CLIENTS {
        let mut conn = client.connect().await;
        conn.send(&first(n)).await;
        all.push(conn);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_bodies_are_borne() {
    let seconds = rounds(8, 60);
    let (server, _dir) = started();
    let data = bytes(2, seconds + 100);
    let mut paths = Vec::new();
    for _ in 0..CLIENTS {
        paths.push(server.create(data.len() as u64).await);
    }
    // One that falls silent shows that the silence is looked at.
    let silent = server.create(10).await;
    let mut silent = server.hang(&silent, 0, 10, b"a").await;
    let crawl = async {
        let head = |n: usize| {
            let request = server.patch(&paths[n], 0, &data[..]).to_bytes();
            request[..request.len() - data.len()].to_vec()
        };
        let mut all = connections(&server, head).await;
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        for second in 0..seconds {
            clock.tick().await;
            for conn in &mut all {
                conn.send(&data[second..=second]).await;
            }
        }
        all
    };
    let mut all = beside("slow bodies", &server, crawl).await;
    for conn in &mut all {
        conn.send(&data[seconds..]).await;
    }
    // They were not cut: each is answered for the whole body.
    for (conn, path) in all.iter_mut().zip(&paths) {
        let reply = conn.reply().await;
        assert_eq!(reply.status, 204, "{path}: {reply:?}");
    }
    assert_eq!(silent.reply().await.code, "idle-body");
    same(&server.get(&paths[0]).await.body, &data);
}

/// Sends a head byte by byte until the server has had enough; how long that took.
async fn crawl(mut conn: Conn, head: &[u8], begun: Instant) -> Duration {
    for byte in head.chunks(1) {
        let mut answer = [0; 1024];
        match timeout(Duration::from_secs(1), conn.stream.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(n)) => {
                let text = String::from_utf8_lossy(&answer[..n]);
                assert!(text.starts_with("HTTP/1.1 408"), "{text}");
            }
            Err(_) if conn.stream.write_all(byte).await.is_err() => break,
            Err(_) => {}
        }
        assert!(begun.elapsed() < PATIENCE * 4, "it is never cut");
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_heads_are_cut() {
    let (server, _dir) = started();
    let path = server.create(10).await;
    let head = server
        .tus("HEAD", &path)
        .header("X-Filler", "x".repeat(100));
    let head = head.to_bytes();
    // Half of them before it is clear what they speak, half of them after that.
    let first = |n: usize| head[..if n.is_multiple_of(2) { 1 } else { 60 }].to_vec();
    let storm = async {
        let begun = Instant::now();
        let all = connections(&server, first).await;
        let cut = all.into_iter().map(|conn| crawl(conn, &head[60..], begun));
        join_all(cut).await
    };
    let mut cut = beside("slow heads", &server, storm).await;
    let (first, last) = (percentile(&mut cut, 0), percentile(&mut cut, 100));
    figure(
        "slow heads",
        format_args!("cut after {first:.1?} to {last:.1?}"),
    );
    assert!(first >= PATIENCE, "{first:?}");
    assert_eq!(server.offset(&path).await, 0);
}
