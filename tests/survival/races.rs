//! Clients that race PATCH, HEAD, DELETE and final creation on the same uploads, and are held to the model of [`super::history`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater::protocol::checksum::Algorithm;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::history::{Ask, Body, Content, End, Event, History, When};
use super::joins::Joined;
use super::uploader::final_of;
use crate::support::client::Request;
use crate::support::{
    Client, Dice, Process, Reply, bytes, checksum, figure, file_of, rounds, seed,
};

const TEST: &str = "races";
/// So many rounds run beside each other.
const AT_ONCE: usize = 6;
const RACERS: usize = 3;
/// The most requests of a racer.
const STEPS: usize = 7;

/// One round: some uploads that all of its racers know.
struct Round {
    client: Client,
    begun: Instant,
    lengths: Vec<u64>,
    paths: Vec<String>,
    seen: Mutex<Seen>,
}

/// What the racers saw: for each upload its events, and the finals.
#[derive(Default)]
struct Seen {
    events: Vec<Vec<Event>>,
    joined: Vec<Joined>,
}

impl Round {
    /// A plain upload, or two parts and finals of them.
    async fn prepare(client: Client, dice: &mut Dice) -> Self {
        let parts = dice.below(3) == 0;
        let mut lengths = Vec::new();
        let mut paths = Vec::new();
        for _ in 0..if parts { 2 } else { 1 } {
            let length = 1 + dice.below(if parts { 200 } else { 3000 });
            let mut post = client
                .tus("POST", "/files/")
                .header("Upload-Length", length);
            if parts {
                post = post.header("Upload-Concat", "partial");
            }
            let created = post.send().await;
            assert_eq!(created.status, 201, "{created:?}");
            lengths.push(length);
            paths.push(created.location_path());
        }
        let seen = Seen {
            events: lengths.iter().map(|_| Vec::new()).collect(),
            joined: Vec::new(),
        };
        Self {
            client,
            begun: Instant::now(),
            lengths,
            paths,
            seen: Mutex::new(seen),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("not for centuries")
    }

    /// Sends a request in two pieces with a pause between them; the second one may stop short. The answer, and when.
    async fn ask(
        &self,
        method: &str,
        request: &[u8],
        (split, end): (usize, usize),
        pause: Duration,
    ) -> (Reply, When) {
        let mut conn = self.client.connect().await;
        let asked = self.now();
        // One that is refused on its head may be closed before the rest is out.
        let _ = conn.stream.write_all(&request[..split]).await;
        tokio::time::sleep(pause).await;
        let _ = conn.stream.write_all(&request[split..end]).await;
        if end < request.len() {
            let _ = conn.stream.shutdown().await;
        }
        let reply = conn.reply_to(method).await;
        let answered = self.now();
        (reply, When { asked, answered })
    }

    async fn whole(&self, method: &str, request: &Request) -> (Reply, When) {
        let bytes = request.to_bytes();
        let all = (bytes.len(), bytes.len());
        self.ask(method, &bytes, all, Duration::ZERO).await
    }
}

/// One client: what it believes of the uploads, and its dice.
struct Racer {
    dice: Dice,
    believed: Vec<u64>,
}

impl Racer {
    async fn race(mut self, round: Arc<Round>) {
        for _ in 0..=self.dice.below(STEPS as u64) {
            let which = self.dice.index(round.paths.len());
            if round.paths.len() > 1 && self.dice.below(4) == 0 {
                self.join(&round).await;
            } else {
                self.touch(&round, which).await;
            }
        }
    }

    /// Asks something of an upload.
    async fn touch(&mut self, round: &Round, which: usize) {
        let path = &round.paths[which];
        let left = round.lengths[which] - self.believed[which];
        let (ask, (reply, when)) = match self.dice.below(20) {
            0 => {
                let delete = round.client.tus("DELETE", path);
                (Ask::Delete, round.whole("DELETE", &delete).await)
            }
            n if n > 4 && left > 0 => self.patch(round, which, left).await,
            _ => {
                let head = round.client.tus("HEAD", path);
                (Ask::Head, round.whole("HEAD", &head).await)
            }
        };
        let offset = reply.number("Upload-Offset");
        if let Some(offset) = offset {
            self.believed[which] = self.believed[which].max(offset);
        }
        let event = Event {
            when,
            ask,
            status: reply.status,
            code: reply.code,
            offset,
        };
        round.seen.lock().await.events[which].push(event);
    }

    async fn patch(&mut self, round: &Round, which: usize, left: u64) -> (Ask, (Reply, When)) {
        let dice = &mut self.dice;
        let believed = self.believed[which];
        // Now and then from where it cannot be.
        let at = match dice.below(10) {
            0 => dice.below(round.lengths[which]),
            _ => believed,
        };
        let size = match dice.below(3) {
            0 => left,
            _ => 1 + dice.below(left),
        };
        let size = size.min(round.lengths[which] - at);
        let bytes = bytes(dice.below(1 << 40), usize::try_from(size).expect("small"));
        let patch = round.client.patch(&round.paths[which], at, bytes.clone());
        let sum = checksum(Algorithm::Sha1, &bytes);
        let (body, patch) = match dice.below(10) {
            0..=3 => (Body::Plain, patch),
            4 => (Body::Chunked, patch.chunked()),
            5 => (Body::Checked, patch.header("Upload-Checksum", sum)),
            6 => {
                let announced = patch.header("Trailer", "Upload-Checksum");
                (Body::Trailed, announced.trailer("Upload-Checksum", sum))
            }
            7 => {
                let wrong = checksum(Algorithm::Sha1, b"other bytes");
                (Body::Wrong, patch.header("Upload-Checksum", wrong))
            }
            _ => {
                let sent = dice.below(size);
                (Body::Cut(usize::try_from(sent).expect("small")), patch)
            }
        };
        let request = patch.to_bytes();
        let end = match body {
            Body::Cut(sent) => request.len() - bytes.len() + sent,
            _ => request.len(),
        };
        // In one piece, or with a moment in the middle for the others: mostly in the body.
        let split = match dice.below(4) {
            0 => end,
            1 => dice.index(end),
            _ => end.saturating_sub(usize::try_from(dice.below(size)).expect("small")),
        };
        let pause = Duration::from_micros(dice.below(3) * dice.below(2000));
        let answer = round.ask("PATCH", &request, (split, end), pause);
        let answer = answer.await;
        let bytes = Content(bytes);
        (Ask::Patch { at, bytes, body }, answer)
    }

