//! SIGTERM in the middle of the work: the server ends in time and well, each client was told an offset or cut, and after the
//! next start every offset that was told holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater::protocol::checksum::Algorithm;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::support::{
    Client, Conn, Dice, Process, bytes, checksum, figure, file_of, len_of, rounds, same, seed,
    until,
};

const TEST: &str = "SIGTERM under load";
const UPLOADS: usize = 50;
const LENGTH: usize = 800_000;
const GRACE: Duration = Duration::from_secs(10);

/// The highest offset that anybody was told of each upload.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<HashMap<String, u64>>>);

impl Told {
    fn note(&self, path: &str, offset: u64) {
        let mut told = self.0.lock().expect("no panic under it");
        let most = told.entry(path.to_owned()).or_default();
        *most = offset.max(*most);
    }

    fn of(&self, path: &str) -> u64 {
        let told = self.0.lock().expect("no panic under it");
        told.get(path).copied().unwrap_or_default()
    }
}

/// How a client's work ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Complete,
    /// 503, and where to go on.
    Told,
    /// No answer, or no connection for the next request.
    Cut,
}

/// One client of the load: one upload, in a manner of its own.
struct Worker {
    client: Client,
    path: String,
    data: Vec<u8>,
    manner: usize,
    dice: Dice,
    told: Told,
}

impl Worker {
    async fn work(mut self) -> (Self, Ended) {
        let mut at = 0;
        while at < self.data.len() {
            let Some((status, offset)) = self.patch(at).await else {
                return (self, Ended::Cut);
            };
            self.told.note(&self.path, offset);
            if status == 503 {
                return (self, Ended::Told);
            }
            at = usize::try_from(offset).expect("small");
        }
        (self, Ended::Complete)
    }

    /// One PATCH; status and offset of its answer.
    async fn patch(&mut self, at: usize) -> Option<(u16, u64)> {
        let left = self.data.len() - at;
        let size = match self.manner {
            0 => 1 + self.dice.index(2000),
            _ => left,
        };
        let size = size.min(left);
        let piece = &self.data[at..at + size];
        let request = self.client.patch(&self.path, at as u64, piece);
        let sum = checksum(Algorithm::Sha1, piece);
        let request = match self.manner {
            2 => request.chunked(),
            3 => request.header("Upload-Checksum", sum),
            4 => request
                .header("Trailer", "Upload-Checksum")
                .trailer("Upload-Checksum", sum),
            _ => request,
        };
        let request = request.to_bytes();
        let mut conn = Conn::try_open(self.client.addr).await?;
        for piece in request.chunks(2048) {
            conn.stream.write_all(piece).await.ok()?;
            let pace = Duration::from_millis(5 + self.dice.below(10));
            if self.manner > 0 && timeout(pace, conn.stream.readable()).await.is_ok() {
                break; // answered before the end
            }
        }
        let reply = conn.try_reply("PATCH").await?;
        let offset = reply.number("Upload-Offset");
        match (reply.status, reply.code.as_str()) {
            (204, _) => assert_eq!(offset, Some((at + size) as u64)),
            // Nothing counts under a checksum: that is what it is told.
            (503, "shutting-down") if self.manner > 2 => assert_eq!(offset, Some(at as u64)),
            (503, "shutting-down") => assert!(offset >= Some(at as u64), "{reply:?}"),
            _ => panic!("manner {}: {reply:?}", self.manner),
        }
        Some((reply.status, offset?))
    }
}

/// Asks HEAD without a pause, on one connection or each time on another, until there is no answer. How often it had one:
/// each must be well.
async fn watch(client: Client, paths: Arc<[String]>, told: Told, keep: bool) -> usize {
    let mut kept = Conn::try_open(client.addr).await;
    for n in 0.. {
        let path = &paths[n % paths.len()];
        let before = told.of(path);
        let head = client.tus("HEAD", path);
        let reply = match &mut kept {
            Some(conn) if keep => match conn.stream.write_all(&head.to_bytes()).await {
                Ok(()) => conn.try_reply("HEAD").await,
                Err(_) => None,
            },
            _ => head.try_send().await,
        };
        let Some(reply) = reply else { return n };
        assert_eq!(reply.status, 200, "invariant 5: {reply:?}");
        let offset = reply.number("Upload-Offset").expect("an offset");
        assert!(offset >= before, "it fell from {before} to {offset}");
        told.note(path, offset);
    }
    unreachable!("there are not so many numbers")
}

