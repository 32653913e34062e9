//! A final that waits for its parts, and whose hook chose where it is to lie: the path is its own from the first on, and its file
//! comes there when the last part is complete.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chosen::{obeyed, others, post, refused, storage};
use super::receiver::Receiver;
use crate::support::{Server, bytes, id, same, until};

/// A part that is still to come.
async fn part(server: &Server, length: Option<usize>) -> String {
    let post = server.tus("POST", "/files/");
    let post = post.header("Upload-Concat", "partial");
    let post = match length {
        Some(length) => post.header("Upload-Length", length),
        None => post.header("Upload-Defer-Length", 1),
    };
    let reply = post.send().await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.location_path()
}

/// The final of these parts, at this place.
async fn waiting(server: &Server, place: &str, parts: &[&str]) -> String {
    let concat = format!("final;{}", parts.join(" "));
    let reply = post(server, place).header("Upload-Concat", concat);
    let reply = reply.send().await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.location_path()
}

async fn send(server: &Server, part: &str, bytes: &[u8]) {
    let reply = server.patch(part, 0, bytes).send().await;
    assert_eq!(reply.status, 204, "{reply:?}");
}

async fn status(server: &Server, upload: &str) -> String {
    let admin = server.get(&format!("/admin/uploads/{}", id(upload))).await;
    let admin: Value = serde_json::from_slice(&admin.body).expect("JSON");
    admin["status"].as_str().expect("a status").to_owned()
}

async fn ends(server: &Server, upload: &str) {
    until("it is where it is to be", || async {
        status(server, upload).await == "completed"
    })
    .await;
}

/// Whether its end was told, and with which path.
fn told(receiver: &Receiver, upload: &str) -> Option<PathBuf> {
    let calls = receiver.of("post-finish");
    let mine = calls.iter().find(|call| call.id() == id(upload));
    mine.map(storage)
}

async fn is_told(receiver: &Receiver, upload: &str, place: &Path) {
    until("its end is told", || async {
        told(receiver, upload).is_some()
    })
    .await;
    assert_eq!(told(receiver, upload), Some(place.to_owned()));
}

#[tokio::test]
async fn a_waiting_final_lies_there_when_its_last_part_is_complete() {
    let (receiver, mut server) = obeyed().await;
    let (a, b) = (bytes(5, 70_000), bytes(6, 30_000));
    let twice = [&a[..], &b, &a].concat();
    for assemble in [true, false] {
        server.change(|config| config.assemble = assemble).await;
        let first = part(&server, Some(a.len())).await;
        let second = part(&server, None).await;
        // A part may be there twice.
        let upload = waiting(&server, "w/x", &[&first, &second, &first]).await;
        let place = server.data().join("w/x");
        // Nobody else gets the path, nor what is below it, before a restart and after it.
        for _ in 0..2 {
            refused(&server, "w/x").await;
            refused(&server, "w/x/below").await;
            assert!(!place.exists() && server.head(&upload).await.status == 200);
            server.restart().await;
        }
        send(&server, &first, &a).await;
        assert!(!place.exists() && told(&receiver, &upload).is_none());
        let last = server.patch(&second, 0, &b[..]);
        let last = last.header("Upload-Length", b.len()).send().await;
        assert_eq!(last.status, 204, "{last:?}");
        same(&server.get(&upload).await.body, &twice);
        is_told(&receiver, &upload, &place).await;
        ends(&server, &upload).await;
        for _ in 0..2 {
            same(&fs::read(&place).expect("the file"), &twice);
            same(&server.get(&upload).await.body, &twice);
            same(&server.get(&first).await.body, &a);
            server.restart().await;
        }
        assert_eq!(server.delete(&upload).await.status, 204);
        assert_eq!(others(&server.data()), [""; 0]);
        same(&server.get(&second).await.body, &b);
        for part in [first, second] {
            assert_eq!(server.delete(&part).await.status, 204);
        }
        server.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_waiting_final_of_nothing_lies_there_too() {
    let (receiver, mut server) = obeyed().await;
    for restart in [false, true] {
        let open = [part(&server, None).await, part(&server, None).await];
        let upload = waiting(&server, "w/empty", &[&open[0], &open[1]]).await;
        for part in &open {
            let ended = server.patch(part, 0, "").header("Upload-Length", 0);
            assert_eq!(ended.send().await.status, 204);
            if restart {
                server.restart().await;
            }
        }
        let place = server.data().join("w/empty");
        is_told(&receiver, &upload, &place).await;
        ends(&server, &upload).await;
        assert_eq!(fs::read(&place).expect("the file"), b"");
        assert_eq!(server.get(&upload).await.body, b"");
        assert_eq!(server.delete(&upload).await.status, 204);
        assert_eq!(others(&server.data()), [""; 0]);
        for part in open {
            assert_eq!(server.delete(&part).await.status, 204);
        }
        server.nothing_is_left().await;
    }
}

#[tokio::test]
async fn one_that_fails_or_goes_leaves_its_path_to_others() {
    let (receiver, mut server) = obeyed().await;
    let (gone, other) = (part(&server, Some(3)).await, part(&server, Some(3)).await);
    let failed = waiting(&server, "w/x", &[&gone, &other]).await;
    assert_eq!(server.delete(&gone).await.status, 204);
    until("it has failed", || async {
        server.head(&failed).await.status == 410
    })
    .await;
    // Until it is looked at no more: its path goes with it.
    refused(&server, "w/x").await;
    assert_eq!(server.delete(&failed).await.status, 204);
    let cancelled = waiting(&server, "w/x", &[&other]).await;
    server.restart().await;
    assert_eq!(server.delete(&cancelled).await.status, 204);
    // The part, complete now, makes no file for those that went.
    send(&server, &other, b"abc").await;
    assert_eq!(others(&server.data()), [""; 0]);
    let upload = waiting(&server, "w/x", &[&other]).await;
    let place = server.data().join("w/x");
    is_told(&receiver, &upload, &place).await;
    assert_eq!(fs::read(&place).expect("the file"), b"abc");
    for went in [failed, cancelled] {
        assert_eq!(told(&receiver, &went), None);
    }
}

#[tokio::test]
async fn what_is_in_the_way_of_a_waiting_final_is_waited_for() {
    let (receiver, mut server) = obeyed().await;
    for restart in [false, true] {
        let open = part(&server, Some(3)).await;
        let upload = waiting(&server, "way", &[&open]).await;
        let place = server.data().join("way");
        fs::write(&place, "mine").expect("written");
        send(&server, &open, b"abc").await;
        until("it is complete", || async {
            status(&server, &upload).await == "assembling"
        })
        .await;
        assert_eq!(server.get(&upload).await.body, b"abc", "whole and readable");
        if restart {
            server.restart().await;
            assert_eq!(server.get(&upload).await.body, b"abc");
        }
        assert_eq!(fs::read(&place).expect("it"), b"mine");
        assert_eq!(told(&receiver, &upload), None);
        fs::remove_file(&place).expect("it goes");
        // Another assembly wakes the one that looks.
        let stir = part(&server, Some(1)).await;
        send(&server, &stir, b"x").await;
        waiting(&server, &format!("stir/{restart}"), &[&stir]).await;
        ends(&server, &upload).await;
        assert_eq!(fs::read(&place).expect("it"), b"abc");
        is_told(&receiver, &upload, &place).await;
        assert_eq!(server.delete(&upload).await.status, 204);
        assert!(!place.exists());
    }
}
