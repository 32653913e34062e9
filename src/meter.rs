//! What happens, counted: atomics that the doors and the engine add to, and that the admin API reads. Nothing is counted a
//! frame, and nothing waits for a reader.

mod histogram;
mod window;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::histogram::{Counts, Histogram};
pub use self::window::{Running, Throughput};

use crate::upload::{Failure, Kind, Record, Status};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many by now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters by a code, for what is rare. Codes are constants of the program, so that there is an end to them.
#[derive(Debug, Default)]
pub struct Codes(Mutex<BTreeMap<&'static str, u64>>);

impl Codes {
    /// With these codes at nothing yet, so that they are told before the first.
    fn of(codes: impl IntoIterator<Item = &'static str>) -> Self {
        Self(Mutex::new(
            codes.into_iter().map(|code| (code, 0)).collect(),
        ))
    }

    /// One more with this code.
    pub fn one(&self, code: &'static str) {
        *locked(&self.0).entry(code).or_default() += 1;
    }

    /// All of them.
    #[must_use]
    pub fn get(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.0).clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The methods that are counted by name; all others are `other`.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "other"];
/// Classes of status.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
// Plain numbers, for the type of the counters: a length that calls a function to be known can make the compiler go
// round in a circle (E0391), depending on the order in which it checks things.
const KIND_COUNT: usize = 3;
/// How many of [`STATUSES`] there are.
pub const STATUS_COUNT: usize = 7;
/// Kinds of upload.
pub const KINDS: [Kind; KIND_COUNT] = [Kind::Plain, Kind::Partial, Kind::Final];
const FAILURES: [Failure; 9] = [
    Failure::FileHash,
    Failure::BlobLost,
    Failure::DiskFault,
    Failure::PartGone,
    Failure::TooLarge,
    Failure::TooSmall,
    Failure::TypeMismatch,
    Failure::Malware,
    Failure::Unscanned,
];
/// What an upload may be, without the reason of a failure.
pub const STATUSES: [&str; STATUS_COUNT] = [
    Status::Active.name(),
    Status::Assembling.name(),
    Status::Completed.name(),
    Status::Failed(Failure::BlobLost).name(),
    Status::Cancelled.name(),
    Status::Expired.name(),
    Status::Scanning.name(),
];

/// The reason of a failure, for operators: to clients a disk's fault is the same as lost bytes.
#[must_use]
pub const fn failure_code(failure: Failure) -> &'static str {
    match failure {
        Failure::DiskFault => "disk-fault",
        other => other.code(),
    }
}

/// Where a status is in [`STATUSES`].
#[must_use]
pub const fn status_index(status: Status) -> usize {
    match status {
        Status::Active => 0,
        Status::Assembling => 1,
        Status::Completed => 2,
        Status::Failed(_) => 3,
        Status::Cancelled => 4,
        Status::Expired => 5,
        Status::Scanning => 6,
    }
}

const fn kind_index(kind: Kind) -> usize {
    match kind {
        Kind::Plain => 0,
        Kind::Partial => 1,
        Kind::Final => 2,
    }
}

/// A counter for each kind of upload.
#[derive(Debug, Default)]
pub struct ByKind([Counter; KIND_COUNT]);

impl ByKind {
    /// Of this kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind_index(kind)].get()
    }

    /// Of all kinds.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }

    fn one(&self, kind: Kind) {
        self.0[kind_index(kind)].one();
    }
}

