//! Commits on their way to the ground. The thread is woken only for those that somebody waits for; the others are picked up a
//! little later, and of several for one upload only the last is left: it would otherwise be woken for each PATCH.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Commit, GROUP, LIGHT_GROUP};
use crate::upload::UploadId;

/// How long a commit that nobody waits for may lie here.
const LAZY: Duration = Duration::from_millis(100);

/// The queue.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Commit>,
    /// How many have been taken before the first of the queue.
    taken: usize,
    /// Where the last commit of an upload stands that nobody waits for, counted from the first there ever was.
    last: HashMap<UploadId, usize>,
    /// Since when the queue has not been empty.
    since: Option<Instant>,
    /// Somebody waits.
    urgent: bool,
    /// Somebody waits for a sync, or has much to commit.
    heavy: bool,
    /// When the thread is to flush what was committed.
    flush_at: Option<Instant>,
    closed: bool,
}

/// What there is to do for the thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// To [`Inbox::take`] commits, unless somebody was faster.
    Commits,
    /// To flush.
    Flush,
    /// Nothing more will come.
    Closed,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a commit in; `false` if the inbox is closed. Who waits for it sees that it is taken out, or calls
    /// [`Inbox::wake`].
    pub(super) fn put(&self, commit: Commit) -> bool {
        let mut state = self.state();
        if state.closed {
            return false;
        }
        let waited_for = commit.waiter.is_some();
        let first = state.queue.is_empty();
        if first {
            state.since = Some(Instant::now());
        }
        state.urgent |= waited_for;
        state.heavy |= commit.is_heavy();
        if let Some(commit) = state.merge(commit) {
            state.add(commit);
        }
        let full = state.queue.len() >= GROUP;
        drop(state);
        if full || (first && !waited_for) {
            self.wake();
        }
        true
    }

    /// Wakes the thread.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// When the thread is to flush what was committed, unless somebody else does before.
    pub(super) fn flush_at(&self, at: Option<Instant>) {
        let mut state = self.state();
        let sooner = at.is_some_and(|at| state.flush_at.is_none_or(|before| at < before));
        state.flush_at = at;
        drop(state);
        if sooner {
            self.wake();
        }
    }

    /// Nothing more is taken in; what is there is handed out still.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Waits until there is something to do.
    pub(super) fn wait(&self) -> Due {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let lazy = state.since.map(|since| since + LAZY);
            let due = lazy.is_some_and(|lazy| lazy <= now) || state.queue.len() >= GROUP;
            if !state.queue.is_empty() && (state.urgent || state.closed || due) {
                return Due::Commits;
            }
            if state.closed {
                return Due::Closed;
            }
            if state.flush_at.is_some_and(|at| at <= now) {
                return Due::Flush;
            }
            state = match [lazy, state.flush_at].into_iter().flatten().min() {
                Some(until) => {
                    let waited = self.wake.wait_timeout(state, until - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes out a group, in its order.
    pub(super) fn take(&self) -> Vec<Commit> {
        self.state().hand_out()
    }

    /// Takes out all there is, if it is little and nobody waits for a sync.
    pub(super) fn take_light(&self) -> Option<Vec<Commit>> {
        let mut state = self.state();
        let light = !state.heavy && state.queue.len() <= LIGHT_GROUP;
        light.then(|| state.hand_out())
    }
}

impl State {
    /// Puts a change that nobody waits for in the place of the one before it, of the same upload; gives back what cannot be.
    fn merge(&mut self, commit: Commit) -> Option<Commit> {
        let [change] = &commit.changes[..] else {
            return Some(commit);
        };
        let plain = change.details.is_empty() && change.marks.is_empty() && change.record.is_some();
        if commit.waiter.is_some() || !plain || !commit.letters.is_empty() {
            return Some(commit);
        }
        let before = self
            .last
            .get(&change.id)
            .and_then(|at| at.checked_sub(self.taken));
        match before
            .and_then(|at| self.queue.get_mut(at))
            .map(|before| &mut before.changes[..])
        {
            Some([before]) if before.record == change.expect => {
                before.record.clone_from(&change.record);
                None
            }
            _ => Some(commit),
        }
    }

    fn add(&mut self, commit: Commit) {
        let at = self.taken + self.queue.len();
        for change in &commit.changes {
            if commit.waiter.is_none() && commit.changes.len() == 1 && change.record.is_some() {
                self.last.insert(change.id.clone(), at);
            } else {
                self.last.remove(&change.id);
            }
        }
        self.queue.push_back(commit);
    }

    fn hand_out(&mut self) -> Vec<Commit> {
        let count = self.queue.len().min(GROUP);
        self.taken += count;
        let commits = self.queue.drain(..count).collect();
        if self.queue.is_empty() {
            self.last.clear();
            self.since = None;
            self.urgent = false;
            self.heavy = false;
        } else {
            self.last.retain(|_, at| *at >= self.taken);
        }
        commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Change, Promise};
    use crate::upload::{Kind, Record};

    fn queued(id: &str, from: u64, to: u64) -> Commit {
        let at = |offset| Record {
            offset,
            ..Record::new(Kind::Plain, None, 1)
        };
        let change = Change::record(&id.parse().unwrap(), Some(at(from)), Some(at(to)));
        Commit {
            changes: vec![change],
            letters: Vec::new(),
            promise: Promise::Queued,
            waiter: None,
        }
    }

    /// Waits for commits, and takes them.
    fn offsets(inbox: &Inbox) -> Vec<(String, u64, u64)> {
        assert_eq!(inbox.wait(), Due::Commits);
        let offset = |record: &Option<Record>| record.as_ref().unwrap().offset;
        let change = |commit: Commit| {
            let change = &commit.changes[0];
            (
                change.id.to_string(),
                offset(&change.expect),
                offset(&change.record),
            )
        };
        inbox.take().into_iter().map(change).collect()
    }

    #[test]
    fn what_nobody_waits_for_is_merged_and_comes_later() {
        let inbox = Inbox::default();
        let began = Instant::now();
        for commit in [
            queued("a", 0, 1),
            queued("b", 0, 5),
            queued("a", 1, 2),
            queued("a", 2, 3),
            queued("a", 9, 10),
        ] {
            assert!(inbox.put(commit));
        }
        let merged = [
            ("a".to_owned(), 0, 3),
            ("b".to_owned(), 0, 5),
            ("a".to_owned(), 9, 10),
        ];
        assert_eq!(offsets(&inbox), merged);
        assert!(began.elapsed() >= LAZY);
        assert!(
            inbox.put(queued("a", 3, 4)),
            "what was handed out is not merged into"
        );
        inbox.close();
        assert_eq!(offsets(&inbox), [("a".to_owned(), 3, 4)]);
        assert_eq!(inbox.wait(), Due::Closed);
        assert!(!inbox.put(queued("a", 4, 5)));
    }

    #[test]
    fn who_waits_is_served_at_once_after_what_came_before() {
        let inbox = Inbox::default();
        inbox.put(queued("a", 0, 1));
        let (waiter, _answer) = tokio::sync::oneshot::channel();
        inbox.put(Commit {
            waiter: Some(waiter),
            promise: Promise::Flushed,
            ..queued("a", 1, 2)
        });
        inbox.put(queued("a", 2, 3));
        let began = Instant::now();
        let all = [
            ("a".to_owned(), 0, 1),
            ("a".to_owned(), 1, 2),
            ("a".to_owned(), 2, 3),
        ];
        assert_eq!(offsets(&inbox), all);
        assert!(began.elapsed() < LAZY);
        inbox.flush_at(Some(Instant::now()));
        assert_eq!(inbox.wait(), Due::Flush);
    }
}
