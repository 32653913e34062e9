//! Finals: joined from parts without copying a byte, or waiting until the last part is complete.
//!
//! Locks are taken part first, final second, never the other way round.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::chosen::segments_of;
use super::table::{Entry, Image};
use super::{Engine, Inner, More, View, load, now};
use crate::blob::{Blob, BlobError, ChosenPath, JoinParts};
use crate::config::Durability;
use crate::error::Reject;
use crate::security::user::User;
use crate::state::{Detail, Mark, Promise};
use crate::upload::{Failure, Kind, Millis, Record, Status, UploadId, UserId};

/// A final to create.
#[derive(Debug, Clone)]
pub struct Join {
    /// The parts in their order, each with the text that named it.
    pub parts: Vec<(UploadId, String)>,
    /// `Upload-Metadata` as received.
    pub metadata: Option<Bytes>,
    /// `Upload-Concat` as received.
    pub concat: Bytes,
    /// Who creates it; `None`: nobody is asked.
    pub by: Option<Arc<User>>,
    /// What it is to be called; `None`: as nothing else is.
    pub id: Option<UploadId>,
    /// Where its file is to lie once it is one; `None`: where its name has it.
    pub path: Option<ChosenPath>,
}

impl Engine {
    /// A final upload made of parts: complete at once if they are, else when the last of them is.
    ///
    /// # Errors
    /// `BadPart` for what is no usable partial upload, `TooLarge` or `TooSmall` if they come to too much or too little, `Disabled` where the store
    /// cannot join; nothing is created then.
    pub async fn join(&self, join: Join) -> Result<View, Reject> {
        let inner = self.inner.clone();
        self.inner.run(async move { inner.join(join).await }).await
    }
}

/// How many parts of a waiting final are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// One that is not complete is enough to know that the final waits on. A part that came costs no more than that.
    UpToTheFirstOpen,
    /// One that is gone may come after one that is not complete.
    AtAll,
}

/// Which finals wait for which parts.
#[derive(Default)]
pub(super) struct Waiting {
    finals: Mutex<HashMap<UploadId, Vec<UploadId>>>,
    due: Mutex<Vec<UploadId>>,
    pub(super) notify: Notify,
}

impl Waiting {
    fn finals(&self) -> MutexGuard<'_, HashMap<UploadId, Vec<UploadId>>> {
        self.finals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a final waits for this part, which must not expire then.
    pub(super) fn needs(&self, part: &UploadId) -> bool {
        self.finals().contains_key(part)
    }

    fn of(&self, part: &UploadId) -> Vec<UploadId> {
        self.finals().get(part).cloned().unwrap_or_default()
    }

    pub(super) fn register(&self, id: &UploadId, parts: &[UploadId]) {
        let mut finals = self.finals();
        for part in parts {
            let list = finals.entry(part.clone()).or_default();
            if !list.contains(id) {
                list.push(id.clone());
            }
        }
    }

    pub(super) fn forget(&self, id: &UploadId) {
        self.finals().retain(|_, list| {
            list.retain(|other| other != id);
            !list.is_empty()
        });
    }

    /// A part was found complete outside any request: its finals are looked at in the background.
    pub(super) fn wake(&self, part: &UploadId) {
        for id in self.of(part) {
            self.postpone(&id);
            self.notify.notify_one();
        }
    }

    /// A final is looked at again, some time later.
    pub(super) fn postpone(&self, id: &UploadId) {
        self.due
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(id.clone());
    }

