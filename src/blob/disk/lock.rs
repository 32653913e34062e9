//! One data directory, one process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Held as long as this process uses the directory; the system lets go of it with the process, however that ends.
#[derive(Debug)]
pub struct DirLock {
    _dir: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// It cannot be opened or locked.
    #[error("{path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Takes an existing directory for this process, without waiting. The lock lies on the directory itself: no file to be
/// left behind. Blocks on the disk; called once, at start.
///
/// # Errors
/// `InUse` if another process (or another `DirLock` of this one) holds it.
pub fn lock_dir(dir: &Path) -> Result<DirLock, LockError> {
    let fail = |source| LockError::Io {
        path: dir.to_owned(),
        source,
    };
    let file = super::names::open_dir(dir).map_err(fail)?;
    match rustix::io::retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(DirLock { _dir: file }),
        Err(Errno::WOULDBLOCK) => Err(LockError::InUse(dir.to_owned())),
        Err(e) => Err(fail(e.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_dir(dir.path()).unwrap();
        assert!(matches!(lock_dir(dir.path()), Err(LockError::InUse(_))));
        drop(held);
        lock_dir(dir.path()).unwrap();
        let missing = lock_dir(&dir.path().join("none"));
        assert!(matches!(missing, Err(LockError::Io { .. })));
    }
}
