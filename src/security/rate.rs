//! How fast: requests and bytes a second, and uploads an hour, of each user; where nobody is asked, of each address; and of all
//! together. What one's own rate refuses is no part of what all have: nobody takes from the others by being too fast.
//!
//! Not crate governor: its keyed limiters have one rate for all keys, and users have rates of their own; it refuses more at
//! once than its burst, where a frame is to be paid off in time; and what was counted cannot be given back.

mod pace;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use self::pace::{Pace, turn};
use super::user::{Limits, OwnRates};
use crate::protocol::address;
use crate::upload::UserId;

/// The least that a body may be slowed down to, in bytes a second: below it proxies and clients would take it for dead.
pub const SLOWEST: NonZeroU64 = NonZeroU64::new(1024).expect("more than 0");

const SECOND: u64 = 1_000_000_000;
/// What uploads begun count within.
pub const HOUR: Duration = Duration::from_hours(1);

/// Nanoseconds on a clock that never jumps. It began more than an hour before the start: there is a moment for what was before.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    nanos(2 * HOUR + since)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A second's worth at once, and then as much as the rate gives. One number: the moment at which all of it is paid off.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one, if there is one. `Err`: how long until then.
    fn take(&self, rate: NonZeroU64, now: u64) -> Result<(), Duration> {
        let cost = SECOND / rate;
        let take = |paid: u64| {
            let next = paid.max(now) + cost;
            (next - now <= SECOND.max(cost)).then_some(next)
        };
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .map(drop)
            .map_err(|paid| {
                Duration::from_nanos((paid.max(now) + cost).saturating_sub(now + SECOND.max(cost)))
            })
    }

    /// Takes so much, whatever there is. Answers when it is the taker's turn again: what others take after it is not waited for.
    fn charge(&self, rate: NonZeroU64, amount: u64, now: u64) -> u64 {
        let cost = u128::from(amount) * u128::from(SECOND) / u128::from(rate.get());
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let charge = |paid: u64| paid.max(now).saturating_add(cost);
        let update = |paid: u64| Some(charge(paid));
        let before = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
        charge(before.unwrap_or_default()).saturating_sub(SECOND)
    }

    /// When it is the turn of one who comes now: once what was taken is no more than a second's worth.
    fn turn(&self) -> u64 {
        self.0.load(Ordering::Acquire).saturating_sub(SECOND)
    }

    fn is_empty(&self, now: u64) -> bool {
        self.0.load(Ordering::Acquire) <= now
    }
}

/// Whose rates these are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A user's.
    User(UserId),
    /// An address's; of IPv6, a whole subscriber's.
    Address(IpAddr),
    /// Of all who come by the Unix socket.
    Local,
}

impl Key {
    /// Of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self::Address(address::subscriber(address))
    }
}

/// What one has done lately.
#[derive(Debug, Default)]
struct Account {
    requests: Bucket,
    bytes: Bucket,
    /// When uploads were begun, within the last hour.
    begun: Mutex<VecDeque<u64>>,
}

impl Account {
    fn begun(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was begun, without what is too long ago.
    fn lately(&self, now: u64) -> MutexGuard<'_, VecDeque<u64>> {
        let mut begun = self.begun();
        while begun
            .front()
            .is_some_and(|at| at.saturating_add(nanos(HOUR)) <= now)
        {
            begun.pop_front();
        }
        begun
    }

    /// One more is begun, if there may be.
    fn begins(&self, at: u64, most: u64) -> Result<(), TooFast> {
        let mut begun = self.lately(at);
        if begun.len() as u64 >= most {
            // Another thread's clock may be a moment ahead.
            let first = begun.front().map_or(0, |first| at.saturating_sub(*first));
            return Err(TooFast(HOUR.saturating_sub(Duration::from_nanos(first))));
        }
        begun.push_back(at);
        Ok(())
    }

    fn rests(&self, now: u64) -> bool {
        self.requests.is_empty(now) && self.bytes.is_empty(now) && self.lately(now).is_empty()
    }
}

/// What everybody may do, of whom nothing else is said, or all together; `None`: as they like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Requests a second.
    pub requests: Option<NonZeroU64>,
    /// Bytes of bodies a second.
    pub bytes: Option<NonZeroU64>,
    /// Uploads begun within an hour.
    pub uploads: Option<u64>,
}

impl Allowed {
    /// The same for a user of whom something is said.
    #[must_use]
    pub fn of_user(self, limits: &Limits) -> Self {
        Self {
            uploads: limits.uploads_per_hour.or(self.uploads),
            ..self.at(limits.rates())
        }
    }

