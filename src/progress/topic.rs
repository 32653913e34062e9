//! An upload that is watched: its last events, how it stands, and who follows it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::event::{Event, Facts, Figures, Part, What};
use super::mailbox::{Inbox, Subscription};
use crate::clock::now;
use crate::upload::{Status, UploadId};

/// Events that are kept of an upload that somebody follows, and of one that is only among all.
pub(super) const KEPT: usize = 256;
const KEPT_AMONG_ALL: usize = 32;
/// The least time between two events of stored bytes of an upload: those in between are put together.
pub(super) const CHUNKS_EVERY: Duration = Duration::from_millis(100);
/// The time after which an old rate has lost 63 % of its weight.
const RATE_MEMORY: f64 = 2.0;

/// An upload that is watched, or was lately.
pub(super) struct Topic {
    pub(super) id: UploadId,
    state: Mutex<State>,
}

/// What is known of it.
pub(super) struct State {
    /// The last events, without gaps.
    pub(super) kept: VecDeque<Event>,
    /// The number before the first event, and the last event's.
    base: u64,
    pub(super) sequence: u64,
    pub(super) figures: Figures,
    pub(super) parts: Option<Arc<[Part]>>,
    /// Counts the changes between events.
    pub(super) sample: u64,
    pub(super) paused: bool,
    /// Bytes came since, which nobody has been told.
    came: bool,
    /// When bytes came last.
    moved: Instant,
    /// When the rate was last worked out, at which offset, and what it is.
    rated: (Instant, u64, f64),
    /// Stored bytes that no event has told yet, and when the last one did.
    untold: Option<(u64, u64)>,
    told: Option<Instant>,
    pub(super) subscriptions: Vec<Arc<Subscription>>,
    /// When something happened last, or a subscriber left.
    pub(super) used: Instant,
}

