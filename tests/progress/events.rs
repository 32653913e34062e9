//! What happens to an upload, and what those who follow it are told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use highwater::engine::{Append, Create};
use highwater::protocol::checksum::Algorithm;
use highwater::upload::Kind;
use http_body_util::Full;
use serde_json::{Value, json};

use super::watcher::{Watcher, names, number};
use crate::support::{bytes, checksum, id, slow, start, start_with, until};

const MIB: usize = 1 << 20;

/// That the ranges of these events follow each other from `start` to `end`.
fn covers(all: &[Value], start: u64, end: u64) {
    let mut next = start;
    for one in all.iter().filter(|one| one["event"] == "chunk_uploaded") {
        assert_eq!(one["range"][0], next, "{all:?}");
        next = one["range"][1].as_u64().expect("a byte") + 1;
    }
    assert_eq!(next, end, "{all:?}");
}

#[tokio::test]
async fn an_upload_is_told_from_a_snapshot_to_its_end() {
    let server = start().await;
    let length = 3 * MIB as u64;
    let path = server.create(length).await;
    let (mut watcher, snapshot) = Watcher::of(&server, &path).await;
    assert_eq!(snapshot["status"], "active");
    assert_eq!(snapshot["upload_id"], id(&path));
    let figures = [
        "bytes_transferred",
        "total_bytes",
        "chunks_remaining",
        "total_chunks",
    ];
    let figures = figures.map(|field| snapshot[field].as_u64().expect("a number"));
    assert_eq!(figures, [0, length, 3, 3]);

    let data = bytes(1, 3 * MIB);
    let mut conn = server.hang(&path, 0, length, &data[..MIB]).await;
    let progress = loop {
        let one = watcher.next().await;
        assert_eq!(one["event"], "progress", "nothing has happened yet: {one}");
        if one["bytes_transferred"] == MIB {
            break one;
        }
    };
    assert_eq!(progress["chunks_remaining"], 2);
    assert_eq!(number(&progress), number(&snapshot));
    assert!(progress["rate_bytes_per_second"].as_u64() > Some(0));
    assert!(progress["estimated_time_seconds"].as_f64() > Some(0.0));

    conn.send(&data[MIB..]).await;
    assert_eq!(conn.reply().await.status, 204);
    let all = watcher.until("upload_completed").await;
    covers(&all, 0, length);
    for (at, one) in all.iter().enumerate() {
        assert_eq!(number(one), number(&snapshot) + 1 + at as u64);
    }
    let last = all.last().expect("the last");
    assert_eq!(
        (&last["status"], &last["chunks_remaining"]),
        (&json!("completed"), &json!(0))
    );
    assert_eq!(last["estimated_time_seconds"], 0.0);
    // Whoever comes now sees that, and nothing else.
    let (_, snapshot) = Watcher::of(&server, &path).await;
    assert_eq!(
        (&snapshot["status"], number(&snapshot)),
        (&json!("completed"), number(last))
    );
}

#[tokio::test]
async fn a_cut_body_is_a_pause_and_the_next_one_its_end() {
    let server = start_with(|config| config.network_timeout = Duration::from_millis(300)).await;
    let path = server.create(10).await;
    let (mut watcher, _) = Watcher::of(&server, &path).await;
    drop(server.hang(&path, 0, 10, b"abc").await);
    let all = watcher.until("upload_paused").await;
    assert_eq!(all.last().expect("one")["code"], "body-cut");
    covers(&all, 0, 3);
    // One that hangs until the server has enough of it.
    let hanging = server.hang(&path, 3, 7, b"d").await;
    let all = watcher.until("upload_paused").await;
    assert_eq!(names(&all)[0], "upload_resumed");
    assert_eq!(all.last().expect("one")["code"], "idle-body");
    drop(hanging);
    assert_eq!(server.patch(&path, 4, "efghij").send().await.status, 204);
    let all = watcher.until("upload_completed").await;
    assert_eq!(names(&all)[0], "upload_resumed");
    covers(&all, 4, 10);
}

#[tokio::test]
async fn silence_is_a_pause_whether_a_body_hangs_or_none_is_sent() {
    let server = start_with(|config| config.pause_after = Duration::from_millis(200)).await;
    let path = server.create(10).await;
    let (mut watcher, _) = Watcher::of(&server, &path).await;
    let mut conn = server.hang(&path, 0, 5, b"abc").await;
    let paused = watcher.until("upload_paused").await.pop().expect("one");
    assert_eq!(
        (paused.get("code"), &paused["rate_bytes_per_second"]),
        (None, &json!(0))
    );
    conn.send(b"de").await;
    assert_eq!(conn.reply().await.status, 204);
    let all = watcher.until("upload_paused").await;
    assert!(names(&all).contains(&"upload_resumed"), "{all:?}");
    let (_, snapshot) = Watcher::of(&server, &path).await;
    assert_eq!(snapshot["paused"], true);
    assert_eq!(server.patch(&path, 5, "fghij").send().await.status, 204);
    let all = watcher.until("upload_completed").await;
    assert_eq!(names(&all)[0], "upload_resumed");
}

