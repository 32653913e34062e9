//! What the engine tells those who watch. What happens to an upload is read off the change of its record, in one place;
//! only what changes no record is told where it happens.

use std::sync::Arc;

use super::levels::Level;
use super::session::ChunkOf;
use super::table::Entry;
use super::{Engine, Inner};
use crate::error::Reject;
use crate::progress::event::Part;
use crate::progress::{Disk, Facts, Mailbox, What};
use crate::upload::{Kind, Record, Status, UploadId};

/// A final of more parts is told as their sum only: a message has a size that a browser can show twenty times a second.
const PARTS_TOLD: usize = 64;

impl Engine {
    /// A reader of progress, without subscriptions.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox {
        self.inner.hub.mailbox()
    }

    /// Lets `mailbox` follow an upload, whatever its state, from how it stands; or with what came after the event `since`.
    /// Who may do that is the caller's to know.
    ///
    /// # Errors
    /// `NotFound`, or what storage says.
    pub async fn watch(
        &self,
        mailbox: &mut Mailbox,
        id: &UploadId,
        since: Option<u64>,
    ) -> Result<(), Reject> {
        let entry = self.inner.entry(id).await?;
        if entry.record().is_waiting() {
            // Its parts are looked at in memory from here on; one that cannot be loaded counts for nothing.
            let parts = entry.image().parts.clone();
            for part in parts.iter() {
                let _ = self.inner.entry(part).await;
            }
        }
        mailbox.subscribe(id, since, || self.inner.facts(&entry));
        Ok(())
    }

    /// Lets `mailbox` follow every upload: those that bytes come for now, and those to which anything happens. For
    /// administrators alone.
    pub fn watch_all(&self, mailbox: &mut Mailbox) {
        let table = &self.inner.table;
        let whole = |entry: Arc<Entry>| match entry.chunk() {
            Some(chunk) => table.peek(&chunk.session),
            None => Some(entry),
        };
        let running = table.running().into_iter().filter_map(whole);
        let facts = |entry: Arc<Entry>| (entry.id.clone(), self.inner.facts(&entry));
        let disk = || {
            let space = self.inner.levels.space()?;
            let told = Disk {
                level: space.level.name(),
                free: space.free,
                total: space.total,
            };
            (space.level != Level::Green).then_some(told)
        };
        mailbox.subscribe_all(running.map(facts).collect(), disk);
    }

    /// Resolves when the server stops.
    pub async fn stopping(&self) {
        self.inner.stop.cancelled().await;
    }
}

impl Inner {
    /// Looks for progress for as long as somebody watches; runs until the server stops.
    pub(super) async fn sampler(self: Arc<Self>) {
        let facts = |id: &UploadId| self.table.peek(id).map(|entry| self.facts(&entry));
        let _ = self.stop.run_until_cancelled(self.hub.run(facts)).await;
    }

    /// Something happened to an upload. A session's chunk is told of to those who follow it by name; to those who follow all
    /// uploads it is a part of its session.
    pub(super) fn tell(&self, entry: &Entry, what: What) {
        if self.hub.is_quiet() {
            return;
        }
        let facts = || self.facts(entry);
        if entry.is_chunk() {
            self.hub.emit_by_name(&entry.id, what, facts);
        } else {
            self.hub.emit(&entry.id, what, facts);
        }
    }

    /// Something happened to a chunk that its session's followers are told, while the session takes bytes.
    pub(super) fn tell_session(&self, of: &ChunkOf, what: What) {
        if let Some(whole) = self.table.peek(&of.session)
            && whole.record().status == Status::Active
        {
            self.tell(&whole, what);
        }
    }

    /// There is a new upload.
    pub(super) fn tell_new(&self, entry: &Entry) {
        if !self.hub.is_quiet() {
            self.tell(entry, What::Created);
            let now = entry.record();
            self.tell_status(entry, now.status);
        }
    }

