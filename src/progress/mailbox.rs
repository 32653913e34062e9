//! One who watches: which of its uploads have news, and how far it has read in each.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::{self, Stand};
use super::hub::Hub;
use super::topic::{State, Topic};
use crate::clock::now;
use crate::upload::UploadId;

/// The most events of an upload that are read in one go; other uploads come in between.
const BATCH: usize = 64;

/// A message, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of which upload, and the number that a reconnecting client asks from; `None` for what is of no upload.
    pub at: Option<(UploadId, u64)>,
    /// The message.
    pub json: String,
}

/// How the disk stands.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// `green`, `yellow` or `red`.
    pub level: &'static str,
    /// Bytes that can be written.
    pub free: u64,
    /// Bytes of all of it.
    pub total: u64,
}

/// The subscriptions of one reader. Dropped, it has none.
pub struct Mailbox {
    hub: Arc<Hub>,
    inbox: Arc<Inbox>,
    subscriptions: HashMap<UploadId, Arc<Subscription>>,
    follows_all: bool,
}

/// Where news come in: subscriptions that have some, each at most once.
#[derive(Default)]
pub(super) struct Inbox {
    ready: Mutex<VecDeque<Arc<Subscription>>>,
    notify: Notify,
    /// Uploads were forgotten before their news were read.
    behind: AtomicBool,
    /// The disk's newest level, for one who follows all, until it is read.
    disk: Mutex<Option<String>>,
}

/// That a mailbox follows an upload.
pub(super) struct Subscription {
    topic: Arc<Topic>,
    inbox: Arc<Inbox>,
    /// Through following all: it keeps no topic.
    pub(super) of_all: bool,
    ready: AtomicBool,
    closed: AtomicBool,
    cursor: Mutex<Cursor>,
}

/// How far was read.
struct Cursor {
    /// The next event's number; `None`: how the upload stands is told first.
    next: Option<u64>,
    /// Which progress was told last.
    sample: u64,
}

impl Inbox {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Arc<Subscription>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Option<String>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a newer level of the disk.
    pub(super) fn put_disk(&self, json: &str) {
        *self.disk() = Some(json.to_owned());
        self.notify.notify_one();
    }
}

impl Subscription {
    /// `since` is the number of the last event that the reader knows.
    pub(super) fn new(
        topic: &Arc<Topic>,
        state: &State,
        inbox: &Arc<Inbox>,
        since: Option<u64>,
        of_all: bool,
    ) -> Arc<Self> {
        let next = since
            .filter(|since| state.tells_since(*since))
            .map(|since| since + 1);
        Arc::new(Self {
            topic: topic.clone(),
            inbox: inbox.clone(),
            of_all,
            ready: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            cursor: Mutex::new(Cursor { next, sample: 0 }),
        })
    }

    /// The event `next` is read next, instead of how it stands; not by one that has read already.
    pub(super) fn read_from(&self, next: u64, sample: u64) {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        if cursor.next.is_none() {
            *cursor = Cursor {
                next: Some(next),
                sample,
            };
        }
    }

    /// There is something to read.
    pub(super) fn wake(self: &Arc<Self>) {
        if !self.ready.swap(true, Ordering::AcqRel) {
            self.inbox.ready().push_back(self.clone());
            self.inbox.notify.notify_one();
        }
    }

    pub(super) fn is_of(&self, inbox: &Arc<Inbox>) -> bool {
        Arc::ptr_eq(&self.inbox, inbox)
    }

