//! What a scenario works with, and what it leaves.

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::http::Connection;
use crate::pattern::Pattern;
use crate::proc;
use crate::report::Meter;
use crate::target::Target;
use crate::tus::Upload;

pub(crate) const MIB: u64 = 1024 * 1024;

/// The server, and what is known of it.
pub(crate) struct Site {
    pub(crate) target: Target,
    /// The token that requests bear.
    pub(crate) bearer: Option<String>,
    pub(crate) pattern: Pattern,
    pub(crate) server: Option<u32>,
    /// Where it keeps its data.
    pub(crate) data: Option<PathBuf>,
    /// How it is started again after a `kill -9`.
    pub(crate) restart: Vec<String>,
}

impl Site {
    pub(crate) fn connect(&self) -> Result<Connection, Failure> {
        Connection::open(self.target.address, self.bearer.as_deref())
    }

    /// Begins to watch the server: what comes before this was preparation.
    pub(crate) fn meter(&self) -> Result<Option<Meter>, Failure> {
        Meter::start(self.server).map(Some)
    }

    /// Nothing done yet, and watched from now on.
    pub(crate) fn begin(&self) -> Result<Done, Failure> {
        Ok(Done {
            meter: self.meter()?,
            ..Done::default()
        })
    }

    /// Processor time of the server so far; zero where it is not known.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        self.server.map_or(Ok(Duration::ZERO), proc::cpu)
    }

    /// Processor time of the server since it was `then`.
    pub(crate) fn spent(&self, then: Duration) -> Result<Duration, Failure> {
        Ok(self.cpu()?.saturating_sub(then))
    }

    /// Waits until the server is at rest, for up to `patience`: until it has used no more than a clock tick in 300 ms.
    pub(crate) fn quiet(&self, patience: Duration) -> Result<(), Failure> {
        const LOOK: Duration = Duration::from_millis(300);
        const TICK: Duration = Duration::from_millis(10);
        let began = Instant::now();
        loop {
            let before = self.cpu()?;
            thread::sleep(LOOK);
            if self.spent(before)? <= TICK || began.elapsed() > patience {
                return Ok(());
            }
        }
    }

    /// Bytes that the data directory takes on the disk; `None` where it is not known.
    pub(crate) fn disk(&self) -> Option<u64> {
        self.data.as_deref().map(proc::disk)
    }
}

/// What a scenario did.
#[derive(Default)]
pub(crate) struct Done {
    /// To be asked for their offsets, and compared.
    pub(crate) uploads: Vec<Upload>,
    /// Bytes that went in or out while the clock ran, where these are not just the uploads'.
    pub(crate) moved: Option<u64>,
    /// From the first byte of the load to the last answer.
    pub(crate) wall: Duration,
    /// Of every step that was answered: a PATCH, or all of a small upload.
    pub(crate) steps: Vec<Duration>,
    /// These stay open while the server is looked at.
    pub(crate) held: Vec<Connection>,
    /// What else was measured, by name.
    pub(crate) figures: Vec<(String, f64)>,
    /// Watches the server since the load began.
    pub(crate) meter: Option<Meter>,
}

impl Done {
    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64) {
        self.figures.push((name.into(), value));
    }

    /// Takes in an upload and how long its step took.
    pub(crate) fn took(&mut self, upload: Upload, time: Duration) {
        self.uploads.push(upload);
        self.steps.push(time);
    }
}

/// Works on all `items` at once, a thread each, and waits for the last; with how long that took.
pub(crate) fn together<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> Result<T, Failure> + Sync,
) -> Result<(Vec<T>, Duration), Failure> {
    // Nothing of size is on a thread's stack, and there may be a thousand of them.
    const STACK: usize = 128 * 1024;
    let items: Vec<I> = items.into_iter().collect();
    let start = Barrier::new(items.len() + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| {
                let (start, work) = (&start, &work);
                thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, move || {
                        start.wait();
                        work(item)
                    })
                    .expect("a thread: without all of them the others wait for ever")
            })
            .collect();
        start.wait();
        let began = Instant::now();
        let done: Result<Vec<T>, Failure> = threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| Failure::Panicked)?)
            .collect();
        Ok((done?, began.elapsed()))
    })
}

/// A number as a figure.
#[expect(
    clippy::cast_precision_loss,
    reason = "a figure in a report: 52 bits are plenty"
)]
pub(crate) fn float(n: u64) -> f64 {
    n as f64
}

/// How many there are, as a figure.
pub(crate) fn count<T>(of: &[T]) -> f64 {
    float(of.len() as u64)
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// MiB a second.
pub(crate) fn rate(bytes: u64, time: Duration) -> f64 {
    float(bytes) / float(MIB) / time.as_secs_f64().max(1e-9)
}
