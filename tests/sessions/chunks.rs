//! One chunk: its bounds, its repeats, its own URL, and those that wait.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use highwater::protocol::sha256::Sum;
use serde_json::json;

use crate::support::session::CHUNK;
use crate::support::{Session, bytes, file_of, rounds, same, start, start_with, until};

#[tokio::test]
async fn a_chunk_has_its_size_and_its_number() {
    let server = start().await;
    let data = bytes(1, CHUNK + 100);
    let session = server.session_of(&data).await;
    let (short, long) = (bytes(2, 99), bytes(2, 101));
    for (body, status, code) in [
        (&short, 400, "chunk-too-short"),
        (&long, 413, "chunk-too-long"),
    ] {
        let declared = session.chunk(2, body).send().await;
        let chunked = session.chunk(2, body).chunked().send().await;
        for reply in [declared, chunked] {
            assert_eq!((reply.status, reply.code.as_str()), (status, code));
        }
    }
    for n in [
        "0",
        "3",
        "18446744073709551616",
        "01",
        "+1",
        "-1",
        "x",
        "1x",
        "%31",
    ] {
        let reply = session.chunk(n, &data[..CHUNK]).send().await;
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (404, "no-such-chunk"),
            "{n}"
        );
    }
    // Nor at the tus door.
    for n in ["/0", "/3", "/01", "/4294967297"] {
        assert_eq!(session.tus("HEAD", n).send().await.status, 404, "{n}");
    }
    assert_eq!(session.resume().await["missing_chunks"], json!([1, 2]));
    assert_eq!(session.status().await["bytes_transferred"], 0);
    assert_eq!(
        session
            .chunk(2, session.part(2, &data))
            .chunked()
            .send()
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn a_repeat_is_hashed_and_never_written() {
    let server = start().await;
    let data = bytes(3, 2 * CHUNK);
    let session = server.session_of(&data).await;
    assert_eq!(session.send(1, &data).await.status, 201);
    let file = file_of(&server.data(), &session.id);
    let written = || std::fs::metadata(&file).unwrap().modified().unwrap();
    let before = written();
    let again = session.send(1, &data).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.json()["uploaded"], 1);
    let other = bytes(4, CHUNK);
    let differs = session.chunk(1, &other).send().await;
    assert_eq!(
        (differs.status, differs.code.as_str()),
        (409, "chunk-differs")
    );
    let wrong = session.bare_chunk(1, &other);
    let wrong = wrong.header("X-Chunk-SHA256", Sum::of(session.part(1, &data)));
    assert_eq!(wrong.send().await.status, 460);
    assert_eq!(written(), before);
    same(&std::fs::read(&file).unwrap(), &data[..CHUNK]);
    // Two at once: one is the first, the other its repeat.
    let (one, two) = tokio::join!(session.send(2, &data), session.send(2, &data));
    let mut both = [one.status, two.status];
    both.sort_unstable();
    assert_eq!(both, [200, 201]);
    assert_eq!(session.finalize().await.status, 200);
    same(&session.download().await.body, &data);
}

/// A client that did not hear the last answers sends chunks and the finalize again, while the first of them is in hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_meets_the_end_in_any_order() {
    let server = start().await;
    let data = bytes(9, 2 * CHUNK);
    for _ in 0..rounds(40, 1000) {
        let session = server.session_of(&data).await;
        for n in [1, 2] {
            assert_eq!(session.send(n, &data).await.status, 201);
        }
        let ends = futures_util::future::join_all((0..3).map(|_| session.finalize()));
        let repeats = futures_util::future::join_all([1, 2, 1, 2].map(|n| session.send(n, &data)));
        let (ends, repeats) = tokio::join!(ends, repeats);
        for reply in ends.iter().chain(&repeats) {
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        assert_eq!(session.cancel().await.status, 204);
    }
}

