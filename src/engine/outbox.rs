//! What hooks are told after it has happened: letters that are stored with the change that they tell of, and brought to their
//! receiver afterwards, at least once, those of one upload in their order. A receiver that does not take one is tried again,
//! longer and longer apart, across restarts too; what it did not take for the whole of its time is laid aside, for the
//! operator to see and to send again.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, error, info, warn};

use super::table::Entry;
use super::{Engine, Inner, load, millis, now};
use crate::clock::since_epoch;
use crate::error::Reject;
use crate::hooks::{Call, Event, cause};
use crate::state::{Change, Letter as Stored, Promise};
use crate::upload::{Kind, Millis, Record, Status, UploadId};

/// Letters on their way to one receiver at a time.
const AT_A_TIME: usize = 16;
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_mins(5);
/// The most letters that are kept of those that nobody took.
const DEAD: usize = 10_000;
/// Letters read at a time.
const PAGE: usize = 500;
/// What a completing request has for its own question before the outbox asks in its place.
const HEAD_START: Duration = Duration::from_secs(20);

/// A letter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Letter {
    /// Its receiver's name.
    to: String,
    upload: UploadId,
    /// Since when it is tried.
    since: Millis,
    /// When nobody tried any more, and why.
    dead: Option<(Millis, String)>,
    call: Call,
}

/// A letter that its receiver did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number.
    pub number: u64,
    /// What it tells.
    pub event: Event,
    /// The same whenever it is sent.
    pub event_id: String,
    /// Of which upload.
    pub upload: UploadId,
    /// To whom.
    pub to: String,
    /// When it was given up.
    pub at: Millis,
    /// The last failure.
    pub why: String,
}

impl DeadLetter {
    fn of(number: u64, letter: &Letter, (at, why): (Millis, String)) -> Self {
        Self {
            number,
            event: letter.call.event,
            event_id: letter.call.id.clone(),
            upload: letter.upload.clone(),
            to: letter.to.clone(),
            at,
            why,
        }
    }
}

/// Where a letter goes: a receiver, and an upload whose letters it gets in their order.
type Lane = (usize, UploadId);

/// A letter that is about to be stored.
pub(super) struct Posted {
    number: u64,
    lane: Lane,
    bytes: Vec<u8>,
}

/// What is on its way.
pub(super) struct Outbox {
    last: AtomicU64,
    lanes: Mutex<HashMap<Lane, VecDeque<u64>>>,
    dead: Mutex<BTreeMap<u64, DeadLetter>>,
    /// One for each receiver.
    permits: Vec<Semaphore>,
    /// To the task that puts letters into their lanes.
    posted: UnboundedSender<(Lane, u64)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outbox {
    /// For so many receivers; what is posted comes out at the other end.
    pub(super) fn new(receivers: usize) -> (Self, UnboundedReceiver<(Lane, u64)>) {
        let (posted, incoming) = unbounded_channel();
        let outbox = Self {
            last: AtomicU64::default(),
            lanes: Mutex::default(),
            dead: Mutex::default(),
            permits: (0..receivers).map(|_| Semaphore::new(AT_A_TIME)).collect(),
            posted,
        };
        (outbox, incoming)
    }

    /// A number that rises from event to event, across restarts too: microseconds since the epoch, or one more than the last.
    pub(super) fn next(&self) -> u64 {
        let now = u64::try_from(since_epoch().as_micros()).unwrap_or(0);
        let next = |last: u64| Some(now.max(last + 1));
        let last = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        now.max(last.unwrap_or(0) + 1)
    }

    /// Letters on their way, and letters that nobody took.
    pub(super) fn count(&self) -> (usize, usize) {
        let waiting = locked(&self.lanes).values().map(VecDeque::len).sum();
        (waiting, locked(&self.dead).len())
    }
}

impl Engine {
    /// Letters on their way, and letters that nobody took.
    #[must_use]
    pub fn letters(&self) -> (usize, usize) {
        self.inner.outbox.count()
    }

