//! Looks every second at the disk's free space and at how many bytes came: what is told of both costs a request nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::Inner;
use crate::blob::Room;
use crate::error::Reject;

const EVERY: Duration = Duration::from_secs(1);

/// How much of the disk is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Enough.
    Green,
    /// Less than `--disk-warn`.
    Yellow,
    /// Less than `--disk-stop`: no upload is begun.
    Red,
}

impl Level {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }

    /// The level after `self` at so many free bytes. A level is left for a better one only a tenth above the threshold that
    /// began it: at the threshold it would change with each file that comes and goes.
    fn next(self, free: u64, warn: u64, stop: u64) -> Self {
        let below = |threshold: u64, already: bool| {
            let slack = if already { threshold / 10 } else { 0 };
            threshold > 0 && free < threshold.saturating_add(slack)
        };
        if below(stop, self == Self::Red) {
            Self::Red
        } else if below(warn, self >= Self::Yellow) {
            Self::Yellow
        } else {
            Self::Green
        }
    }
}

/// The disk at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can be written.
    pub free: u64,
    /// Bytes of the whole file system.
    pub total: u64,
    /// What that means.
    pub level: Level,
}

/// What was seen last; `None`: nothing yet, or the store cannot tell.
#[derive(Debug, Default)]
pub(super) struct Levels(Mutex<Option<Space>>);

impl Levels {
    fn seen(&self) -> MutexGuard<'_, Option<Space>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn level(&self) -> Level {
        self.seen().map_or(Level::Green, |space| space.level)
    }

    pub(super) fn space(&self) -> Option<Space> {
        self.seen().filter(|space| space.total > 0)
    }

    /// Whether an upload may be begun.
    pub(super) fn admits(&self) -> Result<(), Reject> {
        match self.level() {
            Level::Red => Err(Reject::DiskLow),
            Level::Green | Level::Yellow => Ok(()),
        }
    }
}

impl Inner {
    /// Runs until the server stops.
    pub(super) async fn watcher(self: Arc<Self>) {
        loop {
            self.meter.throughput.sample(Instant::now());
            if !self.unless_stopped(EVERY).await {
                return;
            }
            self.look_at_disk().await;
        }
    }

    pub(super) async fn look_at_disk(&self) {
        let Room { free, total } = match self.blobs.space().await {
            Ok(Some(room)) => room,
            Ok(None) => return,
            Err(error) => return warn!(%error, "how much space is free cannot be told"),
        };
        let before = self.levels.level();
        let warn_at = self.options.disk_warn.of(total);
        let stop_at = self.options.disk_stop.of(total);
        let level = before.next(free, warn_at, stop_at);
        *self.levels.seen() = Some(Space { free, total, level });
        if level == before {
            return;
        }
        self.hub.tell_disk(level.name(), free, total);
        match level {
            Level::Red => error!(free, stop_at, "THE DISK IS NEARLY FULL: no new uploads"),
            Level::Yellow => warn!(free, warn_at, "the disk is getting full"),
            Level::Green => info!(free, "there is enough space on the disk again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_change_at_their_thresholds_and_back_above_them() {
        use Level::{Green, Red, Yellow};
        for (before, free, after) in [
            (Green, 200, Green),
            (Green, 199, Yellow),
            (Yellow, 200, Yellow),
            (Yellow, 219, Yellow),
            (Yellow, 220, Green),
            (Yellow, 100, Yellow),
            (Yellow, 99, Red),
            (Green, 0, Red),
            (Red, 100, Red),
            (Red, 109, Red),
            (Red, 110, Yellow),
            (Red, 219, Yellow),
            (Red, 220, Green),
        ] {
            assert_eq!(before.next(free, 200, 100), after, "{before:?} {free}");
        }
        assert_eq!(Green.next(0, 0, 0), Green, "thresholds of 0 are none");
        assert_eq!(Green.next(5, 0, 10), Red);
        assert_eq!(Green.next(u64::MAX - 1, 0, u64::MAX), Red);
    }
}