    /// A record has changed.
    pub(super) fn tell_change(&self, entry: &Entry, before: &Record, after: &Record) {
        if self.hub.is_quiet() {
            return;
        }
        if after.offset > before.offset && after.kind != Kind::Final {
            let (start, end) = (before.offset, after.offset);
            self.tell(
                entry,
                What::Stored {
                    chunk: None,
                    start,
                    end,
                },
            );
        }
        if after.is_complete()
            && !before.is_complete()
            && let Some(of) = entry.chunk()
            && let Some(session) = self.session_in_memory(&of)
        {
            let range = session.range(of.number);
            let what = What::Stored {
                chunk: Some(of.number.into()),
                start: range.start,
                end: range.end,
            };
            self.tell_session(&of, what);
        }
        if after.status != before.status {
            self.tell_status(entry, after.status);
        }
    }

    fn tell_status(&self, entry: &Entry, status: Status) {
        let what = match status {
            Status::Active => return,
            Status::Assembling => What::AssemblyStarted,
            Status::Scanning => What::ScanStarted,
            Status::Completed => What::Completed,
            Status::Failed(failure) => What::Failed {
                code: failure.code(),
            },
            Status::Cancelled => What::Cancelled,
            Status::Expired => What::Expired,
        };
        self.tell(entry, what);
    }

    /// A body has ended: bytes that were refused, or that do not come any more. What a newer request took over goes on.
    pub(super) fn tell_end<T>(&self, entry: &Entry, ended: &Result<T, Reject>) {
        let Err(reject) = ended else { return };
        if self.hub.is_quiet() {
            return;
        }
        let code = reject.wire().1;
        match reject {
            Reject::BodyCut { .. } | Reject::IdleBody { .. } | Reject::Shutdown { .. } => {
                self.tell(entry, What::Paused { code: Some(code) });
            }
            Reject::TakenOver { .. } | Reject::Locked => {}
            // Why it failed is told with its record.
            _ if entry.record().status != Status::Active => {}
            _ => {
                self.tell(entry, What::ChunkFailed { chunk: None, code });
                if let Some(of) = entry.chunk() {
                    let chunk = Some(of.number.into());
                    self.tell_session(&of, What::ChunkFailed { chunk, code });
                }
            }
        }
    }

    /// An upload as it is, from memory alone.
    pub(super) fn facts(&self, entry: &Entry) -> Facts {
        let image = entry.image();
        let mut facts = Facts {
            status: image.record.status,
            offset: image.told(),
            length: image.record.length,
            chunks: None,
            parts: None,
            silent: image.live.as_ref().map(|live| live.silent_for()),
        };
        if let Some(session) = image.session.clone() {
            drop(image);
            let there = session.there(facts.status);
            let total = u64::from(session.total);
            facts.offset = there.bytes;
            facts.chunks = Some((total - u64::from(there.chunks), total));
            facts.silent = session.silent_for();
            if session.is_finalizing() && facts.status == Status::Active {
                facts.status = Status::Assembling;
            }
        } else if image.record.is_waiting() {
            let parts = image.parts.clone();
            drop(image);
            self.add_parts(&mut facts, &parts);
        }
        facts
    }

    /// A final that waits is as far as its parts are together.
    fn add_parts(&self, facts: &mut Facts, parts: &[UploadId]) {
        let (mut sum, mut length) = (0u64, Some(0u64));
        let mut told = Vec::with_capacity(parts.len().min(PARTS_TOLD));
        for id in parts {
            let part = self.table.peek(id);
            let (offset, of) = part.map_or((0, None), |part| {
                let image = part.image();
                let silent = image.live.as_ref().map(|live| live.silent_for());
                facts.silent = [facts.silent, silent].into_iter().flatten().min();
                (image.told(), image.record.length)
            });
            sum = sum.saturating_add(offset);
            length = length.zip(of).and_then(|(sum, of)| sum.checked_add(of));
            if parts.len() <= PARTS_TOLD {
                told.push(Part {
                    upload_id: id.clone(),
                    bytes_transferred: offset,
                    total_bytes: of,
                });
            }
        }
        facts.offset = sum;
        facts.length = length;
        facts.parts = (!told.is_empty()).then(|| told.into());
    }
}