#[tokio::test]
async fn checksums_that_are_wrong_and_right_are_told() {
    let server = start().await;
    let path = server.create(6).await;
    let (mut watcher, _) = Watcher::of(&server, &path).await;
    let sum = checksum(Algorithm::Sha256, b"abc");
    let patch = |body: &'static str| {
        let patch = server.patch(&path, 0, body);
        patch.header("Upload-Checksum", &sum).send()
    };
    // Refused before a byte was read, it is nobody's news.
    assert_eq!(server.patch(&path, 3, "abc").send().await.status, 409);
    assert_eq!(server.patch(&path, 0, "seventy").send().await.status, 413);
    assert_eq!(patch("abd").await.status, 460);
    let failed = watcher.next().await;
    assert_eq!(failed["event"], "chunk_failed");
    assert_eq!(failed["code"], "checksum-mismatch");
    assert_eq!(failed["bytes_transferred"], 0);
    assert_eq!(patch("abc").await.status, 204);
    watcher.until("validation_complete").await;
    covers(&watcher.until("chunk_uploaded").await, 0, 3);
}

#[tokio::test]
async fn every_end_is_told_and_seen_by_those_who_come_later() {
    let server = start_with(|config| config.expire_after = Duration::from_secs(2)).await;
    let (gone, late) = (server.create(3).await, server.create(3).await);
    let (mut watch_gone, _) = Watcher::of(&server, &gone).await;
    let (mut watch_late, _) = Watcher::of(&server, &late).await;
    assert_eq!(server.delete(&gone).await.status, 204);
    watch_gone.until("upload_cancelled").await;
    watch_late.until("upload_expired").await;
    for (path, status) in [(gone, "cancelled"), (late, "expired")] {
        let (_, snapshot) = Watcher::of(&server, &path).await;
        assert_eq!(snapshot["status"], status);
    }
}

/// Parts of so many bytes, and the final that waits for them.
async fn waiting(server: &crate::support::Server, lengths: [u64; 2]) -> (Vec<String>, String) {
    let mut parts = Vec::new();
    for length in lengths {
        parts.push(server.partial(length).await);
    }
    let joined = server.join(&parts).await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let path = joined.location_path();
    (parts, path)
}

#[tokio::test]
async fn a_final_that_waits_shows_each_part_and_then_its_assembly() {
    let server = start().await;
    let (parts, path) = waiting(&server, [6, 4]).await;
    let (mut watcher, snapshot) = Watcher::of(&server, &path).await;
    assert_eq!(snapshot["total_bytes"], 10);
    assert_eq!(snapshot["parts"].as_array().expect("parts").len(), 2);
    let (mut of_part, _) = Watcher::of(&server, &parts[0]).await;
    let mut hanging = server.hang(&parts[0], 0, 6, b"abc").await;
    assert_eq!(server.patch(&parts[1], 0, "gh").send().await.status, 204);
    let progress = loop {
        let one = watcher.next().await;
        if one["bytes_transferred"] == 5 {
            break one;
        }
    };
    let of = |n: usize| {
        let part = &progress["parts"][n];
        assert_eq!(part["upload_id"], id(&parts[n]));
        part["bytes_transferred"].as_u64().expect("a number")
    };
    assert_eq!([of(0), of(1)], [3, 2]);
    hanging.send(b"def").await;
    assert_eq!(hanging.reply().await.status, 204);
    of_part.until("upload_completed").await;
    assert_eq!(server.patch(&parts[1], 2, "ij").send().await.status, 204);
    let all = watcher.until("upload_completed").await;
    let two: Vec<_> = names(&all)
        .into_iter()
        .filter(|name| !name.contains("ed_"))
        .collect();
    assert_eq!(two, ["assembly_started", "upload_completed"]);
    assert_eq!(all.last().expect("the last")["bytes_transferred"], 10);
    assert_eq!(server.get(&path).await.body, b"abcdefghij");
}

#[tokio::test]
async fn a_final_whose_part_is_gone_has_failed_with_the_code_of_http() {
    let server = start().await;
    let (parts, path) = waiting(&server, [6, 4]).await;
    let (mut watcher, _) = Watcher::of(&server, &path).await;
    assert_eq!(server.delete(&parts[1]).await.status, 204);
    let failed = watcher.until("upload_failed").await.pop().expect("one");
    let get = server.get(&path).await;
    assert_eq!(
        (get.status, failed["code"].as_str()),
        (410, Some(get.code.as_str()))
    );
    let (_, snapshot) = Watcher::of(&server, &path).await;
    assert_eq!(
        (&snapshot["status"], &snapshot["code"]),
        (&json!("failed"), &failed["code"])
    );
}

