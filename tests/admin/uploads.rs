//! Lists of uploads, one upload, cancelling, cleaning up, and what lies on the disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use highwater::state::sled::SledState;
use highwater::state::{Change, Promise, StateStore};
use highwater::upload::{Kind, Record, UploadId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{json, post, told};
use crate::support::process::{command, released};
use crate::support::session::CHUNK;
use crate::support::{
    Client, Process, bytes, figure, id, percentile, rounds, start, start_with, stored_files, until,
};

fn ids(page: &Value) -> Vec<String> {
    let uploads = page["uploads"].as_array().expect("a list");
    let id = |upload: &Value| upload["id"].as_str().expect("an id").to_owned();
    uploads.iter().map(id).collect()
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let server = start().await;
    let mut open = Vec::new();
    for n in 0..7 {
        let path = server.create(1000).await;
        let sent = server.patch(&path, 0, vec![1; 10 * n]).send().await;
        assert_eq!(sent.status, 204);
        open.push(id(&path).to_owned());
    }
    let part = server.part(b"whole").await;
    let waiting = server.partial(5).await;
    let gone = server.create(1).await;
    assert_eq!(server.delete(&gone).await.status, 204);
    let list = async |query: &str| told(&server, &format!("/admin/uploads/active?{query}")).await;

    let all = list("").await;
    assert_eq!((all["matching"].as_u64(), ids(&all).len()), (Some(8), 8));
    assert_eq!(all["next_cursor"], Value::Null);
    let first = &list("sort=offset&limit=1").await["uploads"][0];
    assert_eq!(first["id"], open[6]);
    assert_eq!(
        (&first["offset"], &first["length"]),
        (&60.into(), &1000.into())
    );
    assert_eq!(
        (&first["status"], &first["kind"]),
        (&"active".into(), &"plain".into())
    );
    assert_eq!(
        (&first["user_id"], &first["receiving"]),
        (&Value::Null, &false.into())
    );
    assert_eq!(ids(&list("kind=partial").await), [id(&waiting)]);
    assert_eq!(
        ids(&list("kind=partial&status=completed").await),
        [id(&part)]
    );
    assert_eq!(ids(&list("status=cancelled,expired").await), [id(&gone)]);
    assert_eq!(list("status=all").await["matching"], 10);
    assert_eq!(list("user=null").await["matching"], 8);
    assert_eq!(list("user=somebody").await["matching"], 0);
    assert_eq!(list("min_age=3600").await["matching"], 0);
    assert_eq!(list("max_age=3600").await["matching"], 8);
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("sort=offset&order=asc&kind=plain&limit=3{cursor}")).await;
        paged.extend(ids(&page));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, open);
    for bad in [
        "cursor=%F0%9F",
        "cursor=garbage",
        "limit=0",
        "limit=1000000",
        "limit=1e3",
        "sort=size",
        "x=1",
    ] {
        let refused = server.get(&format!("/admin/uploads/active?{bad}")).await;
        assert_eq!(
            (refused.status, &refused.code[..]),
            (400, "bad-query"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn lists_name_files_and_count_the_chunks_of_sessions() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Process::start(dir.path(), &[]);
    let created = server.tus("POST", "/files/").header("Upload-Length", 10);
    let created = created.header("Upload-Metadata", "a,filename dGFsayDDqS5tcDQ=");
    let path = created.send().await.location_path();
    let long = "n".repeat(300);
    let ask =
        json!({"filename": long, "size": 2 * CHUNK + 1, "chunk_size": CHUNK, "verify": false});
    let session = server.session(&ask).await;
    assert_eq!(session.bare_chunk(3, b"x").send().await.status, 201);
    let chunk = session.bare_chunk(2, &bytes(2, CHUNK)).send().await;
    assert_eq!(chunk.status, 201);
    let parts = [server.part(b"ab").await, server.part(b"c").await];
    let joined = server.join(&parts).await.location_path();
    // Also when the server has been started again, and nobody has asked for any of them.
    for round in ["at once", "after a crash"] {
        let page = told(&server, "/admin/uploads/active?status=all&order=asc").await;
        let uploads = page["uploads"].as_array().expect("a list");
        let shown = |id: &str| {
            let found = uploads.iter().find(|upload| upload["id"] == *id);
            let found = found.unwrap_or_else(|| panic!("{id} {round}: {page}"));
            ["filename", "session", "offset", "receiving"].map(|name| found[name].clone())
        };
        assert_eq!(
            json!(shown(id(&path))),
            json!(["talk é.mp4", false, 0, false]),
            "{round}"
        );
        assert_eq!(
            json!(shown(&session.id)),
            json!(["n".repeat(255), true, CHUNK + 1, false]),
            "{round}"
        );
        assert_eq!(
            json!(shown(id(&joined))),
            json!([null, false, 3, false]),
            "{round}"
        );
        let alone = told(&server, &format!("/admin/uploads/{}", session.id)).await;
        assert_eq!(alone["offset"], json!(CHUNK + 1), "{round}");
        server.kill();
        server = Process::start(dir.path(), &[]);
    }
}

#[tokio::test]
async fn one_upload_is_shown_whatever_became_of_it() {
    let server = start().await;
    let created = server.tus("POST", "/files/").header("Upload-Length", 100);
    let created = created
        .header("Upload-Metadata", "filename aGk=")
        .send()
        .await;
    let path = created.location_path();
    let show = format!("/admin/uploads/{}", id(&path));
    let conn = server.hang(&path, 0, 100, &bytes(1, 40)).await;
    let shown = told(&server, &show).await;
    assert_eq!(
        (&shown["offset"], &shown["receiving"]),
        (&40.into(), &true.into())
    );
    assert_eq!(shown["metadata"], "filename aGk=");
    assert!(shown["silent_seconds"].as_f64().is_some(), "{shown}");
    assert!(shown["allocated_bytes"].as_u64() > Some(0), "{shown}");
    assert!(
        shown["path"]
            .as_str()
            .is_some_and(|path| std::fs::metadata(path).is_ok())
    );
    let file = shown["path"].as_str().expect("a path").to_owned();
    // It is cancelled under its client's hands.
    let cancelled = post(&server, &format!("{show}/cancel")).await;
    assert_eq!(
        (cancelled.status, &json(&cancelled)["status"]),
        (200, &"cancelled".into())
    );
    drop(conn);
    assert_eq!(server.head(&path).await.status, 404);
    assert!(std::fs::metadata(file).is_err(), "its bytes are gone");
    let shown = told(&server, &show).await;
    assert_eq!(
        (&shown["status"], &shown["allocated_bytes"]),
        (&"cancelled".into(), &0.into())
    );
    assert_eq!(
        post(&server, &format!("{show}/cancel")).await.code,
        "not-found"
    );
    let part = server.part(b"x").await;
    let parts = [part.clone(), part];
    let joined = server.join(&parts).await.location_path();
    let shown = told(&server, &format!("/admin/uploads/{}", id(&joined))).await;
    assert_eq!(
        shown["parts"],
        serde_json::json!([id(&parts[0]), id(&parts[1])])
    );
    // What is complete is not cancelled, and stays.
    let refused = post(&server, &format!("/admin/uploads/{}/cancel", id(&joined))).await;
    assert_eq!(
        (refused.status, &refused.code[..]),
        (409, "already-complete")
    );
    assert_eq!(server.get(&joined).await.body, b"xx");
    for unknown in [
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "a/b/c",
        "%2e%2e",
        "a b",
        &"x".repeat(5000),
    ] {
        let path = format!("/admin/uploads/{}", unknown.replace(' ', "%20"));
        assert_eq!(server.get(&path).await.code, "not-found", "{unknown}");
        assert_eq!(
            post(&server, &format!("{path}/cancel")).await.code,
            "not-found",
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn storage_tells_what_lies_there_and_cleanup_what_it_freed() {
    // Long enough that no sweep of the server's own comes before the one that is asked for.
    let server = start_with(|config| config.expire_after = Duration::from_secs(2)).await;
    let whole = server.create(1 << 20).await;
    assert_eq!(
        server
            .patch(&whole, 0, bytes(1, 1 << 20))
            .send()
            .await
            .status,
        204
    );
    let left = server.create(1 << 20).await;
    assert_eq!(
        server
            .patch(&left, 0, bytes(2, 600_000))
            .send()
            .await
            .status,
        204
    );
    let storage = told(&server, "/admin/uploads/storage").await;
    let active = &storage["by_status"]["active"];
    assert_eq!(
        (&active["uploads"], &active["bytes"]),
        (&1.into(), &600_000.into())
    );
    assert!(
        active["allocated_bytes"].as_u64() >= Some(600_000),
        "{storage}"
    );
    let completed = &storage["by_status"]["completed"];
    assert_eq!(
        (&completed["uploads"], &completed["bytes"]),
        (&1.into(), &(1 << 20).into())
    );
    let held = completed["allocated_bytes"].as_u64().expect("bytes");
    assert!((1 << 20..(1 << 20) + 65536).contains(&held), "{storage}");
    assert_eq!(storage["files"], 4);
    assert_eq!(storage["expiring_within_an_hour"]["uploads"], 1);
    assert_eq!(storage["by_user"][0]["uploads"], 2);
    assert!(storage["disk"]["free_bytes"].as_u64() > Some(0));
    // A file that nobody knows, and an upload whose time is over: whoever sweeps, both go and are counted.
    let orphan = server.data().join("files/zz/zz-nobodys");
    std::fs::create_dir_all(orphan.parent().expect("a directory")).expect("made");
    std::fs::write(&orphan, bytes(3, 100_000)).expect("written");
    until("its time is over", || async {
        server.head(&left).await.status == 410
    })
    .await;
    let swept = json(&post(&server, "/admin/cleanup").await);
    assert_eq!(swept["orphans_removed"], 1, "{swept}");
    assert!(swept["freed_bytes"].as_u64() >= Some(100_000), "{swept}");
    let now = super::metrics::scrape(&server).await;
    assert!(
        now.of("highwater_swept_bytes_total") >= 700_000.0,
        "with the server's own sweep"
    );
    assert_eq!(stored_files(&server.data()).len(), 2, "the whole one's");
    let storage = told(&server, "/admin/uploads/storage").await;
    assert_eq!(storage["by_status"]["active"]["uploads"], 0);
    assert_eq!(storage["by_status"]["expired"]["uploads"], 1);
    assert_eq!(storage["reclaimable"]["allocated_bytes"], 0, "{storage}");
}

/// Chunks are no uploads: they are listed, stored and cancelled as their session.
#[tokio::test]
async fn a_session_stands_for_its_chunks() {
    let mut server = start().await;
    let small = server.create(1000).await;
    assert_eq!(
        server.patch(&small, 0, bytes(1, 500)).send().await.status,
        204
    );
    let data = bytes(2, 3 * CHUNK);
    let session = server.session_of(&data).await;
    for n in [1, 3] {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    let large = server.create(1 << 20).await;
    let sent = server.patch(&large, 0, bytes(3, 3 * CHUNK)).send().await;
    assert_eq!(sent.status, 204);
    for round in ["at once", "after a restart"] {
        let mut cursor = String::new();
        for (upload, offset) in [
            (id(&large), 3 * CHUNK),
            (&session.id, 2 * CHUNK),
            (id(&small), 500),
        ] {
            let path = format!("/admin/uploads/active?status=all&sort=offset&limit=1{cursor}");
            let page = told(&server, &path).await;
            let told = &page["uploads"][0];
            assert_eq!(page["matching"], 3, "{round}");
            assert_eq!(
                (&told["id"], &told["offset"]),
                (&json!(upload), &json!(offset)),
                "{round}"
            );
            cursor = format!(
                "&cursor={}",
                page["next_cursor"].as_str().unwrap_or_default()
            );
        }
        let storage = told(&server, "/admin/uploads/storage").await;
        let active = &storage["by_status"]["active"];
        assert_eq!(
            (&active["uploads"], &active["bytes"]),
            (&json!(3), &json!(5 * CHUNK + 500)),
            "{round}"
        );
        assert_eq!(storage["by_status"]["completed"]["uploads"], 0);
        server.restart().await;
    }
    let whole = told(&server, &format!("/admin/uploads/{}", session.id)).await;
    let chunk = format!("/admin/uploads/{}/3", session.id);
    let shown = told(&server, &chunk).await;
    assert_eq!(shown["path"], whole["path"]);
    assert_eq!(
        (&shown["path_start"], &shown["path_length"]),
        (&json!(2 * CHUNK), &json!(CHUNK))
    );
    assert_eq!(whole["path_start"], Value::Null);
    let refused = post(&server, &format!("{chunk}/cancel")).await;
    assert_eq!(
        (refused.status, &refused.code[..]),
        (409, "chunk-of-session")
    );
    let cancelled = post(&server, &format!("/admin/uploads/{}/cancel", session.id)).await;
    assert_eq!(cancelled.status, 200);
}

/// Records as creations leave them, without going over HTTP for each.
async fn fill(state: &Path, many: usize) {
    let state = SledState::open(state).expect("a database").state;
    let now = UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    let now = u64::try_from(now).expect("milliseconds");
    for _ in 0..many / 1000 {
        let new = |n| {
            let record = Record::new(Kind::Plain, Some(1 << 20), now - n % 7);
            Change::record(&UploadId::random(), None, Some(record))
        };
        let changes = (0..1000u64).map(new).collect();
        let stored = state.commit(changes, Promise::Flushed).await;
        stored.expect("stored");
    }
    state.close().await.expect("closed");
}

/// Sends a byte after the other to an upload, until it is told to end; how long each took.
async fn send_bytes(client: Client, path: String, end: CancellationToken) -> Vec<Duration> {
    let mut took = Vec::new();
    for offset in 0.. {
        if end.is_cancelled() && offset > 10 {
            break;
        }
        let asked = Instant::now();
        let sent = client.patch(&path, offset, "x").send().await;
        took.push(asked.elapsed());
        assert_eq!(sent.status, 204);
    }
    took
}

/// Pages of very many uploads come soon and miss none, and an upload beside them is not held up.
#[tokio::test]
async fn a_page_of_very_many_uploads() {
    let many = rounds(10_000, 100_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    fill(&dir.path().join("state"), many).await;
    let binary = released().unwrap_or_else(|| env!("CARGO_BIN_EXE_highwater").into());
    let started = Instant::now();
    let server = Process::spawn(command(binary, dir.path())).expect("it listens");
    let started = started.elapsed();
    let (path, end) = (server.create(1 << 30).await, CancellationToken::new());
    let beside = tokio::spawn(send_bytes(*server, path, end.clone()));
    let (mut seen, mut cursor, mut longest) = (BTreeSet::new(), String::new(), Duration::ZERO);
    for _ in 0..10 {
        let asked = Instant::now();
        let page = told(
            &server,
            &format!("/admin/uploads/active?limit=1000{cursor}"),
        )
        .await;
        longest = longest.max(asked.elapsed());
        assert_eq!(page["matching"], many as u64 + 1);
        seen.extend(ids(&page));
        cursor = format!(
            "&cursor={}",
            page["next_cursor"].as_str().unwrap_or_default()
        );
    }
    end.cancel();
    let mut took = beside.await.expect("the upload goes on");
    assert_eq!(seen.len(), 10_000, "ten pages without a repeat");
    let (half, most) = (percentile(&mut took, 50), percentile(&mut took, 99));
    let asked = Instant::now();
    let storage = told(&server, "/admin/uploads/storage").await;
    assert_eq!(storage["by_status"]["active"]["uploads"], many as u64 + 1);
    figure(
        "a_page_of_very_many_uploads",
        format!(
            "{many} uploads: started in {started:?}; the slowest of 10 pages {longest:?}; {} PATCHes beside them \
             p50 {half:?}, p99 {most:?}; storage {:?}; {} MiB",
            took.len(),
            asked.elapsed(),
            server.memory() >> 20
        ),
    );
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}
