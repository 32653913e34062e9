//! Blobs in this process's memory: for tests, and for trying things out. They go with the process.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::ranges::{Target, plan, slice};
use super::{Blob, BlobError, BlobStore, BlobWriter, File, JoinParts, Pieces, Segment};
use crate::upload::UploadId;

/// The only shard.
const SHARD: &str = "memory";

/// The most bytes in a piece that is read.
const PIECE: usize = 256 << 10;

/// Blobs in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryBlobs {
    files: Arc<Mutex<Files>>,
    /// So many of the next reads, syncs and changes of a sidecar fail for a reason that passes.
    #[cfg(test)]
    pub(crate) failing: Arc<std::sync::atomic::AtomicUsize>,
}

/// Bytes that several names may stand for.
type Shared = Arc<Mutex<Vec<u8>>>;

#[derive(Debug, Default)]
struct Files(HashMap<File, Shared>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    fn bytes(&self, file: &File) -> Option<&Shared> {
        self.0.get(file)
    }

    fn len(&self, file: &File) -> Option<u64> {
        self.bytes(file).map(|bytes| locked(bytes).len() as u64)
    }

    fn name(&mut self, file: File, bytes: Shared) {
        self.0.insert(file, bytes);
    }

    fn put(&mut self, file: File, bytes: Vec<u8>) {
        self.name(file, Arc::new(Mutex::new(bytes)));
    }

    /// Gives `source` a further name, if it has `needed` bytes.
    fn link(&mut self, source: &File, file: File, needed: u64) -> Result<(), BlobError> {
        let bytes = self.bytes(source).ok_or(BlobError::Lost)?.clone();
        if (locked(&bytes).len() as u64) < needed {
            return Err(BlobError::Lost);
        }
        self.name(file, bytes);
        Ok(())
    }

    /// Cuts bytes that have no other name.
    fn shrink(&self, bytes: &Shared, to: u64) -> Result<(), BlobError> {
        let names = self.0.values().filter(|n| Arc::ptr_eq(n, bytes));
        if names.count() > 1 {
            return Err(BlobError::Fixed);
        }
        locked(bytes).truncate(index(to));
        Ok(())
    }

    /// The segment's bytes.
    fn read(&self, segment: &Segment) -> Result<Bytes, BlobError> {
        let bytes = locked(self.bytes(&segment.file).ok_or(BlobError::Lost)?);
        let (start, len) = (index(segment.start), index(segment.len));
        let range = bytes.get(start..start.saturating_add(len));
        range.map(Bytes::copy_from_slice).ok_or(BlobError::Lost)
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

impl MemoryBlobs {
    /// Fails, as often as a test wants it.
    #[cfg(test)]
    fn may_fail(&self) -> Result<(), BlobError> {
        use std::sync::atomic::Ordering;
        let one_less = |n: usize| n.checked_sub(1);
        let failing = &self.failing;
        match failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => Err(BlobError::Io {
                path: "memory".into(),
                source: rustix::io::Errno::NFILE.into(),
            }),
            Err(_) => Ok(()),
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        locked(&self.files)
    }
}

#[async_trait]
impl BlobStore for MemoryBlobs {
    async fn create(&self, id: &UploadId, about: &[u8], empty: bool) -> Result<(), BlobError> {
        let mut files = self.files();
        let sidecar = File::About(id.clone());
        if files.bytes(&sidecar).is_some() {
            return Err(BlobError::Io {
                path: id.as_str().into(),
                source: std::io::ErrorKind::AlreadyExists.into(),
            });
        }
        files.put(sidecar, about.to_vec());
        if empty {
            files.put(File::Upload(id.clone()), Vec::new());
        }
        Ok(())
    }

    async fn amend(&self, id: &UploadId, about: &[u8]) -> Result<(), BlobError> {
        #[cfg(test)]
        self.may_fail()?;
        self.files().put(File::About(id.clone()), about.to_vec());
        Ok(())
    }

    async fn append(
        &self,
        blob: &Blob,
        at: u64,
        _length: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        let target = Target::of(blob)?;
        if target.len.is_some_and(|len| at > len) {
            return Err(BlobError::Lost);
        }
        let mut files = self.files();
        let mut bytes = files.bytes(&target.file).cloned();
        if at == 0 && matches!(target.file, File::Upload(_)) {
            let whole = target.len.is_none();
            if let Some(old) = bytes.take_if(|_| whole) {
                // What is left under this name: cut, or left to those who share it.
                bytes = files.shrink(&old, 0).is_ok().then_some(old);
            }
            if bytes.is_none() {
                files.put(target.file.clone(), Vec::new());
                bytes = files.bytes(&target.file).cloned();
            }
        }
        let bytes = bytes.ok_or(BlobError::Lost)?;
        let len = locked(&bytes).len() as u64;
        if at > 0 && len < target.start.saturating_add(at) {
            return Err(BlobError::Lost);
        }
        if target.len.is_none() && len > at {
            files.shrink(&bytes, at)?;
        }
        Ok(Box::new(MemoryWriter {
            store: self.clone(),
            target,
            bytes,
            at,
        }))
    }

    async fn read(&self, blob: &Blob, range: Range<u64>) -> Result<Pieces, BlobError> {
        #[cfg(test)]
        self.may_fail()?;
        let segments = slice(blob, &range).ok_or(BlobError::Lost)?;
        if let Some(first) = segments.first() {
            self.files().read(first)?;
        }
        let store = self.clone();
        let pieces = segments.into_iter().flat_map(move |segment| {
            let mut rest = store.files().read(&segment).map_err(Some);
            std::iter::from_fn(move || match &mut rest {
                Ok(bytes) if bytes.is_empty() => None,
                Ok(bytes) => Some(Ok(bytes.split_to(bytes.len().min(PIECE)))),
                Err(e) => e.take().map(Err),
            })
        });
        Ok(stream::iter(pieces).boxed())
    }

    async fn stored(&self, blob: &Blob) -> Result<u64, BlobError> {
        let files = self.files();
        let list = match blob {
            Blob::Own(id) => return Ok(files.len(&File::Upload(id.clone())).unwrap_or(0)),
            Blob::Segments(list) => list,
        };
        let mut stored = 0;
        for segment in list {
            let there = files.len(&segment.file).unwrap_or(0);
            let there = there.saturating_sub(segment.start);
            stored += there.min(segment.len);
            if there < segment.len {
                break;
            }
        }
        Ok(stored)
    }

    async fn cut(&self, blob: &Blob, to: u64) -> Result<(), BlobError> {
        let Blob::Own(id) = blob else {
            return Ok(());
        };
        let mut files = self.files();
        let file = File::Upload(id.clone());
        let bytes = files.bytes(&file).cloned();
        let Some(bytes) = bytes.filter(|bytes| locked(bytes).len() as u64 > to) else {
            return Ok(());
        };
        if files.shrink(&bytes, to).is_err() {
            let kept = locked(&bytes)[..index(to)].to_vec();
            files.put(file, kept);
        }
        Ok(())
    }

    async fn sync(&self, _id: &UploadId, blob: &Blob) -> Result<(), BlobError> {
        #[cfg(test)]
        self.may_fail()?;
        let files = self.files();
        match blob {
            Blob::Segments(list) if list.iter().any(|s| files.bytes(&s.file).is_none()) => {
                Err(BlobError::Lost)
            }
            _ => Ok(()),
        }
    }

    async fn about(
        &self,
        id: &UploadId,
    ) -> Result<Option<(Vec<u8>, Option<Vec<Segment>>)>, BlobError> {
        let files = self.files();
        let get = |file: File| files.bytes(&file).map(|bytes| locked(bytes).clone());
        let list = get(File::List(id.clone()));
        let list = list.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(get(File::About(id.clone())).map(|about| (about, list)))
    }

    async fn remove(&self, files: &[File]) -> Result<(), BlobError> {
        let mut all = self.files();
        for file in files {
            all.0.remove(file);
        }
        Ok(())
    }

    async fn shards(&self) -> Result<Vec<String>, BlobError> {
        Ok(vec![SHARD.to_owned()])
    }

    async fn files(&self, shard: &str) -> Result<Vec<File>, BlobError> {
        let files = MemoryBlobs::files(self);
        let all = files.0.keys().filter(|_| shard == SHARD);
        Ok(all.cloned().collect())
    }

    fn name(&self, file: &File) -> String {
        format!("{file:?}")
    }

    fn join(&self) -> Option<&dyn JoinParts> {
        Some(self)
    }
}

/// A writer at `at` of its target.
struct MemoryWriter {
    store: MemoryBlobs,
    target: Target,
    bytes: Shared,
    at: u64,
}

#[async_trait]
impl BlobWriter for MemoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let room = self.target.len.map_or(u64::MAX, |len| len - self.at);
        let fits = bytes.slice(..bytes.len().min(index(room)));
        let start = index(self.target.start + self.at);
        let end = start + fits.len();
        let mut all = locked(&self.bytes);
        if all.len() < end {
            all.resize(end, 0);
        }
        all[start..end].copy_from_slice(&fits);
        self.at += fits.len() as u64;
        if fits.len() < bytes.len() {
            return Err(BlobError::Fixed);
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.at
    }

    async fn sync(&mut self) -> Result<(), BlobError> {
        Ok(())
    }

    async fn cut(&mut self, to: u64) -> Result<(), BlobError> {
        if to < self.at {
            if self.target.len.is_none() {
                self.store.files().shrink(&self.bytes, to)?;
            }
            self.at = to;
        }
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), BlobError> {
        Ok(())
    }
}

#[async_trait]
impl JoinParts for MemoryBlobs {
    async fn link(&self, id: &UploadId, parts: &[(Blob, u64)]) -> Result<Vec<Segment>, BlobError> {
        let plan = plan(id, parts).ok_or(BlobError::Lost)?;
        let list = serde_json::to_vec(&plan.segments).map_err(|e| BlobError::Io {
            path: id.as_str().into(),
            source: e.into(),
        })?;
        let mut files = self.files();
        let short = |(file, needed): &(File, u64)| files.len(file).is_none_or(|len| len < *needed);
        if plan.sources.iter().any(short) {
            return Err(BlobError::Lost);
        }
        for (n, (source, needed)) in (0..).zip(&plan.sources) {
            files.link(source, File::Link(id.clone(), n), *needed)?;
        }
        files.put(File::List(id.clone()), list);
        Ok(plan.segments)
    }

    async fn copy(
        &self,
        id: &UploadId,
        segments: &[Segment],
        from: u64,
        budget: u64,
    ) -> Result<u64, BlobError> {
        let total: u64 = segments.iter().map(|segment| segment.len).sum();
        let to = from.saturating_add(budget).min(total).max(from);
        let whole = Blob::Segments(segments.to_vec());
        let pieces = slice(&whole, &(from..to)).ok_or(BlobError::Lost)?;
        let draft = File::Draft(id.clone());
        let mut files = self.files();
        if from == 0 {
            files.put(draft.clone(), Vec::new());
        }
        let out = files.bytes(&draft).ok_or(BlobError::Lost)?;
        if (locked(out).len() as u64) < from {
            return Err(BlobError::Lost);
        }
        locked(out).truncate(index(from));
        for piece in &pieces {
            let bytes = files.read(piece)?;
            locked(out).extend_from_slice(&bytes);
        }
        Ok(to)
    }

    async fn sync_draft(&self, _: &UploadId) -> Result<(), BlobError> {
        Ok(())
    }

    async fn finish(&self, id: &UploadId) -> Result<(), BlobError> {
        let mut files = self.files();
        let draft = files.0.remove(&File::Draft(id.clone()));
        let draft = draft.ok_or(BlobError::Lost)?;
        files.0.insert(File::Upload(id.clone()), draft);
        Ok(())
    }

    async fn adopt(
        &self,
        part: &UploadId,
        whole: &File,
        start: u64,
        len: u64,
    ) -> Result<Segment, BlobError> {
        let end = start.checked_add(len).ok_or(BlobError::Lost)?;
        let mut files = self.files();
        let mut names = (0..).map(|n| File::Link(part.clone(), n));
        let file = names.find(|name| files.bytes(name).is_none());
        let file = file.ok_or(BlobError::Lost)?;
        files.link(whole, file.clone(), end)?;
        let segment = Segment { file, start, len };
        let list = serde_json::to_vec(std::slice::from_ref(&segment)).unwrap_or_default();
        files.put(File::List(part.clone()), list);
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    super::super::contract::suite!((MemoryBlobs::default(), ()));
}
