//! Uploads that were told to be complete before their bytes were synced, as `process` does it: they are synced a little later.
//! A power cut before that leaves them in doubt for good (their files may have their lengths and hold zeros), and they say so;
//! one that comes hours later finds nothing to doubt.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tracing::{debug, warn};

use super::end::is_loss;
use super::{Inner, More};
use crate::error::Reject;
use crate::state::{Mark, Promise, StateError};
use crate::upload::{Record, UploadId};

/// A complete upload rests this long before it is synced.
const REST: Duration = Duration::from_secs(10);
/// Between two rounds.
const ROUNDS: Duration = Duration::from_secs(1);
/// Uploads in a round, which share one sync of the state store, and how many of them are synced at the same time.
const ROUND: usize = 1000;
const AT_ONCE: usize = 8;

/// What is to be synced, and since when. In the state store these are marked as open, so that the next start finds them; what
/// an older server left without a mark is found by the sweeper's first round.
#[derive(Default)]
pub(super) struct Late(Mutex<Vec<(UploadId, Instant)>>);

impl Late {
    pub(super) fn push(&self, id: &UploadId) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push((id.clone(), Instant::now()));
    }

    #[cfg(test)]
    pub(super) fn has(&self, id: &UploadId) -> bool {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().any(|(late, _)| late == id)
    }

    /// A round of those that have waited for `least`.
    fn take(&self, least: Duration) -> Vec<UploadId> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = list.extract_if(.., |(_, since)| since.elapsed() >= least);
        due.take(ROUND).map(|(id, _)| id).collect()
    }
}

impl Inner {
    /// Runs until the server stops. What the last server left has waited long enough.
    pub(super) async fn syncer(self: Arc<Self>) {
        let mut full = self.sync_late(Duration::ZERO).await;
        // After a full round there may be more that is due: a pause would let a busy server's list grow.
        while !self.stop.is_cancelled() && (full || self.unless_stopped(ROUNDS).await) {
            full = self.sync_late(REST).await;
        }
    }

    /// Syncs what has been complete for `least`, and notes that it is: for all of it at once, since those who wait for the
    /// state store would wait for each of these syncs. A note that is lost leaves the upload as it was, marked.
    /// Answers whether the round was full.
    async fn sync_late(self: &Arc<Self>, least: Duration) -> bool {
        let due = self.late.take(least);
        if due.is_empty() {
            return false;
        }
        let full = due.len() == ROUND;
        let failed = AtomicUsize::new(0);
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |id| {
                let failed = &failed;
                async move {
                    // What is left over is marked.
                    if self.stop.is_cancelled() {
                        return;
                    }
                    match self.sync_one(&id).await {
                        Ok(()) => {}
                        Err(Reject::Locked) => self.late.push(&id),
                        Err(error @ Reject::State(StateError::Damaged(_))) => {
                            warn!(%id, %error, "a complete upload cannot be synced");
                        }
                        Err(error) => {
                            if failed.fetch_add(1, Ordering::Relaxed) == 0 {
                                warn!(%id, %error, "a complete upload is not synced, and is tried again");
                            }
                            self.late.push(&id);
                        }
                    }
                }
            })
            .await;
        let failed = failed.into_inner();
        if failed > 1 {
            warn!(
                failed,
                "complete uploads are not synced, and are tried again"
            );
        }
        if let Err(error) = self.commit(Vec::new(), Promise::Synced).await {
            warn!(%error, "what was synced may be synced again");
        }
        full
    }

    /// Syncs one that may have missed it; `Locked` if somebody holds it.
    pub(super) async fn sync_one(self: &Arc<Self>, id: &UploadId) -> Result<(), Reject> {
        let entry = match self.entry(id).await {
            Ok(entry) => entry,
            Err(Reject::NotFound) => return Ok(()),
            Err(reject) => return Err(reject),
        };
        let blob = entry.blob();
        // A chunk is held against its hash after a power cut, synced or not.
        let doubtful = |record: &Record| record.is_unsynced() && !entry.is_chunk();
        // Not under the lock: it may take long, and a deletion need not wait for it.
        let before = entry.record();
        let synced = if doubtful(&before) {
            self.sync_whole(&entry, before.offset).await
        } else {
            Ok(())
        };
        let _guard = self.locks.try_lock(id).ok_or(Reject::Locked)?;
        let mut record = entry.record();
        if !record.is_complete() {
            return Ok(());
        }
        if doubtful(&record) && entry.blob() == blob {
            match synced {
                Err(error) if is_loss(&error) => {
                    self.faulted(&entry, &error).await;
                    return Ok(());
                }
                other => other?,
            }
            record.synced = record.offset;
        }
        if doubtful(&record) {
            // Its bytes have moved meanwhile, as if somebody held it.
            return Err(Reject::Locked);
        }
        let more = More {
            marks: vec![(Mark::Open, false)],
            ..More::default()
        };
        self.change(&entry, record, Promise::Queued, more).await?;
        debug!(%id, "synced a while after it was complete");
        Ok(())
    }
}
