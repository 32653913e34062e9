//! Requests whose end two servers on the way could see in two places: what follows is never taken for part of a body, nor what
//! is body for another request.

use tokio::io::AsyncWriteExt;

use crate::support::{Server, start};

/// What is behind the attack on the same connection.
const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
const HELLO: &str = "5\r\nhello\r\n0\r\n\r\n";

/// The statuses that came back, until the server closed; and the offset of the upload that was attacked.
type Seen = (Vec<u16>, u64);

/// The attack's bytes, `@` standing for an upload's path, and the probe behind them.
async fn attack(server: &Server, bytes: &str) -> Seen {
    let path = server.create(100).await;
    let mut conn = server.connect().await;
    // A refusal may close before all is sent.
    let latin: Vec<u8> = bytes.replace('@', &path).chars().map(|c| c as u8).collect();
    let _ = conn.stream.write_all(&latin).await;
    let _ = conn.stream.write_all(PROBE.as_bytes()).await;
    let _ = conn.stream.shutdown().await;
    let mut statuses = Vec::new();
    while let Some(reply) = conn.try_reply("").await {
        statuses.push(reply.status);
    }
    (statuses, server.offset(&path).await)
}

/// A PATCH at the beginning with these fields, and a body.
fn patch(fields: &str, body: &str) -> String {
    format!(
        "PATCH @ HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\n{fields}\r\n{body}"
    )
}

async fn all(cases: &[(&str, &str, &[u16], u64)]) {
    let server = start().await;
    for (fields, body, statuses, offset) in cases {
        let seen = attack(&server, &patch(fields, body)).await;
        let shown = format!("{} {:.60}", fields.escape_debug(), body.escape_debug());
        assert_eq!(seen, (statuses.to_vec(), *offset), "{shown}");
    }
}

/// Refused, and nothing after it is answered.
const REFUSED: &[u16] = &[400];
/// Not understood, and nothing after it is answered.
const UNKNOWN: &[u16] = &[501];
/// Taken, and the probe is a request of its own.
const BOTH: &[u16] = &[204, 404];
/// Taken, and the connection is closed on whatever follows.
const ALONE: &[u16] = &[204];

#[tokio::test]
async fn by_lengths() {
    all(&[
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "hello",
            REFUSED,
            0,
        ),
        (
            "Content-Length: 6\r\nContent-Length: 5\r\n",
            "hello",
            REFUSED,
            0,
        ),
        ("Content-Length: 5, 5\r\n", "hello", REFUSED, 0),
        ("Content-Length: 5, 6\r\n", "hello", REFUSED, 0),
        ("Content-Length: +5\r\n", "hello", REFUSED, 0),
        ("Content-Length: -5\r\n", "hello", REFUSED, 0),
        ("Content-Length: 0x5\r\n", "hello", REFUSED, 0),
        ("Content-Length: 5 0\r\n", "hello", REFUSED, 0),
        ("Content-Length: \u{b2}\r\n", "hello", REFUSED, 0),
        ("Content-Length: \r\n", "hello", REFUSED, 0),
        // Over 2^64 by five, which must not come out as five.
        (
            "Content-Length: 18446744073709551621\r\n",
            "hello",
            REFUSED,
            0,
        ),
        ("Content-Length : 5\r\n", "hello", REFUSED, 0),
        (" Content-Length: 5\r\n", "hello", REFUSED, 0),
        ("\tContent-Length: 5\r\n", "hello", REFUSED, 0),
        ("X: y\rContent-Length: 5\r\n", "hello", REFUSED, 0),
        ("Content-Length: 5\rX: y\r\n", "hello", REFUSED, 0),
        ("Content-Length\u{0}: 5\r\n", "hello", REFUSED, 0),
        ("Content-Length: 5\u{0}\r\n", "hello", REFUSED, 0),
        // One length in other words, and what is none at all.
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "hello",
            BOTH,
            5,
        ),
        ("Content-Length: 05\r\n", "hello", BOTH, 5),
        (
            "Content_Length: 99\r\nContent-Length: 5\r\n",
            "hello",
            BOTH,
            5,
        ),
        (
            "X-Content-Length: 99\r\nContent-Length: 5\r\n",
            "hello",
            BOTH,
            5,
        ),
    ])
    .await;
}

#[tokio::test]
async fn by_length_and_coding() {
    all(&[
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            HELLO,
            ALONE,
            5,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 15\r\n",
            HELLO,
            ALONE,
            5,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
            HELLO,
            ALONE,
            5,
        ),
        (
            "Content-Length: x\r\nTransfer-Encoding: chunked\r\n",
            HELLO,
            REFUSED,
            0,
        ),
        // What hides the coding from one of two servers.
        (
            "Content-Length: 5\r\nTransfer-Encoding : chunked\r\n",
            HELLO,
            REFUSED,
            0,
        ),
        (
            "Content-Length: 5\r\n Transfer-Encoding: chunked\r\n",
            HELLO,
            REFUSED,
            0,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: \u{b}chunked\r\n",
            HELLO,
            REFUSED,
            0,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\u{0}\r\n",
            HELLO,
            REFUSED,
            0,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: x\r\n",
            HELLO,
            REFUSED,
            0,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: \r\n",
            HELLO,
            REFUSED,
            0,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
            "hello",
            REFUSED,
            0,
        ),
        (
            "Content-Length: 5\r\nTransfer_Encoding: chunked\r\n",
            "hello",
            BOTH,
            5,
        ),
    ])
    .await;
}

