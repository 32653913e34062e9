//! Files where a hook wants them, anywhere below the store's directory but in the server's own.
//!
//! Others work there too, and may put symbolic links in the way. So no such path is handed to the system as a whole: its
//! directory is opened beneath a handle of the store's (`openat2`, which follows no link and leads nowhere else), and the file
//! is a name in that. Kernels before 5.6, and filters that do not know the call, get the same one name at a time.

use std::fs::{self, File as FsFile, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fsync, linkat, mkdirat, openat,
    openat2, statat, unlinkat,
};
use rustix::io::Errno;

use super::names::sync_file;
use super::sys::{fault, lost};
use super::{DiskBlobs, Shared, access};
use crate::blob::{BlobError, ChoosePaths, ChosenPath, File, Segment};
use crate::upload::UploadId;

/// How directories are opened.
const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// How files are: one that is no plain file must not make anybody wait.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
/// Which ways lead to a directory.
const WAYS: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// What lies below a directory, by its handle.
#[derive(Debug)]
pub(super) struct Beneath {
    root: FsFile,
    dir_mode: u32,
    /// Names are given and taken one at a time: an empty directory is not removed under a file that comes.
    one: Mutex<()>,
}

impl Beneath {
    pub(super) fn open(root: &Path, dir_mode: u32) -> Result<Self, BlobError> {
        let root = FsFile::open(root).map_err(|e| fault(root, e))?;
        Ok(Self {
            root,
            dir_mode,
            one: Mutex::default(),
        })
    }

    fn one(&self) -> MutexGuard<'_, ()> {
        self.one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory, empty for the top.
    fn dir(&self, below: &str) -> Result<OwnedFd, Errno> {
        let way = if below.is_empty() { "." } else { below };
        loop {
            match openat2(&self.root, way, DIR, Mode::empty(), WAYS) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::PERM) => return self.step_by_step(below, false),
                opened => return opened,
            }
        }
    }

    /// The same, and the directories made that are missing.
    fn make_dir(&self, below: &str) -> Result<OwnedFd, Errno> {
        match self.dir(below) {
            Err(Errno::NOENT) => self.step_by_step(below, true),
            opened => opened,
        }
    }

    fn step_by_step(&self, below: &str, make: bool) -> Result<OwnedFd, Errno> {
        let mut dir = openat(&self.root, ".", DIR, Mode::empty())?;
        for name in below.split('/').filter(|name| !name.is_empty()) {
            let step = || openat(&dir, name, DIR, Mode::empty());
            let next = match step() {
                Err(Errno::NOENT) if make => {
                    match mkdirat(&dir, name, Mode::from_raw_mode(self.dir_mode)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(e) => return Err(e),
                    }
                    step()
                }
                opened => opened,
            };
            dir = next?;
        }
        Ok(dir)
    }

    /// What is there, be it a link.
    fn stat(&self, path: &ChosenPath) -> Result<Stat, Errno> {
        let (dir, name) = path.split();
        statat(self.dir(dir)?, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// A plain file, for reading.
    fn file(&self, path: &ChosenPath) -> Result<FsFile, Errno> {
        let (dir, name) = path.split();
        let file = FsFile::from(openat(self.dir(dir)?, name, FILE, Mode::empty())?);
        let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
        if is_file { Ok(file) } else { Err(Errno::NOENT) }
    }

    /// Removes a file, and the directories above it that are empty then; a power cut does not bring it back, since nobody would
    /// know whose it was. What is no plain file was put there by somebody else.
    fn remove(&self, path: &ChosenPath) -> Result<(), Errno> {
        let (dir, name) = path.split();
        match self.stat(path) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                unlinkat(self.dir(dir)?, name, AtFlags::empty())?;
            }
            Ok(_) => {}
            Err(e) if is_nothing(e) => {}
            Err(e) => return Err(e),
        }
        for dir in path.above() {
            let (above, name) = dir.rsplit_once('/').unwrap_or(("", dir));
            let removed = self
                .dir(above)
                .and_then(|above| unlinkat(above, name, AtFlags::REMOVEDIR));
            if !matches!(removed, Ok(()) | Err(Errno::NOENT)) {
                break;
            }
        }
        // Also where it was gone already: whoever removed it may have died before this.
        let lowest = path.above().chain([""]).find_map(|dir| self.dir(dir).ok());
        lowest.map_or(Ok(()), fsync)
    }

    /// Makes the names of a file and of the directories above it survive a power cut.
    fn sync(&self, path: &ChosenPath) -> Result<(), Errno> {
        for dir in path.above().chain([""]) {
            fsync(self.dir(dir)?)?;
        }
        Ok(())
    }
}

