//! What an operator sees and does: all uploads, one of them, what they take on the disk, and the sweep on demand.
//!
//! Walks over everything read the state store in steps, off the workers, one walk at a time: uploads do not wait for them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::levels::Space;
use super::table::Entry;
use super::walk::summary;
use super::{Engine, Inner, now};
use crate::blob::{Blob, File};
use crate::error::Reject;
use crate::meter::{Meter, STATUS_COUNT, status_index};
use crate::protocol::metadata::UploadMetadata;
use crate::protocol::sha256::Sum;
use crate::security::quota::{Bounds, Use};
use crate::state::Detail;
use crate::upload::{Kind, Millis, Record, Status, UploadId, UserId};

/// How long what a walk over all files found is told again.
const FRESH: Duration = Duration::from_secs(5);
/// What expires within this time does so soon.
const SOON: Millis = 3_600_000;

/// An upload among others.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Which.
    pub id: UploadId,
    /// What is stored of it; the offset is what a client may be told, and of an open session the bytes of its chunks.
    pub record: Record,
    /// Whether a body comes in now.
    pub receiving: bool,
}

/// What tells a person which upload it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// What the client calls the file: `filename` or `name` of its metadata, the first 255 characters.
    pub filename: Option<String>,
    /// Whether it is a session.
    pub session: bool,
}

/// One upload, closely.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// As in a list.
    pub summary: Summary,
    /// `Upload-Metadata` as received.
    pub metadata: Option<String>,
    /// The parts of a final.
    pub parts: Vec<UploadId>,
    /// How long the body that comes in now has been silent.
    pub silent: Option<Duration>,
    /// Where its bytes lie, or will: the first file, if there are several.
    pub path: String,
    /// Where in that file, and how many, if it is not the upload's own.
    pub place: Option<(u64, u64)>,
    /// What it takes on the disk.
    pub allocated: u64,
    /// Of a complete upload, where that was asked for and is worked out.
    pub sha256: Option<Sum>,
}

/// Uploads and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub uploads: u64,
    /// Bytes that they have received.
    pub bytes: u64,
    /// Bytes that they take on the disk: allocated blocks, sidecars included.
    pub allocated: u64,
}

/// What lies on the disk.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    /// When that was looked at.
    pub at: Millis,
    /// By status, in the order of [`crate::meter::STATUSES`].
    pub by_status: [Amount; STATUS_COUNT],
    /// By user, those of nobody's first.
    pub by_user: BTreeMap<Option<UserId>, Amount>,
    /// Files, sidecars included.
    pub files: u64,
    /// What nobody can use: expired but not swept yet, failed, ended, and files of no upload.
    pub reclaimable: Amount,
    /// What expires within an hour.
    pub expiring_soon: Amount,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Uploads whose time was over.
    pub expired: u64,
    /// Tombstones removed.
    pub tombstones: u64,
    /// Files of no upload removed.
    pub orphans: u64,
    /// Bytes given back to the disk.
    pub bytes: u64,
}

/// What walks share.
#[derive(Default)]
pub(super) struct Walks {
    one: tokio::sync::Mutex<()>,
    storage: tokio::sync::Mutex<Option<(Instant, Arc<Storage>)>>,
    /// Held by whoever sweeps.
    pub(super) sweep: tokio::sync::Mutex<()>,
}

impl Engine {
    /// What was counted.
    #[must_use]
    pub fn meter(&self) -> &Arc<Meter> {
        &self.inner.meter
    }

    /// What every user has, nobody's first; and all together.
    #[must_use]
    pub fn uses(&self) -> (BTreeMap<Option<UserId>, Use>, Use) {
        self.inner.ledger.uses()
    }

    /// What all have together.
    #[must_use]
    pub fn used(&self) -> Use {
        self.inner.ledger.total()
    }

