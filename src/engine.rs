//! The use cases over the ports: create, append, terminate, join, read. No HTTP, no knowledge of doors.
//!
//! An upload's record changes only under the upload's lock, first in the state store (where the change must survive), then
//! in memory. Plain appended bytes are witnessed by the blob's own length, so the record that names them is only queued;
//! everything else is acknowledged after a flush. Readers look at memory and wait for nobody.

mod about;
mod account;
mod append;
mod assembly;
mod chosen;
mod commit;
mod content;
mod create;
mod data_dir;
mod digest;
mod end;
mod expiry;
mod handoff;
mod hooks;
mod ingest;
mod join;
mod late;
mod levels;
mod load;
mod outbox;
mod overview;
mod read;
mod recovery;
mod retry;
mod scan;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod turns;
mod walk;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error};

pub use self::append::{Append, Appended};
pub use self::content::Content;
pub use self::data_dir::{DataDir, DirError};
pub use self::hooks::{Chosen, Proposed};
pub use self::join::Join;
pub use self::levels::{Level, Space};
pub use self::outbox::DeadLetter;
pub use self::overview::{Amount, Inspection, Label, Storage, Summary, Swept};
pub use self::recovery::Recovered;
pub use self::session::{
    ChunkBody, Chunked, FarEnd, NewSession, Notes, OwnedSession, Priority, Resume, SessionOptions,
    SessionView,
};

use self::table::{Entry, Table};
use crate::blob::{BlobStore, ChosenPath};
use crate::clock::millis;
pub(crate) use crate::clock::now;
use crate::config::{Durability, Share};
use crate::error::Reject;
use crate::hooks::{Hooks, cause};
use crate::lock::{Guard, Locker};
use crate::meter::Meter;
use crate::progress::Hub;
use crate::security::quota::{Bounds, Ledger};
use crate::security::types::Types;
use crate::security::user::User;
use crate::state::{Change, Detail, Letter, Mark, Promise, StateError, StateStore};
use crate::upload::{Kind, Millis, Record, Status, UploadId};

/// How the engine behaves. All of it is checked before it comes here.
#[derive(Debug, Clone)]
pub struct Options {
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// The most bytes an upload may have; [`NO_LIMIT`] for no limit.
    pub max_size: u64,
    /// The least; not of a part, but of what is joined.
    pub min_size: u64,
    /// How long an unfinished upload (or a part) lives after it was last touched.
    pub expire_after: Option<Duration>,
    /// How long a finished upload lives.
    pub expire_completed: Option<Duration>,
    /// Whether finals are assembled into one file.
    pub assemble: bool,
    /// Whether parts stay after they were joined.
    pub keep_partials: bool,
    /// How long a body may be silent.
    pub network_timeout: Option<Duration>,
    /// How long no byte may come before those who watch are told of a pause.
    pub pause_after: Duration,
    /// Free space below which an operator is warned.
    pub disk_warn: Share,
    /// Free space below which no upload is begun.
    pub disk_stop: Share,
    /// How much users may store, of whom nothing else is said.
    pub bounds: Bounds,
    /// Which files are taken.
    pub types: Types,
    /// What sessions may be.
    pub sessions: SessionOptions,
    /// Who is asked and told.
    pub hooks: Arc<Hooks>,
    /// What is wanted of uploads' content.
    pub content: Content,
    /// How often a whole data directory holds uploads cut by a loss of power; from [`DataDir`].
    pub power_cuts: u32,
    /// Whether the last of them was just before this start, or before one that did not get through it; from [`DataDir`].
    pub power_lost: bool,
}

/// The engine; clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What every use case needs.
pub(crate) struct Inner {
    options: Options,
    blobs: Arc<dyn BlobStore>,
    state: Arc<dyn StateStore>,
    locks: Arc<dyn Locker>,
    table: Table,
    waiting: join::Waiting,
    paths: chosen::Paths,
    late: late::Late,
    scans: scan::Scans,
    meter: Arc<Meter>,
    ledger: Arc<Ledger>,
    levels: levels::Levels,
    walks: overview::Walks,
    outbox: outbox::Outbox,
    asking: hooks::Asking,
    /// Of those who read complete uploads for their hashes.
    digesting: turns::Turns,
    /// The state store had no record at all when it was opened: nothing but the files' lengths is left to go by.
    no_records: bool,
    /// Those who watch.
    hub: Arc<Hub>,
    /// Tasks that must end before the stores close: appends, joins, assembly.
    tasks: TaskTracker,
    /// Appends seal and commit, background work ends.
    stop: CancellationToken,
    /// Appends that run now: background copying yields to them.
    appending: AtomicUsize,
    /// There is something new to assemble, or space for what there was none for.
    assemble: Notify,
    /// Something waits for space to be assembled.
    short_of_space: AtomicBool,
    /// The state store has failed.
    broken: CancellationToken,
}

