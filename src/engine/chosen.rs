//! Uploads whose hook chose where the finished file lies. Their bytes come in as everybody's do. Once they are complete, and one
//! file, that file gets the chosen name as well, the record is switched to it, and the first name goes: each step survives a
//! power cut before the next begins, and until then the upload is one that is being assembled.
//!
//! A path is one upload's from its creation until its files are gone, whoever removes them, so that no upload ever reads or
//! removes another one's file.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use super::end::all_files;
use super::table::{Entry, Image};
use super::{Inner, More, load};
use crate::blob::{Blob, BlobError, ChosenPath, File, Segment};
use crate::error::Reject;
use crate::state::{Change, Detail, Mark, Promise};
use crate::upload::{Record, Status, UploadId};

/// Which path is whose.
#[derive(Default)]
pub(super) struct Paths(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    by_path: BTreeMap<ChosenPath, UploadId>,
    by_id: HashMap<UploadId, ChosenPath>,
}

impl Paths {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which path an upload has.
    pub(super) fn of(&self, id: &UploadId) -> Option<ChosenPath> {
        self.taken().by_id.get(id).cloned()
    }

    /// Gives a path to an upload. Not where another one has it, or one that would have to be a directory above it, or it
    /// above that.
    pub(super) fn take(&self, id: &UploadId, path: &ChosenPath) -> bool {
        let mut taken = self.taken();
        let mut above = path.above().filter_map(|dir| dir.parse().ok());
        let below = (taken.by_path)
            .range(path.clone()..)
            .skip_while(|(other, _)| *other == path)
            .map(|(other, _)| other.as_str())
            // Names that go on, as `a-b` after `a`, may lie between a directory and what is in it.
            .take_while(|other| other.starts_with(path.as_str()))
            .any(|other| other.as_bytes().get(path.as_str().len()) == Some(&b'/'));
        if below
            || taken.by_path.contains_key(path)
            || above.any(|dir: ChosenPath| taken.by_path.contains_key(&dir))
        {
            return false;
        }
        taken.by_path.insert(path.clone(), id.clone());
        taken.by_id.insert(id.clone(), path.clone());
        true
    }

    pub(super) fn release(&self, id: &UploadId) {
        let mut taken = self.taken();
        if let Some(path) = taken.by_id.remove(id) {
            taken.by_path.remove(&path);
        }
    }
}

/// A path that is kept for an upload that is being created.
pub(super) struct Claim<'a>(Option<(&'a Paths, UploadId)>);

impl Claim<'_> {
    /// The upload is there.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some((paths, id)) = &self.0 {
            paths.release(id);
        }
    }
}

impl Image {
    /// A record that would say completed says that its file is still to be moved, where it is. Whether that is so: then it has
    /// to survive a power cut, so that whoever finds a file at the path finds a complete upload that it belongs to.
    pub(super) fn move_first(&self, record: &mut Record, marks: &mut Vec<(Mark, bool)>) -> bool {
        let is_to_move = self.path.is_some() && !self.blob.is_chosen();
        let moves = record.status == Status::Completed && is_to_move;
        if moves {
            record.status = Status::Assembling;
            marks.push((Mark::Assembling, true));
        }
        moves
    }
}

/// Of a list, its segments.
pub(super) fn segments_of(blob: &Blob) -> Option<&[Segment]> {
    match blob {
        Blob::Segments(segments) => Some(segments),
        Blob::Own(_) => None,
    }
}

/// What the state store keeps of a chosen path, beside a mark.
pub(super) fn noted(path: &ChosenPath) -> (Detail, Option<Vec<u8>>) {
    (Detail::Path, Some(path.as_str().as_bytes().to_vec()))
}

