//! The places of a session: so many of its chunks are taken in at a time, and the others wait for one, unread.
//!
//! Whoever has a place and is silent gives it up to those who wait: connections that died without a word would hold a session
//! up for as long as the network timeout.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::super::Inner;
use super::super::append::{MOMENT, SILENCE};
use super::{ChunkBody, FarEnd, Session};
use crate::error::Reject;

/// Those who wait, by the chunk that they bring, and what tells them that another brings the same.
pub(super) type Waiters = BTreeMap<u32, Arc<Notify>>;

impl Inner {
    /// A place among the chunks that are taken in. Where all are taken it waits for one, unless too many wait already; those
    /// who hold one and are silent are asked for theirs.
    ///
    /// While it waits, nothing is read from its connection. An HTTP/1 client that goes away is noticed by a look at the socket,
    /// unless more of its bytes are on their way than fit there, its end behind them: such a one keeps its place in the queue
    /// until the chunk comes again, or until its turn, when its body ends at once or is silent.
    pub(super) async fn place(
        &self,
        session: &Session,
        number: u32,
        chunk: &ChunkBody,
    ) -> Result<OwnedSemaphorePermit, Reject> {
        if let Ok(place) = session.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let waiting = Waiting::among(&session.waiting, number, chunk.waiting)?;
        let gone = gone(chunk.far_end.as_deref(), session.size_of(number));
        let free = session.places.clone().acquire_owned();
        tokio::pin!(free, gone);
        loop {
            tokio::select! {
                biased;
                place = &mut free => return place.map_err(|_| Reject::Stopping),
                () = waiting.newer.notified() => return Err(Reject::Locked),
                () = self.stop.cancelled() => return Err(Reject::Stopping),
                () = &mut gone => return Err(Reject::ChunkCut),
                () = self.free_silent(session, number) => {}
            }
        }
    }

    /// Asks the one holder for its place that has been silent for longest, of the same chunk first; waits until one may be.
    async fn free_silent(&self, session: &Session, number: u32) {
        let (n, silent) = session.most_silent(number).unwrap_or_default();
        match session.chunk_id(n) {
            Some(id) if silent >= SILENCE => {
                // It takes its bytes back, and lets go; its place is free a moment after its lock.
                drop(self.hold(&id, true).await);
                tokio::time::sleep(MOMENT).await;
            }
            _ => tokio::time::sleep(SILENCE.saturating_sub(silent).max(MOMENT)).await,
        }
    }
}

/// Resolves when whoever sends a chunk of `size` bytes has gone before it sent all of them.
async fn gone(far_end: Option<&FarEnd>, size: u64) {
    match far_end {
        Some(far_end) => far_end.gone_before(size).await,
        None => std::future::pending().await,
    }
}

impl Session {
    /// Which chunk that holds a place has been silent for longest; this one, if it has been for long enough.
    fn most_silent(&self, number: u32) -> Option<(u32, Duration)> {
        let progress = self.progress();
        let held = progress.live.iter().filter(|(_, live)| live.has_place());
        held.map(|(n, live)| (*n, live.silent_for()))
            .max_by_key(|(n, silent)| (*n == number && *silent >= SILENCE, *silent))
    }
}

/// One more that waits, for as long as this lives.
struct Waiting<'a> {
    all: &'a Mutex<Waiters>,
    number: u32,
    /// Another brings the same chunk: a client that comes again has given the first try up.
    newer: Arc<Notify>,
}

fn locked(all: &Mutex<Waiters>) -> MutexGuard<'_, Waiters> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Waiting<'a> {
    fn among(all: &'a Mutex<Waiters>, number: u32, most: usize) -> Result<Self, Reject> {
        let mut waiters = locked(all);
        if let Some(older) = waiters.remove(&number) {
            older.notify_one();
        }
        if waiters.len() >= most {
            return Err(Reject::TooManyWaiting);
        }
        let newer = Arc::new(Notify::new());
        waiters.insert(number, newer.clone());
        Ok(Self { all, number, newer })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiters = locked(self.all);
        let own = waiters.get(&self.number);
        if own.is_some_and(|own| Arc::ptr_eq(own, &self.newer)) {
            waiters.remove(&self.number);
        }
    }
}
