//! Blobs as files of a local file system.
//!
//! # Where what lies
//!
//! The paths are stable: people and their tools read the directory beside the server.
//!
//! | path under the store's directory | what |
//! |---|---|
//! | `files/<shard>/<name>` | the bytes of an upload, [`File::Upload`]; complete once the upload is |
//! | `segments/<shard>/<name>~<n>` | [`File::Link`]: a hard link to bytes of another upload |
//! | `segments/<shard>/<name>~draft` | [`File::Draft`] |
//! | `segments/<shard>/<name>~list.json` | [`File::List`] as JSON |
//! | `info/<shard>/<name>.json` | [`File::About`], as the engine wrote it |
//! | any other path | [`File::Chosen`]: where a hook wants a complete upload's bytes to lie |
//!
//! `<name>` is the upload's id with `/` as `,`, which no id contains; `<shard>` is the id's first two characters, with `_`
//! for each that is not a letter or digit, or missing. Files of other names are left alone.
//!
//! # What reaches the disk when
//!
//! A write has left the process when it returns, so that it survives the process; a power cut it survives after `sync`.
//! Space is reserved ahead of a writer, in steps that grow with the upload, and given back when the writer is closed, when
//! its file is closed because too many are open, and when the disk is full.
//!
//! A writer is its target's only one: opening it anew, cutting the blob or removing it takes the file from the writer before,
//! whose calls then fail. The larger file of a segment is made by the first append at 0, wherever in it the segment lies; a
//! hole in it cannot be told from bytes that were written, only an end before them. It is never cut, since others' bytes
//! follow.

mod access;
mod aside;
mod calls;
mod chosen;
mod copy;
mod join;
mod names;
mod open;
mod paths;
mod reader;
mod sys;
mod tip;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio::runtime::Handle;

use self::chosen::Beneath;
use self::names::{Names, sync_dir};
use self::open::OpenFiles;
use self::paths::Paths;
use self::sys::{fault, pool};
use self::writer::DiskWriter;
use super::ranges::Target;
use super::{
    Blob, BlobError, BlobStore, BlobWriter, ChoosePaths, File, JoinParts, Pieces, Room, Segment,
    Usage,
};
use crate::pace::{Pace, Work};
use crate::upload::UploadId;

/// So many files of one blob are synced at the same time.
const SYNCS_AT_ONCE: usize = 16;

/// How a [`DiskBlobs`] uses its directory.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// Permissions of new directories, before the process's umask.
    pub dir_mode: u32,
    /// Permissions of new files, before the process's umask.
    pub file_mode: u32,
    /// So many files are kept open for writing, at least one; those silent the longest are closed first.
    pub max_open_files: usize,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            dir_mode: 0o775,
            file_mode: 0o664,
            max_open_files: 512,
        }
    }
}

/// Blobs under one directory.
#[derive(Debug, Clone)]
pub struct DiskBlobs {
    shared: Arc<Shared>,
}

/// What writers, readers and pooled work share.
#[derive(Debug)]
struct Shared {
    paths: Paths,
    names: Names,
    beneath: Beneath,
    open: OpenFiles,
    pace: Arc<Pace>,
}

impl DiskBlobs {
    /// Opens the store in `dir`, and makes the directories that are missing. To be called once, at start, within the
    /// runtime that will write: at most all of its workers but one write at a time, and outside of a runtime none. Blocks
    /// on the disk.
    ///
    /// # Errors
    /// What the system says of the directories.
    pub fn open(dir: &Path, options: &DiskOptions) -> Result<Self, BlobError> {
        let names = Names::new(options);
        names.make_dirs(dir).map_err(|e| fault(dir, e))?;
        let shared = Shared {
            paths: Paths::new(dir),
            beneath: Beneath::open(dir, options.dir_mode)?,
            names,
            open: OpenFiles::new(options.max_open_files),
            pace: Arc::new(Pace::new(Handle::try_current().ok())),
        };
        for tree in shared.paths.trees() {
            shared.names.make_dirs(&tree).map_err(|e| fault(&tree, e))?;
        }
        sync_dir(&shared.open, dir)?;
        if let Some(parent) = dir.canonicalize().ok().as_deref().and_then(Path::parent) {
            // The directory may be new. One above that cannot be read was not made here.
            let _ = sync_dir(&shared.open, parent);
        }
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Where a file lies, or would.
    #[must_use]
    pub fn path_of(&self, file: &File) -> PathBuf {
        self.shared.paths.of(file)
    }

    /// How many files are open for writing now.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.shared.open.count()
    }

    /// The pace of the disk, for what else lies on it.
    pub(crate) fn pace(&self) -> Arc<Pace> {
        self.shared.pace.clone()
    }

    /// Does in the task what is a few calls to the system, while the disk is fast; where `briefly` finds that it is more, and
    /// otherwise, does all of it in the pool.
    async fn brief<T: Send + 'static>(
        &self,
        briefly: impl FnOnce(&Arc<Shared>) -> Result<Option<T>, BlobError>,
        whole: impl FnOnce(&Arc<Shared>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        if let Some(_leave) = self.shared.pace.try_inline(Work::Names)
            && let Some(done) = briefly(&self.shared)?
        {
            return Ok(done);
        }
        let shared = self.shared.clone();
        pool(move || shared.pace.pooled(Work::Names, || whole(&shared))).await
    }