/// Whether it means that no plain file is there.
fn is_nothing(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO)
}

/// Why a file cannot lie at a path, or what else the system says of it.
fn says(path: &ChosenPath, e: Errno) -> BlobError {
    let why = match e {
        Errno::EXIST => "there is something by that name",
        Errno::NOTDIR | Errno::LOOP => "what is above it is no directory",
        Errno::XDEV => "it is on another file system",
        Errno::NAMETOOLONG => "the file system takes no such name",
        e => return fault(Path::new(path.as_str()), e.into()),
    };
    let path = path.clone();
    BlobError::Taken { path, why }
}

impl Shared {
    /// Opens a file that is there.
    pub(super) fn open_read(&self, file: &File) -> Result<FsFile, BlobError> {
        let path = self.paths.of(file);
        let opened = match file {
            File::Chosen(_, chosen) => self.open.open(|| Ok(self.beneath.file(chosen)?)),
            _ => self.open.open(|| FsFile::open(&path)),
        };
        opened.map_err(|e| match Errno::from_io_error(&e) {
            Some(e) if matches!(file, File::Chosen(..)) && is_nothing(e) => BlobError::Lost,
            _ => lost(&path, e),
        })
    }

    /// What the system knows of a file, if it is there.
    pub(super) fn meta(&self, file: &File) -> Result<Option<Metadata>, BlobError> {
        let path = self.paths.of(file);
        let meta = match file {
            File::Chosen(..) => self.open_read(file).and_then(|file| {
                let meta = file.metadata();
                meta.map_err(|e| fault(&path, e))
            }),
            _ => fs::metadata(&path).map_err(|e| lost(&path, e)),
        };
        match meta {
            Ok(meta) => Ok(Some(meta)),
            Err(BlobError::Lost) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Gives a file a further name.
    pub(super) fn link_to(&self, file: &File, to: &Path) -> std::io::Result<()> {
        let File::Chosen(_, chosen) = file else {
            return fs::hard_link(self.paths.of(file), to);
        };
        let (dir, name) = chosen.split();
        // Not through the link that may have taken its place.
        self.beneath.file(chosen)?;
        Ok(linkat(
            self.beneath.dir(dir)?,
            name,
            CWD,
            to,
            AtFlags::empty(),
        )?)
    }

    pub(super) fn sync_chosen(&self, path: &ChosenPath) -> Result<(), BlobError> {
        self.beneath.sync(path).map_err(|e| says(path, e))
    }

    pub(super) fn remove_chosen(&self, path: &ChosenPath) -> Result<(), BlobError> {
        let _one = self.beneath.one();
        self.beneath.remove(path).map_err(|e| says(path, e))
    }

    fn put(&self, id: &UploadId, path: &ChosenPath, len: u64) -> Result<Segment, BlobError> {
        let own = File::Upload(id.clone());
        if len == 0 && self.meta(&own)?.is_none() {
            access::make_empty(self, id)?;
        }
        let meta = self.meta(&own)?.ok_or(BlobError::Lost)?;
        if meta.len() < len {
            return Err(BlobError::Lost);
        }
        let file = File::Chosen(id.clone(), path.clone());
        {
            let _one = self.beneath.one();
            let (dir, name) = path.split();
            let dir = self.beneath.make_dir(dir).map_err(|e| says(path, e))?;
            let linked = linkat(CWD, self.paths.of(&own), dir, name, AtFlags::empty());
            match linked {
                Err(Errno::EXIST) if is_same(self.meta(&file)?.as_ref(), &meta) => {}
                linked => linked.map_err(|e| says(path, e))?,
            }
            self.sync_chosen(path)?;
        }
        let segment = Segment {
            file,
            start: 0,
            len,
        };
        let list = self.write_list(id.clone(), std::slice::from_ref(&segment))?;
        sync_file(&self.open, &list)?;
        self.names.sync(&self.open, [list.as_path()])?;
        Ok(segment)
    }

    fn take_back(&self, id: &UploadId, path: &ChosenPath) -> Result<(), BlobError> {
        let Some(own) = self.meta(&File::Upload(id.clone()))? else {
            return Ok(());
        };
        let file = File::Chosen(id.clone(), path.clone());
        if is_same(self.meta(&file)?.as_ref(), &own) {
            self.remove_chosen(path)?;
        }
        Ok(())
    }
}

/// Whether two names are of one file.
fn is_same(one: Option<&Metadata>, other: &Metadata) -> bool {
    one.is_some_and(|one| one.dev() == other.dev() && one.ino() == other.ino())
}

#[async_trait]
impl ChoosePaths for DiskBlobs {
    async fn look(&self, path: &ChosenPath) -> Result<(), BlobError> {
        let path = path.clone();
        self.pooled(move |shared| match shared.beneath.stat(&path) {
            Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(says(&path, e)),
            Ok(_) => Err(says(&path, Errno::EXIST)),
        })
        .await
    }

    async fn put(&self, id: &UploadId, path: &ChosenPath, len: u64) -> Result<Segment, BlobError> {
        let (id, path) = (id.clone(), path.clone());
        self.pooled(move |shared| shared.with_space(|| shared.put(&id, &path, len)))
            .await
    }

    async fn take_back(&self, id: &UploadId, path: &ChosenPath) -> Result<(), BlobError> {
        let (id, path) = (id.clone(), path.clone());
        self.pooled(move |shared| shared.take_back(&id, &path))
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::blob::BlobStore;
    use crate::blob::disk::DiskOptions;

    fn open(dir: &Path) -> DiskBlobs {
        DiskBlobs::open(dir, &DiskOptions::default()).unwrap()
    }

    fn path(text: &str) -> ChosenPath {
        text.parse().unwrap()
    }

    #[test]
    fn one_name_at_a_time_leads_where_all_at_once_do() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let below = &store.shared.beneath;
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        symlink("a", dir.path().join("inner")).unwrap();
        symlink("/", dir.path().join("outer")).unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let inode = |opened: Result<OwnedFd, Errno>| {
            let meta = FsFile::from(opened?).metadata().unwrap();
            Ok::<_, Errno>(meta.ino())
        };
        for (way, leads) in [
            ("", true),
            ("a", true),
            ("a/b", true),
            ("a/c", false),
            ("inner", false),
            ("inner/b", false),
            ("outer/tmp", false),
            ("file", false),
            ("file/x", false),
        ] {
            let at_once = inode(below.dir(way));
            let stepwise = inode(below.step_by_step(way, false));
            assert_eq!(at_once.ok(), stepwise.ok(), "{way}");
            assert_eq!(stepwise.is_ok(), leads, "{way}");
        }
        assert!(below.step_by_step("inner/c", true).is_err());
        assert!(below.make_dir("outer/c").is_err() && below.make_dir("file/c").is_err());
        assert!(!dir.path().join("a/c").exists());
        below.make_dir("a/c/d").unwrap();
        assert!(dir.path().join("a/c/d").is_dir());
    }

    #[tokio::test]
    async fn a_name_is_given_twice_and_taken_back_from_its_own_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let id: UploadId = "u".parse().unwrap();
        let place = path("x/y/f");
        assert!(matches!(
            store.put(&id, &place, 3).await,
            Err(BlobError::Lost)
        ));
        store.create(&id, b"{}", true).await.unwrap();
        assert!(matches!(
            store.put(&id, &place, 3).await,
            Err(BlobError::Lost)
        ));
        store.look(&place).await.unwrap();
        let segment = store.put(&id, &place, 0).await.unwrap();
        assert_eq!(store.put(&id, &place, 0).await.unwrap(), segment);
        assert_eq!(
            store.about(&id).await.unwrap().unwrap().1,
            Some(vec![segment.clone()])
        );
        let taken = |looked| matches!(looked, Err(BlobError::Taken { .. }));
        assert!(taken(store.look(&place).await));
        store.take_back(&id, &place).await.unwrap();
        assert!(!dir.path().join("x").exists());
        // Another file by the name is not replaced, nor taken back.
        fs::create_dir_all(dir.path().join("x/y")).unwrap();
        fs::write(dir.path().join("x/y/f"), "mine").unwrap();
        assert!(taken(store.put(&id, &place, 0).await.map(|_| ())));
        store.take_back(&id, &place).await.unwrap();
        assert_eq!(fs::read(dir.path().join("x/y/f")).unwrap(), b"mine");
        // Nor does anybody wait for what is no plain file.
        fs::remove_file(dir.path().join("x/y/f")).unwrap();
        rustix::fs::mknodat(
            CWD,
            dir.path().join("x/y/f"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let file = File::Chosen(id.clone(), place);
        assert!(matches!(
            store.shared.open_read(&file),
            Err(BlobError::Lost)
        ));
        store.remove(&[file]).await.unwrap();
        assert!(dir.path().join("x/y/f").exists());
    }
}
