//! Who goes next where only so many can at a time: the most urgent, and of those who waited for it longest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::upload::Priority;

/// So many turns.
pub(super) struct Turns(Arc<Mutex<Queue>>);

struct Queue {
    free: usize,
    waiting: BTreeMap<(Reverse<Priority>, u64), oneshot::Sender<Turn>>,
}

/// Somebody's turn, as long as this lives.
pub(super) struct Turn(Option<Arc<Mutex<Queue>>>);

fn locked(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turns {
    pub(super) fn new(at_a_time: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue {
            free: at_a_time,
            waiting: BTreeMap::new(),
        })))
    }

    /// The next turn of whoever has this number, which nobody else has who waits here.
    pub(super) async fn take(&self, priority: Priority, number: u64) -> Turn {
        let coming = {
            let mut queue = locked(&self.0);
            if queue.free > 0 {
                queue.free -= 1;
                return Turn(Some(self.0.clone()));
            }
            let (give, coming) = oneshot::channel();
            queue.waiting.insert((Reverse(priority), number), give);
            coming
        };
        coming.await.unwrap_or(Turn(None))
    }

    /// Whether somebody waits who is more urgent than this.
    pub(super) fn is_urged_by_more_than(&self, priority: Priority) -> bool {
        let queue = locked(&self.0);
        let first = queue.waiting.first_key_value();
        first.is_some_and(|((Reverse(urgent), _), _)| *urgent > priority)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(queue) = self.0.take() else { return };
        loop {
            let mut own = locked(&queue);
            let Some((_, next)) = own.waiting.pop_first() else {
                own.free += 1;
                return;
            };
            drop(own);
            match next.send(Self(Some(queue.clone()))) {
                Ok(()) => return,
                // Whoever waited has gone; not by dropping this turn, which would be a call in a call for each of them.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;

    #[test]
    fn the_most_urgent_goes_first_and_who_has_gone_is_passed_over() {
        let turns = Turns::new(1);
        let first = turns.take(Priority::Low, 1).now_or_never().unwrap();
        let waits = [
            (Priority::Low, 2),
            (Priority::Normal, 3),
            (Priority::High, 5),
            (Priority::High, 4),
        ];
        let mut waiting: Vec<(u64, BoxFuture<'_, Turn>)> = Vec::new();
        for (priority, number) in waits {
            waiting.push((number, turns.take(priority, number).boxed()));
        }
        let next = |waiting: &mut Vec<(u64, BoxFuture<'_, Turn>)>| {
            let ready = |(at, wait): (usize, &mut (u64, BoxFuture<'_, Turn>))| {
                (&mut wait.1).now_or_never().map(|turn| (at, turn))
            };
            let (at, turn) = waiting.iter_mut().enumerate().find_map(ready)?;
            Some((waiting.remove(at).0, turn))
        };
        assert!(next(&mut waiting).is_none());
        assert!(turns.is_urged_by_more_than(Priority::Normal));
        assert!(!turns.is_urged_by_more_than(Priority::High));
        waiting.retain(|(number, _)| *number != 3);
        drop(first);
        let mut order = Vec::new();
        while let Some((number, _turn)) = next(&mut waiting) {
            order.push(number);
        }
        assert_eq!(order, [4, 5, 2]);
        assert!(turns.take(Priority::Low, 6).now_or_never().is_some());
    }

    #[test]
    fn very_many_who_have_gone_are_passed_over_as_well() {
        let turns = Turns::new(1);
        let first = turns.take(Priority::Low, 0).now_or_never().unwrap();
        for number in 1..100_000 {
            assert!(turns.take(Priority::Low, number).now_or_never().is_none());
        }
        drop(first);
        assert_eq!(locked(&turns.0).free, 1);
    }
}
