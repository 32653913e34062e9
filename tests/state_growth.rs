//! The state database under this server's own commits: many updates of few records, and uploads that come and go. Its size
//! on the disk, the memory, and the time to open it again stay what they are, however long that goes on.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use highwater::state::sled::SledState;
use highwater::state::{Change, Detail, Mark, Promise, StateStore};
use highwater::upload::{Kind, Record, Status, UploadId};

use crate::support::{Dice, figure, rounds, seed};

const TEST: &str = "state_growth::the_state_stays_small";
/// Set in the process that does the work: its memory is nobody else's.
const ALONE: &str = "HIGHWATER_TEST_ALONE";
/// Uploads that stand side by side.
const UPLOADS: usize = 1_000;
/// Requests at a time.
const LANES: usize = 50;
/// What a PATCH of this workload brings; an upload is complete after forty of them.
const PIECE: u64 = 1 << 20;
const LENGTH: u64 = 40 * PIECE;

/// The most on the disk, past the space kept in reserve for the database to grow: sled's segments have 512 KiB, and a few of
/// them are half empty.
const DISK: u64 = 16 << 20;
/// The most that memory grows from the first tenth of the work to its end; sled may keep 64 MiB of pages.
const MEMORY: u64 = 16 << 20;
const OPENING: Duration = Duration::from_secs(1);

#[test]
fn the_state_stays_small() {
    if std::env::var_os(ALONE).is_none() {
        let this = std::env::current_exe().expect("this program");
        let status = Command::new(this)
            .args(["--exact", TEST, "--nocapture"])
            .env(ALONE, "1")
            // Else the commit thread of a database opened again now and then begins a heap of its own, and what the one
            // before it leaves in the old one counts as growth: 10 MiB, once.
            .env("MALLOC_ARENA_MAX", "1")
            .status();
        assert!(status.expect("it runs").success(), "see above");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(work(&dir.path().join("state")));
}

async fn work(dir: &Path) {
    let mut load = Load::start(dir).await;
    // Ten times as much each time, and no larger for it.
    let updates = rounds(20_000, 2_000_000);
    load.update(updates / 10).await;
    let first = load.tell(dir, &format!("{} updates", updates / 10));
    load.update(updates - updates / 10).await;
    let last = load.tell(dir, &format!("{updates} updates"));
    stays(&first, &last);
    load.reopen(dir).await;

    let churn = rounds(10_000, 100_000);
    load.churn(churn / 10).await;
    let first = load.tell(dir, &format!("{} uploads come and gone", churn / 10));
    load.churn(churn - churn / 10).await;
    let last = load.tell(dir, &format!("{churn} uploads come and gone"));
    stays(&first, &last);
    load.reopen(dir).await;
    load.state.close().await.expect("it closes");
}

/// What there is at one moment, in bytes.
struct Size {
    disk: u64,
    memory: u64,
}

fn stays(first: &Size, last: &Size) {
    for size in [first, last] {
        assert!(size.disk < DISK, "{} bytes on the disk", size.disk);
    }
    let grown = last.memory.saturating_sub(first.memory);
    assert!(grown < MEMORY, "{grown} bytes more of memory");
}

/// Bytes of the files below `dir`, as long as they say they are: the reserve is past their ends.
fn size_of(dir: &Path) -> u64 {
    let mut size = 0;
    crate::support::walk(dir, &mut |path| size += crate::support::len_of(path));
    size
}

/// Resident memory of this process.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kibibytes
        .and_then(|size| size.parse::<u64>().ok())
        .expect("a size")
        << 10
}

/// Uploads, and what the state must say of them.
struct Load {
    state: SledState,
    uploads: Vec<(UploadId, Record)>,
    dice: Dice,
    begin: Instant,
    commits: usize,
}

impl Load {
    async fn start(dir: &Path) -> Self {
        let state = SledState::open(dir).expect("it opens").state;
        let mut load = Self {
            state,
            uploads: Vec::new(),
            dice: Dice::new(seed(TEST)),
            begin: Instant::now(),
            commits: 0,
        };
        while load.uploads.len() < UPLOADS {
            let born = (0..LANES).map(|_| born()).collect();
            load.create(born).await;
        }
        load
    }

    /// Commits each change, all at a time, as requests do.
    async fn commit(&mut self, changes: Vec<(Change, Promise)>) {
        self.commits += changes.len();
        let commits = changes
            .into_iter()
            .map(|(change, promise)| self.state.commit(vec![change], promise));
        for answer in join_all(commits).await {
            answer.expect("it commits");
        }
    }

    /// As a POST does.
    async fn create(&mut self, born: Vec<(UploadId, Record)>) {
        let changes = born.iter().map(|(id, record)| {
            let change = Change {
                details: vec![(
                    Detail::Metadata,
                    Some(b"filename c29tZXRoaW5nLnR4dA==,filetype dGV4dC9wbGFpbg==".to_vec()),
                )],
                ..Change::record(id, None, Some(record.clone()))
            };
            (change, Promise::Flushed)
        });
        self.commit(changes.collect()).await;
        self.uploads.extend(born);
    }