    /// What users may have of whom nothing else is said.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.inner.options.bounds
    }

    /// The disk at the last look, at most about a second ago; `None` where the store cannot tell.
    #[must_use]
    pub fn space(&self) -> Option<Space> {
        self.inner.levels.space()
    }

    /// Whether the server has begun to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.stop.is_cancelled()
    }

    /// Whether the state store has failed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.inner.broken.is_cancelled()
    }

    /// Shows every upload, tombstones included, in the order of their ids. A session's chunks are no uploads here.
    ///
    /// # Errors
    /// What the state store says; `Stopping`.
    pub async fn walk(&self, each: impl FnMut(Summary) + Send) -> Result<(), Reject> {
        let _one = self.inner.walks.one.lock().await;
        self.inner.walk(each).await
    }

    /// One upload, whatever its status.
    ///
    /// # Errors
    /// `NotFound`, or what the stores say.
    pub async fn inspect(&self, id: &UploadId) -> Result<Inspection, Reject> {
        let entry = self.inner.entry(id).await?;
        let blob = entry.blob();
        let files = super::end::all_files(id, &blob);
        let usage = self.inner.blobs.usage(&files).await?;
        let file = blob.one_file();
        let first = match &*blob {
            Blob::Segments(list) if file.is_none() => list.first(),
            _ => None,
        };
        let complete = entry.record().is_complete();
        let sha256 = entry.known_sum().filter(|_| complete);
        let own = File::Upload(id.clone());
        let listed = || first.map_or(&own, |first| &first.file);
        let file = file.as_ref().unwrap_or_else(listed);
        let image = entry.image();
        let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(Inspection {
            summary: summary(id.clone(), &image),
            metadata: image.metadata.as_ref().map(text),
            parts: image.parts.to_vec(),
            silent: image.live.as_ref().map(|live| live.silent_for()),
            path: self.inner.blobs.name(file),
            place: first.map(|first| (first.start, first.len)),
            allocated: usage.iter().map(crate::blob::Usage::share).sum(),
            sha256,
        })
    }

    /// What tells a person which upload it is.
    ///
    /// # Errors
    /// What the state store says.
    pub async fn label(&self, upload: &Summary) -> Result<Label, Reject> {
        let inner = &self.inner;
        let is_final = upload.record.kind == Kind::Final;
        let Some(entry) = inner.table.glance(&upload.id) else {
            let metadata = inner.state.detail(&upload.id, Detail::Metadata).await?;
            let session = inner.state.detail(&upload.id, Detail::Session);
            return Ok(Label {
                filename: metadata.as_deref().and_then(filename),
                session: is_final && session.await?.is_some(),
            });
        };
        let image = entry.image();
        Ok(Label {
            filename: image.metadata.as_deref().and_then(filename),
            session: image.session.is_some(),
        })
    }

    /// Terminates an upload that is not complete, or still to be scanned, whoever it belongs to.
    ///
    /// # Errors
    /// As [`Engine::terminate`]; `AlreadyComplete`, `ChunkOfSession`.
    pub async fn cancel(&self, id: &UploadId) -> Result<(), Reject> {
        let (inner, id) = (self.inner.clone(), id.clone());
        self.inner
            .run(async move { inner.terminate(&id, refuse_what_stays).await })
            .await
    }

    /// Sweeps now; a sweep that runs already is waited for first.
    ///
    /// # Errors
    /// `Stopping`.
    pub async fn cleanup(&self) -> Result<Swept, Reject> {
        let inner = self.inner.clone();
        let sweep = async move {
            let _sweep = inner.walks.sweep.lock().await;
            let before = swept(&inner.meter);
            inner.sweep(false).await;
            inner.sweep_files().await;
            let after = swept(&inner.meter);
            *inner.walks.storage.lock().await = None;
            Ok(Swept {
                expired: after.expired - before.expired,
                tombstones: after.tombstones - before.tombstones,
                orphans: after.orphans - before.orphans,
                bytes: after.bytes - before.bytes,
            })
        };
        self.inner.run(sweep).await
    }

    /// What lies on the disk. It is looked at anew when the last look is some seconds old.
    ///
    /// # Errors
    /// What the stores say; `Stopping`.
    pub async fn storage(&self) -> Result<Arc<Storage>, Reject> {
        let mut known = self.inner.walks.storage.lock().await;
        if let Some((at, storage)) = &*known
            && at.elapsed() < FRESH
        {
            return Ok(storage.clone());
        }
        let storage = Arc::new(self.measure().await?);
        *known = Some((Instant::now(), storage.clone()));
        Ok(storage)
    }

    async fn measure(&self) -> Result<Storage, Reject> {
        let inner = &self.inner;
        let mut storage = Storage {
            at: now(),
            ..Storage::default()
        };
        // Hashes of ids instead of ids: 100,000 uploads are some MiB here, and gone with the answer.
        let hash = RandomState::new();
        let mut known: HashMap<u64, Place> = HashMap::new();
        self.walk(|upload| {
            let record = &upload.record;
            let at = status_index(record.status);
            let expires = record.expires.filter(|_| !upload.receiving);
            let over = !matches!(
                record.status,
                Status::Active | Status::Assembling | Status::Completed | Status::Scanning
            );
            let useless = over || expires.is_some_and(|at| at <= storage.at);
            let soon = !useless && expires.is_some_and(|at| at <= storage.at + SOON);
            let place = Place {
                status: at,
                useless,
                soon,
                owner: record.owner.clone(),
            };
            let received = if record.is_tombstone() {
                0
            } else {
                record.offset
            };
            let counted = Place {
                useless: useless && !record.is_tombstone(),
                ..place.clone()
            };
            for amount in storage.amounts(&counted) {
                amount.uploads += 1;
                amount.bytes += received;
            }
            known.insert(hash.hash_one(&upload.id), place);
        })
        .await?;
        for shard in inner.blobs.shards().await? {
            if inner.stop.is_cancelled() {
                return Err(Reject::Stopping);
            }
            let files = inner.blobs.files(&shard).await?;
            let usage = inner.blobs.usage(&files).await?;
            for (file, usage) in files.iter().zip(usage) {
                storage.files += 1;
                match known.get(&hash.hash_one(file.owner())) {
                    Some(place) => {
                        for amount in storage.amounts(place) {
                            amount.allocated += usage.share();
                        }
                    }
                    None => storage.reclaimable.allocated += usage.share(),
                }
            }
        }
        Ok(storage)
    }
}

