//! Chunks that wait for their turn, unread, and whose clients go away meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::session::CHUNK;
use crate::support::{Conn, Session, bytes, same, start, until};

/// Long enough that a refusal would be there.
const MOMENT: Duration = Duration::from_millis(300);

/// Sends a byte now and then on each, so that nobody is silent, until it may end; and then the rest.
async fn hold(mut holders: Vec<Conn>, parts: Vec<Vec<u8>>, mut end: watch::Receiver<bool>) {
    let mut at = 1;
    while timeout(MOMENT, end.wait_for(|end| *end)).await.is_err() {
        for (conn, part) in holders.iter_mut().zip(&parts) {
            conn.send(&part[at..=at]).await;
        }
        at += 1;
    }
    for (conn, part) in holders.iter_mut().zip(&parts) {
        conn.send(&part[at..]).await;
        assert_eq!(conn.reply().await.status, 201);
    }
}

/// Sends so many bytes of a chunk until it is not refused: it waits.
async fn wait_in_line(session: &Session, n: usize, part: &[u8], sent: usize) -> Conn {
    loop {
        let mut conn = session.begin(n, part, sent).await;
        let Ok(refused) = timeout(MOMENT, conn.reply()).await else {
            return conn;
        };
        assert_eq!(refused.code, "too-many-waiting", "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_away_while_waiting_leaves_the_line_and_who_sent_all_stays() {
    let server = start().await;
    let data = bytes(17, 36 * CHUNK);
    let session = server.session_of(&data).await;
    let part = |n: usize| session.part(n, &data);
    let holders = session.begin_four(&data, 1).await;
    let (end, ended) = watch::channel(false);
    let parts = (1..=4).map(|n| part(n).to_vec()).collect();
    let holding = tokio::spawn(hold(holders, parts, ended));

    // Sixteen wait, the first of whom has sent everything, and closes its side only.
    let mut patient = wait_in_line(&session, 20, part(20), CHUNK).await;
    patient.stream.shutdown().await.expect("its side is closed");
    let sent = |n: usize| [0, 1, 1000, CHUNK / 2, CHUNK - 2000][n % 5];
    let leaving = join_all((5..=19).map(|n| wait_in_line(&session, n, part(n), sent(n)))).await;
    let mut numbers = (21..=36).cycle();
    until("sixteen wait", || {
        let (session, n) = (&session, numbers.next().expect("another"));
        async move {
            let mut more = session.begin(n, part(n), 0).await;
            let reply = timeout(MOMENT, more.reply()).await;
            reply.is_ok_and(|reply| reply.code == "too-many-waiting")
        }
    })
    .await;
    drop(leaving);
    // Nobody of those who hold a place gives it up meanwhile.
    let line = join_all((21..=35).map(|n| wait_in_line(&session, n, part(n), CHUNK)));
    let line = timeout(Duration::from_secs(20), line).await;
    let line = line.expect("places in the line");
    assert_eq!(
        session.status().await["uploaded_chunks"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );

    end.send(true).expect("they hold on");
    holding.await.expect("no panic");
    assert_eq!(patient.reply().await.status, 201);
    for (n, mut conn) in (21..).zip(line) {
        let reply = conn.reply().await;
        // On a machine so busy that the refusal took its time.
        let late = reply.code == "too-many-waiting" && session.send(n, &data).await.status == 201;
        assert!(reply.status == 201 || late, "{reply:?}");
    }
    for n in (5..=19).chain([36]) {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    assert_eq!(session.finalize().await.status, 200);
    same(&session.download().await.body, &data);
}
