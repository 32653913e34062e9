//! Expiration and termination: what goes, when, and what is left of it.

use std::time::Duration;

use crate::support::{bytes, start, start_with, until};

#[tokio::test]
async fn a_terminated_upload_is_gone_for_good() {
    let mut server = start().await;
    let path = server.create(10).await;
    assert_eq!(server.patch(&path, 0, "abc").send().await.status, 204);
    assert_eq!(server.delete(&path).await.status, 204);
    assert_eq!(server.stored_files(), [""; 0]);
    server.restart().await;
    for reply in [
        server.head(&path).await,
        server.get(&path).await,
        server.delete(&path).await,
    ] {
        assert_eq!(reply.status, 404);
    }
    let reply = server.patch(&path, 3, "def").send().await;
    assert_eq!((reply.status, reply.code.as_str()), (404, "not-found"));
    let never = server.delete("/files/never").await;
    let ended = server.delete(&path).await;
    assert_eq!(
        never.body, ended.body,
        "an upload that is gone answers like one that never was"
    );
}

#[tokio::test]
async fn unfinished_uploads_expire_and_activity_keeps_them() {
    let server = start_with(|config| config.expire_after = Duration::from_millis(1500)).await;
    let (idle, busy) = (server.create(1000).await, server.create(1000).await);
    let done = server.part(b"x").await;
    let kept = server.create(3).await;
    let reply = server.patch(&kept, 0, "abc").send().await;
    assert_eq!(
        (reply.status, reply.header("Upload-Expires")),
        (204, None),
        "a finished upload does not expire"
    );
    assert!(
        server
            .head(&idle)
            .await
            .header("Upload-Expires")
            .unwrap()
            .ends_with("GMT")
    );
    let mut offset = 0;
    until("the idle one expires", || {
        let request = server.patch(&busy, offset, "x");
        offset += 1;
        let (server, idle) = (&server, &idle);
        async move {
            let reply = request.send().await;
            assert_eq!(reply.status, 204, "activity keeps an upload: {reply:?}");
            assert!(reply.header("Upload-Expires").is_some());
            server.head(idle).await.status == 410
        }
    })
    .await;
    let reply = server.get(&idle).await;
    assert_eq!((reply.status, reply.code.as_str()), (410, "expired"));
    assert_eq!(server.patch(&idle, 0, "x").send().await.status, 410);
    until("its files and those of the part are gone", || async {
        let files = server.stored_files().join(" ");
        !files.contains(crate::support::id(&idle)) && !files.contains(crate::support::id(&done))
    })
    .await;
    assert_eq!(server.get(&kept).await.body, b"abc");
}

#[tokio::test]
async fn a_body_on_its_way_keeps_its_upload() {
    let server = start_with(|config| config.expire_after = Duration::from_millis(500)).await;
    let path = server.create(40).await;
    let other = server.create(1).await;
    let mut conn = server.connect().await;
    conn.begin_patch(&path, 0, 40).await;
    let mut sent = 0;
    until("another one is expired", || async {
        server.head(&other).await.status == 410
    })
    .await;
    for _ in 0..20 {
        conn.send(b"ab").await;
        sent += 2;
        until("the bytes are in", || async {
            server.offset(&path).await == sent
        })
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await; // longer in all than the upload's life
    }
    assert_eq!(conn.reply().await.status, 204);
}

#[tokio::test]
async fn a_waiting_final_keeps_its_parts() {
    let server = start_with(|config| config.expire_after = Duration::from_secs(2)).await;
    let early = server.part(b"early").await;
    let loose = server.part(b"loose").await;
    // Half of the part's life has to pass: the final is younger than it, and holds it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = server.partial(4).await;
    let whole = server
        .join(&[early.clone(), late.clone()])
        .await
        .location_path();
    until("a part nobody waits for expires", || async {
        server.head(&loose).await.status == 410
    })
    .await;
    assert_eq!(server.head(&early).await.status, 200);
    assert_eq!(server.patch(&late, 0, "late").send().await.status, 204);
    assert_eq!(server.get(&whole).await.body, b"earlylate");
}

#[tokio::test]
async fn finished_uploads_expire_where_that_is_asked_for() {
    let server = start_with(|config| config.expire_completed = Duration::from_millis(300)).await;
    let path = server.create(3).await;
    assert!(
        server
            .patch(&path, 0, "abc")
            .send()
            .await
            .header("Upload-Expires")
            .is_some()
    );
    until("it expires", || async {
        server.get(&path).await.status == 410
    })
    .await;
    server.nothing_is_left().await;
}

#[tokio::test]
async fn files_of_no_upload_are_swept_at_the_start() {
    let mut server = start().await;
    let path = server.create(5).await;
    assert_eq!(server.patch(&path, 0, bytes(1, 5)).send().await.status, 204);
    server.stop().await;
    let kept = server.stored_files();
    let stray = "00000000-0000-4000-8000-000000000000";
    for (tree, name) in [
        ("files", stray.to_owned()),
        ("info", format!("{stray}.json")),
        ("segments", format!("{stray}~0")),
    ] {
        let dir = server.data().join(tree).join("00");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name), b"stray").unwrap();
    }
    std::fs::write(
        server.data().join("files/00/notes.txt"),
        b"an operator's own",
    )
    .unwrap();
    server.restart().await;
    until("they are gone", || async {
        server.stored_files().len() == kept.len() + 1
    })
    .await;
    assert_eq!(server.get(&path).await.body, bytes(1, 5));
}
