//! Files by path: making them with their shard, and making their names survive a power cut.

use std::collections::{BTreeSet, HashSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use super::sys::{fault, lost};
use super::{DiskOptions, open::OpenFiles};
use crate::blob::BlobError;

/// Opens a directory, and nothing else.
pub(super) fn open_dir(dir: &Path) -> io::Result<File> {
    let only_dirs = i32::try_from(OFlags::DIRECTORY.bits()).map_err(io::Error::other)?;
    OpenOptions::new()
        .read(true)
        .custom_flags(only_dirs)
        .open(dir)
}

/// Makes files and directories with the store's permissions, and syncs names.
#[derive(Debug)]
pub(super) struct Names {
    dir_mode: u32,
    file_mode: u32,
    /// Shard directories whose own name is known to survive a power cut.
    anchored: Mutex<HashSet<PathBuf>>,
}

impl Names {
    pub(super) fn new(options: &DiskOptions) -> Self {
        Self {
            dir_mode: options.dir_mode,
            file_mode: options.file_mode,
            anchored: Mutex::default(),
        }
    }

    /// What files of the store are opened with.
    pub(super) fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.mode(self.file_mode);
        options
    }

    /// Makes a directory and those above it; one that is there is fine.
    pub(super) fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(self.dir_mode)
            .create(dir)
    }

    /// Does what needs the shard of `path`, and only if that fails makes it first.
    pub(super) fn in_shard<T>(
        &self,
        path: &Path,
        mut act: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        match (act(), path.parent()) {
            (Err(e), Some(shard)) if e.kind() == io::ErrorKind::NotFound => {
                self.make_dirs(shard)?;
                act()
            }
            (done, _) => done,
        }
    }

    /// Makes the names of `paths` survive a power cut: syncs their directories, each once.
    pub(super) fn sync<'a>(
        &self,
        open: &OpenFiles,
        paths: impl IntoIterator<Item = &'a Path>,
    ) -> Result<(), BlobError> {
        let shards: BTreeSet<_> = paths.into_iter().filter_map(Path::parent).collect();
        for shard in shards {
            sync_dir(open, shard)?;
            let anchored = || self.anchored.lock().unwrap_or_else(PoisonError::into_inner);
            let known = anchored().contains(shard);
            if let (false, Some(tree)) = (known, shard.parent()) {
                sync_dir(open, tree)?;
                anchored().insert(shard.to_owned());
            }
        }
        Ok(())
    }
}

/// Syncs a directory: the names in it.
pub(super) fn sync_dir(open: &OpenFiles, dir: &Path) -> Result<(), BlobError> {
    let file = open.open(|| open_dir(dir)).map_err(|e| fault(dir, e))?;
    file.sync_all().map_err(|e| fault(dir, e))
}

/// Syncs a file's bytes and length.
pub(super) fn sync_file(open: &OpenFiles, path: &Path) -> Result<(), BlobError> {
    let file = open.open(|| File::open(path)).map_err(|e| lost(path, e))?;
    file.sync_data().map_err(|e| fault(path, e))
}
