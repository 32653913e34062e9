//! The invariants of the design, by number, where the tests of a concern do not hold them already: most of 1, 3 and 7 are in
//! `crash` and `checksum`, 4 is in `locks`. 8 (progress) and 10 (identity) come with what they speak of.

mod memory;
mod names;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater::config::Durability;
use highwater::engine::{Append, Create};
use highwater::protocol::checksum::Algorithm;
use highwater::upload::Kind;
use http_body_util::Full;
use tokio::io::AsyncWriteExt;

use crate::support::{
    Client, Server, bytes, checksum, file_of, len_of, same, slow, start, start_with, until,
};

/// Asks HEAD without a pause; answers every offset that it was told.
async fn poll(client: Client, path: String, file: PathBuf, end: Arc<AtomicBool>) -> Vec<u64> {
    let mut told = vec![0];
    let mut conn = client.connect().await;
    let head = client.tus("HEAD", &path).to_bytes();
    while !end.load(Ordering::Relaxed) {
        conn.send(&head).await;
        let reply = conn.reply_to("HEAD").await;
        // Asked afterwards: the file only grows past what counts.
        let stored = len_of(&file);
        let offset = reply.number("Upload-Offset").expect("an offset");
        let last = told[told.len() - 1];
        assert!(offset >= last, "fell from {last} to {offset}");
        assert!(offset <= stored, "told {offset}, stored {stored}");
        told.push(offset);
    }
    told
}