#[tokio::test]
async fn by_codings() {
    all(&[
        (
            "Transfer-Encoding: chunked, identity\r\n",
            HELLO,
            REFUSED,
            0,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            HELLO,
            REFUSED,
            0,
        ),
        ("Transfer-Encoding: identity\r\n", HELLO, REFUSED, 0),
        ("Transfer-Encoding: xchunked\r\n", HELLO, REFUSED, 0),
        ("Transfer-Encoding: \"chunked\"\r\n", HELLO, REFUSED, 0),
        ("Transfer-Encoding: chunked;q=1\r\n", HELLO, REFUSED, 0),
        ("Transfer-Encoding: chunked,\r\n", HELLO, REFUSED, 0),
        (
            "Transfer-Encoding: identity, chunked\r\n",
            HELLO,
            UNKNOWN,
            0,
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            HELLO,
            UNKNOWN,
            0,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            HELLO,
            UNKNOWN,
            0,
        ),
        ("Transfer-Encoding: chunked, chunked\r\n", HELLO, UNKNOWN, 0),
        ("Transfer-Encoding: ,chunked\r\n", HELLO, UNKNOWN, 0),
        ("Transfer-Encoding: gzip, chunked\r\n", HELLO, UNKNOWN, 0),
        ("Transfer-Encoding:\tChunked \r\n", HELLO, BOTH, 5),
    ])
    .await;
}

#[tokio::test]
async fn by_folds_and_bytes_in_a_head() {
    all(&[
        ("Content-Length:\r\n 5\r\n", "hello", REFUSED, 0),
        ("Transfer-Encoding:\r\n chunked\r\n", HELLO, REFUSED, 0),
        ("X: a\r\n b\r\nContent-Length: 5\r\n", "hello", REFUSED, 0),
        ("X: a\r\n\tContent-Length: 5\r\n", "hello", REFUSED, 0),
        ("X: a\u{0}b\r\nContent-Length: 5\r\n", "hello", REFUSED, 0),
        ("X: a\u{7f}b\r\nContent-Length: 5\r\n", "hello", REFUSED, 0),
        ("X\u{0}: a\r\nContent-Length: 5\r\n", "hello", REFUSED, 0),
        ("X\u{e9}: a\r\nContent-Length: 5\r\n", "hello", REFUSED, 0),
        (": a\r\nContent-Length: 5\r\n", "hello", REFUSED, 0),
        ("X\r\nContent-Length: 5\r\n", "hello", REFUSED, 0),
        // A second field of a kind that stands once: refused for what it says, and the connection goes on behind the body.
        (
            "Upload-Offset: 0\r\nContent-Length: 5\r\n",
            "hello",
            &[400, 404],
            0,
        ),
        ("Host: u\r\nContent-Length: 5\r\n", "hello", &[400, 404], 0),
        (
            "Tus-Resumable: 0.2.2\r\nContent-Length: 5\r\n",
            "hello",
            &[412, 404],
            0,
        ),
        // A lone LF ends a line (RFC 9112, 2.2), and does for both what it does.
        ("X: y\nContent-Length: 5\r\n", "hello", BOTH, 5),
        // No coding of the transfer.
        (
            "Content-Encoding: chunked\r\nContent-Length: 5\r\n",
            "hello",
            BOTH,
            5,
        ),
        (
            "X-HTTP-Method-Override: DELETE\r\nContent-Length: 5\r\n",
            "hello",
            BOTH,
            5,
        ),
    ])
    .await;
}

