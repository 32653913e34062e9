//! What goes with a session: its chunks' records. Those that a crash leaves are found by the sweep after the next start.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::super::table::Entry;
use super::super::{Inner, More};
use super::{ChunkOf, Session};
use crate::blob::Blob;
use crate::error::Reject;
use crate::progress::What;
use crate::state::{Change, Detail, Promise};
use crate::upload::{Failure, Kind, Record, Status, UploadId};

/// Chunks whose records are read, or removed, at a time.
const BATCH: usize = 256;

impl Inner {
    /// Whoever writes a chunk of a session that has ended lets go.
    pub(in super::super) async fn quiet_chunks(&self, session: &Session) {
        let live: Vec<u32> = session.progress().live.keys().copied().collect();
        for id in live.into_iter().filter_map(|n| session.chunk_id(n)) {
            if self.hold(&id, true).await.is_err() {
                warn!(%id, "a chunk's writer does not let go of a session that has ended");
            }
        }
    }

    /// The disk lost bytes of a chunk: they are in the one file of its session, of which nothing is believed from here on. The
    /// session's record follows in a task of its own, since its lock is not waited for by whoever has a chunk's.
    pub(in super::super) async fn fault_session(self: &Arc<Self>, id: &UploadId) {
        let whole = match self.entry(id).await {
            Ok(whole) => whole,
            Err(Reject::NotFound) => return,
            Err(error) => return warn!(%id, %error, "a session cannot be failed"),
        };
        let Some(session) = whole.session() else {
            return;
        };
        if session.faulted.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = self.clone();
        self.tasks.spawn(async move {
            loop {
                if let Ok(_guard) = inner.hold(&session.id, true).await {
                    let record = whole.record();
                    if !record.is_tombstone() && !matches!(record.status, Status::Failed(_)) {
                        inner.fail(&whole, Failure::DiskFault, Vec::new()).await;
                    }
                    return;
                }
                if inner.stop.is_cancelled() {
                    return warn!(id = %session.id, "a session that lost bytes is not recorded as failed");
                }
            }
        });
    }

    /// The stored chunks of a session, a page of them: those after `after`.
    pub(super) async fn stored_chunks(
        &self,
        session: &UploadId,
        after: Option<UploadId>,
    ) -> Result<Vec<(UploadId, Record)>, Reject> {
        // Below every chunk's name: numbers do not begin with a 0.
        let first = format!("{session}/0").parse().ok();
        let mut page = self.state.scan(after.or(first).as_ref(), BATCH).await?;
        page.retain(|(id, _)| ChunkOf::named(id).is_some_and(|of| of.session == *session));
        Ok(page)
    }

    /// Removes the records of a session's chunks: it is complete, or has ended.
    pub(in super::super) async fn forget_chunks(&self, session: &UploadId) {
        loop {
            let page = match self.stored_chunks(session, None).await {
                Ok(page) => page,
                Err(error) => {
                    return warn!(%session, %error, "a session's chunks are forgotten later");
                }
            };
            if page.is_empty() {
                return;
            }
            let changes = page.iter().map(|(id, record)| {
                self.table.forget(id);
                Change::record(id, Some(record.clone()), None)
            });
            if let Err(error) = self.commit(changes.collect(), Promise::Flushed).await {
                return warn!(%session, %error, "a session's chunks are forgotten later");
            }
        }
    }

    /// Whether a record is of a chunk whose session is complete, or has ended, or is not there.
    pub(in super::super) async fn is_left_chunk(
        self: &Arc<Self>,
        id: &UploadId,
        record: &Record,
    ) -> bool {
        let Some(of) = ChunkOf::named(id).filter(|_| record.kind == Kind::Partial) else {
            return false;
        };
        if !self.is_chunk_by_blob(id).await.unwrap_or(false) {
            return false;
        }
        let over = |record: &Record| record.is_complete() || record.is_tombstone();
        match self.state.get(&of.session).await {
            Ok(Some(session)) => over(&session),
            // A session that the state store has lost may be made anew from its sidecar.
            Ok(None) => match self.entry(&of.session).await {
                Ok(session) => over(&session.record()),
                Err(reject) => matches!(reject, Reject::NotFound),
            },
            // What cannot be read is not thrown away.
            Err(_) => false,
        }
    }

