//! A writer's file, opened, written and given back: the half of [`super::writer`] that waits for the disk.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;

use super::Shared;
use super::open::{Held, Slot};
use super::sys::{fault, is_full, lost, retried};
use super::tip::Tip;
use crate::blob::ranges::Target;
use crate::blob::{BlobError, File as Name};
use crate::pace::Work;
use crate::upload::UploadId;

/// Makes the file of an upload without bytes.
pub(super) fn make_empty(shared: &Shared, id: &UploadId) -> Result<(), BlobError> {
    let target = Target::whole(Name::Upload(id.clone()));
    let path = shared.paths.of(&target.file);
    let tip = Tip::new(&target, 0, Some(0));
    let slot = shared.open.enter(target, path, tip);
    let made = prepare(shared, &slot, 0, false).map(drop);
    shared.open.leave(&slot);
    made
}

/// Opens the file of a new writer, makes it if there is none yet, and cuts what lies behind `at`. `false`: it was to be brief,
/// and what is to be cut may be much.
pub(super) fn prepare(
    shared: &Shared,
    slot: &Slot,
    at: u64,
    brief: bool,
) -> Result<bool, BlobError> {
    if matches!(slot.target.file, Name::Chosen(..)) {
        return Err(BlobError::Fixed);
    }
    let path = slot.path.as_path();
    let open = || {
        shared.open.open_counted(|| {
            let mut options = shared.names.options();
            options.write(true);
            // Not truncated and not exclusive: what a writer before left is looked at first.
            if at == 0 && matches!(slot.target.file, Name::Upload(_)) {
                options.create(true);
                shared.names.in_shard(path, || options.open(path))
            } else {
                options.open(path)
            }
        })
    };
    let mut held = slot.lock();
    let mut file = open().map_err(|e| lost(path, e))?;
    let meta = file.metadata().map_err(|e| fault(path, e))?;
    if meta.len() < held.tip.needs() {
        return Err(BlobError::Lost);
    }
    if slot.target.len.is_none() && meta.len() > at {
        if brief {
            return Ok(false);
        }
        if at == 0 && meta.nlink() > 1 {
            // A file left from an upload of this name, which a join still reads: the upload gets another.
            std::fs::remove_file(path).map_err(|e| fault(path, e))?;
            file = open().map_err(|e| fault(path, e))?;
        } else {
            shrink(path, &file, at)?;
        }
    } else {
        held.tip.inherit(&meta);
    }
    held.file = Some(file);
    shared.open.touch(slot, Instant::now());
    Ok(true)
}

/// The open file, opened again if it was closed meanwhile.
pub(super) fn opened<'a>(
    shared: &Shared,
    slot: &Slot,
    held: &'a mut Held,
) -> Result<&'a File, BlobError> {
    let path = slot.path.as_path();
    if held.retired {
        return Err(fault(path, Errno::STALE.into()));
    }
    let file = if let Some(file) = held.file.take() {
        file
    } else {
        let reopen = || File::options().write(true).open(path);
        let file = shared.open.open_counted(reopen);
        let file = file.map_err(|e| lost(path, e))?;
        let meta = file.metadata().map_err(|e| fault(path, e))?;
        if meta.len() < held.tip.needs() {
            return Err(BlobError::Lost);
        }
        shared.open.touch(slot, Instant::now());
        file
    };
    Ok(held.file.insert(file))
}

/// Writes what there is room for. On a full disk, what other uploads have reserved ahead is given back first.
pub(super) fn write_pooled(
    shared: &Shared,
    slot: &Slot,
    held: &mut Held,
    bytes: &[u8],
) -> Result<(), BlobError> {
    opened(shared, slot, held)?;
    let Held { tip, file, .. } = held;
    let Some(file) = file else {
        return Err(BlobError::Lost);
    };
    let room = usize::try_from(tip.room()).unwrap_or(usize::MAX);
    let fits = &bytes[..bytes.len().min(room)];
    let first = tip.position();
    shared.open.touch(slot, Instant::now());
    let mut result = shared.pace.pooled(Work::Bytes, || tip.write(file, fits));
    if result.as_ref().is_err_and(is_full) {
        shared.open.release_tails();
        let written = usize::try_from(tip.position() - first).unwrap_or(usize::MAX);
        result = tip.write(file, &fits[written.min(fits.len())..]);
    }
    result.map_err(|e| lost(&slot.path, e))?;
    if fits.len() < bytes.len() {
        return Err(BlobError::Fixed);
    }
    Ok(())
}

/// Gives reserved space back, if the file is still the writer's.
pub(super) fn release(slot: &Slot) -> Result<(), BlobError> {
    let mut held = slot.lock();
    let Held { tip, file, .. } = &mut *held;
    match file {
        Some(file) => tip.release(file).map_err(|e| fault(&slot.path, e)),
        None => Ok(()),
    }
}

/// Cuts a file, unless a join has a name for it as well: what a final is made of stays.
pub(super) fn shrink(path: &Path, file: &File, to: u64) -> Result<(), BlobError> {
    let meta = file.metadata().map_err(|e| fault(path, e))?;
    if meta.nlink() > 1 {
        return Err(BlobError::Fixed);
    }
    retried(|| file.set_len(to)).map_err(|e| fault(path, e))
}