/// What to create.
#[derive(Debug, Clone)]
pub struct Create {
    /// A plain upload or a part; finals are made by [`Engine::join`].
    pub kind: Kind,
    /// In bytes; `None` if it is declared later.
    pub length: Option<u64>,
    /// `Upload-Metadata` as received.
    pub metadata: Option<Bytes>,
    /// `Upload-Concat` as received.
    pub concat: Option<Bytes>,
    /// Who creates it; `None`: nobody is asked.
    pub by: Option<Arc<User>>,
    /// What it is to be called; `None`: as nothing else is.
    pub id: Option<UploadId>,
    /// Where its file is to lie once it is complete; `None`: where its name has it.
    pub path: Option<ChosenPath>,
}

/// An upload as a client may see it.
#[derive(Debug, Clone)]
pub struct View {
    /// Which.
    pub id: UploadId,
    /// What.
    pub kind: Kind,
    /// Where in its life.
    pub status: Status,
    /// Bytes that are safe under the durability mode.
    pub offset: u64,
    /// In bytes, where it is known.
    pub length: Option<u64>,
    /// `Upload-Metadata` as received.
    pub metadata: Option<Bytes>,
    /// `Upload-Concat` as received.
    pub concat: Option<Bytes>,
    /// When it expires, if it does.
    pub expires: Option<Millis>,
    /// When it was created.
    pub created: Millis,
    /// When it was last changed.
    pub touched: Millis,
}

impl View {
    /// Whether every byte is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(
            self.status,
            Status::Assembling | Status::Completed | Status::Scanning
        )
    }
}

/// The largest length there is, and so no limit: what file systems and the clients' languages can count.
pub const NO_LIMIT: u64 = i64::MAX.unsigned_abs();

/// How long a request waits for a holder that was asked to yield; then it is `423`, which clients retry.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// A new upload, acknowledged when it survives `kill -9` (in `every` mode: a power cut).
    ///
    /// # Errors
    /// `TooLarge`, `TooSmall`, `TypeNotAllowed`, `QuotaExceeded`, `TooManyOpen`, or what storage says; nothing is left behind then.
    pub async fn create(&self, create: Create) -> Result<View, Reject> {
        let inner = self.inner.clone();
        self.inner
            .run(async move { inner.create(create).await })
            .await
    }

    /// The upload as it is now, without waiting for anybody.
    ///
    /// # Errors
    /// `NotFound`, `Expired`, `BlobLost` and the like.
    pub async fn look(&self, id: &UploadId) -> Result<View, Reject> {
        let entry = self.inner.usable(id).await?;
        let mut view = view(&entry);
        if let Some(chunk) = entry.chunk() {
            // It lives as long as its session.
            let session = self.inner.entry(&chunk.session).await?;
            view.expires = session.record().expires;
        }
        let session = entry.session().is_some();
        if view.kind == Kind::Final && !view.is_complete() && !session {
            view.length = self.inner.expected_length(&entry).await;
            // It lives as long as bytes come for its parts.
            view.expires = None;
        }
        Ok(view)
    }

    /// Ends an upload and removes its bytes; takes over from whoever writes.
    ///
    /// # Errors
    /// As [`Engine::look`]; `Locked` if the holder does not let go.
    pub async fn terminate(&self, id: &UploadId) -> Result<(), Reject> {
        let inner = self.inner.clone();
        let id = id.clone();
        self.inner
            .run(async move { inner.terminate(&id, |_| Ok(())).await })
            .await
    }

    /// Whether finals can be made.
    #[must_use]
    pub fn can_join(&self) -> bool {
        self.inner.blobs.join().is_some()
    }

    /// The most bytes an upload may have; `None` for no limit.
    #[must_use]
    pub fn max_size(&self) -> Option<u64> {
        Some(self.inner.options.max_size).filter(|max| *max < NO_LIMIT)
    }

    /// Whether unfinished uploads expire.
    #[must_use]
    pub fn expires(&self) -> bool {
        self.inner.options.expire_after.is_some() || self.inner.options.expire_completed.is_some()
    }

    /// Open appends seal and commit, and answer; no new ones begin.
    pub fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
    }

    /// After [`Engine::stop`]: resolves when every append is committed.
    pub async fn stopped(&self) {
        self.inner.tasks.wait().await;
    }

    /// Resolves when the state store has failed: nothing can be promised any more, and a new start recovers.
    pub async fn broken(&self) {
        self.inner.broken.cancelled().await;
    }

    /// Gives back reserved space and files, and closes the state store.
    ///
    /// # Errors
    /// What the state store says.
    pub async fn close(&self) -> Result<(), Reject> {
        self.inner.rest(Duration::ZERO).await;
        Ok(self.inner.state.close().await?)
    }
}

fn view(entry: &Entry) -> View {
    let image = entry.image();
    View {
        id: entry.id.clone(),
        kind: image.record.kind,
        status: image.record.status,
        offset: image.told(),
        length: image.record.length,
        metadata: image.metadata.clone(),
        concat: image.concat.clone(),
        expires: image.record.expires,
        created: image.record.created,
        touched: image.record.touched,
    }
}

