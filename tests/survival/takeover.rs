//! Invariant 4 under load, in figures: how long a newcomer waits for an upload that somebody else hangs on, and what a healthy
//! upload notices of a second tab.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use crate::support::{
    Client, Conn, Process, Reply, bytes, figure, percentile, rounds, same, until,
};

/// The most that a takeover may take, for 99 of 100, beyond what the same request takes without a holder.
const P99: Duration = Duration::from_millis(50);
/// The silence after which anybody may take over.
const SILENCE: Duration = Duration::from_secs(2);
/// So many newcomers come at the same time.
const AT_ONCE: usize = 2;
const LENGTH: usize = 4000;
const HELD: usize = 1000;

/// An upload with its client's connection, which hangs after [`HELD`] bytes.
struct Hung {
    path: String,
    holder: Conn,
}

async fn hung(client: &Client, count: usize, data: &[u8]) -> Vec<Hung> {
    let mut all = Vec::new();
    for _ in 0..count {
        let path = client.create(LENGTH as u64).await;
        let holder = client.hang(&path, 0, LENGTH as u64, &data[..HELD]).await;
        all.push(Hung { path, holder });
    }
    all
}

fn says(reply: &Reply) -> (u16, &str, Option<u64>) {
    let offset = reply.number("Upload-Offset");
    (reply.status, reply.code.as_str(), offset)
}

/// The time from a newcomer's first byte to the 204 for its own bytes, at the offset where the holder hangs.
async fn at_the_offset(client: Client, mut hung: Hung, data: &[u8]) -> (Duration, Hung) {
    let patch = client.patch(&hung.path, HELD as u64, &data[HELD..2 * HELD]);
    let begun = Instant::now();
    let reply = patch.send().await;
    let took = begun.elapsed();
    assert_eq!(says(&reply), (204, "", Some(2 * HELD as u64)));
    let cut = hung.holder.reply().await;
    assert_eq!(says(&cut), (423, "taken-over", Some(HELD as u64)));
    (took, hung)
}

/// The same from a wrong offset, with the refusal that tells the right one: the holder has been silent and is ended for it.
async fn after_the_silence(client: Client, mut hung: Hung, data: &[u8]) -> (Duration, Hung) {
    let (at, end) = (HELD as u64, 2 * HELD as u64);
    let begun = Instant::now();
    let elsewhere = client.patch(&hung.path, 1, &data[1..HELD]).send().await;
    let took = begun.elapsed();
    assert_eq!(says(&elsewhere), (409, "offset-mismatch", Some(at)));
    // It has let go: nobody needs to be taken over by what follows.
    let cut = hung.holder.reply().await;
    assert_eq!(says(&cut), (423, "taken-over", Some(at)));
    let again = Instant::now();
    let patch = client.patch(&hung.path, at, &data[HELD..2 * HELD]);
    let reply = patch.send().await;
    let took = took + again.elapsed();
    assert_eq!(says(&reply), (204, "", Some(end)));
    (took, hung)
}

