//! What hooks are told after it has happened: letters that are stored with the change that they tell of, and brought to their
//! receiver afterwards, at least once, those of one upload in their order. A receiver that does not take one is tried again,
//! longer and longer apart, across restarts too; what it did not take for the whole of its time is laid aside, for the
//! operator to see and to send again.

mod dead;

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, error, info, warn};

pub use self::dead::DeadLetter;
use super::table::Entry;
use super::turns::Turns;
use super::{Inner, load, millis, now};
use crate::clock::since_epoch;
use crate::error::Reject;
use crate::hooks::{Call, Event, Fault, Sink, cause};
use crate::progress::What;
use crate::state::{Change, Letter as Stored, Promise};
use crate::upload::{Kind, Millis, Record, Status, UploadId};

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_mins(5);
/// Letters read at a time.
const PAGE: usize = 500;
/// What a completing request has for its own question before the outbox asks in its place.
const HEAD_START: Duration = Duration::from_secs(20);

/// A letter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    /// Its receiver's name.
    pub(super) to: String,
    pub(super) upload: UploadId,
    /// Since when it is tried.
    since: Millis,
    /// When nobody tried any more, and why.
    dead: Option<(Millis, String)>,
    pub(super) call: Call,
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
    /// Those of each receiver.
    turns: Vec<Turns>,
    /// To the task that puts letters into their lanes.
    posted: UnboundedSender<(Lane, u64)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outbox {
    /// For these receivers; what is posted comes out at the other end.
    pub(super) fn new(receivers: &[Sink]) -> (Self, UnboundedReceiver<(Lane, u64)>) {
        let (posted, incoming) = unbounded_channel();
        let turns = receivers.iter().map(|sink| Turns::new(sink.at_a_time));
        let outbox = Self {
            last: AtomicU64::default(),
            lanes: Mutex::default(),
            dead: Mutex::default(),
            turns: turns.collect(),
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
            Status::Completed => {
                events.push(Event::PostFinish);
                events.extend(Self::on_completion(entry, after));
            }
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
        let call = match event {
            Event::Job | Event::Digest => self.own_call(event, entry, record),
            _ => self.call(event, &self.told(entry, record)),
        };
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
                number: self.outbox.next(),
                lane: (at, entry.id.clone()),
                bytes: load::encode(&letter),
            });
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
        let (mut after, mut parked) = (None, 0);
        loop {
            let page = self.state.letters(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            self.outbox.last.fetch_max(*last, Ordering::Relaxed);
            for (number, bytes) in &page {
                let Some(letter) = letter(*number, bytes) else {
                    continue;
                };
                let sequence = letter.call.sequence;
                self.outbox.last.fetch_max(sequence, Ordering::Relaxed);
                let at = self.options.hooks.heir(&letter.to);
                if at.is_none() && letter.call.event == Event::Digest {
                    // What was switched off is nobody's loss.
                    self.rewrite(*number, None).await;
                    continue;
                }
                match (at, letter.dead.clone()) {
                    (Some(at), None) => self.put_into_lane((at, letter.upload), *number),
                    (at, dead) => {
                        parked += usize::from(at.is_none());
                        let gone = || (now(), "no such receiver is configured".to_owned());
                        let dead = dead.unwrap_or_else(gone);
                        let dead = DeadLetter::of(*number, &letter, dead);
                        locked(&self.outbox.dead).insert(*number, dead);
                    }
                }
            }
        }
        if parked > 0 {
            warn!(
                parked,
                "letters are to receivers that are not configured: /admin/hooks lists them"
            );
        }
        let (waiting, dead) = self.outbox.count();
        if waiting + dead > 0 {
            info!(waiting, dead, "letters to hooks were left");
        }
        Ok(())
    }

    /// Brings the letters of a lane to its receiver, one after the other, until there are none.
    async fn deliver(self: &Arc<Self>, lane: &Lane) {
        let (mut failures, mut failing) = (0, None);
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
            if self.attempt(lane.0, number, failures, failing).await {
                (failures, failing) = (0, None);
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
                failing.get_or_insert_with(now);
                tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
            }
        }
    }

    /// Brings a letter when it is its turn; `None`: it is not to go any more.
    async fn bring(
        self: &Arc<Self>,
        at: usize,
        sink: &Sink,
        number: u64,
        letter: &mut Letter,
    ) -> Result<Option<Result<Vec<u8>, Fault>>, Reject> {
        let Some(priority) = self.make_ready(number, letter).await? else {
            return Ok(None);
        };
        let _turn = match self.outbox.turns.get(at) {
            Some(turns) => Some(turns.take(priority, number).await),
            None => None,
        };
        if !self.fill_in(letter).await? {
            return Ok(None);
        }
        // Not before: what is asked and told until then has a lower number, and has gone out earlier.
        if letter.call.sequence == 0 {
            letter.call.number(self.outbox.next());
        }
        self.meter.hook_calls.one(letter.call.event.name());
        Ok(Some(sink.way.bring(&letter.call, false).await))
    }

    /// One try to bring a letter; whether there is nothing more to do about it. `failing`: since when it does not go.
    async fn attempt(
        self: &Arc<Self>,
        at: usize,
        number: u64,
        failures: u32,
        failing: Option<Millis>,
    ) -> bool {
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
        let was_numbered = letter.call.sequence > 0;
        let brought = match self.bring(at, sink, number, &mut letter).await {
            Ok(Some(brought)) => brought,
            Ok(None) => {
                self.rewrite(number, None).await;
                return true;
            }
            Err(reject) => Err(Fault(reject.to_string())),
        };
        let Err(fault) = brought else {
            debug!(number, %event, upload = %letter.upload, "a hook was told");
            // Should this be lost, it is told again.
            self.rewrite(number, None).await;
            self.tell_job(&letter, What::JobCreated).await;
            return true;
        };
        self.meter.hook_faults.one(event.name());
        let failing = failing.map_or(0, |since| now().saturating_sub(since));
        if failing < millis(self.options.hooks.patience) {
            let upload = &letter.upload;
            warn!(%fault, %event, %upload, to = letter.to, "a hook was not told, and is tried again");
            if !was_numbered && letter.call.sequence > 0 {
                // Of two tries the second one is no later event, after a crash too.
                self.rewrite_as(number, Some(&letter), Promise::Flushed)
                    .await;
            }
            return false;
        }
        error!(%fault, %event, upload = %letter.upload, to = letter.to, number, "A HOOK WAS NOT TOLD, for all of its time; /admin/hooks lists it");
        let dead = (now(), fault.0);
        letter.dead = Some(dead.clone());
        let listed = DeadLetter::of(number, &letter, dead);
        locked(&self.outbox.dead).insert(number, listed);
        self.rewrite(number, Some(&letter)).await;
        let code = "handoff-failed";
        self.tell_job(&letter, What::JobFailed { code }).await;
        self.forget_oldest().await;
        true
    }

    /// What a completed upload's hook is told after it was asked is not told before.
    pub(super) async fn after_pre_finish(self: &Arc<Self>, letter: &Letter) -> Result<(), Reject> {
        let event = letter.call.event;
        let follows = matches!(event, Event::PostFinish | Event::Job);
        if !follows || !self.options.hooks.wants(Event::PreFinish) {
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
        self.rewrite_as(number, letter, Promise::Queued).await;
    }

    async fn rewrite_as(&self, number: u64, letter: Option<&Letter>, promise: Promise) {
        let letters = vec![(number, letter.map(load::encode))];
        let written = self.state.commit_with(Vec::new(), letters, promise).await;
        if let Err(error) = &written {
            warn!(number, %error, "the outbox cannot be written");
        }
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