    /// Removes one such record.
    pub(in super::super) async fn forget_chunk_record(&self, id: &UploadId, record: &Record) {
        self.table.forget(id);
        let gone = Change::record(id, Some(record.clone()), None);
        if let Err(error) = self.commit(vec![gone], Promise::Queued).await {
            warn!(%id, %error, "a chunk of an ended session stays");
        }
    }

    /// A chunk that its owner wants to send anew: it is missing again.
    pub(in super::super) async fn drop_chunk(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        of: &ChunkOf,
    ) -> Result<(), Reject> {
        let _whole = self.hold(&of.session, false).await?;
        let whole = self.usable(&of.session).await?;
        let session = whole.session().ok_or(Reject::NotFound)?;
        let _guard = self.hold(&entry.id, true).await?;
        let entry = self.there(&entry.id).await?;
        if whole.record().status != Status::Active {
            return Err(Reject::NotFound);
        }
        self.let_go(&entry).await;
        let mut front = session.front.lock().await;
        let rewinds = session.facts.file_hash.is_some();
        let mut changes = Vec::new();
        let was_stored = !entry.image().unstored;
        if was_stored {
            changes.push(Change::record(&entry.id, Some(entry.record()), None));
        }
        front.epoch += 1;
        if rewinds && front.done >= of.number {
            *front = super::Front {
                epoch: front.epoch,
                ..super::Front::default()
            };
        }
        if rewinds {
            // A hash that was stored, too, may have gone over this chunk.
            let record = whole.record();
            changes.push(Change {
                details: vec![(Detail::Front, None)],
                ..Change::record(&whole.id, Some(record.clone()), Some(record))
            });
        }
        self.commit(changes, Promise::Flushed).await?;
        self.table.forget(&entry.id);
        session.put(of.number, None);
        if was_stored {
            let what = What::ChunkFailed {
                chunk: Some(of.number.into()),
                code: "chunk-removed",
            };
            self.tell_session(of, what);
        }
        info!(id = %entry.id, "a chunk is to be sent anew");
        Ok(())
    }

    /// A chunk's session, where that is in memory.
    pub(in super::super) fn session_in_memory(&self, of: &ChunkOf) -> Option<Arc<Session>> {
        self.table.peek(&of.session)?.session()
    }

    /// Changes a chunk's record. Its range of the file does not witness it: it is in the state store before it is told.
    pub(in super::super) async fn change_chunk(
        &self,
        entry: &Entry,
        mut record: Record,
        promise: Promise,
        mut more: More,
    ) -> Result<(), Reject> {
        // It lives and ends with its session.
        record.expires = None;
        let old = entry.record();
        let (before, of) = {
            let image = entry.image();
            if image.unstored
                && let Blob::Segments(segments) = &*image.blob
            {
                let segments = super::super::load::encode(segments);
                more.details.push((Detail::Segments, Some(segments)));
            }
            let before = (!image.unstored).then(|| image.record.clone());
            (before, image.chunk.clone())
        };
        let change = Change {
            details: more.details,
            marks: more.marks,
            ..Change::record(&entry.id, before, Some(record.clone()))
        };
        let committed = self
            .commit(vec![change], promise.max(Promise::Flushed))
            .await;
        let session = of.and_then(|of| Some((of.number, self.session_in_memory(&of)?)));
        if committed.is_err() {
            // Whoever asks next loads what is stored.
            if let Some((number, session)) = session {
                session.doubt(number);
            }
            self.table.forget(&entry.id);
            return committed;
        }
        {
            let mut image = entry.image();
            image.record = record.clone();
            image.unstored = false;
        }
        if let Some((number, session)) = session {
            session.put(number, Some(&record));
        }
        self.tell_change(entry, &old, &record);
        Ok(())
    }
}