    /// The same for a user of whose rates something is said.
    #[must_use]
    pub fn at(self, rates: OwnRates) -> Self {
        Self {
            requests: rates.requests.map_or(self.requests, NonZeroU64::new),
            bytes: rates.bytes.map_or(self.bytes, NonZeroU64::new),
            ..self
        }
    }
}

/// So long until it is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFast(pub Duration);

/// Accounts are found under one of so many locks.
const SHARDS: usize = 16;
/// So many of them under one lock are kept; past that, those at rest go.
const ROOM: usize = 512;

type Accounts = Mutex<HashMap<Key, Arc<Account>>>;

/// Everybody's accounts.
#[derive(Debug, Default)]
pub struct Rates {
    hash: RandomState,
    shards: [Accounts; SHARDS],
    /// What all have done together, and may do.
    all: Arc<Account>,
    total: Allowed,
}

impl Rates {
    /// Of all together, so much is allowed.
    #[must_use]
    pub fn new(total: Allowed) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    /// What is allowed of all together.
    #[must_use]
    pub fn total(&self) -> Allowed {
        self.total
    }

    fn account(&self, key: &Key) -> Arc<Account> {
        let hash = self.hash.hash_one(key);
        let shard = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let mut accounts = self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.get(key) {
            return known.clone();
        }
        if accounts.len() >= ROOM && accounts.len().is_power_of_two() {
            let now = now();
            accounts.retain(|_, of| Arc::strong_count(of) > 1 || !of.rests(now));
        }
        accounts.entry(key.clone()).or_default().clone()
    }

    /// A request.
    ///
    /// # Errors
    /// If it comes too soon.
    pub fn request(&self, key: &Key, allowed: Allowed) -> Result<(), TooFast> {
        let Some(rate) = allowed.requests else {
            return Ok(());
        };
        let taken = self.account(key).requests.take(rate, now());
        taken.map_err(TooFast)
    }

    /// The same request, as one of all; to be asked when the one who sends it may.
    ///
    /// # Errors
    /// If it comes too soon.
    pub fn request_of_all(&self) -> Result<(), TooFast> {
        let Some(rate) = self.total.requests else {
            return Ok(());
        };
        self.all.requests.take(rate, now()).map_err(TooFast)
    }

    /// An upload that is to be begun. It does not count where what is answered is dropped before it is kept.
    ///
    /// # Errors
    /// If as many were begun within the last hour as may be.
    pub fn upload(&self, key: &Key, allowed: Allowed) -> Result<Beginning, TooFast> {
        let own = allowed.uploads.map(|most| (self.account(key), most));
        let all = self.total.uploads.map(|most| (self.all.clone(), most));
        let at = now();
        let begin = |of: Option<(Arc<Account>, u64)>| match of {
            Some((account, most)) => account.begins(at, most).map(|()| Some(account)),
            None => Ok(None),
        };
        let mut beginning = Beginning {
            at,
            counted: [begin(own)?, None],
        };
        match begin(all) {
            Ok(all) => beginning.counted[1] = all,
            Err(refused) => {
                beginning.take_back();
                return Err(refused);
            }
        }
        Ok(beginning)
    }

    /// Uploads that were begun so long before this start, the oldest first; whose they are where that is known.
    pub fn remember<'u>(&self, begun: impl IntoIterator<Item = (Option<&'u UserId>, Duration)>) {
        let now = now();
        for (user, ago) in begun.into_iter().filter(|(_, ago)| *ago < HOUR) {
            let at = now.saturating_sub(nanos(ago));
            if let Some(user) = user {
                let own = self.account(&Key::User(user.clone()));
                own.begun().push_back(at);
            }
            if self.total.uploads.is_some() {
                self.all.begun().push_back(at);
            }
        }
    }

    /// The pace of a body.
    #[must_use]
    pub fn pace(&self, key: &Key, allowed: Allowed) -> Option<Pace> {
        let own = allowed.bytes.map(|rate| (self.account(key), rate));
        let all = self.total.bytes.map(|rate| (self.all.clone(), rate));
        Pace::new([own, all])
    }
}

/// An upload that is being begun.
#[derive(Debug)]
pub struct Beginning {
    at: u64,
    /// Where it counts.
    counted: [Option<Arc<Account>>; 2],
}

impl Beginning {
    /// How it ended: where nothing was begun it does not count. A request that is given up on its way counts, since what it
    /// began goes on without it.
    ///
    /// # Errors
    /// The one that it ended with.
    pub fn ended<T, E>(self, how: Result<T, E>) -> Result<T, E> {
        if how.is_err() {
            self.take_back();
        }
        how
    }