/// A load, its end by SIGTERM, and what holds after the next start.
async fn round(number: usize, dice: &mut Dice) {
    let durability = ["complete", "process", "every"][number % 3];
    let grace = format!("{}s", GRACE.as_secs());
    let options = ["--durability", durability, "--shutdown-timeout", &grace];
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut server = Process::start(dir.path(), &options);
    let (client, told) = (*server, Told::default());
    let mut workers = Vec::new();
    for n in 0..UPLOADS {
        workers.push(Worker {
            client,
            path: client.create(LENGTH as u64).await,
            data: bytes(dice.below(1 << 40), LENGTH),
            manner: n % 5,
            dice: Dice::new(dice.below(1 << 40)),
            told: told.clone(),
        });
    }
    let paths: Arc<[String]> = workers.iter().map(|worker| worker.path.clone()).collect();
    let watching: Vec<_> = (0..4)
        .map(|n| tokio::spawn(watch(client, paths.clone(), told.clone(), n % 2 == 0)))
        .collect();
    let working: Vec<_> = workers
        .into_iter()
        .map(|worker| tokio::spawn(worker.work()))
        .collect();
    until("all of them are under way", || async {
        let begun = |path: &String| len_of(&file_of(dir.path(), path)) > 0;
        paths.iter().all(begun)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(dice.below(400))).await;
    let (well, took) = server.terminate();
    assert!(well, "{:#?}", server.log());
    assert!(took < GRACE, "it ended after {took:?}");
    let mut heads = 0;
    for watcher in watching {
        heads += watcher.await.expect("no panic");
    }
    let mut ended = Vec::new();
    for worker in working {
        ended.push(worker.await.expect("no panic"));
    }
    let count = |which| ended.iter().filter(|(_, end)| *end == which).count();
    figure(
        TEST,
        format_args!(
            "{durability}: ended in {took:.1?} with {} uploads told where to go on, {} cut, {} complete; {heads} HEADs were well",
            count(Ended::Told),
            count(Ended::Cut),
            count(Ended::Complete)
        ),
    );
    assert!(count(Ended::Told) >= UPLOADS / 2, "they were in the middle");

    let server = Process::start(dir.path(), &options);
    for (worker, _) in ended {
        let (path, data) = (&worker.path, &worker.data);
        let offset = server.offset(path).await;
        assert!(
            offset >= told.of(path),
            "{} was told: {offset}",
            told.of(path)
        );
        let rest = &data[usize::try_from(offset).expect("small")..];
        let reply = server.patch(path, offset, rest).send().await;
        assert_eq!(reply.status, 204, "{reply:?}");
        same(&server.get(path).await.body, data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_under_load_survive_sigterm() {
    let mut dice = Dice::new(seed(TEST));
    for number in 0..rounds(2, 12) {
        round(number, &mut dice).await;
    }
}

/// A server with a client that will not read its download to the end, and one in the middle of an upload.
async fn stuck(grace: &str) -> (Process, tempfile::TempDir, Conn, Conn, String) {
    const LARGE: usize = 32 << 20;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Process::start(dir.path(), &["--shutdown-timeout", grace]);
    let large = server.create(LARGE as u64).await;
    let sent = server.patch(&large, 0, bytes(1, LARGE)).send().await;
    assert_eq!(sent.status, 204);
    let mut reading = server.connect().await;
    reading
        .send(&server.request("GET", &large).to_bytes())
        .await;
    reading.stream.readable().await.expect("it begins");
    let path = server.create(2000).await;
    let writing = server.hang(&path, 0, 2000, &[1; 1000]).await;
    (server, dir, reading, writing, path)
}

/// While the server waits for somebody, the upload is told, and a new connection is refused.
async fn is_closing(server: &Process, writing: &mut Conn) {
    let reply = writing.reply().await;
    assert_eq!(reply.code, "shutting-down", "{reply:?}");
    assert_eq!(reply.number("Upload-Offset"), Some(1000));
    let begun = Instant::now();
    while Conn::try_open(server.addr).await.is_some() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it still accepts");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grace_period_is_the_longest_that_a_client_holds_up_the_end() {
    let (mut server, dir, reading, mut writing, path) = stuck("1s").await;
    let begun = Instant::now();
    server.ask_to_stop();
    is_closing(&server, &mut writing).await;
    assert!(server.ended_well());
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(6)).contains(&took),
        "{took:?}"
    );
    server.wait_for_line("the time to stop is over");
    drop(reading);
    let server = Process::start(dir.path(), &[]);
    assert_eq!(server.offset(&path).await, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_does_not_wait() {
    let (mut server, dir, reading, mut writing, path) = stuck("60s").await;
    server.ask_to_stop();
    is_closing(&server, &mut writing).await;
    let begun = Instant::now();
    server.ask_to_stop();
    assert!(!server.ended_well(), "it did not wait for what was open");
    assert!(begun.elapsed() < Duration::from_secs(5));
    server.wait_for_line("stopped by a second signal");
    drop(reading);
    let server = Process::start(dir.path(), &[]);
    assert_eq!(server.offset(&path).await, 1000, "what was told holds");
    let rest = server.patch(&path, 1000, [2; 1000]).send().await;
    assert_eq!(rest.status, 204);
}
