//! Commits on their way to the thread, which is woken only for those that somebody waits for. The others are picked up a
//! little later, and of several for one upload only the last is left: the thread would otherwise be woken for each PATCH.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Commit, GROUP};
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
    closed: bool,
}

/// What there is to do.
pub(super) enum Taken {
    /// These, in their order.
    Commits(Vec<Commit>),
    /// Nothing came before the deadline.
    Nothing,
    /// Nothing will come.
    Closed,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a commit in; `false` if the inbox is closed.
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
        if let Some(commit) = state.merge(commit) {
            state.add(commit);
        }
        let full = state.queue.len() >= GROUP;
        drop(state);
        if waited_for || first || full {
            self.wake.notify_one();
        }
        true
    }

    /// Nothing more is taken in; what is there is handed out still.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Waits for commits, until `deadline` at the most.
    pub(super) fn take(&self, deadline: Option<Instant>) -> Taken {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let lazy = state.since.map(|since| since + LAZY);
            let due = lazy.is_some_and(|lazy| lazy <= now) || state.queue.len() >= GROUP;
            if !state.queue.is_empty() && (state.urgent || state.closed || due) {
                return Taken::Commits(state.hand_out());
            }
            if state.closed {
                return Taken::Closed;
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Taken::Nothing;
            }
            state = match [lazy, deadline].into_iter().flatten().min() {
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

    fn offsets(taken: Taken) -> Vec<(String, u64, u64)> {
        let Taken::Commits(commits) = taken else {
            panic!("nothing there")
        };
        let offset = |record: &Option<Record>| record.as_ref().unwrap().offset;
        let change = |commit: Commit| {
            let change = &commit.changes[0];
            (
                change.id.to_string(),
                offset(&change.expect),
                offset(&change.record),
            )
        };
        commits.into_iter().map(change).collect()
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
        assert_eq!(offsets(inbox.take(None)), merged);
        assert!(began.elapsed() >= LAZY);
        assert!(
            inbox.put(queued("a", 3, 4)),
            "what was handed out is not merged into"
        );
        inbox.close();
        assert_eq!(offsets(inbox.take(None)), [("a".to_owned(), 3, 4)]);
        assert!(matches!(inbox.take(None), Taken::Closed));
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
        assert_eq!(offsets(inbox.take(None)), all);
        assert!(began.elapsed() < LAZY);
        assert!(matches!(inbox.take(Some(Instant::now())), Taken::Nothing));
    }
}
