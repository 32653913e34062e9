//! How soon bytes are told, and that those who read nothing cost nobody anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};
use tokio::sync::{Barrier, mpsc};

use super::watcher::Watcher;
use crate::support::{Client, Process, figure, id, percentile, rounds, start};

const UPLOADS: usize = 200;
/// Each is one byte, so that its offset says when it was sent.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads until each of so many uploads is complete; tells when each offset was first heard of.
async fn listen(mut watcher: Watcher, uploads: usize, heard: mpsc::UnboundedSender<Heard>) {
    let mut open = uploads;
    while open > 0 {
        let message = watcher.next().await;
        let now = Instant::now();
        open -= usize::from(message["event"] == "upload_completed");
        let offset = message["bytes_transferred"].as_u64();
        if let (Some(id), Some(offset)) = (message["upload_id"].as_str(), offset) {
            let _ = heard.send((id.to_owned(), offset, now));
        }
    }
}

type Heard = (String, u64, Instant);

/// Sends byte after byte; answers with when each was sent.
async fn send(client: Client, path: String, bytes: u64, all: Arc<Barrier>) -> Vec<Instant> {
    let mut conn = client.connect().await;
    conn.begin_patch(&path, 0, bytes).await;
    all.wait().await;
    let mut sent = Vec::new();
    for _ in 0..bytes {
        // Not all of them in the same moment of the server's clock.
        tokio::time::sleep(PAUSE + Duration::from_micros(u64::from(path.as_bytes()[9]) * 300))
            .await;
        sent.push(Instant::now());
        conn.send(b"x").await;
    }
    assert_eq!(conn.reply().await.status, 204);
    sent
}