/// Everything that is counted since the start.
#[derive(Debug)]
pub struct Meter {
    /// When counting began.
    pub since: Instant,
    requests: [[Counter; CLASSES.len()]; METHODS.len()],
    /// From a request's head to its answer's head: a body is part of it.
    pub request_time: Histogram,
    /// Refusals by code.
    pub refused: Codes,
    /// Uploads that were begun.
    pub created: ByKind,
    /// Uploads that got all of their bytes.
    pub completed: ByKind,
    /// Uploads that were terminated.
    pub cancelled: ByKind,
    /// Uploads whose time ran out.
    pub expired: ByKind,
    /// Uploads that failed, by code.
    pub failed: Codes,
    /// From creation to the last byte.
    pub upload_time: Histogram,
    /// From the lock of a PATCH to its commit: of a client that sends chunks, the time of each.
    pub append_time: Histogram,
    /// What requests that change an upload wait for its lock.
    pub lock_wait: Histogram,
    /// Appends that went on after one that was cut, or after a rest.
    pub resumes: Counter,
    /// Use cases that ended with an error of the blob store.
    pub blob_errors: Counter,
    /// And of the state store.
    pub state_errors: Counter,
    /// Files of no upload that the sweep removed.
    pub orphans: Counter,
    /// Tombstones that the sweep removed.
    pub tombstones: Counter,
    /// Bytes on the disk that the sweep gave back.
    pub swept_bytes: Counter,
    /// Connections closed at once, since their address had too many.
    pub turned_away: Counter,
    /// Calls to hooks, by event, each try of a letter by itself.
    pub hook_calls: Codes,
    /// Those that failed.
    pub hook_faults: Codes,
    /// Scans by how they ended; one that could not be done is counted each time.
    pub scans: Codes,
    /// What a scan took.
    pub scan_time: Histogram,
    /// Bytes of bodies.
    pub throughput: Throughput,
    counting: AtomicBool,
    uploads: [[AtomicI64; STATUS_COUNT]; KIND_COUNT],
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            requests: Default::default(),
            request_time: Histogram::seconds(REQUEST),
            refused: Codes::default(),
            created: ByKind::default(),
            completed: ByKind::default(),
            cancelled: ByKind::default(),
            expired: ByKind::default(),
            failed: Codes::of(FAILURES.map(failure_code)),
            upload_time: Histogram::seconds(UPLOAD),
            append_time: Histogram::seconds(REQUEST),
            lock_wait: Histogram::seconds(WAIT),
            resumes: Counter::default(),
            blob_errors: Counter::default(),
            state_errors: Counter::default(),
            orphans: Counter::default(),
            tombstones: Counter::default(),
            swept_bytes: Counter::default(),
            turned_away: Counter::default(),
            hook_calls: Codes::default(),
            hook_faults: Codes::default(),
            scans: Codes::of(["clean", "held", "infected", "retried", "unscanned"]),
            scan_time: Histogram::seconds(REQUEST),
            throughput: Throughput::default(),
            counting: AtomicBool::new(false),
            uploads: Default::default(),
        }
    }
}

/// Bounds of the histograms' buckets, in seconds.
const REQUEST: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0, 1800.0,
];
const UPLOAD: &[f64] = &[
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 21600.0,
    86400.0,
];
const WAIT: &[f64] = &[
    0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
];

impl Meter {
    /// A request was answered.
    pub fn answered(&self, method: &str, status: u16, took: Duration) {
        let method = METHODS.iter().position(|known| *known == method);
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[method.unwrap_or(METHODS.len() - 1)][class].one();
        self.request_time.observe(took);
    }

