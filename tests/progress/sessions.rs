//! What those who follow a session are told of its chunks.

use std::time::Duration;

use highwater::protocol::sha256::Sum;
use serde_json::{Value, json};

use super::watcher::{Watcher, names};
use crate::support::session::{CHUNK, Session};
use crate::support::{bytes, start, start_with, until};

/// Follows a session with its token, and reads its snapshot.
async fn follow(session: &Session) -> (Watcher, Value) {
    let query = format!("?upload={}&token={}", session.id, session.token);
    let mut watcher = Watcher::open(&session.client, &query).await;
    let snapshot = watcher.next().await;
    assert_eq!(snapshot["event"], "snapshot", "{snapshot}");
    (watcher, snapshot)
}

/// Chunks there are, chunks that are missing, bytes that are there.
fn figures(message: &Value) -> [u64; 3] {
    ["total_chunks", "chunks_remaining", "bytes_transferred"]
        .map(|field| message[field].as_u64().expect("a number"))
}

/// Sent by POST or PATCH, refused or stored: each chunk is told with its number, and once.
#[tokio::test]
async fn each_chunk_is_told_by_its_number_until_the_session_is_complete() {
    let server = start().await;
    let whole = bytes(71, 2 * CHUNK + 10);
    let size = whole.len() as u64;
    let ask = json!({
        "filename": "f", "size": size, "chunk_size": CHUNK, "file_hash": Sum::of(&whole).to_string(),
    });
    let session = server.session(&ask).await;
    let (mut watcher, snapshot) = follow(&session).await;
    assert_eq!(figures(&snapshot), [3, 3, 0]);
    assert_eq!(snapshot["paused"], false);

    assert_eq!(session.send(2, &whole).await.status, 201);
    let told = watcher.until("chunk_uploaded").await;
    let last = told.last().expect("one");
    assert_eq!(names(&told), ["chunk_uploaded"]);
    assert_eq!(last["chunk"], 2);
    assert_eq!(last["range"], json!([CHUNK, 2 * CHUNK - 1]));
    assert_eq!(figures(last), [3, 2, CHUNK as u64]);

    // What is refused is taken back, before that is told.
    let wrong = session.bare_chunk(1, session.part(1, &whole));
    let wrong = wrong.header("X-Chunk-SHA256", Sum::of(b"another"));
    assert_eq!(wrong.send().await.status, 460);
    let told = watcher.until("chunk_failed").await;
    let last = told.last().expect("one");
    assert_eq!(names(&told), ["chunk_failed"]);
    assert_eq!(
        (&last["chunk"], &last["code"]),
        (&json!(1), &json!("checksum-mismatch"))
    );
    assert_eq!(figures(last), [3, 2, CHUNK as u64]);

    // A chunk that comes in pieces is one event; one that is there already is none.
    let first = session.part(1, &whole);
    let half = CHUNK / 2;
    assert_eq!(session.patch(1, 0, &first[..half]).send().await.status, 204);
    assert_eq!(
        session.patch(1, half, &first[half..]).send().await.status,
        204
    );
    assert_eq!(session.send(1, &whole).await.status, 200);
    assert_eq!(session.send(3, &whole).await.status, 201);
    assert_eq!(session.finalize().await.status, 200);
    let told = watcher.until("upload_completed").await;
    assert_eq!(
        names(&told),
        [
            "chunk_uploaded",
            "chunk_uploaded",
            "assembly_started",
            "validation_complete",
            "upload_completed"
        ]
    );
    for looked_at in &told[2..4] {
        assert_eq!(looked_at["status"], "assembling", "{looked_at}");
    }
    assert_eq!(
        [&told[0]["chunk"], &told[1]["chunk"]],
        [&json!(1), &json!(3)]
    );
    assert_eq!(told[0]["range"], json!([0, CHUNK - 1]));
    let last = told.last().expect("the last");
    assert_eq!(figures(last), [3, 0, size]);
    let (_, snapshot) = follow(&session).await;
    assert_eq!(figures(&snapshot), [3, 0, size]);
    assert_eq!(snapshot["status"], "completed");
}

/// Whether bytes come is a question to all of a session's chunks.
#[tokio::test]
async fn a_session_whose_chunks_come_is_not_paused_and_one_whose_chunk_was_cut_is() {
    let server = start_with(|config| config.pause_after = Duration::from_millis(300)).await;
    let whole = bytes(72, 2 * CHUNK);
    let session = server.session_of(&whole).await;
    assert_eq!(session.send(1, &whole).await.status, 201);
    let mut conn = session.begin(2, session.part(2, &whole), 100).await;
    let some = CHUNK as u64 + 100;
    until("some of it came", || async {
        session.status().await["bytes_transferred"] == some
    })
    .await;
    let (mut watcher, snapshot) = follow(&session).await;
    assert_eq!(figures(&snapshot), [2, 1, some]);
    assert_eq!(snapshot["paused"], false, "{snapshot}");
    // What was there of a chunk is taken back.
    assert_eq!(session.tus("DELETE", "/1").send().await.status, 204);
    let told = watcher.until("chunk_failed").await;
    let last = told.last().expect("one");
    assert_eq!(
        (&last["chunk"], &last["code"]),
        (&json!(1), &json!("chunk-removed"))
    );
    assert_eq!(figures(last), [2, 2, 100]);
    assert_eq!(session.send(1, &whole).await.status, 201);
    // It hangs, and goes on, and is cut.
    watcher.until("upload_paused").await;
    conn.send(&session.part(2, &whole)[100..200]).await;
    watcher.until("upload_resumed").await;
    drop(conn);
    let told = watcher.until("chunk_failed").await;
    let last = told.last().expect("one");
    assert_eq!(
        (&last["chunk"], &last["code"]),
        (&json!(2), &json!("body-cut"))
    );
    assert_eq!(figures(last), [2, 1, CHUNK as u64]);
    until("it is paused", || async {
        follow(&session).await.1["paused"] == true
    })
    .await;
    assert_eq!(session.cancel().await.status, 204);
    let told = watcher.until("upload_cancelled").await;
    assert_eq!(figures(told.last().expect("one")), [2, 2, 0]);
}
