//! What every state store does. Each backend's own tests run the whole suite.

pub(super) mod reopen;

use super::{Change, Detail, Mark, Promise, StateError, StateStore};
use crate::upload::{Kind, Record, UploadId};

/// Hands the names of all contract tests that need one open store to the macro `$run`.
macro_rules! suite {
    ($run:ident) => {
        $run! {
            a_record_comes_goes_and_is_compared
            all_changes_or_none
            changes_of_one_commit_see_each_other
            one_of_many_rivals_wins
            queued_changes_keep_their_order
            a_refused_queued_change_stops_nothing
            an_empty_commit_is_a_barrier
            details_come_back_whole
            a_record_takes_its_details_and_marks_along
            names_within_names_are_apart
            scans_go_on_where_they_stopped
            a_commit_of_ten_thousand_changes
            a_closed_store_says_so
            letters_go_with_their_changes
        }
    };
}
pub(super) use suite;

pub(super) fn id(text: &str) -> UploadId {
    text.parse().unwrap()
}

pub(super) fn at(offset: u64) -> Record {
    Record {
        offset,
        ..Record::new(Kind::Plain, Some(1 << 40), 1)
    }
}

pub(super) fn change(name: &str, expect: Option<Record>, record: Option<Record>) -> Change {
    Change::record(&id(name), expect, record)
}

pub(super) async fn put(store: &dyn StateStore, name: &str, record: Record) {
    let change = change(name, None, Some(record));
    store.commit(vec![change], Promise::Flushed).await.unwrap();
}

async fn offset(store: &dyn StateStore, name: &str) -> Option<u64> {
    store.get(&id(name)).await.unwrap().map(|r| r.offset)
}

async fn names(store: &dyn StateStore) -> Vec<String> {
    let all = store.scan(None, usize::MAX).await.unwrap();
    all.into_iter().map(|(id, _)| id.to_string()).collect()
}

pub(super) async fn letters_go_with_their_changes(store: &dyn StateStore) {
    let post = |changes, letters| store.commit_with(changes, letters, Promise::Flushed);
    let born = change("a", None, Some(at(0)));
    let letters = vec![(7, Some(long(10_000))), (u64::MAX, Some(b"last".to_vec()))];
    post(vec![born.clone()], letters).await.unwrap();
    // A commit that is refused posts nothing.
    let refused = post(vec![born], vec![(8, Some(b"never".to_vec()))]).await;
    assert!(is_conflict(&refused));
    post(Vec::new(), vec![(3, Some(b"first".to_vec()))])
        .await
        .unwrap();
    let last = (u64::MAX, b"last".to_vec());
    let all = [(3, b"first".to_vec()), (7, long(10_000)), last.clone()];
    assert_eq!(store.letters(None, 9).await.unwrap(), all);
    assert_eq!(store.letters(None, 2).await.unwrap(), all[..2]);
    assert_eq!(store.letters(Some(7), 9).await.unwrap(), [last]);
    assert_eq!(store.letters(Some(u64::MAX), 9).await.unwrap(), []);
    // Over a longer one, and out, whatever becomes of the upload.
    let gone = change("a", Some(at(0)), None);
    post(vec![gone], vec![(7, Some(b"short".to_vec())), (3, None)])
        .await
        .unwrap();
    assert_eq!(store.letter(7).await.unwrap(), Some(b"short".to_vec()));
    assert_eq!(store.letter(3).await.unwrap(), None);
    assert_eq!(names(store).await, Vec::<String>::new());
}

fn is_conflict(answer: &Result<(), StateError>) -> bool {
    matches!(answer, Err(StateError::Conflict))
}

