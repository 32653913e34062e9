//! The session API, `/uploads/`: a file in chunks that come in any order. What a chunk may do, how a session ends, and bad
//! input are below.

mod bad_input;
mod chunks;
mod door;
mod ends;
mod faults;
mod queue;

use highwater::protocol::checksum::Algorithm;
use highwater::protocol::sha256::Sum;
use serde_json::{Value, json};

use crate::support::session::CHUNK;
use crate::support::{bytes, checksum, file_of, len_of, same, start, until};

#[tokio::test]
async fn a_new_session_is_told_with_all_that_a_client_needs() {
    let server = start().await;
    let hash = Sum::of(b"x").to_string();
    let session = server
        .session(&json!({
            "filename": "talk é.mp4", "size": 5_242_897, "chunk_size": 1_048_576, "file_hash": hash, "verify": true,
            "metadata": {"lang": "de"}, "priority": "high",
        }))
        .await;
    let told = &session.info;
    for (name, wanted) in [
        ("user_id", Value::Null),
        ("original_filename", json!("talk é.mp4")),
        ("size", json!(5_242_897)),
        ("chunk_size", json!(1_048_576)),
        ("total_chunks", json!(6)),
        ("max_parallel_chunks", json!(4)),
        ("uploaded_chunks", json!([])),
        ("file_hash", json!(hash)),
        ("status", json!("active")),
        ("metadata", json!({"lang": "de"})),
        ("priority", json!("high")),
        ("upload_url", json!(format!("/files/{}", session.id))),
        (
            "progress_url",
            json!(format!("/progress?upload={}", session.id)),
        ),
    ] {
        assert_eq!(told[name], wanted, "{name}");
    }
    let moment = |name: &str| {
        let text = told[name].as_str().expect("a text");
        assert!(
            text.len() == 20 && text.ends_with('Z') && &text[10..11] == "T",
            "{text}"
        );
        text.to_owned()
    };
    let day = |text: &str| text[8..10].to_owned();
    assert_ne!(
        day(&moment("created_at")),
        day(&moment("expires_at")),
        "24 hours later"
    );
    assert!(session.token.len() >= 43);
    let other = server.session(&json!({"filename": "f", "size": 1})).await;
    assert_ne!((&other.id, &other.token), (&session.id, &session.token));
    // What is left out: chunks of 1 MiB, verified, of a file that nobody hashed.
    let told = &other.info;
    let told = ["chunk_size", "verify", "file_hash", "priority"].map(|name| told[name].clone());
    assert_eq!(
        told,
        [json!(1_048_576), json!(true), Value::Null, json!("normal")]
    );
}

