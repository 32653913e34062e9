//! Starts of the engine over what earlier ones left: whose bytes are believed, and that doubt does not last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::about::About;
use super::table::Image;
use super::*;
use crate::blob::Blob;
use crate::blob::memory::MemoryBlobs;
use crate::lock::memory::MemoryLocker;
use crate::state::Letter;
use crate::state::memory::MemoryState;
use crate::upload::Failure;

/// State in memory that counts commits which must survive a power cut.
#[derive(Default)]
pub(super) struct State {
    memory: MemoryState,
    synced: AtomicUsize,
    /// Nothing can be read of it.
    pub(super) unreadable: AtomicBool,
    /// What is to be scanned cannot be listed, the next time.
    unlisted: AtomicBool,
}

#[async_trait]
impl StateStore for State {
    async fn get(&self, id: &UploadId) -> Result<Option<Record>, StateError> {
        if self.unreadable.load(Ordering::SeqCst) {
            return Err(StateError::Conflict);
        }
        self.memory.get(id).await
    }

    async fn detail(&self, id: &UploadId, detail: Detail) -> Result<Option<Vec<u8>>, StateError> {
        self.memory.detail(id, detail).await
    }

    async fn commit_with(
        &self,
        changes: Vec<Change>,
        letters: Vec<Letter>,
        promise: Promise,
    ) -> Result<(), StateError> {
        let synced = usize::from(promise == Promise::Synced);
        self.synced.fetch_add(synced, Ordering::SeqCst);
        self.memory.commit_with(changes, letters, promise).await
    }

    async fn letters(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StateError> {
        self.memory.letters(after, limit).await
    }

    async fn letter(&self, number: u64) -> Result<Option<Vec<u8>>, StateError> {
        self.memory.letter(number).await
    }

    async fn scan(
        &self,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<(UploadId, Record)>, StateError> {
        self.memory.scan(after, limit).await
    }

    async fn marked(&self, mark: Mark) -> Result<Vec<UploadId>, StateError> {
        if mark == Mark::Scanning && self.unlisted.swap(false, Ordering::SeqCst) {
            return Err(StateError::Store("busy".into()));
        }
        self.memory.marked(mark).await
    }

    async fn close(&self) -> Result<(), StateError> {
        self.memory.close().await
    }
}

/// What outlives the engine, in `process` mode.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) blobs: MemoryBlobs,
    pub(super) state: Arc<State>,
}

impl Machine {
    /// A start after `power_cuts` losses of power, the last of them just now if `lost`.
    pub(super) async fn start(&self, power_cuts: u32, lost: bool) -> (Engine, Recovered) {
        let options = Options {
            durability: Durability::Process,
            max_size: NO_LIMIT,
            min_size: 0,
            expire_after: None,
            expire_completed: None,
            assemble: true,
            keep_partials: true,
            network_timeout: None,
            pause_after: Duration::from_secs(5),
            bounds: Bounds::default(),
            types: Types::default(),
            content: Content::default(),
            sessions: SessionOptions::default(),
            hooks: Arc::default(),
            power_cuts,
            disk_warn: Share::Bytes(0),
            disk_stop: Share::Bytes(0),
            power_lost: lost,
        };
        let locks = Arc::new(MemoryLocker::default());
        let blobs = Arc::new(self.blobs.clone());
        let opened = Engine::open(options, blobs, self.state.clone(), locks, false);
        opened.await.expect("an engine")
    }

    async fn write(&self, id: &UploadId, bytes: &'static [u8]) {
        let blob = Blob::Own(id.clone());
        let mut writer = self.blobs.append(&blob, 0, None).await.expect("a writer");
        let written = writer.write(Bytes::from_static(bytes)).await;
        written.expect("written");
        writer.close().await.expect("closed");
    }

    /// An upload's files, without a record.
    async fn files(&self, kind: Kind, bytes: &'static [u8]) -> UploadId {
        let id = UploadId::random();
        let length = (kind != Kind::Final).then_some(5);
        let about = About::of(&id, &Image::new(&id, Record::new(kind, length, now())));
        let created = self.blobs.create(&id, &about.to_bytes(), false).await;
        created.expect("a sidecar");
        if !bytes.is_empty() {
            self.write(&id, bytes).await;
        }
        id
    }

