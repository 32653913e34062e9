//! A chunk that comes again when the session is complete: its record is gone, and its bytes are in the file.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::super::Inner;
use super::super::ingest::FOR_EVER;
use super::super::table::Entry;
use super::{ChunkBody, Chunked, Session};
use crate::error::Reject;
use crate::protocol::sha256::{Hasher, Sum};
use crate::security::rate::Pace;

impl Inner {
    /// Compares it with the file; nothing is written.
    pub(super) async fn repeat_chunk<B>(
        self: &Arc<Self>,
        whole: &Entry,
        session: &Session,
        number: u32,
        chunk: ChunkBody,
        body: B,
    ) -> Result<Chunked, Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let range = session.range(number);
        let size = range.end - range.start;
        let came = tokio::select! {
            came = self.sum_of_body(body, size, chunk.pace.as_ref()) => came?,
            () = self.stop.cancelled() => return Err(Reject::Stopping),
        };
        if chunk.sum.is_some_and(|named| named != came) {
            return Err(Reject::ChecksumMismatch);
        }
        if self.sha256_of(whole, range).await? != came {
            return Err(Reject::ChunkDiffers);
        }
        Ok(Chunked {
            number,
            size,
            sum: Some(came),
            repeated: true,
            uploaded: session.total,
            remaining: 0,
        })
    }

    /// SHA-256 of a body that must have so many bytes.
    async fn sum_of_body<B>(
        &self,
        mut body: B,
        size: u64,
        pace: Option<&Pace>,
    ) -> Result<Sum, Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let patience = self.options.network_timeout.unwrap_or(FOR_EVER);
        let mut hasher = Hasher::default();
        let mut left = size;
        loop {
            while let Some(rest) = pace.and_then(Pace::rest) {
                tokio::time::sleep(rest).await;
            }
            let frame = timeout(patience, body.frame()).await;
            let Some(frame) = frame.map_err(|_| Reject::IdleRequest)? else {
                break;
            };
            let frame = frame.map_err(|_| Reject::ChunkCut)?;
            let Ok(bytes) = frame.into_data() else {
                break;
            };
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or(Reject::ChunkTooLong { size })?;
            hasher.update(&bytes);
            if let Some(pace) = pace {
                pace.came(bytes.len());
            }
        }
        if left > 0 {
            return Err(Reject::ChunkTooShort { size });
        }
        Ok(hasher.finish())
    }
}