#[tokio::test]
async fn chunks_come_in_any_order_and_make_one_file_without_a_copy() {
    let server = start().await;
    let data = bytes(1, 5 * CHUNK + 17);
    let session = server
        .session(&json!({
            "filename": "talk é.mp4", "size": data.len(), "chunk_size": CHUNK, "file_hash": Sum::of(&data).to_string(),
            "metadata": {"filetype": "video/mp4"},
        }))
        .await;
    for (at, n) in [3, 6, 1, 5].into_iter().enumerate() {
        let reply = session.send(n, &data).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let part = session.part(n, &data);
        let wanted = json!({
            "chunk": n, "size": part.len(), "sha256": Sum::of(part).to_string(),
            "uploaded": at + 1, "remaining": 5 - at,
        });
        assert_eq!(reply.json(), wanted);
    }
    let file = file_of(&server.data(), &session.id);
    assert_eq!(
        len_of(&file),
        data.len() as u64,
        "one sparse file from the start"
    );
    let status = session.status().await;
    assert_eq!(status["uploaded_chunks"], json!([1, 3, 5, 6]));
    assert_eq!(status["chunks_remaining"], 2);
    assert_eq!(status["bytes_transferred"], 3 * CHUNK + 17);
    assert_eq!(status["status"], "active");
    let resume = session.resume().await;
    assert_eq!(resume["missing_chunks"], json!([2, 4]));
    assert_eq!(resume["missing_ranges"], json!([[2, 2], [4, 4]]));
    assert_eq!(resume["partial"], json!([]));

    let refused = session.finalize().await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (409, "chunks-missing")
    );
    assert_eq!(refused.json()["missing_chunks"], json!([2, 4]));
    assert_eq!(refused.json()["missing_ranges"], json!([[2, 2], [4, 4]]));
    // As a final that is not complete, at the tus door.
    let head = session.tus("HEAD", "").send().await;
    let told = ["Upload-Offset", "Upload-Length"].map(|name| head.number(name));
    assert_eq!((head.status, told), (200, [None, Some(data.len() as u64)]));
    assert_eq!(session.download().await.code, "not-finished");
    let patch = session.tus("PATCH", "").header("Upload-Offset", 0);
    let patch = patch.header("Content-Type", "application/offset+octet-stream");
    assert_eq!(patch.body("x").send().await.code, "final-is-fixed");

    let (two, four) = tokio::join!(session.send(2, &data), session.send(4, &data));
    assert_eq!((two.status, four.status), (201, 201));
    for _ in 0..2 {
        let done = session.finalize().await;
        assert_eq!(done.status, 200, "{done:?}");
        let told = done.json();
        assert_eq!(told["status"], "completed");
        assert_eq!(told["uploaded_chunks"], json!([1, 2, 3, 4, 5, 6]));
        assert_eq!(told["bytes_transferred"], data.len());
        assert_eq!(told["expires_at"], Value::Null);
    }
    same(&std::fs::read(&file).unwrap(), &data);
    let whole = session.download().await;
    same(&whole.body, &data);
    assert_eq!(whole.header("Content-Type"), Some("video/mp4"));
    let named = whole.header("Content-Disposition").expect("a name");
    assert!(named.contains("talk%20%C3%A9.mp4"), "{named}");
    let head = session.tus("HEAD", "").send().await;
    assert_eq!(head.number("Upload-Offset"), Some(data.len() as u64));
    // Its chunks are gone, and it takes no more. What comes again is compared with the file.
    let gone = session.tus("HEAD", "/1").send().await;
    let late = session.patch(1, 0, &data[..1]).send().await;
    assert_eq!((gone.status, late.status), (404, 404));
    for n in [1, 6] {
        let again = session.send(n, &data).await;
        assert_eq!(again.status, 200, "{again:?}");
        let told = ["chunk", "uploaded", "remaining"].map(|name| again.json()[name].clone());
        assert_eq!(told, [json!(n), json!(6), json!(0)]);
    }
    let other = session.chunk(2, session.part(1, &data)).send().await;
    assert_eq!((other.status, other.code.as_str()), (409, "chunk-differs"));
    same(&session.download().await.body, &data);
}

#[tokio::test]
async fn a_session_of_no_bytes_is_finalized_at_once() {
    let server = start().await;
    let session = server.session(&json!({"filename": "f", "size": 0})).await;
    assert_eq!(session.info["total_chunks"], 0);
    assert_eq!(session.finalize().await.status, 200);
    assert_eq!(session.download().await.body, b"");
}

#[tokio::test]
async fn a_hash_is_required_unless_the_session_was_made_without() {
    let server = start().await;
    let data = bytes(2, CHUNK + 5);
    let session = server.session_of(&data).await;
    let part = session.part(1, &data);
    let refused = session.bare_chunk(1, part).send().await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (400, "hash-required")
    );
    let other = session.bare_chunk(1, part);
    let other = other.header("Upload-Checksum", checksum(Algorithm::Sha1, part));
    assert_eq!(other.send().await.code, "unknown-algorithm");
    let garbage = session.bare_chunk(1, part).header("X-Chunk-SHA256", "abc");
    assert_eq!(garbage.send().await.code, "bad-header");
    let both = session.chunk(1, part);
    let both = both.header("Upload-Checksum", checksum(Algorithm::Sha256, part));
    assert_eq!(both.send().await.code, "bad-header");

    let wrong = session.bare_chunk(1, part);
    let wrong = wrong
        .header("X-Chunk-SHA256", Sum::of(b"other"))
        .send()
        .await;
    assert_eq!(
        (wrong.status, wrong.code.as_str()),
        (460, "checksum-mismatch")
    );
    assert_eq!(session.status().await["bytes_transferred"], 0);
    assert_eq!(session.resume().await["missing_chunks"], json!([1, 2]));
    let tus = session.bare_chunk(1, part);
    let tus = tus.header("Upload-Checksum", checksum(Algorithm::Sha256, part));
    assert_eq!(tus.send().await.status, 201);

    let ask = json!({"filename": "f", "size": data.len(), "chunk_size": CHUNK, "verify": false});
    let lax = server.session(&ask).await;
    let taken = lax.bare_chunk(1, part).send().await;
    assert_eq!(
        (taken.status, taken.json()["sha256"].clone()),
        (201, Value::Null)
    );
    let wrong = lax.bare_chunk(2, lax.part(2, &data));
    let wrong = wrong.header("X-Chunk-SHA256", Sum::of(b"other"));
    assert_eq!(
        wrong.send().await.status,
        460,
        "one that is named is checked"
    );
    assert_eq!(lax.send(2, &data).await.status, 201);
    // Compared by what is stored, where no hash was.
    let again = lax.bare_chunk(1, part).send().await;
    assert_eq!(
        (again.status, again.json()["sha256"].clone()),
        (200, json!(Sum::of(part)))
    );
    let other = bytes(3, CHUNK);
    assert_eq!(lax.bare_chunk(1, &other).send().await.code, "chunk-differs");
    assert_eq!(lax.finalize().await.status, 200);
    same(&lax.download().await.body, &data);
}

