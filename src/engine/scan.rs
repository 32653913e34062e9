//! Complete uploads are looked through for malware before they are given out. The request that completes one waits for the
//! verdict for a while; what takes longer goes on in the background, and over a restart, by its mark in the state store.
//!
//! A scan holds no lock: who deletes the upload meanwhile need not wait, and the verdict is dropped then.

mod out;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tracing::{debug, error, warn};

use super::ingest::FOR_EVER;
use super::table::Entry;
use super::{Inner, More};
use crate::blob::BlobError;
use crate::error::Reject;
use crate::hooks::{Cause, cause};
use crate::progress::What;
use crate::security::scan::{By, ScanError, Unavailable, Verdict};
use crate::state::{Mark, Promise, StateError};
use crate::upload::{Failure, Kind, Record, Status, UploadId};

/// Scans at the same time: clamd's own threads are ten.
const AT_ONCE: usize = 4;
/// So many times a scanner that fails is asked before it counts as unavailable.
const PROMPT: u32 = 3;
/// The pause before it is asked again, which doubles each time, and the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_mins(1);
/// The pause before what is marked is listed again.
const RELIST: Duration = Duration::from_secs(1);
/// A scanner that fails for every upload, and for so long, as the tries for one take at least, is down.
const DOWN: Duration = PAUSE.saturating_mul((1 << PROMPT) - 1);

/// An upload that is to be scanned.
struct Due {
    id: UploadId,
    /// How often it was tried in vain.
    tries: u32,
    /// The request that completed it, for which hooks are told of its end.
    cause: Option<Arc<Cause>>,
}

/// What is to be scanned.
#[derive(Default)]
pub(super) struct Scans {
    /// By when, and numbered.
    due: Mutex<BTreeMap<(Instant, u64), Due>>,
    last: AtomicU64,
    new: Notify,
    done: Notify,
    /// Since when the scanner has failed without a verdict between, whatever the upload, and how often.
    failing: Mutex<Option<(Instant, u32)>>,
    /// Held by the one upload for which a scanner that is down is asked.
    probe: tokio::sync::Mutex<()>,
}

impl Scans {
    pub(super) fn push(&self, id: &UploadId) {
        self.push_at(id, Instant::now(), 0);
    }

    fn push_at(&self, id: &UploadId, at: Instant, tries: u32) {
        let due = Due {
            id: id.clone(),
            tries,
            cause: cause::current(),
        };
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let mut all = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((at, number), due);
        drop(all);
        self.new.notify_one();
    }

    /// The next one that is due; or when one will be.
    fn next(&self) -> Result<Due, Duration> {
        let mut all = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let first = all.first_entry().ok_or(FOR_EVER)?;
        let pause = first.key().0.saturating_duration_since(Instant::now());
        if pause.is_zero() {
            Ok(first.remove())
        } else {
            Err(pause)
        }
    }

    /// Since it was asked: how long it was silent is a part of how long it fails.
    fn failed(&self, asked: Instant) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, times) = failing.unwrap_or((asked, 0));
        *failing = Some((since.min(asked), times.saturating_add(1)));
    }

    fn answered(&self) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the scanner has failed as often, and for as long, as would be enough for one upload.
    fn is_down(&self) -> bool {
        let failing = *self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.is_some_and(|(since, times)| times > PROMPT && since.elapsed() >= DOWN)
    }
}

/// How a scan ended.
enum Outcome {
    Clean,
    /// Passed without a verdict, and why.
    Unscanned(String),
    Infected(String),
    /// Refused without a verdict, and why.
    Refused(String),
    /// To be tried again, and why.
    Later(String),
    /// It stays as it is until the server is started again, and why.
    Held(String),
    /// Nothing is to be done any more.
    Gone,
}

/// Whether it comes of a scan.
fn is_verdict(failure: Failure) -> bool {
    matches!(failure, Failure::Malware | Failure::Unscanned)
}

impl Inner {
    /// A record that would say complete says that it is to be scanned, where uploads are. Parts are scanned in their final, and
    /// there is nothing in an upload of no bytes.
    pub(super) fn scan_first(&self, record: &mut Record, marks: &mut Vec<(Mark, bool)>) {
        let scans = self.options.content.scan.is_some();
        if scans && record.is_complete() && record.kind != Kind::Partial && record.offset > 0 {
            record.status = Status::Scanning;
            marks.retain(|(mark, _)| *mark != Mark::Assembling);
            marks.push((Mark::Scanning, true));
        }
    }

    /// For the request that completed an upload: waits for the verdict, but not for long, and sees it put where a hook wants it.
    /// What is said of it later is not this request's.
    ///
    /// # Errors
    /// `MalwareFound`, `Unscanned`.
    pub(super) async fn await_verdict(self: &Arc<Self>, id: &UploadId) -> Result<(), Reject> {
        self.verdict(id).await?;
        self.move_soon(id).await;
        Ok(())
    }

