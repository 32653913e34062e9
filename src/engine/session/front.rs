//! The whole file's hash, worked out while chunks arrive: it follows the front, up to which every chunk is complete. A chunk
//! that arrives at the front is hashed on its way; what came out of turn is read back once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::warn;

use super::super::append::MOMENT;
use super::super::end::is_loss;
use super::super::ingest::Ingest;
use super::super::table::Entry;
use super::super::{Inner, More, load, millis, now, retry};
use super::{KEEP, Session};
use crate::config::Durability;
use crate::error::Reject;
use crate::lock::Guard;
use crate::protocol::sha256::{Hasher, Sum};
use crate::state::{Detail, Promise};
use crate::upload::{Record, Status};

/// How far the file is hashed.
#[derive(Clone, Default)]
pub(super) struct Front {
    /// Another one with each chunk that is dropped: a hash that was taken along before is then of bytes that are gone.
    pub(super) epoch: u64,
    /// So many chunks.
    pub(super) done: u32,
    pub(super) hasher: Hasher,
}

impl Front {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        load::encode(&(self.done, self.hasher.save()))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (done, saved): (u32, Vec<u8>) = postcard::from_bytes(bytes).ok()?;
        let hasher = Hasher::restore(&saved)?;
        Some(Self {
            epoch: 0,
            done,
            hasher,
        })
    }
}

impl Session {
    /// The file's hash before chunk `n`, if that is where it stands, and its epoch.
    pub(super) fn front_before(&self, n: u32) -> Option<(u64, Hasher)> {
        self.facts.file_hash?;
        let front = self.front.try_lock().ok()?;
        (front.done + 1 == n).then(|| (front.epoch, front.hasher.clone()))
    }

    /// The file's hash after chunk `n`, which is complete now. Begun in another epoch, it is of other bytes.
    pub(super) async fn advance_front(&self, n: u32, (epoch, hasher): (u64, Hasher)) {
        let mut front = self.front.lock().await;
        if front.done + 1 == n && front.epoch == epoch {
            front.done = n;
            front.hasher = hasher;
        }
    }
}

impl Inner {
    /// Lets the hash follow chunks that came out of turn, in the background.
    fn follow(self: &Arc<Self>, entry: &Arc<Entry>, session: &Arc<Session>) {
        if session.facts.file_hash.is_none() || session.following.swap(true, Ordering::AcqRel) {
            return;
        }
        let (inner, entry, session) = (self.clone(), entry.clone(), session.clone());
        self.tasks.spawn(async move {
            loop {
                let moved = tokio::select! {
                    () = inner.stop.cancelled() => Ok(false),
                    moved = inner.follow_one(&entry, &session) => moved,
                };
                if matches!(moved, Ok(true)) && !inner.stop.is_cancelled() {
                    continue;
                }
                session.following.store(false, Ordering::Release);
                if let Err(error) = moved {
                    warn!(id = %session.id, %error, "a session's file could not be read back, and is hashed at its end");
                    return;
                }
                // A chunk that was complete just before that was left to this task.
                let next = session.front.lock().await.done + 1;
                let stopped = inner.stop.is_cancelled() || !session.has(next);
                if stopped || session.following.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }

    /// Hashes the next chunk, if it is there.
    async fn follow_one(&self, entry: &Entry, session: &Session) -> Result<bool, Reject> {
        let mut front = session.front.lock().await;
        let next = front.done + 1;
        if next > session.total || !session.has(next) || entry.record().status != Status::Active {
            return Ok(false);
        }
        let before = front.hasher.clone();
        let range = session.range(next);
        let hash = || self.hash(entry, range.clone(), before.clone(), Hasher::update);
        front.hasher = retry::patiently(&entry.id, retry::refusal_may_pass, hash).await?;
        front.done = next;
        Ok(true)
    }

    /// The whole file's sum, once every chunk is there: reads what lies behind the front. That may take long, and gives way to
    /// whoever ends the session or the server; the chunks that were read by then stay hashed.
    pub(super) async fn sum_of_file(
        &self,
        entry: &Entry,
        session: &Session,
        guard: &dyn Guard,
    ) -> Result<Sum, Reject> {
        let mut asked = guard.asked_to_yield();
        loop {
            let moved = tokio::select! {
                biased;
                () = &mut asked => return Err(Reject::Locked),
                () = self.stop.cancelled() => return Err(Reject::Stopping),
                moved = self.follow_one(entry, session) => moved?,
            };
            if !moved {
                break;
            }
        }
        let front = session.front.lock().await;
        if front.done < session.total {
            return Err(Reject::Locked);
        }
        Ok(front.hasher.clone().finish())
    }

    /// A chunk came, or some of its bytes: the session lives on, and what is worked out of it follows.
    pub(in super::super) async fn chunk_came(self: &Arc<Self>, whole: &Arc<Entry>) {
        let Some(session) = whole.session() else {
            return;
        };
        self.follow(whole, &session);
        self.sync_beside(whole, &session);
        self.keep(whole, &session).await;
        self.note_soon(whole, &session);
    }

    /// The disk is asked for a session's bytes as they come, and nobody waits for it: few are left for the end, which does.
    fn sync_beside(self: &Arc<Self>, whole: &Arc<Entry>, session: &Session) {
        let came = session.progress().bytes;
        let asked = session.sync_asked.load(Ordering::Acquire);
        if self.options.durability != Durability::Complete
            || came.saturating_sub(asked) < Ingest::SYNC_EVERY
            || session.sync_asked.swap(came, Ordering::AcqRel) != asked
        {
            return;
        }
        let (inner, whole) = (self.clone(), whole.clone());
        self.tasks.spawn(async move {
            match inner.blobs.sync(&whole.id, &whole.blob()).await {
                Ok(()) => {}
                Err(error) if is_loss(&error) => inner.fault_session(&whole.id).await,
                Err(error) => warn!(id = %whole.id, %error, "not synced"),
            }
        });
    }

    /// Whether a session's own record should follow now: well before it expires, and where it just did while bytes came.
    fn is_due_to_be_kept(&self, record: &Record) -> bool {
        let life = self.options.expire_after;
        let often = life.map_or(KEEP, |life| KEEP.min(life / 4));
        let now = now();
        now.saturating_sub(record.touched) >= millis(often) || record.is_due(now)
    }

    /// The session's own record follows now and then: its life is extended, and the hash's state is kept. A loss of it costs
    /// time at the end, and nothing else.
    async fn keep(&self, entry: &Entry, session: &Session) {
        if !self.is_due_to_be_kept(&entry.record()) {
            return;
        }
        // The sweep holds it for a moment only, and its next one would find the session expired.
        let Some(_guard) = self.locks.lock(&entry.id, false, MOMENT).await else {
            return;
        };
        let mut record = entry.record();
        if record.status != Status::Active || !self.is_due_to_be_kept(&record) {
            return;
        }
        record.touched = now();
        self.stamp(&mut record);
        let mut more = More::default();
        if session.facts.file_hash.is_some()
            && let Ok(front) = session.front.try_lock()
        {
            more.details.push((Detail::Front, Some(front.to_bytes())));
        }
        if let Err(error) = self.change(entry, record, Promise::Queued, more).await {
            warn!(id = %entry.id, %error, "a session's life could not be extended");
        }
    }
}