    fn take_back(self) {
        for account in self.counted.iter().flatten() {
            let mut begun = account.begun();
            if let Some(last) = begun.iter().rposition(|begun| *begun == self.at) {
                begun.remove(last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).unwrap()
    }

    #[test]
    fn a_seconds_worth_at_once_and_then_the_rate() {
        let bucket = Bucket::default();
        let at = 5 * SECOND;
        for _ in 0..4 {
            assert_eq!(bucket.take(rate(4), at), Ok(()));
        }
        let wait = bucket.take(rate(4), at).unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
        assert!(bucket.take(rate(4), at + SECOND / 4 - 1).is_err());
        assert_eq!(bucket.take(rate(4), at + SECOND / 4), Ok(()));
        assert!(bucket.take(rate(4), at + SECOND / 4).is_err());
        // After a rest it is a second's worth again, and no more.
        let later = at + 100 * SECOND;
        assert_eq!(
            (0..9)
                .filter(|_| bucket.take(rate(4), later).is_ok())
                .count(),
            4
        );
        // Slower than one a second is not asked for, and one a second is one.
        let slow = Bucket::default();
        assert_eq!(slow.take(rate(1), at), Ok(()));
        assert_eq!(slow.take(rate(1), at), Err(Duration::from_secs(1)));
    }

    #[test]
    fn bytes_are_paid_off_in_time() {
        let bucket = Bucket::default();
        let at = 5 * SECOND;
        assert_eq!(bucket.charge(rate(1000), 1000, at), at);
        assert_eq!(bucket.charge(rate(1000), 500, at), at + SECOND / 2);
        assert_eq!(bucket.turn(), at + SECOND / 2);
        assert!(!bucket.is_empty(at + SECOND) && bucket.is_empty(at + 3 * SECOND / 2));
        assert!(bucket.charge(rate(1), u64::MAX, at) > 1000 * nanos(HOUR));
    }

    #[test]
    fn uploads_an_hour_are_those_that_were_begun() {
        let rates = Rates::default();
        let allowed = Allowed {
            uploads: Some(2),
            ..Allowed::default()
        };
        let key = Key::of("192.0.2.1".parse().unwrap());
        let begin = || rates.upload(&key, allowed).unwrap();
        assert_eq!(begin().ended(Err::<(), _>("refused")), Err("refused"));
        assert_eq!(begin().ended(Ok::<_, ()>(7)), Ok(7));
        // Its request was given up: what it began goes on.
        drop(begin());
        let TooFast(wait) = rates.upload(&key, allowed).unwrap_err();
        assert!(wait > Duration::from_mins(59) && wait <= HOUR, "{wait:?}");
        let other = Key::of("192.0.2.2".parse().unwrap());
        rates.upload(&other, allowed).unwrap().take_back();
        let account = rates.account(&key);
        assert_eq!(account.lately(now() + SECOND * 3600).len(), 0);
        let none = Allowed {
            uploads: Some(0),
            ..Allowed::default()
        };
        assert_eq!(rates.upload(&other, none).unwrap_err(), TooFast(HOUR));
    }

    #[test]
    fn of_all_together_there_is_a_count_too_and_what_was_before_the_start_counts() {
        let some = |uploads| Allowed {
            uploads: Some(uploads),
            ..Allowed::default()
        };
        let rates = Rates::new(some(4));
        let [a, b]: [UserId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let ago = Duration::from_mins;
        rates.remember([
            (Some(&a), ago(61)),
            (Some(&a), ago(50)),
            (None, ago(40)),
            (Some(&b), ago(0)),
        ]);
        let wait = |user: &UserId, most| {
            let TooFast(wait) = rates
                .upload(&Key::User(user.clone()), some(most))
                .unwrap_err();
            wait.as_secs().div_ceil(60)
        };
        // Of what is refused for the one count nothing stays in the other.
        assert_eq!((wait(&a, 1), wait(&b, 1)), (10, 60));
        let last = rates.upload(&Key::User(a.clone()), some(2)).unwrap();
        assert_eq!((wait(&b, 2), wait(&a, 2)), (10, 10));
        last.take_back();
        rates.upload(&Key::User(b.clone()), some(2)).unwrap();
        assert_eq!((wait(&b, 3), wait(&a, 2)), (10, 10));
    }

    #[test]
    fn accounts_at_rest_do_not_stay() {
        let rates = Rates::default();
        let allowed = Allowed {
            requests: Some(rate(1_000_000)),
            ..Allowed::default()
        };
        for n in 0..200_000_u32 {
            let key = Key::of(IpAddr::V4(n.into()));
            rates.request(&key, allowed).unwrap();
        }
        let kept: usize = rates
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert!(kept <= 2 * ROOM * SHARDS, "{kept}");
    }
}
