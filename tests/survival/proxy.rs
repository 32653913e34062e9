//! A thousand uploads over connections that break at every kind of place.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::chaos::Chaos;
use super::uploader::{Manner, Uploader};
use crate::support::{Client, Dice, Process, bytes, figure, rounds, seed, stored_files};

const TEST: &str = "chaos proxy";
/// Of so many connections one is cut.
const ONE_IN: u64 = 3;
const AT_ONCE: usize = 16;
/// How long an upload lives that nobody touches. Longer than a client takes between two requests, on a busy machine too.
const LIFE: Duration = Duration::from_secs(10);

/// What one of the clients that work at the same time has done.
#[derive(Default)]
struct Done {
    completed: usize,
    retries: u64,
    created: usize,
    failures: Vec<String>,
}

/// Uploads number after number until there are `total`, and looks at what is stored of each.
async fn uploads(
    server: Client,
    proxy: Client,
    seed: u64,
    next: Arc<AtomicUsize>,
    total: usize,
) -> Done {
    let mut done = Done::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= total {
            return done;
        }
        let seed = seed.wrapping_add(number as u64);
        let mut dice = Dice::new(seed);
        let length = 1 + dice.below([100, 20_000, 80_000][number % 3]);
        let data = bytes(seed, usize::try_from(length).expect("small"));
        let manner = Manner::ALL[number % Manner::ALL.len()];
        let mut uploader = Uploader::new(proxy, seed, 40_000);
        match uploader.upload(manner, &data).await {
            // Not through the proxy: what is stored counts, not how it comes back.
            Ok(path) if server.get(&path).await.body == data => done.completed += 1,
            Ok(path) => panic!("number {number}, {manner:?}: other bytes in {path}"),
            Err(why) => done.failures.push(format!("{number}, {manner:?}: {why}")),
        }
        done.retries += uploader.retries;
        done.created += uploader.created;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_complete_over_connections_that_break_anywhere() {
    let total = rounds(1000, 5000);
    let seed = seed(TEST);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let life = format!("{}s", LIFE.as_secs());
    let expire = ["--expire-after", &life, "--expire-completed", &life];
    let mut server = Process::start(dir.path(), &expire);
    let chaos = Chaos::start(server.addr, seed, ONE_IN).await;
    let proxy = Client { addr: chaos.addr };
    let begun = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let mut working: JoinSet<_> = (0..AT_ONCE)
        .map(|_| uploads(*server, proxy, seed, next.clone(), total))
        .collect();
    let mut all = Done::default();
    let mut seen = HashSet::new();
    while !working.is_empty() {
        look(dir.path(), &mut seen);
        // Once in a while, and at each end: what expires meanwhile has been seen.
        let Ok(done) = timeout(LIFE / 4, working.join_next()).await else {
            continue;
        };
        let done = done.expect("one of them").expect("no panic");
        all.completed += done.completed;
        all.retries += done.retries;
        all.created += done.created;
        all.failures.extend(done.failures);
    }
    let cuts = chaos.cuts();
    let took = begun.elapsed();
    figure(
        TEST,
        format_args!(
            "{} of {total} uploads complete in {took:.1?}, {} retries, cuts {cuts:?}",
            all.completed, all.retries
        ),
    );
    assert!(all.completed * 1000 >= total * 999, "{:#?}", all.failures);
    for (place, cuts) in cuts {
        assert!(cuts > 0, "no connection was cut at {place:?}");
    }
    assert!(
        !server.log().iter().any(|line| line.contains("ERROR")),
        "{:#?}",
        server.lines
    );
    look(dir.path(), &mut seen);
    figure(
        TEST,
        format_args!(
            "{} uploads that nobody was told of, beside {} others; nothing is left of any {:.1?} later",
            seen.len() - all.created,
            all.created,
            until_nothing_is_left(dir.path()).await
        ),
    );
}

/// Notes every upload that the server keeps something of.
fn look(data: &Path, seen: &mut HashSet<String>) {
    let files = stored_files(data).into_iter();
    seen.extend(files.filter(|file| file.starts_with("info/")));
}

/// Creations whose answer was lost have left uploads that nobody will ever ask for. They are not there for ever.
async fn until_nothing_is_left(data: &Path) -> Duration {
    let begun = Instant::now();
    let (mut least, mut since) = (usize::MAX, begun);
    loop {
        let left = stored_files(data).len();
        if left == 0 {
            return begun.elapsed();
        }
        if left < least {
            (least, since) = (left, Instant::now());
        }
        assert!(since.elapsed() < LIFE * 3, "{left} files stay");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