pub(super) async fn a_record_comes_goes_and_is_compared(store: &dyn StateStore) {
    let commit = |expect, record| store.commit(vec![change("a", expect, record)], Promise::Flushed);
    assert_eq!(store.get(&id("a")).await.unwrap(), None);
    assert!(is_conflict(&commit(Some(at(0)), Some(at(1))).await));
    commit(None, Some(at(0))).await.unwrap();
    assert_eq!(store.get(&id("a")).await.unwrap(), Some(at(0)));
    assert!(is_conflict(&commit(None, Some(at(1))).await));
    assert!(is_conflict(&commit(Some(at(2)), Some(at(3))).await));
    assert!(is_conflict(&commit(Some(at(2)), None).await));
    assert!(is_conflict(&commit(None, None).await));
    commit(Some(at(0)), Some(at(5))).await.unwrap();
    commit(Some(at(5)), Some(at(5))).await.unwrap();
    assert_eq!(offset(store, "a").await, Some(5));
    commit(Some(at(5)), None).await.unwrap();
    assert_eq!(store.get(&id("a")).await.unwrap(), None);
    commit(None, None).await.unwrap();
}

pub(super) async fn all_changes_or_none(store: &dyn StateStore) {
    put(store, "a", at(0)).await;
    put(store, "b", at(0)).await;
    let mut first = change("a", Some(at(0)), Some(at(1)));
    first.details = vec![(Detail::Metadata, Some(b"m".to_vec()))];
    first.marks = vec![(Mark::Waiting, true)];
    let wrong = change("b", Some(at(9)), None);
    let answer = store
        .commit(vec![first.clone(), wrong], Promise::Synced)
        .await;
    assert!(is_conflict(&answer));
    assert_eq!(offset(store, "a").await, Some(0));
    assert_eq!(offset(store, "b").await, Some(0));
    assert_eq!(
        store.detail(&id("a"), Detail::Metadata).await.unwrap(),
        None
    );
    assert_eq!(store.marked(Mark::Waiting).await.unwrap(), []);

    let right = change("b", Some(at(0)), None);
    let both = vec![first, right];
    store.commit(both, Promise::Synced).await.unwrap();
    assert_eq!(offset(store, "a").await, Some(1));
    assert_eq!(offset(store, "b").await, None);
    assert_eq!(store.marked(Mark::Waiting).await.unwrap(), [id("a")]);
}

pub(super) async fn changes_of_one_commit_see_each_other(store: &dyn StateStore) {
    let mut second = change("a", Some(at(0)), Some(at(1)));
    second.details = vec![(Detail::Parts, Some(vec![2; 9000]))];
    let steps = vec![change("a", None, Some(at(0))), second.clone()];
    store.commit(steps, Promise::Flushed).await.unwrap();
    assert_eq!(offset(store, "a").await, Some(1));

    let anew = vec![
        change("a", Some(at(1)), None),
        change("a", None, Some(at(7))),
    ];
    store.commit(anew, Promise::Flushed).await.unwrap();
    assert_eq!(offset(store, "a").await, Some(7));
    assert_eq!(store.detail(&id("a"), Detail::Parts).await.unwrap(), None);

    second.expect = Some(at(7));
    let there_and_away = vec![second, change("a", Some(at(1)), None)];
    store
        .commit(there_and_away, Promise::Flushed)
        .await
        .unwrap();
    assert_eq!(offset(store, "a").await, None);
    assert_eq!(store.detail(&id("a"), Detail::Parts).await.unwrap(), None);
}

pub(super) async fn one_of_many_rivals_wins(store: &dyn StateStore) {
    put(store, "a", at(0)).await;
    for step in 0..5 {
        let rivals = (0..20).map(|_| {
            let change = change("a", Some(at(step)), Some(at(step + 1)));
            store.commit(vec![change], Promise::Flushed)
        });
        let answers = futures_util::future::join_all(rivals).await;
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 1);
        assert!(answers.iter().all(|a| a.is_ok() || is_conflict(a)));
    }
    assert_eq!(offset(store, "a").await, Some(5));
}

