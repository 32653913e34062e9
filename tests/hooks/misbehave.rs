//! Receivers that hang, flood, lie, refuse or are not there: each costs its own request, and no more than it may.

use std::time::{Duration, Instant};

use serde_json::json;

use super::calling_with;
use super::receiver::{Receiver, Said};
use crate::support::Server;

/// What it does, what it says, and how often it is called.
type Case = (&'static str, fn() -> Said, usize);

async fn impatient(receiver: &Receiver) -> Server {
    calling_with(receiver, "pre-create", |config| {
        config.hooks.hooks_http_timeout = Duration::from_millis(700);
        config.hooks.hooks_http_retry = 2;
    })
    .await
}

#[tokio::test]
async fn a_creation_fails_whose_hook_does() {
    let receiver = Receiver::agreeable().await;
    let server = impatient(&receiver).await;
    let post = || server.tus("POST", "/files/").header("Upload-Length", 5);
    let cases: [Case; 8] = [
        ("hangs", || Said::Nothing, 1),
        ("floods", || Said::Flood, 1),
        ("fails", || Said::Status(500), 3),
        ("is overloaded", || Said::Status(429), 3),
        ("refuses", || Said::Status(403), 1),
        ("talks", || Said::Bytes(b"<html>hello</html>".to_vec()), 1),
        ("nests", || Said::Bytes("[".repeat(100_000).into_bytes()), 1),
        (
            "splits",
            || Said::Json(json!({ "HTTPResponse": { "Header": { "X": "a\r\nY: b" } } })),
            1,
        ),
    ];
    for (what, said, tries) in cases {
        receiver.says(move |_| said());
        let before = receiver.calls().len();
        let began = Instant::now();
        let reply = post().send().await;
        assert_eq!(
            (reply.status, &*reply.code),
            (500, "hook-failed"),
            "it {what}"
        );
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "it {what}: {took:?}");
        assert_eq!(receiver.calls().len() - before, tries, "it {what}");
        let told = String::from_utf8_lossy(&reply.body);
        assert!(
            !told.contains(&receiver.addr.to_string()),
            "clients need not know: {told}"
        );
    }
    assert!(server.stored_files().is_empty(), "nothing is begun");
    receiver.says(|_| Said::fine());
    assert_eq!(post().send().await.status, 201);
}

#[tokio::test]
async fn while_one_hangs_everybody_else_goes_on() {
    let receiver = Receiver::agreeable().await;
    let server = calling_with(&receiver, "pre-create", |config| {
        config.hooks.hooks_http_timeout = Duration::from_secs(30);
    })
    .await;
    let path = server.create(5).await;
    receiver.says(|_| Said::Nothing);
    let mut waiting = server.connect().await;
    let post = server.tus("POST", "/files/").header("Upload-Length", 1);
    waiting.send(&post.to_bytes()).await;
    receiver.waits_for("pre-create", 2).await;
    assert_eq!(server.patch(&path, 0, *b"hello").send().await.status, 204);
    assert_eq!(server.get(&path).await.body, b"hello");
    receiver.says(|_| Said::fine());
    assert_eq!(server.create(0).await.len(), path.len());
}

#[tokio::test]
async fn a_refusal_with_a_status_that_is_none_is_a_refusal() {
    let receiver = Receiver::start(|_| {
        let answer = json!({ "StatusCode": 201, "Header": { "Location": "/elsewhere" } });
        Said::Json(json!({ "RejectUpload": true, "HTTPResponse": answer }))
    })
    .await;
    let server = impatient(&receiver).await;
    let post = server.tus("POST", "/files/").header("Upload-Length", 5);
    let reply = post.send().await;
    assert_eq!((reply.status, &*reply.code), (400, "upload-rejected"));
    assert_eq!(reply.header("Location"), None);
}
