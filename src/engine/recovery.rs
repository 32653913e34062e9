//! The start: after a crash the state store and the disk are brought together again. Before the server listens, the records
//! are counted, without a look at a file. An upload is held against its blob when it is first asked for; what was open at the
//! end is looked at at once, in the background, everything else by the sweeper's first round.
//!
//! With 1,000 open uploads a start took 60 to 78 ms until it listened: 36 to 48 of that were the looking at them, and 12 to 20
//! the second note of `data_dir`, which is made in the background as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::about::About;
use super::chosen::{Paths, noted};
use super::hooks::Asking;
use super::join::Waiting;
use super::late::Late;
use super::levels::Levels;
use super::outbox::Outbox;
use super::overview::Walks;
use super::scan::Scans;
use super::table::Table;
use super::turns::Turns;
use super::{Engine, Inner, More, Options, load};
use crate::blob::{Blob, BlobStore, File, Segment};
use crate::error::Reject;
use crate::hooks::Event;
use crate::lock::Locker;
use crate::progress::Hub;
use crate::state::{Change, Detail, Mark, Promise, StateStore};
use crate::upload::{Failure, Kind, Record, Status, UploadId, UserId};

/// So many uploads are looked at at the same time: each is some reads that wait for a thread.
const AT_ONCE: usize = 32;

/// What the start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Uploads that were open, or not yet synced, at the end: they are looked at in the background.
    pub open: usize,
    /// Finals that wait for parts.
    pub waiting: usize,
    /// Finals to be assembled.
    pub assembling: usize,
    /// Records made anew from sidecars.
    pub rebuilt: usize,
    /// Uploads, sessions among them, that a user created.
    pub owned: usize,
    /// Uploads and sessions that were begun within the last hour, whatever became of them: by whom, and how long ago, the
    /// oldest first.
    pub begun: Vec<(Option<UserId>, Duration)>,
}

impl Engine {
    /// Brings state and disk together and starts the background work. With `rebuild` the state store is new and empty, and
    /// the records are made from the sidecars.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn open(
        options: Options,
        blobs: Arc<dyn BlobStore>,
        state: Arc<dyn StateStore>,
        locks: Arc<dyn Locker>,
        rebuild: bool,
    ) -> Result<(Self, Recovered), Reject> {
        let no_records = state.scan(None, 1).await?.is_empty();
        let hub = Hub::new(options.pause_after);
        let hooks = options.hooks.clone();
        let (outbox, posted) = Outbox::new(hooks.sinks());
        let inner = Arc::new(Inner {
            options,
            blobs,
            state,
            locks,
            table: Table::default(),
            waiting: Waiting::default(),
            paths: Paths::default(),
            late: Late::default(),
            scans: Scans::default(),
            meter: Arc::default(),
            ledger: Arc::default(),
            levels: Levels::default(),
            walks: Walks::default(),
            outbox,
            asking: Asking::default(),
            digesting: Turns::new(1),
            no_records,
            hub,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            appending: AtomicUsize::new(0),
            assemble: Notify::new(),
            short_of_space: AtomicBool::new(false),
            broken: CancellationToken::new(),
        });
        let mut found = Recovered::default();
        inner.recover_letters().await?;
        inner.recover_paths().await?;
        // sled takes a log whose beginning is damaged for an empty one: no record at all is no proof that there was none.
        if rebuild || no_records {
            found.rebuilt = inner.rebuild().await?;
        }
        let open = inner.recover(&mut found).await?;
        inner.take_stock(&mut found).await?;
        inner.look_at_disk().await;
        inner.tasks.spawn(inner.clone().watcher());
        inner.tasks.spawn(inner.clone().chores());
        inner.tasks.spawn(inner.clone().recover_open(open));
        inner.tasks.spawn(inner.clone().sweeper());
        inner.tasks.spawn(inner.clone().assembler());
        inner.tasks.spawn(inner.clone().scanner());
        inner.tasks.spawn(inner.clone().sampler());
        if !hooks.is_empty() {
            inner.tasks.spawn(inner.clone().post_office(posted));
        }
        if hooks.wants(Event::PostReceive) {
            inner.tasks.spawn(inner.clone().receiving());
        }
        Ok((Self { inner }, found))
    }
}

impl Inner {
    /// What was open at the end is the answer.
    async fn recover(self: &Arc<Self>, found: &mut Recovered) -> Result<Vec<UploadId>, Reject> {
        // Before anything else is loaded: a part that turns out complete must find the finals that wait for it.
        let waiting = self.state.marked(Mark::Waiting).await?;
        found.waiting = waiting.len();
        for id in &waiting {
            if let Some(entry) = self.entry_logged(id).await {
                self.waiting.register(id, &entry.image().parts);
            }
            self.waiting.postpone(id);
        }
        let open = self.state.marked(Mark::Open).await?;
        found.open = open.len();
        found.assembling = self.state.marked(Mark::Assembling).await?.len();
        Ok(open)
    }