    /// Finals that are to be looked at again.
    pub(super) fn take_due(&self) -> Vec<UploadId> {
        std::mem::take(&mut self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn joiner(&self) -> Result<&dyn JoinParts, Reject> {
        self.blobs.join().ok_or(Reject::Disabled("concatenation"))
    }

    async fn join(self: Arc<Self>, join: Join) -> Result<View, Reject> {
        self.joiner()?;
        let owner = join.by.as_ref().map(|user| user.id.clone());
        let Parts {
            all_complete,
            all_told,
            known,
        } = self.check_parts(&join.parts, owner.as_ref()).await?;
        let by = join.by.as_deref();
        let limit = self.max_size(by);
        self.judge_size(Some(known), !all_told, by)?;
        let metadata = self.named_well(join.metadata)?;
        self.judge_type(metadata.as_deref(), by, false)?;
        let (id, held) = self.name_for(join.id).await?;
        let parts: Arc<[UploadId]> = join.parts.iter().map(|(part, _)| part.clone()).collect();
        let _reserved = self.reserve_final(&id, by, (&parts, !all_complete))?;
        let record = Record {
            owner,
            limit: join.by.as_ref().and_then(|user| user.limits.max_size),
            ..Record::new(Kind::Final, None, now())
        };
        let mut image = Image::new(&id, record);
        image.metadata = metadata;
        image.concat = Some(join.concat);
        image.parts = parts.clone();
        let claim = self.claim(&id, join.path.as_ref()).await?;
        image.path = join.path;
        if all_complete {
            let (blob, length) =
                self.link(&id, &parts)
                    .await
                    .map_err(|reject| match reject.wire().0 {
                        404 | 410 => Reject::BadPart("a part that has just gone".into()),
                        _ => reject,
                    })?;
            let metadata = image.metadata.as_deref();
            if let Err(reject) = self.judge_stored(&blob, length, metadata).await {
                self.blobs
                    .remove(&super::end::all_files(&id, &blob))
                    .await?;
                return Err(reject);
            }
            let status = self.joined_status(length, image.path.is_some());
            image.blob = Arc::new(blob);
            image.record = Record {
                status,
                length: Some(length),
                offset: length,
                ..image.record
            };
            let mut marks = if status == Status::Assembling {
                vec![(Mark::Assembling, true)]
            } else {
                Vec::new()
            };
            self.scan_first(&mut image.record, &mut marks);
            let view = self.introduce(id, image, marks).await?;
            claim.keep();
            self.after_join(&view.id, view.offset, &parts);
            drop(held);
            self.await_verdict(&view.id).await?;
            return Ok(view);
        }
        // Registered before it is stored, so that no part becomes complete, or expires, unseen.
        self.waiting.register(&id, &parts);
        if let Err(reject) = self
            .introduce(id.clone(), image, vec![(Mark::Waiting, true)])
            .await
        {
            self.waiting.forget(&id);
            return Err(reject);
        }
        claim.keep();
        drop(held);
        self.finish_waiting(&id, Look::UpToTheFirstOpen).await;
        self.await_verdict(&id).await?;
        match self.usable(&id).await {
            Ok(entry) => Ok(super::view(&entry)),
            // What became of its parts meanwhile: as if it had been so before.
            Err(reject) => {
                self.undo(&id).await?;
                Err(match reject {
                    Reject::PartsTooLarge => Reject::TooLarge { limit },
                    Reject::PartsTooSmall => Reject::TooSmall {
                        least: self.options.min_size,
                    },
                    Reject::PartGone => Reject::BadPart("a part that has just gone".into()),
                    other => other,
                })
            }
        }
    }

    /// Every part must be a partial upload that can be used, and the same owner's where there are any.
    async fn check_parts(
        self: &Arc<Self>,
        parts: &[(UploadId, String)],
        owner: Option<&UserId>,
    ) -> Result<Parts, Reject> {
        let mut seen: HashMap<&UploadId, (bool, Option<u64>, u64)> = HashMap::new();
        let mut all = Parts {
            all_complete: true,
            all_told: true,
            known: 0,
        };
        for (part, named) in parts {
            let (complete, length, offset) = match seen.entry(part) {
                Place::Occupied(place) => *place.get(),
                Place::Vacant(place) => {
                    let bad = |reject: Reject| match reject.wire().0 {
                        404 | 410 => Reject::BadPart(named.clone()),
                        _ => reject,
                    };
                    let entry = self.entry(part).await.map_err(bad)?;
                    let record = entry.record();
                    // A session's chunks are its own; before how it stands, which is told to its owner alone.
                    let foreign = owner.is_some() && record.owner.as_ref() != owner;
                    if foreign || record.kind != Kind::Partial || entry.is_chunk() {
                        return Err(Reject::BadPart(named.clone()));
                    }
                    self.standing(&entry).map_err(bad)?;
                    *place.insert((record.is_complete(), record.length, record.offset))
                }
            };
            all.all_complete &= complete;
            all.all_told &= length.is_some();
            all.known = all.known.saturating_add(length.unwrap_or(offset));
        }
        Ok(all)
    }

    /// The blob of a final over its complete parts' bytes, and its length.
    async fn link(
        self: &Arc<Self>,
        id: &UploadId,
        parts: &[UploadId],
    ) -> Result<(Blob, u64), Reject> {
        let joiner = self.joiner()?;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut sources = Vec::with_capacity(parts.len());
            let mut length = 0u64;
            for part in parts {
                let entry = self.usable(part).await?;
                let image = entry.image();
                sources.push(((*image.blob).clone(), image.record.offset));
                length = length.saturating_add(image.record.offset);
            }
            match joiner.link(id, &sources).await {
                Ok(segments) if segments.is_empty() => return Ok((Blob::Own(id.clone()), 0)),
                Ok(segments) => return Ok((Blob::Segments(segments), length)),
                // A part whose bytes were just moved into another final's file: look again where they are.
                Err(BlobError::Lost) if tries < 3 => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Where a hook has chosen a path, a file is to lie there, whatever becomes of other finals.
    fn joined_status(&self, length: u64, chosen: bool) -> Status {
        if (self.options.assemble || chosen) && length > 0 {
            Status::Assembling
        } else {
            Status::Completed
        }
    }

    fn after_join(self: &Arc<Self>, id: &UploadId, length: u64, parts: &Arc<[UploadId]>) {
        info!(%id, length, parts = parts.len(), "upload joined");
        self.assemble.notify_one();
        if !self.options.keep_partials {
            let (inner, parts) = (self.clone(), parts.clone());
            self.tasks
                .spawn(async move { inner.drop_parts(&parts).await });
        }
    }

    /// The parts of a joined final go, unless another final waits for them.
    ///
    /// # Errors
    /// Of the last one that stays, after all were tried.
    pub(super) async fn drop_parts(self: &Arc<Self>, parts: &[UploadId]) -> Result<(), Reject> {
        let mut dropped = Ok(());
        for part in parts {
            if self.waiting.needs(part) {
                continue;
            }
            match self.drop_part(part).await {
                Ok(()) => {}
                Err(error) => {
                    warn!(id = %part, %error, "a joined part was not removed");
                    dropped = Err(error);
                }
            }
        }
        dropped
    }

    async fn drop_part(self: &Arc<Self>, part: &UploadId) -> Result<(), Reject> {
        let guard = self.hold(part, true).await?;
        match self.usable(part).await {
            Ok(entry) => self.end(&entry, Status::Cancelled, guard.as_ref()).await,
            Err(error @ (Reject::State(_) | Reject::Blob(_) | Reject::Panicked)) => Err(error),
            // It has ended, or failed, which is for its owner to see.
            Err(_) => Ok(()),
        }
    }

    /// The length a waiting final will have, once every part's is known.
    pub(super) async fn expected_length(self: &Arc<Self>, entry: &Entry) -> Option<u64> {
        let (parts, known) = {
            let image = entry.image();
            (image.parts.clone(), image.expected)
        };
        if known.is_some() {
            return known;
        }
        let mut sum = 0u64;
        for part in parts.iter() {
            sum = sum.checked_add(self.usable(part).await.ok()?.record().length?)?;
        }
        entry.image().expected = Some(sum);
        Some(sum)
    }

    /// When a waiting final or one of its parts was last touched: as long as bytes come for it, it lives.
    pub(super) async fn last_touched(self: &Arc<Self>, entry: &Entry) -> Millis {
        let (parts, mut last) = {
            let image = entry.image();
            (image.parts.clone(), image.record.touched)
        };
        for part in parts.iter() {
            if let Ok(part) = self.entry(part).await {
                last = last.max(part.record().touched);
            }
        }
        last
    }

    /// A part is complete: finals that waited for it alone are complete too.
    pub(super) async fn part_complete(self: &Arc<Self>, part: &UploadId) {
        for id in self.waiting.of(part) {
            self.finish_waiting(&id, Look::UpToTheFirstOpen).await;
        }
    }

    /// A part is gone: finals that waited for it have failed.
    pub(super) async fn part_gone(self: &Arc<Self>, part: &UploadId) {
        for id in self.waiting.of(part) {
            self.finish_waiting(&id, Look::AtAll).await;
        }
    }

    /// Joins a waiting final if all its parts are complete; it has failed if one is gone. What cannot be told now is looked
    /// at again.
    pub(super) async fn finish_waiting(self: &Arc<Self>, id: &UploadId, look: Look) {
        let Ok(_guard) = self.hold(id, false).await else {
            return self.waiting.postpone(id);
        };
        let entry = match self.entry(id).await {
            Ok(entry) if entry.record().status == Status::Active => entry,
            Ok(_) | Err(Reject::NotFound) => return self.waiting.forget(id),
            Err(reject) => {
                warn!(%id, %reject, "a waiting final cannot be loaded");
                return self.waiting.postpone(id);
            }
        };
        let parts = entry.image().parts.clone();
        let mut all_complete = true;
        for part in parts.iter() {
            match self.usable(part).await {
                Ok(part) if part.is_complete_partial() => {}
                Ok(_) if look == Look::UpToTheFirstOpen => return,
                Ok(_) => all_complete = false,
                Err(reject) if !matches!(reject.wire().0, 404 | 410) => {
                    return self.waiting.postpone(id);
                }
                Err(_) => {
                    self.fail(&entry, Failure::PartGone, vec![(Mark::Waiting, false)])
                        .await;
                    return self.waiting.forget(id);
                }
            }
        }
        if !all_complete {
            return;
        }
        match self.join_waiting(&entry, &parts).await {
            Ok(joined) => {
                self.waiting.forget(id);
                if let Some(length) = joined {
                    self.after_join(id, length, &parts);
                }
            }
            Err(reject) => {
                warn!(%id, %reject, "a waiting final could not be joined, and is tried again");
                self.waiting.postpone(id);
            }
        }
    }

    /// `None`: the parts come to too much, or to something else than was declared, and the final has failed.
    async fn join_waiting(
        self: &Arc<Self>,
        entry: &Entry,
        parts: &[UploadId],
    ) -> Result<Option<u64>, Reject> {
        let (blob, length) = self.link(&entry.id, parts).await?;
        let mut record = entry.record();
        let mut marks = vec![(Mark::Waiting, false)];
        let metadata = entry.image().metadata.clone();
        let failure = if length > record.most(self.options.max_size) {
            Some(Failure::TooLarge)
        } else if length < self.options.min_size {
            Some(Failure::TooSmall)
        } else {
            match self.judge_stored(&blob, length, metadata.as_deref()).await {
                Ok(()) => None,
                Err(Reject::TypeMismatch(_)) => Some(Failure::TypeMismatch),
                Err(reject) => return Err(reject),
            }
        };
        if let Some(failure) = failure {
            self.blobs
                .remove(&super::end::all_files(&entry.id, &blob))
                .await?;
            self.fail(entry, failure, marks).await;
            return Ok(None);
        }
        let promise = if self.options.durability == Durability::Process {
            Promise::Flushed
        } else {
            self.blobs.sync(&entry.id, &blob).await?;
            Promise::Synced
        };
        record.status = self.joined_status(length, entry.image().path.is_some());
        if record.status == Status::Assembling {
            marks.push((Mark::Assembling, true));
        }
        record.length = Some(length);
        record.offset = length;
        if promise == Promise::Synced {
            record.synced = length;
        }
        let late = record.is_unsynced();
        if late {
            marks.push((Mark::Open, true));
        }
        record.touched = now();
        self.stamp(&mut record);
        self.scan_first(&mut record, &mut marks);
        let details = vec![(Detail::Segments, segments_of(&blob).map(load::encode))];
        // In memory the blob comes before the record that says complete: who sees the one finds the other.
        entry.image().blob = Arc::new(blob);
        self.change(entry, record, promise, More { details, marks })
            .await?;
        if late {
            self.late.push(&entry.id);
        }
        Ok(Some(length))
    }
}

/// What the parts of a new final come to.
struct Parts {
    all_complete: bool,
    /// Whether the length of each is known.
    all_told: bool,
    /// Bytes known so far.
    known: u64,
}
