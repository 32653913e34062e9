//! Where hooks are asked, and what becomes of what they say. What they are only told goes through the outbox.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::overview::refuse_what_stays;
use super::session::ChunkOf;
use super::table::Entry;
use super::{Engine, Inner, More, load};
use crate::blob::{Blob, ChosenPath, File};
use crate::error::Reject;
use crate::hooks::wire::Storage;
use crate::hooks::{Answer, Call, Event, Reply, Upload, cause};
use crate::security::scan::{self, ScanError, Verdict};
use crate::security::user::User;
use crate::state::{Detail, Promise};
use crate::upload::{Kind, Record, Status, UploadId};

/// An upload that somebody wants to create.
#[derive(Debug)]
pub struct Proposed<'a> {
    /// What it is.
    pub kind: Kind,
    /// In bytes; `None` if it is declared later, or is the sum of its parts.
    pub length: Option<u64>,
    /// `Upload-Metadata` as received.
    pub metadata: Option<Bytes>,
    /// Of a final.
    pub parts: Vec<UploadId>,
    /// Who wants it.
    pub by: Option<&'a User>,
}

/// What a hook has made of it.
#[derive(Debug, Default)]
pub struct Chosen {
    /// What it is called.
    pub id: Option<UploadId>,
    /// Where its finished file is to lie.
    pub path: Option<ChosenPath>,
    /// `Upload-Metadata`, whatever was received.
    pub metadata: Option<Bytes>,
    /// For the answer.
    pub answer: Option<Answer>,
}

impl Chosen {
    /// The metadata that counts.
    #[must_use]
    pub fn metadata(&self, received: Option<Bytes>) -> Option<Bytes> {
        self.metadata.clone().or(received)
    }
}

/// What hooks are asked one at a time for.
#[derive(Default)]
pub(super) struct Asking {
    turns: Mutex<HashMap<UploadId, Arc<tokio::sync::Mutex<()>>>>,
    receiving: Mutex<HashSet<UploadId>>,
    /// A pre-finish hook has spoken.
    pub(super) finished: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Asking {
    fn turn(&self, id: &UploadId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = locked(&self.turns);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(id.clone()).or_default().clone()
    }
}

/// A refusal in a hook's words, or in ours.
fn refused(mut answer: Answer, status: u16, code: &'static str) -> Reject {
    let status = match answer.status.take() {
        Some(own) if own >= 400 => own,
        Some(own) => {
            warn!(
                own,
                status, "a hook refuses with a status that is no refusal"
            );
            status
        }
        None => status,
    };
    Reject::Hook {
        status,
        code,
        answer: Box::new(answer),
    }
}

/// A refusal as the answer to HEAD, which clients take for their upload's end: what passes is to be waited for.
fn on_head(mut reject: Reject) -> Reject {
    if let Reject::Hook { status, .. } = &mut reject
        && matches!(*status, 401 | 408 | 425 | 429 | 500..)
    {
        *status = 423;
    }
    reject
}

impl Engine {
    /// Whether any hook is asked or told anything: then doors say for which request they work.
    #[must_use]
    pub fn has_hooks(&self) -> bool {
        self.inner.options.hooks.has_hooks()
    }

    /// Whether a request may go on, as hooks see it. On HEAD a refusal for a passing reason is a 423, whatever their word for it.
    ///
    /// # Errors
    /// `Hook`; `HookDown` where they cannot be asked.
    pub async fn may_access(&self, head: bool, id: Option<&UploadId>) -> Result<(), Reject> {
        let inner = &self.inner;
        if !inner.options.hooks.wants(Event::PreAccess) {
            return Ok(());
        }
        let upload = Upload {
            id: id.cloned(),
            ..Upload::default()
        };
        let call = inner.call(Event::PreAccess, &upload);
        match inner.ask(&call).await {
            Ok(reply) if reply.reject_access => {
                let reject = refused(reply.answer, 403, "access-rejected");
                Err(if head { on_head(reject) } else { reject })
            }
            Ok(_) => Ok(()),
            Err(_) => Err(Reject::HookDown { head }),
        }
    }

    /// Whether an upload may be created, as hooks see it, and what they make of it.
    ///
    /// # Errors
    /// `Hook`, `HookFailed`; `DiskLow`, `TooLarge` and `TooSmall` before they are asked.
    pub async fn may_create(&self, proposed: Proposed<'_>) -> Result<Chosen, Reject> {
        let inner = &self.inner;
        if !inner.options.hooks.wants(Event::PreCreate) {
            return Ok(Chosen::default());
        }
        inner.levels.admits()?;
        let part = proposed.kind == Kind::Partial;
        inner.judge_size(proposed.length, part, proposed.by)?;
        let upload = Upload {
            length: proposed.length,
            metadata: proposed.metadata,
            kind: Some(proposed.kind),
            parts: proposed.parts,
            owner: proposed.by.map(|user| user.id.clone()),
            ..Upload::default()
        };
        let reply = inner.ask(&inner.call(Event::PreCreate, &upload)).await?;
        if reply.reject_upload {
            return Err(refused(reply.answer, 400, "upload-rejected"));
        }
        // A part is nothing that anybody looks for: it becomes a piece of its final.
        let path = reply.path.filter(|_| upload.kind != Some(Kind::Partial));
        Ok(Chosen {
            id: reply.id,
            path,
            metadata: reply.metadata.map(Bytes::from),
            answer: Some(reply.answer),
        })
    }