#[tokio::test]
async fn one_connection_follows_many_and_leaves_some() {
    let server = start().await;
    let mut paths = Vec::new();
    for _ in 0..3 {
        paths.push(server.create(3).await);
    }
    let [one, two, three] = [0, 1, 2].map(|n| id(&paths[n]).to_owned());
    let mut watcher = Watcher::open(&server, &format!("?upload={one}&upload={two}")).await;
    let first = [watcher.next().await, watcher.next().await];
    assert_eq!(names(&first), ["snapshot"; 2]);
    watcher
        .send(&json!({ "subscribe": [three], "unsubscribe": [one] }))
        .await;
    assert_eq!(watcher.next().await["upload_id"], three);
    for path in &paths {
        assert_eq!(server.delete(path).await.status, 204);
    }
    let ended = [watcher.next().await, watcher.next().await];
    assert_eq!(names(&ended), ["upload_cancelled"; 2]);
    let ids = [&ended[0]["upload_id"], &ended[1]["upload_id"]];
    assert_eq!(ids, [&json!(two), &json!(three)]);
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_and_after_a_restart_a_snapshot() {
    let mut server = start().await;
    let path = server.create(10).await;
    let (mut watcher, snapshot) = Watcher::of(&server, &path).await;
    assert_eq!(server.patch(&path, 0, "abc").send().await.status, 204);
    let seen = watcher.until("chunk_uploaded").await.pop().expect("one");
    drop(watcher);
    drop(server.hang(&path, 3, 7, b"de").await);
    until("the cut is settled", || async {
        server.patch(&path, 5, "f").send().await.status == 204
    })
    .await;
    let since = |number: u64| {
        let mut since = serde_json::Map::new();
        since.insert(id(&path).to_owned(), number.into());
        json!({ "subscribe": [id(&path)], "since": since })
    };
    let mut back = Watcher::open(&server, "").await;
    back.send(&since(number(&seen))).await;
    let all = back.until("upload_resumed").await;
    assert_eq!(
        names(&all),
        ["chunk_uploaded", "upload_paused", "upload_resumed"]
    );
    assert_eq!(number(&all[0]), number(&seen) + 1);
    // The same from the first message on.
    back.send(&since(number(&snapshot))).await;
    let again = back.until("chunk_uploaded").await;
    assert_eq!(again[0]["range"], json!([0, 2]));
    let last = number(&all[2]);
    server.restart().await;
    let mut back = Watcher::open(&server, "").await;
    back.send(&since(last)).await;
    let snapshot = back.next().await;
    assert_eq!(snapshot["event"], "snapshot");
    assert!(number(&snapshot) > last, "{snapshot}");
    assert_eq!(snapshot["bytes_transferred"], 6);
}

/// Of an upload that was made, filled and completed before anything was read.
#[tokio::test]
async fn one_who_follows_all_is_told_how_an_upload_ended_before_it_was_looked_at() {
    let (engine, steps) = slow::engine().await;
    steps.may_write.add_permits(1);
    let mut admin = engine.mailbox();
    engine.watch_all(&mut admin);
    let create = Create {
        kind: Kind::Partial,
        length: Some(3),
        metadata: None,
        concat: None,
        by: None,
        id: None,
        path: None,
    };
    let append = Append {
        claimed: 0,
        declared: None,
        body_length: Some(3),
        checksum: None,
        trailer_announced: false,
        by: None,
        pace: None,
    };
    let body = Full::new(Bytes::from_static(b"abc"));
    let (view, None) = engine
        .create_with(create, append, body)
        .await
        .expect("it is made")
    else {
        panic!("all of it");
    };
    let mut told = Vec::new();
    while let Some(some) = admin.try_next() {
        told.extend(some);
    }
    let told: Vec<Value> = told
        .iter()
        .map(|one| serde_json::from_str(&one.json).expect("JSON"))
        .collect();
    assert!(told.iter().all(|one| one["upload_id"] == view.id.as_str()));
    // Nothing was read before, and all of it is told.
    let expected = ["upload_created", "chunk_uploaded", "upload_completed"];
    assert_eq!(names(&told), expected);
    assert_eq!(told[2]["status"], "completed");
    // The disk's level is theirs as well, within about a second.
    steps.free.store(9, Ordering::SeqCst);
    let told = admin.next().await;
    let level: Value = serde_json::from_str(&told[0].json).expect("JSON");
    assert_eq!(
        (&level["event"], &level["level"], &level["free_bytes"]),
        (&json!("disk_level"), &json!("red"), &json!(9))
    );
    engine.terminate(&view.id).await.expect("it ends");
    let told = admin.try_next().expect("its end");
    assert!(told[0].json.contains("upload_cancelled"), "{told:?}");
}
