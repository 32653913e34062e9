//! Uploads that were told to be complete before their bytes were synced, as `process` does it: they are synced a little later.
//! A power cut before that leaves them in doubt for good (their files may have their lengths and hold zeros), and they say so;
//! one that comes hours later finds nothing to doubt.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tracing::{debug, warn};

use super::end::is_loss;
use super::{Inner, More};
use crate::error::Reject;
use crate::state::{Mark, Promise};
use crate::upload::UploadId;

/// So many are synced at the same time: their commits share the state store's sync.
const AT_ONCE: usize = 8;

/// What is to be synced, and since when. In the state store these are marked as open.
#[derive(Default)]
pub(super) struct Late(Mutex<Vec<(UploadId, Instant)>>);

impl Late {
    pub(super) fn push(&self, id: &UploadId) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push((id.clone(), Instant::now()));
    }

    /// Those that have waited for `least`.
    fn take(&self, least: Duration) -> Vec<UploadId> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = list.extract_if(.., |(_, since)| since.elapsed() >= least);
        due.map(|(id, _)| id).collect()
    }
}

impl Inner {
    /// Syncs what has been complete for `least`, and notes that it is.
    pub(super) async fn sync_late(self: &Arc<Self>, least: Duration) {
        stream::iter(self.late.take(least))
            .for_each_concurrent(AT_ONCE, |id| async move {
                if !self.stop.is_cancelled()
                    && let Err(error) = self.sync_one(&id).await
                {
                    warn!(%id, %error, "a complete upload is not synced, and is tried again");
                    self.late.push(&id);
                }
            })
            .await;
    }

    async fn sync_one(self: &Arc<Self>, id: &UploadId) -> Result<(), Reject> {
        let entry = match self.entry(id).await {
            Ok(entry) => entry,
            Err(Reject::NotFound) => return Ok(()),
            Err(reject) => return Err(reject),
        };
        let blob = entry.blob();
        // Not under the lock: it may take long, and a deletion need not wait for it.
        let before = entry.record();
        let synced = if before.is_unsynced() {
            self.sync_whole(&entry, before.offset).await
        } else {
            Ok(())
        };
        let _guard = self.hold(id, false).await?;
        let mut record = entry.record();
        if !record.is_complete() {
            return Ok(());
        }
        if record.is_unsynced() && entry.blob() == blob {
            match synced {
                Err(error) if is_loss(&error) => {
                    self.faulted(&entry, &error).await;
                    return Ok(());
                }
                other => other?,
            }
            record.synced = record.offset;
        }
        if record.is_unsynced() {
            // Its bytes have moved meanwhile.
            self.late.push(id);
            return Ok(());
        }
        let more = More {
            marks: vec![(Mark::Open, false)],
            ..More::default()
        };
        self.change(&entry, record, Promise::Synced, more).await?;
        debug!(%id, "synced a while after it was complete");
        Ok(())
    }
}
