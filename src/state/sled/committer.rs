//! Group commit: what is queued is applied, made durable once for all who wait for that, and they are woken. Who arrives during
//! one commit is in the next.
//!
//! Who commits does it in the task where that is a write to the page cache and nobody else is at it: waking a thread and being
//! woken by it cost more than the commit. All else is the thread's: what is synced, what is flushed to the tree, and what
//! comes while somebody is at it.

mod inbox;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tracing::{error, warn};

use self::inbox::{Due, Inbox};

use super::super::{Change, Letter, Promise, StateError};
use crate::pace::{Pace, Work as Kind};

/// How long a change that nobody waits for may stay unflushed.
const LINGER: Duration = Duration::from_millis(500);
/// Commits that share one flush at most: a stream of changes that nobody waits for must not keep those waiting who do.
const GROUP: usize = 512;

/// What is light of one commit, and how many of them are: together less than the ground takes without writing to its tree.
const FEW: usize = 8;
const LITTLE: usize = 16 << 10;
const LIGHT_GROUP: usize = 32;

/// What commits stand on: the database, or a test's stand-in.
pub(super) trait Ground: Send + 'static {
    /// Applies all changes or none, over those of the commits before; they may be written only at [`Ground::settle`].
    fn apply(&mut self, changes: &[Change], letters: &[Letter]) -> Result<(), Fault>;
    /// Writes what was applied.
    fn settle(&mut self) -> Result<(), Fault>;
    /// Whether what was written survives `kill -9` as it is.
    fn keeps(&self) -> bool;
    /// Whether a commit now is no more than a write to the page cache.
    fn is_light(&self) -> bool;
    /// Makes what was written survive `kill -9`, and puts it where it can be synced.
    fn flush(&mut self) -> Result<(), Fault>;
    /// Makes what was flushed survive a power cut.
    fn sync(&mut self) -> Result<(), Fault>;
    /// Lets go of the files; back when they are free.
    fn release(self);
}

/// What can go wrong on the ground.
#[derive(Debug)]
pub(super) enum Fault {
    /// This commit is refused; nothing of it was applied.
    Refused(StateError),
    /// Nobody knows what is stored now.
    Broken(String),
}

/// The queue's end for those who commit. Dropping it ends the thread, once it has applied and flushed what is queued.
pub(super) struct Committer<G: Ground> {
    inbox: Arc<Inbox>,
    work: Shared<G>,
    /// `None`: no task commits by itself.
    pace: Option<Arc<Pace>>,
    stopped: Arc<OnceLock<String>>,
    ended: watch::Receiver<Option<Result<(), String>>>,
}

/// What is committed with; `None` once the thread has ended. Commits are taken out of the inbox by its holder, so that their
/// order is the inbox's.
type Shared<G> = Arc<Mutex<Option<Work<G>>>>;

struct Commit {
    changes: Vec<Change>,
    letters: Vec<Letter>,
    promise: Promise,
    /// `None` for `Queued`.
    waiter: Option<Waiter>,
}

impl Commit {
    /// Whether it is more than a record or two, or is to be synced.
    fn is_heavy(&self) -> bool {
        let details = self.changes.iter().flat_map(|change| &change.details);
        let letters = self
            .letters
            .iter()
            .filter_map(|(_, letter)| letter.as_ref());
        let bytes = details
            .filter_map(|(_, detail)| detail.as_ref())
            .chain(letters)
            .map(Vec::len)
            .sum::<usize>();
        self.promise == Promise::Synced || self.changes.len() > FEW || bytes > LITTLE
    }
}

/// Who waits for the end of a group, by what was promised.
#[derive(Default)]
struct Waiting {
    flushed: Vec<Waiter>,
    synced: Vec<Waiter>,
}

type Waiter = oneshot::Sender<Result<(), StateError>>;

impl<G: Ground> Committer<G> {
    /// Starts the thread.
    pub(super) fn start(ground: G) -> Result<Self, StateError> {
        let inbox = Arc::new(Inbox::default());
        let (end, ended) = watch::channel(None);
        let stopped = Arc::new(OnceLock::new());
        let work = Arc::new(Mutex::new(Some(Work {
            ground,
            stopped: stopped.clone(),
            unflushed: None,
            owed: Vec::new(),
            pace: None,
            panicked: false,
        })));
        let (taken, shared) = (inbox.clone(), work.clone());
        thread::Builder::new()
            .name("state-commit".to_owned())
            .spawn(move || end.send_replace(Some(run(&taken, &shared))))
            .map_err(|error| StateError::Store(format!("no thread to commit: {error}")))?;
        Ok(Self {
            inbox,
            work,
            pace: None,
            stopped,
            ended,
        })
    }

