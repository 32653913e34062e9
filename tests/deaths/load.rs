//! What the clients of a mixed load know: each upload with the most that was told of it, and the requests in flight.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinHandle;

use super::users::User;
use crate::support::{Client, Dice, bytes};

/// All bytes that are ever sent are slices of so many.
const SOURCE: usize = 8 << 20;

/// What a request, or the user who sends it, is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Plain,
    Chunked,
    CheckedByHeader,
    CheckedByTrailer,
    Deferred,
    WithCreation,
    /// A part, beside others of the same final.
    Parallel,
    /// A final over complete parts.
    Joining,
    /// A part of a final that was created before it.
    Waiting,
    Terminating,
    Reading,
}

/// The users of a load: one each.
const USERS: [Kind; 20] = [
    Kind::Plain,
    Kind::Plain,
    Kind::Chunked,
    Kind::Chunked,
    Kind::CheckedByHeader,
    Kind::CheckedByHeader,
    Kind::CheckedByTrailer,
    Kind::CheckedByTrailer,
    Kind::Deferred,
    Kind::Deferred,
    Kind::WithCreation,
    Kind::WithCreation,
    Kind::Joining,
    Kind::Joining,
    Kind::Joining,
    Kind::Waiting,
    Kind::Waiting,
    Kind::Terminating,
    Kind::Terminating,
    Kind::Reading,
];

/// What a client knows of something that it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    No,
    /// The answer did not come.
    Perhaps,
    Told,
}

/// What an upload is among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Alone,
    Part,
    Final,
}

/// An upload as its clients know it.
#[derive(Debug)]
pub struct Upload {
    /// In its metadata: by this one is found whose creation was never answered.
    pub serial: usize,
    pub owner: usize,
    pub role: Role,
    /// Where in the source its bytes are.
    pub content: Vec<Range<usize>>,
    pub parts: Vec<Arc<Upload>>,
    facts: Mutex<Facts>,
}

#[derive(Debug, Clone)]
pub struct Facts {
    /// Told, or found after a crash.
    pub path: Option<String>,
    /// Whether the creation was acknowledged.
    pub created: bool,
    /// The highest offset that was told.
    pub told: u64,
    /// Of the length: there from the start, or of a deferred one.
    pub declared: Asked,
    /// Where a checked PATCH leads to whose answer did not come.
    pub checked: Option<u64>,
    pub gone: Asked,
}

impl Upload {
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().expect("nobody panicked with it")
    }

    pub fn length(&self) -> u64 {
        self.content.iter().map(|range| range.len() as u64).sum()
    }

    /// The path of its URL, once that is known.
    pub fn path(&self) -> Option<String> {
        self.facts().path.clone()
    }

    pub fn told(&self) -> u64 {
        self.facts().told
    }

    pub fn tell(&self, offset: u64) {
        let mut facts = self.facts();
        facts.told = facts.told.max(offset);
    }

    /// Whether it was told to be complete.
    pub fn is_complete(&self) -> bool {
        let facts = self.facts();
        facts.declared == Asked::Told && facts.told == self.length()
    }

    pub fn is_there(&self) -> bool {
        self.facts().gone == Asked::No
    }
}

/// A request whose answer has not come.
#[derive(Debug)]
pub struct Flight {
    pub kind: Kind,
    pub upload: Arc<Upload>,
    /// Where its body begins in the upload, and how long it is.
    pub at: u64,
    pub size: u64,
    pub begun: Instant,
    /// When the last byte of the request was out.
    pub sent: OnceLock<Instant>,
}

/// A load, and all that its clients know.
pub struct Load {
    pub source: Vec<u8>,
    uploads: Mutex<Vec<Arc<Upload>>>,
    /// Those that are gone as well, by their serial numbers.
    all: Mutex<HashMap<usize, Arc<Upload>>>,
    flights: Mutex<Vec<Arc<Flight>>>,
    serial: AtomicUsize,
    seed: u64,
    /// Uploads that were told to be complete since the start.
    completed: AtomicUsize,
    /// From now on anything may be answered.
    pub cut: AtomicBool,
}

