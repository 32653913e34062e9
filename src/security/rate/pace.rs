//! How fast a body is read: in turns with all that share its rates.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Account, now};

/// So many bytes are paid for in one turn: what the rate brings in 16 ms, but neither too little for a read nor too much.
#[must_use]
pub fn turn(rate: NonZeroU64) -> u64 {
    (rate.get() / 64).clamp(16 << 10, 1 << 20)
}

/// How fast a body comes in, with all the others of its user, and with all that there are: they take turns. What a body has read
/// it pays for in pieces, and it waits after each for what was taken before, not for what others take after it. So none of them
/// starves, and one that reads more at a time has no more of the rate.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Paced>);

#[derive(Debug)]
struct Paced {
    /// With whom it shares which rate.
    of: [Option<(Arc<Account>, NonZeroU64)>; 2],
    /// What is paid for in one turn.
    piece: u64,
    owed: Mutex<Owed>,
}

#[derive(Debug)]
struct Owed {
    /// When it is this body's turn again.
    turn: u64,
    /// Bytes that came and are not paid for.
    bytes: u64,
}

impl Paced {
    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self, bytes: u64, now: u64) -> u64 {
        let charge = |(of, rate): &(Arc<Account>, NonZeroU64)| of.bytes.charge(*rate, bytes, now);
        self.of.iter().flatten().map(charge).max().unwrap_or(now)
    }
}

impl Drop for Paced {
    /// What is not paid for yet is paid for by who comes next.
    fn drop(&mut self) {
        let rest = self.owed().bytes;
        self.charge(rest, now());
    }
}

impl Pace {
    /// Of a body that shares these rates; `None`: it has none to heed.
    pub(super) fn new(of: [Option<(Arc<Account>, NonZeroU64)>; 2]) -> Option<Self> {
        let rates = || of.iter().flatten();
        let owed = Owed {
            turn: rates().map(|(of, _)| of.bytes.turn()).max()?,
            bytes: 0,
        };
        let piece = rates().map(|(_, rate)| turn(*rate)).min()?;
        let owed = Mutex::new(owed);
        Some(Self(Arc::new(Paced { of, piece, owed })))
    }

    /// Bytes came.
    pub fn came(&self, bytes: usize) {
        self.0.owed().bytes += bytes as u64;
    }

    /// How long to read nothing now; at most a moment, so that whoever watches the body sees that it is not dead.
    #[must_use]
    pub fn rest(&self) -> Option<Duration> {
        const MOST: Duration = Duration::from_millis(500);
        let now = now();
        let mut owed = self.0.owed();
        while owed.turn <= now && owed.bytes > 0 {
            let paid = owed.bytes.min(self.0.piece);
            owed.turn = self.0.charge(paid, now);
            owed.bytes -= paid;
        }
        let rest = Duration::from_nanos(owed.turn.saturating_sub(now));
        (!rest.is_zero()).then(|| rest.min(MOST))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::{Allowed, Key, Rates, SECOND};
    use super::*;

    #[test]
    fn bodies_at_one_rate_take_turns() {
        let rates = Rates::new(Allowed {
            bytes: NonZeroU64::new(1 << 20),
            ..Allowed::default()
        });
        let key = |n: u32| Key::of(IpAddr::V4(n.into()));
        let bodies: Vec<Pace> = (0..4)
            .map(|n| rates.pace(&key(n), Allowed::default()).unwrap())
            .collect();
        // A second's worth at once, and then in turns: what each has to wait for is what all took before.
        let wait = |body: &Pace| body.rest().unwrap_or_default();
        for body in &bodies {
            body.came(1 << 20);
        }
        assert_eq!(wait(&bodies[0]), Duration::ZERO);
        for body in &bodies[1..] {
            let (turn, left) = (wait(body), body.0.owed().bytes);
            assert!(turn <= Duration::from_millis(50), "{turn:?}");
            assert_eq!(left, (1 << 20) - (16 << 10));
        }
        // One that comes later waits no longer than the last; and it does for one that has gone.
        let late = |n: u32| rates.pace(&key(n), Allowed::default()).unwrap();
        assert!(wait(&late(8)) <= Duration::from_millis(50));
        drop(bodies);
        assert!(wait(&late(9)) == Duration::from_millis(500));
        let turn = late(10).0.owed().turn - now();
        assert!(turn > 2 * SECOND && turn <= 3 * SECOND, "{turn}");
    }
}
