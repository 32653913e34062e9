//! Keeps the workers' runtime listening while one of its threads hangs in a write.
//!
//! One worker at a time waits for the sockets. It may take the only event there is and hang in the write that follows; then
//! the others sleep on, with nobody at the sockets, until something wakes one of them. So while writes run a thread looks
//! after them, and gives the runtime a task of nothing: whoever wakes up for it waits at the sockets next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::warn;

/// Between two looks; a write that saw two of them hangs.
const LOOK: Duration = Duration::from_millis(10);

/// So many looks without a write, and the thread sleeps until there is one.
const IDLE: u32 = 100;

/// The writer's side of the watch.
#[derive(Debug)]
pub(super) struct Watch {
    seen: Arc<Seen>,
    watcher: Thread,
}

/// What writers leave for the thread to see.
#[derive(Debug, Default)]
struct Seen {
    begun: AtomicU64,
    ended: AtomicU64,
    asleep: AtomicBool,
    over: AtomicBool,
}

/// A write in a task, while it runs.
#[derive(Debug)]
pub(super) struct Watched<'a>(&'a Seen);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

impl Watch {
    /// Starts the thread; `None` if the system has none to give.
    pub(super) fn start(runtime: Handle) -> Option<Self> {
        let seen = Arc::new(Seen::default());
        let watched = seen.clone();
        let watcher = thread::Builder::new()
            .name("disk-watch".to_owned())
            .spawn(move || watched.look_after(&|| drop(runtime.spawn(async {}))))
            .inspect_err(|error| warn!(%error, "no thread to look after writes: they use the pool"))
            .ok()?;
        Some(Self {
            seen,
            watcher: watcher.thread().clone(),
        })
    }

    /// Notes a write that begins now.
    pub(super) fn begin(&self) -> Watched<'_> {
        self.seen.begun.fetch_add(1, SeqCst);
        if self.seen.asleep.load(SeqCst) {
            self.wake();
        }
        Watched(&self.seen)
    }

    fn wake(&self) {
        self.seen.asleep.store(false, SeqCst);
        self.watcher.unpark();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.seen.over.store(true, SeqCst);
        self.wake();
    }
}

impl Seen {
    fn count(&self) -> (u64, u64) {
        let ended = self.ended.load(SeqCst);
        (self.begun.load(SeqCst), ended)
    }

    /// Runs until the watch is over, and calls `nudge` at each look at which writes hang.
    fn look_after(&self, nudge: &dyn Fn()) {
        let mut idle = 0;
        let mut last = self.count();
        while !self.over.load(SeqCst) {
            thread::sleep(LOOK);
            let now = self.count();
            let (moved, runs) = (now != last, now.0 != now.1);
            last = now;
            idle = if moved || runs { 0 } else { idle + 1 };
            if runs && !moved {
                nudge();
            } else if idle == IDLE {
                idle = 0;
                self.asleep.store(true, SeqCst);
                // A write that began before it could see this is seen here.
                while self.asleep.load(SeqCst) && self.count() == last {
                    thread::park();
                }
                self.asleep.store(false, SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn the_sockets_of_a_runtime_are_looked_at_while_a_worker_hangs() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        let watch = Arc::new(Watch::start(runtime.handle().clone()).unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (told, hears) = channel();
        let (go_on, wait) = channel::<()>();
        let (hangs, hanging) = channel();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            // The first event's worker hangs, and nothing else wakes the runtime.
            let _first = listener.accept().await.unwrap();
            let told_by_second = told.clone();
            tokio::spawn(async move {
                let _second = listener.accept().await.unwrap();
                told_by_second.send(()).unwrap();
            });
            tokio::task::yield_now().await;
            let _write = watch.begin();
            hangs.send(()).unwrap();
            let _ = wait.recv();
        });
        let _first = std::net::TcpStream::connect(addr).unwrap();
        hanging.recv_timeout(LONG).unwrap();
        let _second = std::net::TcpStream::connect(addr).unwrap();
        hears.recv_timeout(LONG).unwrap();
        drop(go_on);
    }

    #[test]
    fn it_sleeps_when_nothing_is_written_and_wakes_up() {
        let seen = Arc::new(Seen::default());
        let watched = seen.clone();
        let (nudged, nudges) = channel();
        let thread = thread::spawn(move || watched.look_after(&|| nudged.send(()).unwrap()));
        let watch = Watch {
            seen: seen.clone(),
            watcher: thread.thread().clone(),
        };
        let begun = Instant::now();
        while !seen.asleep.load(SeqCst) {
            assert!(begun.elapsed() < LONG);
            thread::sleep(LOOK);
        }
        assert!(nudges.try_recv().is_err());
        let write = watch.begin();
        nudges.recv_timeout(LONG).unwrap();
        drop(write);
        while nudges.recv_timeout(4 * LOOK) != Err(RecvTimeoutError::Timeout) {
            assert!(begun.elapsed() < LONG);
        }
        drop(watch);
        thread.join().unwrap();
    }
}