#[tokio::test]
async fn a_cut_chunk_keeps_nothing_and_one_sent_by_patch_goes_on() {
    let server = start().await;
    let data = bytes(5, 3 * CHUNK);
    let session = server.session_of(&data).await;
    let part = session.part(2, &data);
    let conn = session.begin(2, part, 20_000).await;
    until("they arrive", || async {
        session.status().await["bytes_transferred"] == 20_000
    })
    .await;
    drop(conn);
    until("they are gone", || async {
        session.status().await["bytes_transferred"] == 0
    })
    .await;
    assert_eq!(session.resume().await["partial"], json!([]));

    // At its own URL it is an upload like any other.
    let head = session.tus("HEAD", "/2").send().await;
    let told = ["Upload-Offset", "Upload-Length"].map(|name| head.number(name));
    assert_eq!((head.status, told), (200, [Some(0), Some(CHUNK as u64)]));
    assert!(head.header("Upload-Expires").is_some());
    let request = session.patch(2, 0, part).to_bytes();
    let mut conn = session.client.connect().await;
    conn.send(&request[..request.len() - part.len() + 30_000])
        .await;
    until("they are told", || async {
        session.status().await["bytes_transferred"] == 30_000
    })
    .await;
    drop(conn);
    until("they are kept", || async {
        session
            .tus("HEAD", "/2")
            .send()
            .await
            .number("Upload-Offset")
            == Some(30_000)
    })
    .await;
    let resume = session.resume().await;
    let url = format!("/files/{}/2", session.id);
    assert_eq!(
        resume["partial"],
        json!([{"chunk": 2, "offset": 30_000, "url": url}])
    );
    assert_eq!(resume["missing_chunks"], json!([1, 2, 3]));
    assert_eq!(session.status().await["bytes_transferred"], 30_000);
    let wrong = session.patch(2, 10, &part[10..]).send().await;
    assert_eq!(
        (wrong.status, wrong.number("Upload-Offset")),
        (409, Some(30_000))
    );
    let rest = session.patch(2, 30_000, &part[30_000..]).send().await;
    assert_eq!(rest.status, 204, "{rest:?}");
    assert_eq!(session.status().await["uploaded_chunks"], json!([2]));
    // Its content is known, though nobody named its hash.
    assert_eq!(session.send(2, &data).await.status, 200);
    assert_eq!(session.chunk(2, &bytes(6, CHUNK)).send().await.status, 409);
    let path = format!("/files/{}/2", session.id);
    let got = session.owned(server.request("GET", &path)).send().await;
    same(&got.body, part);
}

#[tokio::test]
async fn what_a_patch_was_told_is_compared_by_a_post_and_not_overwritten() {
    let server = start().await;
    let data = bytes(7, 2 * CHUNK);
    let session = server.session_of(&data).await;
    let part = session.part(1, &data);
    assert_eq!(
        session.patch(1, 0, &part[..10_000]).send().await.status,
        204
    );
    assert_eq!(session.send(1, &data).await.status, 201);
    let part = session.part(2, &data);
    assert_eq!(
        session.patch(2, 0, &bytes(8, 10_000)).send().await.status,
        204
    );
    let differs = session.send(2, &data).await;
    assert_eq!(
        (differs.status, differs.code.as_str()),
        (409, "chunk-differs")
    );
    let head = session.tus("HEAD", "/2").send().await;
    assert_eq!(head.number("Upload-Offset"), Some(10_000));
    // The way out: the chunk's own URL is deleted, and the chunk is missing again.
    assert_eq!(session.tus("DELETE", "/2").send().await.status, 204);
    assert_eq!(session.resume().await["partial"], json!([]));
    assert_eq!(session.chunk(2, part).send().await.status, 201);
    assert_eq!(session.finalize().await.status, 200);
    same(&session.download().await.body, &data);
}

