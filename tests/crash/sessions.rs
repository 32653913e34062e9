//! Invariants 1 to 3 for sessions: a chunk that was acknowledged is there after `kill -9`, one that was cut is not, and after
//! a loss of power a chunk counts only if it is what it was.

use std::path::PathBuf;
use std::time::Duration;

use highwater::protocol::sha256::Sum;
use serde_json::json;

use super::{Mortal, PROCESS};
use crate::support::session::CHUNK;
use crate::support::{
    Dice, Session, bytes, figure, file_of, rounds, same, seed, stored_files, until,
};

impl Mortal {
    /// The session, at the server that is there now.
    fn again(&self, session: &mut Session) {
        session.client = **self.server.as_ref().expect("it runs");
    }

    /// What a loss of power leaves behind: an unclean end, and another boot.
    fn lose_power(&mut self, meanwhile: impl FnOnce()) {
        self.kill();
        let boot = self.data().join("boot");
        let text = std::fs::read(&boot).expect("the file boot");
        let mut text: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(text["clean"], false);
        text["id"] = json!("a boot before this one");
        std::fs::write(&boot, text.to_string()).expect("the file boot");
        meanwhile();
        self.start();
    }

    fn file_of_session(&self, session: &Session) -> PathBuf {
        file_of(&self.data(), &session.id)
    }
}

#[tokio::test]
async fn invariant_1_what_was_acknowledged_of_a_session_holds() {
    for durability in ["process", "complete", "every"] {
        let mut server = Mortal::new(&["--durability", durability]);
        let data = bytes(1, 4 * CHUNK + 100);
        let ask = json!({
            "filename": "f", "size": data.len(), "chunk_size": CHUNK, "file_hash": Sum::of(&data).to_string(),
        });
        let mut session = server.session(&ask).await;
        server.reborn();
        server.again(&mut session);
        assert_eq!(session.status().await["status"], "active");
        assert_eq!(session.send(2, &data).await.status, 201);
        server.reborn();
        server.again(&mut session);
        assert_eq!(session.status().await["uploaded_chunks"], json!([2]));

        // By PATCH: what was told, and no more.
        let part = session.part(3, &data);
        assert_eq!(session.patch(3, 0, &part[..1000]).send().await.status, 204);
        server.reborn();
        server.again(&mut session);
        let resume = session.resume().await;
        assert_eq!(resume["partial"][0]["offset"], 1000);
        assert_eq!(
            session.patch(3, 1000, &part[1000..]).send().await.status,
            204
        );
        // One that is on its way when the server dies.
        let first = session.part(1, &data);
        let conn = session.begin(1, first, 30_000).await;
        let all = 2 * CHUNK + 30_000;
        until("it is on its way", || async {
            session.status().await["bytes_transferred"] == all
        })
        .await;
        server.reborn();
        drop(conn);
        server.again(&mut session);
        let status = session.status().await;
        assert_eq!(status["uploaded_chunks"], json!([2, 3]));
        assert_eq!(status["bytes_transferred"], 2 * CHUNK);

        // Sent anew, and what was there before is gone for good.
        assert_eq!(session.tus("DELETE", "/3").send().await.status, 204);
        server.reborn();
        server.again(&mut session);
        assert_eq!(
            session.resume().await["missing_chunks"],
            json!([1, 3, 4, 5])
        );
        for n in [5, 4, 3, 1] {
            assert_eq!(session.send(n, &data).await.status, 201);
        }
        server.reborn();
        server.again(&mut session);
        assert_eq!(session.finalize().await.status, 200);
        server.reborn();
        server.again(&mut session);
        assert_eq!(session.status().await["status"], "completed");
        same(&session.download().await.body, &data);
        assert_eq!(session.cancel().await.status, 204);
        server.reborn();
        server.again(&mut session);
        assert_eq!(session.status().await["status"], "cancelled");
        assert_eq!(stored_files(&server.data()), [""; 0]);
        server.lost_no_record();
    }
}

