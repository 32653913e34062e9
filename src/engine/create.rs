//! A new upload: sidecar, record, details; all of it or nothing.

use std::sync::Arc;

use tracing::warn;

use super::about::About;
use super::chosen::noted;
use super::end::all_files;
use super::outbox::stored;
use super::table::{Entry, Image};
use super::{Create, Inner, View, load, now, view};
use crate::blob::{Blob, File};
use crate::config::Durability;
use crate::error::Reject;
use crate::lock::Guard;
use crate::security::user::User;
use crate::state::{Change, Detail, Mark, Promise};
use crate::upload::{Kind, Record, Status, UploadId};

impl Inner {
    pub(super) async fn create(self: &Arc<Self>, create: Create) -> Result<View, Reject> {
        self.levels.admits()?;
        let by = create.by.as_deref();
        self.judge_size(create.length, create.kind == Kind::Partial, by)?;
        let metadata = self.named_well(create.metadata)?;
        self.judge_type(metadata.as_deref(), by, create.kind == Kind::Partial)?;
        let (id, held) = self.name_for(create.id).await?;
        let opens = create.length != Some(0);
        let _reserved = self.reserve(&id, by, (create.length.unwrap_or(0), opens))?;
        let record = Record::new(create.kind, create.length, now());
        let mut image = Image::new(
            &id,
            Record {
                owner: create.by.as_ref().map(|user| user.id.clone()),
                limit: create.by.as_ref().and_then(|user| user.limits.max_size),
                ..record
            },
        );
        image.metadata = metadata;
        image.concat = create.concat;
        let claim = self.claim(&id, create.path.as_ref()).await?;
        image.path = create.path;
        let view = self.introduce(id, image, Vec::new()).await?;
        claim.keep();
        drop(held);
        if view.is_complete() {
            self.move_soon(&view.id).await;
        }
        Ok(view)
    }

    /// The new upload's name, and the lock on it: its files are no orphans while there is no record yet.
    pub(super) async fn name_for(
        self: &Arc<Self>,
        chosen: Option<UploadId>,
    ) -> Result<(UploadId, Option<Box<dyn Guard>>), Reject> {
        let Some(id) = chosen else {
            let id = UploadId::random();
            let held = self.locks.try_lock(&id);
            return Ok((id, held));
        };
        let held = self.hold(&id, false).await?;
        self.is_free(&id).await?;
        Ok((id, Some(held)))
    }

    /// The most bytes that an upload of this user may have.
    pub(super) fn max_size(&self, by: Option<&User>) -> u64 {
        let own = by.and_then(|user| user.limits.max_size);
        self.options.max_size.min(own.unwrap_or(u64::MAX))
    }

    /// Whether an upload of this user may be so long, where that is known; a part may be as short as it likes.
    pub(super) fn judge_size(
        &self,
        length: Option<u64>,
        part: bool,
        by: Option<&User>,
    ) -> Result<(), Reject> {
        let (least, limit) = (self.options.min_size, self.max_size(by));
        match length {
            Some(length) if length > limit => Err(Reject::TooLarge { limit }),
            Some(length) if length < least && !part => Err(Reject::TooSmall { least }),
            _ => Ok(()),
        }
    }

    /// Stores a new upload: record and details, then the sidecar; removes all of it again where that fails.
    pub(super) async fn introduce(
        &self,
        id: UploadId,
        mut image: Image,
        mut marks: Vec<(Mark, bool)>,
    ) -> Result<View, Reject> {
        image.record.power_cuts = self.options.power_cuts;
        self.stamp(&mut image.record);
        let about = About::of(&id, &image);
        let born = image.record.is_complete() || image.session.is_some();
        let empty = born && image.record.length == Some(0);
        let mut record = image.record.clone();
        let moves = image.move_first(&mut record, &mut marks);
        image.record = record;
        let whole = image.record.is_complete() && self.options.durability == Durability::Complete;
        let promise = if whole || moves || self.options.durability == Durability::Every {
            Promise::Synced
        } else {
            Promise::Flushed
        };
        if promise == Promise::Synced {
            // What a final has is synced below, before anybody is told of it.
            image.record.synced = image.record.offset;
        } else if image.record.is_unsynced() {
            marks.push((Mark::Open, true));
        }
        let entry = Arc::new(Entry::new(id.clone(), image));
        let record = entry.record();
        let letters = self.letters_of(&entry, None, &record);
        let store = async {
            let mut details = details(&entry);
            if record.is_finished() {
                details.extend(self.unasked());
            }
            if let Some(path) = &entry.image().path {
                details.push(noted(path));
                marks.push((Mark::Path, true));
            }
            let change = Change {
                details,
                marks,
                ..Change::record(&id, None, Some(record))
            };
            self.commit_with(vec![change], stored(&letters), promise)
                .await?;
            // After the record: so a sidecar without one shows that the state store has lost it.
            let sidecar = async {
                self.blobs.create(&id, &about.to_bytes(), empty).await?;
                if promise == Promise::Synced {
                    self.blobs.sync(&id, &entry.blob()).await?;
                }
                Ok::<_, Reject>(())
            };
            if let Err(reject) = sidecar.await {
                self.take_back(&letters).await;
                self.forget(&entry).await;
                return Err(reject);
            }
            Ok(entry.clone())
        };
        // Whoever finds the record in the state store before this returns waits for this entry: there is one an upload.
        let slot = self.table.slot(&id);
        if let Err(reject) = slot.get_or_try_init(|| store).await.cloned() {
            drop(slot);
            self.table.forget_empty(&id);
            let files = all_files(&id, &entry.blob());
            if let Err(error) = self.blobs.remove(&files).await {
                warn!(%id, %error, "what was left of a failed creation is removed later");
            }
            return Err(reject);
        }
        self.send(letters);
        if entry.record().is_unsynced() {
            self.late.push(&entry.id);
        }
        if entry.record().status == Status::Scanning {
            self.scans.push(&entry.id);
        }
        if moves {
            self.assemble.notify_one();
        } else if empty && entry.record().is_complete() {
            self.tell_complete(&entry);
        }
        self.tell_new(&entry);
        Ok(view(&entry))
    }

    /// Removes what a failed creation has stored: its sidecar, which would bring it back, and then its record.
    pub(super) async fn forget(&self, entry: &Entry) {
        let forget = async {
            self.blobs.remove(&[File::About(entry.id.clone())]).await?;
            let gone = Change::record(&entry.id, Some(entry.record()), None);
            self.commit(vec![gone], Promise::Flushed).await
        };
        if let Err(error) = forget.await {
            warn!(id = %entry.id, %error, "what is left of a failed creation expires");
        }
    }
}

/// The details of a new upload.
pub(super) fn details(entry: &Entry) -> Vec<(Detail, Option<Vec<u8>>)> {
    let image = entry.image();
    let mut details = Vec::new();
    if let Some(metadata) = &image.metadata {
        details.push((Detail::Metadata, Some(metadata.to_vec())));
    }
    if let Some(concat) = &image.concat {
        details.push((Detail::Concat, Some(concat.to_vec())));
    }
    if !image.parts.is_empty() {
        details.push((Detail::Parts, Some(load::encode(&image.parts[..]))));
    }
    if let Some(session) = &image.session {
        details.push((Detail::Session, Some(load::encode(&session.facts))));
    }
    if let Blob::Segments(segments) = &*image.blob {
        details.push((Detail::Segments, Some(load::encode(segments))));
    }
    details
}