    /// Lets tasks commit by themselves while the disk is fast.
    pub(super) fn set_pace(&mut self, pace: Arc<Pace>) {
        if let Some(work) = locked(&self.work).as_mut() {
            work.pace = Some(pace.clone());
        }
        self.pace = Some(pace);
    }

    /// The pace of the disk, if tasks go by one.
    pub(super) fn pace(&self) -> Option<Arc<Pace>> {
        self.pace.clone()
    }

    /// Queues a commit, and waits for its promise.
    pub(super) async fn commit(
        &self,
        changes: Vec<Change>,
        letters: Vec<Letter>,
        promise: Promise,
    ) -> Result<(), StateError> {
        let (waiter, answer) = if promise == Promise::Queued {
            (None, None)
        } else {
            let (waiter, answer) = oneshot::channel();
            (Some(waiter), Some(answer))
        };
        self.queue(Commit {
            changes,
            letters,
            promise,
            waiter,
        })?;
        match answer {
            None => Ok(()),
            Some(answer) => answer.await.unwrap_or_else(|_| Err(self.gone())),
        }
    }

    fn queue(&self, commit: Commit) -> Result<(), StateError> {
        if let Some(why) = self.stopped.get() {
            return Err(StateError::Store(why.clone()));
        }
        let waited_for = commit.waiter.is_some();
        if !self.inbox.put(commit) {
            return Err(closed());
        }
        if waited_for && !self.commit_here() {
            self.inbox.wake();
        }
        Ok(())
    }

    /// Commits what is queued, if that is the matter of a moment; whether it did.
    fn commit_here(&self) -> bool {
        let Some(_leave) = self
            .pace
            .as_ref()
            .and_then(|pace| pace.try_inline(Kind::Commits))
        else {
            return false;
        };
        // Whoever holds it may have taken out of the inbox what there was before this commit: the thread comes after.
        let Ok(mut work) = self.work.try_lock() else {
            return false;
        };
        let Some(work) = work.as_mut().filter(|work| work.is_light()) else {
            return false;
        };
        let Some(commits) = self.inbox.take_light() else {
            return false;
        };
        // None: the thread was faster.
        if !commits.is_empty() {
            work.group_here(commits, &self.inbox);
        }
        true
    }

    fn gone(&self) -> StateError {
        let why = self.stopped.get().cloned();
        StateError::Store(why.unwrap_or_else(|| "the commit thread is gone".to_owned()))
    }

    /// Ends the thread; answers when all is applied, flushed and synced, and the files are let go of.
    pub(super) async fn close(&self) -> Result<(), StateError> {
        self.inbox.close();
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Err(why))) => Err(StateError::Store(why.clone())),
            Ok(_) => Ok(()),
            Err(_) => Err(self.gone()),
        }
    }
}

impl<G: Ground> Drop for Committer<G> {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// The answer of a store that was closed.
pub(super) fn closed() -> StateError {
    StateError::Store("closed".to_owned())
}

/// The thread: what the tasks leave to it, until the inbox is closed.
fn run<G: Ground>(inbox: &Inbox, shared: &Shared<G>) -> Result<(), String> {
    loop {
        let due = inbox.wait();
        let mut work = locked(shared);
        let Some(work) = work.as_mut() else { break };
        match due {
            Due::Commits => {
                let commits = inbox.take();
                // A task may have been faster: a group of none is no measure of the disk.
                if !commits.is_empty() {
                    work.group(commits, inbox);
                }
            }
            Due::Flush => work.flush(inbox),
            Due::Closed => break,
        }
    }
    let work = locked(shared).take();
    work.map_or(Ok(()), Work::end)
}

/// A panic under the lock is caught there, and noted.
fn locked<G: Ground>(shared: &Shared<G>) -> MutexGuard<'_, Option<Work<G>>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is committed with, by one at a time.
struct Work<G> {
    ground: G,
    /// Why nothing is promised any more.
    stopped: Arc<OnceLock<String>>,
    /// Since when something is applied that was not flushed.
    unflushed: Option<Instant>,
    /// Who waits for a flush that was not for a task to make: the thread makes it now.
    owed: Vec<Waiter>,
    /// What the thread tells how fast it is.
    pace: Option<Arc<Pace>>,
    panicked: bool,
}

impl<G: Ground> Work<G> {
    fn end(mut self) -> Result<(), String> {
        self.attempt("flushing", G::flush).ok();
        let owed = std::mem::take(&mut self.owed);
        self.wake(owed);
        self.attempt("syncing", G::sync).ok();
        if self.panicked {
            // Its locks may be held for ever: waiting for it to end could hang.
            std::mem::forget(self.ground);
        } else if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.ground.release())) {
            error!(
                panic = text(&*panic),
                "the state database panicked at its end"
            );
        }
        self.stopped.get().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Whether a group without a sync would do no more than write to the page cache.
    fn is_light(&self) -> bool {
        self.ground.is_light() && !self.lingers()
    }

