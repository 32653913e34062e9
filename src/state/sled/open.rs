//! Opening the database: one process at a time, and what does not open is set aside.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sled::{Db, Tree};
use tracing::{error, warn};

use super::super::StateError;
use super::committer::{Committer, text};
use super::ground::SledGround;
use super::journal::Journal;
use super::{SledState, keys};
use crate::clock::since_epoch;

/// Bytes of pages sled keeps in memory.
const CACHE: u64 = 64 << 20;

/// A store that was opened, and what it cost.
pub struct Opened {
    /// The store.
    pub state: SledState,
    /// Where the database that could not be read was set aside: the store is empty, and the caller rebuilds the records
    /// from what lies beside the blobs.
    pub rebuilt_from: Option<PathBuf>,
}

/// Why a database does not open.
enum Failure {
    /// What is on the disk makes no sense: another start would fail too.
    Damaged(String),
    /// Something else: no right, no space.
    Other(String),
}

impl Failure {
    fn why(self) -> String {
        match self {
            Self::Damaged(why) | Self::Other(why) => why,
        }
    }
}

impl SledState {
    /// Opens the database in `dir`, and makes it if there is none. One that is damaged is renamed to
    /// `<dir>.damaged-<unix seconds>`, and an empty one takes its place. Waits for the disk: not for an async worker.
    ///
    /// # Errors
    /// `Store`: another process uses it ("is in use"), or the file system refuses.
    pub fn open(dir: &Path) -> Result<Opened, StateError> {
        let store = |why: String| StateError::Store(format!("{}: {why}", dir.display()));
        let io = |error: io::Error| store(error.to_string());
        prepare(dir).map_err(store)?;
        let (db, rebuilt_from) = match read(dir) {
            Ok(db) => (db, None),
            Err(Failure::Other(why)) => return Err(store(why)),
            Err(Failure::Damaged(why)) => {
                let aside = set_aside(dir).map_err(io)?;
                error!(
                    why, aside = %aside.display(),
                    "THE STATE DATABASE IS DAMAGED: it was set aside, and an empty one takes its place"
                );
                prepare(dir).map_err(store)?;
                let db = read(dir).map_err(|failure| store(failure.why()))?;
                (db, Some(aside))
            }
        };
        sync_directory(dir).map_err(io)?;
        let tree: Tree = (*db).clone();
        let stamp = u64::try_from(since_epoch().as_nanos()).unwrap_or(0);
        let journal = Journal::open(&db, dir).map_err(|error| store(error.to_string()))?;
        let ground = SledGround::new(db, journal, dir, stamp).map_err(io)?;
        let state = SledState {
            tree: Mutex::new(Some(tree)),
            fresh: ground.fresh(),
            committer: Committer::start(ground)?,
        };
        Ok(Opened {
            state,
            rebuilt_from,
        })
    }
}

/// Makes the directory, sees that nobody uses the database, gives its reserve of space back, and removes what a kill
/// during an earlier start left: a half-written snapshot that sled would take for the newest one and call corrupt.
fn prepare(dir: &Path) -> Result<(), String> {
    let says = |error: io::Error| error.to_string();
    // What clients say of their uploads is in it: for the server alone, whatever others may do with the files.
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).map_err(says)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let lock = options.open(dir.join("db")).map_err(says)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err("is in use by another process".to_owned());
        }
        Err(TryLockError::Error(error)) => return Err(says(error)),
    }
    // Gives the reserve past the end back: on a full disk sled needs it for the snapshot it writes when it opens.
    let length = lock.metadata().map_err(says)?.len();
    lock.set_len(length).map_err(says)?;
    for entry in fs::read_dir(dir).map_err(says)? {
        let entry = entry.map_err(says)?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"snap.") && name.ends_with(b".generating") {
            warn!(file = %entry.path().display(), "removing what an interrupted start left");
            fs::remove_file(entry.path()).map_err(says)?;
        }
    }
    // By name, and not by closing the file: a program that is being started beside this has a copy of it for a moment.
    lock.unlock().map_err(says)
}

/// Opens the database, and reads from it what tells whether it can be read.
fn read(dir: &Path) -> Result<Db, Failure> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE)
        .flush_every_ms(None);
    let open = || {
        let db = config.open()?;
        look_over(&db)?;
        Ok(db)
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(failure(error)),
        Err(panic) => Err(Failure::Damaged(format!("panic: {}", text(&*panic)))),
    }
}

/// Reads every mark and every record: sled notices some damage only here, and once the server runs it is too late.
fn look_over(tree: &Tree) -> sled::Result<()> {
    for mark in tree.scan_prefix(keys::ALL_MARKS) {
        mark?;
    }
    for record in tree.range(keys::RECORDS..keys::RECORDS_END) {
        record?;
    }
    Ok(())
}

fn failure(error: sled::Error) -> Failure {
    let why = error.to_string();
    match error {
        sled::Error::Io(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            Failure::Other(why)
        }
        _ => Failure::Damaged(why),
    }
}

/// Renames the directory to a name that is free.
fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let seconds = since_epoch().as_secs();
    let free = (seconds..seconds.saturating_add(1000))
        .map(|seconds| {
            let mut name = dir.file_name().unwrap_or_default().to_owned();
            name.push(format!(".damaged-{seconds}"));
            dir.with_file_name(name)
        })
        .find(|aside| !aside.exists());
    let aside = free.ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(dir, &aside)?;
    Ok(aside)
}

/// Makes the names of the database's files survive a power cut, and the settings, which sled writes without a sync.
fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir.join("conf"))?.sync_all()?;
    File::open(dir.join("db"))?.sync_all()?;
    File::open(dir)?.sync_all()?;
    match dir.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
