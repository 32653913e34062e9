//! `--sniff`: what first bytes are against what is declared, at every door.

use highwater::config::SniffMode;
use highwater::protocol::checksum::Algorithm;
use highwater::protocol::sha256::Sum;
use serde_json::json;

use crate::support::session::CHUNK;
use crate::support::{Client, Reply, Server, bytes, checksum, start, start_with, until};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
const IMAGE: &[(&str, &str)] = &[("filetype", "image/png"), ("filename", "a.png")];

/// A program, and so many bytes of it.
fn exe(len: usize) -> Vec<u8> {
    let mut exe = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0".to_vec();
    exe.extend(bytes(7, len - exe.len()));
    exe
}

fn png(len: usize) -> Vec<u8> {
    let mut png = PNG.to_vec();
    png.extend(bytes(8, len - png.len()));
    png
}

async fn sniffing() -> Server {
    start_with(|config| config.content.sniff = SniffMode::On).await
}

async fn create(client: &Client, length: u64, kind: &str, said: &[(&str, &str)]) -> String {
    let mut post = client
        .tus("POST", "/files/")
        .header("Upload-Length", length);
    if !kind.is_empty() {
        post = post.header("Upload-Concat", kind);
    }
    let reply = post.described(said).send().await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.location_path()
}

#[track_caller]
fn is_refused(reply: &Reply) {
    assert_eq!(reply.status, 415, "{reply:?}");
    assert!(
        reply.code == "type-mismatch" || reply.body.is_empty(),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_mismatch_is_refused_at_once_and_nothing_is_kept() {
    let mut server = sniffing().await;
    let path = create(&server, 100 << 20, "", IMAGE).await;
    let mut conn = server.connect().await;
    conn.begin_patch(&path, 0, 100 << 20).await;
    conn.send(&exe(8 << 10)).await;
    // The other 99.99 MiB never come.
    is_refused(&conn.reply().await);
    is_refused(&server.head(&path).await);
    is_refused(&server.patch(&path, 0, png(5000)).send().await);
    is_refused(&server.get(&path).await);
    server.nothing_is_left().await;
    server.restart().await;
    is_refused(&server.head(&path).await);
    assert_eq!(server.delete(&path).await.status, 204);
    assert_eq!(server.head(&path).await.status, 404);
}

#[tokio::test]
async fn what_is_honest_goes_through() {
    let server = sniffing().await;
    for (said, body) in [
        (IMAGE, png(10_000)),
        (IMAGE, PNG.to_vec()),
        (&[("filename", "setup.exe")], exe(6000)),
        (&[], exe(6000)),
        (
            &[("filename", "a.txt"), ("filetype", "text/plain")],
            b"MZ BM".to_vec(),
        ),
        (&[("filename", "a.xyz")], bytes(3, 5000)),
    ] {
        let path = create(&server, body.len() as u64, "", said).await;
        assert_eq!(
            server.patch(&path, 0, body.clone()).send().await.status,
            204
        );
        assert_eq!(server.get(&path).await.body, body);
    }
    let empty = create(&server, 0, "", IMAGE).await;
    assert_eq!(server.get(&empty).await.status, 200);
}

#[tokio::test]
async fn bytes_that_come_one_by_one_are_judged_together() {
    let server = sniffing().await;
    let body = exe(5000);
    let path = create(&server, 5000, "", IMAGE).await;
    for at in [0, 1] {
        let patch = server.patch(&path, at, &body[usize::try_from(at).expect("small")..][..1]);
        assert_eq!(patch.send().await.status, 204);
    }
    is_refused(&server.patch(&path, 2, &body[2..]).send().await);
    server.nothing_is_left().await;
    // What more bytes could make another format of waits for them: a small one is judged with its last byte.
    let archive = [b"PK\x03\x04\x14\0\0\0", &bytes(9, 52)[..]].concat();
    let path = create(&server, 60, "", IMAGE).await;
    let most = server.patch(&path, 0, &archive[..59]).send().await;
    assert_eq!(most.status, 204);
    is_refused(&server.patch(&path, 59, &archive[59..]).send().await);
    server.nothing_is_left().await;
    // What they cannot change does not.
    let path = create(&server, 60, "", IMAGE).await;
    is_refused(&server.patch(&path, 0, &body[..16]).send().await);
    server.nothing_is_left().await;
}

#[tokio::test]
async fn a_length_declared_late_is_no_way_around() {
    let server = sniffing().await;
    let post = server
        .tus("POST", "/files/")
        .header("Upload-Defer-Length", 1);
    let path = post.described(IMAGE).send().await.location_path();
    let archive = [b"PK\x03\x04\x14\0\0\0", &bytes(9, 92)[..]].concat();
    assert_eq!(server.patch(&path, 0, archive).send().await.status, 204);
    let declare = server.patch(&path, 100, "").header("Upload-Length", 100);
    is_refused(&declare.send().await);
    is_refused(&server.head(&path).await);
    server.nothing_is_left().await;
}

#[tokio::test]
async fn a_creation_with_bytes_leaves_nothing_behind() {
    let server = sniffing().await;
    let post = |body: Vec<u8>| {
        let post = server.tus("POST", "/files/").described(IMAGE);
        post.header("Upload-Length", body.len())
            .header("Content-Type", "application/offset+octet-stream")
            .body(body)
            .send()
    };
    let refused = post(exe(9000)).await;
    is_refused(&refused);
    assert_eq!(refused.header("Location"), None);
    server.nothing_is_left().await;
    assert_eq!(post(png(9000)).await.status, 201);
}

#[tokio::test]
async fn the_first_part_of_a_final_is_judged_when_it_is_joined() {
    let server = sniffing().await;
    // By itself a part is only bytes.
    let (first, second) = (exe(6000), png(6000));
    let first = server.part(&first).await;
    let second = server.part(&second).await;
    let join = |parts: String| {
        let post = server.tus("POST", "/files/").described(IMAGE);
        post.header("Upload-Concat", format!("final;{parts}"))
            .send()
    };
    let before = server.stored_files();
    is_refused(&join(format!("{first} {second}")).await);
    assert_eq!(server.stored_files(), before, "no final was made");
    let good = join(format!("{second} {first}")).await;
    assert_eq!(good.status, 201);
    assert_eq!(server.get(&good.location_path()).await.body.len(), 12_000);
    // One that waits has failed, and the part that completed it is a part still.
    let late = server.partial(6000).await;
    let waits = join(format!("{late} {second}")).await.location_path();
    assert_eq!(server.head(&waits).await.status, 200);
    assert_eq!(server.patch(&late, 0, exe(6000)).send().await.status, 204);
    is_refused(&server.head(&waits).await);
    assert_eq!(server.offset(&late).await, 6000);
}

#[tokio::test]
async fn a_session_is_judged_by_its_first_chunk() {
    let server = sniffing().await;
    let ask = json!({"filename": "a.png", "size": 2 * CHUNK, "chunk_size": CHUNK,
        "metadata": {"filetype": "image/png"}});
    let (bad, good) = (exe(CHUNK), png(CHUNK));
    let session = server.session(&ask).await;
    // Anywhere else they are bytes like others.
    assert_eq!(session.chunk(2, &bad).send().await.status, 201);
    assert_eq!(session.chunk(1, &good).send().await.status, 201);
    assert_eq!(session.finalize().await.status, 200);

    for by_patch in [false, true] {
        let session = server.session(&ask).await;
        assert_eq!(session.chunk(2, &good).send().await.status, 201);
        let refused = if by_patch {
            assert_eq!(session.patch(1, 0, &bad[..1]).send().await.status, 204);
            session.patch(1, 1, &bad[1..]).send().await
        } else {
            session.chunk(1, &bad).send().await
        };
        is_refused(&refused);
        is_refused(&session.chunk(1, &good).send().await);
        is_refused(&session.finalize().await);
        let status = session.status().await;
        assert_eq!(status["status"], "failed");
        assert_eq!(status["bytes_transferred"], 0);
        let id = &session.id;
        let left = || server.stored_files().iter().any(|file| file.contains(id));
        until("its files are gone", || async { !left() }).await;
        assert_eq!(session.cancel().await.status, 204);
    }
}

/// What is not what its client sent, or is not to be stored, tells nothing of the upload.
#[tokio::test]
async fn bytes_that_fail_their_checksum_or_repeat_a_chunk_end_nothing() {
    let server = sniffing().await;
    let (bad, good) = (exe(CHUNK), png(CHUNK));
    let sum = checksum(Algorithm::Sha1, &good);
    let path = create(&server, CHUNK as u64, "", IMAGE).await;
    let checked = |body: &[u8]| {
        let patch = server.patch(&path, 0, body);
        patch.header("Upload-Checksum", &sum).send()
    };
    assert_eq!(checked(&bad).await.status, 460);
    assert_eq!(checked(&good).await.status, 204);

    let ask = json!({"filename": "a.png", "size": 2 * CHUNK, "chunk_size": CHUNK,
        "metadata": {"filetype": "image/png"}});
    let session = server.session(&ask).await;
    let chunk = |body: &[u8]| {
        let sum = Sum::of(&good);
        session.bare_chunk(1, body).header("X-Chunk-SHA256", sum)
    };
    assert_eq!(chunk(&bad).send().await.status, 460);
    assert_eq!(chunk(&good).send().await.status, 201);
    assert_eq!(session.chunk(1, &bad).send().await.status, 409);
    assert_eq!(session.chunk(2, &bad).send().await.status, 201);
    assert_eq!(session.finalize().await.status, 200);
}

#[tokio::test]
async fn lists_and_strictness_are_the_operators() {
    let server = start_with(|config| {
        config.content.sniff = SniffMode::Strict;
        config.content.sniff_allow = "image/*".parse().expect("a list");
    })
    .await;
    let send = async |body: Vec<u8>, said: &[(&str, &str)]| {
        let path = create(&server, body.len() as u64, "", said).await;
        server.patch(&path, 0, body).send().await
    };
    assert_eq!(send(png(5000), &[]).await.status, 204);
    is_refused(&send(exe(5000), &[]).await);
    is_refused(&send(bytes(3, 5000), IMAGE).await);
    is_refused(&send(b"only text".to_vec(), IMAGE).await);
    // An invented type tells nothing.
    for body in [&b"only text"[..], b"PK\x03\x04\x14\0\0\0\0\0"] {
        is_refused(&send(body.to_vec(), &[("filetype", "image/x-foo")]).await);
    }
}

#[tokio::test]
async fn nobody_looks_unless_it_is_asked_for() {
    let server = start().await;
    let path = create(&server, 5000, "", IMAGE).await;
    assert_eq!(server.patch(&path, 0, exe(5000)).send().await.status, 204);
    assert_eq!(server.get(&path).await.body, exe(5000));
}