    /// Does `work` in the pool.
    async fn pooled<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let shared = self.shared.clone();
        pool(move || work(&shared)).await
    }
}

#[async_trait]
impl BlobStore for DiskBlobs {
    async fn create(&self, id: &UploadId, about: &[u8], empty: bool) -> Result<(), BlobError> {
        let own = (id.clone(), about.to_vec());
        self.brief(
            |shared| match shared.create(id, about, empty) {
                Err(BlobError::Full) => Ok(None),
                done => done.map(Some),
            },
            move |shared| shared.with_space(|| shared.create(&own.0, &own.1, empty)),
        )
        .await
    }

    async fn amend(&self, id: &UploadId, about: &[u8]) -> Result<(), BlobError> {
        let (id, about) = (id.clone(), about.to_vec());
        self.pooled(move |shared| shared.with_space(|| shared.amend(&id, &about)))
            .await
    }

    async fn append(
        &self,
        blob: &Blob,
        at: u64,
        length: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        let target = Target::of(blob)?;
        let own = target.clone();
        let writer = self.brief(
            |shared| DiskWriter::open_briefly(shared.clone(), &target, at, length),
            move |shared| DiskWriter::open(shared.clone(), &own, at, length),
        );
        Ok(Box::new(writer.await?))
    }

    async fn read(&self, blob: &Blob, range: Range<u64>) -> Result<Pieces, BlobError> {
        reader::read(self.shared.clone(), blob, &range).await
    }

    async fn stored(&self, blob: &Blob) -> Result<u64, BlobError> {
        let own = blob.clone();
        self.brief(
            // Of a list there may be many files to look at.
            |shared| match blob {
                Blob::Own(_) => shared.stored(blob).map(Some),
                Blob::Segments(_) => Ok(None),
            },
            move |shared| shared.stored(&own),
        )
        .await
    }

    async fn cut(&self, blob: &Blob, to: u64) -> Result<(), BlobError> {
        let Blob::Own(id) = blob else {
            return Ok(());
        };
        let id = id.clone();
        self.pooled(move |shared| shared.cut(&id, to)).await
    }

    async fn sync(&self, id: &UploadId, blob: &Blob) -> Result<(), BlobError> {
        let mut rest = vec![File::About(id.clone())];
        let files = match blob {
            Blob::Own(id) => {
                rest.push(File::Upload(id.clone()));
                Vec::new()
            }
            Blob::Segments(list) => {
                rest.push(File::List(id.clone()));
                let distinct: HashSet<_> = list.iter().map(|segment| &segment.file).collect();
                distinct.into_iter().cloned().collect()
            }
        };
        // Syncs that run at once share the disk's flushes.
        let share = files.len().div_ceil(SYNCS_AT_ONCE).max(1);
        let shares = files.chunks(share).map(|files| {
            let files = files.to_vec();
            self.pooled(move |shared| shared.sync_bytes(&files))
        });
        try_join_all(shares).await?;
        self.pooled(move |shared| shared.sync_rest(&rest, &files))
            .await
    }

    async fn about(
        &self,
        id: &UploadId,
    ) -> Result<Option<(Vec<u8>, Option<Vec<Segment>>)>, BlobError> {
        let id = id.clone();
        self.pooled(move |shared| shared.about(&id)).await
    }

    async fn remove(&self, files: &[File]) -> Result<(), BlobError> {
        let files = files.to_vec();
        self.pooled(move |shared| shared.remove(files)).await
    }

    async fn set_aside(&self, id: &UploadId, blob: &Blob) -> Result<String, BlobError> {
        let (id, blob) = (id.clone(), blob.clone());
        self.pooled(move |shared| aside::set_aside(shared, &id, &blob))
            .await
    }

    async fn clear_aside(&self, before: SystemTime) -> Result<(usize, u64), BlobError> {
        self.pooled(move |shared| aside::clear(shared, before))
            .await
    }

    async fn shards(&self) -> Result<Vec<String>, BlobError> {
        self.pooled(|shared| shared.paths.shards()).await
    }

    async fn files(&self, shard: &str) -> Result<Vec<File>, BlobError> {
        let shard = shard.to_owned();
        self.pooled(move |shared| shared.paths.files(&shard)).await
    }

    async fn space(&self) -> Result<Option<Room>, BlobError> {
        self.pooled(|shared| {
            let root = shared.paths.root();
            let stat = rustix::fs::statvfs(root).map_err(|e| fault(root, e.into()))?;
            // Without what is kept for root, as it is in what is free.
            let kept = stat.f_bfree.saturating_sub(stat.f_bavail);
            let blocks = stat.f_blocks.saturating_sub(kept);
            Ok(Some(Room {
                free: stat.f_bavail.saturating_mul(stat.f_frsize),
                total: blocks.saturating_mul(stat.f_frsize),
            }))
        })
        .await
    }

    async fn usage(&self, files: &[File]) -> Result<Vec<Usage>, BlobError> {
        let files = files.to_vec();
        self.pooled(move |shared| files.iter().map(|file| shared.usage(file)).collect())
            .await
    }

    fn name(&self, file: &File) -> String {
        self.path_of(file).display().to_string()
    }

    fn chosen(&self) -> Option<&dyn ChoosePaths> {
        Some(self)
    }

    fn join(&self) -> Option<&dyn JoinParts> {
        Some(self)
    }
}
