//! The smallest upload (`--min-size`): at every door, whenever its length is told.

use serde_json::json;

use super::made;
use crate::support::{Client, Reply, start_with};

const LEAST: u64 = 10;

#[track_caller]
fn too_small(reply: &Reply) {
    assert_eq!(
        (reply.status, reply.code.as_str()),
        (400, "too-small"),
        "{reply:?}"
    );
    assert!(reply.json()["detail"].to_string().contains("10 bytes"));
}

async fn post(client: &Client, headers: &[(&str, &str)], body: &'static str) -> Reply {
    let mut post = client.tus("POST", "/files/").body(body);
    if !body.is_empty() {
        post = post.header("Content-Type", "application/offset+octet-stream");
    }
    for (name, value) in headers {
        post = post.header(name, value);
    }
    post.send().await
}

async fn ask(client: &Client, headers: &[(&str, &str)]) -> Reply {
    post(client, headers, "").await
}

async fn open_part(client: &Client, length: &str) -> String {
    let length = match length {
        "" => ("Upload-Defer-Length", "1"),
        told => ("Upload-Length", told),
    };
    made(&ask(client, &[length, ("Upload-Concat", "partial")]).await)
}

#[tokio::test]
async fn what_is_too_small_is_refused_at_its_creation() {
    let server = start_with(|config| config.min_size = LEAST).await;
    for length in ["0", "1", "9"] {
        too_small(&ask(&server, &[("Upload-Length", length)]).await);
    }
    too_small(&post(&server, &[("Upload-Length", "9")], "123456789").await);
    made(&ask(&server, &[("Upload-Length", "10")]).await);
    let initialize = |size: u64| json!({ "filename": "f", "size": size });
    too_small(&server.initialize(&initialize(0)).await);
    too_small(&server.initialize(&initialize(9)).await);
    // A chunk may be smaller.
    let session = server.session(&initialize(10)).await;
    assert_eq!(session.send(1, b"0123456789").await.status, 201);
    assert_eq!(session.finalize().await.status, 200);
    let files = server.stored_files();
    let sidecars = files.iter().filter(|file| file.starts_with("info/"));
    assert_eq!(sidecars.count(), 2, "{files:?}");
}

#[tokio::test]
async fn a_deferred_length_is_judged_when_it_is_told() {
    let mut server = start_with(|config| config.min_size = LEAST).await;
    let deferred = [("Upload-Defer-Length", "1")];
    let path = made(&post(&server, &deferred, "12345").await);
    for (body, length) in [("", 5), ("6789", 9)] {
        let told = server.patch(&path, 5, body).header("Upload-Length", length);
        too_small(&told.send().await);
        let head = server.head(&path).await;
        assert_eq!(head.number("Upload-Offset"), Some(5));
        assert_eq!(head.header("Upload-Defer-Length"), Some("1"));
    }
    // It is not lost: another length can be told.
    let told = server.patch(&path, 5, "67890").header("Upload-Length", 10);
    assert_eq!(told.send().await.status, 204);
    assert_eq!(server.get(&path).await.body, b"1234567890");
    // What was begun before there was such a limit goes on.
    server.change(|config| config.min_size = 0).await;
    let path = server.create(3).await;
    server.change(|config| config.min_size = LEAST).await;
    let again = server.patch(&path, 0, "abc").header("Upload-Length", 3);
    assert_eq!(again.send().await.status, 204);
}

#[tokio::test]
async fn parts_may_be_small_and_what_is_joined_may_not() {
    let server = start_with(|config| config.min_size = LEAST).await;
    let (four, six) = (server.part(b"four").await, server.part(b"sixsix").await);
    too_small(&server.join(&[four.clone(), four.clone()]).await);
    let whole = server.join(&[four.clone(), six]).await.location_path();
    assert_eq!(server.get(&whole).await.body, b"foursixsix");
    // Before their bytes are there, if their lengths are.
    let open = open_part(&server, "5").await;
    too_small(&server.join(&[open.clone(), four.clone()]).await);
    let waits = server.join(&[open, four.clone(), four.clone()]).await;
    assert_eq!(waits.status, 201, "{waits:?}");
    // Where one is not, at the end.
    let open = open_part(&server, "").await;
    let waits = made(&server.join(&[four, open.clone()]).await);
    let last = server.patch(&open, 0, "12345").header("Upload-Length", 5);
    assert_eq!(last.send().await.status, 204);
    let failed = server.get(&waits).await;
    assert_eq!(
        (failed.status, failed.code.as_str()),
        (410, "parts-too-small")
    );
}
