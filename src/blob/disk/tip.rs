//! The growing end of a blob in its file: where the next byte goes, and the space reserved ahead of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{AtFlags, FallocateFlags, SeekFrom, StatxFlags, fallocate, seek, statx};
use rustix::io::Errno;

use super::sys::retried;
use crate::blob::ranges::Target;

/// Space is reserved so far ahead at least, and at most.
const WINDOW: (u64, u64) = (256 << 10, 64 << 20);

/// A reserved tail below this is left: a file system's own bookkeeping looks the same. No file system has larger blocks.
pub(super) const WORTH: u64 = 64 << 10;

/// No file is longer.
const LONGEST: u64 = i64::MAX as u64;

/// All positions are in the file, not in the blob.
#[derive(Debug)]
pub(super) struct Tip {
    /// The blob's first byte.
    start: u64,
    /// Nothing is written from here on.
    end: u64,
    /// The blob is the whole file: it may be cut.
    own: bool,
    /// The next byte.
    at: u64,
    /// Space was asked for up to here, and may lie unused past `at`.
    reserved: u64,
    /// Nothing is reserved from here on.
    bound: u64,
}

impl Tip {
    /// At `at` of the blob in `target`, of which `length` bytes are to come in all.
    pub(super) fn new(target: &Target, at: u64, length: Option<u64>) -> Self {
        let upto = |len: Option<u64>| len.map_or(LONGEST, |len| target.start.saturating_add(len));
        let at = target.start.saturating_add(at).min(LONGEST);
        let end = upto(target.len).min(LONGEST);
        Self {
            start: target.start,
            end,
            own: target.len.is_none(),
            at,
            reserved: at,
            bound: upto(length).min(end),
        }
    }

