//! The walk over every upload: a session stands in it for its chunks, which are no uploads to an operator.

use std::sync::Arc;

use super::Inner;
use super::overview::Summary;
use super::recovery::Recovered;
use super::session::ChunkOf;
use super::table::{Entry, Image};
use crate::blob::Blob;
use crate::error::Reject;
use crate::state::{Change, Detail};
use crate::upload::{Kind, Record, Status, UploadId};

/// Records that are read in one step.
const STEP: usize = 1000;

impl Inner {
    /// Shows every upload, in the order of their ids.
    pub(super) async fn walk(&self, mut each: impl FnMut(Summary) + Send) -> Result<(), Reject> {
        let mut after: Option<UploadId> = None;
        let mut parents = Parents::default();
        // A session comes before its chunks, and is shown when they are counted.
        let mut open: Option<(Summary, bool)> = None;
        loop {
            if self.stop.is_cancelled() {
                return Err(Reject::Stopping);
            }
            let page = self.state.scan(after.as_ref(), STEP).await?;
            let Some((last, _)) = page.last() else {
                if let Some((upload, _)) = open {
                    each(upload);
                }
                return Ok(());
            };
            after = Some(last.clone());
            // What is in memory is newer than what is stored.
            let entries = self.table.loaded(page.iter().map(|(id, _)| id));
            for ((id, record), entry) in page.into_iter().zip(entries) {
                if let Some(whole) = self
                    .whole_of(&id, &record, entry.as_ref(), &mut parents)
                    .await?
                {
                    if let Some((upload, true)) = &mut open
                        && upload.id == whole
                    {
                        upload.record.offset += record.offset;
                    }
                    continue;
                }
                if let Some((upload, _)) = open.take() {
                    each(upload);
                }
                let is_stored = entry.is_none();
                let upload = match entry {
                    Some(entry) => summary(id, &entry.image()),
                    None => Summary {
                        id,
                        record,
                        receiving: false,
                    },
                };
                if counts_chunks(&upload.record) {
                    open = Some((upload, is_stored));
                } else {
                    each(upload);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// The session that an upload is a chunk of, if it is one.
    async fn whole_of(
        &self,
        id: &UploadId,
        record: &Record,
        entry: Option<&Arc<Entry>>,
        parents: &mut Parents,
    ) -> Result<Option<UploadId>, Reject> {
        if let Some(entry) = entry {
            return Ok(entry.chunk().map(|of| of.session));
        }
        let Some(of) = ChunkOf::named(id).filter(|_| record.kind == Kind::Partial) else {
            return Ok(None);
        };
        if parents.0.as_ref() == Some(&of.session) {
            return Ok(Some(of.session));
        }
        if !self.is_chunk_by_blob(id).await? {
            return Ok(None);
        }
        parents.0 = Some(of.session.clone());
        Ok(Some(of.session))
    }

    /// Whether the stored blob of an upload is a chunk's.
    pub(super) async fn is_chunk_by_blob(&self, id: &UploadId) -> Result<bool, Reject> {
        let stored = self.state.detail(id, Detail::Segments).await?;
        Ok(stored.is_some_and(|stored| is_chunk(id, &stored)))
    }

    /// Whether a change is one of a session's chunk, which to those who count is no upload. To be asked before it is made.
    pub(super) async fn changes_chunk(&self, change: &Change) -> bool {
        let Some(of) = ChunkOf::named(&change.id) else {
            return false;
        };
        if let Some(entry) = self.table.glance(&change.id) {
            return entry.is_chunk();
        }
        let session = self.table.glance(&of.session).and_then(|it| it.session());
        if session.is_some_and(|session| session.size_of(of.number) > 0) {
            return true;
        }
        let mut details = change.details.iter();
        let coming = details
            .find_map(|(detail, value)| value.as_ref().filter(|_| *detail == Detail::Segments));
        match coming {
            Some(coming) => is_chunk(&change.id, coming),
            None => self.is_chunk_by_blob(&change.id).await.unwrap_or(false),
        }
    }

    /// Counts what is there at the start; changes count from here on.
    pub(super) async fn take_stock(&self, told: &mut Recovered) -> Result<(), Reject> {
        let mut found = super::account::Found::default();
        let each = |upload: Summary| {
            self.meter.found(&upload.record);
            self.found(&mut found, upload.id, &upload.record);
        };
        self.walk(each).await?;
        self.meter.begin();
        self.open_ledger(found, told).await
    }
}

/// Of which session a chunk was seen last: the others follow it.
#[derive(Default)]
struct Parents(Option<UploadId>);

/// Whether an upload's stored segments are a chunk's.
pub(super) fn is_chunk(id: &UploadId, segments: &[u8]) -> bool {
    let segments = super::load::decode(id, segments);
    segments.is_ok_and(|segments| ChunkOf::found(id, &Blob::Segments(segments)).is_some())
}

/// An upload in memory.
pub(super) fn summary(id: UploadId, image: &Image) -> Summary {
    let open = image.session.as_ref();
    let open = open.filter(|_| counts_chunks(&image.record));
    let record = Record {
        offset: open.map_or(image.told(), |session| session.bytes()),
        ..image.record.clone()
    };
    Summary {
        id,
        record,
        receiving: image.live.is_some() || open.is_some_and(|session| session.is_busy()),
    }
}

/// Whether the bytes of this session are those of its chunks.
fn counts_chunks(session: &Record) -> bool {
    session.kind == Kind::Final && matches!(session.status, Status::Active | Status::Failed(_))
}