    /// Asks for a final of the round's uploads, in some order, or looks at one that there is.
    async fn join(&mut self, round: &Round) {
        let mut order: Vec<usize> = (0..round.paths.len()).collect();
        if self.dice.below(2) == 0 {
            order.reverse();
        }
        let paths: Vec<_> = order.iter().map(|n| round.paths[*n].clone()).collect();
        let post = round.client.tus("POST", "/files/");
        let post = post.header("Upload-Concat", final_of(&paths));
        let (created, when) = round.whole("POST", &post).await;
        let mut joined = Joined::new(order, when, &created);
        if let Some(path) = &joined.path {
            let get = round.client.request("GET", path);
            let (reply, when) = round.whole("GET", &get).await;
            joined.looked(&reply, when);
        }
        round.seen.lock().await.joined.push(joined);
    }
}

/// What there is of an upload once nobody asks any more: what HEAD tells, and that many bytes of its file.
async fn end(server: &Client, data: &Path, path: &str) -> End {
    let head = server.head(path).await;
    let file = file_of(data, path);
    if head.status == 404 {
        assert!(!file.exists(), "a deleted upload's file is there: {path}");
        return End::Gone;
    }
    assert_eq!(head.status, 200, "{head:?}");
    let offset = head.number("Upload-Offset").expect("an offset");
    let offset = usize::try_from(offset).expect("small");
    if head.number("Upload-Length") == head.number("Upload-Offset") {
        // Its bytes may be in a final's file by now.
        let got = server.get(path).await;
        assert_eq!(got.status, 200, "{got:?}");
        return End::There(Content(got.body));
    }
    let mut bytes = std::fs::read(&file).unwrap_or_default();
    assert!(bytes.len() >= offset, "{offset} of {} bytes", bytes.len());
    bytes.truncate(offset);
    End::There(Content(bytes))
}

/// Plays one round and checks it; how many requests it was, or what was wrong.
async fn play(server: Client, data: PathBuf, seed: u64) -> Result<[usize; 4], String> {
    let mut dice = Dice::new(seed);
    let round = Arc::new(Round::prepare(server, &mut dice).await);
    let mut racing = JoinSet::new();
    for _ in 0..RACERS {
        let racer = Racer {
            dice: Dice::new(dice.below(1 << 40)),
            believed: vec![0; round.paths.len()],
        };
        racing.spawn(racer.race(round.clone()));
    }
    while let Some(raced) = racing.join_next().await {
        raced.map_err(|panic| format!("{panic}"))?;
    }
    let seen = std::mem::take(&mut *round.seen.lock().await);
    let mut histories = Vec::new();
    for (events, path) in seen.events.into_iter().zip(&round.paths) {
        let end = end(&server, &data, path).await;
        histories.push(History { events, end });
    }
    let mut counts = [0; 4];
    for history in &histories {
        history
            .check()
            .map_err(|broken| format!("{broken}\n{history:?}"))?;
        counts[0] += history.events.len();
        counts[1] += history.moves().len();
        counts[2] += history.events.iter().filter(|e| e.status == 423).count();
    }
    for mut joined in seen.joined {
        joined.look_at_the_end(&server).await;
        joined
            .check(&histories, &round.lengths)
            .map_err(|broken| format!("{broken}\n{joined:#?}\n{histories:?}"))?;
        counts[3] += usize::from(joined.path.is_some());
    }
    Ok(counts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_only_legal_outcomes() {
    let total = rounds(300, 5000);
    let seed = seed(TEST);
    let begun = Instant::now();
    let mut counts = [0; 4];
    for (mode, durability) in ["process", "complete", "every"].into_iter().enumerate() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let server = Process::start(dir.path(), &["--durability", durability]);
        let mut playing = JoinSet::new();
        let mut numbers = (mode..total).step_by(3);
        loop {
            while playing.len() < AT_ONCE
                && let Some(number) = numbers.next()
            {
                let (client, data) = (*server, dir.path().to_owned());
                let seed = seed.wrapping_add(number as u64);
                playing.spawn(async move {
                    let played = tokio::spawn(play(client, data, seed)).await;
                    let played = played.unwrap_or_else(|panic| Err(panic.to_string()));
                    (number, played)
                });
            }
            let Some(played) = playing.join_next().await else {
                break;
            };
            let (number, played) = played.expect("no panic");
            let played = played.unwrap_or_else(|broken| {
                panic!("{durability}, round {number} of seed {seed}: {broken}")
            });
            for (sum, n) in counts.iter_mut().zip(played) {
                *sum += n;
            }
        }
    }
    let [requests, moves, taken, finals] = counts;
    figure(
        TEST,
        format_args!(
            "{total} rounds in {:.1?}: {requests} requests to uploads, {moves} moved an offset, {taken} were taken over, \
             {finals} finals",
            begun.elapsed()
        ),
    );
    assert!(
        moves > total && taken > total / 10 && finals > total / 10,
        "they raced"
    );
}
