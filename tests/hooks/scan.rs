//! `--scan hook`: receivers look through complete uploads before anything is told of their end.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use highwater::config::{Config, ScanUnavailable};
use serde_json::{Value, json};

use super::receiver::{Call, Receiver, Said};
use super::{at, calling_with};
use crate::support::{Server, id, start_with, until};

const BAD: &[u8] = b"as bad as can be";
const EVENTS: &str = "scan,pre-finish,post-finish,post-fail,post-terminate";

/// The upload's bytes, as a receiver finds them where they lie.
fn stored(call: &Call) -> Vec<u8> {
    let storage = at(&call.json, "Event.Upload.Storage");
    let range = |path: &Value, start: u64, len: u64| {
        let mut bytes = Vec::new();
        let mut file = std::fs::File::open(path.as_str().expect("a path")).expect("it is there");
        file.seek(SeekFrom::Start(start)).expect("so far");
        file.take(len).read_to_end(&mut bytes).expect("its bytes");
        bytes
    };
    if storage["Type"] == "filestore" {
        return range(&storage["Path"], 0, u64::MAX);
    }
    let number = |value: &Value| value.as_u64().expect("a number");
    let segments = storage["Segments"].as_array().expect("segments").iter();
    segments
        .flat_map(|s| range(&s["Path"], number(&s["Start"]), number(&s["Length"])))
        .collect()
}

/// What a receiver says that can tell bad from good.
fn scans(call: &Call) -> Said {
    let bad = || -> bool { stored(call).windows(BAD.len()).any(|window| window == BAD) };
    if call.event() == "scan" && bad() {
        return Said::Json(
            json!({ "RejectUpload": true, "HTTPResponse": { "Body": "Bad.Thing" } }),
        );
    }
    Said::fine()
}

async fn scanning(receiver: &Receiver, change: impl FnOnce(&mut Config)) -> Server {
    calling_with(receiver, EVENTS, |config| {
        config.content.scan = Some("hook".parse().expect("a scanner"));
        change(config);
    })
    .await
}

fn told_of(receiver: &Receiver, path: &str) -> Vec<String> {
    let mut calls = receiver.calls();
    calls.retain(|call| call.id() == id(path));
    calls.iter().map(|call| call.event().to_owned()).collect()
}

#[tokio::test]
async fn the_verdict_comes_before_anything_is_told_of_the_end() {
    let receiver = Receiver::start(scans).await;
    let server = scanning(&receiver, |_| {}).await;
    let path = server.create(5).await;
    assert_eq!(server.patch(&path, 0, "hello").send().await.status, 204);
    until("all of it is told", || async {
        told_of(&receiver, &path) == ["scan", "pre-finish", "post-finish"]
    })
    .await;
    assert_eq!(server.get(&path).await.body, b"hello");
    for event in ["scan", "post-finish"] {
        let told = receiver.waits_for(event, 1).await;
        assert_eq!(at(&told.json, "Event.HTTPRequest.Method"), "PATCH");
    }

    let path = server.create(BAD.len() as u64).await;
    let reply = server.patch(&path, 0, BAD).send().await;
    assert_eq!((reply.status, &*reply.code), (422, "malware-found"));
    assert_eq!(server.get(&path).await.status, 422);
    let told = receiver.waits_for("post-fail", 1).await;
    assert_eq!(told.upload()["Failure"], "malware-found");
    assert_eq!(told_of(&receiver, &path), ["scan", "post-fail"]);
}

#[tokio::test]
async fn every_refusal_is_a_verdict() {
    let receiver = Receiver::start(scans).await;
    let server = scanning(&receiver, |_| {}).await;
    for flag in [
        "RejectUpload",
        "RejectAccess",
        "RejectTermination",
        "StopUpload",
    ] {
        receiver.says(move |call| match call.event() {
            "scan" => Said::Json(json!({ flag: true })),
            _ => Said::fine(),
        });
        let path = server.create(5).await;
        let reply = server.patch(&path, 0, "hello").send().await;
        assert_eq!(
            (reply.status, &*reply.code),
            (422, "malware-found"),
            "{flag}"
        );
    }
}

#[tokio::test]
async fn the_last_patch_again_waits_for_the_verdict_too() {
    let receiver = Receiver::start(|_| Said::Status(500)).await;
    let server = scanning(&receiver, |config| {
        config.hooks.hooks_http_retry = 0;
        config.content.scan_wait = Duration::from_secs(20);
    })
    .await;
    let path = server.create(5).await;
    let [first, again] = ["first", "again"].map(|_| {
        let patch = server.patch(&path, 0, "hello");
        async move { patch.send().await }
    });
    let first = tokio::spawn(first);
    receiver.waits_for("scan", 1).await;
    let again = tokio::spawn(again);
    receiver.waits_for("scan", 3).await;
    receiver.says(|call| {
        let said = json!({ "HTTPResponse": { "Header": { "X-Said": call.event() } } });
        Said::Json(said)
    });
    for patch in [first, again] {
        let reply = patch.await.expect("a reply");
        assert_eq!(
            (reply.status, reply.header("X-Said")),
            (204, Some("pre-finish"))
        );
    }
    assert_eq!(receiver.of("pre-finish").len(), 1, "asked once");
}