    /// Looks at what was open at the end, and from then on syncs what is complete.
    async fn recover_open(self: Arc<Self>, open: Vec<UploadId>) {
        let looked_at = stream::iter(open)
            .map(|id| {
                let inner = self.clone();
                async move { inner.recover_one(&id).await }
            })
            .buffer_unordered(AT_ONCE)
            .take_until(self.stop.cancelled())
            .count()
            .await;
        if looked_at > 0 {
            info!(
                uploads = looked_at,
                "what was open at the end has been looked at"
            );
        }
        self.syncer().await;
    }

    /// Looks at one that was open when the last server ended. Whoever asks for it meanwhile does the same.
    pub(super) async fn recover_one(self: &Arc<Self>, id: &UploadId) {
        // Complete ones are many where nothing is synced on the way: they are looked at when they are asked for, or synced.
        if let Ok(Some(record)) = self.state.get(id).await
            && record.is_complete()
        {
            return self.late.push(id);
        }
        let Some(entry) = self.entry_logged(id).await else {
            return;
        };
        // Whoever holds it opens it anew, and sees to the mark at its rest.
        let Some(_guard) = self.locks.try_lock(id) else {
            return;
        };
        if entry.image().marked_open || (entry.record().is_unsynced() && !entry.is_chunk()) {
            // It was opened anew, or is complete: what completed it has seen to that.
            return;
        }
        let more = More {
            marks: vec![(Mark::Open, false)],
            ..More::default()
        };
        let changed = self.change(&entry, entry.record(), Promise::Queued, more);
        if let Err(reject) = changed.await {
            warn!(%id, %reject, "the next start looks at this upload once more");
        }
    }

    /// Makes every record anew from its sidecar and its blob's length.
    async fn rebuild(&self) -> Result<usize, Reject> {
        let mut rebuilt = 0;
        for shard in self.blobs.shards().await? {
            let mut changes = Vec::new();
            for file in self.blobs.files(&shard).await? {
                let File::About(id) = file else {
                    continue;
                };
                // What an interrupted rebuild has made already stays as it is.
                if self.state.get(&id).await?.is_some() {
                    continue;
                }
                match self.rebuild_one(&id).await? {
                    Some(change) => changes.push(change),
                    None => {
                        error!(%id, "the sidecar cannot be read: this upload is lost, and its files stay");
                        let mut record = Record::new(Kind::Plain, None, super::now());
                        record.status = Status::Failed(Failure::BlobLost);
                        record.offset = u64::MAX;
                        changes.push(Change::record(&id, None, Some(record)));
                    }
                }
            }
            rebuilt += changes.len();
            if !changes.is_empty() {
                self.commit(changes, Promise::Synced).await?;
            }
        }
        if rebuilt > 0 {
            error!(
                rebuilt,
                "RECORDS REBUILT from the sidecars: tombstones and lengths declared later are lost"
            );
        }
        Ok(rebuilt)
    }

    /// The record of an upload that has a sidecar, though the state store knows nothing of it: a damaged page of its log, and
    /// it takes what follows for never written. Without a sidecar there is nothing to be known.
    pub(super) async fn revive(&self, id: &UploadId) -> Result<Option<Record>, Reject> {
        let Some(change) = self.rebuild_one(id).await? else {
            return Ok(None);
        };
        error!(%id, "A RECORD WAS LOST by the state store: made anew from the sidecar");
        let record = change.record.clone();
        let waits = change.marks.contains(&(Mark::Waiting, true));
        self.commit(vec![change], Promise::Flushed).await?;
        if record.as_ref().is_some_and(Record::is_unsynced) {
            self.late.push(id);
        }
        if record
            .as_ref()
            .is_some_and(|r| r.status == Status::Scanning)
        {
            self.scans.push(id);
        }
        if waits && let Some(parts) = self.state.detail(id, Detail::Parts).await? {
            let parts: Vec<UploadId> = load::decode(id, &parts)?;
            self.waiting.register(id, &parts);
            parts
                .first()
                .into_iter()
                .for_each(|part| self.waiting.wake(part));
        }
        self.assemble.notify_one();
        Ok(record)
    }