impl Load {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            source: bytes(seed, SOURCE),
            uploads: Mutex::default(),
            all: Mutex::default(),
            flights: Mutex::default(),
            serial: AtomicUsize::new(0),
            seed,
            completed: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
        })
    }

    /// Lets every user go at it until the server is gone.
    pub fn start(self: &Arc<Self>, client: Client) -> Users {
        self.cut.store(false, Ordering::SeqCst);
        self.flights().clear();
        self.completed.store(0, Ordering::SeqCst);
        let round = self.serial.fetch_add(1, Ordering::Relaxed) as u64;
        let user = |(number, job): (usize, &Kind)| {
            let dice = Dice::new(self.seed ^ (round << 8) ^ number as u64);
            tokio::spawn(User::new(number, *job, dice, self.clone(), client).live())
        };
        Users(USERS.iter().enumerate().map(user).collect())
    }

    pub fn uploads(&self) -> MutexGuard<'_, Vec<Arc<Upload>>> {
        self.uploads.lock().expect("nobody panicked with it")
    }

    pub fn flights(&self) -> MutexGuard<'_, Vec<Arc<Flight>>> {
        self.flights.lock().expect("nobody panicked with it")
    }

    pub fn completes(&self) {
        self.completed.fetch_add(1, Ordering::SeqCst);
    }

    pub fn complete(&self) -> usize {
        self.completed.load(Ordering::SeqCst)
    }

    /// Notes an upload that is about to be created.
    pub fn plan(
        &self,
        owner: usize,
        role: Role,
        content: Vec<Range<usize>>,
        parts: Vec<Arc<Upload>>,
        deferred: bool,
    ) -> Arc<Upload> {
        let upload = Arc::new(Upload {
            serial: self.serial.fetch_add(1, Ordering::Relaxed),
            owner,
            role,
            content,
            parts,
            facts: Mutex::new(Facts {
                path: None,
                created: false,
                told: 0,
                declared: if deferred { Asked::No } else { Asked::Told },
                checked: None,
                gone: Asked::No,
            }),
        });
        self.uploads().push(upload.clone());
        let mut all = self.all.lock().expect("nobody panicked with it");
        all.insert(upload.serial, upload.clone());
        upload
    }

    /// Whatever became of it.
    pub fn by_serial(&self, serial: usize) -> Option<Arc<Upload>> {
        let all = self.all.lock().expect("nobody panicked with it");
        all.get(&serial).cloned()
    }

    /// The bytes of `range` of an upload.
    pub fn bytes(&self, upload: &Upload, range: Range<u64>) -> Vec<u8> {
        let small = |n| usize::try_from(n).expect("small");
        if let [only] = &upload.content[..] {
            let from = only.start + small(range.start);
            return self.source[from..only.start + small(range.end)].to_vec();
        }
        let parts = upload.content.iter().map(|part| &self.source[part.clone()]);
        let whole = parts.collect::<Vec<_>>().concat();
        whole[small(range.start)..small(range.end)].to_vec()
    }
}

/// The value of `Upload-Metadata` that tells an upload's number.
pub fn metadata(serial: usize) -> String {
    format!("serial {}", STANDARD.encode(serial.to_string()))
}

/// The number in it.
pub fn serial(metadata: &str) -> Option<usize> {
    let value = STANDARD.decode(metadata.strip_prefix("serial ")?).ok()?;
    String::from_utf8(value).ok()?.parse().ok()
}

/// The running users.
pub struct Users(Vec<JoinHandle<()>>);

impl Users {
    /// Waits until they have all seen that the server is gone.
    pub async fn ended(self) {
        for user in self.0 {
            if let Err(panic) = user.await {
                std::panic::resume_unwind(panic.into_panic());
            }
        }
    }
}