    /// Nothing is read of it any more. News that were not read are told to be missing.
    pub(super) fn forget(&self) {
        if self.ready.load(Ordering::Acquire) {
            self.inbox.behind.store(true, Ordering::Release);
            self.close();
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // What waits to be read would keep the upload's news in memory.
        self.inbox
            .ready()
            .retain(|other| !std::ptr::eq(&raw const **other, self));
    }

    /// What is new, in order: how it stands, or the events; and after the last event the newest progress.
    fn read(self: &Arc<Self>) -> Vec<Told> {
        // Before the look: what comes after it makes it ready again.
        self.ready.store(false, Ordering::Release);
        let id = &self.topic.id;
        let state = self.topic.state();
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let last = state.sequence;
        let told = |sequence, json| Told {
            at: Some((id.clone(), sequence)),
            json,
        };
        let Some(next) = cursor.next.filter(|next| state.has_from(*next)) else {
            *cursor = Cursor {
                next: Some(last + 1),
                sample: state.sample,
            };
            let (figures, parts) = (state.figures.clone(), state.parts.clone());
            let (paused, code) = (state.paused, state.failure());
            drop(state);
            let stand = Stand {
                paused,
                parts: parts.as_deref(),
                code,
            };
            let json = event::snapshot(id, now(), last, &figures, &stand);
            return vec![told(last, json)];
        };
        let events = state.from(next, BATCH);
        let read = next + events.len() as u64;
        cursor.next = Some(read);
        let mut progress = None;
        if read <= last {
            drop(state);
            self.wake();
        } else if cursor.sample != state.sample {
            cursor.sample = state.sample;
            // The end is told by its event, and nothing comes after it.
            progress = state
                .is_active()
                .then(|| (state.figures.clone(), state.parts.clone()));
            drop(state);
        } else {
            drop(state);
        }
        // Made into text without a lock: whoever emits does not wait for it.
        let mut out: Vec<Told> = (next..)
            .zip(&events)
            .map(|(sequence, event)| told(sequence, event.to_json(id, sequence)))
            .collect();
        if let Some((figures, parts)) = progress {
            let json = event::progress(id, now(), last, &figures, parts.as_deref());
            out.push(told(last, json));
        }
        out
    }
}

impl Mailbox {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            inbox: Arc::default(),
            subscriptions: HashMap::new(),
            follows_all: false,
        }
    }

    /// How many uploads it follows by name.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether it follows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Whether it follows anything.
    #[must_use]
    pub fn follows_any(&self) -> bool {
        self.follows_all || !self.is_empty()
    }

    /// Whether it follows this upload by name.
    #[must_use]
    pub fn follows(&self, id: &UploadId) -> bool {
        self.subscriptions.contains_key(id)
    }

    /// Follows an upload, once more if it did before: how it stands is told, or what came after the event `since`.
    pub fn subscribe(
        &mut self,
        id: &UploadId,
        since: Option<u64>,
        facts: impl Fn() -> super::Facts,
    ) {
        self.unsubscribe(id);
        let new = self.hub.subscribe(id, &self.inbox, since, &facts);
        self.subscriptions.insert(id.clone(), new);
    }

    /// Follows every upload from now on; those in `running` are told as they stand, and so is the disk by [`Disk`], if there is
    /// something to say of it.
    pub fn subscribe_all(
        &mut self,
        running: Vec<(UploadId, super::Facts)>,
        disk: impl FnOnce() -> Option<Disk>,
    ) {
        if !self.follows_all {
            self.follows_all = true;
            let json =
                || disk().map(|disk| event::disk_level(now(), disk.level, disk.free, disk.total));
            self.hub.subscribe_all(&self.inbox, running, json);
        }
    }

    /// Follows those alone from now on that it follows by name.
    pub fn unsubscribe_all(&mut self) {
        if std::mem::take(&mut self.follows_all) {
            self.hub.unsubscribe_all(&self.inbox);
            self.inbox.disk().take();
        }
    }

    /// Follows an upload no more.
    pub fn unsubscribe(&mut self, id: &UploadId) {
        if let Some(old) = self.subscriptions.remove(id) {
            self.hub.unsubscribe(&old.topic, &self.inbox);
            old.close();
        }
    }

    /// Waits for news, and reads those of one upload. Dropped while it waits, it has read nothing.
    pub async fn next(&mut self) -> Vec<Told> {
        loop {
            if let Some(told) = self.try_next() {
                return told;
            }
            self.inbox.notify.notified().await;
        }
    }

    /// News of one upload, if there are any.
    pub fn try_next(&mut self) -> Option<Vec<Told>> {
        if self.inbox.behind.swap(false, Ordering::AcqRel) {
            let json = event::resync(now());
            return Some(vec![Told { at: None, json }]);
        }
        if let Some(json) = self.inbox.disk().take() {
            return Some(vec![Told { at: None, json }]);
        }
        loop {
            let subscription = self.inbox.ready().pop_front()?;
            if subscription.closed.load(Ordering::Acquire) {
                continue;
            }
            let told = subscription.read();
            if !told.is_empty() {
                return Some(told);
            }
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        for (_, old) in self.subscriptions.drain() {
            self.hub.unsubscribe(&old.topic, &self.inbox);
        }
        if self.follows_all {
            self.hub.unsubscribe_all(&self.inbox);
        }
        // A subscription knows its inbox, and an inbox what is ready.
        self.inbox.ready().clear();
    }
}
