use std::path::Path;

use tempfile::TempDir;

use super::super::contract::{self, at, change, id, long, put, reopen};
use super::*;

fn open(dir: &Path) -> SledState {
    let opened = SledState::open(dir).unwrap();
    assert_eq!(opened.rebuilt_from, None);
    opened.state
}

fn fresh() -> (TempDir, SledState) {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir.path().join("state"));
    (dir, state)
}

macro_rules! holds {
    ($($name:ident)*) => { $(
        #[tokio::test]
        async fn $name() {
            let (_dir, state) = fresh();
            contract::$name(&state).await;
        }
    )* };
}

contract::suite!(holds);

#[tokio::test]
async fn what_is_written_is_there_after_each_start() {
    let (dir, mut state) = fresh();
    let dir = dir.path().join("state");
    reopen::write_everything(&state).await;
    reopen::everything_is_there(&state).await;
    state.close().await.unwrap();
    state = open(&dir);
    reopen::everything_is_there(&state).await;
    reopen::take_half_away(&state).await;
    reopen::half_is_gone(&state).await;
    state.close().await.unwrap();
    reopen::half_is_gone(&open(&dir)).await;
}

/// What the kernel has of an open store is what a `kill -9` leaves.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let (dir, state) = fresh();
    let mut gone = Vec::new();
    for n in 0..60_u64 {
        let name = format!("a{n:02}");
        let mut born = change(&name, None, Some(at(n)));
        born.details = vec![(Detail::Parts, Some(long(5000)))];
        born.marks = vec![(Mark::Open, true)];
        state.commit(vec![born], Promise::Flushed).await.unwrap();
        if n % 3 == 0 {
            let change = change(&name, Some(at(n)), None);
            state.commit(vec![change], Promise::Flushed).await.unwrap();
            gone.push(name);
        }
        if n % 25 == 24 {
            // The tree has it from here on, and the journal begins anew.
            state.commit(Vec::new(), Promise::Synced).await.unwrap();
        }
        if n % 10 != 0 {
            continue;
        }
        let copy = dir.path().join(format!("copy{n}"));
        std::fs::create_dir(&copy).unwrap();
        for file in std::fs::read_dir(dir.path().join("state")).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
            }
        }
        // Twice: the first start may be killed as well.
        for _ in 0..2 {
            let copied = open(&copy);
            let there = copied.scan(None, 99).await.unwrap();
            assert_eq!(there.len() + gone.len(), usize::try_from(n).unwrap() + 1);
            let marked = copied.marked(Mark::Open).await.unwrap();
            assert_eq!(marked.len(), there.len());
            for (id, record) in there {
                assert!(!gone.contains(&id.to_string()));
                assert_eq!(id.as_str(), format!("a{:02}", record.offset));
                let detail = copied.detail(&id, Detail::Parts).await.unwrap();
                assert_eq!(detail, Some(long(5000)));
            }
            copied.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn it_opens_again_at_once_and_often() {
    let (dir, mut state) = fresh();
    for n in 0..20 {
        put(&state, &format!("a{n}"), at(n)).await;
        let reads = (0..8).map(|_| state.scan(None, 100));
        let (reads, closed) = tokio::join!(futures_util::future::join_all(reads), async {
            tokio::task::yield_now().await;
            state.close().await
        });
        drop(reads);
        closed.unwrap();
        state = open(&dir.path().join("state"));
    }
    assert_eq!(state.scan(None, 100).await.unwrap().len(), 20);
}

#[tokio::test]
async fn queued_changes_survive_close_and_drop() {
    let (dir, state) = fresh();
    let dir = dir.path().join("state");
    let queue = async |state: &SledState, name| {
        let born = change(name, None, Some(at(1)));
        state.commit(vec![born], Promise::Queued).await.unwrap();
    };
    queue(&state, "a").await;
    state.close().await.unwrap();
    let state = open(&dir);
    queue(&state, "b").await;
    drop(state);
    let state = loop {
        // The thread of a store that was dropped ends by itself.
        match SledState::open(&dir) {
            Ok(opened) => break opened.state,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert_eq!(state.scan(None, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_damaged_record_harms_its_upload_alone() {
    let (_dir, state) = fresh();
    for name in ["a", "b", "c"] {
        put(&state, name, at(1)).await;
    }
    state.commit(Vec::new(), Promise::Synced).await.unwrap();
    let tree = state.tree.lock().unwrap().clone().unwrap();
    tree.insert(keys::record(&id("b")), b"\x01garbage").unwrap();
    let commit = |steps| state.commit(steps, Promise::Flushed);
    let damaged =
        |error: Option<StateError>| matches!(error, Some(StateError::Damaged(of)) if of == id("b"));

    assert!(damaged(state.get(&id("b")).await.err()));
    assert_eq!(state.get(&id("a")).await.unwrap(), Some(at(1)));
    let names: Vec<_> = state.scan(None, 9).await.unwrap();
    assert_eq!(names, [(id("a"), at(1)), (id("c"), at(1))]);
    for (expect, record) in [
        (None, Some(at(2))),
        (Some(at(1)), Some(at(2))),
        (Some(at(1)), None),
    ] {
        assert!(damaged(
            commit(vec![change("b", expect, record)]).await.err()
        ));
    }
    let anew = vec![change("b", None, None), change("b", None, Some(at(2)))];
    commit(anew).await.unwrap();
    assert_eq!(state.get(&id("b")).await.unwrap(), Some(at(2)));
}

#[tokio::test]
async fn a_detail_with_a_missing_piece_is_damaged() {
    let (_dir, state) = fresh();
    let mut born = change("a", None, Some(at(1)));
    born.details = vec![(Detail::Parts, Some(long(10_000)))];
    state.commit(vec![born], Promise::Synced).await.unwrap();
    let tree = state.tree.lock().unwrap().clone().unwrap();
    let prefix = keys::detail(&id("a"), Detail::Parts);
    let pieces: Vec<_> = tree.scan_prefix(&prefix).keys().flatten().collect();
    assert_eq!(pieces.len(), 4);
    tree.remove(&pieces[2]).unwrap();
    let read = state.detail(&id("a"), Detail::Parts).await;
    assert!(matches!(read, Err(StateError::Damaged(of)) if of == id("a")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detail_is_read_whole_while_it_changes() {
    let (_dir, state) = fresh();
    put(&state, "a", at(0)).await;
    let write = async {
        for n in 0..100_u8 {
            let mut change = change("a", Some(at(0)), Some(at(0)));
            let value = vec![n; 1 + 997 * usize::from(n)];
            change.details = vec![(Detail::Parts, Some(value))];
            state.commit(vec![change], Promise::Flushed).await.unwrap();
        }
    };
    let read = async {
        for _ in 0..300 {
            let Some(value) = state.detail(&id("a"), Detail::Parts).await.unwrap() else {
                continue;
            };
            assert_eq!(value.len(), 1 + 997 * usize::from(value[0]));
            assert!(value.iter().all(|byte| *byte == value[0]));
        }
    };
    tokio::join!(write, read);
}

#[tokio::test]
async fn details_never_become_files_of_their_own() {
    let (dir, state) = fresh();
    put(&state, "a", at(0)).await;
    for round in 0..20 {
        let mut change = change("a", Some(at(0)), Some(at(0)));
        change.details = vec![(Detail::Parts, Some(long((500 << 10) - round * 7)))];
        state.commit(vec![change], Promise::Flushed).await.unwrap();
    }
    let blobs = dir.path().join("state").join("blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
}

#[tokio::test]
async fn the_database_keeps_space_to_grow() {
    use std::os::unix::fs::MetadataExt;
    let (dir, state) = fresh();
    let file = dir.path().join("state").join("db");
    let spare = || {
        let file = std::fs::metadata(&file).unwrap();
        (file.blocks() * 512).saturating_sub(file.len())
    };
    if spare() == 0 {
        return; // A file system that reserves nothing.
    }
    for n in 0..200 {
        let mut born = change(&format!("a{n}"), None, Some(at(0)));
        born.details = vec![(Detail::Parts, Some(long(100_000)))];
        state.commit(vec![born], Promise::Flushed).await.unwrap();
        assert!(spare() >= 3 << 20, "{}", spare());
    }
    assert!(std::fs::metadata(&file).unwrap().len() > 16 << 20);
    for n in 0..200 {
        let gone = change(&format!("a{n}"), Some(at(0)), None);
        state.commit(vec![gone], Promise::Flushed).await.unwrap();
        put(&state, &format!("b{n}"), at(n)).await;
    }
    state.commit(Vec::new(), Promise::Synced).await.unwrap();
    assert!(spare() >= 3 << 20, "{}", spare());
}