    async fn rebuild_one(&self, id: &UploadId) -> Result<Option<Change>, Reject> {
        let Some((bytes, list)) = self.blobs.about(id).await? else {
            return Ok(None);
        };
        let Some(about) = About::from_bytes(&bytes).filter(|about| about.id == *id) else {
            return Ok(None);
        };
        let own = Blob::Own(id.clone());
        let stored = self.blobs.stored(&own).await?;
        let mut record = Record::new(about.kind, about.length, about.created);
        record.owner.clone_from(&about.owner);
        record.power_cuts = self.options.power_cuts;
        record.touched = super::now();
        let mut change = Change::record(id, None, None);
        if let Some(facts) = &about.session {
            // Its file's length tells nothing: what its chunks' own records do not say is missing.
            change
                .details
                .push((Detail::Session, Some(load::encode(facts))));
            let listed = list.filter(|_| stored == 0);
            let length = listed.as_ref().map_or(stored, |list| length_of(list));
            if about.whole && Some(length) == about.length {
                record.offset = length;
                record.synced = length;
                record.status = Status::Completed;
                let segments = listed.map(|list| (Detail::Segments, Some(load::encode(&list))));
                change.details.extend(segments);
            }
        } else if about.kind == Kind::Final {
            self.rebuild_final(&about, &mut record, &mut change, (stored, list));
        } else if let Some(list) = list.filter(|_| stored == 0) {
            // What was complete, and lies in its final's file since, or where a hook wants it.
            let length = length_of(&list);
            record.length = Some(length);
            record = record.advance(length, record.touched)?;
            record.synced = record.offset;
            change
                .details
                .push((Detail::Segments, Some(load::encode(&list))));
        } else {
            let offset = about.length.map_or(stored, |length| stored.min(length));
            record = record.advance(offset, record.touched)?;
            if !record.is_complete() {
                record.synced = record.offset;
            }
            if self.options.power_lost && !record.is_complete() {
                // What of it was on the disk is not known any more: it is cut to nothing when it is next looked at.
                record.offset = 0;
                record.synced = 0;
                record.power_cuts = !self.options.power_cuts;
            }
        }
        self.stamp(&mut record);
        if self.options.power_lost && !self.no_records && record.is_complete() && record.offset > 0
        {
            // The record of what was told to be complete, and synced, is there; this one's file may hold anything.
            error!(%id, "a power cut took this upload's record, and what its file holds is not known");
            record.status = Status::Failed(Failure::DiskFault);
            change.marks.clear();
        }
        if record.is_unsynced() {
            // It may have been synced, but nobody knows that any more.
            change.marks.push((Mark::Open, true));
        }
        // Whether anybody looked through it is not known any more.
        self.scan_first(&mut record, &mut change.marks);
        self.rebuild_path(&about, &mut record, &mut change);
        change.record = Some(record);
        let details = [
            (Detail::Metadata, about.metadata.map(String::into_bytes)),
            (Detail::Concat, about.concat.map(String::into_bytes)),
            (
                Detail::Parts,
                (!about.parts.is_empty()).then(|| load::encode(&about.parts[..])),
            ),
        ];
        change
            .details
            .extend(details.into_iter().filter(|(_, value)| value.is_some()));
        Ok(Some(change))
    }

    /// Its path, if nobody has it; its file may lie there already.
    fn rebuild_path(&self, about: &About, record: &mut Record, change: &mut Change) {
        let Some(path) = &about.path else {
            return;
        };
        if self.paths.of(&about.id).is_none() && !self.paths.take(&about.id, path) {
            return error!(id = %about.id, %path, "the path of this upload is another one's: its file stays where it is");
        }
        change.details.push(noted(path));
        change.marks.push((Mark::Path, true));
        let moved = (change.details.iter()).any(|(detail, _)| *detail == Detail::Segments);
        if record.status == Status::Completed && !moved {
            record.status = Status::Assembling;
            change.marks.push((Mark::Assembling, true));
        }
    }

    /// A final is whole as the list of segments that was written down when it was joined, or as one file once that list is
    /// gone; else it waits.
    fn rebuild_final(
        &self,
        about: &About,
        record: &mut Record,
        change: &mut Change,
        (stored, list): (u64, Option<Vec<Segment>>),
    ) {
        let listed = list.as_deref().map_or(0, length_of);
        let assemble = self.options.assemble || about.path.is_some();
        let chosen =
            matches!(list.as_deref(), Some([only]) if matches!(only.file, File::Chosen(..)));
        let (length, status) = match list {
            Some(list) if stored != listed => {
                change
                    .details
                    .push((Detail::Segments, Some(load::encode(&list))));
                (
                    listed,
                    if assemble && !chosen {
                        Status::Assembling
                    } else {
                        Status::Completed
                    },
                )
            }
            _ if stored > 0 => (stored, Status::Completed),
            _ => {
                change.marks.push((Mark::Waiting, true));
                return;
            }
        };
        if status == Status::Assembling {
            change.marks.push((Mark::Assembling, true));
        }
        record.length = Some(length);
        record.offset = length;
        record.status = status;
    }
}

fn length_of(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| segment.len).sum()
}
