//! More of everything than anybody needs: refused as soon as that is known, and it costs others nothing.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::identity::{As, two_users};
use crate::progress::watcher::{HANDSHAKE, Watcher, ask};
use crate::support::{Client, Process, Reply, start, start_with};

const PATIENCE: Duration = Duration::from_secs(30);

/// The answer to `bytes`; the rest of them may find the connection closed.
async fn status(client: &Client, bytes: &[u8]) -> u16 {
    let mut conn = client.connect().await;
    let _ = conn.stream.write_all(bytes).await;
    conn.try_reply("").await.map_or(0, |reply| reply.status)
}

const GET: &str = "GET /files/x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n";

#[tokio::test]
async fn heads() {
    let server = start().await;
    let line = |length: usize| {
        format!(
            "GET /files/{} HTTP/1.1\r\nHost: t\r\n\r\n",
            "a".repeat(length)
        )
    };
    let fields = |count: usize| format!("{GET}{}\r\n", "X: y\r\n".repeat(count));
    let value = |length: usize| format!("{GET}X: {}\r\n\r\n", "x".repeat(length));
    let name = |length: usize| format!("{GET}{}: x\r\n\r\n", "x".repeat(length));
    let method = |length: usize| line(1).replace("GET", &"G".repeat(length));
    for (what, bytes, wanted) in [
        ("a long line", line(60_000), 404),
        ("a longer line", line(70_000), 414),
        (
            "a line without an end",
            "GET /".to_owned() + &"a".repeat(2 << 20),
            431,
        ),
        ("a long method", method(100_000), 501),
        ("90 fields", fields(90), 404),
        ("101 fields", fields(101), 431),
        ("100,000 fields", fields(100_000), 431),
        ("a field of 300 KB", value(300_000), 404),
        ("a field of a megabyte", value(1_000_000), 431),
        ("a name of 100 KB", name(100_000), 431),
    ] {
        assert_eq!(status(&server, bytes.as_bytes()).await, wanted, "{what}");
    }
    // Nor is a line of the log the client's to fill.
    let post = server.tus("POST", "/files/").header("Upload-Length", 0);
    let reply = post
        .header("X-Request-ID", "x".repeat(100_000))
        .send()
        .await;
    assert_eq!(reply.header("X-Request-ID").map(str::len), Some(36));
}