/// While a PATCH of a chunk runs, what HEAD tells is in the state store: the file's length would not witness it.
#[tokio::test]
async fn invariant_1_what_head_told_of_a_running_chunk_holds() {
    let mut server = Mortal::new(PROCESS);
    let data = bytes(6, 4 * CHUNK);
    let mut session = server.session_of(&data).await;
    let part = session.part(2, &data);
    let request = session.patch(2, 0, part).to_bytes();
    let mut conn = session.client.connect().await;
    let head = request.len() - part.len();
    conn.send(&request[..head]).await;
    let (mut sent, mut told) = (0, 0);
    while told == 0 {
        conn.send(&part[sent..sent + 100]).await;
        sent += 100;
        assert!(sent < 60_000, "nothing is told");
        tokio::time::sleep(Duration::from_millis(10)).await;
        let reply = session.tus("HEAD", "/2").send().await;
        told = reply.number("Upload-Offset").expect("an offset");
    }
    server.reborn();
    server.again(&mut session);
    let head = session.tus("HEAD", "/2").send().await;
    let offset = head.number("Upload-Offset").expect("an offset");
    assert!(offset >= told, "{offset} < {told}");
    let offset = usize::try_from(offset).expect("a size");
    assert_eq!(
        session
            .patch(2, offset, &part[offset..])
            .send()
            .await
            .status,
        204
    );
    assert_eq!(
        session.send(2, &data).await.status,
        200,
        "it is what it should be"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_1_chunks_that_were_acknowledged_survive_kills_at_random() {
    const NAME: &str = "kills of sessions";
    let mut dice = Dice::new(seed(NAME));
    let mut server = Mortal::new(PROCESS);
    let rounds = rounds(2, 60);
    let (mut kills, mut acknowledged) = (0, 0);
    for round in 0..rounds {
        let data = bytes(round as u64, 40 * CHUNK);
        let ask = json!({
            "filename": "f", "size": data.len(), "chunk_size": CHUNK, "file_hash": Sum::of(&data).to_string(),
        });
        let mut session = server.session(&ask).await;
        loop {
            let missing = session.resume().await["missing_chunks"].clone();
            let missing: Vec<usize> = serde_json::from_value(missing).expect("numbers");
            if missing.is_empty() {
                break;
            }
            let mut senders = Vec::new();
            for part in 0..3 {
                let (session, data) = (session.clone(), data.clone());
                let mine = missing.iter().copied().filter(move |n| n % 3 == part);
                let mine: Vec<usize> = mine.collect();
                senders.push(tokio::spawn(async move {
                    let mut told = Vec::new();
                    for n in mine {
                        match session.chunk(n, session.part(n, &data)).try_send().await {
                            Some(reply) => assert!(matches!(reply.status, 200 | 201), "{reply:?}"),
                            None => break,
                        }
                        told.push(n);
                    }
                    told
                }));
            }
            // While they send, or after they have.
            tokio::time::sleep(Duration::from_millis(dice.below(120))).await;
            server.kill();
            kills += 1;
            let mut told = Vec::new();
            for sender in senders {
                told.extend(sender.await.expect("no chunk is refused"));
            }
            server.start();
            server.again(&mut session);
            let there = session.status().await["uploaded_chunks"].clone();
            let there: Vec<usize> = serde_json::from_value(there).expect("numbers");
            for n in &told {
                assert!(there.contains(n), "chunk {n} was told and is lost");
            }
            acknowledged += told.len();
        }
        assert_eq!(session.finalize().await.status, 200);
        same(&session.download().await.body, &data);
        assert_eq!(session.cancel().await.status, 204);
    }
    server.lost_no_record();
    figure(
        NAME,
        format_args!("{kills} kills, {acknowledged} acknowledged chunks, none lost"),
    );
}

#[tokio::test]
async fn after_a_loss_of_power_a_chunk_is_what_it_was_or_is_missing() {
    let mut server = Mortal::new(&[]);
    let data = bytes(3, 4 * CHUNK);
    let ask = |verify: bool| {
        json!({
            "filename": "f", "size": data.len(), "chunk_size": CHUNK, "verify": verify,
            "file_hash": Sum::of(&data).to_string(),
        })
    };
    let mut session = server.session(&ask(true)).await;
    let mut lax = server.session(&ask(false)).await;
    for n in [1, 2, 3] {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    let part = session.part(4, &data);
    assert_eq!(session.patch(4, 0, &part[..1000]).send().await.status, 204);
    assert_eq!(lax.send(1, &data).await.status, 201);
    assert_eq!(
        lax.bare_chunk(2, lax.part(2, &data)).send().await.status,
        201
    );
    let mut done = server.session(&ask(true)).await;
    for n in [4, 3, 2, 1] {
        assert_eq!(done.send(n, &data).await.status, 201);
    }
    assert_eq!(done.finalize().await.status, 200);
    // The second chunk never reached the disk: the file has its length, and a hole there.
    let file = server.file_of_session(&session);
    server.lose_power(|| {
        let mut bytes = std::fs::read(&file).expect("the file");
        bytes[CHUNK + 5000..2 * CHUNK].fill(0);
        std::fs::write(&file, bytes).expect("the file");
    });
    for session in [&mut session, &mut lax, &mut done] {
        server.again(session);
    }
    let resume = session.resume().await;
    assert_eq!(resume["missing_chunks"], json!([2, 4]));
    assert_eq!(
        resume["partial"],
        json!([]),
        "what was begun was never synced"
    );
    // Without a hash nobody can tell.
    assert_eq!(lax.resume().await["missing_chunks"], json!([2, 3, 4]));
    same(&done.download().await.body, &data);
    // Another start: nothing more is lost, since it is known now.
    server.reborn();
    for session in [&mut session, &mut lax] {
        server.again(session);
        for n in 2..=4 {
            let status = session.send(n, &data).await.status;
            assert!(status == 201 || (n == 3 && status == 200), "{n}: {status}");
        }
        assert_eq!(session.finalize().await.status, 200);
        same(&session.download().await.body, &data);
    }
}

#[tokio::test]
async fn in_every_mode_a_loss_of_power_takes_nothing() {
    let mut server = Mortal::new(&["--durability", "every"]);
    let data = bytes(4, 3 * CHUNK);
    let ask = json!({"filename": "f", "size": data.len(), "chunk_size": CHUNK, "verify": false});
    let mut session = server.session(&ask).await;
    assert_eq!(
        session
            .bare_chunk(1, session.part(1, &data))
            .send()
            .await
            .status,
        201
    );
    let part = session.part(2, &data);
    assert_eq!(session.patch(2, 0, &part[..1000]).send().await.status, 204);
    server.lose_power(|| {});
    server.again(&mut session);
    let resume = session.resume().await;
    assert_eq!(resume["missing_chunks"], json!([2, 3]));
    assert_eq!(resume["partial"][0]["offset"], 1000);
}

/// The sidecar knows of a session what the state store has lost; of its chunks nobody knows.
#[tokio::test]
async fn sessions_are_made_anew_from_their_sidecars() {
    let mut server = Mortal::new(&[]);
    let data = bytes(5, 2 * CHUNK);
    let mut done = server.session_of(&data).await;
    let mut open = server.session_of(&data).await;
    for session in [&done, &open] {
        // The last one first: the file has all of its length.
        for n in [2, 1] {
            let sent = n == 2 || session.id == done.id;
            assert!(!sent || session.send(n, &data).await.status == 201);
        }
    }
    assert_eq!(done.finalize().await.status, 200);
    server.kill();
    std::fs::remove_dir_all(server.data().join("state")).expect("the state");
    server.start();
    for session in [&mut done, &mut open] {
        server.again(session);
    }
    assert_eq!(done.status().await["status"], "completed");
    same(&done.download().await.body, &data);
    assert_eq!(open.resume().await["missing_chunks"], json!([1, 2]));
    for n in [1, 2] {
        assert_eq!(open.send(n, &data).await.status, 201);
    }
    assert_eq!(open.finalize().await.status, 200);
    same(&open.download().await.body, &data);
}
