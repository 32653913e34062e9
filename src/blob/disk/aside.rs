//! Bytes that are kept for people to look at, and given to nobody: `quarantine/<id>`, in a directory of the server's user alone.
//! They are on the disk before the answer, since what they came from goes next.

use std::fs::{self, DirBuilder, File as OpenFile, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use super::Shared;
use super::names::sync_dir;
use super::sys::{fault, lost};
use crate::blob::{Blob, BlobError, File, Segment};
use crate::upload::UploadId;

/// Below the store's directory.
const DIR: &str = "quarantine";

pub(super) fn set_aside(shared: &Shared, id: &UploadId, blob: &Blob) -> Result<String, BlobError> {
    let root = shared.paths.root();
    let dir = root.join(DIR);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|e| fault(&dir, e))?;
    let name = id.as_str().replace('/', ",");
    let place = dir.join(&name);
    let moved = match blob {
        Blob::Own(own) => {
            let file = shared.paths.of(&File::Upload(own.clone()));
            // From now on it is kept, however long it waited for this.
            OpenFile::open(&file)
                .and_then(|file| file.set_modified(SystemTime::now()))
                .and_then(|()| fs::rename(&file, &place))
                .map_err(|e| lost(&file, e))
        }
        Blob::Segments(segments) => {
            // No id begins like that.
            let draft = dir.join(format!(",{name}"));
            let copied = copy(shared, segments, &draft)
                .and_then(|()| fs::rename(&draft, &place).map_err(|e| fault(&place, e)));
            if copied.is_err() {
                let _ = fs::remove_file(&draft);
            }
            copied
        }
    };
    match moved {
        // Moved before, by one who was cut short after that.
        Err(BlobError::Lost) if exists(&place)? => {}
        moved => moved?,
    }
    let file = OpenFile::open(&place).map_err(|e| fault(&place, e))?;
    file.sync_all().map_err(|e| fault(&place, e))?;
    sync_dir(&shared.open, &dir)?;
    sync_dir(&shared.open, root)?;
    Ok(place.display().to_string())
}

/// Removes the plain files that were last written before this moment.
pub(super) fn clear(shared: &Shared, before: SystemTime) -> Result<(usize, u64), BlobError> {
    let dir = shared.paths.root().join(DIR);
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok((0, 0)),
        entries => entries.map_err(|e| fault(&dir, e))?,
    };
    let (mut removed, mut freed) = (0, 0);
    for entry in entries {
        let path = entry.map_err(|e| fault(&dir, e))?.path();
        let len = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() && meta.modified().is_ok_and(|time| time < before) => {
                meta.len()
            }
            // What else is there, people have put there; and they may remove it meanwhile.
            Ok(_) => continue,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(fault(&path, e)),
        };
        match fs::remove_file(&path) {
            Ok(()) => {
                removed += 1;
                freed += len;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(fault(&path, e)),
        }
    }
    Ok((removed, freed))
}

fn exists(path: &Path) -> Result<bool, BlobError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(fault(path, e)),
    }
}

fn copy(shared: &Shared, segments: &[Segment], to: &Path) -> Result<(), BlobError> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut copy = options.open(to).map_err(|e| fault(to, e))?;
    for segment in segments {
        let path = shared.paths.of(&segment.file);
        let mut from = shared.open_read(&segment.file)?;
        from.seek(SeekFrom::Start(segment.start))
            .map_err(|e| fault(&path, e))?;
        io::copy(&mut from.take(segment.len), &mut copy).map_err(|e| fault(to, e))?;
    }
    copy.sync_all().map_err(|e| fault(to, e))
}
