//! Files of credentials and certificates: read at start, and anew when they change.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::protocol::sha256::Sum;

/// Why such a file is not taken. It never tells what is in it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Read(String, io::Error),
    /// Its content is not what it should be.
    #[error("{0}: {1}")]
    Content(String, String),
}

/// What files say together.
pub trait FromFiles: Sized {
    /// What beside the files decides.
    type Options: Debug + Send + Sync;

    /// From the content of each and, where it needs them, the options of this server.
    ///
    /// # Errors
    /// What is wrong with it, without any secret of it.
    fn parse(files: &[Vec<u8>], options: &Self::Options) -> Result<Self, String>;
}

/// What files say, and the files, so that they are read anew when they change.
pub struct Kept<T: FromFiles> {
    paths: Vec<PathBuf>,
    options: T::Options,
    now: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
}

/// Contents of the files, by their sums: what they are is no thing to keep.
struct Seen {
    used: Vec<Sum>,
    last: Vec<Sum>,
}

impl<T: FromFiles> Debug for Kept<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.paths).finish()
    }
}

/// Something that may be read anew.
pub trait Reload: Debug + Send + Sync {
    /// Whether there was anything new; what was there before stays where it cannot be used.
    ///
    /// Unless somebody asks for it, a content is used when it was seen twice: an editor's half written one would lock everybody
    /// out for a moment, and a client that is told so begins anew; and a certificate changes before its key, or after it.
    ///
    /// # Errors
    /// Why it cannot be used, for the log.
    fn reload(&self, asked: bool) -> Result<bool, FileError>;
}

impl<T: FromFiles> Kept<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read, or is not what it should be.
    pub fn read(
        paths: impl IntoIterator<Item = impl Into<PathBuf>>,
        options: T::Options,
    ) -> Result<Self, FileError> {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        let files = contents(&paths)?;
        let parsed = parsed(&paths, &files, &options)?;
        let sums = sums(&files);
        Ok(Self {
            paths,
            options,
            now: RwLock::new(Arc::new(parsed)),
            seen: Mutex::new(Seen {
                used: sums.clone(),
                last: sums,
            }),
        })
    }

    /// What they say now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }
}

impl<T: FromFiles + Send + Sync> Reload for Kept<T> {
    fn reload(&self, asked: bool) -> Result<bool, FileError> {
        let files = contents(&self.paths)?;
        let sums = sums(&files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = asked || seen.last == sums;
        seen.last.clone_from(&sums);
        if seen.used == sums || !lasts {
            return Ok(false);
        }
        let parsed = parsed(&self.paths, &files, &self.options)?;
        seen.used = sums;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(parsed);
        Ok(true)
    }
}

fn sums(files: &[Vec<u8>]) -> Vec<Sum> {
    files.iter().map(|file| Sum::of(file)).collect()
}

fn contents(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, FileError> {
    let read = |path: &PathBuf| {
        let named = |error| FileError::Read(path.display().to_string(), error);
        std::fs::read(path).map_err(named)
    };
    paths.iter().map(read).collect()
}

fn parsed<T: FromFiles>(
    paths: &[PathBuf],
    files: &[Vec<u8>],
    options: &T::Options,
) -> Result<T, FileError> {
    T::parse(files, options).map_err(|why| {
        let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        FileError::Content(names.join(", "), why)
    })
}
