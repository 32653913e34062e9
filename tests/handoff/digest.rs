//! The SHA-256 of complete uploads (`--digest sha256`, `--handoff-digest`): right whatever becomes of the upload on its way, and
//! read from the disk only where it could not be worked out as the bytes came.

use std::path::Path;

use highwater::protocol::checksum::Algorithm;
use highwater::protocol::sha256::Sum;
use serde_json::Value;

use super::{handing_on, outbox, text};
use crate::support::disk::Disk;
use crate::support::power::{Cut, start_on_boot};
use crate::support::receiver::Receiver;
use crate::support::{
    Client, Dice, Process, bytes, checksum, figure, id, rounds, same, seed, start, until,
};

/// What the log says where an upload's bytes are read again.
const READ: &str = "a complete upload was read for its hash";

/// Waits for the sum that operators are shown.
async fn sum_of(client: &Client, path: &str) -> String {
    let url = format!("/admin/uploads/{}", id(path));
    let shown = || async { client.get(&url).await.json()["sha256"].take() };
    until("the sum is known", || async { shown().await.is_string() }).await;
    shown().await.as_str().expect("a text").to_owned()
}

fn digesting(data: &Path, mode: &str) -> Process {
    let arguments = [
        "--digest",
        "sha256",
        "--log-level",
        "debug",
        "--durability",
        mode,
    ];
    Process::start(data, &arguments)
}

/// Whether the log tells that this upload was read again.
fn was_read(server: &mut Process, path: &str) -> bool {
    let own = format!("id={}", id(path));
    let mut lines = server.log().iter();
    lines.any(|line| line.contains(READ) && line.contains(&own))
}

#[tokio::test]
async fn a_sequential_upload_is_hashed_on_its_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let all = bytes(7, 1_000_000);
    let mut server = digesting(dir.path(), "complete");
    let path = server.create(1_000_000).await;
    let patch = |server: &Client, range: std::ops::Range<usize>| {
        server.patch(&path, range.start as u64, &all[range]).send()
    };
    assert_eq!(patch(&server, 0..100_000).await.status, 204);
    // Bytes that are refused are not hashed; those of a body that was cut are.
    let wrong = server.patch(&path, 100_000, &all[..50_000]);
    let wrong = wrong.header("Upload-Checksum", checksum(Algorithm::Sha1, b"other"));
    assert_eq!(wrong.send().await.status, 460);
    let right = server.patch(&path, 100_000, &all[100_000..200_000]);
    let right = right.header(
        "Upload-Checksum",
        checksum(Algorithm::Sha1, &all[100_000..200_000]),
    );
    assert_eq!(right.send().await.status, 204);
    drop(
        server
            .hang(&path, 200_000, 800_000, &all[200_000..300_000])
            .await,
    );
    until("the cut body counts", || async {
        patch(&server, 300_000..400_000).await.status == 204
    })
    .await;
    assert!(server.terminate().0);
    let mut server = digesting(dir.path(), "complete");
    assert_eq!(patch(&server, 400_000..700_000).await.status, 204);
    assert_eq!(patch(&server, 700_000..1_000_000).await.status, 204);
    assert_eq!(sum_of(&server, &path).await, Sum::of(&all).to_string());
    assert!(!was_read(&mut server, &path), "it was known at the end");
    // It is stored.
    assert!(server.terminate().0);
    let mut server = digesting(dir.path(), "complete");
    assert_eq!(sum_of(&server, &path).await, Sum::of(&all).to_string());
    assert!(!was_read(&mut server, &path));
}

/// A body whose bytes were never told gives way to a newcomer, and what came of it is cut off again.
#[tokio::test]
async fn bytes_that_are_taken_back_are_not_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = digesting(dir.path(), "process");
    let (all, other) = (bytes(3, 300_000), bytes(4, 100_000));
    let path = server.create(300_000).await;
    let chunked = "Transfer-Encoding: chunked";
    let _hung = server.hang_untold(dir.path(), &path, chunked, &other).await;
    until("the newcomer takes over", || async {
        server.patch(&path, 0, &all[..50_000]).send().await.status == 204
    })
    .await;
    let rest = server.patch(&path, 50_000, &all[50_000..]).send().await;
    assert_eq!(rest.status, 204);
    assert_eq!(sum_of(&server, &path).await, Sum::of(&all).to_string());
    assert!(!was_read(&mut server, &path));
}

#[tokio::test]
async fn what_is_made_of_parts_is_read_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = digesting(dir.path(), "process");
    let halves = [bytes(1, 300_000), bytes(2, 200_000)];
    let whole = halves.concat();
    let parts = [server.part(&halves[0]).await, server.part(&halves[1]).await];
    let joined = server.join(&parts).await.location_path();
    assert_eq!(sum_of(&server, &joined).await, Sum::of(&whole).to_string());
    assert!(was_read(&mut server, &joined));
    let session = server.session_of(&whole).await;
    for n in (1..=whole.len().div_ceil(64 << 10)).rev() {
        assert!(session.send(n, &whole).await.status < 300);
    }
    assert_eq!(session.finalize().await.status, 200);
    assert_eq!(
        sum_of(&server, &session.id).await,
        Sum::of(&whole).to_string()
    );
    let named = serde_json::json!({"filename": "f", "size": 3, "file_hash": Sum::of(b"abc")});
    let named = server.session(&named).await;
    assert!(named.send(1, b"abc").await.status < 300);
    assert_eq!(named.finalize().await.status, 200);
    assert_eq!(
        sum_of(&server, &named.id).await,
        Sum::of(b"abc").to_string()
    );
    assert!(!was_read(&mut server, &named.id), "it was held against it");
    let empty = server.create(0).await;
    assert_eq!(sum_of(&server, &empty).await, Sum::of(b"").to_string());
    let of_part = format!("/admin/uploads/{}", id(&parts[0]));
    assert_eq!(server.get(&of_part).await.json()["sha256"], Value::Null);
}