impl Inner {
    /// Runs a use case in a task of its own: an HTTP/2 reset drops the request's future in the middle of a commit
    /// otherwise, and a shutdown waits for it. No async function, since those keep a place for what they were given: each
    /// request's future would be larger by all of the use case.
    fn run<T, W>(&self, work: W) -> impl Future<Output = Result<T, Reject>> + Send
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Reject>> + Send + 'static,
    {
        let begun = (!self.stop.is_cancelled()).then(|| {
            let work = cause::within(cause::current(), work);
            self.tasks.spawn(work.in_current_span())
        });
        async move {
            match begun.ok_or(Reject::Stopping)?.await {
                Ok(result) => result.inspect_err(|reject| self.count_failure(reject)),
                Err(panic) => {
                    error!(%panic, "a use case ended in a panic");
                    Err(Reject::Panicked)
                }
            }
        }
    }

    /// The lifetime that the record has from its last change on.
    fn stamp(&self, record: &mut Record) {
        let finished = record.is_complete() && record.kind != Kind::Partial;
        let life = if finished {
            self.options.expire_completed
        } else {
            self.options.expire_after
        };
        record.expires = life.map(|life| record.touched.saturating_add(millis(life)));
    }

    /// Changes the record under the upload's lock: in the state store first where the change must survive, then in memory.
    async fn change(
        &self,
        entry: &Entry,
        mut record: Record,
        promise: Promise,
        more: More,
    ) -> Result<(), Reject> {
        let before = entry.record();
        let mut marks = more.marks;
        let moves = entry.image().move_first(&mut record, &mut marks);
        // What failed is not believed anew: if its bytes come back, it is still known which power cuts they met.
        if !matches!(record.status, Status::Failed(_)) {
            record.power_cuts = self.options.power_cuts;
        }
        // One that is scanned first is told to nobody before that.
        let completes = record.is_finished() && !before.is_finished();
        let scans = record.status == Status::Scanning && before.status != Status::Scanning;
        if entry.is_chunk() {
            let details = more.details;
            return self
                .change_chunk(entry, record, promise, More { details, marks })
                .await;
        }
        let mut details = more.details;
        if completes {
            details.extend(self.unasked());
        }
        let letters = self.letters_of(entry, Some(&before), &record);
        // Who is told of it must not be told of what a crash undoes.
        let promise = if letters.is_empty() {
            promise
        } else {
            promise.max(Promise::Flushed)
        };
        let promise = if moves { Promise::Synced } else { promise };
        let change = Change {
            details,
            marks,
            ..Change::record(&entry.id, Some(before.clone()), Some(record.clone()))
        };
        let queued = promise == Promise::Queued;
        if queued {
            // In memory first: who asks next must see it, and the queue keeps the order.
            entry.image().record = record.clone();
        }
        let committed = self.commit_and_tell(vec![change], letters, promise).await;
        if !queued && let Err(Reject::State(StateError::Conflict)) = &committed {
            // What is in memory is not what is stored: whoever asks next loads it anew.
            self.table.forget(&entry.id);
        }
        committed?;
        if !queued {
            entry.image().record = record.clone();
        }
        self.tell_change(entry, &before, &record);
        if moves {
            self.assemble.notify_one();
        } else if completes {
            self.tell_complete(entry);
        }
        if scans {
            self.scans.push(&entry.id);
        }
        if before.status != record.status {
            self.note_state(entry).await;
        }
        Ok(())
    }

    /// Every commit goes this way: a state store that has failed promises nothing any more, and the server must end.
    async fn commit(&self, changes: Vec<Change>, promise: Promise) -> Result<(), Reject> {
        self.commit_with(changes, Vec::new(), promise).await
    }

    async fn commit_with(
        &self,
        changes: Vec<Change>,
        letters: Vec<Letter>,
        promise: Promise,
    ) -> Result<(), Reject> {
        // Changes of the offset alone, which are most, are nothing to count.
        let status = |record: &Option<Record>| record.as_ref().map(|record| record.status);
        let mut counted = Vec::new();
        for change in &changes {
            if status(&change.expect) != status(&change.record) && !self.changes_chunk(change).await
            {
                counted.push((change.expect.clone(), change.record.clone()));
            }
        }
        let charges = account::charges(&changes);
        let committed = self.state.commit_with(changes, letters, promise).await;
        if committed.is_ok() {
            self.charged(&charges);
            for (before, after) in &counted {
                self.meter.changed(before.as_ref(), after.as_ref());
            }
        }
        if let Err(StateError::Store(why)) = &committed {
            error!(why, "THE STATE STORE HAS FAILED");
            self.broken.cancel();
        }
        Ok(committed?)
    }

    /// The lock of an upload; with `ask` its holder is asked to give way.
    async fn hold(&self, id: &UploadId, ask: bool) -> Result<Box<dyn Guard>, Reject> {
        let guard = self.locks.lock(id, ask, PATIENCE).await;
        guard.ok_or(Reject::Locked)
    }

    /// One more append runs for as long as the answer lives.
    fn appending(self: &Arc<Self>) -> impl Drop + use<> {
        struct Running(Arc<Inner>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.appending.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.appending.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }
}

/// What changes beside the record.
#[derive(Default)]
struct More {
    details: Vec<(Detail, Option<Vec<u8>>)>,
    marks: Vec<(Mark, bool)>,
}