    async fn verdict(self: &Arc<Self>, id: &UploadId) -> Result<(), Reject> {
        let Some(scan) = &self.options.content.scan else {
            return Ok(());
        };
        let verdict = async {
            loop {
                let done = self.scans.done.notified();
                tokio::pin!(done);
                done.as_mut().enable();
                match self.usable(id).await {
                    Ok(entry) if entry.record().status == Status::Scanning => {
                        // Nobody will look through it.
                        if entry.record().offset > scan.max_bytes
                            && scan.unavailable == Unavailable::Hold
                        {
                            return Ok(());
                        }
                        done.await;
                    }
                    Err(reject @ (Reject::MalwareFound | Reject::Unscanned)) => return Err(reject),
                    _ => return Ok(()),
                }
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            waited = timeout(scan.wait, verdict) => waited.unwrap_or(Ok(())),
        }
    }

    /// Runs until the server stops: scans what is marked from before, and what comes.
    pub(super) async fn scanner(self: Arc<Self>) {
        loop {
            match self.state.marked(Mark::Scanning).await {
                Ok(ids) => break ids.iter().for_each(|id| self.scans.push(id)),
                Err(error) => warn!(%error, "what is to be scanned cannot be listed"),
            }
            if !self.unless_stopped(RELIST).await {
                return;
            }
        }
        let places = Arc::new(Semaphore::new(AT_ONCE));
        while !self.stop.is_cancelled() {
            let due = match self.scans.next() {
                Ok(due) => due,
                Err(pause) => {
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = self.scans.new.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    continue;
                }
            };
            let place = tokio::select! {
                () = self.stop.cancelled() => return,
                place = places.clone().acquire_owned() => place,
            };
            let inner = self.clone();
            let scan = async move {
                let _place = place;
                inner.scan(&due.id, due.tries).await;
            };
            self.tasks.spawn(cause::within(due.cause, scan));
        }
    }

    async fn scan(self: &Arc<Self>, id: &UploadId, tries: u32) {
        let entry = match self.entry(id).await {
            Ok(entry) => entry,
            Err(Reject::NotFound) => return,
            Err(reject @ Reject::State(StateError::Damaged(_))) => {
                return error!(%id, %reject, "an upload that is to be scanned cannot be loaded");
            }
            // It may be so for a moment only.
            Err(reject) => return self.scan_later(id, tries, &reject.to_string()),
        };
        let began = Instant::now();
        let outcome = tokio::select! {
            // It is marked, and goes on after the next start.
            () = self.stop.cancelled() => return,
            outcome = self.look_through(&entry, tries) => outcome,
        };
        match &outcome {
            Outcome::Later(why) => return self.scan_later(id, tries, why),
            Outcome::Held(why) => {
                self.meter.scans.one("held");
                return warn!(%id, why, "an upload cannot be scanned, and is held");
            }
            _ => {}
        }
        if !matches!(outcome, Outcome::Gone) {
            self.meter.scan_time.observe(began.elapsed());
        }
        let concluded = self.conclude(&entry, outcome).await;
        // Who waits for the verdict has it, even if its bytes are still to go.
        self.scans.done.notify_waiters();
        let over = match concluded {
            Ok(()) => self.cast_out_rest(id).await,
            Err(reject) => Err(reject),
        };
        if let Err(reject) = over {
            self.scan_later(id, tries, &reject.to_string());
        }
    }

    fn scan_later(&self, id: &UploadId, tries: u32, why: &str) {
        let pause = PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST);
        if tries < PROMPT || tries.is_multiple_of(16) {
            warn!(%id, why, ?pause, "a scan is tried again");
        }
        self.meter.scans.one("retried");
        let at = Instant::now() + pause;
        self.scans.push_at(id, at, tries.saturating_add(1));
    }

