//! Where a write runs: in the task as long as the disk is fast and a worker stays free, in the blocking pool otherwise.
//!
//! In the task it costs the processor no more than a bare loop; but a disk that hangs would hang the workers with it. So
//! at most all workers but one write at a time, and one slow write sends all of them to the pool until it is fast again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// A write that takes longer shows that the disk is busy.
const SLOW: Duration = Duration::from_millis(50);

/// So many pooled writes in a row must have been fast before tasks write themselves again.
const FAST_IN_A_ROW: u32 = 8;

/// The store's choice between task and pool.
#[derive(Debug)]
pub(super) struct Pace {
    inline: Semaphore,
    /// Fast pooled writes that are still wanted before the next write in a task; 0 while the disk is fast.
    wanted: AtomicU32,
}

impl Pace {
    /// For a runtime of `workers` threads: with one there is none to spare, and everything goes to the pool.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            inline: Semaphore::new(workers.saturating_sub(1)),
            wanted: AtomicU32::new(0),
        }
    }

    /// Leave to write in the task, to be held while writing.
    pub(super) fn try_inline(&self) -> Option<SemaphorePermit<'_>> {
        if self.wanted.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.inline.try_acquire().ok()
    }

    /// Notes how long a write in a task took.
    pub(super) fn inline_took(&self, took: Duration) {
        if took > SLOW {
            self.wanted.store(FAST_IN_A_ROW, Ordering::Relaxed);
        }
    }

    /// Notes how long a write in the pool took, not counting the wait for a thread.
    pub(super) fn pooled_took(&self, took: Duration) {
        // Relaxed, and a race between two reports may cost a step of the row: nothing but speed hangs on it.
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted > 0 {
            let next = if took > SLOW {
                FAST_IN_A_ROW
            } else {
                wanted - 1
            };
            self.wanted.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);
    const HUNG: Duration = Duration::from_millis(51);

    #[test]
    fn one_worker_is_always_left_over() {
        let pace = Pace::new(3);
        let held = (pace.try_inline().unwrap(), pace.try_inline().unwrap());
        assert!(pace.try_inline().is_none());
        drop(held);
        assert!(pace.try_inline().is_some());
        assert!(Pace::new(1).try_inline().is_none());
        assert!(Pace::new(0).try_inline().is_none());
    }

    #[test]
    fn a_slow_write_sends_all_to_the_pool_until_eight_in_a_row_were_fast() {
        let pace = Pace::new(4);
        pace.inline_took(FAST);
        pace.pooled_took(HUNG);
        assert!(pace.try_inline().is_some());
        pace.inline_took(HUNG);
        for _ in 0..7 {
            pace.pooled_took(FAST);
        }
        assert!(pace.try_inline().is_none());
        pace.pooled_took(HUNG);
        for _ in 0..8 {
            assert!(pace.try_inline().is_none());
            pace.pooled_took(FAST);
        }
        assert!(pace.try_inline().is_some());
    }
}
