//! Sessions and chunks from the state store into memory, and what is left of them after a loss of power.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tracing::warn;

use super::super::table::{Entry, Image};
use super::super::{Inner, More, load};
use super::{ChunkOf, Facts, Session};
use crate::error::Reject;
use crate::state::{Change, Detail, Promise};
use crate::upload::{Kind, Record, Status, UploadId};

impl Facts {
    /// As [`load::encode`] wrote them.
    pub(super) fn decode(id: &UploadId, bytes: &[u8]) -> Result<Self, Reject> {
        // Where no rates are, nothing is written, nor was it ever before there were any: a 0 is read as none.
        load::decode(id, &[bytes, &[0]].concat())
    }
}

impl Inner {
    /// [`Inner::entry`], for those who are called by it.
    fn entry_below<'a>(
        self: &'a Arc<Self>,
        id: &'a UploadId,
    ) -> BoxFuture<'a, Result<Arc<Entry>, Reject>> {
        self.entry(id).boxed()
    }

    /// What makes a final a session, with what is there of its chunks; `None`: it is another final.
    pub(in super::super) async fn load_session(
        self: &Arc<Self>,
        id: &UploadId,
        record: &Record,
    ) -> Result<Option<Arc<Session>>, Reject> {
        let Some(facts) = self.state.detail(id, Detail::Session).await? else {
            return Ok(None);
        };
        let facts = Facts::decode(id, &facts)?;
        let session = Session::new(id, facts, record.length.unwrap_or_default());
        if Self::keeps_chunks(record.status) {
            self.load_chunks(&session).await?;
            self.load_front(&session, record).await?;
        }
        Ok(Some(Arc::new(session)))
    }

    async fn load_chunks(self: &Arc<Self>, session: &Session) -> Result<(), Reject> {
        let mut after = None;
        loop {
            let page = self.stored_chunks(&session.id, after).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for (id, record) in page {
                let Some(of) = ChunkOf::named(&id) else {
                    continue;
                };
                if record.power_cuts == self.options.power_cuts {
                    session.put(of.number, Some(&record));
                } else {
                    // It is held against its bytes first. Its session is not asked for by that.
                    let chunk = self.entry_below(&id).await?;
                    session.put(of.number, Some(&chunk.record()));
                }
            }
        }
    }

    async fn load_front(&self, session: &Session, record: &Record) -> Result<(), Reject> {
        let Some(saved) = self.state.detail(&session.id, Detail::Front).await? else {
            return Ok(());
        };
        let front = super::Front::from_bytes(&saved);
        let front = front.filter(|front| (1..=front.done).all(|n| session.has(n)));
        if let Some(front) = front {
            *session.front.lock().await = front;
            return Ok(());
        }
        // Chunks that it went over are gone, and may come again with other bytes.
        let gone = Change {
            details: vec![(Detail::Front, None)],
            ..Change::record(&session.id, Some(record.clone()), Some(record.clone()))
        };
        self.commit(vec![gone], Promise::Flushed).await
    }

    /// A chunk of which a session in memory knows that no byte came yet: nobody else need be asked.
    pub(in super::super) async fn unstored_chunk(
        self: &Arc<Self>,
        id: &UploadId,
    ) -> Option<Arc<Entry>> {
        let of = ChunkOf::named(id)?;
        let session = self.session_in_memory(&of)?;
        if !session.is_unstored(of.number) {
            return None;
        }
        self.missing_chunk(id).await.ok()
    }

    /// A chunk that no byte came of yet, if there is such a session and it takes bytes.
    pub(in super::super) async fn missing_chunk(
        self: &Arc<Self>,
        id: &UploadId,
    ) -> Result<Arc<Entry>, Reject> {
        let of = ChunkOf::named(id).ok_or(Reject::NotFound)?;
        let whole = self.entry_below(&of.session).await?;
        let session = whole.session().ok_or(Reject::NotFound)?;
        let is_there = (1..=session.total).contains(&of.number);
        if !is_there || whole.record().status != Status::Active {
            return Err(Reject::NotFound);
        }
        let size = session.size_of(of.number);
        let whole = whole.record();
        let mut image = Image::new(id, Record::new(Kind::Partial, Some(size), whole.created));
        image.record.owner = whole.owner;
        image.record.power_cuts = self.options.power_cuts;
        image.blob = Arc::new(session.blob(of.number));
        image.chunk = Some(of);
        image.unstored = true;
        Ok(Arc::new(Entry::new(id.clone(), image)))
    }

    /// Whether a chunk's session is one that has chunks.
    pub(in super::super) async fn chunk_lives(
        self: &Arc<Self>,
        of: &ChunkOf,
    ) -> Result<(), Reject> {
        let whole = self.entry_below(&of.session).await?;
        match self.standing(&whole) {
            Ok(()) | Err(Reject::FileHashMismatch) if Self::keeps_chunks(whole.record().status) => {
                Ok(())
            }
            Ok(()) => Err(Reject::NotFound),
            Err(reject) => Err(reject),
        }
    }

    /// After a loss of power the file's length proves nothing. A complete chunk is read back and held against its SHA-256; one
    /// that has none, or was begun only, counts as far as it is known to have been synced.
    pub(in super::super) async fn reconcile_chunk(&self, entry: &Entry) -> Result<(), Reject> {
        let record = entry.record();
        if record.power_cuts == self.options.power_cuts || record.offset == record.synced {
            return Ok(());
        }
        if record.is_complete()
            && let Some(sum) = self.state.detail(&entry.id, Detail::Sha256).await?
            && self.holds(entry, record.offset, &sum).await?
        {
            let next = Record {
                synced: record.offset,
                ..record
            };
            return self
                .change(entry, next, Promise::Flushed, More::default())
                .await;
        }
        let (before, offset) = (record.offset, record.synced);
        warn!(id = %entry.id, before, offset, "a power cut took bytes of a chunk that were never synced");
        let next = Record {
            offset,
            status: Status::Active,
            unverified_from: None,
            ..record
        };
        let more = More {
            details: vec![(Detail::Sha256, None)],
            ..More::default()
        };
        self.change(entry, next, Promise::Flushed, more).await
    }

    async fn holds(&self, entry: &Entry, len: u64, sum: &[u8]) -> Result<bool, Reject> {
        match self.sha256_of(entry, 0..len).await {
            Ok(stored) => Ok(stored.0 == sum),
            Err(Reject::Blob(crate::blob::BlobError::Lost)) => Ok(false),
            Err(reject) => Err(reject),
        }
    }
}
