//! Joining by hard links, and putting the joined bytes into one file later.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::calls::remove_if_there;
use super::copy::Copy;
use super::names::sync_file;
use super::sys::{fault, lost};
use super::{DiskBlobs, Shared};
use crate::blob::ranges::{Plan, plan, slice};
use crate::blob::{Blob, BlobError, File, JoinParts, Segment};
use crate::upload::UploadId;

#[async_trait]
impl JoinParts for DiskBlobs {
    async fn link(&self, id: &UploadId, parts: &[(Blob, u64)]) -> Result<Vec<Segment>, BlobError> {
        let plan = plan(id, parts).ok_or(BlobError::Lost)?;
        let id = id.clone();
        self.pooled(move |shared| {
            shared.with_space(|| shared.link(id.clone(), &plan))?;
            Ok(plan.segments)
        })
        .await
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
        self.pooled(move |shared| shared.with_space(|| shared.copy(&draft, &pieces, from)))
            .await
    }

    async fn sync_draft(&self, id: &UploadId) -> Result<(), BlobError> {
        let draft = File::Draft(id.clone());
        self.pooled(move |shared| sync_file(&shared.open, &shared.paths.of(&draft)))
            .await
    }

    async fn finish(&self, id: &UploadId) -> Result<(), BlobError> {
        let id = id.clone();
        self.pooled(move |shared| shared.finish(&id)).await
    }

    async fn adopt(
        &self,
        part: &UploadId,
        whole: &File,
        start: u64,
        len: u64,
    ) -> Result<Segment, BlobError> {
        let (part, whole) = (part.clone(), whole.clone());
        self.pooled(move |shared| {
            let end = start.checked_add(len).ok_or(BlobError::Lost)?;
            for n in 0.. {
                let file = File::Link(part.clone(), n);
                let path = shared.paths.of(&file);
                match shared.link_one(&whole, &path, end) {
                    Err(e) if is_taken(&e) => {}
                    Err(e) => return Err(e),
                    Ok(()) => {
                        let segment = Segment { file, start, len };
                        let list =
                            shared.write_list(part.clone(), std::slice::from_ref(&segment))?;
                        shared
                            .names
                            .sync(&shared.open, [path.as_path(), list.as_path()])?;
                        return Ok(segment);
                    }
                }
            }
            Err(BlobError::Lost)
        })
        .await
    }
}

impl Shared {
    /// Makes the links and the list; if that fails midway, none of them stays.
    fn link(&self, id: UploadId, plan: &Plan) -> Result<(), BlobError> {
        let mut made = Vec::new();
        let linked = self.link_all(id, plan, &mut made);
        if linked.is_err() {
            for path in made {
                let _ = fs::remove_file(path);
            }
        }
        linked
    }

    fn link_all(
        &self,
        id: UploadId,
        plan: &Plan,
        made: &mut Vec<PathBuf>,
    ) -> Result<(), BlobError> {
        for (n, (source, needed)) in (0..).zip(&plan.sources) {
            let path = self.paths.of(&File::Link(id.clone(), n));
            let linked = match self.link_one(source, &path, *needed) {
                Err(e) if is_taken(&e) => {
                    // Of a join that did not come to its end; nobody was told of it.
                    remove_if_there(&path)?;
                    self.link_one(source, &path, *needed)
                }
                linked => linked,
            };
            linked?;
            made.push(path);
        }
        made.push(self.write_list(id, &plan.segments)?);
        Ok(())
    }

    /// Writes an upload's segments down, for the day its record must be made anew.
    pub(super) fn write_list(
        &self,
        id: UploadId,
        segments: &[Segment],
    ) -> Result<PathBuf, BlobError> {
        let path = self.paths.of(&File::List(id));
        let list = serde_json::to_vec(segments).map_err(|e| fault(&path, e.into()))?;
        let mut options = self.names.options();
        options.write(true).create(true).truncate(true);
        let open = || self.names.in_shard(&path, || options.open(&path));
        let mut file = self.open.open(open).map_err(|e| fault(&path, e))?;
        match file.write_all(&list) {
            Ok(()) => Ok(path),
            Err(e) => {
                let _ = fs::remove_file(&path);
                Err(fault(&path, e))
            }
        }
    }

    /// Gives `source` a further name, if it has `needed` bytes.
    fn link_one(&self, source: &File, path: &Path, needed: u64) -> Result<(), BlobError> {
        let meta = self.meta(source)?.ok_or(BlobError::Lost)?;
        if meta.len() < needed {
            return Err(BlobError::Lost);
        }
        let link = || self.link_to(source, path);
        self.names.in_shard(path, link).map_err(|e| lost(path, e))
    }

    /// The draft becomes the upload's file, and both survive a power cut.
    pub(super) fn finish(&self, id: &UploadId) -> Result<(), BlobError> {
        let draft = self.paths.of(&File::Draft(id.clone()));
        let whole = self.paths.of(&File::Upload(id.clone()));
        sync_file(&self.open, &draft)?;
        let rename = || fs::rename(&draft, &whole);
        let renamed = self.names.in_shard(&whole, rename);
        renamed.map_err(|e| fault(&whole, e))?;
        let both = [whole.as_path(), draft.as_path()];
        self.names.sync(&self.open, both)
    }

    /// Copies `pieces` to `at` of the draft, one after the other. Returns where it stands then.
    pub(super) fn copy(&self, draft: &File, pieces: &[Segment], at: u64) -> Result<u64, BlobError> {
        let path = self.paths.of(draft);
        let mut options = self.names.options();
        options.write(true).create(at == 0).truncate(at == 0);
        let open = || self.names.in_shard(&path, || options.open(&path));
        let out = self.open.open(open).map_err(|e| lost(&path, e))?;
        let len = out.metadata().map_err(|e| fault(&path, e))?.len();
        if len < at {
            return Err(BlobError::Lost);
        }
        let total = pieces.iter().map(|piece| piece.len).sum();
        let mut copy = Copy::new(&out, at, total);
        for piece in pieces {
            let path = self.paths.of(&piece.file);
            let from = self.open_read(&piece.file)?;
            let copied = copy.range(&from, piece.start, piece.len);
            copied.map_err(|e| match e.kind() {
                ErrorKind::UnexpectedEof => BlobError::Lost,
                _ => fault(&path, e),
            })?;
        }
        copy.finish().map_err(|e| fault(&path, e))
    }
}

/// Whether a name was there already.
fn is_taken(e: &BlobError) -> bool {
    matches!(e, BlobError::Io { source, .. } if source.kind() == ErrorKind::AlreadyExists)
}
