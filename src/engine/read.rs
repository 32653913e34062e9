//! Bytes that go out: of complete uploads, once nobody has to look through them any more.

use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt;

use super::table::Entry;
use super::{Engine, Inner, View};
use crate::blob::{Blob, BlobError, Pieces};
use crate::error::Reject;
use crate::upload::{Kind, Status, UploadId};

impl Engine {
    /// Bytes of a complete upload. Takes no lock.
    ///
    /// # Errors
    /// `NotFinished`; as [`Engine::look`]; `BlobLost` if the files are gone.
    pub async fn read(&self, id: &UploadId, range: Range<u64>) -> Result<Pieces, Reject> {
        let entry = self.inner.usable(id).await?;
        if !entry.record().is_complete() {
            return Err(Reject::NotFinished);
        }
        let record = entry.record();
        self.inner.gives_out(record.kind, record.status)?;
        let reading = entry.readers.clone();
        match self.inner.read_stored(&entry, range).await {
            Ok(pieces) => {
                let held = pieces.inspect(move |_| {
                    let _ = &reading;
                });
                Ok(held.boxed())
            }
            Err(BlobError::Lost) => {
                let (inner, id) = (self.inner.clone(), id.clone());
                self.inner
                    .run(async move { inner.found_lost(&id).await })
                    .await?;
                Err(Reject::BlobLost)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the bytes of an upload may be given out.
    ///
    /// # Errors
    /// `ScanPending` while nobody has looked through them; parts are looked through in their final alone.
    pub fn gives_out(&self, view: &View) -> Result<(), Reject> {
        self.inner.gives_out(view.kind, view.status)
    }
}

impl Inner {
    /// Stored bytes.
    pub(super) async fn read_stored(
        &self,
        entry: &Entry,
        range: Range<u64>,
    ) -> Result<Pieces, BlobError> {
        let read = |blob: Arc<Blob>| {
            let range = range.clone();
            async move { self.blobs.read(&blob, range).await }
        };
        where_it_lies(entry, read).await
    }

    fn gives_out(&self, kind: Kind, status: Status) -> Result<(), Reject> {
        let part = kind == Kind::Partial && self.options.content.scan.is_some();
        if part || status == Status::Scanning {
            return Err(Reject::ScanPending);
        }
        Ok(())
    }
}

/// Reads a blob where it lies. An upload's files change when it becomes one file, and when that is moved: whoever meets such a
/// moment looks again.
pub(super) async fn where_it_lies<T, F>(
    entry: &Entry,
    read: impl Fn(Arc<Blob>) -> F,
) -> Result<T, BlobError>
where
    F: Future<Output = Result<T, BlobError>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        let blob = entry.blob();
        match read(blob.clone()).await {
            Err(BlobError::Lost) if tries < 3 && *entry.blob() != *blob => {}
            done => return done,
        }
    }
}
