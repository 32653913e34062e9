//! How a session ends: complete is in the file above; here failed, cancelled and expired, and what is left then.

use std::time::Duration;

use highwater::protocol::sha256::Sum;
use serde_json::json;

use crate::support::disk::Disk;
use crate::support::session::CHUNK;
use crate::support::{Process, bytes, same, start, start_with, until};

#[tokio::test]
async fn a_wrong_file_fails_the_session_and_its_chunks_stay_for_diagnosis() {
    let mut server = start().await;
    let data = bytes(1, 2 * CHUNK);
    let mut session = server
        .session(&json!({
            "filename": "f", "size": data.len(), "chunk_size": CHUNK, "file_hash": Sum::of(b"other").to_string(),
        }))
        .await;
    for n in [2, 1] {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    for round in 0..3 {
        let refused = session.finalize().await;
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (422, "file-hash-mismatch"),
            "{round}"
        );
        let status = session.status().await;
        assert_eq!(status["status"], "failed");
        assert_eq!(status["uploaded_chunks"], json!([1, 2]));
        assert!(status["expires_at"].is_string());
        let path = format!("/files/{}/2", session.id);
        let kept = session.owned(server.request("GET", &path)).send().await;
        same(&kept.body, session.part(2, &data));
        assert_eq!(session.download().await.status, 422);
        if round == 1 {
            server.restart().await;
            session.client.addr = server.addr;
        }
    }
    let more = session.send(1, &data).await;
    assert_eq!(
        (more.status, more.code.as_str()),
        (422, "file-hash-mismatch")
    );
    assert_eq!(session.cancel().await.status, 204);
    assert_eq!(server.stored_files(), [""; 0]);
}

#[tokio::test]
async fn a_cancelled_session_leaves_nothing_but_its_tombstone() {
    let mut server = start().await;
    let data = bytes(2, 3 * CHUNK);
    let mut session = server.session_of(&data).await;
    assert_eq!(session.send(1, &data).await.status, 201);
    let part = session.part(2, &data);
    assert_eq!(session.patch(2, 0, &part[..1000]).send().await.status, 204);
    let third = session.part(3, &data);
    let mut on_its_way = session.begin(3, third, 1000).await;
    until("it is on its way", || async {
        session.status().await["bytes_transferred"] == CHUNK + 2000
    })
    .await;
    assert_eq!(session.cancel().await.status, 204);
    assert_eq!(on_its_way.reply().await.code, "not-found");
    assert_eq!(server.stored_files(), [""; 0]);
    for _ in 0..2 {
        let status = session.status().await;
        assert_eq!(
            (&status["status"], &status["bytes_transferred"]),
            (&json!("cancelled"), &json!(0))
        );
        let chunk = session.send(1, &data).await;
        let again = session.cancel().await;
        let replies = [
            chunk,
            again,
            session.finalize().await,
            session.download().await,
        ];
        for reply in replies {
            assert_eq!((reply.status, reply.code.as_str()), (404, "not-found"));
        }
        for below in ["", "/1", "/2"] {
            assert_eq!(session.tus("HEAD", below).send().await.status, 404);
        }
        server.restart().await;
        session.client.addr = server.addr;
    }
    assert_eq!(server.stored_files(), [""; 0]);
    // By the tus door it is the same.
    let other = server.session_of(&data).await;
    assert_eq!(other.tus("DELETE", "").send().await.status, 204);
    assert_eq!(other.status().await["status"], "cancelled");
}

