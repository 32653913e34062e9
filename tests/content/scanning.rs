//! `--scan`: what is complete is looked through for malware before anybody gets it. With a clamd that does what a test wants.

use std::path::Path;
use std::time::{Duration, Instant};

use highwater::config::{Config, ScanInfected, ScanUnavailable, SniffMode};
use serde_json::json;

use super::fake_clamd::{BAD, FakeClamd, Mood};
use crate::support::session::CHUNK;
use crate::support::{Client, Process, Reply, Server, bytes, start_with, stored_files, until};

/// A server that scans by this clamd, and waits so long for it.
pub(super) async fn scanning(
    clamd: &FakeClamd,
    wait: Duration,
    change: impl FnOnce(&mut Config),
) -> Server {
    start_with(|config| {
        clamd.used_by(config);
        config.content.scan_wait = wait;
        change(config);
    })
    .await
}

pub(super) const LONG: Duration = Duration::from_secs(20);
pub(super) const SHORT: Duration = Duration::from_millis(100);

pub(super) fn bad(len: usize) -> Vec<u8> {
    let mut body = bytes(5, len - BAD.len());
    body.extend_from_slice(BAD);
    body
}

#[track_caller]
pub(super) fn is(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert!(reply.body.is_empty() || reply.code == code, "{reply:?}");
}

async fn metric(server: &Client, line: &str) -> bool {
    let text = server.get("/metrics").await.body;
    String::from_utf8_lossy(&text)
        .lines()
        .any(|found| found == line)
}

pub(super) async fn send(server: &Client, body: &[u8]) -> (String, Reply) {
    let path = server.create(body.len() as u64).await;
    let reply = server.patch(&path, 0, body).send().await;
    (path, reply)
}

/// Sends malware by itself and in two parts, and sees that it is refused; the path of the first, and those of the parts.
pub(super) async fn send_malware(server: &Client, body: &[u8]) -> (String, [String; 2]) {
    let (path, reply) = send(server, body).await;
    is(&reply, 422, "malware-found");
    let (first, second) = body.split_at(4000);
    let parts = [server.part(first).await, server.part(second).await];
    is(&server.join(&parts).await, 422, "malware-found");
    (path, parts)
}

/// Two files are set aside, and each is `body`.
pub(super) fn both_are_aside(aside: &Path, body: &[u8]) {
    let all = std::fs::read_dir(aside).expect("a directory").flatten();
    let all: Vec<_> = all.map(|file| std::fs::read(file.path())).collect();
    assert_eq!(all.len(), 2);
    for file in all {
        assert_eq!(file.expect("it is there"), body);
    }
}

#[tokio::test]
async fn the_completing_request_has_the_verdict() {
    let clamd = FakeClamd::start(Mood::Well).await;
    let server = scanning(&clamd, LONG, |_| {}).await;
    let clean = bytes(1, 300_000);
    let (path, reply) = send(&server, &clean).await;
    assert_eq!(reply.status, 204);
    assert_eq!(server.get(&path).await.body, clean);
    let (path, reply) = send(&server, &bad(300_000)).await;
    is(&reply, 422, "malware-found");
    is(&server.get(&path).await, 422, "malware-found");
    is(&server.head(&path).await, 422, "malware-found");
    let id = crate::support::id(&path).to_owned();
    assert!(!server.stored_files().iter().any(|file| file.contains(&id)));
    // A creation with all of its bytes: the operator can see what it was.
    let post = server.tus("POST", "/files/").header("Upload-Length", 100);
    let post = post.header("Content-Type", "application/offset+octet-stream");
    is(&post.body(bad(100)).send().await, 422, "malware-found");
    let failed = server
        .get("/admin/uploads/active?status=failed")
        .await
        .json();
    assert_eq!(failed["matching"], 2);
    assert_eq!(failed["uploads"][0]["failure"], "malware-found");
    // An upload of no bytes has nothing in it.
    let scans = clamd.scans();
    let empty = server.create(0).await;
    assert_eq!(server.get(&empty).await.status, 200);
    assert_eq!(clamd.scans(), scans);
    for (verdict, count) in [("clean", 1), ("infected", 2)] {
        let line = format!("highwater_scans_total{{verdict=\"{verdict}\"}} {count}");
        assert!(metric(&server, &line).await, "{line}");
    }
    assert_eq!(server.delete(&path).await.status, 204);
}

