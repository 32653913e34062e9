//! Invariant 4: one writer an upload, who gives way to a newer one that comes at its offset, or to anybody once it is silent;
//! DELETE always takes over. And what else ends a PATCH early: an idle body, an HTTP/2 reset, the end of the server.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use highwater::config::Durability;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::{
    Conn, Process, Reply, Server, bytes, file_of, len_of, same, start, start_with, stored_files,
    until,
};

/// "Within milliseconds", on a machine that does much else.
const AT_ONCE: Duration = Duration::from_millis(500);
/// The silence after which anybody may take over.
const SILENCE: Duration = Duration::from_secs(2);

/// The answer, and how long it took.
async fn timed(what: &str, answer: impl Future<Output = Reply>) -> (Reply, Duration) {
    let begun = Instant::now();
    let reply = answer.await;
    let took = begun.elapsed();
    println!("{what}: {} after {took:?}", reply.status);
    (reply, took)
}

fn says(reply: &Reply) -> (u16, &str, Option<u64>) {
    (
        reply.status,
        reply.code.as_str(),
        reply.number("Upload-Offset"),
    )
}

fn taken_over(reply: &Reply, offset: u64) {
    assert_eq!(says(reply), (423, "taken-over", Some(offset)));
    assert!(reply.number("Retry-After").is_some(), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_4_of_two_at_one_offset_exactly_one_succeeds() {
    const ROUNDS: u64 = 50;
    const LENGTH: usize = 1000;
    let server = start().await;
    let path = server.create(ROUNDS * LENGTH as u64).await;
    let mut expected = Vec::new();
    let mut losers = [0, 0];
    for round in 0..ROUNDS {
        let offset = expected.len() as u64;
        let bodies = [bytes(round + 1, LENGTH), bytes(round + 1000, LENGTH)];
        let mut conns = [server.connect().await, server.connect().await];
        let requests = [&bodies[0], &bodies[1]]
            .map(|body| server.patch(&path, offset, body.clone()).to_bytes());
        // Whole requests at once, or heads first: then one holds the upload when the other comes.
        let split = match round % 3 {
            0 => 0,
            1 => requests[0].len() - LENGTH,
            _ => requests[0].len() - 1,
        };
        for (conn, request) in conns.iter_mut().zip(&requests) {
            conn.send(&request[..split]).await;
        }
        let race = |mut conn: Conn, rest: Vec<u8>| async move {
            // One that is refused on its head may be closed before the rest is out.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut conn.stream, &rest).await;
            conn.reply().await
        };
        let [first, second] = conns;
        let (first, second) = tokio::join!(
            tokio::spawn(race(first, requests[0][split..].to_vec())),
            tokio::spawn(race(second, requests[1][split..].to_vec()))
        );
        let replies = [first.unwrap(), second.unwrap()];
        let winner = replies.iter().position(|reply| reply.status == 204);
        if split == requests[0].len() - 1 && winner.is_none() {
            // Each had sent all but one byte: what a holder has written when it is asked counts, so the newcomer may find
            // the upload past its own offset. Then nobody was told 204, and both can go on.
            let at = server.offset(&path).await;
            let shown = replies.iter().filter_map(|r| r.number("Upload-Offset"));
            assert!(shown.max() <= Some(at), "round {round}: {replies:?}");
            let done = usize::try_from(at - offset).unwrap();
            let writer = replies
                .iter()
                .position(|reply| reply.status == 423)
                .unwrap();
            let rest = server
                .patch(&path, at, &bodies[writer][done..])
                .send()
                .await;
            assert_eq!(rest.status, 204, "round {round}: {replies:?}");
            expected.extend_from_slice(&bodies[writer]);
            continue;
        }
        let winner = winner.unwrap_or_else(|| panic!("round {round}: nobody won: {replies:?}"));
        let loser = &replies[1 - winner];
        match loser.status {
            409 => losers[0] += 1,
            423 => losers[1] += 1,
            _ => panic!("round {round}: {replies:?}"),
        }
        expected.extend_from_slice(&bodies[winner]);
        assert_eq!(
            replies[winner].number("Upload-Offset"),
            Some(expected.len() as u64)
        );
    }
    println!("losers: {} times 409, {} times 423", losers[0], losers[1]);
    same(&server.get(&path).await.body, &expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_4_a_newcomer_at_the_live_offset_takes_over() {
    let server = start().await;
    let data = bytes(1, 10_000);
    let path = server.create(10_000).await;
    let mut offset = 1000;
    // One after the other: each takes over from the one before, and what that one had written counts.
    let mut holder = server.hang(&path, 0, 10_000, &data[..1000]).await;
    for sent in [2000, 5000, 5001] {
        let mut newcomer = server.connect().await;
        let begun = Instant::now();
        newcomer.begin_patch(&path, offset, 10_000 - offset).await;
        let from = usize::try_from(offset).unwrap();
        newcomer.send(&data[from..sent]).await;
        taken_over(&holder.reply().await, offset);
        let took = begun.elapsed();
        println!("taken over after {took:?}");
        assert!(took < AT_ONCE, "{took:?}");
        until("the newcomer's bytes are told", || async {
            server.offset(&path).await == sent as u64
        })
        .await;
        holder = newcomer;
        offset = sent as u64;
    }
    let last = server.patch(&path, offset, &data[5001..]).send();
    let (reply, took) = timed("the last", last).await;
    assert_eq!(says(&reply), (204, "", Some(10_000)));
    assert!(took < AT_ONCE, "{took:?}");
    taken_over(&holder.reply().await, 5001);
    same(&server.get(&path).await.body, &data);
}

/// A digest of nothing that is sent here.
const CHECKED: &str = "Content-Length: 9000\r\nUpload-Checksum: crc32c AAAAAA==";
const CHUNKED: &str = "Transfer-Encoding: chunked";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_4_a_newcomer_at_the_told_offset_takes_over_too() {
    let server = start().await;
    let data = bytes(2, 9000);
    // Under a checksum nothing of the holder counts: the newcomer at the told offset is at the right one.
    let path = server.create(9000).await;
    let mut holder = server
        .hang_untold(&server.data(), &path, CHECKED, &data[..1000])
        .await;
    let (reply, took) = timed("told", server.patch(&path, 0, &data[..100]).send()).await;
    assert_eq!(says(&reply), (204, "", Some(100)));
    assert!(took < AT_ONCE, "{took:?}");
    taken_over(&holder.reply().await, 0);
    // At its live offset it gives way as well, but that is not the upload's offset then.
    let mut holder = server
        .hang_untold(
            &server.data(),
            &path,
            CHECKED.replace("9000", "8900").as_str(),
            &data[..1000],
        )
        .await;
    let (reply, took) = timed("live", server.patch(&path, 1100, &data[1100..]).send()).await;
    assert_eq!(says(&reply), (409, "offset-mismatch", Some(100)));
    assert!(took < AT_ONCE, "{took:?}");
    taken_over(&holder.reply().await, 100);
    // Nor does a chunked body's, which HEAD did not tell, once its holder is silent: a client that believed HEAD may take a
    // 409 for the end.
    let mut holder = server
        .hang_untold(&server.data(), &path, CHUNKED, &data[100..1100])
        .await;
    let (reply, took) = timed("told", server.patch(&path, 100, &data[100..200]).send()).await;
    assert_eq!(says(&reply), (204, "", Some(200)));
    assert!(took < SILENCE + AT_ONCE, "{took:?}");
    taken_over(&holder.reply().await, 100);
    // To one at its live offset it counts: without a checksum what arrived is kept.
    let mut holder = server
        .hang_untold(&server.data(), &path, CHUNKED, &data[200..1100])
        .await;
    let (reply, took) = timed("live", server.patch(&path, 1100, "").send()).await;
    assert_eq!(says(&reply), (204, "", Some(1100)));
    assert!(took < AT_ONCE, "{took:?}");
    taken_over(&holder.reply().await, 1100);
    assert_eq!(
        server.patch(&path, 1100, &data[1100..]).send().await.status,
        204
    );
    same(&server.get(&path).await.body, &data);
}

/// A chunk of a chunked body.
fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_4_a_newcomer_at_the_told_offset_leaves_a_healthy_chunked_body_alone() {
    let server = start().await;
    let data = bytes(8, 4000);
    let path = server.create(4000).await;
    let mut holder = server
        .hang_untold(&server.data(), &path, CHUNKED, &data[..1000])
        .await;
    let client = *server;
    let (at, other) = (path.clone(), data.clone());
    let newcomer = tokio::spawn(async move { client.patch(&at, 0, &other[..9]).send().await });
    // The holder is not silent for as long as the newcomer tries.
    let mut sent = 1000;
    while !newcomer.is_finished() {
        holder.send(&chunk(&data[sent..=sent])).await;
        sent += 1;
        assert!(sent < 3000, "the newcomer is not refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(says(&newcomer.await.unwrap()).1, "locked");
    let rest = [chunk(&data[sent..]), b"0\r\n\r\n".to_vec()].concat();
    holder.send(&rest).await;
    assert_eq!(says(&holder.reply().await), (204, "", Some(4000)));
    same(&server.get(&path).await.body, &data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_4_a_newcomer_elsewhere_does_not_disturb_a_healthy_holder() {
    let server = start().await;
    let data = bytes(3, 7000);
    let path = server.create(7000).await;
    let mut holder = server.hang(&path, 0, 7000, &data[..1000]).await;
    let mut sent = 1000;
    for wrong in [0, 999, 1001, 7000, 7001, 1 << 62] {
        // The holder is not silent.
        holder.send(&data[sent..sent + 500]).await;
        sent += 500;
        until("the holder's bytes are told", || async {
            server.offset(&path).await == sent as u64
        })
        .await;
        let (reply, took) = timed("elsewhere", server.patch(&path, wrong, "x").send()).await;
        assert_eq!(says(&reply), (409, "offset-mismatch", Some(sent as u64)));
        assert!(took < AT_ONCE, "{took:?}");
    }
    holder.send(&data[sent..]).await;
    assert_eq!(says(&holder.reply().await), (204, "", Some(7000)));
    same(&server.get(&path).await.body, &data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_4_a_silent_holder_gives_way_at_any_offset() {
    let server = start().await;
    let data = bytes(4, 5000);
    let path = server.create(5000).await;
    let begun = Instant::now();
    let mut holder = server.hang(&path, 0, 5000, &data[..1000]).await;
    let mut silent = tokio::spawn(async move {
        let reply = holder.reply().await;
        (reply, Instant::now())
    });
    // Somewhere else: refused all the time, but once the holder has been silent it is ended.
    while !silent.is_finished() {
        let reply = server.patch(&path, 3000, "x").send().await;
        assert_eq!(says(&reply), (409, "offset-mismatch", Some(1000)));
        assert!(begun.elapsed() < SILENCE * 5, "it is never taken over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (reply, at) = (&mut silent).await.unwrap();
    println!("a silent holder gave way after {:?}", at - begun);
    assert!(at - begun >= SILENCE, "{:?}", at - begun);
    taken_over(&reply, 1000);
    let reply = server.patch(&path, 1000, &data[1000..]).send().await;
    assert_eq!(says(&reply), (204, "", Some(5000)));
    same(&server.get(&path).await.body, &data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_4_a_deletion_takes_over() {
    let mut server = start().await;
    let data = server.data();
    let mut gone = Vec::new();
    for headers in ["", CHECKED, CHUNKED] {
        let path = server.create(9000).await;
        let mut holder = if headers.is_empty() {
            server.hang(&path, 0, 9000, &[1; 1000]).await
        } else {
            server.hang_untold(&data, &path, headers, &[1; 1000]).await
        };
        let (reply, took) = timed("deletion", server.delete(&path)).await;
        assert_eq!(reply.status, 204, "{headers}");
        assert!(took < AT_ONCE, "{took:?}");
        let counted = if headers == CHECKED { 0 } else { 1000 };
        taken_over(&holder.reply().await, counted);
        gone.push(path);
    }
    for again in [false, true] {
        for path in &gone {
            assert_eq!(server.head(path).await.status, 404);
            assert_eq!(server.patch(path, 1000, "x").send().await.status, 404);
            assert_eq!(server.patch(path, 0, "x").send().await.status, 404);
        }
        assert_eq!(stored_files(&data), Vec::<String>::new(), "again: {again}");
        if !again {
            server.restart().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_4_what_races_with_a_deletion_leaves_nothing() {
    let server = start().await;
    for round in 0..50 {
        let path = server.create(9000).await;
        let late = async |head: u64| {
            // A different moment each time.
            for _ in 0..round * head {
                tokio::task::yield_now().await;
            }
            server.patch(&path, 0, vec![1; 9000]).send().await
        };
        let (one, two, deleted) = tokio::join!(late(0), late(3), server.delete(&path));
        assert_eq!(deleted.status, 204);
        for reply in [one, two] {
            assert!(
                matches!(reply.status, 204 | 404 | 409 | 423),
                "round {round}: {reply:?}"
            );
        }
        assert_eq!(server.head(&path).await.status, 404, "round {round}");
        let left = stored_files(&server.data());
        assert_eq!(left, Vec::<String>::new(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_idle_body_ends_and_a_slow_one_does_not() {
    let server = start_with(|config| config.network_timeout = Duration::from_millis(300)).await;
    let data = bytes(5, 3000);
    let path = server.create(3000).await;
    let mut holder = server.hang(&path, 0, 3000, &data[..1000]).await;
    let reply = holder.reply().await;
    assert_eq!(says(&reply), (503, "idle-body", Some(1000)));
    assert!(reply.number("Retry-After").is_some());
    let mut checked = server
        .hang_untold(
            &server.data(),
            &path,
            &CHECKED.replace("9000", "2000"),
            &data[1000..2000],
        )
        .await;
    assert_eq!(says(&checked.reply().await), (503, "idle-body", Some(1000)));
    assert_eq!(server.offset(&path).await, 1000);

    let slow = start_with(|config| config.network_timeout = Duration::from_secs(1)).await;
    let path = slow.create(3000).await;
    let mut conn = slow.connect().await;
    conn.begin_patch(&path, 0, 3000).await;
    for piece in data.chunks(300) {
        // Each silence is far below the limit, all of them together above it.
        tokio::time::sleep(Duration::from_millis(150)).await;
        conn.send(piece).await;
    }
    assert_eq!(says(&conn.reply().await), (204, "", Some(3000)));
    same(&slow.get(&path).await.body, &data);
}

/// A body that is sent as it is told; an error resets its stream.
type Feed = mpsc::UnboundedSender<io::Result<Bytes>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_http2_reset_keeps_what_arrived() {
    // Where an offset is synced before it is told, the commit is still on its way when the request is gone.
    for durability in [Durability::Complete, Durability::Every] {
        let server = start_with(|config| config.durability = durability).await;
        reset_over_and_over(&server).await;
    }
}

async fn reset_over_and_over(server: &Server) {
    let socket = TcpStream::connect(server.addr).await.expect("a connection");
    let io = TokioIo::new(socket);
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut client, connection) = shaken.await.expect("HTTP/2");
    tokio::spawn(connection);
    let data = bytes(6, 60_000);
    let path = server.create(60_000).await;
    let file = file_of(&server.data(), &path);
    let mut at = 0;
    // Again and again over one connection: a stream's end is not the connection's.
    for _ in 0..5 {
        let (feed, frames): (Feed, _) = mpsc::unbounded_channel();
        let frames = stream::unfold(frames, |mut frames| async move {
            let frame = frames.recv().await?;
            Some((frame.map(Frame::data), frames))
        });
        let request = http::Request::patch(format!("http://{}{path}", server.addr))
            .header("Tus-Resumable", "1.0.0")
            .header("Upload-Offset", at)
            .header("Content-Type", "application/offset+octet-stream")
            .header("Content-Length", 60_000 - at)
            .body(StreamBody::new(frames.boxed()))
            .expect("a request");
        let answer = tokio::spawn(client.send_request(request));
        feed.send(Ok(Bytes::copy_from_slice(&data[at..at + 10_000])))
            .expect("it is read");
        at += 10_000;
        until("the bytes are on the disk", || async {
            len_of(&file) == at as u64
        })
        .await;
        feed.send(Err(io::Error::other("the user leaves")))
            .expect("it is read");
        assert!(answer.await.expect("no panic").is_err());
        // Once the lock is free the offset is in the record, and stays.
        let (reply, took) =
            timed("after the reset", server.patch(&path, at as u64, "").send()).await;
        assert_eq!(says(&reply), (204, "", Some(at as u64)));
        assert!(took < AT_ONCE, "{took:?}");
    }
    let rest = server.patch(&path, at as u64, &data[at..]).send().await;
    assert_eq!(rest.status, 204);
    same(&server.get(&path).await.body, &data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_end_of_the_server_seals_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut server = Process::start(&data_dir, &[]);
    let data = bytes(7, 9000);
    let (plain, checked) = (server.create(9000).await, server.create(9000).await);
    let mut holder = server.hang(&plain, 0, 9000, &data[..1000]).await;
    let mut digested = server
        .hang_untold(&data_dir, &checked, CHECKED, &data[..1000])
        .await;
    // A request that is on its way when the end comes: HEAD must not fail.
    let mut half = server.connect().await;
    half.send(format!("HEAD {plain} HTTP/1.1\r\nHost: t\r\n").as_bytes())
        .await;
    assert_eq!(server.offset(&plain).await, 1000); // the one before it is accepted by now
    server.ask_to_stop();
    for (conn, offset) in [(&mut holder, 1000), (&mut digested, 0)] {
        let reply = conn.reply().await;
        assert_eq!(says(&reply), (503, "shutting-down", Some(offset)));
        assert!(reply.number("Retry-After").is_some(), "{reply:?}");
    }
    half.send(b"Tus-Resumable: 1.0.0\r\n\r\n").await;
    let reply = half.reply_to("HEAD").await;
    assert_eq!(
        (reply.status, reply.number("Upload-Offset")),
        (200, Some(1000)),
        "invariant 5: HEAD does not fail for a passing reason"
    );
    assert!(server.ended_well());
    let server = Process::start(&data_dir, &[]);
    assert_eq!(server.offset(&plain).await, 1000);
    assert_eq!(server.offset(&checked).await, 0);
    for (path, from) in [(&plain, 1000), (&checked, 0)] {
        let rest = server.patch(path, from as u64, &data[from..]).send().await;
        assert_eq!(rest.status, 204);
        same(&server.get(path).await.body, &data);
    }
}
