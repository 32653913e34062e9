//! Bytes on their way out: read in the pool, one piece ahead of the one that is being sent.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};
use tokio::task::spawn_blocking;

use super::Shared;
use super::sys::{fault, finished, pool};
use crate::blob::ranges::slice;
use crate::blob::{Blob, BlobError, Pieces, Segment};

/// The most bytes in a piece; two of them are in memory for each reader.
const PIECE: u64 = 256 << 10;

/// See [`crate::blob::BlobStore::read`]. The first piece is read at once, so that the caller learns if it is not there.
pub(super) async fn read(
    shared: Arc<Shared>,
    blob: &Blob,
    range: &Range<u64>,
) -> Result<Pieces, BlobError> {
    let mut ahead = slice(blob, range).ok_or(BlobError::Lost)?;
    if ahead.is_empty() {
        return Ok(stream::empty().boxed());
    }
    ahead.reverse();
    let cursor = Cursor {
        shared,
        ahead,
        open: None,
    };
    let (first, cursor) = pool(move || cursor.piece()).await?;
    let rest = cursor.has_more().then(|| spawn_blocking(|| cursor.piece()));
    let rest = stream::try_unfold(rest, async |next| {
        let Some(next) = next else {
            return Ok(None);
        };
        let (piece, cursor) = finished(next.await)??;
        let next = cursor.has_more().then(|| spawn_blocking(|| cursor.piece()));
        Ok(Some((piece, next)))
    });
    Ok(stream::once(async { Ok(first) }).chain(rest).boxed())
}

/// What is still to be read.
struct Cursor {
    shared: Arc<Shared>,
    /// Last one first.
    ahead: Vec<Segment>,
    /// The file of the segment that is next.
    open: Option<File>,
}

impl Cursor {
    fn has_more(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Reads the next piece, across as many segments as it takes to fill it. What was read before an error is given out
    /// first; the next call meets the error again.
    fn piece(mut self) -> Result<(Bytes, Self), BlobError> {
        let left: u64 = self.ahead.iter().map(|segment| segment.len).sum();
        let size = usize::try_from(left.min(PIECE)).unwrap_or(usize::MAX);
        let mut piece = Vec::with_capacity(size);
        while piece.len() < size {
            match self.fill(&mut piece) {
                Ok(()) => {}
                Err(e) if piece.is_empty() => return Err(e),
                Err(_) => {
                    self.open = None;
                    break;
                }
            }
        }
        Ok((piece.into(), self))
    }

    /// Reads once from the segment that is next.
    fn fill(&mut self, piece: &mut Vec<u8>) -> Result<(), BlobError> {
        let Some(segment) = self.ahead.last_mut() else {
            return Err(BlobError::Lost);
        };
        let path = || self.shared.paths.of(&segment.file);
        let file = if let Some(file) = &self.open {
            file
        } else {
            let file = self.shared.open_read(&segment.file)?;
            let len = file.metadata().map_err(|e| fault(&path(), e))?.len();
            if len
                .checked_sub(segment.start)
                .is_none_or(|len| len < segment.len)
            {
                return Err(BlobError::Lost);
            }
            self.open.insert(file)
        };
        let before = piece.len();
        let n = retry_on_intr(|| pread(file, spare_capacity(piece), segment.start));
        let n = (n.map_err(|e| fault(&path(), e.into()))? as u64).min(segment.len);
        if n == 0 {
            return Err(BlobError::Lost);
        }
        // More than the segment may have been read, into what room there was.
        piece.truncate(before + usize::try_from(n).unwrap_or(usize::MAX));
        segment.start += n;
        segment.len -= n;
        if segment.len == 0 {
            self.ahead.pop();
            self.open = None;
        }
        Ok(())
    }
}
