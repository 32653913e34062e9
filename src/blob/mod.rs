//! The port to where bytes lie. Stores are pushed to, frame by frame; they know nothing of HTTP, records or offsets told.

mod chosen;
pub mod disk;
pub mod memory;
mod ranges;

#[cfg(test)]
mod contract;

use std::ops::Range;
use std::time::SystemTime;
use std::{io, path::PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use self::chosen::{BadPath, ChosenPath};

use crate::upload::UploadId;

/// A file of the store, named by what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum File {
    /// The bytes of an upload: what people look for in the data directory.
    Upload(UploadId),
    /// A further name (hard link) of another upload's file, the n-th that this upload keeps for itself.
    Link(UploadId, u32),
    /// A final on its way to become one plain file.
    Draft(UploadId),
    /// The sidecar: what is needed to make the record anew. Written once, at creation.
    About(UploadId),
    /// The sidecar's other half for a joined upload: its segments.
    List(UploadId),
    /// All bytes of a complete upload, where a hook wants them to lie.
    Chosen(UploadId, ChosenPath),
}

impl File {
    /// The upload that the file belongs to.
    #[must_use]
    pub fn owner(&self) -> &UploadId {
        match self {
            Self::Upload(id)
            | Self::Link(id, _)
            | Self::Draft(id)
            | Self::About(id)
            | Self::List(id)
            | Self::Chosen(id, _) => id,
        }
    }
}

/// `len` bytes of `file`, from `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Where.
    pub file: File,
    /// First byte.
    pub start: u64,
    /// How many.
    pub len: u64,
}

/// Where the bytes of one upload lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    /// In `File::Upload` of that id, from its start; the file grows as bytes come. A missing file has no bytes.
    Own(UploadId),
    /// In ranges of files, in this order. With exactly one segment it can be written, inside that segment.
    Segments(Vec<Segment>),
}

impl Blob {
    /// The one file that a complete upload's bytes are: its own, or the one that lies where a hook wants it. `None`: it is
    /// a list of segments.
    #[must_use]
    pub fn one_file(&self) -> Option<File> {
        match self {
            Self::Own(id) => Some(File::Upload(id.clone())),
            Self::Segments(list) => match list.as_slice() {
                [only] if matches!(only.file, File::Chosen(..)) => Some(only.file.clone()),
                _ => None,
            },
        }
    }

    /// Whether it lies where a hook wants it.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        matches!(self.one_file(), Some(File::Chosen(..)))
    }
}

/// Bytes on their way out, in pieces of bounded size.
pub type Pieces = BoxStream<'static, Result<Bytes, BlobError>>;

/// What a file takes of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In bytes: allocated blocks, space reserved ahead included.
    pub allocated: u64,
    /// How many names it has.
    pub names: u64,
}

impl Usage {
    /// What falls to one of its names.
    #[must_use]
    pub fn share(&self) -> u64 {
        self.allocated / self.names.max(1)
    }
}

/// The disk below the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can be written.
    pub free: u64,
    /// Bytes of all of it.
    pub total: u64,
}

/// What goes wrong with bytes.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// A file is gone, or shorter than its upload's offset.
    #[error("the stored bytes are gone or too short")]
    Lost,
    /// The disk (or a quota on it) is full.
    #[error("no space left")]
    Full,
    /// Written where only a plain upload or one segment can be.
    #[error("these bytes are fixed")]
    Fixed,
    /// A hook's path that a file cannot lie at.
    #[error("{path}: {why}")]
    Taken {
        /// Which.
        path: ChosenPath,
        /// What is there.
        why: &'static str,
    },
    /// Anything else the system says.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Where bytes lie. Every backend passes the suite in `contract.rs`.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Keeps `about` as the upload's sidecar; with `empty` makes its (empty) file as well, for an upload of no bytes.
    /// `about` is not synced here but by [`BlobStore::sync`].
    async fn create(&self, id: &UploadId, about: &[u8], empty: bool) -> Result<(), BlobError>;

    /// Puts another sidecar in the place of the one that `create` kept: all of it or nothing, when the process
    /// dies too.
    async fn amend(&self, id: &UploadId, about: &[u8]) -> Result<(), BlobError>;

    /// Opens for writing at `at`; bytes of the blob past `at` are cut first. `length`, where it is known, bounds the
    /// space that is reserved ahead.
    ///
    /// # Errors
    /// `Lost` if fewer than `at` bytes are there; `Fixed` for a list of more or less than one segment.
    async fn append(
        &self,
        blob: &Blob,
        at: u64,
        length: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// Reads `range` of the blob. Files are opened as they are reached.
    ///
    /// # Errors
    /// `Lost` if the first file is missing or too short (later ones: in the stream).
    async fn read(&self, blob: &Blob, range: Range<u64>) -> Result<Pieces, BlobError>;

    /// How many bytes from the blob's start are stored: a plain file's length; of segments, up to the first missing byte.
    async fn stored(&self, blob: &Blob) -> Result<u64, BlobError>;

    /// Cuts the blob to `to` bytes and gives back space reserved past them. Inside a larger file nothing moves and only
    /// the answer of later `append`s changes. What a join has a name for as well stays there; the blob is a copy of its
    /// first bytes then.
    async fn cut(&self, blob: &Blob, to: u64) -> Result<(), BlobError>;

    /// Makes the blob, its sidecar and the names of both survive a power cut.
    async fn sync(&self, id: &UploadId, blob: &Blob) -> Result<(), BlobError>;

    /// The sidecar kept by `create`, for rebuilding; and the list kept by [`JoinParts::link`], if there is one.
    async fn about(
        &self,
        id: &UploadId,
    ) -> Result<Option<(Vec<u8>, Option<Vec<Segment>>)>, BlobError>;

    /// Removes files, and the directories above a chosen one that are empty then; one that is not there is fine.
    async fn remove(&self, files: &[File]) -> Result<(), BlobError>;

    /// Sets the bytes of a blob aside, for people to look at: where none is read from. Answers where that is. An upload's own
    /// file goes there; segments are copied.
    ///
    /// # Errors
    /// `Fixed` where the store has no such place.
    async fn set_aside(&self, _id: &UploadId, _blob: &Blob) -> Result<String, BlobError> {
        Err(BlobError::Fixed)
    }

    /// Removes what was set aside before this moment, for good: how many, and of how many bytes.
    async fn clear_aside(&self, _before: SystemTime) -> Result<(usize, u64), BlobError> {
        Ok((0, 0))
    }

    /// The names of the store's shards, for going through everything in small steps.
    async fn shards(&self) -> Result<Vec<String>, BlobError>;

    /// Every file of a shard.
    async fn files(&self, shard: &str) -> Result<Vec<File>, BlobError>;

    /// How the file is called outside: its path, where it has one. For logs.
    fn name(&self, file: &File) -> String;

    /// How much room there is, where that can be told.
    async fn space(&self) -> Result<Option<Room>, BlobError> {
        Ok(None)
    }

    /// What each of these files takes, in their order; one that is not there takes nothing.
    async fn usage(&self, files: &[File]) -> Result<Vec<Usage>, BlobError> {
        Ok(vec![Usage::default(); files.len()])
    }

    /// Files that lie where a hook wants them, where the store can do it.
    fn chosen(&self) -> Option<&dyn ChoosePaths> {
        None
    }

    /// Joining without a copy, where the store can do it. `OPTIONS` advertises concatenation from this.
    fn join(&self) -> Option<&dyn JoinParts> {
        None
    }
}

