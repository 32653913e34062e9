use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};

use tokio::runtime::Handle;

use super::super::super::contract::{at, change};
use super::*;
use crate::state::Detail;
use crate::upload::{Record, UploadId};

/// A ground that notes each step, and does what the test says.
struct Stand {
    steps: Sender<&'static str>,
    /// Each flush waits for one of these, if there are any senders left.
    gate: Receiver<()>,
    fails: Option<(&'static str, bool)>,
    /// It keeps what is written without a flush.
    keeps: bool,
}

impl Stand {
    fn step(&self, step: &'static str) -> Result<(), Fault> {
        self.steps.send(step).ok();
        match self.fails {
            Some((at, true)) if at == step => panic!("on {step}"),
            Some((at, false)) if at == step => Err(Fault::Broken("no disk".to_owned())),
            _ => Ok(()),
        }
    }
}

impl Ground for Stand {
    fn apply(&mut self, _: &[Change], _: &[Letter]) -> Result<(), Fault> {
        self.step("apply")
    }
    fn settle(&mut self) -> Result<(), Fault> {
        self.step("settle")
    }
    fn keeps(&self) -> bool {
        self.keeps
    }
    fn is_light(&self) -> bool {
        self.keeps
    }
    fn flush(&mut self) -> Result<(), Fault> {
        self.gate.recv().ok();
        self.step("flush")
    }
    fn sync(&mut self) -> Result<(), Fault> {
        self.step("sync")
    }
    fn release(self) {
        self.step("release").ok();
    }
}

fn start(
    fails: Option<(&'static str, bool)>,
) -> (Committer<Stand>, Receiver<&'static str>, Option<Sender<()>>) {
    start_on(fails, false)
}

fn start_on(
    fails: Option<(&'static str, bool)>,
    keeps: bool,
) -> (Committer<Stand>, Receiver<&'static str>, Option<Sender<()>>) {
    let (steps, seen) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    let stand = Stand {
        steps,
        gate,
        fails,
        keeps,
    };
    (Committer::start(stand).unwrap(), seen, Some(open))
}

fn one() -> Vec<Change> {
    vec![change("a", None, Some(at(0)))]
}

fn seen(steps: &Receiver<&'static str>) -> Vec<&'static str> {
    steps.try_iter().collect()
}

#[tokio::test]
async fn who_comes_during_a_commit_shares_the_next() {
    let (committer, steps, mut gate) = start(None);
    let first = committer.commit(one(), Vec::new(), Promise::Flushed);
    let rest = (0..30).map(|_| committer.commit(one(), Vec::new(), Promise::Flushed));
    let later = async {
        while steps.recv().unwrap() != "settle" {}
        let opened = async {
            tokio::task::yield_now().await;
            drop(gate.take());
        };
        tokio::join!(futures_util::future::join_all(rest), opened).0
    };
    let (first, later) = tokio::join!(first, later);
    first.unwrap();
    later.into_iter().for_each(Result::unwrap);
    let seen = seen(&steps);
    assert_eq!(seen.iter().filter(|step| **step == "apply").count(), 30);
    assert_eq!(seen.iter().filter(|step| **step == "flush").count(), 2);
    assert!(!seen.contains(&"sync"));
}

#[tokio::test]
async fn the_strongest_promise_of_a_group_is_kept_for_who_asked() {
    let (committer, steps, gate) = start(None);
    drop(gate);
    committer
        .commit(one(), Vec::new(), Promise::Flushed)
        .await
        .unwrap();
    assert_eq!(seen(&steps), ["apply", "settle", "flush"]);
    committer
        .commit(one(), Vec::new(), Promise::Synced)
        .await
        .unwrap();
    assert_eq!(seen(&steps), ["apply", "settle", "flush", "sync"]);
    committer
        .commit(one(), Vec::new(), Promise::Queued)
        .await
        .unwrap();
    committer.close().await.unwrap();
    assert_eq!(
        seen(&steps),
        ["apply", "settle", "flush", "sync", "release"]
    );
}

#[tokio::test]
async fn what_is_kept_is_flushed_later_and_for_a_sync() {
    let (committer, steps, gate) = start_on(None, true);
    let gate = gate.unwrap();
    // Nobody lets the flush go on.
    committer
        .commit(one(), Vec::new(), Promise::Flushed)
        .await
        .unwrap();
    assert_eq!(seen(&steps), ["apply", "settle"]);
    let start = Instant::now();
    gate.send(()).unwrap();
    assert_eq!(steps.recv(), Ok("flush"));
    assert!(start.elapsed() < 10 * LINGER);
    drop(gate);
    committer
        .commit(one(), Vec::new(), Promise::Synced)
        .await
        .unwrap();
    assert_eq!(seen(&steps), ["apply", "settle", "flush", "sync"]);
    committer.close().await.unwrap();
}

#[tokio::test]
async fn queued_changes_do_not_linger() {
    let (committer, steps, gate) = start(None);
    drop(gate);
    let start = Instant::now();
    committer
        .commit(one(), Vec::new(), Promise::Queued)
        .await
        .unwrap();
    assert_eq!(steps.recv(), Ok("apply"));
    assert_eq!(steps.recv(), Ok("settle"));
    assert_eq!(steps.recv(), Ok("flush"));
    assert!(start.elapsed() >= LINGER);
    // A stream of them does not put the flush off either.
    let pause = LINGER / 20;
    for _ in 0..30 {
        committer
            .commit(one(), Vec::new(), Promise::Queued)
            .await
            .unwrap();
        tokio::time::sleep(pause).await;
    }
    assert!(seen(&steps).contains(&"flush"));
}

#[tokio::test]
async fn after_a_failure_nothing_is_promised() {
    for at in ["apply", "settle", "flush", "sync"] {
        for panics in [false, true] {
            let (committer, steps, gate) = start(Some((at, panics)));
            drop(gate);
            let says = |answer: Result<(), StateError>| match answer {
                Err(StateError::Store(why)) => why,
                other => panic!("{at}: {other:?}"),
            };
            let first = says(committer.commit(one(), Vec::new(), Promise::Synced).await);
            let why = if panics { "panic: on" } else { "no disk" };
            assert!(first.contains(why), "{first}");
            let before = seen(&steps);
            for promise in [Promise::Queued, Promise::Flushed, Promise::Synced] {
                assert_eq!(
                    says(committer.commit(one(), Vec::new(), promise).await),
                    first
                );
            }
            assert_eq!(says(committer.close().await), first);
            let after = seen(&steps);
            assert_eq!(before.last(), Some(&at));
            assert_eq!(after, if panics { vec![] } else { vec!["release"] });
        }
    }
}

#[tokio::test]
async fn a_flushed_commit_does_not_wait_for_the_sync() {
    let (committer, steps, gate) = start(Some(("sync", false)));
    let gate = gate.unwrap();
    let queued = |promise| committer.commit(one(), Vec::new(), promise);
    let later = async {
        while steps.recv().unwrap() != "settle" {}
        // The first commit's flush waits, so these two are one group.
        let open = async {
            gate.send(()).unwrap();
            gate.send(()).unwrap();
        };
        tokio::join!(queued(Promise::Flushed), queued(Promise::Synced), open)
    };
    let (first, (flushed, synced, ())) = tokio::join!(queued(Promise::Flushed), later);
    first.unwrap();
    flushed.unwrap();
    assert!(synced.is_err());
    drop(gate);
    committer.close().await.unwrap_err();
    assert_eq!(seen(&steps).iter().filter(|s| **s == "sync").count(), 1);
}

#[test]
fn a_refused_commit_harms_nobody_else() {
    struct Picky;
    impl Ground for Picky {
        fn apply(&mut self, changes: &[Change], _: &[Letter]) -> Result<(), Fault> {
            let refused = changes.is_empty();
            let why = || Err(Fault::Refused(StateError::Conflict));
            if refused { why() } else { Ok(()) }
        }
        fn settle(&mut self) -> Result<(), Fault> {
            Ok(())
        }
        fn keeps(&self) -> bool {
            false
        }
        fn is_light(&self) -> bool {
            true
        }
        fn flush(&mut self) -> Result<(), Fault> {
            Ok(())
        }
        fn sync(&mut self) -> Result<(), Fault> {
            Ok(())
        }
        fn release(self) {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let committer = Committer::start(Picky).unwrap();
        let refused = committer
            .commit(Vec::new(), Vec::new(), Promise::Synced)
            .await;
        assert!(matches!(refused, Err(StateError::Conflict)));
        committer
            .commit(one(), Vec::new(), Promise::Synced)
            .await
            .unwrap();
        committer.close().await.unwrap();
    });
}

/// A ground that keeps what is written, and looks at who writes what.
#[derive(Default)]
struct Keeper {
    /// Each step, and whether the thread made it.
    steps: Option<Sender<(&'static str, bool)>>,
    last: HashMap<UploadId, Record>,
    /// It keeps nothing, contrary to what it said.
    forgets: bool,
}

impl Keeper {
    fn step(&self, step: &'static str) {
        let by_thread = thread::current().name() == Some("state-commit");
        self.steps
            .as_ref()
            .map(|steps| steps.send((step, by_thread)));
    }
}

impl Ground for Keeper {
    fn apply(&mut self, changes: &[Change], _: &[Letter]) -> Result<(), Fault> {
        self.step("apply");
        for Change {
            id, expect, record, ..
        } in changes
        {
            if self.last.get(id) != expect.as_ref() {
                return Err(Fault::Broken(format!("{id} out of turn")));
            }
            self.last
                .extend(record.clone().map(|now| (id.clone(), now)));
        }
        Ok(())
    }
    fn settle(&mut self) -> Result<(), Fault> {
        self.step("settle");
        Ok(())
    }
    fn keeps(&self) -> bool {
        !self.forgets
    }
    fn is_light(&self) -> bool {
        true
    }
    fn flush(&mut self) -> Result<(), Fault> {
        self.step("flush");
        Ok(())
    }
    fn sync(&mut self) -> Result<(), Fault> {
        self.step("sync");
        Ok(())
    }
    fn release(self) {}
}

/// A committer whose tasks commit by themselves.
fn paced(keeper: Keeper) -> Arc<Committer<Keeper>> {
    let mut committer = Committer::start(keeper).unwrap();
    committer.set_pace(Arc::new(Pace::new(Some(Handle::current()))));
    Arc::new(committer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_light_commit_is_made_in_the_task_and_the_rest_by_the_thread() {
    let (steps, seen) = mpsc::channel();
    let committer = paced(Keeper {
        steps: Some(steps),
        ..Keeper::default()
    });
    let step = |from: Option<u64>, to| vec![change("a", from.map(at), Some(at(to)))];
    let commit = |changes, promise| committer.commit(changes, Vec::new(), promise);
    commit(step(None, 1), Promise::Flushed).await.unwrap();
    let here = [("apply", false), ("settle", false)];
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), here);
    let start = Instant::now();
    assert_eq!(seen.recv(), Ok(("flush", true)));
    assert!(start.elapsed() < 10 * LINGER);
    commit(step(Some(1), 2), Promise::Synced).await.unwrap();
    let synced = ["apply", "settle", "flush", "sync"].map(|step| (step, true));
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), synced);
    committer.close().await.unwrap();
    commit(step(Some(2), 3), Promise::Flushed)
        .await
        .unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_stay_in_order_whoever_makes_them() {
    const EACH: u64 = 2_000;
    let committer = paced(Keeper::default());
    let uploads = (0..8).map(|n| {
        let committer = committer.clone();
        tokio::spawn(async move {
            for to in 0..EACH {
                let promise = match (to + n) % 7 {
                    0 | 3 => Promise::Flushed,
                    5 if to % 50 == 0 => Promise::Synced,
                    _ => Promise::Queued,
                };
                let from = to.checked_sub(1).map(at);
                let step = vec![change(&format!("u{n}"), from, Some(at(to)))];
                committer.commit(step, Vec::new(), promise).await.unwrap();
            }
        })
    });
    for upload in uploads.collect::<Vec<_>>() {
        upload.await.unwrap();
    }
    let last: Vec<_> = (0..8)
        .map(|n| {
            let last = Some(at(EACH - 1));
            vec![change(&format!("u{n}"), last, Some(at(EACH)))]
        })
        .collect();
    for step in last {
        committer
            .commit(step, Vec::new(), Promise::Flushed)
            .await
            .unwrap();
    }
    committer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_a_task_was_faster_with_is_nothing_to_the_thread() {
    // Now and then the thread begins to look just as there is something, and sees what a task then takes.
    for _ in 0..500 {
        let (steps, seen) = mpsc::channel();
        let committer = paced(Keeper {
            steps: Some(steps),
            ..Keeper::default()
        });
        let commit = committer.commit(one(), Vec::new(), Promise::Flushed);
        commit.await.unwrap();
        committer.close().await.unwrap();
        let settled = seen.try_iter().filter(|(step, _)| *step == "settle");
        assert_eq!(settled.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_turns_out_to_need_the_tree_is_left_to_the_thread() {
    let (steps, seen) = mpsc::channel();
    let forgetful = Keeper {
        steps: Some(steps),
        forgets: true,
        ..Keeper::default()
    };
    let committer = paced(forgetful);
    let commit = |changes| committer.commit(changes, Vec::new(), Promise::Flushed);
    commit(one()).await.unwrap();
    let steps: Vec<_> = seen.try_iter().collect();
    assert_eq!(
        steps,
        [("apply", false), ("settle", false), ("flush", true)]
    );
    // And what is much to begin with.
    let mut much = change("b", None, Some(at(0)));
    much.details = vec![(Detail::Metadata, Some(vec![7; LITTLE + 1]))];
    commit(vec![much]).await.unwrap();
    assert!(seen.try_iter().all(|(_, by_thread)| by_thread));
    committer.close().await.unwrap();
}
