//! The time of day, as records and messages have it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::upload::Millis;

/// Time since the epoch; none on a clock that stands before it.
pub(crate) fn since_epoch() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Now.
pub(crate) fn now() -> Millis {
    millis(since_epoch())
}

/// So many milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