    /// Requests by method and class of status; those that never were are left out.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        METHODS.iter().zip(&self.requests).flat_map(|(method, of)| {
            let counts = CLASSES.iter().zip(of);
            counts
                .map(|(class, count)| (*method, *class, count.get()))
                .filter(|(.., count)| *count > 0)
        })
    }

    /// From now on changes count: what the stores hold was told by [`Meter::found`].
    pub fn begin(&self) {
        self.counting.store(true, Ordering::Relaxed);
    }

    /// An upload that was there at the start.
    pub fn found(&self, record: &Record) {
        self.gauge(record).fetch_add(1, Ordering::Relaxed);
    }

    /// An upload's record was changed: made, if there was none before; removed, if there is none after.
    pub fn changed(&self, before: Option<&Record>, after: Option<&Record>) {
        let status = |record: Option<&Record>| record.map(|record| record.status);
        if status(before) == status(after) || !self.counting.load(Ordering::Relaxed) {
            return;
        }
        if let Some(before) = before {
            self.gauge(before).fetch_sub(1, Ordering::Relaxed);
        }
        let Some(after) = after else { return };
        self.gauge(after).fetch_add(1, Ordering::Relaxed);
        if before.is_none() {
            self.created.one(after.kind);
        }
        let was_finished = before.is_some_and(Record::is_finished);
        match after.status {
            // What a scan holds back may be malware.
            Status::Active | Status::Scanning => {}
            Status::Assembling | Status::Completed if was_finished => {}
            Status::Assembling | Status::Completed => {
                self.completed.one(after.kind);
                let took = after.touched.saturating_sub(after.created);
                self.upload_time.observe(Duration::from_millis(took));
            }
            Status::Failed(failure) => self.failed.one(failure_code(failure)),
            Status::Cancelled => self.cancelled.one(after.kind),
            Status::Expired => self.expired.one(after.kind),
        }
    }

    fn gauge(&self, record: &Record) -> &AtomicI64 {
        &self.uploads[kind_index(record.kind)][status_index(record.status)]
    }

    /// How many uploads there are of this status, tombstones included.
    #[must_use]
    pub fn count(&self, status: &str) -> u64 {
        let of = self.uploads().filter(|(_, name, _)| *name == status);
        of.map(|(.., count)| count).sum()
    }

    /// How many uploads there are by kind and status, tombstones included.
    pub fn uploads(&self) -> impl Iterator<Item = (Kind, &'static str, u64)> {
        KINDS.iter().zip(&self.uploads).flat_map(|(kind, of)| {
            STATUSES.iter().zip(of).map(|(status, count)| {
                let count = count.load(Ordering::Relaxed);
                (*kind, *status, u64::try_from(count).unwrap_or(0))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_counted_through_its_life() {
        let meter = Meter::default();
        let new = Record::new(Kind::Plain, Some(10), 1_000);
        meter.changed(None, Some(&new));
        assert_eq!(meter.created.sum(), 0, "nothing counts before the start");
        meter.found(&new);
        meter.begin();
        let count = |status| meter.count(status);
        assert_eq!(count("active"), 1);
        let some = new.advance(4, 2_000).unwrap();
        meter.changed(Some(&new), Some(&some));
        let done = some.advance(10, 3_500).unwrap();
        meter.changed(Some(&some), Some(&done));
        assert_eq!((count("active"), count("completed")), (0, 1));
        assert_eq!(meter.completed.of(Kind::Plain), 1);
        assert!((meter.upload_time.counts().sum - 2.5).abs() < 1e-9);
        let gone = done.entombed(Status::Expired, 9_000);
        meter.changed(Some(&done), Some(&gone));
        meter.changed(Some(&gone), None);
        assert_eq!((count("completed"), count("expired")), (0, 0));
        assert_eq!((meter.expired.sum(), meter.created.sum()), (1, 0));
        let scanned = Record {
            status: Status::Scanning,
            ..done.clone()
        };
        meter.changed(Some(&some), Some(&scanned));
        assert_eq!(meter.completed.sum(), 1, "it may be malware");
        meter.changed(Some(&scanned), Some(&done));
        assert_eq!(meter.completed.of(Kind::Plain), 2);
        let part = Record::new(Kind::Partial, Some(0), 1);
        meter.changed(None, Some(&part));
        assert_eq!((meter.created.sum(), meter.completed.sum()), (1, 3));
        let failed = Record {
            status: Status::Failed(Failure::DiskFault),
            ..part.clone()
        };
        meter.changed(Some(&part), Some(&failed));
        let failed: Vec<_> = meter.failed.get().into_iter().collect();
        let others = ["blob-lost", "part-gone", "parts-too-large"];
        assert!(failed.contains(&("disk-fault", 1)));
        assert!(others.iter().all(|code| failed.contains(&(code, 0))));
    }

    #[test]
    fn odd_methods_and_statuses_have_a_place() {
        let meter = Meter::default();
        for (method, status) in [("GET", 200), ("BREW", 501), ("PATCH", 999), ("PATCH", 0)] {
            meter.answered(method, status, Duration::ZERO);
        }
        let counted: Vec<_> = meter.requests().collect();
        let expected = [
            ("GET", "2xx", 1),
            ("PATCH", "1xx", 1),
            ("PATCH", "5xx", 1),
            ("other", "5xx", 1),
        ];
        assert_eq!(counted, expected);
    }
}