impl Inner {
    /// Keeps a hook's path for a new upload, if a file can lie there.
    ///
    /// # Errors
    /// `HookFailed`, and why it cannot.
    pub(super) async fn claim(
        &self,
        id: &UploadId,
        path: Option<&ChosenPath>,
    ) -> Result<Claim<'_>, Reject> {
        let Some(path) = path else {
            return Ok(Claim(None));
        };
        let refused =
            |why: &str| Reject::HookFailed(format!("ChangeFileInfo.Storage.Path: {path:?}: {why}"));
        let store = self.blobs.chosen();
        let store = store.ok_or_else(|| refused("this store has no paths"))?;
        if !self.paths.take(id, path) {
            return Err(refused("it is another upload's, or in its way"));
        }
        let claim = Claim(Some((&self.paths, id.clone())));
        match store.look(path).await {
            Ok(()) => Ok(claim),
            Err(BlobError::Taken { why, .. }) => Err(refused(why)),
            Err(error) => Err(error.into()),
        }
    }

    /// Before anything else is loaded: which paths are whose.
    pub(super) async fn recover_paths(&self) -> Result<(), Reject> {
        for id in self.state.marked(Mark::Path).await? {
            let stored = self.state.detail(&id, Detail::Path).await?;
            let path = stored.and_then(|path| String::from_utf8(path).ok()?.parse().ok());
            if !path.is_some_and(|path| self.paths.take(&id, &path)) {
                warn!(%id, "an upload's chosen path is not known any more: its file stays where it is");
            }
        }
        Ok(())
    }

    /// The same as [`Inner::move_complete`] for those who cannot do anything about it: it is tried again.
    pub(super) async fn move_soon(self: &Arc<Self>, id: &UploadId) {
        if self.paths.of(id).is_none() {
            return;
        }
        if let Err(error) = self.move_complete(id).await {
            warn!(%id, %error, "a complete upload cannot be put where a hook wants it, and waits: whole and readable");
        }
    }

    /// Puts a complete upload that is one file where its hook wants it. With that it is completed.
    pub(super) async fn move_complete(self: &Arc<Self>, id: &UploadId) -> Result<(), Reject> {
        let _guard = self.hold(id, false).await?;
        let entry = self.entry(id).await?;
        let record = entry.record();
        let own = entry.blob();
        if record.status != Status::Assembling || !matches!(*own, Blob::Own(_)) {
            return Ok(());
        }
        let path = entry.image().path.clone();
        // A final's parts are still to get names of their own in its file.
        let parts = !entry.image().parts.is_empty();
        let mut more = More {
            marks: vec![(Mark::Assembling, parts)],
            ..More::default()
        };
        if let (Some(path), Some(store)) = (&path, self.blobs.chosen()) {
            let segment = store.put(id, path, record.offset).await?;
            let segments = vec![segment];
            let detail = Some(load::encode(&segments));
            more.details.push((Detail::Segments, detail));
            // In memory the blob comes before the record that says completed: who is told of the one finds the other.
            entry.image().blob = Arc::new(Blob::Segments(segments));
        }
        let next = Record {
            status: Status::Completed,
            ..record
        };
        if let Err(reject) = self.change(&entry, next, Promise::Synced, more).await {
            entry.image().blob = own;
            return Err(reject);
        }
        self.tell_complete(&entry);
        if path.is_some() {
            self.discard(&[File::Upload(id.clone())]).await;
        }
        if parts {
            self.assemble.notify_one();
        }
        Ok(())
    }

    /// Every file of an upload that has ended goes.
    ///
    /// # Errors
    /// What the store says; what is left is removed later.
    pub(super) async fn remove_all(&self, entry: &Entry) -> Result<(), BlobError> {
        let blob = entry.blob();
        let path = entry.image().path.clone();
        if let (Some(path), Some(store)) = (path, self.blobs.chosen())
            && !blob.is_chosen()
        {
            // First: what it has in common with the upload's own file shows whose it is.
            store.take_back(&entry.id, &path).await?;
        }
        self.blobs.remove(&all_files(&entry.id, &blob)).await
    }

    /// The files of an upload that has ended are gone: its path is free.
    pub(super) async fn release_path(&self, entry: &Entry) {
        if entry.image().path.take().is_none() {
            return;
        }
        let record = entry.record();
        let change = Change {
            details: vec![(Detail::Path, None), (Detail::Segments, None)],
            marks: vec![(Mark::Path, false)],
            ..Change::record(&entry.id, Some(record.clone()), Some(record))
        };
        if let Err(error) = self.commit(vec![change], Promise::Flushed).await {
            return warn!(id = %entry.id, %error, "a path is free after the next start");
        }
        entry.image().blob = Arc::new(Blob::Own(entry.id.clone()));
        self.paths.release(&entry.id);
    }

    /// A file at a chosen path is found by nobody who goes through the store's files: that of an upload which ended goes here,
    /// where a crash or a full disk has left it.
    pub(super) async fn sweep_path(self: &Arc<Self>, id: &UploadId) {
        let Some(_guard) = self.locks.try_lock(id) else {
            return;
        };
        if let Some(entry) = self.entry_logged(id).await
            && entry.record().is_tombstone()
        {
            let gone = self.clear(&entry).await;
            info!(%id, gone, "an upload that has ended still had its path");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_uploads_and_no_directory_of_anothers() {
        let paths = Paths::default();
        let id = |n: u32| format!("u{n}").parse::<UploadId>().unwrap();
        let take = |n, path: &str| paths.take(&id(n), &path.parse().unwrap());
        assert!(take(1, "a/b") && take(2, "a/c") && take(3, "a/b-c/d"));
        for taken in ["a/b", "./a/b", "a", "a/b/c", "a/b-c", "a/b-c/d/e/f"] {
            assert!(!take(9, taken), "{taken}");
        }
        assert!(take(4, "a/b-") && take(5, "b"));
        paths.release(&id(1));
        paths.release(&id(9));
        assert_eq!(paths.of(&id(1)), None);
        assert!(take(6, "a/b/c") && !take(7, "a/b"));
        assert_eq!(paths.of(&id(6)), "a/b/c".parse().ok());
    }
}