#[tokio::test]
async fn a_chunk_sent_anew_is_hashed_anew() {
    let server = start().await;
    let data = bytes(9, 3 * CHUNK);
    let session = server
        .session(&json!({
            "filename": "f", "size": data.len(), "chunk_size": CHUNK, "file_hash": Sum::of(&data).to_string(),
        }))
        .await;
    let wrong = bytes(10, CHUNK);
    assert_eq!(session.chunk(1, &wrong).send().await.status, 201);
    assert_eq!(session.send(2, &data).await.status, 201);
    assert_eq!(session.tus("DELETE", "/1").send().await.status, 204);
    assert_eq!(session.resume().await["missing_chunks"], json!([1, 3]));
    for n in [1, 3] {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    assert_eq!(session.finalize().await.status, 200);
}

#[tokio::test]
async fn the_whole_hash_is_that_of_the_chunks_that_are_there() {
    let server = start().await;
    let (before, after) = (bytes(5, CHUNK), bytes(6, CHUNK));
    let second = bytes(7, CHUNK);
    for (first, status) in [(&before, 422), (&after, 200)] {
        let named = Sum::of(&[first.as_slice(), &second].concat()).to_string();
        let ask =
            json!({"filename": "f", "size": 2 * CHUNK, "chunk_size": CHUNK, "file_hash": named});
        let session = server.session(&ask).await;
        assert_eq!(session.chunk(1, &before).send().await.status, 201);
        let mut on_its_way = session.begin(2, &second, 1000).await;
        until("it is on its way", || async {
            session.status().await["bytes_transferred"] == CHUNK + 1000
        })
        .await;
        // What it was hashed after goes, and others come in its place.
        assert_eq!(session.tus("DELETE", "/1").send().await.status, 204);
        assert_eq!(session.chunk(1, &after).send().await.status, 201);
        on_its_way.send(&second[1000..]).await;
        assert_eq!(on_its_way.reply().await.status, 201);
        assert_eq!(session.finalize().await.status, status);
    }
}

/// Sends a byte now and then, so that nobody is silent.
async fn trickle(conns: &mut [crate::support::Conn], parts: &[&[u8]], from: usize) {
    for (conn, part) in conns.iter_mut().zip(parts) {
        conn.send(&part[from..=from]).await;
    }
}

#[tokio::test]
async fn surplus_chunks_wait_unread_with_their_idle_timer_standing_still() {
    let server = start_with(|c| c.network_timeout = Duration::from_millis(800)).await;
    let data = bytes(11, 30 * CHUNK);
    let session = server.session_of(&data).await;
    let parts: Vec<&[u8]> = data.chunks(CHUNK).collect();
    let mut running = session.begin_four(&data, 1).await;
    let mut fifth = session.begin(5, parts[4], 1000).await;
    for at in 1..12 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        trickle(&mut running, &parts, at).await;
        let there = session.status().await["bytes_transferred"]
            .as_u64()
            .expect("bytes");
        assert!(there <= 4 * 12, "nothing of the fifth is read: {there}");
    }
    for (conn, part) in running.iter_mut().zip(&parts) {
        conn.send(&part[12..]).await;
        assert_eq!(conn.reply().await.status, 201);
    }
    fifth.send(&parts[4][1000..]).await;
    assert_eq!(
        fifth.reply().await.status,
        201,
        "it waited, and was not silent"
    );
}

#[tokio::test]
async fn sixteen_wait_and_no_more() {
    let server = start().await;
    let data = bytes(12, 21 * CHUNK);
    let session = server.session_of(&data).await;
    let parts: Vec<&[u8]> = data.chunks(CHUNK).collect();
    let running = session.begin_four(&data, 1).await;
    let ask = async |n: usize| {
        let mut conn = session.begin(n, parts[n - 1], CHUNK).await;
        conn.reply().await
    };
    let mut answers: FuturesUnordered<_> = (5..=21).map(ask).collect();
    // Whoever waits does not answer, and seventeen is one too many: whichever came last.
    let refused = answers.next().await.expect("one is refused");
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (429, "too-many-waiting")
    );
    assert!(refused.number("Retry-After") > Some(0));
    // One that goes away gives its place up.
    drop(running);
    let mut taken = 0;
    while let Some(reply) = answers.next().await {
        assert_eq!(reply.status, 201, "{reply:?}");
        taken += 1;
    }
    assert_eq!(taken, 16);
}