    async fn look_through(self: &Arc<Self>, entry: &Entry, tries: u32) -> Outcome {
        let record = entry.record();
        if record.status != Status::Scanning {
            return Outcome::Gone;
        }
        let Some(scan) = &self.options.content.scan else {
            return Outcome::Unscanned("no scanner is configured any more".into());
        };
        let too_large = || {
            format!(
                "it has {} bytes, and the scanner takes fewer",
                record.offset
            )
        };
        let unscannable = |why| match scan.unavailable {
            Unavailable::Hold => Outcome::Held(why),
            Unavailable::Pass => Outcome::Unscanned(why),
            Unavailable::Refuse => Outcome::Refused(why),
        };
        if record.offset > scan.max_bytes {
            return unscannable(too_large());
        }
        // While it is down it is asked for one upload at a time, and for the others as often as it need be.
        let probe = self.scans.is_down().then(|| self.scans.probe.try_lock());
        if matches!(probe, Some(Err(_))) {
            let why = "the scanner fails for every upload".to_owned();
            return match scan.unavailable {
                Unavailable::Hold => Outcome::Later(why),
                Unavailable::Pass | Unavailable::Refuse => unscannable(why),
            };
        }
        let looked = async {
            match &scan.by {
                By::Hook => self.ask_for_malware(entry, &record).await,
                By::Scanner(scanner) => {
                    let pieces = self.blobs.read(&entry.blob(), 0..record.offset).await?;
                    scanner.scan(pieces).await
                }
            }
        };
        let asked = Instant::now();
        let looked = looked.await;
        match &looked {
            Ok(_) | Err(ScanError::Failed(_)) => self.scans.answered(),
            Err(ScanError::Unavailable(_)) => self.scans.failed(asked),
            Err(ScanError::Blob(_)) => {}
        }
        match looked {
            Ok(Verdict::Clean) => Outcome::Clean,
            Ok(Verdict::Infected(name)) => Outcome::Infected(name),
            Ok(Verdict::TooLarge) => unscannable(too_large()),
            Err(ScanError::Blob(BlobError::Lost)) => match self.found_lost(&entry.id).await {
                Ok(()) if entry.record().status != Status::Scanning => Outcome::Gone,
                _ => Outcome::Later("its bytes were not where they were".into()),
            },
            Err(ScanError::Blob(error)) => Outcome::Later(error.to_string()),
            Err(ScanError::Unavailable(why) | ScanError::Failed(why)) => {
                let why = format!("the scanner {why}");
                let soon = tries < PROMPT && !self.scans.is_down();
                if soon || scan.unavailable == Unavailable::Hold {
                    Outcome::Later(why)
                } else {
                    unscannable(why)
                }
            }
        }
    }

    /// A verdict takes effect, unless the upload has ended meanwhile.
    async fn conclude(self: &Arc<Self>, entry: &Entry, outcome: Outcome) -> Result<(), Reject> {
        let id = &entry.id;
        let _guard = self.hold(id, false).await?;
        let entry = self.entry(id).await?;
        match entry.record().status {
            Status::Scanning => {}
            // What a crash, or a full disk, has cut short.
            Status::Failed(failure) if is_verdict(failure) => {
                return self.remove_refused(&entry, failure).await;
            }
            _ => return self.unmark(&entry).await,
        }
        match outcome {
            Outcome::Clean => {
                debug!(%id, "scanned, and clean");
                self.give_free(&entry, "clean").await
            }
            Outcome::Unscanned(why) => {
                warn!(%id, why, "an upload passes without a scan");
                self.give_free(&entry, "unscanned").await
            }
            Outcome::Infected(name) => {
                warn!(%id, malware = name, "MALWARE FOUND in an upload");
                self.cast_out(&entry, Failure::Malware, "infected").await
            }
            Outcome::Refused(why) => {
                warn!(%id, why, "an upload is refused, since it cannot be scanned");
                self.cast_out(&entry, Failure::Unscanned, "unscanned").await
            }
            Outcome::Later(_) | Outcome::Held(_) | Outcome::Gone => Ok(()),
        }
    }

    /// What failed or ended otherwise is not looked for after the next start.
    async fn unmark(&self, entry: &Entry) -> Result<(), Reject> {
        let more = More {
            marks: vec![(Mark::Scanning, false)],
            ..More::default()
        };
        let record = entry.record();
        if record.is_tombstone() {
            return Ok(());
        }
        self.change(entry, record, Promise::Queued, more).await
    }

    fn tell_verdict(&self, entry: &Entry, verdict: &'static str) {
        self.meter.scans.one(verdict);
        self.tell(entry, What::ScanFinished { verdict });
    }

    /// The upload is complete, or is put into one file first.
    async fn give_free(
        self: &Arc<Self>,
        entry: &Entry,
        verdict: &'static str,
    ) -> Result<(), Reject> {
        let mut marks = vec![(Mark::Scanning, false)];
        let joined = entry.blob().one_file().is_none();
        let chosen = entry.image().path.is_some();
        let status = if joined && (self.options.assemble || chosen) {
            marks.push((Mark::Assembling, true));
            Status::Assembling
        } else {
            Status::Completed
        };
        self.tell_verdict(entry, verdict);
        let next = Record {
            status,
            ..entry.record()
        };
        let more = More {
            marks,
            ..More::default()
        };
        self.change(entry, next, self.firmly(), more).await?;
        self.assemble.notify_one();
        if chosen {
            // It may wait behind a large copy else.
            let (inner, id) = (self.clone(), entry.id.clone());
            self.tasks.spawn(async move { inner.move_soon(&id).await });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scanner_is_down_once_it_has_failed_often_and_for_long() {
        let now = Instant::now();
        let long_ago = now.checked_sub(DOWN).unwrap_or(now);
        let scans = Scans::default();
        // Four uploads at the moment of its restart.
        (0..4).for_each(|_| scans.failed(Instant::now()));
        assert!(!scans.is_down());
        scans.answered();
        // Three that it left without an answer, and one more.
        (0..3).for_each(|_| scans.failed(long_ago));
        assert!(!scans.is_down());
        scans.failed(long_ago);
        assert!(scans.is_down());
        scans.answered();
        assert!(!scans.is_down());
    }
}