    /// Whether an upload may be terminated, as hooks see it; what they say for the answer.
    ///
    /// # Errors
    /// `Hook`, `HookFailed`; as [`Engine::terminate`].
    pub async fn may_terminate(&self, id: &UploadId) -> Result<Option<Answer>, Reject> {
        let inner = &self.inner;
        if !inner.options.hooks.wants(Event::PreTerminate) {
            return Ok(None);
        }
        let entry = inner.there(id).await?;
        if entry.is_chunk() {
            // Its session's; hooks are told of no other event of it either.
            return Ok(None);
        }
        let upload = inner.told(&entry, &entry.record());
        let reply = inner.ask(&inner.call(Event::PreTerminate, &upload)).await?;
        if reply.reject_termination {
            return Err(refused(reply.answer, 400, "termination-rejected"));
        }
        Ok(Some(reply.answer))
    }

    /// What hooks say for the answer to whoever completes an upload, or asks for it later: they are asked until they have
    /// spoken once, and that stays.
    ///
    /// # Errors
    /// `HookFailed`: it is tried again with the next question; as [`Engine::look`].
    pub async fn finished(&self, id: &UploadId) -> Result<Option<Answer>, Reject> {
        if !self.inner.options.hooks.wants(Event::PreFinish) {
            return Ok(None);
        }
        match self.inner.outcome(id).await? {
            None => Ok(None),
            Some(Some(answer)) => Ok(Some(answer)),
            Some(None) => {
                let (inner, id) = (self.inner.clone(), id.clone());
                self.inner.run(async move { inner.finish(&id).await }).await
            }
        }
    }

    /// Whether this is how an upload ended whose hooks are asked before its end is told: its last PATCH may come again.
    ///
    /// # Errors
    /// As [`Engine::look`].
    pub async fn ended_at(&self, id: &UploadId, offset: u64) -> Result<bool, Reject> {
        if !self.inner.options.hooks.wants(Event::PreFinish) {
            return Ok(false);
        }
        let record = self.inner.usable(id).await?.record();
        if !record.is_complete() || record.offset != offset {
            return Ok(false);
        }
        self.inner.await_verdict(id).await?;
        Ok(self.inner.outcome(id).await?.is_some())
    }
}

impl Inner {
    pub(super) fn call(&self, event: Event, upload: &Upload) -> Call {
        let hooks = &self.options.hooks;
        hooks.call(event, upload, cause::current().as_ref())
    }

    async fn ask(&self, call: &Call) -> Result<Reply, Reject> {
        self.meter.hook_calls.one(call.event.name());
        let number = || self.outbox.next();
        let asked = self.options.hooks.ask(call, number).await;
        asked.map_err(|fault| {
            self.meter.hook_faults.one(call.event.name());
            warn!(%fault, upload = call.upload, "a hook failed");
            Reject::HookFailed(fault.0)
        })
    }

    /// That a hook's name for an upload is nobody's, under its lock. A name below a session's could be its chunk's.
    pub(super) async fn is_free(self: &Arc<Self>, id: &UploadId) -> Result<(), Reject> {
        let taken = || Reject::HookFailed(format!("ChangeFileInfo.ID: {id} is taken"));
        match self.entry(id).await {
            Err(Reject::NotFound) => {}
            Ok(_) => return Err(taken()),
            Err(reject) => return Err(reject),
        }
        match ChunkOf::named(id) {
            Some(of) if self.state.get(&of.session).await?.is_some() => Err(taken()),
            _ => Ok(()),
        }
    }

    /// An upload as hooks are told of it, with its record as it is or is about to be.
    pub(super) fn told(&self, entry: &Entry, record: &Record) -> Upload {
        let image = entry.image();
        let moved = image.record.status == Status::Assembling && record.status == Status::Completed;
        let storage = match &*image.blob {
            _ if record.is_waiting() && image.session.is_none() => Storage::None,
            Blob::Segments(segments) if !moved && !image.blob.is_chosen() => {
                let segment = |s: &crate::blob::Segment| {
                    let path = absolute(&self.blobs.name(&s.file));
                    (path, s.start, s.len)
                };
                Storage::Segments(segments.iter().map(segment).collect())
            }
            blob => {
                let own = || File::Upload(entry.id.clone());
                let file = blob.one_file().unwrap_or_else(own);
                Storage::File(absolute(&self.blobs.name(&file)))
            }
        };
        Upload {
            id: Some(entry.id.clone()),
            length: record.length,
            offset: record.offset,
            metadata: image.metadata.clone(),
            kind: Some(record.kind),
            parts: image.parts.to_vec(),
            storage,
            owner: record.owner.clone(),
            failure: match record.status {
                Status::Failed(failure) => Some(failure.code()),
                _ => None,
            },
        }
    }