#[tokio::test]
async fn fields() {
    let server = start_with(|config| config.max_size = 5000).await;
    let post = |name: &str, value: &str| {
        let post = server.tus("POST", "/files/").header(name, value);
        async move {
            let reply = post.send().await;
            (reply.status, reply.code)
        }
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    // As many parts as fit in a head are too many, whatever they are; more are no head.
    let parts = |count: usize, part: &str| format!("final;{}", vec![part; count].join(" "));
    let told = post("Upload-Concat", &parts(100_000, "/files/a")).await;
    assert_eq!(told, refused(431, ""));
    let told = post("Upload-Concat", &parts(40_000, "/files/a")).await;
    assert_eq!(told, refused(400, "too-many-parts"));
    let told = post("Upload-Concat", &parts(9_000, "/files/never")).await;
    assert_eq!(told, refused(400, "bad-part"));
    // A part many times makes a final that is too large.
    let part = server.part(b"x").await;
    let told = post("Upload-Concat", &parts(5_001, &part)).await;
    assert_eq!(told, refused(413, "too-large"));
    for length in [
        "9223372036854775808",
        "18446744073709551616",
        &"9".repeat(100_000),
    ] {
        let (status, code) = post("Upload-Length", length).await;
        assert!(
            (status, &*code) == (400, "bad-header") || status == 413,
            "{status} {code}"
        );
    }
    // Metadata is bounded by the head alone; and told again as it was.
    let long = format!("note {}", "QUFB".repeat(70_000));
    let created = server.tus("POST", "/files/").header("Upload-Length", 0);
    let created = created.header("Upload-Metadata", &long).send().await;
    let head = server.head(&created.location_path()).await;
    assert_eq!(head.header("Upload-Metadata"), Some(&*long));
    let keys: Vec<String> = (0..30_000).map(|n| format!("k{n}")).collect();
    let (status, _) = post("Upload-Metadata", &keys.join(",")).await;
    assert_eq!(status, 400, "no length");
    // Ranges of a download: one answer, and not one for each.
    let whole = server.whole(b"hello").await;
    let many = format!("bytes={}", vec!["0-"; 20_000].join(","));
    let get = server
        .request("GET", &whole)
        .header("Range", many)
        .send()
        .await;
    assert_eq!((get.status, &get.body[..]), (200, &b"hello"[..]));
}

#[tokio::test]
async fn credentials() {
    let (server, _dir) = two_users().await;
    for token in [
        "x".repeat(300_000),
        ".".repeat(300_000),
        "a.b.c".repeat(60_000),
    ] {
        let began = Instant::now();
        let head = server.tus("HEAD", "/files/never").bearing(&token);
        assert_eq!(head.send().await.status, 401);
        let uri = format!("/progress/events?upload=x&token={}", &token[..60_000]);
        let events = server.request("GET", &uri);
        let told = timeout(PATIENCE, first(&server, &events.to_bytes())).await;
        assert!(!told.expect("in time").contains("snapshot"));
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    let ids = vec!["upload=x"; 6_000].join("&");
    let events = server.request("GET", &format!("/progress/events?{ids}"));
    let reply = events.bearing(crate::identity::BOB).send().await;
    assert_eq!(
        (reply.status, &*reply.code),
        (429, "too-many-subscriptions")
    );
}

/// What comes first.
async fn first(client: &Client, bytes: &[u8]) -> String {
    let mut conn = client.connect().await;
    conn.send(bytes).await;
    let mut buffer = vec![0; 64 << 10];
    let read = conn.stream.read(&mut buffer).await.expect("an answer");
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

#[tokio::test]
async fn json_of_a_session() {
    let server = start().await;
    let initialize = async |body: String| -> Reply {
        server
            .request("POST", "/uploads/initialize")
            .body(body)
            .send()
            .await
    };
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(9000), close.repeat(9000));
        format!(r#"{{"filename":"a","size":1,"metadata":{open}{close}}}"#)
    };
    let pairs: Vec<String> = (0..3_000).map(|n| format!(r#""k{n}":"v""#)).collect();
    for (what, body, code) in [
        ("deep arrays", deep("[", "]"), "bad-json"),
        ("deep objects", deep(r#"{"a":"#, "}"), "bad-json"),
        ("an open end", "[".repeat(60_000), "bad-json"),
        (
            "a long number",
            format!(r#"{{"filename":"a","size":{}}}"#, "9".repeat(60_000)),
            "bad-json",
        ),
        (
            "a small number",
            format!(r#"{{"filename":"a","size":1e-{}}}"#, "9".repeat(60_000)),
            "bad-json",
        ),
        (
            "a long name",
            json!({"filename": "a".repeat(60_000), "size": 1}).to_string(),
            "bad-json",
        ),
        (
            "much metadata",
            format!(
                r#"{{"filename":"a","size":1,"metadata":{{{}}}}}"#,
                pairs.join(",")
            ),
            "bad-json",
        ),
        ("all of it", " ".repeat(70_000), "json-too-large"),
    ] {
        let reply = initialize(body).await;
        assert_eq!(reply.code, code, "{what}");
        assert!(
            reply.body.len() < 1000,
            "{what}: {} bytes",
            reply.body.len()
        );
    }
    // A body without an end, in a chunk without an end: the answer comes, and then the end of the connection.
    let mut conn = server.connect().await;
    let head = "POST /uploads/initialize HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n";
    conn.send(head.as_bytes()).await;
    let blanks = [b' '; 16 << 10];
    let sending = async { while conn.stream.write_all(&blanks).await.is_ok() {} };
    timeout(PATIENCE, sending)
        .await
        .expect("nobody reads for ever");
    // Numbers of chunks.
    let session = server.session_of(b"x").await;
    for n in [
        "0",
        "2",
        "-1",
        "+1",
        "01",
        "1.0",
        "4294967297",
        "18446744073709551617",
        &"9".repeat(10_000),
    ] {
        let reply = session
            .request("POST", &format!("/chunks/{n}"))
            .body("x")
            .send()
            .await;
        assert!(matches!(reply.status, 400 | 404), "{n:.30}: {reply:?}");
    }
    assert!(
        session.status().await["uploaded_chunks"]
            .as_array()
            .is_some_and(Vec::is_empty)
    );
}

/// A body of unknown length into an upload of unknown length ends where uploads may be no longer.
#[tokio::test]
async fn bodies() {
    let server = start_with(|config| config.max_size = 1 << 20).await;
    let created = server
        .tus("POST", "/files/")
        .header("Upload-Defer-Length", 1);
    let path = created.send().await.location_path();
    let mut conn = server.connect().await;
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n"
    );
    conn.send(head.as_bytes()).await;
    let piece = [7; 16 << 10];
    let sending = async { while conn.stream.write_all(&piece).await.is_ok() {} };
    timeout(PATIENCE, sending)
        .await
        .expect("nobody reads for ever");
    let kept: u64 = server
        .stored_files()
        .iter()
        .map(|file| crate::support::len_of(&server.data().join(file)))
        .sum();
    assert!(kept < (1 << 20) + 10_000, "{kept}");
    assert!(server.offset(&path).await <= 1 << 20);
}

/// Messages that never end, fragments that never end, questions whose answers are not read, and more ids than there can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_websocket() {
    const MORE: u64 = 16 << 20;
    let dir = tempfile::tempdir().expect("a directory");
    let server = Process::start(dir.path(), &[]);
    let path = server.create(3).await;
    let before = server.memory();
    let open = async || Watcher::of(&server, &path).await.0;
    // A length of 2^62; one byte in each of many fragments; many in few.
    let huge = [&[0x81, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 1004]].concat();
    let byte_by_byte = [
        &[0x01, 0x80, 0, 0, 0, 0][..],
        &[0, 0x81, 0, 0, 0, 0, b'x'].repeat(17_000),
    ]
    .concat();
    let long = [&[0, 0xfe, 0x3f, 0xff, 0, 0, 0, 0][..], &[b'x'; 0x3fff]].concat();
    let in_long_ones = [&[0x01, 0x80, 0, 0, 0, 0][..], &long, &long].concat();
    for raw in [huge, byte_by_byte, in_long_ones] {
        let mut watcher = open().await;
        let _ = watcher.socket.get_mut().write_all(&raw).await;
        assert_eq!(watcher.closed().await, 1009);
    }
    // What has no length has no end, and is nothing.
    for frame in [
        [0, 0x80, 0, 0, 0, 0].repeat(10_000),
        [&[0x89, 0xfd, 0, 0, 0, 0][..], &[b'x'; 125]]
            .concat()
            .repeat(1000),
    ] {
        let mut watcher = open().await;
        let socket = watcher.socket.get_mut();
        socket
            .write_all(&[0x01, 0x80, 0, 0, 0, 0])
            .await
            .expect("it is sent");
        let sending = async {
            for _ in 0..300 {
                if socket.write_all(&frame).await.is_err() {
                    return;
                }
            }
        };
        // It may be that nobody reads it any more.
        let _ = timeout(Duration::from_secs(2), sending).await;
        assert_eq!(server.offset(&path).await, 0);
    }
    let mut watcher = open().await;
    let ids = json!({ "subscribe": vec!["x"; 3500] }).to_string();
    for _ in 0..100 {
        let sent = timeout(
            Duration::from_millis(500),
            watcher.socket.send(Message::text(&*ids)),
        );
        if !matches!(sent.await, Ok(Ok(()))) {
            break;
        }
    }
    let (_, reply) = ask(
        server.addr,
        &format!("/progress?{}", "upload=x&".repeat(7000)),
        &HANDSHAKE,
    )
    .await;
    assert_eq!(reply.status, 101, "each is refused for itself");
    assert_eq!(server.patch(&path, 0, "abc").send().await.status, 204);
    let after = server.memory();
    assert!(after < before + MORE, "{before} before, {after} after");
}