pub(super) async fn queued_changes_keep_their_order(store: &dyn StateStore) {
    put(store, "a", at(0)).await;
    for step in 0..1000 {
        let change = change("a", Some(at(step)), Some(at(step + 1)));
        store.commit(vec![change], Promise::Queued).await.unwrap();
    }
    let last = change("a", Some(at(1000)), Some(at(1001)));
    store.commit(vec![last], Promise::Flushed).await.unwrap();
    assert_eq!(offset(store, "a").await, Some(1001));
}

pub(super) async fn a_refused_queued_change_stops_nothing(store: &dyn StateStore) {
    put(store, "a", at(0)).await;
    let wrong = change("a", Some(at(3)), Some(at(4)));
    store.commit(vec![wrong], Promise::Queued).await.unwrap();
    let right = change("a", Some(at(0)), Some(at(1)));
    store.commit(vec![right], Promise::Flushed).await.unwrap();
    assert_eq!(offset(store, "a").await, Some(1));
}

pub(super) async fn an_empty_commit_is_a_barrier(store: &dyn StateStore) {
    let queued = change("a", None, Some(at(3)));
    store.commit(vec![queued], Promise::Queued).await.unwrap();
    store.commit(Vec::new(), Promise::Synced).await.unwrap();
    assert_eq!(offset(store, "a").await, Some(3));
}

/// Bytes that differ from place to place, so that a piece in the wrong place is seen.
pub(super) fn long(len: usize) -> Vec<u8> {
    let word = |n: u32| n.wrapping_mul(0x9E37_79B1).to_le_bytes();
    (0..).flat_map(word).take(len).collect()
}

pub(super) async fn details_come_back_whole(store: &dyn StateStore) {
    put(store, "a", at(0)).await;
    let set = async |detail, value: Option<Vec<u8>>| {
        let mut change = change("a", Some(at(0)), Some(at(0)));
        change.details = vec![(detail, value.clone())];
        store.commit(vec![change], Promise::Flushed).await.unwrap();
        assert_eq!(store.detail(&id("a"), detail).await.unwrap(), value);
    };
    set(Detail::Concat, Some(b"final;/files/a".to_vec())).await;
    let sizes = [
        500 << 10,
        0,
        9_181,
        9_180,
        3_061,
        3_060,
        1,
        70_000,
        6_120,
        500 << 10,
    ];
    for len in sizes {
        set(Detail::Parts, Some(long(len))).await;
    }
    set(Detail::Segments, None).await;
    set(Detail::Parts, None).await;
    set(Detail::Parts, Some(long(5))).await;
    let untouched = store.detail(&id("a"), Detail::Concat).await.unwrap();
    assert_eq!(untouched.unwrap(), b"final;/files/a");
    assert_eq!(
        store.detail(&id("a"), Detail::Metadata).await.unwrap(),
        None
    );
    assert_eq!(store.detail(&id("b"), Detail::Concat).await.unwrap(), None);
}

pub(super) async fn a_record_takes_its_details_and_marks_along(store: &dyn StateStore) {
    let mut born = change("a", None, Some(at(0)));
    born.details = vec![
        (Detail::Metadata, Some(b"m".to_vec())),
        (Detail::Segments, Some(long(20_000))),
    ];
    born.marks = vec![(Mark::Waiting, true), (Mark::Assembling, true)];
    store.commit(vec![born], Promise::Flushed).await.unwrap();
    let mut gone = change("a", Some(at(0)), None);
    gone.details = vec![(Detail::Parts, Some(b"left over".to_vec()))];
    gone.marks = vec![(Mark::Waiting, true)];
    store.commit(vec![gone], Promise::Flushed).await.unwrap();
    put(store, "a", at(0)).await;
    for detail in [Detail::Metadata, Detail::Segments, Detail::Parts] {
        assert_eq!(store.detail(&id("a"), detail).await.unwrap(), None);
    }
    assert_eq!(store.marked(Mark::Waiting).await.unwrap(), []);
    assert_eq!(store.marked(Mark::Assembling).await.unwrap(), []);
}