    /// So many pieces, one upload after the other: one in five is under a checksum, the last one of an upload completes it,
    /// and another one takes its place.
    async fn update(&mut self, times: usize) {
        let mut done = 0;
        while done < times {
            for at in (0..UPLOADS).step_by(LANES) {
                self.patch(at..at + LANES).await;
                done += LANES;
            }
        }
        self.commit_all().await;
    }

    async fn patch(&mut self, uploads: std::ops::Range<usize>) {
        let (mut before, mut after, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for at in uploads {
            let checked = self.dice.below(5) == 0;
            let (id, record) = &mut self.uploads[at];
            if checked {
                let unverified = Record {
                    unverified_from: Some(record.offset),
                    ..record.clone()
                };
                before.push((
                    Change::record(id, Some(record.clone()), Some(unverified.clone())),
                    Promise::Flushed,
                ));
                *record = unverified;
            }
            let mut next = record
                .advance(record.offset + PIECE, record.touched + 1)
                .expect("there is room");
            next.unverified_from = next
                .unverified_from
                .filter(|_| !next.is_complete())
                .map(|_| next.offset);
            let completes = next.is_complete();
            let marks = match (record.offset, completes) {
                (_, true) => vec![(Mark::Open, false)],
                (0, _) => vec![(Mark::Open, true)],
                _ => Vec::new(),
            };
            let promise = match (completes, checked) {
                (true, _) => Promise::Synced,
                (false, true) => Promise::Flushed,
                (false, false) => Promise::Queued,
            };
            let change = Change {
                marks,
                ..Change::record(id, Some(record.clone()), Some(next.clone()))
            };
            after.push((change, promise));
            *record = next;
            if completes {
                whole.push(at);
            }
        }
        self.commit(before).await;
        self.commit(after).await;
        self.replace(whole).await;
    }

    /// Ends uploads as a DELETE does, removes their tombstones as the sweep does, and creates others in their places.
    async fn replace(&mut self, places: Vec<usize>) {
        let (mut ends, mut gone) = (Vec::new(), Vec::new());
        for at in &places {
            let (id, record) = &self.uploads[*at];
            let stone = record.entombed(Status::Cancelled, record.touched + 1);
            let marks = [Mark::Open, Mark::Waiting, Mark::Assembling].map(|mark| (mark, false));
            let end = Change {
                marks: marks.to_vec(),
                ..Change::record(id, Some(record.clone()), Some(stone.clone()))
            };
            ends.push((end, Promise::Flushed));
            gone.push((Change::record(id, Some(stone), None), Promise::Queued));
        }
        self.commit(ends).await;
        self.commit(gone).await;
        self.create(places.iter().map(|_| born()).collect()).await;
        for at in places.into_iter().rev() {
            self.uploads.swap_remove(at);
        }
    }

    /// So many uploads come, and go at some point of their lives.
    async fn churn(&mut self, times: usize) {
        for _ in 0..times.div_ceil(LANES) {
            let mut places: Vec<_> = (0..LANES).map(|_| self.dice.index(UPLOADS)).collect();
            places.sort_unstable();
            places.dedup();
            let at = self.dice.index(UPLOADS - LANES);
            self.patch(at..at + LANES).await;
            self.replace(places).await;
        }
        self.commit_all().await;
    }

    /// Waits until all that was queued is written.
    async fn commit_all(&self) {
        self.state
            .commit(Vec::new(), Promise::Flushed)
            .await
            .expect("it commits");
    }

    fn tell(&self, dir: &Path, what: &str) -> Size {
        let size = Size {
            disk: size_of(dir),
            memory: memory(),
        };
        let (disk, memory) = (size.disk >> 10, size.memory >> 10);
        let (commits, seconds) = (self.commits, self.begin.elapsed().as_secs_f64());
        figure(
            TEST,
            format_args!(
                "{what}: {disk} KiB on the disk, {memory} KiB resident ({commits} commits, {seconds:.1} s)"
            ),
        );
        size
    }

    /// Everything is there again, at once and right.
    async fn reopen(&mut self, dir: &Path) {
        self.state.close().await.expect("it closes");
        let begin = Instant::now();
        self.state = SledState::open(dir).expect("it opens").state;
        let took = begin.elapsed();
        figure(
            TEST,
            format_args!("opened again in {:.0} ms", took.as_secs_f64() * 1e3),
        );
        assert!(took < OPENING, "{took:?}");
        let mut found = self
            .state
            .scan(None, usize::MAX)
            .await
            .expect("the records");
        let mut uploads = self.uploads.clone();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        uploads.sort_by(|one, other| one.0.cmp(&other.0));
        assert!(
            found == uploads,
            "{} records instead of {UPLOADS}",
            found.len()
        );
        let open = self
            .state
            .marked(Mark::Open)
            .await
            .expect("the marks")
            .len();
        let begun = uploads
            .iter()
            .filter(|(_, record)| record.offset > 0 && !record.is_complete())
            .count();
        assert_eq!(open, begun);
    }
}

fn born() -> (UploadId, Record) {
    (
        UploadId::random(),
        Record::new(Kind::Plain, Some(LENGTH), 1_700_000_000_000),
    )
}