/// Where an upload is counted.
#[derive(Clone)]
struct Place {
    status: usize,
    useless: bool,
    soon: bool,
    owner: Option<UserId>,
}

impl Storage {
    fn amounts(&mut self, place: &Place) -> impl Iterator<Item = &mut Amount> {
        let by_status = self.by_status.get_mut(place.status);
        let by_user = self.by_user.entry(place.owner.clone()).or_default();
        let reclaimable = place.useless.then_some(&mut self.reclaimable);
        let expiring = place.soon.then_some(&mut self.expiring_soon);
        let all = by_status.into_iter().chain([by_user]);
        all.chain(reclaimable).chain(expiring)
    }
}

fn filename(metadata: &[u8]) -> Option<String> {
    let metadata = UploadMetadata::parse(metadata).ok()?;
    let name = metadata.get("filename").or_else(|| metadata.get("name"))?;
    let name: String = String::from_utf8_lossy(&name).chars().take(255).collect();
    Some(name).filter(|name| !name.is_empty())
}

/// What is complete, and not held back by a scan, stays; and of a session nothing is ended but all of it.
pub(super) fn refuse_what_stays(entry: &Entry) -> Result<(), Reject> {
    if entry.is_chunk() {
        return Err(Reject::ChunkOfSession);
    }
    if entry.record().is_finished() {
        return Err(Reject::AlreadyComplete);
    }
    Ok(())
}

fn swept(meter: &Meter) -> Swept {
    Swept {
        expired: meter.expired.sum(),
        tombstones: meter.tombstones.get(),
        orphans: meter.orphans.get(),
        bytes: meter.swept_bytes.get(),
    }
}

impl Inner {
    /// What removing these files gives back: those with other names give nothing.
    pub(super) async fn freed_by(&self, files: &[File]) -> u64 {
        let usage = self.blobs.usage(files).await.unwrap_or_default();
        let last = usage.iter().filter(|usage| usage.names == 1);
        last.map(|usage| usage.allocated).sum()
    }

    /// What failed is counted where every use case ends.
    pub(super) fn count_failure(&self, reject: &Reject) {
        match reject {
            Reject::Blob(_) | Reject::BlobLost => self.meter.blob_errors.one(),
            Reject::State(_) => self.meter.state_errors.one(),
            _ => {}
        }
    }
}
