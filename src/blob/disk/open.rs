//! The files that are open for writing: a bounded number of them, whatever the number of uploads.
//!
//! A writer whose file was closed, because it was silent the longest, opens it again at its next write. And a file (or
//! segment of one) has one writer: opening another takes the file from the one before, so that a write of its that is
//! still on the way cannot land among the new one's bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::io::Errno;

use super::tip::Tip;
use crate::blob::File as Name;
use crate::blob::ranges::Target;

/// What one writer has of its file, shared with the store, which closes it or takes reserved space back.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) target: Target,
    pub(super) path: PathBuf,
    /// When it was last written, in microseconds of the store's life; 0 while the file is closed.
    used: AtomicU64,
    held: Mutex<Held>,
}

/// Locked for the length of a system call, so never waited for in a task: there it is tried.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) tip: Tip,
    pub(super) file: Option<Counted>,
    /// The name in its directory is known to survive a power cut.
    pub(super) named: bool,
    /// The writer is gone, or another one took its place.
    pub(super) retired: bool,
}

/// An open file that counts.
#[derive(Debug)]
pub(super) struct Counted {
    file: File,
    open: Arc<AtomicUsize>,
}

impl std::ops::Deref for Counted {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, if nobody has it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Held>> {
        self.held.try_lock().ok()
    }

    /// Closes the file for good; a write that comes later is refused.
    pub(super) fn retire(&self) {
        let mut held = self.lock();
        held.retired = true;
        self.used.store(0, Ordering::Relaxed);
        held.file = None;
    }

    /// Closes the file until it is written again. `false` if it is being written, or closed.
    fn close_if_silent(&self) -> bool {
        let Some(mut held) = self.try_lock() else {
            return false;
        };
        let Held { tip, file, .. } = &mut *held;
        let Some(closing) = file.take() else {
            return false;
        };
        // Should this fail, a later cut of the blob still frees the tail.
        let _ = tip.release(&closing);
        self.used.store(0, Ordering::Relaxed);
        true
    }
}

/// All slots of a store.
#[derive(Debug)]
pub(super) struct OpenFiles {
    max: usize,
    born: Instant,
    open: Arc<AtomicUsize>,
    /// Held for look-ups only, never during a system call.
    slots: Mutex<HashMap<Target, Arc<Slot>>>,
}