/// The same PATCH with nobody in its way: what this machine takes for it at present.
async fn alone(client: Client, path: String, data: &[u8]) -> Duration {
    let patch = client.patch(&path, 2 * HELD as u64, &data[2 * HELD..3 * HELD]);
    let begun = Instant::now();
    let reply = patch.send().await;
    let took = begun.elapsed();
    assert_eq!(says(&reply), (204, "", Some(3 * HELD as u64)));
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_4_takeovers_take_milliseconds() {
    let count = rounds(200, 1000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Process::start(dir.path(), &[]);
    let client = *server;
    let data = bytes(1, LENGTH);
    for silent in [false, true] {
        let all = hung(&client, count, &data).await;
        if silent {
            tokio::time::sleep(SILENCE).await;
        }
        let data = &data;
        let storm = stream::iter(all).map(|hung| async move {
            let (took, hung) = if silent {
                after_the_silence(client, hung, data).await
            } else {
                at_the_offset(client, hung, data).await
            };
            let free = alone(client, hung.path.clone(), data).await;
            let rest = client.patch(&hung.path, 3 * HELD as u64, &data[3 * HELD..]);
            assert_eq!(rest.send().await.status, 204);
            same(&client.get(&hung.path).await.body, data);
            (took, free)
        });
        let times: Vec<_> = storm.buffer_unordered(AT_ONCE).collect().await;
        let (mut took, mut free): (Vec<_>, Vec<_>) = times.into_iter().unzip();
        let (p50, p99) = (percentile(&mut took, 50), percentile(&mut took, 99));
        let usual = percentile(&mut free, 99);
        let kind = if silent {
            "after 2 s of silence, with a 409 for the way"
        } else {
            "at the live offset"
        };
        figure(
            "takeover",
            format_args!(
                "{kind}: {count} times, p50 {p50:.1?}, p99 {p99:.1?}; without a holder p99 {usual:.1?}"
            ),
        );
        // On a machine that is busy with something else the worst in a hundred tells of that; the median does not.
        let requests = if silent { 2 } else { 1 };
        assert!(p50 < P99, "{kind}: {p50:?}");
        let bound = P99 + 2 * requests * usual;
        assert!(p99 < bound, "{kind}: {p99:?}, without {usual:?}");
    }
}

/// Sends an upload in small frames at a steady pace, as a healthy client would; how long that took.
async fn healthy(client: Client, path: &str, data: &[u8], frame: usize) -> Duration {
    let mut conn = client.connect().await;
    conn.begin_patch(path, 0, data.len() as u64).await;
    let begun = Instant::now();
    let mut clock = tokio::time::interval(Duration::from_millis(5));
    for frame in data.chunks(frame) {
        clock.tick().await;
        conn.send(frame).await;
    }
    let reply = conn.reply().await;
    assert_eq!(says(&reply), (204, "", Some(data.len() as u64)));
    begun.elapsed()
}

/// A second tab that has an older state of things: it asks, and tries to go on from where the upload is no more. How often
/// it was refused.
async fn tab(client: Client, path: String, stop: watch::Receiver<bool>, length: u64) -> usize {
    let mut refused = 0;
    let mut last = 0;
    while !*stop.borrow() {
        let offset = client.offset(&path).await;
        assert!(offset >= last, "it fell from {last} to {offset}");
        last = offset;
        // Never where the holder is: whoever comes there takes over.
        for at in [0, offset / 2, length] {
            let reply = client.patch(&path, at, "").send().await;
            if at == length && reply.status == 204 {
                return refused; // it is complete
            }
            assert_eq!(
                (reply.status, reply.code.as_str()),
                (409, "offset-mismatch")
            );
            let actual = reply.number("Upload-Offset").expect("an offset");
            assert!(actual >= last, "it fell from {last} to {actual}");
            refused += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_4_a_second_tab_does_not_disturb_a_healthy_upload() {
    const FRAME: usize = 1000;
    let frames = rounds(400, 4000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Process::start(dir.path(), &[]);
    let client = *server;
    let data = bytes(2, frames * FRAME);
    let length = data.len() as u64;
    let path = client.create(length).await;
    let alone = healthy(client, &path, &data, FRAME).await;

    let path = client.create(length).await;
    let (stop, stopped) = watch::channel(false);
    let uploading = {
        let (path, data) = (path.clone(), data.clone());
        tokio::spawn(async move { healthy(client, &path, &data, FRAME).await })
    };
    until("it is under way", || async {
        client.offset(&path).await > 10 * FRAME as u64
    })
    .await;
    let tabs: Vec<_> = (0..2)
        .map(|_| tokio::spawn(tab(client, path.clone(), stopped.clone(), length)))
        .collect();
    let beside = uploading.await.expect("it was not disturbed");
    stop.send_replace(true);
    let mut refused = 0;
    for tab in tabs {
        refused += tab.await.expect("no panic");
    }
    same(&client.get(&path).await.body, &data);
    figure(
        "second tab",
        format_args!(
            "an upload took {beside:.1?} beside two tabs that were refused {refused} times, {alone:.1?} without"
        ),
    );
    assert!(refused > 100, "{refused}");
    assert!(
        beside < alone * 3 / 2 + Duration::from_millis(500),
        "{beside:?} instead of {alone:?}"
    );
}
