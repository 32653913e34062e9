//! Bytes that are kept for people to look at, and given to nobody: `quarantine/<id>`, in a directory of the server's user alone.

use std::fs::{self, DirBuilder, File as OpenFile, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use super::Shared;
use super::sys::{fault, lost};
use crate::blob::{Blob, BlobError, File};
use crate::upload::UploadId;

/// Below the store's directory.
const DIR: &str = "quarantine";

pub(super) fn set_aside(shared: &Shared, id: &UploadId, blob: &Blob) -> Result<String, BlobError> {
    let dir = shared.paths.root().join(DIR);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|e| fault(&dir, e))?;
    let place = dir.join(id.as_str().replace('/', ","));
    match blob {
        Blob::Own(own) => {
            let file = shared.paths.of(&File::Upload(own.clone()));
            fs::rename(&file, &place).map_err(|e| lost(&file, e))?;
        }
        Blob::Segments(segments) => {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut copy = options.open(&place).map_err(|e| fault(&place, e))?;
            for segment in segments {
                let path = shared.paths.of(&segment.file);
                let mut from = OpenFile::open(&path).map_err(|e| lost(&path, e))?;
                from.seek(SeekFrom::Start(segment.start))
                    .map_err(|e| fault(&path, e))?;
                io::copy(&mut from.take(segment.len), &mut copy).map_err(|e| fault(&place, e))?;
            }
        }
    }
    Ok(place.display().to_string())
}