#[tokio::test]
async fn by_chunks() {
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    let many = format!("{}0\r\n\r\n", "1;xxxxxxxxxxxxxxxxx\r\na\r\n".repeat(1000));
    let trailer = format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let trailers = format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(5000));
    all(&[
        (CHUNKED, "-5\r\nhello\r\n0\r\n\r\n", REFUSED, 0),
        (CHUNKED, "0x5\r\nhello\r\n0\r\n\r\n", REFUSED, 0),
        (CHUNKED, " 5\r\nhello\r\n0\r\n\r\n", REFUSED, 0),
        (CHUNKED, "\r\nhello\r\n0\r\n\r\n", REFUSED, 0),
        (CHUNKED, "10000000000000005\r\nhello\r\n0\r\n\r\n", REFUSED, 0),
        (CHUNKED, "5\nhello\n0\n\n", REFUSED, 0),
        (CHUNKED, "5\nhello\r\n0\r\n\r\n", REFUSED, 0),
        (CHUNKED, "5;a\nb\r\nhello\r\n0\r\n\r\n", REFUSED, 0),
        (CHUNKED, "5;a\rb\r\nhello\r\n0\r\n\r\n", REFUSED, 0),
        (CHUNKED, &long, REFUSED, 0),
        // The chunks before the fault have come, and stay.
        (CHUNKED, "5\r\nhelloXX0\r\n\r\n", REFUSED, 5),
        (CHUNKED, "5\r\nhello\r\n0\n\n", REFUSED, 5),
        (CHUNKED, "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", REFUSED, 5),
        (CHUNKED, "5\r\nhello\r\n0\r\nGET /x HTTP/1.1\r\n\r\n", REFUSED, 5),
        (CHUNKED, &trailer, REFUSED, 5),
        (CHUNKED, &trailers, REFUSED, 5),
        // More than the upload takes, in extensions or not.
        (CHUNKED, &many, &[413], 0),
        // Blanks and words that nobody needs.
        (CHUNKED, "5 ;a=\"b\"\r\nhello\r\n0\r\n\r\n", BOTH, 5),
        (CHUNKED, "0000000000000000000005\r\nhello\r\n0\r\n\r\n", BOTH, 5),
        // Fields that no trailer may have change nothing of what the head has said.
        (
            CHUNKED,
            "5\r\nhello\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: x\r\nHost: u\r\nAuthorization: x\r\n\
             Upload-Offset: 50\r\nTus-Resumable: 0.2.2\r\nX-HTTP-Method-Override: DELETE\r\nUpload-Length: 5\r\n\r\n",
            BOTH,
            5,
        ),
    ])
    .await;
}

/// Requests that should have no body, and have one; and those of a protocol that is not spoken here.
#[tokio::test]
async fn by_bodies_that_nobody_reads() {
    let server = start().await;
    let inner = "DELETE @ HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\n\r\n";
    // An upload's path is as long as any other's.
    let length = inner.len() - 1 + server.create(1).await.len();
    for (line, status) in [
        ("GET /files/never", 404),
        ("HEAD /healthz", 200),
        ("OPTIONS /files/", 204),
        ("GET /metrics", 200),
        ("GET /readyz", 200),
        ("GET /progress", 426),
        ("GET /uploads/never/status", 401),
        ("POST /admin/uploads/never/cancel", 404),
        ("GET /", 200),
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n");
        let path = server.create(9).await;
        let mut conn = server.connect().await;
        let bytes = format!("{head}{}{PROBE}", inner.replace('@', &path));
        let _ = conn.stream.write_all(bytes.as_bytes()).await;
        let method = line.split(' ').next().unwrap_or_default();
        let first = conn.try_reply(method).await.map(|reply| reply.status);
        assert_ne!(first, None, "{line}");
        let admin = line.contains("admin") || line.contains("metrics");
        if !admin {
            assert_eq!(first, Some(status), "{line}");
        }
        let second = conn.try_reply("").await.map(|reply| reply.status);
        assert!(matches!(second, None | Some(404)), "{line}: {second:?}");
        assert_eq!(
            conn.try_reply("").await.map(|reply| reply.status),
            None,
            "{line}"
        );
        assert_eq!(server.offset(&path).await, 0, "{line}: it is still there");
    }
    // Towards a WebSocket that does not come to be, and towards HTTP/2.
    for (fields, status) in [
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\n",
            426,
        ),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            426,
        ),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n",
            400,
        ),
    ] {
        let head = format!("GET /progress HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
        let mut conn = server.connect().await;
        conn.send(format!("{head}{PROBE}").as_bytes()).await;
        assert_eq!(conn.reply().await.status, status, "{fields}");
        // The next is a request like any other, and none of a protocol that was not agreed on.
        assert_eq!(conn.reply().await.status, 404, "{fields}");
    }
}

/// What a request makes the server say in a head has no line of its own there.
#[tokio::test]
async fn by_what_is_said_back() {
    let server = start().await;
    for (name, value) in [
        ("X-Request-ID", "a\u{b}Set-Cookie: x"),
        ("X-Request-ID", "a%0d%0aSet-Cookie:%20x"),
        ("Origin", "https://a.example%0d%0aSet-Cookie: x"),
        ("Host", "a.example%0d%0aSet-Cookie: x"),
        ("Upload-Metadata", "filename DQpTZXQtQ29va2llOiB4"),
    ] {
        let post = server.tus("POST", "/files/").header("Upload-Length", 0);
        let post = if name == "Host" {
            post.without("Host")
        } else {
            post
        };
        let mut conn = server.connect().await;
        conn.send(&post.header(name, value).to_bytes()).await;
        let reply = conn.reply().await;
        assert_eq!(reply.header("Set-Cookie"), None, "{name}: {value}");
        if reply.status == 201 {
            let got = server.get(&reply.location_path()).await;
            assert_eq!((got.status, got.header("Set-Cookie")), (200, None));
        }
    }
}
