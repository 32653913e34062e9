//! Bytes that go out: of complete uploads, once nobody has to look through them any more.

use std::ops::Range;

use futures_util::StreamExt;

use super::{Engine, Inner, View};
use crate::blob::{BlobError, Pieces};
use crate::error::Reject;
use crate::upload::{Kind, Status, UploadId};

impl Engine {
    /// Bytes of a complete upload. Takes no lock.
    ///
    /// # Errors
    /// `NotFinished`; as [`Engine::look`]; `BlobLost` if the files are gone.
    pub async fn read(&self, id: &UploadId, range: Range<u64>) -> Result<Pieces, Reject> {
        // A final's files change once, when it becomes one file: whoever meets that moment looks again.
        let mut tries = 0;
        loop {
            tries += 1;
            let entry = self.inner.usable(id).await?;
            if !entry.record().is_complete() {
                return Err(Reject::NotFinished);
            }
            let record = entry.record();
            self.inner.gives_out(record.kind, record.status)?;
            let reading = entry.readers.clone();
            let blob = entry.blob();
            match self.inner.blobs.read(&blob, range.clone()).await {
                Ok(pieces) => {
                    let held = pieces.inspect(move |_| {
                        let _ = &reading;
                    });
                    return Ok(held.boxed());
                }
                Err(BlobError::Lost) if tries < 3 && *entry.blob() != *blob => {}
                Err(BlobError::Lost) => {
                    let (inner, id) = (self.inner.clone(), id.clone());
                    self.inner
                        .run(async move { inner.found_lost(&id).await })
                        .await?;
                    return Err(Reject::BlobLost);
                }
                Err(error) => return Err(error.into()),
            }
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
    fn gives_out(&self, kind: Kind, status: Status) -> Result<(), Reject> {
        let part = kind == Kind::Partial && self.options.content.scan.is_some();
        if part || status == Status::Scanning {
            return Err(Reject::ScanPending);
        }
        Ok(())
    }
}