    fn lingers(&self) -> bool {
        self.unflushed
            .is_some_and(|since| since.elapsed() >= LINGER)
    }

    /// Applies and writes commits, and wakes those to whom no more was promised.
    fn write(&mut self, commits: Vec<Commit>) -> Waiting {
        let mut waiting = Waiting::default();
        for commit in commits {
            self.apply(commit, &mut waiting);
        }
        self.attempt("committing", G::settle).ok();
        if self.ground.keeps() {
            self.wake(std::mem::take(&mut waiting.flushed));
        }
        waiting
    }

    /// In the task: what turns out to need a flush is left to the thread.
    fn group_here(&mut self, commits: Vec<Commit>, inbox: &Inbox) {
        let clean = self.unflushed.is_none();
        let waiting = self.write(commits);
        self.owed.extend(waiting.flushed);
        if !self.owed.is_empty() {
            inbox.flush_at(Some(Instant::now()));
        } else if clean && let Some(since) = self.unflushed {
            inbox.flush_at(Some(since + LINGER));
        }
    }

    /// In the thread: makes commits as durable as somebody asks, and wakes all.
    fn group(&mut self, commits: Vec<Commit>, inbox: &Inbox) {
        let clean = self.unflushed.is_none();
        let Waiting { flushed, synced } = match self.pace.clone() {
            Some(pace) => pace.pooled(Kind::Commits, || self.write(commits)),
            None => self.write(commits),
        };
        if self.lingers() || !flushed.is_empty() || !synced.is_empty() {
            self.flush(inbox);
            self.wake(flushed);
        } else if clean && let Some(since) = self.unflushed {
            inbox.flush_at(Some(since + LINGER));
        }
        if !synced.is_empty() {
            self.attempt("syncing", G::sync).ok();
            self.wake(synced);
        }
    }

    fn apply(&mut self, commit: Commit, waiting: &mut Waiting) {
        let applied = self.attempt("committing", |ground| {
            ground.apply(&commit.changes, &commit.letters)
        });
        self.unflushed.get_or_insert_with(Instant::now);
        match (commit.waiter, applied) {
            (Some(waiter), Ok(())) => match commit.promise {
                Promise::Synced => waiting.synced.push(waiter),
                Promise::Flushed | Promise::Queued => waiting.flushed.push(waiter),
            },
            (Some(waiter), refused) => answer(waiter, refused),
            (None, Err(error)) => {
                warn!(%error, ids = ?ids(&commit.changes), "a queued change was not applied");
            }
            (None, Ok(())) => {}
        }
    }

    fn flush(&mut self, inbox: &Inbox) {
        self.unflushed = None;
        inbox.flush_at(None);
        self.attempt("flushing", G::flush).ok();
        let owed = std::mem::take(&mut self.owed);
        self.wake(owed);
    }

    fn wake(&self, waiters: Vec<Waiter>) {
        for waiter in waiters {
            answer(waiter, self.still());
        }
    }

    fn still(&self) -> Result<(), StateError> {
        match self.stopped.get() {
            None => Ok(()),
            Some(why) => Err(StateError::Store(why.clone())),
        }
    }

    /// One step on the ground. After a step that failed or panicked there are no more: what is stored is not known.
    fn attempt(
        &mut self,
        what: &str,
        step: impl FnOnce(&mut G) -> Result<(), Fault>,
    ) -> Result<(), StateError> {
        self.still()?;
        let why = match catch_unwind(AssertUnwindSafe(|| step(&mut self.ground))) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Fault::Refused(error))) => return Err(error),
            Ok(Err(Fault::Broken(why))) => why,
            Err(panic) => {
                self.panicked = true;
                format!("panic: {}", text(&*panic))
            }
        };
        let why = format!("failed while {what}: {why}");
        error!(
            why,
            "the state store stops: nothing is acknowledged until the server is started again"
        );
        self.stopped.set(why).ok();
        self.still()
    }
}

/// A waiter that went away is fine.
fn answer(waiter: Waiter, answer: Result<(), StateError>) {
    waiter.send(answer).ok();
}

fn ids(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|change| change.id.as_str()).collect()
}

/// What a panic said.
pub(super) fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests;
