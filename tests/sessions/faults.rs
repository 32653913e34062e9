//! A disk that fails at the bytes of a chunk: for a moment, of which the client hears nothing, and for longer.

use serde_json::json;

use crate::support::disk::Broken;
use crate::support::session::CHUNK;
use crate::support::{Process, Session, bytes, file_of, same};

async fn started(data: &[u8]) -> (Process, tempfile::TempDir, Session) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Process::start(dir.path(), &[]);
    let session = server.session_of(data).await;
    // From here on its file is there.
    assert_eq!(session.send(1, data).await.status, 201);
    (server, dir, session)
}

/// The session is complete, with these bytes, once its second chunk has come.
async fn is_whole(session: &Session, data: &[u8]) {
    assert_eq!(session.finalize().await.status, 200);
    same(&session.download().await.body, data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_once_is_done_again_and_not_told() {
    let data = bytes(31, 2 * CHUNK);
    let (mut server, dir, session) = started(&data).await;
    let broken = Broken::first_writes(server.pid(), &file_of(dir.path(), &session.id));
    let sending = {
        let (session, data) = (session.clone(), data.clone());
        tokio::spawn(async move { session.send(2, &data).await })
    };
    let line = server.wait_for_line("a write is tried again");
    assert!(line.contains("os error 5"), "{line}");
    drop(broken);
    let sent = sending.await.expect("no panic");
    assert_eq!(sent.status, 201, "{sent:?}");
    assert_eq!(sent.json()["uploaded"], 2);
    is_whole(&session, &data).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_for_good_is_told_and_leaves_what_was_verified() {
    let data = bytes(32, 2 * CHUNK);
    let (mut server, dir, session) = started(&data).await;
    let broken = Broken::writes(server.pid(), &file_of(dir.path(), &session.id));
    let refused = session.send(2, &data).await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (500, "storage"),
        "{refused:?}"
    );
    assert!(server.wait_for_line("os error 5").contains(&session.id));
    let status = session.status().await;
    assert_eq!(status["status"], "active");
    assert_eq!(status["uploaded_chunks"], json!([1]));
    assert_eq!(status["bytes_transferred"], CHUNK);
    let left = session.resume().await;
    assert_eq!(
        (&left["missing_chunks"], &left["partial"]),
        (&json!([2]), &json!([]))
    );
    // What was there before is not harmed, and read while nothing can be written.
    assert_eq!(session.send(1, &data).await.status, 200);
    drop(broken);
    assert_eq!(session.send(2, &data).await.status, 201);
    is_whole(&session, &data).await;
}