impl OpenFiles {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            born: Instant::now(),
            open: Arc::default(),
            slots: Mutex::default(),
        }
    }

    /// How many files are open for writing.
    pub(super) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Target, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a writer of `target` would take the place of no other, nor another's file be closed for its.
    pub(super) fn is_free(&self, target: &Target) -> bool {
        self.count() < self.max && !self.slots().contains_key(target)
    }

    /// A slot for a new writer of `target`; the writer before it, if any, is cut off first.
    pub(super) fn enter(&self, target: Target, path: PathBuf, tip: Tip) -> Arc<Slot> {
        let slot = Arc::new(Slot {
            target: target.clone(),
            path,
            used: AtomicU64::new(0),
            held: Mutex::new(Held {
                tip,
                file: None,
                named: false,
                retired: false,
            }),
        });
        let before = self.slots().insert(target, slot.clone());
        if let Some(before) = before {
            before.retire();
        }
        slot
    }

    /// Cuts off the writers of `file`, and of segments in it.
    pub(super) fn expel(&self, file: &Name) {
        let is_of = |target: &Target, _: &mut Arc<Slot>| target.file == *file;
        let before: Vec<_> = self.slots().extract_if(is_of).collect();
        for (_, slot) in before {
            slot.retire();
        }
    }

    /// Ends a slot, whose writer is done.
    pub(super) fn leave(&self, slot: &Arc<Slot>) {
        slot.retire();
        let mut slots = self.slots();
        if slots
            .get(&slot.target)
            .is_some_and(|now| Arc::ptr_eq(now, slot))
        {
            slots.remove(&slot.target);
        }
    }

    /// Notes that the slot is written now.
    pub(super) fn touch(&self, slot: &Slot, now: Instant) {
        let age = now.saturating_duration_since(self.born).as_micros();
        let age = u64::try_from(age).unwrap_or(u64::MAX).max(1);
        slot.used.store(age, Ordering::Relaxed);
    }

    /// Opens the file of a writer, and closes silent ones so that not too many are open. Files being written at this
    /// instant are not closed, even if that leaves too many.
    pub(super) fn open_counted(
        &self,
        opening: impl FnMut() -> io::Result<File>,
    ) -> io::Result<Counted> {
        loop {
            let before = self.open.fetch_add(1, Ordering::Relaxed);
            if before < self.max {
                break;
            }
            self.open.fetch_sub(1, Ordering::Relaxed);
            if self.close_silent((before - self.max + 1).max(self.max / 8)) == 0 {
                self.open.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        match self.open(opening) {
            Ok(file) => Ok(Counted {
                file,
                open: self.open.clone(),
            }),
            Err(e) => {
                self.open.fetch_sub(1, Ordering::Relaxed);
                Err(e)
            }
        }
    }

    /// Opens any file; when the process may have no more of them, silent writers' are closed.
    pub(super) fn open<T>(&self, mut opening: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match opening() {
                Err(e) if too_many(&e) && self.close_silent((self.count() / 8).max(1)) > 0 => {}
                done => return done,
            }
        }
    }

    /// Closes up to `n` files, those silent the longest first. Returns how many it closed.
    fn close_silent(&self, n: usize) -> usize {
        let mut silent: Vec<_> = self
            .slots()
            .values()
            .filter_map(|slot| match slot.used.load(Ordering::Relaxed) {
                0 => None,
                used => Some((used, slot.clone())),
            })
            .collect();
        // A few more than wanted are looked at, since some may be busy.
        silent.sort_unstable_by_key(|(used, _)| *used);
        let closed = silent.iter().filter(|(_, slot)| slot.close_if_silent());
        closed.take(n).count()
    }

    /// Gives back what all writers but those now writing have reserved ahead.
    pub(super) fn release_tails(&self) {
        let all: Vec<_> = self.slots().values().cloned().collect();
        for slot in all {
            if let Some(mut held) = slot.try_lock() {
                let Held { tip, file, .. } = &mut *held;
                if let Some(file) = file {
                    let _ = tip.release(file);
                }
            }
        }
    }
}

fn too_many(e: &io::Error) -> bool {
    matches!(Errno::from_io_error(e), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(open: &OpenFiles, name: &str) -> Arc<Slot> {
        let target = Target::whole(Name::Upload(name.parse().unwrap()));
        let tip = Tip::new(&target, 0, None);
        let slot = open.enter(target, PathBuf::new(), tip);
        slot.lock().file = Some(open.open_counted(tempfile::tempfile).unwrap());
        open.touch(&slot, Instant::now());
        slot
    }

    #[test]
    fn when_the_process_has_too_many_files_silent_ones_are_closed() {
        let open = OpenFiles::new(10);
        let (first, second) = (enter(&open, "a"), enter(&open, "b"));
        open.touch(&first, Instant::now() + std::time::Duration::from_secs(1));
        let busy = enter(&open, "c");
        let writing = busy.lock();
        let file = open.open(|| {
            if open.count() > 2 {
                return Err(Errno::MFILE.into());
            }
            tempfile::tempfile()
        });
        file.unwrap();
        assert!(first.lock().file.is_some() && second.lock().file.is_none());
        let never: io::Result<()> = open.open(|| Err(Errno::NFILE.into()));
        assert!(too_many(&never.unwrap_err()));
        assert!(first.lock().file.is_none() && writing.file.is_some());
        assert_eq!(open.count(), 1);
    }

    #[test]
    fn a_slot_that_was_replaced_does_not_take_the_new_one_along() {
        let open = OpenFiles::new(10);
        let (old, new) = (enter(&open, "a"), enter(&open, "a"));
        assert!(old.lock().retired && old.lock().file.is_none());
        open.leave(&old);
        assert!(new.lock().file.is_some());
        open.expel(&new.target.file);
        assert!(new.lock().retired);
        assert_eq!((open.count(), open.slots().len()), (0, 0));
    }
}