impl Topic {
    pub(super) fn new(id: &UploadId, base: u64, facts: &Facts) -> Arc<Self> {
        Arc::new(Self {
            id: id.clone(),
            state: Mutex::new(State::new(base, facts)),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn follow(
        self: &Arc<Self>,
        inbox: &Arc<Inbox>,
        since: Option<u64>,
        of_all: bool,
    ) -> Arc<Subscription> {
        let mut state = self.state();
        let new = Subscription::new(self, &state, inbox, since, of_all);
        state.subscriptions.push(new.clone());
        new.wake();
        new
    }
}

impl State {
    pub(super) fn new(base: u64, facts: &Facts) -> Self {
        let now = Instant::now();
        Self {
            kept: VecDeque::new(),
            base,
            sequence: base,
            figures: Figures {
                status: facts.status,
                offset: facts.offset,
                length: facts.length,
                chunks: facts.chunks,
                rate: 0,
            },
            parts: facts.parts.clone(),
            sample: 1,
            paused: facts.status == Status::Active && facts.offset > 0 && facts.silent.is_none(),
            came: false,
            moved: now,
            rated: (now, facts.offset, 0.0),
            untold: None,
            told: None,
            subscriptions: Vec::new(),
            used: now,
        }
    }

    /// Whether bytes may still come.
    pub(super) fn is_active(&self) -> bool {
        self.figures.status == Status::Active
    }

    /// The code of the failure, once it has failed.
    pub(super) fn failure(&self) -> Option<&'static str> {
        match self.figures.status {
            Status::Failed(failure) => Some(failure.code()),
            _ => None,
        }
    }

    /// The number of the first event that is kept.
    fn oldest(&self) -> u64 {
        self.sequence + 1 - self.kept.len() as u64
    }

    /// Whether every event from this number on is kept.
    pub(super) fn has_from(&self, next: u64) -> bool {
        (self.oldest()..=self.sequence + 1).contains(&next)
    }

    /// Whether one who knows the event `since` can be told the others.
    pub(super) fn tells_since(&self, since: u64) -> bool {
        since >= self.base && since < u64::MAX && self.has_from(since + 1)
    }

    /// The events from this number on, at most so many.
    pub(super) fn from(&self, next: u64, most: usize) -> Vec<Event> {
        let skipped = usize::try_from(next - self.oldest()).unwrap_or(usize::MAX);
        self.kept.iter().skip(skipped).take(most).cloned().collect()
    }

    /// To those who follow from before the first event that one is told itself, and not only what it has led to. Where nothing
    /// came of it that is an event, how the upload stands is told.
    pub(super) fn tell_from_first(&self) {
        if self.sequence > self.base {
            for subscription in &self.subscriptions {
                subscription.read_from(self.base + 1, self.sample);
            }
        }
    }

    /// Takes over how the upload is. What was told is not taken back by one who looked earlier.
    pub(super) fn refresh(&mut self, facts: &Facts) {
        self.figures.status = facts.status;
        self.figures.length = facts.length;
        self.figures.chunks = facts.chunks;
        self.parts.clone_from(&facts.parts);
        if facts.offset > self.figures.offset {
            self.figures.offset = facts.offset;
            self.came = self.paused;
            self.moved = Instant::now();
        } else if facts.chunks.is_some() {
            // A chunk that is refused takes back what was told of it on its way.
            self.figures.offset = facts.offset;
        }
    }

    pub(super) fn happened(&mut self, what: What) {
        if self.came && self.paused && what != What::Resumed {
            self.happened(What::Resumed);
        }
        match what {
            What::Stored {
                chunk: None,
                start,
                end,
            } => {
                if self.untold.is_some_and(|(_, to)| to != start) {
                    self.tell_stored(true);
                }
                let from = self.untold.map_or(start, |(from, _)| from);
                self.untold = Some((from, end));
                self.moved = Instant::now();
                return self.tell_stored(false);
            }
            What::Resumed if !self.paused => {
                self.moved = Instant::now();
                return;
            }
            What::Paused { .. } if self.paused || !self.is_active() => return,
            _ => {}
        }
        self.tell_stored(true);
        match what {
            What::Resumed | What::Stored { .. } => {
                self.moved = Instant::now();
                if std::mem::take(&mut self.paused) {
                    self.rated = (self.moved, self.figures.offset, 0.0);
                }
            }
            What::Paused { .. } => self.pause(),
            // An upload that is taken back has no record that says so.
            What::Cancelled => self.figures.status = Status::Cancelled,
            _ => {}
        }
        if !self.is_active() {
            self.pause();
            self.paused = false;
        }
        self.push(what);
    }

    fn pause(&mut self) {
        self.paused = true;
        self.came = false;
        self.rated.2 = 0.0;
        self.figures.rate = 0;
    }

    /// Tells the bytes that were stored since the last time; `now`, or when it is time.
    pub(super) fn tell_stored(&mut self, now: bool) {
        let due = self.told.is_none_or(|at| at.elapsed() >= CHUNKS_EVERY);
        if let Some((start, end)) = self.untold.filter(|_| now || due) {
            self.untold = None;
            self.told = Some(Instant::now());
            self.push(What::Stored {
                chunk: None,
                start,
                end,
            });
        }
    }

    fn push(&mut self, what: What) {
        let among_all = self.subscriptions.iter().all(|one| one.of_all);
        let most = if among_all && !self.subscriptions.is_empty() {
            KEPT_AMONG_ALL
        } else {
            KEPT
        };
        while self.kept.len() >= most {
            self.kept.pop_front();
        }
        self.sequence += 1;
        self.kept.push_back(Event {
            time: now(),
            what,
            figures: self.figures.clone(),
        });
        self.used = Instant::now();
        self.wake();
    }

    fn wake(&self) {
        for subscription in &self.subscriptions {
            subscription.wake();
        }
    }

    /// Between events: how far it is, how fast, and whether bytes come at all.
    pub(super) fn sampled(&mut self, facts: &Facts, pause_after: Duration) {
        let before = (self.figures.offset, self.figures.length);
        self.refresh(facts);
        let (at, offset, rate) = self.rated;
        let took = at.elapsed().as_secs_f64();
        let rate = mean(rate, self.figures.offset.saturating_sub(offset), took);
        if !self.paused {
            self.rated = (Instant::now(), self.figures.offset, rate);
            self.figures.rate = whole(rate);
        }
        self.tell_stored(false);
        let comes = facts.silent.is_some_and(|silent| silent < pause_after);
        let rests = self.moved.elapsed() >= pause_after && !comes;
        if self.paused && (comes || self.came) {
            self.happened(What::Resumed);
        } else if rests && !self.paused && self.figures.offset > 0 {
            self.happened(What::Paused { code: None });
        } else if before != (self.figures.offset, self.figures.length) {
            self.sample += 1;
            self.used = Instant::now();
            self.wake();
        }
    }
}

/// The mean, weighed exponentially by age, with `bytes` that came in the last `seconds`.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is no count: a double has more digits than it is good for"
)]
pub(super) fn mean(rate: f64, bytes: u64, seconds: f64) -> f64 {
    if seconds <= 0.0 {
        return rate;
    }
    let weight = 1.0 - (-seconds / RATE_MEMORY).exp();
    rate + (bytes as f64 / seconds - rate) * weight
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "neither negative nor near 2^64"
)]
pub(super) fn whole(rate: f64) -> u64 {
    rate.round() as u64
}