/// One upload, open for writing at a tracked position.
#[async_trait]
pub trait BlobWriter: Send {
    /// Appends all of `bytes`, or as many as fit before an error; [`BlobWriter::position`] tells which.
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError>;

    /// Offset in the blob after the last byte that was written.
    fn position(&self) -> u64;

    /// Makes all written bytes (and the file's name) survive a power cut.
    async fn sync(&mut self) -> Result<(), BlobError>;

    /// Takes bytes past `to` back.
    async fn cut(&mut self, to: u64) -> Result<(), BlobError>;

    /// Gives back space reserved ahead, and the file. Dropping a writer without this leaves the space reserved until the
    /// blob is next cut or opened; it never loses bytes.
    async fn close(self: Box<Self>) -> Result<(), BlobError>;
}

/// Complete uploads whose file lies where a hook wants it. Nothing that is there is ever replaced.
#[async_trait]
pub trait ChoosePaths: Send + Sync {
    /// Whether a file could lie there.
    ///
    /// # Errors
    /// `Taken` if there is anything by that name, or no directory above it where one has to be: a symbolic link is none.
    async fn look(&self, path: &ChosenPath) -> Result<(), BlobError>;

    /// Gives `File::Upload(id)`, all of its `len` bytes, the chosen name as well, makes the directories above it, and writes
    /// it down as `File::List(id)`; all of it survives a power cut. Done before, nothing changes. What `len` 0 has no file
    /// for is made.
    ///
    /// # Errors
    /// `Taken` as for [`ChoosePaths::look`]; `Lost` if the upload's file is missing.
    async fn put(&self, id: &UploadId, path: &ChosenPath, len: u64) -> Result<Segment, BlobError>;

    /// Takes the chosen name back from what is `File::Upload(id)` as well; what else is there stays.
    async fn take_back(&self, id: &UploadId, path: &ChosenPath) -> Result<(), BlobError>;
}

/// Finals that are lists of segments over their parts' files, and become one file later.
#[async_trait]
pub trait JoinParts: Send + Sync {
    /// Gives `id` names of its own (`File::Link(id, 0..)`, one for each distinct file) for the bytes of `parts`, and
    /// writes them down as `File::List(id)`. No byte is copied. Empty parts leave no segment.
    ///
    /// # Errors
    /// `Lost` if a part's file is missing.
    async fn link(&self, id: &UploadId, parts: &[(Blob, u64)]) -> Result<Vec<Segment>, BlobError>;

    /// Copies up to `budget` bytes of `segments`, from `from` on, into `File::Draft(id)`; at 0 a draft of before is
    /// dropped. Returns where the copy stands.
    async fn copy(
        &self,
        id: &UploadId,
        segments: &[Segment],
        from: u64,
        budget: u64,
    ) -> Result<u64, BlobError>;

    /// Makes the draft's bytes survive a power cut.
    async fn sync_draft(&self, id: &UploadId) -> Result<(), BlobError>;

    /// The draft, synced, becomes `File::Upload(id)`, its directory synced too.
    async fn finish(&self, id: &UploadId) -> Result<(), BlobError>;

    /// Gives `part` a name of its own (`File::Link(part, n)`, n being the first that is free) for `len` bytes of
    /// `whole`, one file, from `start`, the name synced, and writes it down as `File::List(part)`.
    async fn adopt(
        &self,
        part: &UploadId,
        whole: &File,
        start: u64,
        len: u64,
    ) -> Result<Segment, BlobError>;
}