pub(super) async fn names_within_names_are_apart(store: &dyn StateStore) {
    let all = ["a", "a-", "a-b", "a.b", "a/b", "a/b/c", "a0", "aa", "b"];
    for name in all.iter().rev() {
        let mut born = change(name, None, Some(at(0)));
        born.details = vec![(Detail::Metadata, Some(name.as_bytes().to_vec()))];
        born.marks = vec![(Mark::Waiting, true)];
        store.commit(vec![born], Promise::Queued).await.unwrap();
    }
    store.commit(Vec::new(), Promise::Flushed).await.unwrap();
    assert_eq!(names(store).await, all);
    let gone = change("a", Some(at(0)), None);
    store.commit(vec![gone], Promise::Flushed).await.unwrap();
    assert_eq!(names(store).await, all[1..]);
    for name in &all[1..] {
        let detail = store.detail(&id(name), Detail::Metadata).await.unwrap();
        assert_eq!(detail.unwrap(), name.as_bytes());
    }
    let marked = store.marked(Mark::Waiting).await.unwrap();
    assert_eq!(marked, all[1..].iter().map(|n| id(n)).collect::<Vec<_>>());
    assert_eq!(store.marked(Mark::Assembling).await.unwrap(), []);
}

pub(super) async fn scans_go_on_where_they_stopped(store: &dyn StateStore) {
    let all: Vec<_> = (0..50).map(|n| format!("u{n:02}")).collect();
    for (n, name) in (0..).zip(&all) {
        let born = change(name, None, Some(at(n)));
        store.commit(vec![born], Promise::Queued).await.unwrap();
    }
    store.commit(Vec::new(), Promise::Flushed).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(after.as_ref(), 7).await.unwrap();
        assert!(page.len() <= 7);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        found.extend(page);
    }
    assert!((0..).zip(&found).all(|(n, (_, record))| *record == at(n)));
    assert_eq!(
        found.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        all
    );
    let none_such = store.scan(Some(&id("u07x")), 1).await.unwrap();
    assert_eq!(none_such[0].0, id("u08"));
    assert_eq!(store.scan(None, 0).await.unwrap(), []);
}

pub(super) async fn a_commit_of_ten_thousand_changes(store: &dyn StateStore) {
    let name = |n| format!("f/{n:05}");
    let mut born: Vec<_> = (0..10_000)
        .map(|n| change(&name(n), None, Some(at(n))))
        .collect();
    for change in &mut born {
        change.details = vec![(Detail::Segments, Some(vec![7; 60]))];
    }
    store.commit(born, Promise::Flushed).await.unwrap();
    let mut gone: Vec<_> = (0..10_000)
        .map(|n| change(&name(n), Some(at(n)), None))
        .collect();
    gone.push(change("nobody", Some(at(0)), None));
    let answer = store.commit(gone.clone(), Promise::Flushed).await;
    assert!(is_conflict(&answer));
    assert_eq!(names(store).await.len(), 10_000);
    gone.pop();
    store.commit(gone, Promise::Flushed).await.unwrap();
    assert_eq!(names(store).await.len(), 0);
}

pub(super) async fn a_closed_store_says_so(store: &dyn StateStore) {
    put(store, "a", at(0)).await;
    store.close().await.unwrap();
    let closed = |error: Option<StateError>| matches!(error, Some(StateError::Store(why)) if why == "closed");
    assert!(closed(store.get(&id("a")).await.err()));
    assert!(closed(store.detail(&id("a"), Detail::Parts).await.err()));
    assert!(closed(store.scan(None, 1).await.err()));
    assert!(closed(store.marked(Mark::Waiting).await.err()));
    for promise in [Promise::Queued, Promise::Flushed, Promise::Synced] {
        let late = change("b", None, Some(at(0)));
        assert!(closed(store.commit(vec![late], promise).await.err()));
    }
    store.close().await.unwrap();
}