#[tokio::test]
async fn a_job_is_told_it_where_it_asks() {
    let receiver = Receiver::agreeable().await;
    let server = handing_on(&receiver, |config| config.handoff.handoff_digest = true).await;
    let parts = [server.part(b"hello ").await, server.part(b"world").await];
    let joined = server.join(&parts).await.location_path();
    let whole = server.whole(b"hello").await;
    until("both have come", || async { receiver.calls().len() == 2 }).await;
    for (path, bytes) in [(joined, &b"hello world"[..]), (whole, b"hello")] {
        let calls = receiver.calls();
        let mut jobs = calls.iter().map(|call| &call.json);
        let job = jobs.find(|job| job["id"] == id(&path)).expect("its job");
        assert_eq!(text(job, "sha256"), Sum::of(bytes).to_string());
    }
}

#[tokio::test]
async fn nobody_is_told_what_nobody_asks_for() {
    let server = start().await;
    let path = server.whole(b"hello").await;
    let shown = server
        .get(&format!("/admin/uploads/{}", id(&path)))
        .await
        .json();
    assert_eq!(
        (&shown["sha256"], &shown["status"]),
        (&Value::Null, &"completed".into())
    );
    assert_eq!(outbox(&server).await["waiting"], 0);
}

#[tokio::test]
async fn after_kills_it_is_right() {
    let name = "after_kills_it_is_right";
    let mut dice = Dice::new(seed(name));
    for round in 0..rounds(4, 40) {
        let dir = tempfile::tempdir().expect("a directory");
        let mode = ["process", "complete", "every"][round % 3];
        let length = 3_000_000;
        let all = bytes(dice.below(1 << 32), length);
        let mut server = digesting(dir.path(), mode);
        let path = server.create(length as u64).await;
        let mut kills = 0;
        loop {
            let at = usize::try_from(server.offset(&path).await).expect("an offset");
            let left = length - at;
            let last = left < 500_000;
            let now = if last { left } else { 1 + dice.index(400_000) };
            if last || dice.below(2) == 0 {
                let body = &all[at..at + now];
                let sent = server.patch(&path, at as u64, body).send().await;
                match sent.status {
                    204 if last => break,
                    204 => {}
                    // A body that was cut is still taken in.
                    status => assert!(matches!(status, 409 | 423), "{sent:?}"),
                }
            } else {
                let mut conn = server.connect().await;
                conn.begin_patch(&path, at as u64, left as u64).await;
                conn.send(&all[at..at + now]).await;
            }
            if dice.below(3) == 0 {
                server.kill();
                server = digesting(dir.path(), mode);
                kills += 1;
            }
        }
        if dice.below(2) == 0 {
            server.kill();
            server = digesting(dir.path(), mode);
        }
        assert_eq!(sum_of(&server, &path).await, Sum::of(&all).to_string());
        let read = was_read(&mut server, &path);
        figure(
            name,
            format_args!("{mode}: {kills} kills, read again: {read}"),
        );
    }
}

#[tokio::test]
async fn what_a_kill_left_to_be_read_is_read_after_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = digesting(dir.path(), "process");
    let mut expected = Vec::new();
    for n in 0..8 {
        let halves = [bytes(n, 1_500_000), bytes(n + 100, 1_500_000)];
        let parts = [server.part(&halves[0]).await, server.part(&halves[1]).await];
        let joined = server.join(&parts).await.location_path();
        expected.push((joined, Sum::of(&halves.concat())));
    }
    server.kill();
    let server = digesting(dir.path(), "process");
    for (path, sum) in &expected {
        assert_eq!(sum_of(&server, path).await, sum.to_string());
    }
    // What was to be worked out, and is wanted no more, is nobody's loss.
    let parts = [server.part(&bytes(1, 1_500_000)).await];
    assert_eq!(server.join(&parts).await.status, 201);
    server.kill();
    let server = Process::start(dir.path(), &[]);
    let listed = outbox(&server).await;
    assert_eq!(
        (&listed["waiting"], &listed["failed"]),
        (&0.into(), &0.into())
    );
}

#[tokio::test]
async fn after_a_power_cut_it_is_of_the_bytes_that_are_there() {
    let disk = Disk::ext4(256);
    let data = disk.path().join("data");
    let arguments = ["--digest", "sha256"];
    let server = start_on_boot(&disk, &data, "one", &arguments);
    let path = server.create(3_000_000).await;
    // A creation survives a power cut only if it has reached the disk.
    let mounted = std::fs::File::open(disk.path()).expect("the disk");
    rustix::fs::syncfs(&mounted).expect("synced");
    drop(mounted);
    let (before, after) = (bytes(1, 2_000_000), bytes(2, 3_000_000));
    assert_eq!(server.patch(&path, 0, &*before).send().await.status, 204);
    Cut::prepare(&disk).now(server);
    disk.power_on();
    let server = start_on_boot(&disk, &data, "two", &arguments);
    let at = usize::try_from(server.offset(&path).await).expect("an offset");
    assert!(at < 2_000_000, "nothing of it was synced: {at}");
    // Whoever lost its file may come with another one.
    assert_eq!(
        server
            .patch(&path, at as u64, &after[at..])
            .send()
            .await
            .status,
        204
    );
    let sum = sum_of(&server, &path).await;
    let stored = server.get(&path).await.body;
    same(&stored, &[&before[..at], &after[at..]].concat());
    assert_eq!(sum, Sum::of(&stored).to_string());
}
