//! The hook before the answer that tells an upload's end: its word is kept, and its failure can be tried again.

use serde_json::json;

use super::receiver::{Call, Receiver, Said};
use super::{calling, calling_with};
use crate::support::client::Reply;

/// What a hook says that has moved the file elsewhere.
fn moved(call: &Call) -> Said {
    if call.event() != "pre-finish" {
        return Said::fine();
    }
    let header = json!({ "X-Moved-To": "https://example.com/12345", "Upload-Offset": "1" });
    Said::Json(json!({ "HTTPResponse": { "Header": header } }))
}

fn is_told(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{reply:?}");
    let to = reply.header("X-Moved-To");
    assert_eq!(to, Some("https://example.com/12345"), "{reply:?}");
    assert_eq!(
        reply.number("Upload-Offset"),
        Some(5),
        "it is the protocol's own"
    );
}

#[tokio::test]
async fn what_it_says_is_in_the_answer_and_stays() {
    let receiver = Receiver::start(moved).await;
    let mut server = calling(&receiver, "pre-finish,post-finish").await;
    let path = server.create(5).await;
    let first = server.patch(&path, 0, *b"he").send().await;
    assert_eq!((first.status, first.header("X-Moved-To")), (204, None));
    is_told(&server.patch(&path, 2, *b"llo").send().await, 204);
    receiver.waits_for("post-finish", 1).await;
    // The last PATCH again, an empty one at the end, and HEAD; after a restart too.
    is_told(&server.patch(&path, 2, *b"llo").send().await, 204);
    is_told(&server.patch(&path, 5, *b"").send().await, 204);
    is_told(&server.head(&path).await, 200);
    server.restart().await;
    is_told(&server.head(&path).await, 200);
    is_told(&server.patch(&path, 2, *b"llo").send().await, 204);
    // What is no repeat of the last one is refused as ever.
    let other = server.patch(&path, 1, *b"llo").send().await;
    assert_eq!((other.status, &*other.code), (409, "offset-mismatch"));
    assert_eq!(server.get(&path).await.body, b"hello");
    let order: Vec<_> = receiver
        .calls()
        .iter()
        .map(|c| c.event().to_owned())
        .collect();
    assert_eq!(order, ["pre-finish", "post-finish"], "asked once");
}

#[tokio::test]
async fn creations_that_are_complete_at_once_are_asked_of_too() {
    let receiver = Receiver::start(moved).await;
    let server = calling(&receiver, "pre-finish").await;
    let post = |length| {
        server
            .tus("POST", "/files/")
            .header("Upload-Length", length)
    };
    let whole = post(5)
        .header("Content-Type", "application/offset+octet-stream")
        .body("hello");
    is_told(&whole.send().await, 201);
    let empty = post(0).send().await;
    assert_eq!(
        (empty.status, empty.header("X-Moved-To").is_some()),
        (201, true)
    );
    let parts = [server.part(b"he").await, server.part(b"llo").await];
    is_told(&server.join(&parts).await, 201);
    assert_eq!(receiver.calls().len(), 5, "the parts as well, as in tusd");
}

#[tokio::test]
async fn its_failure_can_be_tried_again() {
    let receiver = Receiver::start(|_| Said::Status(500)).await;
    let server = calling_with(&receiver, "pre-finish,post-finish", |config| {
        config.hooks.hooks_http_retry = 0;
    })
    .await;
    let path = server.create(5).await;
    let failed = server.patch(&path, 0, *b"hello").send().await;
    assert_eq!((failed.status, &*failed.code), (500, "hook-failed"));
    // The bytes are there, but the end is not told; whoever asks is to wait.
    let head = server.head(&path).await;
    assert_eq!((head.status, head.header("Retry-After")), (423, Some("1")));
    assert_eq!(server.patch(&path, 0, *b"hello").send().await.status, 500);
    assert!(
        receiver.of("post-finish").is_empty(),
        "not before it was asked"
    );
    receiver.says(moved);
    is_told(&server.head(&path).await, 200);
    is_told(&server.patch(&path, 0, *b"hello").send().await, 204);
    receiver.waits_for("post-finish", 1).await;
    let calls = receiver.calls();
    let events: Vec<_> = calls.iter().map(Call::event).collect();
    assert_eq!(events[3..], ["pre-finish", "post-finish"]);
}

#[tokio::test]
async fn uploads_from_before_it_was_there_are_not_asked_of() {
    let receiver = Receiver::start(moved).await;
    let server = calling(&receiver, "post-finish").await;
    let path = server.whole(b"hello").await;
    let head = server.head(&path).await;
    assert_eq!((head.status, head.header("X-Moved-To")), (200, None));
}
