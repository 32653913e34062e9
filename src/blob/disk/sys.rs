//! The edge to the system: its errors as [`BlobError`]s, and work in the blocking pool.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use tokio::task::{JoinError, spawn_blocking};

use crate::blob::BlobError;

/// What the system said of `path`.
pub(super) fn fault(path: &Path, source: Error) -> BlobError {
    if is_full(&source) {
        return BlobError::Full;
    }
    BlobError::Io {
        path: path.to_owned(),
        source,
    }
}

/// What the system said of a file that has to be there.
pub(super) fn lost(path: &Path, source: Error) -> BlobError {
    match source.kind() {
        ErrorKind::NotFound => BlobError::Lost,
        _ => fault(path, source),
    }
}

pub(super) fn is_full(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Runs what may wait for the disk in the blocking pool. Once begun it goes on to its end, awaited or not.
pub(super) async fn pool<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    finished(spawn_blocking(work).await).and_then(|result| result)
}

/// What pooled work returned. Its panic goes on here.
pub(super) fn finished<T>(joined: Result<T, JoinError>) -> Result<T, BlobError> {
    joined.map_err(|e| match e.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => BlobError::Io {
            path: PathBuf::new(),
            source: Error::other("the server is stopping"),
        },
    })
}

/// Calls until it is not interrupted by a signal.
pub(super) fn retried<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