#[tokio::test]
async fn what_is_refused_gives_its_bytes_back() {
    let clamd = FakeClamd::start(Mood::Well).await;
    let mut server = scanning(&clamd, LONG, |config| {
        config.content.sniff = SniffMode::On;
        config.limits.quota_total = 1000;
    })
    .await;
    let (_, reply) = send(&server, &bad(1000)).await;
    is(&reply, 422, "malware-found");
    let png = [("filetype", "image/png")];
    let post = server.tus("POST", "/files/").header("Upload-Length", 1000);
    let path = post.described(&png).send().await.location_path();
    let reply = server.patch(&path, 0, "%PDF-1.7".repeat(125)).send().await;
    is(&reply, 415, "type-mismatch");
    let parts = [bad(600), bytes(1, 400)];
    let parts = [server.part(&parts[0]).await, server.part(&parts[1]).await];
    is(&server.join(&parts).await, 422, "malware-found");
    until("its parts are gone as well", || async {
        metric(&server, "highwater_reserved_bytes 0").await
    })
    .await;
    // So it is after the next start.
    server.restart().await;
    assert!(metric(&server, "highwater_reserved_bytes 0").await);
    assert_eq!(send(&server, &bytes(1, 1000)).await.1.status, 204);
    assert!(metric(&server, "highwater_reserved_bytes 1000").await);
}

#[tokio::test]
async fn a_slow_verdict_comes_later() {
    let clamd = FakeClamd::start(Mood::Hangs).await;
    let server = scanning(&clamd, SHORT, |_| {}).await;
    let clean = bytes(1, 10_000);
    let begun = Instant::now();
    let (path, reply) = send(&server, &clean).await;
    assert_eq!(reply.status, 204);
    assert!(begun.elapsed() >= SHORT, "it waited");
    let (evil, reply) = send(&server, &bad(10_000)).await;
    assert_eq!(reply.status, 204);
    for path in [&path, &evil] {
        is(&server.get(path).await, 409, "scan-pending");
        assert_eq!(server.offset(path).await, 10_000);
        // Neither by a condition nor by a range is anything of it to be had.
        for (name, value) in [("Range", "bytes=0-9"), ("If-None-Match", "*")] {
            let get = server.request("GET", path).header(name, value);
            is(&get.send().await, 409, "scan-pending");
        }
    }
    let waiting = server
        .get("/admin/uploads/active?status=scanning")
        .await
        .json();
    assert_eq!(waiting["matching"], 2);
    let stored = server.get("/admin/uploads/storage").await.json();
    assert_eq!(stored["by_status"]["scanning"]["uploads"], 2);
    clamd.set(Mood::Well);
    until("the clean one is given out", || async {
        server.get(&path).await.body == clean
    })
    .await;
    until("the other is refused", || async {
        server.get(&evil).await.status == 422
    })
    .await;
}

#[tokio::test]
async fn a_deletion_does_not_wait_for_a_scan() {
    let clamd = FakeClamd::start(Mood::Hangs).await;
    let mut server = scanning(&clamd, SHORT, |_| {}).await;
    let (path, _) = send(&server, &bad(5000)).await;
    assert_eq!(server.delete(&path).await.status, 204);
    clamd.set(Mood::Well);
    assert_eq!(server.head(&path).await.status, 404);
    server.restart().await;
    assert_eq!(server.head(&path).await.status, 404);
}

