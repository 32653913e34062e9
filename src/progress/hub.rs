//! The uploads that are watched, and those who follow all of them.
//!
//! Without anybody who watches, an event costs one look at a counter. Locks are taken in this order, and none of them while
//! anything is waited for: the list of topics, a topic, an inbox; the facts of an upload are looked at under a topic's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::event::{self, Facts, What};
use super::mailbox::{Inbox, Mailbox, Subscription};
use super::topic::Topic;
use crate::clock::{now, since_epoch};
use crate::upload::UploadId;

/// How long a topic stays after the last event and the last subscriber: for those who come back.
const STAYS: Duration = Duration::from_mins(2);
/// Between two looks for progress.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Whom to tell what.
pub struct Hub {
    topics: Mutex<Topics>,
    /// Topics, and those who follow all.
    watched: AtomicUsize,
    /// Subscriptions by name, and those who follow all.
    subscribers: AtomicUsize,
    wake: Notify,
    /// After so long without a byte an upload is paused.
    pause_after: Duration,
}

#[derive(Default)]
struct Topics {
    by_id: HashMap<UploadId, Arc<Topic>>,
    all: Vec<Arc<Inbox>>,
    /// The highest number of an event whose topic is gone: none goes back below it.
    floor: u64,
}

/// Where the numbers of an upload's events begin: later than any of before a restart, and exact as a double until 2255.
fn microseconds() -> u64 {
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

impl Hub {
    /// Nobody watches yet.
    #[must_use]
    pub fn new(pause_after: Duration) -> Arc<Self> {
        Arc::new(Self {
            topics: Mutex::default(),
            watched: AtomicUsize::new(0),
            subscribers: AtomicUsize::new(0),
            wake: Notify::new(),
            pause_after,
        })
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing that happens is of interest to anybody.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.watched.load(Ordering::Acquire) == 0
    }

    /// A reader without subscriptions.
    #[must_use]
    pub fn mailbox(self: &Arc<Self>) -> Mailbox {
        Mailbox::new(self.clone())
    }

    /// Something happened; `facts` tells how the upload is now. A pause is told once, and so is its end.
    pub fn emit(&self, id: &UploadId, what: What, facts: impl Fn() -> Facts) {
        self.tell(id, what, true, facts);
    }

    /// The same of what is no upload of its own to those who follow all.
    pub fn emit_by_name(&self, id: &UploadId, what: What, facts: impl Fn() -> Facts) {
        self.tell(id, what, false, facts);
    }

    fn tell(&self, id: &UploadId, what: What, among_all: bool, facts: impl Fn() -> Facts) {
        if self.is_quiet() {
            return;
        }
        let (topic, is_new) = {
            let mut topics = self.topics();
            match topics.by_id.get(id) {
                Some(topic) => (topic.clone(), false),
                None if topics.all.is_empty() || !among_all => return,
                None => (self.add(&mut topics, id, &facts()), true),
            }
        };
        let mut state = topic.state();
        state.refresh(&facts());
        state.happened(what);
        if is_new {
            state.tell_from_first();
        }
    }

    /// The disk's level has changed: told to those who follow all.
    pub fn tell_disk(&self, level: &str, free: u64, total: u64) {
        let json = event::disk_level(now(), level, free, total);
        for inbox in &self.topics().all {
            inbox.put_disk(&json);
        }
    }

    /// Looks for progress where somebody follows; `facts` of an upload that is not in memory are `None`.
    pub fn sample(&self, facts: impl Fn(&UploadId) -> Option<Facts>) {
        let topics: Vec<_> = self.topics().by_id.values().cloned().collect();
        for topic in topics {
            let mut state = topic.state();
            if !state.subscriptions.is_empty()
                && state.is_active()
                && let Some(facts) = facts(&topic.id)
            {
                state.sampled(&facts, self.pause_after);
            } else {
                state.tell_stored(false);
            }
        }
    }

    /// Samples for as long as somebody watches, and else waits. Ends when it is dropped.
    pub async fn run(&self, facts: impl Fn(&UploadId) -> Option<Facts>) {
        loop {
            while self.subscribers.load(Ordering::Acquire) > 0 {
                let began = Instant::now();
                self.sample(&facts);
                // However many uploads there are, two thirds of a processor's time at least are for them.
                tokio::time::sleep(SAMPLE_EVERY.max(began.elapsed() * 2)).await;
            }
            self.wake.notified().await;
        }
    }

    /// Forgets uploads of which nothing was heard for long, and that nobody follows by name.
    pub fn rest(&self) {
        self.forget_after(STAYS);
    }

    fn forget_after(&self, stays: Duration) {
        if self.is_quiet() {
            return;
        }
        let mut topics = self.topics();
        let mut floor = topics.floor;
        topics.by_id.retain(|_, topic| {
            let mut state = topic.state();
            let followed = state.subscriptions.iter().any(|one| !one.of_all);
            // One that bytes come for is watched by those who follow all, however long they take.
            let running = !state.subscriptions.is_empty() && state.is_active() && !state.paused;
            if followed || running || state.used.elapsed() < stays {
                return true;
            }
            floor = floor.max(state.sequence);
            for subscription in state.subscriptions.drain(..) {
                subscription.forget();
            }
            self.watched.fetch_sub(1, Ordering::AcqRel);
            false
        });
        topics.floor = floor;
    }

    /// A topic that is not there; those who follow all follow it.
    fn add(&self, topics: &mut Topics, id: &UploadId, facts: &Facts) -> Arc<Topic> {
        let base = microseconds().max(topics.floor + 1);
        let topic = Topic::new(id, base, facts);
        for inbox in &topics.all {
            topic.follow(inbox, None, true);
        }
        topics.by_id.insert(id.clone(), topic.clone());
        self.watched.fetch_add(1, Ordering::AcqRel);
        topic
    }

    pub(super) fn subscribe(
        &self,
        id: &UploadId,
        inbox: &Arc<Inbox>,
        since: Option<u64>,
        facts: &impl Fn() -> Facts,
    ) -> Arc<Subscription> {
        // First, so that what happens from here on is told to this topic.
        self.watched.fetch_add(1, Ordering::AcqRel);
        let mut topics = self.topics();
        let topic = match topics.by_id.get(id) {
            Some(topic) => topic.clone(),
            None => self.add(&mut topics, id, &facts()),
        };
        topic.state().refresh(&facts());
        let subscription = topic.follow(inbox, since, false);
        drop(topics);
        self.watched.fetch_sub(1, Ordering::AcqRel);
        self.come();
        subscription
    }

    pub(super) fn unsubscribe(&self, topic: &Topic, inbox: &Arc<Inbox>) {
        let mut state = topic.state();
        state.used = Instant::now();
        state
            .subscriptions
            .retain(|one| one.of_all || !one.is_of(inbox));
        self.subscribers.fetch_sub(1, Ordering::AcqRel);
    }

    /// `disk` is what there is to say of it now: asked for once every later change is told.
    pub(super) fn subscribe_all(
        &self,
        inbox: &Arc<Inbox>,
        running: Vec<(UploadId, Facts)>,
        disk: impl FnOnce() -> Option<String>,
    ) {
        self.watched.fetch_add(1, Ordering::AcqRel);
        let mut topics = self.topics();
        for topic in topics.by_id.values() {
            topic.follow(inbox, None, true);
        }
        topics.all.push(inbox.clone());
        if let Some(json) = disk() {
            inbox.put_disk(&json);
        }
        for (id, facts) in running {
            if !topics.by_id.contains_key(&id) {
                self.add(&mut topics, &id, &facts);
            }
        }
        drop(topics);
        self.come();
    }

    pub(super) fn unsubscribe_all(&self, inbox: &Arc<Inbox>) {
        let mut topics = self.topics();
        topics.all.retain(|other| !Arc::ptr_eq(other, inbox));
        for topic in topics.by_id.values() {
            let mut state = topic.state();
            let own = |one: &mut Arc<Subscription>| one.of_all && one.is_of(inbox);
            for old in state.subscriptions.extract_if(.., own) {
                old.close();
            }
        }
        self.watched.fetch_sub(1, Ordering::AcqRel);
        self.subscribers.fetch_sub(1, Ordering::AcqRel);
    }

    fn come(&self) {
        self.subscribers.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests;
