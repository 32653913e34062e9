//! Where a server stands at a moment, seen from outside: by the requests that wait for it, by its data directory, and by
//! what the kernel tells of its threads.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use super::load::{Flight, Kind, Load, Role, Upload};
use crate::support::{file_of, id, len_of, walk};

/// Where a kill can fall.
pub const PLACES: [&str; 5] = [
    "a body",
    "a checksum verdict",
    "a join",
    "an assembly",
    "a state flush",
];

/// The number of each place at one moment: how many bodies, verdicts and so on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub places: [usize; PLACES.len()],
    /// Requests in flight, and of how many kinds.
    pub flights: usize,
    pub kinds: usize,
}

/// A load from its start on, and the data directory of its server.
pub struct Scene<'a> {
    load: &'a Load,
    data: &'a Path,
    since: SystemTime,
    /// Ids of those whose links an earlier server left.
    linked_before: HashSet<String>,
}

impl<'a> Scene<'a> {
    pub fn opens(load: &'a Load, data: &'a Path) -> Self {
        Self {
            load,
            data,
            since: SystemTime::now(),
            linked_before: linked(data),
        }
    }

    /// Where the server is, or was when it died. Requests that were begun after `moment` do not count. The kernel is asked
    /// elsewhere, while there is a process: whether it was `flushing`.
    pub fn look(&self, moment: Instant, flushing: bool) -> Seen {
        let mut flights = self.load.flights().clone();
        flights.retain(|flight| flight.begun < moment);
        let mut kinds: Vec<Kind> = flights.iter().map(|flight| flight.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let in_body = flights.iter().filter(|it| self.is_in_body(it, moment));
        let in_verdict = flights.iter().filter(|it| self.is_in_verdict(it, moment));
        Seen {
            flights: flights.len(),
            kinds: kinds.len(),
            places: [
                in_body.count(),
                in_verdict.count(),
                self.joins(),
                self.assemblies(),
                usize::from(flushing),
            ],
        }
    }

    /// Some of its bytes are stored, and the rest has not been sent.
    fn is_in_body(&self, flight: &Flight, moment: Instant) -> bool {
        let out = flight.sent.get().is_some_and(|sent| *sent < moment);
        !out && flight.size > 0 && self.stored(flight) > flight.at
    }

    /// All of its bytes are stored, and nobody was told whether they are the right ones.
    fn is_in_verdict(&self, flight: &Flight, moment: Instant) -> bool {
        let out = flight.sent.get().is_some_and(|sent| *sent < moment);
        let checked = matches!(flight.kind, Kind::CheckedByHeader | Kind::CheckedByTrailer);
        out && checked && self.stored(flight) >= flight.at + flight.size
    }

    fn stored(&self, flight: &Flight) -> u64 {
        let path = flight.upload.path();
        path.map_or(0, |path| len_of(&file_of(self.data, &path)))
    }

    /// Finals that have links to their parts' bytes, and that nobody was told of yet.
    fn joins(&self) -> usize {
        let told: HashSet<String> = {
            let uploads = self.load.uploads();
            // A part is given links when its final is assembled. Those of a deleted final may stay for a moment.
            let is_told = |upload: &&Arc<Upload>| {
                upload.role == Role::Part
                    || !upload.is_there()
                    || upload.parts.iter().all(|part| part.is_complete())
            };
            let paths = uploads.iter().filter(is_told).filter_map(|one| one.path());
            paths.map(|path| id(&path).to_owned()).collect()
        };
        let linked = linked(self.data);
        let new = linked.iter().filter(|id| !self.linked_before.contains(*id));
        new.filter(|id| !told.contains(*id)).count()
    }

    /// Finals that are being copied into one file.
    fn assemblies(&self) -> usize {
        let mut drafts = 0;
        walk(&self.data.join("segments"), &mut |path| {
            let changed = fs::metadata(path).and_then(|meta| meta.modified());
            let is_draft = path.to_string_lossy().ends_with("~draft");
            let now = changed.is_ok_and(|changed| changed > self.since);
            drafts += usize::from(is_draft && now);
        });
        drafts
    }
}

/// Whose links there are.
fn linked(data: &Path) -> HashSet<String> {
    let mut linked = HashSet::new();
    walk(&data.join("segments"), &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        linked.extend(name.strip_suffix("~0").map(str::to_owned));
    });
    linked
}

/// Stops a process, and waits until each of its threads has stopped.
pub fn stop(pid: u32) {
    signal(pid, Signal::STOP);
    let until = Instant::now() + Duration::from_secs(10);
    while threads(pid).iter().any(|thread| !thread.stopped()) {
        assert!(Instant::now() < until, "the server does not stop");
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub fn go_on(pid: u32) {
    signal(pid, Signal::CONT);
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("an id"), signal).expect("the process is there");
}

/// Whether a thread is inside a call that writes or syncs the state database. A stopped one is: the kernel held it on its way
/// out of that call.
pub fn flushes_state(pid: u32) -> bool {
    threads(pid).iter().any(|thread| {
        let call = fs::read_to_string(thread.0.join("syscall")).unwrap_or_default();
        let mut words = call.split_whitespace();
        let writes = words
            .next()
            .and_then(|number| number.parse::<u32>().ok())
            .is_some_and(|number| WRITES.contains(&number));
        let file = words.next().and_then(|word| {
            let number = u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()?;
            fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()
        });
        writes && file.is_some_and(|file| file.ends_with("state/db"))
    })
}

/// The numbers of `pwrite64`, `fsync`, `fdatasync` and `sync_file_range`.
#[cfg(target_arch = "x86_64")]
const WRITES: [u32; 4] = [18, 74, 75, 277];
#[cfg(target_arch = "aarch64")]
const WRITES: [u32; 4] = [68, 82, 83, 84];

/// A thread's directory in /proc.
struct Thread(std::path::PathBuf);

impl Thread {
    fn stopped(&self) -> bool {
        let stat = fs::read_to_string(self.0.join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        // One that has just ended is no hindrance.
        state.is_empty() || state.starts_with(['T', 't', 'Z', 'X'])
    }
}

fn threads(pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    tasks.flatten().map(|task| Thread(task.path())).collect()
}
