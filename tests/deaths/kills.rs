//! `kill -9` under a mixed load, at random moments and at chosen places. Invariants 1, 2, 3 and 7, for every upload.

use std::path::Path;
use std::time::{Duration, Instant};

use super::check::{Check, Found, Promise};
use super::load::Load;
use super::places::{self, PLACES, Scene, Seen};
use crate::support::{Dice, Process, figure, rounds, seed};

const NAME: &str = "kills under a mixed load";
/// What is in flight at each kill, at least: requests, and kinds of them.
const FLIGHTS: (usize, usize) = (8, 4);
/// How long a chosen place is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A chosen place, or none; and what was seen.
struct Kill {
    aim: Option<usize>,
    seen: Seen,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariants_1_2_3_and_7_hold_through_kills_under_a_mixed_load() {
    let seed = seed(NAME);
    let mut dice = Dice::new(seed);
    // A disk and no tmpfs: a flush takes its time there.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let data = dir.path().join("data");
    let load = Load::new(seed);
    let (mut kills, mut found) = (Vec::new(), Found::default());
    let mut server = start(&data, 0);
    let count = rounds(10, 100);
    for round in 0.. {
        if kills.len() == count {
            break;
        }
        assert!(round < 3 * count, "too few requests are in flight");
        // Every other kill goes where the fewest have fallen.
        let aim = (round % 2 == 1).then(|| {
            let times = hits(&kills);
            (0..PLACES.len())
                .min_by_key(|place| times[*place])
                .expect("places")
        });
        let scene = Scene::opens(&load, &data);
        let users = load.start(*server);
        let (moment, flushing) = match aim {
            None => at_random(server, &scene, &mut dice).await,
            Some(place) => aimed(server, &scene, &mut dice, place).await,
        };
        // What is still in flight once they have ended was not answered when the server died.
        users.ended().await;
        let seen = scene.look(moment, flushing);
        tell(round, aim, &seen);
        // One with less in flight is checked as the others are, and does not count.
        if enough(&seen) {
            kills.push(Kill { aim, seen });
        }
        server = start(&data, round + 1);
        let check = Check {
            load: &load,
            client: *server,
            data: &data,
            promise: Promise::ALL,
        };
        let now = check.all().await;
        assert!(now.wrong.is_empty(), "kill {round}: {:#?}", now.wrong);
        found.add(now);
        let log = server.log().join("\n");
        assert!(!log.contains("RECORD"), "{log}");
    }
    finish(&load, &server, &data).await;
    sum_up(&kills, &found);
}

/// Each time with another durability.
fn start(data: &Path, round: usize) -> Process {
    let mode = ["process", "complete", "every"][round % 3];
    Process::start(data, &["--durability", mode])
}

/// Kills at a random moment. Answers when, and whether the state database was being written just before.
async fn at_random(server: Process, scene: &Scene<'_>, dice: &mut Dice) -> (Instant, bool) {
    loop {
        tokio::time::sleep(Duration::from_millis(50 + dice.below(300))).await;
        // Some of them have their answer already, though its client has not read it.
        if scene.look(Instant::now(), false).flights >= 2 * FLIGHTS.0 {
            break;
        }
    }
    let moment = Instant::now();
    let flushing = places::flushes_state(server.pid());
    server.kill();
    (moment, flushing)
}

/// Stops the server at random moments until it is found in `place`, and kills it there.
async fn aimed(
    server: Process,
    scene: &Scene<'_>,
    dice: &mut Dice,
    place: usize,
) -> (Instant, bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_micros(dice.below(20_000))).await;
        places::stop(server.pid());
        let moment = Instant::now();
        let flushing = places::flushes_state(server.pid());
        settled(scene, moment).await;
        let seen = scene.look(moment, flushing);
        if seen.places[place] > 0 && enough(&seen) {
            server.kill();
            return (moment, flushing);
        }
        places::go_on(server.pid());
        assert!(
            Instant::now() < until,
            "never seen in {}: {seen:?}",
            PLACES[place]
        );
    }
}

/// Answers that were under way when the server was stopped come in.
async fn settled(scene: &Scene<'_>, moment: Instant) {
    let count = || scene.look(moment, false).flights;
    let mut before = usize::MAX;
    while count() < before {
        before = count();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn enough(seen: &Seen) -> bool {
    seen.flights >= FLIGHTS.0 && seen.kinds >= FLIGHTS.1
}

/// How many kills fell into each place.
fn hits(kills: &[Kill]) -> [usize; PLACES.len()] {
    let mut hits = [0; PLACES.len()];
    for kill in kills {
        for (sum, seen) in hits.iter_mut().zip(kill.seen.places) {
            *sum += usize::from(seen > 0);
        }
    }
    hits
}

fn tell(round: usize, aim: Option<usize>, seen: &Seen) {
    let how = aim.map_or("at random".to_owned(), |place| {
        format!("aimed at {}", PLACES[place])
    });
    let there = PLACES.iter().zip(seen.places).filter(|(_, n)| *n > 0);
    let there: Vec<_> = there.map(|(place, n)| format!("{place} x {n}")).collect();
    println!(
        "kill {round}, {how}: {} requests of {} kinds in flight; in {}",
        seen.flights,
        seen.kinds,
        there.join(", ")
    );
}

/// Whatever is unfinished is resumed, and equals its source in the end.
async fn finish(load: &Load, server: &Process, data: &Path) {
    let uploads = load.uploads().clone();
    let mut resumed = 0;
    for upload in uploads
        .iter()
        .filter(|one| one.role != super::load::Role::Final)
    {
        if upload.is_complete() {
            continue;
        }
        let (at, path) = (upload.told(), upload.path().expect("a path"));
        let rest = load.bytes(upload, at..upload.length());
        let mut patch = server.patch(&path, at, rest);
        if upload.facts().declared != super::load::Asked::Told {
            patch = patch.header("Upload-Length", upload.length());
        }
        let reply = patch.send().await;
        assert_eq!(reply.status, 204, "{reply:?}");
        upload.facts().declared = super::load::Asked::Told;
        upload.tell(upload.length());
        resumed += 1;
    }
    for whole in uploads
        .iter()
        .filter(|one| one.role == super::load::Role::Final)
    {
        whole.tell(whole.length());
    }
    let check = Check {
        load,
        client: **server,
        data,
        promise: Promise::ALL,
    };
    let found = check.all().await;
    assert!(found.wrong.is_empty(), "{:#?}", found.wrong);
    figure(
        NAME,
        format_args!("{resumed} uploads resumed after the last one; {found}"),
    );
}

fn sum_up(kills: &[Kill], found: &Found) {
    let aimed = kills.iter().filter(|kill| kill.aim.is_some()).count();
    let hits = hits(kills);
    let fell: Vec<_> = PLACES
        .iter()
        .zip(hits)
        .map(|(place, n)| format!("{n} in {place}"))
        .collect();
    figure(
        NAME,
        format_args!(
            "{} kills, {aimed} of them aimed: {}",
            kills.len(),
            fell.join(", ")
        ),
    );
    let flights = kills
        .iter()
        .map(|kill| kill.seen.flights)
        .min()
        .unwrap_or(0);
    let kinds = kills.iter().map(|kill| kill.seen.kinds).min().unwrap_or(0);
    figure(
        NAME,
        format_args!("at least {flights} requests of {kinds} kinds in flight"),
    );
    figure(
        NAME,
        format_args!(
            "after the kills {found}; {} creations that were never answered",
            found.untold
        ),
    );
    assert!(
        hits.iter().all(|n| *n > 0),
        "a place was never hit: {fell:?}"
    );
}
