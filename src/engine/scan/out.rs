//! Malware, and what is refused since it cannot be scanned, is cast out: the record says so first, then the bytes go, then its
//! parts. The mark goes last, so that what a crash or a full disk cuts short is done by whoever comes to it next.

use std::sync::Arc;
use std::time::SystemTime;

use tracing::{info, warn};

use super::is_verdict;
use crate::blob::BlobError;
use crate::engine::Inner;
use crate::engine::content::no_marks;
use crate::engine::table::Entry;
use crate::error::Reject;
use crate::security::scan::Infected;
use crate::state::Mark;
use crate::upload::{Failure, Status, UploadId};

impl Inner {
    /// The upload has failed, and its bytes go.
    pub(super) async fn cast_out(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        failure: Failure,
        verdict: &'static str,
    ) -> Result<(), Reject> {
        self.tell_verdict(entry, verdict);
        let mut marks = no_marks();
        marks.retain(|(mark, _)| *mark != Mark::Scanning);
        self.fail(entry, failure, marks).await;
        if entry.record().status != Status::Failed(failure) {
            // Nothing of it is given out; what is to become of it is tried again.
            return Err(Reject::Locked);
        }
        self.remove_refused(entry, failure).await
    }

    /// Under the lock of an upload whose record says that it was refused: any number of times.
    pub(super) async fn remove_refused(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        failure: Failure,
    ) -> Result<(), Reject> {
        let id = &entry.id;
        let scan = self.options.content.scan.as_ref();
        let quarantine = scan.is_some_and(|scan| scan.infected == Infected::Quarantine);
        if quarantine && failure == Failure::Malware {
            let blob = entry.blob();
            match self.blobs.set_aside(id, &blob).await {
                Ok(place) => info!(%id, place, "malware set aside"),
                Err(BlobError::Lost) => warn!(%id, "malware is not where it was"),
                Err(error) => {
                    warn!(%id, %error, "malware could not be set aside: its bytes stay until it can, and nobody gets them");
                    return Err(error.into());
                }
            }
        }
        if self.clear(entry).await {
            Ok(())
        } else {
            Err(Reject::Locked)
        }
    }

    /// Malware that was set aside long enough ago goes.
    pub(in crate::engine) async fn sweep_quarantine(&self) {
        let life = self.options.content.quarantine_for;
        let Some(before) = life.and_then(|life| SystemTime::now().checked_sub(life)) else {
            return;
        };
        match self.blobs.clear_aside(before).await {
            Ok((0, _)) => {}
            Ok((removed, freed)) => {
                self.meter.swept_bytes.add(freed);
                info!(removed, freed, "malware that was set aside is removed");
            }
            Err(error) => warn!(%error, "the quarantine could not be swept"),
        }
    }

    /// What is left to be done of an upload that was cast out, without its lock: parts are locked before their finals.
    pub(super) async fn cast_out_rest(self: &Arc<Self>, id: &UploadId) -> Result<(), Reject> {
        let cast_out = |entry: &Entry| {
            let status = entry.record().status;
            matches!(status, Status::Failed(failure) if is_verdict(failure))
        };
        let entry = self.entry(id).await?;
        if !cast_out(&entry) {
            return Ok(());
        }
        let parts = entry.image().parts.clone();
        self.drop_parts(&parts).await?;
        let _guard = self.hold(id, false).await?;
        let entry = self.entry(id).await?;
        if cast_out(&entry) {
            self.unmark(&entry).await?;
        }
        Ok(())
    }
}