#[tokio::test]
async fn sessions_and_finals_are_scanned_whole_and_parts_are_given_to_nobody() {
    let clamd = FakeClamd::start(Mood::Well).await;
    let server = scanning(&clamd, LONG, |_| {}).await;
    // Malware over the border of two chunks.
    let mut body = bytes(2, 2 * CHUNK);
    let clean = body.clone();
    body[CHUNK - 5..CHUNK - 5 + BAD.len()].copy_from_slice(BAD);
    for (body, status) in [(&clean, 200), (&body, 422)] {
        let session = server.session_of(body).await;
        for n in [2, 1] {
            assert_eq!(session.send(n, body).await.status, 201);
        }
        for _ in 0..2 {
            assert_eq!(session.finalize().await.status, status);
        }
        assert_eq!(session.download().await.status, status);
        let told = if status == 200 { "completed" } else { "failed" };
        assert_eq!(session.status().await["status"], told);
    }
    let (first, second) = body.split_at(CHUNK);
    let parts = [server.part(first).await, server.part(second).await];
    is(&server.get(&parts[0]).await, 409, "scan-pending");
    let scans = clamd.scans();
    is(&server.join(&parts).await, 422, "malware-found");
    assert_eq!(clamd.scans(), scans + 1);
    until("its parts are gone as well", || async {
        server.head(&parts[0]).await.status == 404 && server.head(&parts[1]).await.status == 404
    })
    .await;
    let parts = [
        server.part(&clean[..CHUNK]).await,
        server.part(&clean[CHUNK..]).await,
    ];
    let whole = server.join(&parts).await;
    assert_eq!(whole.status, 201);
    assert_eq!(server.get(&whole.location_path()).await.body, clean);
    until("it is one file", || async {
        let files = server.stored_files();
        let id = crate::support::id(&whole.location_path()).to_owned();
        files
            .iter()
            .any(|file| file.starts_with("files/") && file.ends_with(&id))
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_scanned_is_held_or_passes_or_is_refused() {
    for mood in [Mood::Dies, Mood::Fails, Mood::Full(50_000)] {
        let clamd = FakeClamd::start(mood).await;
        let by = |policy| {
            scanning(&clamd, LONG, move |config| {
                config.content.scan_unavailable = policy;
            })
        };
        let body = bytes(1, 400_000);
        let (path, reply) = send(&*by(ScanUnavailable::Pass).await, &body).await;
        assert_eq!(reply.status, 204, "{mood:?} {path}");
        let server = by(ScanUnavailable::Refuse).await;
        let (path, reply) = send(&server, &body).await;
        is(&reply, 422, "unscanned");
        is(&server.get(&path).await, 422, "unscanned");
        assert!(server.stored_files().is_empty());
    }
}

#[tokio::test]
async fn a_held_upload_is_scanned_once_the_scanner_is_there() {
    let clamd = FakeClamd::start(Mood::Dies).await;
    let server = scanning(&clamd, SHORT, |_| {}).await;
    let (path, reply) = send(&server, &bytes(1, 1000)).await;
    assert_eq!(reply.status, 204);
    until("it was tried again and again", || async {
        clamd.scans() > 3
    })
    .await;
    is(&server.get(&path).await, 409, "scan-pending");
    clamd.set(Mood::Well);
    until("it is given out", || async {
        server.get(&path).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_is_not_sent() {
    let clamd = FakeClamd::start(Mood::Well).await;
    let mut server = scanning(&clamd, LONG, |config| {
        config.content.scan_max_bytes = Some(1000);
    })
    .await;
    let begun = Instant::now();
    let (path, reply) = send(&server, &bytes(1, 1001)).await;
    assert_eq!((reply.status, clamd.scans()), (204, 0));
    assert!(begun.elapsed() < LONG, "there is nothing to wait for");
    is(&server.get(&path).await, 409, "scan-pending");
    assert_eq!(send(&server, &bytes(1, 1000)).await.1.status, 204);
    // Without a scanner nothing holds it any more.
    server.change(|config| config.content.scan = None).await;
    until("it is given out", || async {
        server.get(&path).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn malware_is_set_aside_where_nobody_gets_it() {
    let clamd = FakeClamd::start(Mood::Well).await;
    let server = scanning(&clamd, LONG, |config| {
        config.content.scan_infected = ScanInfected::Quarantine;
    })
    .await;
    let body = bad(9000);
    let (path, _) = send_malware(&server, &body).await;
    let aside = server.data().join("quarantine");
    assert_eq!(
        std::fs::read(aside.join(crate::support::id(&path))).expect("it is there"),
        body
    );
    both_are_aside(&aside, &body);
    is(&server.get(&path).await, 422, "malware-found");
}

#[tokio::test]
async fn a_killed_scan_goes_on_after_the_next_start() {
    let clamd = FakeClamd::start(Mood::Hangs).await;
    for durability in ["process", "complete"] {
        let dir = tempfile::tempdir().expect("a directory");
        let (data, scanner) = (dir.path().join("data"), clamd.option());
        let arguments = [
            "--scan",
            &scanner,
            "--scan-wait",
            "100ms",
            "--durability",
            durability,
        ];
        clamd.set(Mood::Hangs);
        let server = Process::start(&data, &arguments);
        let (path, reply) = send(&server, &bad(5000)).await;
        assert_eq!(reply.status, 204);
        let (clean, reply) = send(&server, &bytes(1, 5000)).await;
        assert_eq!(reply.status, 204);
        server.kill();
        let server = Process::start(&data, &arguments);
        is(&server.get(&path).await, 409, "scan-pending");
        is(&server.get(&clean).await, 409, "scan-pending");
        clamd.set(Mood::Well);
        until("both have their verdicts", || async {
            server.get(&path).await.status == 422 && server.get(&clean).await.status == 200
        })
        .await;
        let id = crate::support::id(&path).to_owned();
        until("its bytes are gone", || async {
            !stored_files(&data).iter().any(|file| file.contains(&id))
        })
        .await;
        server.kill();
        // The verdict stands.
        let server = Process::start(&data, &arguments);
        is(&server.get(&path).await, 422, "malware-found");
    }
}

#[tokio::test]
async fn a_lost_database_gives_nothing_out_unscanned() {
    let clamd = FakeClamd::start(Mood::Hangs).await;
    let mut server = scanning(&clamd, SHORT, |_| {}).await;
    let (path, _) = send(&server, &bad(5000)).await;
    server.stop().await;
    std::fs::remove_dir_all(server.data().join("state")).expect("the records go");
    server.restart().await;
    is(&server.get(&path).await, 409, "scan-pending");
    clamd.set(Mood::Well);
    until("it is refused", || async {
        server.get(&path).await.status == 422
    })
    .await;
}

#[tokio::test]
async fn followers_are_told() {
    let clamd = FakeClamd::start(Mood::Hangs).await;
    let server = scanning(&clamd, SHORT, |_| {}).await;
    for (body, verdict, end) in [
        (bytes(1, 100), "clean", "upload_completed"),
        (bad(100), "infected", "upload_failed"),
    ] {
        clamd.set(Mood::Hangs);
        let path = server.create(100).await;
        let id = crate::support::id(&path).to_owned();
        let mut conn = server.connect().await;
        let get = format!("GET /progress/events?upload={id} HTTP/1.1\r\nHost: t\r\n\r\n");
        conn.send(get.as_bytes()).await;
        assert_eq!(server.patch(&path, 0, body).send().await.status, 204);
        clamd.set(Mood::Well);
        let text = read_until(conn, end).await;
        let order = ["\"scan_started\"", "\"scan_finished\"", end];
        let places = order.map(|event| {
            text.find(event)
                .unwrap_or_else(|| panic!("{event}: {text}"))
        });
        assert!(places.is_sorted(), "{text}");
        assert!(text.contains(&json!(verdict).to_string()), "{text}");
    }
}

/// What comes over a connection until `text` is in it.
async fn read_until(conn: crate::support::Conn, text: &str) -> String {
    use tokio::io::AsyncReadExt;
    let (mut stream, read) = conn.into_parts();
    let mut all = read;
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&all).contains(text) {
        let read = tokio::time::timeout(LONG, stream.read(&mut buffer)).await;
        let count = read.expect("in time").expect("bytes");
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}