#[tokio::test]
async fn sessions_and_finals_are_read_whole() {
    let receiver = Receiver::start(scans).await;
    let server = scanning(&receiver, |_| {}).await;
    let (first, second) = BAD.split_at(7);
    let parts = [server.part(first).await, server.part(second).await];
    assert!(receiver.of("scan").is_empty(), "parts are no files");
    let reply = server.join(&parts).await;
    assert_eq!((reply.status, &*reply.code), (422, "malware-found"));
    let parts = [server.part(second).await, server.part(first).await];
    let reply = server.join(&parts).await;
    assert_eq!(reply.status, 201);
    let told = receiver.waits_for("post-finish", 5).await;
    assert_eq!(told.id(), id(&reply.location_path()));
    let session = server.session_of(BAD).await;
    assert_eq!(session.send(1, BAD).await.status, 201);
    assert_eq!(session.finalize().await.code, "malware-found");
    let status = session.status().await;
    assert_eq!(
        (&status["status"], &status["code"]),
        (&json!("failed"), &json!("malware-found"))
    );
}

#[tokio::test]
async fn a_receiver_that_fails_gives_no_verdict() {
    let receiver = Receiver::start(|_| Said::Status(500)).await;
    for (policy, status, code) in [
        (ScanUnavailable::Refuse, 422, "unscanned"),
        (ScanUnavailable::Pass, 204, ""),
        (ScanUnavailable::Hold, 204, ""),
    ] {
        receiver.says(|call| match call.event() {
            "scan" => Said::Status(500),
            _ => Said::fine(),
        });
        let server = scanning(&receiver, |config| {
            config.content.scan_unavailable = policy;
            config.content.scan_wait = Duration::from_secs(5);
        })
        .await;
        let path = server.create(5).await;
        let reply = server.patch(&path, 0, "hello").send().await;
        assert_eq!((reply.status, &*reply.code), (status, code), "{policy:?}");
        if policy == ScanUnavailable::Hold {
            assert_eq!(server.get(&path).await.code, "scan-pending");
            assert_eq!(server.head(&path).await.status, 200);
            assert!(!told_of(&receiver, &path).contains(&"pre-finish".to_owned()));
            receiver.says(scans);
            until("it is given out", || async {
                server.get(&path).await.status == 200
            })
            .await;
            // Nobody waits for the answer any more: who asks next has it asked for.
            assert_eq!(server.head(&path).await.status, 200);
            receiver.waits_for("pre-finish", 2).await;
        }
    }
}

#[tokio::test]
async fn what_is_refused_at_once_is_told_as_failed() {
    let receiver = Receiver::agreeable().await;
    let server = scanning(&receiver, |config| {
        config.content.sniff = highwater::config::SniffMode::On;
    })
    .await;
    let post = server.tus("POST", "/files/").header("Upload-Length", 4);
    let post = post
        .header("Content-Type", "application/offset+octet-stream")
        .header("Upload-Metadata", "filetype aW1hZ2UvcG5n");
    assert_eq!(post.body("%PDF").send().await.code, "type-mismatch");
    let told = receiver.waits_for("post-fail", 1).await;
    assert_eq!(told.upload()["Failure"], "type-mismatch");
    // The next one's end comes after whatever else would be told of it.
    let path = server.create(1).await;
    assert_eq!(server.patch(&path, 0, "x").send().await.status, 204);
    receiver.waits_for("post-finish", 1).await;
    assert!(receiver.of("post-terminate").is_empty());
}

#[tokio::test]
async fn a_directory_without_that_program_is_no_scanner() {
    let dir = tempfile::tempdir().expect("a directory");
    let hooks = dir.path().to_owned();
    let server = start_with(|config| {
        config.hooks.hooks_dir = Some(hooks);
        config.hooks.hooks_enabled_events = "scan".parse().expect("an event");
        config.content.scan = Some("hook".parse().expect("a scanner"));
        config.content.scan_unavailable = ScanUnavailable::Refuse;
    })
    .await;
    let path = server.create(5).await;
    let reply = server.patch(&path, 0, "hello").send().await;
    assert_eq!((reply.status, &*reply.code), (422, "unscanned"));
}