#[tokio::test]
async fn an_expired_session_leaves_nothing_and_one_that_is_used_lives() {
    let server = start_with(|config| config.expire_after = Duration::from_millis(1500)).await;
    let data = bytes(3, 3 * CHUNK);
    let session = server.session_of(&data).await;
    assert_eq!(session.send(1, &data).await.status, 201);
    let busy = server.session_of(&data).await;
    let part = busy.part(1, &data);
    let mut conn = busy.begin(1, part, 1).await;
    let mut sent = 1;
    while session.status().await["status"] != "expired" || !server.data_is_only(&busy.id) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        conn.send(&part[sent..=sent]).await;
        sent += 1;
        assert!(sent < 1000, "it does not expire");
    }
    let late = session.send(2, &data).await;
    assert_eq!((late.status, late.code.as_str()), (410, "expired"));
    assert_eq!(session.finalize().await.status, 410);
    conn.send(&part[sent..]).await;
    assert_eq!(conn.reply().await.status, 201, "bytes keep a session");
    // It lives on from there, and so do its chunks.
    assert_eq!(busy.status().await["status"], "active");
    for n in [2, 3] {
        assert_eq!(busy.send(n, &data).await.status, 201);
    }
    assert_eq!(busy.finalize().await.status, 200);
}

#[tokio::test]
async fn a_session_lives_by_patches_alone() {
    let server = start_with(|config| config.expire_after = Duration::from_millis(1500)).await;
    let data = bytes(6, CHUNK);
    let idle = server.session_of(&data).await;
    let used = server.session_of(&data).await;
    let mut sent = 0;
    while idle.status().await["status"] != "expired" || !server.data_is_only(&used.id) {
        let patched = used.patch(1, sent, &data[sent..=sent]).send().await;
        assert_eq!(patched.status, 204, "{patched:?}");
        sent += 1;
        assert!(sent < 1000, "the idle one does not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(used.status().await["status"], "active");
    assert_eq!(used.patch(1, sent, &data[sent..]).send().await.status, 204);
    assert_eq!(used.finalize().await.status, 200);
}

/// One PATCH that lasts longer than a session does.
#[tokio::test]
async fn a_long_patch_keeps_its_session() {
    let server = start_with(|config| config.expire_after = Duration::from_millis(1500)).await;
    let data = bytes(8, 2 * CHUNK);
    let idle = server.session_of(&data).await;
    let busy = server.session_of(&data).await;
    let part = busy.part(1, &data);
    let request = busy.patch(1, 0, part).to_bytes();
    let mut conn = busy.client.connect().await;
    conn.send(&request[..request.len() - part.len()]).await;
    let mut sent = 0;
    while idle.status().await["status"] != "expired" || !server.data_is_only(&busy.id) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        conn.send(&part[sent..=sent]).await;
        sent += 1;
        assert!(sent < 1000, "it does not expire");
    }
    assert_eq!(busy.status().await["status"], "active");
    conn.send(&part[sent..]).await;
    assert_eq!(conn.reply().await.status, 204, "bytes keep a session");
    assert_eq!(busy.send(2, &data).await.status, 201);
    assert_eq!(busy.finalize().await.status, 200);
}

impl crate::support::Server {
    /// Whether every stored file is of this upload.
    fn data_is_only(&self, id: &str) -> bool {
        self.stored_files().iter().all(|file| file.contains(id))
    }
}

/// The disk is full for a moment, and the client hears nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_passes_is_not_told() {
    let disk = Disk::ext4(48);
    let data = disk.path().join("data");
    let server = Process::start(&data, &[]);
    let body = bytes(4, 8 << 20);
    let ask = json!({"filename": "f", "size": body.len(), "chunk_size": 4 << 20});
    let session = server.session(&ask).await;
    let filler = disk.fill_but(1 << 20);
    let sending = {
        let (session, body) = (session.clone(), body.clone());
        tokio::spawn(async move { session.send(1, &body).await })
    };
    until("the disk is full", || async { disk.free() < 64 << 10 }).await;
    drop(filler);
    let taken = sending.await.unwrap();
    assert_eq!(taken.status, 201, "{taken:?}");

    // And one that does not pass is told, and leaves the session as it was.
    let filler = disk.fill_but(1 << 20);
    let refused = session.send(2, &body).await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (507, "out-of-space"),
        "{refused:?}"
    );
    assert_eq!(session.resume().await["missing_chunks"], json!([2]));
    assert_eq!(session.resume().await["partial"], json!([]));
    drop(filler);
    assert_eq!(session.send(2, &body).await.status, 201);
    assert_eq!(session.finalize().await.status, 200);
    same(&session.download().await.body, &body);
}