#[tokio::test]
async fn a_chunk_that_hangs_is_taken_over_by_its_repeat() {
    let server = start().await;
    let data = bytes(13, CHUNK);
    let session = server.session_of(&data).await;
    let mut hung = session.begin(1, &data, 1000).await;
    until("it hangs", || async {
        session.status().await["bytes_transferred"] == 1000
    })
    .await;
    assert_eq!(session.send(1, &data).await.status, 201);
    assert_eq!(hung.reply().await.status, 423);
    assert_eq!(session.finalize().await.status, 200);
    same(&session.download().await.body, &data);
}

/// Connections that died without a word keep nobody out: not the same chunk, and not another.
#[tokio::test]
async fn silent_holders_give_their_places_to_those_who_wait() {
    let server = start().await;
    let data = bytes(15, 6 * CHUNK);
    let session = server.session_of(&data).await;
    let mut dead = session.begin_four(&data, 10).await;
    let began = std::time::Instant::now();
    let (first, fifth, sixth) = tokio::join!(
        session.send(1, &data),
        session.send(5, &data),
        session.send(6, &data)
    );
    let told = [first.status, fifth.status, sixth.status];
    assert_eq!(told, [201; 3], "{first:?} {fifth:?} {sixth:?}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(dead[0].reply().await.status, 423);
    // Those that nobody asks for their place go on.
    assert_eq!(session.status().await["uploaded_chunks"], json!([1, 5, 6]));
}

#[tokio::test]
async fn a_chunk_that_comes_again_takes_the_place_in_the_queue_of_its_first_try() {
    let server = start().await;
    let data = bytes(16, 21 * CHUNK);
    let session = server.session_of(&data).await;
    let parts: Vec<&[u8]> = data.chunks(CHUNK).collect();
    let mut running = session.begin_four(&data, 1).await;
    let mut waiting = Vec::new();
    for n in 5..=20 {
        waiting.push(session.begin(n, parts[n - 1], 0).await);
    }
    until("sixteen wait", || async {
        let mut more = session.begin(21, parts[20], 0).await;
        let reply = tokio::time::timeout(Duration::from_millis(50), more.reply()).await;
        reply.is_ok_and(|reply| reply.code == "too-many-waiting")
    })
    .await;
    let mut again = session.begin(5, parts[4], CHUNK).await;
    assert_eq!(waiting[0].reply().await.status, 423);
    for (conn, part) in running.iter_mut().zip(&parts) {
        conn.send(&part[1..]).await;
        assert_eq!(conn.reply().await.status, 201);
    }
    assert_eq!(again.reply().await.status, 201);
}

/// A session's chunks are nobody's parts.
#[tokio::test]
async fn chunks_are_no_parts_of_other_uploads() {
    let server = start().await;
    let data = bytes(14, 2 * CHUNK);
    let session: Session = server.session_of(&data).await;
    assert_eq!(session.send(1, &data).await.status, 201);
    for n in [1, 2] {
        let joined = server.join(&[format!("/files/{}/{n}", session.id)]).await;
        assert_eq!((joined.status, joined.code.as_str()), (400, "bad-part"));
    }
    // Nor does a stranger hear how a session stands.
    let ask = json!({"filename": "f", "size": CHUNK, "chunk_size": CHUNK, "file_hash": Sum::of(b"other").to_string()});
    let failed = server.session(&ask).await;
    assert_eq!(failed.send(1, &data).await.status, 201);
    assert_eq!(failed.finalize().await.status, 422);
    for below in ["", "/1"] {
        let joined = server.join(&[format!("/files/{}{below}", failed.id)]).await;
        assert_eq!((joined.status, joined.code.as_str()), (400, "bad-part"));
    }
}