    /// Letters that their receivers did not take, the oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        locked(&self.inner.outbox.dead).values().cloned().collect()
    }

    /// Sends a letter again that nobody took.
    ///
    /// # Errors
    /// `NotFound` if there is no such letter, or its receiver is not configured any more; what storage says.
    pub async fn resend(&self, number: u64) -> Result<(), Reject> {
        let inner = self.inner.clone();
        self.inner
            .run(async move { inner.resend(number).await })
            .await
    }
}

impl Inner {
    /// The events that a change of an upload's record is.
    fn events(entry: &Entry, before: Option<&Record>, after: &Record) -> Vec<Event> {
        let mut events = Vec::new();
        if entry.is_chunk() || before.is_some_and(|before| before.status == after.status) {
            return events;
        }
        if before.is_none() {
            events.push(Event::PostCreate);
        }
        // Parts that go because they were joined were terminated by nobody.
        let joined = after.kind == Kind::Partial
            && before.is_some_and(Record::is_complete)
            && cause::current().is_none();
        match after.status {
            Status::Active | Status::Scanning | Status::Assembling => {}
            Status::Completed => events.push(Event::PostFinish),
            Status::Failed(_) => events.push(Event::PostFail),
            Status::Cancelled if joined => {}
            Status::Cancelled => events.push(Event::PostTerminate),
            Status::Expired => events.push(Event::PostExpire),
        }
        events
    }

    /// The letters that tell of a change.
    pub(super) fn letters_of(
        &self,
        entry: &Entry,
        before: Option<&Record>,
        after: &Record,
    ) -> Vec<Posted> {
        if self.options.hooks.is_empty() {
            return Vec::new();
        }
        let events = Self::events(entry, before, after);
        let letters = events
            .iter()
            .map(|event| self.letters_for(*event, entry, after));
        letters.flatten().collect()
    }

    pub(super) fn letters_for(&self, event: Event, entry: &Entry, record: &Record) -> Vec<Posted> {
        let hooks = &self.options.hooks;
        if !hooks.wants(event) {
            return Vec::new();
        }
        let call = self.call(event, &self.told(entry, record));
        let mut number = call.sequence;
        let mut posted = Vec::new();
        for (at, sink) in hooks.sinks_of(event) {
            let letter = Letter {
                to: sink.name.clone(),
                upload: entry.id.clone(),
                since: now(),
                dead: None,
                call: call.clone(),
            };
            posted.push(Posted {
                number,
                lane: (at, entry.id.clone()),
                bytes: load::encode(&letter),
            });
            number = self.outbox.next();
        }
        posted
    }

    /// Commits changes with the letters that tell of them; once that holds, they are on their way.
    pub(super) async fn commit_and_tell(
        &self,
        changes: Vec<Change>,
        posted: Vec<Posted>,
        promise: Promise,
    ) -> Result<(), Reject> {
        self.commit_with(changes, stored(&posted), promise).await?;
        self.send(posted);
        Ok(())
    }

    /// Brings letters on their way that are stored.
    pub(super) fn send(&self, posted: Vec<Posted>) {
        for post in posted {
            // At the end nobody takes them: they are found at the next start.
            let _ = self.outbox.posted.send((post.lane, post.number));
        }
    }

    /// Puts letters into their lanes for as long as the server runs.
    pub(super) async fn post_office(self: Arc<Self>, mut posted: UnboundedReceiver<(Lane, u64)>) {
        while let Some(Some((lane, number))) = self.stop.run_until_cancelled(posted.recv()).await {
            self.put_into_lane(lane, number);
        }
    }

    /// Takes letters out again that nobody was sent.
    pub(super) async fn take_back(&self, posted: &[Posted]) {
        let letters: Vec<Stored> = posted.iter().map(|post| (post.number, None)).collect();
        if !letters.is_empty()
            && let Err(error) = self
                .state
                .commit_with(Vec::new(), letters, Promise::Queued)
                .await
        {
            warn!(%error, "hooks may be told of an upload that was not created");
        }
    }

