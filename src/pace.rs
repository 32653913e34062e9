//! Where work that may wait for the disk runs: in the task as long as the disk is fast and a worker stays free, on a thread of
//! its own otherwise.
//!
//! In the task it costs the processor no more than a bare loop, while a hop to a thread and back is two wake-ups, each dearer
//! than most writes; but a disk that hangs would hang the workers with it. So at most all workers but one are at the disk at a
//! time, whatever they do there, and what is slow once is sent away, all of its kind, until it is fast again.

mod watch;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::watch::{Watch, Watched};

/// A write that takes longer shows that the disk is busy.
const SLOW: Duration = Duration::from_millis(50);

/// So many pooled writes in a row must have been fast before tasks write themselves again.
const FAST_IN_A_ROW: u32 = 8;

/// What is done at the disk. One kind may be slow where another is not: a file system whose journal stalls takes bytes into the
/// page cache all the same.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Writes to an open file.
    Bytes,
    /// Files are made or opened.
    Names,
    /// Records are committed.
    Commits,
    /// A record is read, or what an upload has beside it.
    Reads,
}

/// How many kinds there are.
const KINDS: usize = 4;

/// The choice between the task and a thread: one for all stores that a runtime's workers write to.
#[derive(Debug)]
pub(crate) struct Pace {
    inline: Semaphore,
    /// `None`: no task writes.
    watch: Option<Watch>,
    /// Of each kind of work, how often it must have been fast on a thread before it is done in a task again; 0 while the disk is
    /// fast.
    wanted: [AtomicU32; KINDS],
}

/// Leave to be at the disk in the task, to be held meanwhile; how long it was is noted when it goes.
#[derive(Debug)]
pub(crate) struct Inline<'a> {
    pace: &'a Pace,
    work: Work,
    begun: Instant,
    _permit: SemaphorePermit<'a>,
    _watched: Watched<'a>,
}

impl Drop for Inline<'_> {
    fn drop(&mut self) {
        self.pace.inline_took(self.work, self.begun.elapsed());
    }
}

impl Pace {
    /// For a runtime, or none: where there is no worker to spare, everything goes to the pool.
    pub(crate) fn new(runtime: Option<Handle>) -> Self {
        let workers = runtime.as_ref().map_or(0, |r| r.metrics().num_workers());
        let spare = workers.saturating_sub(1);
        Self {
            inline: Semaphore::new(spare),
            watch: runtime.filter(|_| spare > 0).and_then(Watch::start),
            wanted: Default::default(),
        }
    }

    /// Leave to be at the disk in the task, if there is any.
    pub(crate) fn try_inline(&self, work: Work) -> Option<Inline<'_>> {
        if self.wanted(work).load(Ordering::Relaxed) > 0 {
            return None;
        }
        let watch = self.watch.as_ref()?;
        Some(Inline {
            pace: self,
            work,
            _permit: self.inline.try_acquire().ok()?,
            _watched: watch.begin(),
            begun: Instant::now(),
        })
    }

    /// Notes how long a task was at the disk.
    fn inline_took(&self, work: Work, took: Duration) {
        if took > SLOW {
            self.wanted(work).store(FAST_IN_A_ROW, Ordering::Relaxed);
        }
    }

    fn wanted(&self, work: Work) -> &AtomicU32 {
        &self.wanted[work as usize]
    }

    /// Does work on a thread, and notes how long it took, not counting the wait for the thread.
    pub(crate) fn pooled<T>(&self, work: Work, act: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = act();
        self.pooled_took(work, begun.elapsed());
        done
    }

    fn pooled_took(&self, work: Work, took: Duration) {
        // Relaxed, and a race between two reports may cost a step of the row: nothing but speed hangs on it.
        let of = self.wanted(work);
        let wanted = of.load(Ordering::Relaxed);
        if wanted > 0 {
            let next = if took > SLOW {
                FAST_IN_A_ROW
            } else {
                wanted - 1
            };
            of.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);
    const HUNG: Duration = Duration::from_millis(51);

    fn runtime(workers: usize) -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(workers).build().unwrap()
    }

    fn pace(runtime: &tokio::runtime::Runtime) -> Pace {
        Pace::new(Some(runtime.handle().clone()))
    }

    #[test]
    fn one_worker_is_always_left_over() {
        let (three, one) = (runtime(3), runtime(1));
        let pace = pace(&three);
        let held = (
            pace.try_inline(Work::Bytes).unwrap(),
            pace.try_inline(Work::Bytes).unwrap(),
        );
        assert!(pace.try_inline(Work::Bytes).is_none());
        drop(held);
        assert!(pace.try_inline(Work::Bytes).is_some());
        assert!(self::pace(&one).try_inline(Work::Bytes).is_none());
        assert!(Pace::new(None).try_inline(Work::Bytes).is_none());
    }

    #[test]
    fn a_slow_write_sends_all_to_the_pool_until_eight_in_a_row_were_fast() {
        let four = runtime(4);
        let pace = pace(&four);
        pace.inline_took(Work::Bytes, FAST);
        pace.pooled_took(Work::Bytes, HUNG);
        assert!(pace.try_inline(Work::Bytes).is_some());
        pace.inline_took(Work::Bytes, HUNG);
        for _ in 0..7 {
            pace.pooled_took(Work::Bytes, FAST);
        }
        assert!(pace.try_inline(Work::Bytes).is_none());
        pace.pooled_took(Work::Bytes, HUNG);
        for _ in 0..8 {
            assert!(pace.try_inline(Work::Bytes).is_none());
            pace.pooled_took(Work::Bytes, FAST);
            pace.pooled_took(Work::Names, HUNG);
        }
        // The one kind says nothing of the other.
        pace.inline_took(Work::Names, HUNG);
        assert!(pace.try_inline(Work::Names).is_none() && pace.try_inline(Work::Commits).is_some());
        assert!(pace.try_inline(Work::Bytes).is_some());
    }
}