    /// An upload of five bytes with this record.
    async fn upload(
        &self,
        bytes: &'static [u8],
        record: &Record,
        marks: &[(Mark, bool)],
    ) -> UploadId {
        let id = self.files(record.kind, bytes).await;
        let change = Change {
            marks: marks.to_vec(),
            ..Change::record(&id, None, Some(record.clone()))
        };
        let stored = self
            .state
            .memory
            .commit(vec![change], Promise::Queued)
            .await;
        stored.expect("stored");
        id
    }

    pub(super) async fn record(&self, id: &UploadId) -> Record {
        let record = self.state.get(id).await.expect("the state store");
        record.expect("a record")
    }

    async fn is_marked(&self, mark: Mark, id: &UploadId) -> bool {
        let marked = self.state.marked(mark).await.expect("marks");
        marked.contains(id)
    }

    /// Until the upload is synced, and nothing is left to do with it.
    async fn is_synced(&self, id: &UploadId) {
        until("it is synced", async || {
            self.record(id).await.synced == 5 && !self.is_marked(Mark::Open, id).await
        })
        .await;
    }
}

/// Complete, of five bytes that nobody has synced.
fn unsynced(kind: Kind) -> Record {
    Record {
        status: Status::Completed,
        offset: 5,
        ..Record::new(kind, Some(5), now())
    }
}

/// Of ten bytes, so many of which are told.
fn unfinished(offset: u64) -> Record {
    Record {
        offset,
        ..Record::new(Kind::Plain, Some(10), now())
    }
}

pub(super) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds().await {
        assert!(Instant::now() < end, "not until now: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) async fn stop(engine: Engine) {
    engine.stop();
    engine.stopped().await;
}

#[tokio::test]
async fn what_was_rebuilt_is_synced_and_then_no_power_cut_harms_it() {
    let machine = Machine::default();
    let mut ids = Vec::new();
    for kind in [Kind::Plain, Kind::Partial, Kind::Final] {
        ids.push(machine.files(kind, b"hello").await);
    }
    let (engine, found) = machine.start(0, false).await;
    assert_eq!(found.rebuilt, 3);
    for id in &ids {
        let record = machine.record(id).await;
        assert!(record.is_unsynced(), "nobody has synced it: {record:?}");
        assert!(machine.is_marked(Mark::Open, id).await);
    }
    for id in &ids {
        machine.is_synced(id).await;
    }
    stop(engine).await;
    let (engine, _) = machine.start(1, true).await;
    for id in &ids {
        assert!(engine.look(id).await.expect("it is there").is_complete());
    }
}

#[tokio::test]
async fn a_record_made_anew_later_is_synced_as_well() {
    let machine = Machine::default();
    machine.upload(b"hello", &unsynced(Kind::Plain), &[]).await;
    let (engine, _) = machine.start(0, false).await;
    let id = machine.files(Kind::Plain, b"hello").await;
    assert!(engine.look(&id).await.expect("it is there").is_complete());
    assert!(machine.record(&id).await.is_unsynced());
    assert!(machine.is_marked(Mark::Open, &id).await);
    assert!(engine.inner.late.has(&id));
}

#[tokio::test]
async fn what_older_servers_left_unsynced_is_synced_by_the_first_sweep() {
    let machine = Machine::default();
    let id = machine.upload(b"hello", &unsynced(Kind::Final), &[]).await;
    let (engine, _) = machine.start(0, false).await;
    machine.is_synced(&id).await;
    stop(engine).await;
    let (engine, _) = machine.start(1, true).await;
    assert!(engine.look(&id).await.expect("it is there").is_complete());
}

#[tokio::test]
async fn bytes_that_are_there_again_are_synced() {
    let machine = Machine::default();
    let record = Record {
        status: Status::Failed(Failure::BlobLost),
        ..unsynced(Kind::Plain)
    };
    let id = machine.upload(b"hello", &record, &[]).await;
    let (engine, _) = machine.start(0, false).await;
    assert!(engine.look(&id).await.expect("it is there").is_complete());
    assert!(machine.is_marked(Mark::Open, &id).await);
    stop(engine).await;
    let (_engine, _) = machine.start(0, false).await;
    machine.is_synced(&id).await;
}

#[tokio::test]
async fn a_file_that_comes_back_after_a_power_cut_is_in_doubt_still() {
    let half = Record {
        offset: 4,
        synced: 3,
        ..Record::new(Kind::Plain, Some(5), now())
    };
    for record in [unsynced(Kind::Plain), half] {
        let machine = Machine::default();
        let id = machine.upload(b"", &record, &[]).await;
        for (power_cuts, lost) in [(1, true), (1, false)] {
            let (engine, _) = machine.start(power_cuts, lost).await;
            let looked = engine.look(&id).await;
            assert!(matches!(looked, Err(Reject::BlobLost)), "{looked:?}");
            stop(engine).await;
            if lost {
                machine.write(&id, b"hello").await;
            }
        }
    }
}

#[tokio::test]
async fn an_upload_that_was_lost_before_a_power_cut_is_in_doubt_after_it() {
    let machine = Machine::default();
    let id = machine.upload(b"", &unsynced(Kind::Plain), &[]).await;
    let (engine, _) = machine.start(0, false).await;
    assert!(engine.look(&id).await.is_err());
    stop(engine).await;
    machine.write(&id, b"hello").await;
    let (engine, _) = machine.start(1, true).await;
    let looked = engine.look(&id).await;
    assert!(matches!(looked, Err(Reject::BlobLost)), "{looked:?}");
}

#[tokio::test]
async fn no_mark_stays_at_what_failed() {
    let machine = Machine::default();
    let marks = [(Mark::Open, true), (Mark::Assembling, true)];
    let assembling = Record {
        status: Status::Assembling,
        ..unsynced(Kind::Final)
    };
    let failed = Record {
        status: Status::Failed(Failure::DiskFault),
        ..unsynced(Kind::Final)
    };
    let doubtful = machine.upload(b"hello", &assembling, &marks).await;
    let failed = machine.upload(b"hello", &failed, &marks).await;
    let (_engine, _) = machine.start(1, true).await;
    for id in [doubtful, failed] {
        until("no mark is left", async || {
            !machine.is_marked(Mark::Open, &id).await
                && !machine.is_marked(Mark::Assembling, &id).await
        })
        .await;
        assert!(matches!(
            machine.record(&id).await.status,
            Status::Failed(Failure::DiskFault)
        ));
    }
}

#[tokio::test]
async fn what_is_to_be_scanned_is_in_doubt_after_a_power_cut_as_any_other() {
    let machine = Machine::default();
    let marks = [(Mark::Open, true), (Mark::Scanning, true)];
    let unsynced = Record {
        status: Status::Scanning,
        ..unsynced(Kind::Plain)
    };
    let synced = Record {
        synced: 5,
        ..unsynced.clone()
    };
    let doubtful = machine.upload(b"hello", &unsynced, &marks).await;
    let sure = machine.upload(b"hello", &synced, &marks).await;
    // Without a scanner: what nothing else holds back is given out.
    let (_engine, _) = machine.start(1, true).await;
    for (id, status) in [
        (doubtful, Status::Failed(Failure::DiskFault)),
        (sure, Status::Completed),
    ] {
        until("nothing is to be done any more", async || {
            !machine.is_marked(Mark::Open, &id).await
                && !machine.is_marked(Mark::Scanning, &id).await
        })
        .await;
        assert_eq!(machine.record(&id).await.status, status);
    }
}

#[tokio::test]
async fn what_is_to_be_scanned_and_cannot_be_read_for_a_moment_is_scanned_later() {
    let machine = Machine::default();
    let record = Record {
        status: Status::Scanning,
        synced: 5,
        ..unsynced(Kind::Plain)
    };
    let marks = [(Mark::Scanning, true)];
    let id = machine.upload(b"hello", &record, &marks).await;
    machine.state.unlisted.store(true, Ordering::SeqCst);
    machine.state.unreadable.store(true, Ordering::SeqCst);
    let (engine, _) = machine.start(0, false).await;
    until("it was tried", async || {
        let scans = engine.meter().scans.get();
        scans
            .into_iter()
            .any(|(verdict, count)| verdict == "retried" && count > 0)
    })
    .await;
    machine.state.unreadable.store(false, Ordering::SeqCst);
    until("it is given out", async || {
        machine.record(&id).await.status == Status::Completed
    })
    .await;
}

#[tokio::test]
async fn refused_bytes_that_a_crash_left_go_after_the_next_start() {
    for (failure, marked) in [
        (Failure::Malware, true),
        (Failure::Unscanned, true),
        (Failure::Malware, false),
        (Failure::TypeMismatch, false),
    ] {
        let machine = Machine::default();
        let record = Record {
            status: Status::Failed(failure),
            ..unsynced(Kind::Plain)
        };
        let marks = [(Mark::Scanning, marked)];
        let id = machine.upload(b"hello", &record, &marks).await;
        let (_engine, _) = machine.start(0, false).await;
        until(
            "its bytes are gone, and nothing is to be done",
            async || {
                machine
                    .blobs
                    .stored(&Blob::Own(id.clone()))
                    .await
                    .expect("a length")
                    == 0
                    && !machine.is_marked(Mark::Scanning, &id).await
            },
        )
        .await;
        assert_eq!(machine.record(&id).await.status, Status::Failed(failure));
    }
}

#[tokio::test]
async fn complete_uploads_do_not_hold_up_the_start_and_share_a_sync_of_the_state() {
    let machine = Machine::default();
    let mut ids = Vec::new();
    for _ in 0..20 {
        let record = unsynced(Kind::Plain);
        let id = machine.upload(b"hello", &record, &[(Mark::Open, true)]);
        ids.push(id.await);
    }
    let known = Record {
        synced: 5,
        ..unsynced(Kind::Plain)
    };
    let known = machine.upload(b"hello", &known, &[(Mark::Open, true)]);
    ids.push(known.await);
    let (engine, found) = machine.start(0, false).await;
    assert_eq!(found.open, ids.len());
    assert!(engine.inner.table.slot(&ids[0]).get().is_none(), "loaded");
    for id in &ids {
        machine.is_synced(id).await;
    }
    let synced = async || machine.state.synced.load(Ordering::SeqCst) > 0;
    until("the state is synced", synced).await;
    assert_eq!(machine.state.synced.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn open_uploads_do_not_hold_up_the_start_and_are_looked_at_unasked() {
    let machine = Machine::default();
    let id = machine
        .upload(b"hello", &unfinished(3), &[(Mark::Open, true)])
        .await;
    let (engine, found) = machine.start(0, false).await;
    assert_eq!(found.open, 1);
    assert!(engine.inner.table.slot(&id).get().is_none(), "loaded");
    until("it is held against its file", async || {
        machine.record(&id).await.offset == 5 && !machine.is_marked(Mark::Open, &id).await
    })
    .await;
}

#[tokio::test]
async fn the_start_leaves_alone_what_somebody_has_opened_meanwhile() {
    let machine = Machine::default();
    let mark = [(Mark::Open, true)];
    let id = machine.upload(b"hello", &unfinished(5), &mark).await;
    let complete = machine
        .upload(b"hello", &unsynced(Kind::Plain), &mark)
        .await;
    let (engine, _) = machine.start(0, false).await;
    let guard = engine.inner.locks.try_lock(&id).expect("the lock");
    // It is synced once everything has been looked at.
    machine.is_synced(&complete).await;
    assert!(machine.is_marked(Mark::Open, &id).await, "somebody held it");
    drop(guard);
    let entry = engine.inner.entry(&id).await.expect("an upload");
    for open in [true, false] {
        entry.image().marked_open = open;
        engine.inner.recover_one(&id).await;
        assert_eq!(machine.is_marked(Mark::Open, &id).await, open);
    }
}