/// From the sending of a byte to the first message that tells of it, for each byte.
fn delays(sent: &[Instant], heard: &[(u64, Instant)]) -> Vec<Duration> {
    let mut out = Vec::new();
    for (n, at) in (1..).zip(sent) {
        let told = heard.iter().filter(|(offset, _)| *offset >= n);
        let told = told
            .map(|(_, when)| *when)
            .min()
            .expect("every byte is told");
        out.push(told.saturating_duration_since(*at));
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_told_soon_to_each_of_two_hundred_and_to_one_on_all() {
    let bytes = rounds(20, 200) as u64;
    let dir = tempfile::tempdir().expect("a directory");
    let server = Process::start(dir.path(), &["--durability", "process"]);
    let mut paths = Vec::new();
    for _ in 0..UPLOADS {
        paths.push(server.create(bytes).await);
    }
    let (each, mut from_each) = mpsc::unbounded_channel();
    let (all, mut from_all) = mpsc::unbounded_channel();
    let mut listeners = Vec::new();
    for path in &paths {
        let (watcher, _) = Watcher::of(&server, path).await;
        listeners.push(tokio::spawn(listen(watcher, 1, each.clone())));
    }
    let watcher = Watcher::open(&server, "?upload=*").await;
    listeners.push(tokio::spawn(listen(watcher, UPLOADS, all)));
    drop(each);

    let together = Arc::new(Barrier::new(UPLOADS));
    let senders: Vec<_> = paths
        .iter()
        .map(|path| tokio::spawn(send(*server, path.clone(), bytes, together.clone())))
        .collect();
    let mut sent = HashMap::new();
    for (path, sender) in paths.iter().zip(senders) {
        sent.insert(id(path).to_owned(), sender.await.expect("it sends"));
    }
    for listener in listeners {
        listener.await.expect("it hears of every end");
    }
    for (who, from) in [("each", &mut from_each), ("all", &mut from_all)] {
        let mut heard: HashMap<String, Vec<(u64, Instant)>> = HashMap::new();
        while let Some((id, offset, when)) = from.recv().await {
            heard.entry(id).or_default().push((offset, when));
        }
        let mut times: Vec<Duration> = sent
            .iter()
            .flat_map(|(id, sent)| delays(sent, &heard[id]))
            .collect();
        let [half, most] = [50, 99].map(|percent| percentile(&mut times, percent));
        figure(
            "progress latency",
            format_args!("{UPLOADS} uploads, one on {who}: median {half:?}, p99 {most:?}"),
        );
        // The promise is 100 ms. This is a debug build, on a machine that does other things as well.
        assert!(most < Duration::from_millis(1500), "{most:?}");
    }
}

/// Asks for so much without reading that the server cannot write any more, and therefore reads no more.
async fn clog(watcher: &mut Watcher, uploads: &[String]) {
    set_socket_recv_buffer_size(watcher.socket.get_ref(), 64 << 10).expect("a small buffer");
    let asking = json!({ "subscribe": uploads });
    for _ in 0..2000 {
        let sent = tokio::time::timeout(Duration::from_secs(1), watcher.send(&asking));
        if sent.await.is_err() {
            return;
        }
    }
    panic!("the server still reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_never_read_cost_bounded_memory_and_slow_no_upload() {
    let readers = 3;
    let dir = tempfile::tempdir().expect("a directory");
    let server = Process::start(
        dir.path(),
        &["--durability", "process", "--progress-timeout", "10m"],
    );
    let path = server.create(64 << 20).await;
    let piece = vec![7; 16 << 10];
    // Warm, with one reader who reads.
    assert_eq!(
        server.patch(&path, 0, piece.clone()).send().await.status,
        204
    );
    let (mut reads, _) = Watcher::of(&server, &path).await;
    let mut others = Vec::new();
    for _ in 0..UPLOADS {
        others.push(id(&server.create(1).await).to_owned());
    }
    let mut silent = Vec::new();
    for _ in 0..readers {
        let mut watcher = Watcher::of(&server, &path).await.0;
        clog(&mut watcher, &others).await;
        silent.push(watcher);
    }
    let before = server.memory();
    let mut offset = piece.len() as u64;
    let patches = rounds(600, 4000);
    let mut times = Vec::new();
    for _ in 0..patches {
        let began = Instant::now();
        // A wrong one is an event as well, and not put together with others.
        let wrong = server
            .patch(&path, offset, "abc")
            .header("Upload-Checksum", "md5 AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(wrong.send().await.status, 460);
        let right = server.patch(&path, offset, piece.clone()).send().await;
        assert_eq!(right.status, 204);
        offset += piece.len() as u64;
        times.push(began.elapsed());
    }
    let grown = server.memory().saturating_sub(before);
    let most = percentile(&mut times, 99);
    figure(
        "progress unread",
        format_args!(
            "{readers} readers, {patches} events and more: {} KiB each, p99 of two PATCHes {most:?}",
            grown / 1024 / readers
        ),
    );
    assert!(grown < 20 << 20, "{grown} bytes");
    assert!(most < Duration::from_secs(2), "{most:?}");
    assert_eq!(server.delete(&path).await.status, 204);
    let ended: Vec<Value> = reads.until("upload_cancelled").await;
    assert!(!ended.is_empty());
    // The slow ones hear of the end, too: now that they read.
    let mut late = silent.pop().expect("one");
    let mut messages = 0;
    loop {
        let one = late.next().await;
        if one["upload_id"] != id(&path) {
            continue;
        }
        messages += 1;
        let told = one["event"] == "upload_cancelled";
        if told || (one["event"] == "snapshot" && one["status"] == "cancelled") {
            break;
        }
    }
    assert!(
        messages < patches,
        "{messages} of at least {patches} events: nothing was left out"
    );
}

#[tokio::test]
async fn thousands_of_messages_to_one_that_reads_slowly_end_with_the_last_one() {
    let server = start().await;
    let path = server.create(3000).await;
    let (mut watcher, first) = Watcher::of(&server, &path).await;
    let mut conn = server.connect().await;
    conn.begin_patch(&path, 0, 3000).await;
    for _ in 0..300 {
        conn.send(&[b'x'; 10]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(conn.reply().await.status, 204);
    let mut last = first["bytes_transferred"].as_u64();
    loop {
        let one = watcher.next().await;
        assert!(one["bytes_transferred"].as_u64() >= last, "{one}");
        last = one["bytes_transferred"].as_u64();
        if one["event"] == "upload_completed" {
            break;
        }
    }
    watcher
        .send(&json!({ "subscribe": [] , "unsubscribe": []}))
        .await;
    assert_eq!(last, Some(3000));
}