    fn put_into_lane(self: &Arc<Self>, lane: Lane, number: u64) {
        match locked(&self.outbox.lanes).entry(lane) {
            Place::Occupied(mut letters) => letters.get_mut().push_back(number),
            Place::Vacant(place) => {
                let lane = place.key().clone();
                place.insert(VecDeque::from([number]));
                let (inner, stop) = (self.clone(), self.stop.clone());
                let deliver = async move { inner.deliver(&lane).await };
                self.tasks.spawn(stop.run_until_cancelled_owned(deliver));
            }
        }
    }

    /// What lay in the outbox at the start goes on its way.
    pub(super) async fn recover_letters(self: &Arc<Self>) -> Result<(), Reject> {
        let mut after = None;
        loop {
            let page = self.state.letters(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            self.outbox.last.fetch_max(*last, Ordering::Relaxed);
            for (number, bytes) in &page {
                let Some(letter) = letter(*number, bytes) else {
                    continue;
                };
                let at = self.options.hooks.find(&letter.to);
                match (at, letter.dead.clone()) {
                    (Some(at), None) => self.put_into_lane((at, letter.upload), *number),
                    (_, dead) => {
                        let gone = || (now(), "no such receiver is configured".to_owned());
                        let dead = dead.unwrap_or_else(gone);
                        let dead = DeadLetter::of(*number, &letter, dead);
                        locked(&self.outbox.dead).insert(*number, dead);
                    }
                }
            }
        }
        let (waiting, dead) = self.outbox.count();
        if waiting + dead > 0 {
            info!(waiting, dead, "letters to hooks were left");
        }
        Ok(())
    }

    /// Brings the letters of a lane to its receiver, one after the other, until there are none.
    async fn deliver(self: &Arc<Self>, lane: &Lane) {
        let mut failures = 0;
        loop {
            let first = {
                let mut lanes = locked(&self.outbox.lanes);
                let first = lanes.get(lane).and_then(|letters| letters.front().copied());
                if first.is_none() {
                    lanes.remove(lane);
                }
                first
            };
            let Some(number) = first else { return };
            if self.attempt(lane.0, number, failures).await {
                failures = 0;
                if let Some(letters) = locked(&self.outbox.lanes).get_mut(lane) {
                    letters.pop_front();
                }
            } else {
                let longer = 2u32.saturating_pow(failures);
                let pause = self
                    .options
                    .hooks
                    .backoff
                    .saturating_mul(longer)
                    .min(LONGEST);
                failures += 1;
                tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
            }
        }
    }

    /// One try to bring a letter; whether there is nothing more to do about it.
    async fn attempt(self: &Arc<Self>, at: usize, number: u64, failures: u32) -> bool {
        let read = self.state.letter(number).await;
        let letter = match read {
            Ok(Some(bytes)) => letter(number, &bytes),
            Ok(None) => return true,
            Err(error) => {
                error!(number, %error, "a letter to a hook cannot be read");
                return failures > 3;
            }
        };
        let (Some(mut letter), Some(sink)) = (letter, self.options.hooks.sink(at)) else {
            return true;
        };
        let event = letter.call.event;
        let brought = match self.after_pre_finish(&letter).await {
            Ok(()) => {
                let permit = self.outbox.permits.get(at).map(Semaphore::acquire);
                let _permit = match permit {
                    Some(permit) => permit.await.ok(),
                    None => None,
                };
                self.meter.hook_calls.one(event.name());
                sink.way.bring(&letter.call, false).await
            }
            Err(reject) => Err(crate::hooks::Fault(reject.to_string())),
        };
        let Err(fault) = brought else {
            debug!(number, %event, upload = %letter.upload, "a hook was told");
            // Should this be lost, it is told again.
            self.rewrite(number, None).await;
            return true;
        };
        self.meter.hook_faults.one(event.name());
        let age = now().saturating_sub(letter.since);
        if age < millis(self.options.hooks.patience) {
            let upload = &letter.upload;
            warn!(%fault, %event, %upload, to = letter.to, "a hook was not told, and is tried again");
            return false;
        }
        error!(%fault, %event, upload = %letter.upload, to = letter.to, number, "A HOOK WAS NOT TOLD, for all of its time; /admin/hooks lists it");
        let dead = (now(), fault.0);
        letter.dead = Some(dead.clone());
        let listed = DeadLetter::of(number, &letter, dead);
        locked(&self.outbox.dead).insert(number, listed);
        self.rewrite(number, Some(&letter)).await;
        self.forget_oldest().await;
        true
    }

    /// What a completed upload's hook is told after it was asked is not told before.
    async fn after_pre_finish(self: &Arc<Self>, letter: &Letter) -> Result<(), Reject> {
        let event = letter.call.event;
        if event != Event::PostFinish || !self.options.hooks.wants(Event::PreFinish) {
            return Ok(());
        }
        let id = &letter.upload;
        let until = letter.since.saturating_add(millis(HEAD_START));
        loop {
            let spoken = self.asking.finished.notified();
            if self.outcome(id).await?.is_none_or(|said| said.is_some()) {
                return Ok(());
            }
            let left = Duration::from_millis(until.saturating_sub(now()));
            if left.is_zero() {
                break;
            }
            // The request that completed it asks first; so does one that comes after it.
            let _ = tokio::time::timeout(left.min(Duration::from_secs(1)), spoken).await;
        }
        match self.finish(id).await {
            // It has ended since: there is nobody to be asked for.
            Ok(_) | Err(Reject::NotFound | Reject::Expired | Reject::BlobLost) => Ok(()),
            Err(reject) => Err(reject),
        }
    }

    async fn rewrite(&self, number: u64, letter: Option<&Letter>) {
        let letters = vec![(number, letter.map(load::encode))];
        let written = self
            .state
            .commit_with(Vec::new(), letters, Promise::Queued)
            .await;
        if let Err(error) = &written {
            warn!(number, %error, "the outbox cannot be written");
        }
    }

    async fn forget_oldest(&self) {
        let oldest = {
            let mut dead = locked(&self.outbox.dead);
            let over = dead.len() > DEAD;
            over.then(|| dead.pop_first()).flatten()
        };
        if let Some((number, _)) = oldest {
            error!(
                number,
                "too many letters that no hook took: the oldest is gone"
            );
            self.rewrite(number, None).await;
        }
    }

    async fn resend(self: &Arc<Self>, number: u64) -> Result<(), Reject> {
        let bytes = self.state.letter(number).await?.ok_or(Reject::NotFound)?;
        let mut letter = letter(number, &bytes).ok_or(Reject::NotFound)?;
        let at = self
            .options
            .hooks
            .find(&letter.to)
            .ok_or(Reject::NotFound)?;
        if locked(&self.outbox.dead).remove(&number).is_none() {
            return Err(Reject::NotFound);
        }
        letter.dead = None;
        letter.since = now();
        let letters = vec![(number, Some(load::encode(&letter)))];
        self.commit_with(Vec::new(), letters, Promise::Flushed)
            .await?;
        self.put_into_lane((at, letter.upload), number);
        Ok(())
    }
}

/// Letters as the state store takes them.
pub(super) fn stored(posted: &[Posted]) -> Vec<Stored> {
    let stored = |post: &Posted| (post.number, Some(post.bytes.clone()));
    posted.iter().map(stored).collect()
}

fn letter(number: u64, bytes: &[u8]) -> Option<Letter> {
    let letter = postcard::from_bytes(bytes);
    letter
        .inspect_err(|error| error!(number, %error, "a letter to a hook is damaged and left out"))
        .ok()
}