#[tokio::test]
async fn the_whole_files_hash_survives_a_restart_and_chunks_out_of_turn() {
    let mut server = start().await;
    let data = bytes(4, 9 * CHUNK + 1);
    let mut session = server
        .session(&json!({
            "filename": "f", "size": data.len(), "chunk_size": CHUNK, "file_hash": Sum::of(&data).to_string(),
        }))
        .await;
    for n in [1, 2, 4, 3, 9] {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    server.restart().await;
    session.client.addr = server.addr;
    assert_eq!(
        session.resume().await["missing_chunks"],
        json!([5, 6, 7, 8, 10])
    );
    for n in [10, 8, 5, 7, 6] {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    assert_eq!(session.finalize().await.status, 200);
    server.restart().await;
    session.client.addr = server.addr;
    assert_eq!(session.status().await["status"], "completed");
    same(&session.download().await.body, &data);
}

#[tokio::test]
async fn what_arrives_is_told_while_it_arrives_with_rate_and_time_left() {
    let server = start().await;
    let data = bytes(5, 4 * CHUNK);
    let session = server.session_of(&data).await;
    let status = session.status().await;
    assert_eq!(
        (&status["rate"], &status["estimated_time_seconds"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(session.send(1, &data).await.status, 201);
    let part = session.part(2, &data);
    let mut conn = session.begin(2, part, 1000).await;
    until("bytes on their way are told", || async {
        session.status().await["bytes_transferred"] == CHUNK + 1000
    })
    .await;
    until("the rate is told", || async {
        session.status().await["rate"].as_u64() > Some(0)
    })
    .await;
    let status = session.status().await;
    assert!(
        status["estimated_time_seconds"].as_u64() > Some(0),
        "{status}"
    );
    assert_eq!(status["uploaded_chunks"], json!([1]));
    conn.send(&part[1000..]).await;
    assert_eq!(conn.reply().await.status, 201);
    assert_eq!(session.status().await["bytes_transferred"], 2 * CHUNK);
}

#[tokio::test]
async fn a_directory_of_notes_is_there_for_people() {
    let server = start().await;
    let data = bytes(6, CHUNK + 5);
    let session = server.session_of(&data).await;
    let dir = server.data().join("sessions").join(&session.id);
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(dir.join(name)).expect("a file")).expect("JSON")
    };
    let metadata = read("metadata.json");
    assert_eq!(metadata["original_filename"], "f");
    assert_eq!(metadata["size"], data.len());
    assert_eq!(read("progress.json")["missing_ranges"], json!([[1, 2]]));
    assert!(
        !metadata.to_string().contains(&session.token),
        "the token is kept nowhere"
    );
    assert_eq!(session.send(2, &data).await.status, 201);
    until("the progress follows", || async {
        read("progress.json")["missing_ranges"] == json!([[1, 1]])
    })
    .await;
    // What people do there changes nothing.
    std::fs::write(dir.join("progress.json"), "{}").unwrap();
    std::fs::remove_file(dir.join("metadata.json")).unwrap();
    assert_eq!(session.send(1, &data).await.status, 201);
    assert_eq!(session.finalize().await.status, 200);
    let progress = read("progress.json");
    assert_eq!(
        (&progress["status"], &progress["missing_ranges"]),
        (&json!("completed"), &json!([]))
    );
    assert_eq!(read("metadata.json"), metadata);
}