/// Uploads `data` in every manner there is, one after the other.
async fn upload_in_every_manner(server: &Server, path: &str, data: &[u8]) {
    let end = data.len();
    let mut at = 0;
    for round in 0.. {
        let left = end - at;
        if left == 0 {
            return;
        }
        let size = (150_000 + round * 10_007).min(left);
        let piece = &data[at..at + size];
        let request = server.patch(path, at as u64, piece);
        let sum = checksum(Algorithm::Sha1, piece);
        let reply = match round % 7 {
            0 => request.send().await,
            1 => request.chunked().send().await,
            2 => request.header("Upload-Checksum", sum).send().await,
            3 => {
                let wrong = request.header("Upload-Checksum", checksum(Algorithm::Sha1, b"?"));
                assert_eq!(wrong.send().await.status, 460);
                continue;
            }
            4 => request.trailer("Upload-Checksum", sum).send().await,
            5 => {
                let wrong = request.trailer("Upload-Checksum", checksum(Algorithm::Sha1, b"?"));
                assert_eq!(wrong.send().await.status, 460);
                continue;
            }
            _ => {
                // Frame by frame, and cut in the middle.
                let mut conn = server.connect().await;
                conn.begin_patch(path, at as u64, left as u64).await;
                for frame in piece[..size / 2].chunks(10_000) {
                    conn.send(frame).await;
                    tokio::task::yield_now().await;
                }
                conn.stream.shutdown().await.expect("half closed");
                let reply = conn.reply().await;
                assert_eq!((reply.status, reply.code.as_str()), (400, "body-cut"));
                let offset = reply.number("Upload-Offset").expect("an offset");
                at = usize::try_from(offset).expect("small");
                continue;
            }
        };
        assert_eq!(reply.status, 204, "{reply:?}");
        at += size;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_2_the_offset_never_falls_and_never_exceeds_what_is_stored() {
    for durability in [Durability::Process, Durability::Complete, Durability::Every] {
        let server = start_with(|config| config.durability = durability).await;
        let data = bytes(1, 6_000_000);
        let path = server.create(6_000_000).await;
        let file = file_of(&server.data(), &path);
        let end = Arc::new(AtomicBool::new(false));
        let polls =
            [(); 2].map(|()| tokio::spawn(poll(*server, path.clone(), file.clone(), end.clone())));
        upload_in_every_manner(&server, &path, &data).await;
        end.store(true, Ordering::Relaxed);
        for poll in polls {
            let told = poll.await.expect("the poll");
            let distinct: BTreeSet<_> = told.iter().collect();
            println!(
                "{durability:?}: {} answers, {} offsets",
                told.len(),
                distinct.len()
            );
            assert!(distinct.len() > 5, "it was seen on its way: {distinct:?}");
        }
        same(&server.get(&path).await.body, &data);
    }
}

fn append(claimed: u64, body: &Bytes) -> (Append, Full<Bytes>) {
    let append = Append {
        claimed,
        declared: None,
        body_length: Some(body.len() as u64),
        checksum: None,
        trailer_announced: false,
        by: None,
        pace: None,
    };
    (append, Full::new(body.clone()))
}

fn plain(length: u64) -> Create {
    Create {
        kind: Kind::Plain,
        length: Some(length),
        metadata: None,
        concat: None,
        by: None,
        id: None,
        path: None,
    }
}

/// How long an answer that waits for nobody may take, on a machine that does much else.
const AT_ONCE: Duration = Duration::from_millis(500);

async fn at_once<T>(what: &str, answer: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(AT_ONCE, answer).await;
    answer.unwrap_or_else(|_| panic!("{what} did not answer at once"))
}

/// Invariants 2 and 5, with a disk that stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_5_a_slow_disk_holds_up_no_reader_and_what_it_has_not_written_is_not_told() {
    let (engine, steps) = slow::engine().await;
    let created = engine.create(plain(2000)).await.expect("created");
    let body = Bytes::from(vec![7; 1000]);
    let appending = {
        let (engine, id, (append, body)) = (engine.clone(), created.id.clone(), append(0, &body));
        tokio::spawn(async move { engine.append(&id, append, body).await })
    };
    let look = || async {
        let look = at_once("HEAD", engine.look(&created.id)).await;
        look.expect("there").offset
    };
    until("the frame is on its way to the disk", || async {
        steps.writes.load(Ordering::SeqCst) == 1
    })
    .await;
    for _ in 0..50 {
        assert_eq!(look().await, 0);
    }
    assert!(!appending.is_finished());
    steps.may_write.add_permits(1);
    assert_eq!(appending.await.unwrap().expect("appended").offset, 1000);
    assert_eq!(look().await, 1000);
}

/// Invariant 4, where the moment matters: the holder is asked to give way while its last byte is being written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_4_a_holder_whose_body_is_whole_finishes_though_it_was_asked() {
    let (engine, steps) = slow::engine().await;
    let created = engine.create(plain(2000)).await.expect("created");
    let body = Bytes::from(vec![7; 1000]);
    let spawn = || {
        let (engine, id, (append, body)) = (engine.clone(), created.id.clone(), append(0, &body));
        tokio::spawn(async move { engine.append(&id, append, body).await })
    };
    let holder = spawn();
    until("the holder's frame is on its way", || async {
        steps.writes.load(Ordering::SeqCst) == 1
    })
    .await;
    let newcomer = spawn();
    until("the newcomer asks", || async {
        steps.asked.load(Ordering::SeqCst) == 1
    })
    .await;
    assert!(!holder.is_finished() && !newcomer.is_finished());
    steps.may_write.add_permits(2);
    let answers = [holder.await.unwrap(), newcomer.await.unwrap()];
    let successes = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(successes, 1, "{answers:?}");
    assert_eq!(engine.look(&created.id).await.expect("there").offset, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_3_a_cut_patch_keeps_what_arrived() {
    let server = start().await;
    let data = bytes(3, 400_000);
    let path = server.create(400_000).await;
    let mut at: usize = 0;
    // Nothing, a byte, and more than fits into a buffer; gone by a close, and by a reset.
    for (n, reset) in [
        (0, false),
        (1, false),
        (100_000, false),
        (1, true),
        (100_000, true),
    ] {
        let mut conn = server
            .hang(&path, at as u64, (400_000 - at) as u64, &data[at..at + n])
            .await;
        at += n;
        if reset {
            rustix::net::sockopt::set_socket_linger(&conn.stream, Some(Duration::ZERO)).unwrap();
        } else {
            conn.stream.shutdown().await.unwrap();
        }
        drop(conn);
        until("the cut is over", || async {
            server.patch(&path, at as u64, "").send().await.status == 204
        })
        .await;
        assert_eq!(server.offset(&path).await, at as u64);
    }
    // A body whose framing breaks: what came before the break counts.
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {at}\r\n\
         Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n"
    );
    let broken = [head.as_bytes(), &data[at..at + 1000], b"\r\nzz\r\n"].concat();
    let reply = server.raw(&broken).await;
    assert_eq!((reply.status, reply.code.as_str()), (400, "body-cut"));
    assert_eq!(reply.number("Upload-Offset"), Some(at as u64 + 1000));
    at += 1000;
    assert_eq!(
        server
            .patch(&path, at as u64, &data[at..])
            .send()
            .await
            .status,
        204
    );
    same(&server.get(&path).await.body, &data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_5_readers_wait_for_nobody() {
    let server = start().await;
    let data = bytes(5, 200_000);
    let finished = server.part(&data).await;
    let joined = server
        .join(&[finished.clone(), finished.clone()])
        .await
        .location_path();
    let mut hung = Vec::new();
    let mut paths = Vec::new();
    for _ in 0..40 {
        let path = server.create(1000).await;
        hung.push(server.hang(&path, 0, 1000, &[1; 10]).await);
        paths.push(path);
    }
    // Somebody even holds the finished one: an empty body whose end does not come. It is polled under the lock.
    let mut holder = server.connect().await;
    let head = format!(
        "PATCH {finished} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 200000\r\nExpect: 100-continue\r\n\
         Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    holder.send(head.as_bytes()).await;
    assert_eq!(holder.reply().await.status, 100);
    let doubled = [&data[..], &data[..]].concat();
    for round in 0..20 {
        let path = &paths[round * 2];
        let head = at_once("HEAD of a hung upload", server.head(path)).await;
        assert_eq!((head.status, head.number("Upload-Offset")), (200, Some(10)));
        let refused = at_once("GET of a hung upload", server.get(path)).await;
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (409, "not-finished")
        );
        let one = at_once("GET of a finished one", server.get(&finished)).await;
        same(&one.body, &data);
        same(
            &at_once("GET of a final", server.get(&joined)).await.body,
            &doubled,
        );
    }
    // None of that disturbed anybody.
    holder.send(b"0\r\n\r\n").await;
    assert_eq!(holder.reply().await.status, 204);
    for (mut conn, path) in hung.into_iter().zip(&paths) {
        conn.send(&[2; 990]).await;
        assert_eq!(conn.reply().await.status, 204, "{path}");
    }
}

/// A slow download holds nothing up, not even the removal of what it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_5_a_download_holds_nobody_up() {
    let server = start().await;
    let data = bytes(6, 24 << 20);
    let path = server.create(24 << 20).await;
    assert_eq!(server.patch(&path, 0, &data[..]).send().await.status, 204);
    let mut reading = server.connect().await;
    reading.send(&server.request("GET", &path).to_bytes()).await;
    let mut first = [0; 10];
    tokio::io::AsyncReadExt::read_exact(&mut reading.stream, &mut first)
        .await
        .unwrap();
    at_once("HEAD", server.head(&path)).await;
    assert_eq!(at_once("DELETE", server.delete(&path)).await.status, 204);
    assert_eq!(server.head(&path).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_7_a_final_is_whole_from_its_first_moment_and_through_its_assembly() {
    let server = start().await;
    let (a, b) = (bytes(71, 9 << 20), bytes(72, 12 << 20));
    let parts = [server.part(&a).await, server.part(&b).await];
    let whole = [a, b].concat();
    let path = server.join(&parts).await.location_path();
    let file = file_of(&server.data(), &path);
    let begun = Instant::now();
    let mut reads = 0;
    let mut after = 3;
    while after > 0 {
        if file.exists() {
            after -= 1;
        }
        assert_eq!(server.offset(&path).await, whole.len() as u64);
        let reply = server.get(&path).await;
        assert_eq!(reply.status, 200);
        same(&reply.body, &whole);
        reads += 1;
        assert!(begun.elapsed() < Duration::from_secs(20), "never assembled");
    }
    println!("{reads} downloads through the assembly");
    // Parts that are refused leave nothing: no final at all.
    let before = crate::support::stored_files(&server.data());
    let refused = server
        .join(&[parts[0].clone(), "/files/unknown".into()])
        .await;
    assert_eq!((refused.status, refused.code.as_str()), (400, "bad-part"));
    assert_eq!(crate::support::stored_files(&server.data()), before);
}