    /// Of an upload that becomes complete: that the pre-finish hook is still to be asked, where there is one.
    pub(super) fn unasked(&self) -> Option<(Detail, Option<Vec<u8>>)> {
        let wanted = self.options.hooks.wants(Event::PreFinish);
        wanted.then(|| (Detail::Finish, Some(load::encode(&None::<Answer>))))
    }

    /// What the pre-finish hook said of an upload: `None`: it is not asked; `Some(None)`: it is still to be asked.
    pub(super) async fn outcome(&self, id: &UploadId) -> Result<Option<Option<Answer>>, Reject> {
        let stored = self.state.detail(id, Detail::Finish).await?;
        stored.map(|bytes| load::decode(id, &bytes)).transpose()
    }

    /// Asks the pre-finish hook, and keeps what it says.
    pub(super) async fn finish(self: &Arc<Self>, id: &UploadId) -> Result<Option<Answer>, Reject> {
        let turn = self.asking.turn(id);
        let _turn = turn.lock().await;
        self.move_soon(id).await;
        let entry = self.usable(id).await?;
        match self.outcome(id).await? {
            Some(None) if entry.record().is_finished() => {}
            other => return Ok(other.flatten()),
        }
        let upload = self.told(&entry, &entry.record());
        let answer = self
            .ask(&self.call(Event::PreFinish, &upload))
            .await?
            .answer;
        let _guard = self.hold(id, false).await?;
        let entry = self.usable(id).await?;
        let more = More {
            details: vec![(Detail::Finish, Some(load::encode(&Some(answer.clone()))))],
            ..More::default()
        };
        self.change(&entry, entry.record(), Promise::Flushed, more)
            .await?;
        self.asking.finished.notify_waiters();
        Ok(Some(answer))
    }

    /// Asks hooks whether they find malware in an upload, which they read where it lies.
    pub(super) async fn ask_for_malware(
        &self,
        entry: &Entry,
        record: &Record,
    ) -> Result<Verdict, ScanError> {
        let upload = self.told(entry, record);
        let reply = self.ask(&self.call(Event::Scan, &upload)).await;
        let reply = reply.map_err(|reject| ScanError::Unavailable(format!("failed: {reject}")))?;
        // Whichever way it refuses: nobody after it was asked.
        if !reply.refuses() {
            return Ok(Verdict::Clean);
        }
        Ok(Verdict::Infected(scan::name(&reply.answer.body)))
    }

    /// Tells hooks of bytes that come, as long as the server runs; a hook may stop the upload.
    pub(super) async fn receiving(self: Arc<Self>) {
        let mut told: HashMap<UploadId, u64> = HashMap::new();
        while self.unless_stopped(self.options.hooks.interval).await {
            let running = self.table.running();
            let whole = running.into_iter().filter_map(|entry| match entry.chunk() {
                Some(chunk) => self.table.peek(&chunk.session).map(|whole| (whole, entry)),
                None => Some((entry.clone(), entry)),
            });
            let running: HashMap<_, _> = whole.map(|(e, by)| (e.id.clone(), (e, by))).collect();
            told.retain(|id, _| running.contains_key(id));
            for (id, (entry, by)) in running {
                let offset = self.facts(&entry).offset;
                let moved = offset > 0 && told.insert(id.clone(), offset) != Some(offset);
                // One question at a time for each.
                if moved && locked(&self.asking.receiving).insert(id) {
                    let live = by.image().live.clone();
                    let cause = live.and_then(|live| live.cause.clone());
                    let told = cause::within(cause, self.clone().receive(entry, offset));
                    let (stop, told) = (self.stop.clone(), Box::pin(told));
                    self.tasks.spawn(stop.run_until_cancelled_owned(told));
                }
            }
        }
    }

    async fn receive(self: Arc<Self>, entry: Arc<Entry>, offset: u64) {
        let upload = Upload {
            offset,
            ..self.told(&entry, &entry.record())
        };
        let reply = self.ask(&self.call(Event::PostReceive, &upload)).await;
        locked(&self.asking.receiving).remove(&entry.id);
        let Ok(reply) = reply else { return };
        // What came to its end meanwhile is not taken back.
        if reply.stop_upload && entry.record().status == Status::Active {
            info!(id = %entry.id, "a hook stops this upload");
            entry.image().stopped = Some(reply.answer);
            let judge = |entry: &Entry| {
                if entry.record().is_complete() {
                    return Err(Reject::AlreadyComplete);
                }
                refuse_what_stays(entry)
            };
            if let Err(reject) = self.terminate(&entry.id, judge).await {
                warn!(id = %entry.id, %reject, "an upload that a hook stops goes on");
                entry.image().stopped = None;
            }
        }
    }

    /// What becomes of a body whose upload a hook has stopped.
    pub(super) fn unless_hook_stopped<T>(
        entry: &Entry,
        ended: Result<T, Reject>,
    ) -> Result<T, Reject> {
        match entry.image().stopped.clone() {
            Some(answer) if ended.is_err() => Err(refused(answer, 400, "upload-stopped")),
            _ => ended,
        }
    }
}

fn absolute(path: &str) -> String {
    let whole = std::path::absolute(path);
    whole.map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}
