//! What the engine tells those who watch. What happens to an upload is read off the change of its record, in one place;
//! only what changes no record is told where it happens.

use std::sync::Arc;

use super::table::Entry;
use super::{Appended, Engine, Inner};
use crate::error::Reject;
use crate::progress::event::Part;
use crate::progress::{Facts, Mailbox, What};
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
        if is_waiting(&entry.record()) {
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
        let running = self.inner.table.running();
        let facts = |entry: &Arc<Entry>| (entry.id.clone(), self.inner.facts(entry));
        mailbox.subscribe_all(running.iter().map(facts).collect());
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

    /// Something happened to an upload.
    pub(super) fn tell(&self, entry: &Entry, what: What) {
        if !self.hub.is_quiet() {
            self.hub.emit(&entry.id, what, || self.facts(entry));
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
        if after.status != before.status {
            self.tell_status(entry, after.status);
        }
    }

    fn tell_status(&self, entry: &Entry, status: Status) {
        let what = match status {
            Status::Active => return,
            Status::Assembling => What::AssemblyStarted,
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
    pub(super) fn tell_end(&self, entry: &Entry, appended: &Result<Appended, Reject>) {
        let Err(reject) = appended else { return };
        let code = reject.wire().1;
        match reject {
            Reject::BodyCut { .. } | Reject::IdleBody { .. } | Reject::Shutdown { .. } => {
                self.tell(entry, What::Paused { code: Some(code) });
            }
            Reject::TakenOver { .. } => {}
            // Why it failed is told with its record.
            _ if entry.record().status != Status::Active => {}
            _ => self.tell(entry, What::ChunkFailed { chunk: None, code }),
        }
    }

    /// An upload as it is, from memory alone.
    fn facts(&self, entry: &Entry) -> Facts {
        let image = entry.image();
        let mut facts = Facts {
            status: image.record.status,
            offset: image.told(),
            length: image.record.length,
            chunks: None,
            parts: None,
            silent: image.live.as_ref().map(|live| live.silent_for()),
        };
        if is_waiting(&image.record)
            && let Some(session) = image.session.clone()
        {
            drop(image);
            let total = u64::from(session.total);
            facts.offset = session.bytes();
            facts.chunks = Some((total - u64::from(session.count()), total));
        } else if is_waiting(&image.record) {
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

/// Whether this is a final whose parts are not all there yet.
fn is_waiting(record: &Record) -> bool {
    record.kind == Kind::Final && record.status == Status::Active
}