    /// Offset in the blob of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.at - self.start
    }

    /// How long the file must be for the bytes before the next one to be there.
    pub(super) fn needs(&self) -> u64 {
        if self.at == self.start { 0 } else { self.at }
    }

    /// How many more bytes may be written.
    pub(super) fn room(&self) -> u64 {
        self.end - self.at
    }

    /// Goes on with a tail that was reserved by a writer before this one.
    pub(super) fn inherit(&mut self, meta: &std::fs::Metadata) {
        if self.own && meta.len() == self.at && has_tail(meta) {
            self.reserved = meta.blocks().saturating_mul(512);
        }
    }

    /// Writes `bytes`, for which there must be room. An error leaves the tip after what was written before it; it is
    /// `NotFound` where the bytes before are gone, since behind a hole the file's length would vouch for them.
    pub(super) fn write(&mut self, file: &File, mut bytes: &[u8]) -> io::Result<()> {
        // No more than these two are asked for: over NFS the times would have every write wait for the ones before it.
        let asked = StatxFlags::NLINK | StatxFlags::SIZE;
        let found = statx(file, "", AtFlags::EMPTY_PATH, asked)?;
        if found.stx_nlink == 0 || found.stx_size < self.needs() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.reserve(file, bytes.len() as u64);
        while !bytes.is_empty() {
            let n = retried(|| file.write_at(bytes, self.at))?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.at += n as u64;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Reserves space behind the next `more` bytes: as much again as the blob has by then, within [`WINDOW`]. Only for
    /// speed, so a failure just ends it: the write will tell if the disk is full.
    fn reserve(&mut self, file: &File, more: u64) {
        let next = self.at.saturating_add(more);
        let goal = if self.own {
            next.saturating_add(window(next - self.start))
        } else {
            // A range of a larger file is no longer than it is: one call for all of it.
            self.bound
        };
        let goal = goal.min(self.bound);
        if next <= self.reserved || goal <= next {
            return;
        }
        let from = self.reserved.max(self.at);
        // What failed for want of space may have reserved some of it: it counts as reserved, to be released.
        self.reserved = goal;
        if fallocate(file, FallocateFlags::KEEP_SIZE, from, goal - from).is_err() {
            self.bound = 0;
        }
    }

    /// Whether no reserved space is to be given back.
    pub(super) fn is_released(&self) -> bool {
        self.reserved <= self.at
    }

    /// Gives reserved space back. In a larger file only as far as nothing was ever written there, and not past the file's
    /// end; it stays until it is written, or the file removed.
    pub(super) fn release(&mut self, file: &File) -> io::Result<()> {
        if !self.is_released() {
            if self.own {
                retried(|| file.set_len(self.at))?;
            } else {
                self.punch(file);
            }
            self.reserved = self.at;
        }
        Ok(())
    }

    /// Makes a hole of the reserved space, if it holds no data.
    fn punch(&self, file: &File) {
        let from = self.at.next_multiple_of(WORTH);
        let is_hole = match seek(file, SeekFrom::Data(from)) {
            Ok(data) => data >= self.reserved,
            Err(e) => e == Errno::NXIO,
        };
        if is_hole && from < self.reserved {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = fallocate(file, hole, from, self.reserved - from);
        }
    }

    /// Goes back to `to` of the blob, whose file was cut there; in a larger file the bytes past it are only forgotten.
    pub(super) fn cut_to(&mut self, to: u64) {
        self.at = self.at.min(self.start.saturating_add(to));
        if self.own {
            self.reserved = self.at;
        }
    }
}

/// How far ahead of `position` in the blob.
fn window(position: u64) -> u64 {
    let doubled = position.checked_next_power_of_two().unwrap_or(WINDOW.1);
    doubled.clamp(WINDOW.0, WINDOW.1)
}

/// Whether so much more is allocated than the file's length that it must have been reserved.
pub(super) fn has_tail(meta: &std::fs::Metadata) -> bool {
    let used = meta.len().next_multiple_of(meta.blksize().max(1));
    meta.blocks().saturating_mul(512) >= used.saturating_add(WORTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::File as Name;

    fn target(start: u64, len: Option<u64>) -> Target {
        let file = Name::Upload("x".parse().unwrap());
        Target { file, start, len }
    }

    #[test]
    fn windows_double_with_the_upload() {
        for (position, expected) in [
            (0, 256 << 10),
            (256 << 10, 256 << 10),
            ((256 << 10) + 1, 512 << 10),
            (1 << 20, 1 << 20),
            (1 << 30, 64 << 20),
            (u64::MAX, 64 << 20),
        ] {
            assert_eq!(window(position), expected, "{position}");
        }
    }

    #[test]
    fn space_is_reserved_ahead_but_never_past_the_length() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let file = named.as_file();
        let mut tip = Tip::new(&target(0, None), 0, Some(700_000));
        let frame = vec![7; 100_000];
        tip.write(file, &frame).unwrap();
        assert_eq!(tip.reserved, 100_000 + (256 << 10));
        for _ in 1..7 {
            tip.write(file, &frame).unwrap();
        }
        assert_eq!((tip.position(), tip.reserved), (700_000, 700_000));
        tip.release(file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 700_000);
    }

    #[test]
    fn the_longest_lengths_break_nothing() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let file = named.as_file();
        for length in [LONGEST, u64::MAX] {
            let mut tip = Tip::new(&target(0, None), 0, Some(length));
            tip.write(file, b"some").unwrap();
            assert_eq!(tip.position(), 4);
            tip.release(file).unwrap();
        }
        let mut last = Tip::new(&target(LONGEST - 4, Some(4)), 0, Some(4));
        assert_eq!(last.room(), 4);
        last.reserve(file, 4);
        assert_eq!(Tip::new(&target(1, Some(4)), u64::MAX, None).at, LONGEST);
    }

    #[test]
    fn nothing_is_written_behind_a_hole_or_into_a_file_without_a_name() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let mut tip = Tip::new(&target(0, None), 0, Some(100));
        tip.write(named.as_file(), b"some").unwrap();
        named.as_file().set_len(3).unwrap();
        let refused = tip.write(named.as_file(), b"more").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        assert_eq!(named.as_file().metadata().unwrap().len(), 3);
        named.as_file().set_len(4).unwrap();
        let file = named.reopen().unwrap();
        named.close().unwrap();
        let refused = tip.write(&file, b"more").unwrap_err();
        assert_eq!(
            (refused.kind(), tip.position()),
            (io::ErrorKind::NotFound, 4)
        );
    }
}
