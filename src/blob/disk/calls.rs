//! The store's calls that wait for the disk, to be made in the pool.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::names::sync_file;
use super::sys::fault;
use super::{Shared, access, tip};
use crate::blob::{Blob, BlobError, File, Segment, Usage};
use crate::upload::UploadId;

/// The sidecar, and the list of a joined upload.
type About = (Vec<u8>, Option<Vec<Segment>>);

impl Shared {
    /// Does what needs space; on a full disk once more, after what is reserved ahead for others was given back.
    pub(super) fn with_space<T>(
        &self,
        mut act: impl FnMut() -> Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        match act() {
            Err(BlobError::Full) => {
                self.open.release_tails();
                act()
            }
            done => done,
        }
    }

    pub(super) fn create(&self, id: &UploadId, about: &[u8], empty: bool) -> Result<(), BlobError> {
        let path = self.paths.of(&File::About(id.clone()));
        let mut options = self.names.options();
        options.write(true).create_new(true);
        let open = || self.names.in_shard(&path, || options.open(&path));
        let mut file = self.open.open(open).map_err(|e| fault(&path, e))?;
        let made = file.write_all(about).map_err(|e| fault(&path, e));
        let made = made.and_then(|()| {
            if empty {
                access::make_empty(self, id)?;
            }
            Ok(())
        });
        if made.is_err() {
            // Nothing was created, so nothing may be found. Should even this fail, the sweep takes it for an orphan.
            let _ = fs::remove_file(&path);
        }
        made
    }

    pub(super) fn usage(&self, file: &File) -> Result<Usage, BlobError> {
        Ok(self.meta(file)?.map_or_else(Usage::default, |meta| Usage {
            allocated: meta.blocks() * 512,
            names: meta.nlink(),
        }))
    }

    pub(super) fn amend(&self, id: &UploadId, about: &[u8]) -> Result<(), BlobError> {
        let path = self.paths.of(&File::About(id.clone()));
        let draft = draft_of(&path);
        let mut options = self.names.options();
        options.write(true).create(true).truncate(true);
        let open = || self.names.in_shard(&path, || options.open(&draft));
        let mut file = self.open.open(open).map_err(|e| fault(&draft, e))?;
        let made = file.write_all(about).map_err(|e| fault(&draft, e));
        // A name that is on the disk before its content would stand for an empty file.
        let made = made.and_then(|()| file.sync_all().map_err(|e| fault(&draft, e)));
        let made = made.and_then(|()| fs::rename(&draft, &path).map_err(|e| fault(&path, e)));
        if made.is_err() {
            let _ = fs::remove_file(&draft);
        }
        made
    }

    pub(super) fn stored(&self, blob: &Blob) -> Result<u64, BlobError> {
        let len_of = |file: &File| Ok(self.meta(file)?.map_or(0, |meta| meta.len()));
        let list = match blob {
            Blob::Own(id) => return len_of(&File::Upload(id.clone())),
            Blob::Segments(list) => list,
        };
        let mut stored: u64 = 0;
        for segment in list {
            let there = len_of(&segment.file)?.saturating_sub(segment.start);
            stored = stored.saturating_add(there.min(segment.len));
            if there < segment.len {
                break;
            }
        }
        Ok(stored)
    }

    pub(super) fn cut(&self, id: &UploadId, to: u64) -> Result<(), BlobError> {
        let name = File::Upload(id.clone());
        let path = self.paths.of(&name);
        self.open.expel(&name);
        let open = || fs::File::options().write(true).open(&path);
        let file = match self.open.open(open) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(|e| fault(&path, e))?,
        };
        let meta = file.metadata().map_err(|e| fault(&path, e))?;
        if meta.len() > to && meta.nlink() > 1 {
            let kept = Segment {
                file: name,
                start: 0,
                len: to,
            };
            self.copy(&File::Draft(id.clone()), &[kept], 0)?;
            self.finish(id)
        } else if meta.len() > to {
            access::shrink(&path, &file, to)
        } else if meta.nlink() == 1 && tip::has_tail(&meta) {
            file.set_len(meta.len()).map_err(|e| fault(&path, e))
        } else {
            Ok(())
        }
    }

    /// Syncs the files that bytes of `segments` lie in, which must be there.
    pub(super) fn sync_bytes(&self, files: &[File]) -> Result<(), BlobError> {
        for file in files {
            let synced = self.open_read(file)?.sync_data();
            synced.map_err(|e| fault(&self.paths.of(file), e))?;
        }
        Ok(())
    }

    /// Syncs what may be missing, since an upload of no bytes needs no file, nor one that was never created a sidecar;
    /// then the names of it and of `synced`.
    pub(super) fn sync_rest(&self, rest: &[File], synced: &[File]) -> Result<(), BlobError> {
        let mut named = Vec::with_capacity(synced.len() + rest.len());
        for file in synced {
            match file {
                File::Chosen(_, path) => self.sync_chosen(path)?,
                file => named.push(self.paths.of(file)),
            }
        }
        for file in rest {
            let path = self.paths.of(file);
            match sync_file(&self.open, &path) {
                Ok(()) => named.push(path),
                Err(BlobError::Lost) => {}
                Err(e) => return Err(e),
            }
        }
        self.names
            .sync(&self.open, named.iter().map(PathBuf::as_path))
    }

    pub(super) fn about(&self, id: &UploadId) -> Result<Option<About>, BlobError> {
        let read = |file| {
            let path = self.paths.of(&file);
            match self.open.open(|| fs::read(&path)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                Err(e) => Err(fault(&path, e)),
            }
        };
        let Some(about) = read(File::About(id.clone()))? else {
            return Ok(None);
        };
        // A list that was cut short is of a join that nobody was told of.
        let list = read(File::List(id.clone()))?;
        let list = list.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Some((about, list)))
    }

    pub(super) fn remove(&self, files: Vec<File>) -> Result<(), BlobError> {
        for file in files {
            if let File::Chosen(_, path) = &file {
                self.remove_chosen(path)?;
                continue;
            }
            let path = self.paths.of(&file);
            remove_if_there(&path)?;
            if matches!(file, File::About(_)) {
                remove_if_there(&draft_of(&path))?;
            }
            if matches!(file, File::Upload(_)) {
                // What is written now would go with the file.
                self.open.expel(&file);
            }
        }
        Ok(())
    }
}

/// What is to take a sidecar's place. No file of the store ends so: what a crash leaves of it is written over by the next, and
/// goes with the sidecar.
fn draft_of(about: &Path) -> PathBuf {
    let mut draft = about.as_os_str().to_owned();
    draft.push("~");
    PathBuf::from(draft)
}

/// Removes a file, if it is there.
pub(super) fn remove_if_there(path: &Path) -> Result<(), BlobError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(fault(path, e)),
        _ => Ok(()),
    }
}
