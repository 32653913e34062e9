//! What is there after a store was closed and opened again.

use super::super::{Detail, Mark, Promise, StateStore};
use super::{Change, at, change, id, long};

/// Fifty uploads with a detail and every other one with a mark, under each promise.
pub(in crate::state) async fn write_everything(store: &dyn StateStore) {
    for n in 0..50_u16 {
        let mut born = change(&format!("s/{n:02}"), None, Some(at(n.into())));
        born.details = vec![(Detail::Segments, Some(long(usize::from(n) * 1000)))];
        born.marks = vec![(Mark::Assembling, n % 2 == 0)];
        let promise = [Promise::Queued, Promise::Flushed, Promise::Synced][usize::from(n % 3)];
        store.commit(vec![born], promise).await.unwrap();
    }
}

/// What [`write_everything`] wrote, also after the store was closed and opened.
pub(in crate::state) async fn everything_is_there(store: &dyn StateStore) {
    let all = store.scan(None, 100).await.unwrap();
    assert_eq!(all.len(), 50);
    for (n, (id, record)) in (0..).zip(&all) {
        assert_eq!((id.as_str(), record), (&*format!("s/{n:02}"), &at(n)));
        let len = usize::try_from(n).unwrap() * 1000;
        let detail = store.detail(id, Detail::Segments).await.unwrap();
        assert_eq!(detail, Some(long(len)));
    }
    assert_eq!(store.marked(Mark::Assembling).await.unwrap().len(), 25);
}

/// Removes the uploads with a mark, and shortens the others' details.
pub(in crate::state) async fn take_half_away(store: &dyn StateStore) {
    for (id, record) in store.scan(None, 100).await.unwrap() {
        let even = record.offset % 2 == 0;
        let kept = (!even).then(|| record.clone());
        let mut change = Change::record(&id, Some(record), kept);
        change.details = vec![(Detail::Segments, Some(b"short".to_vec()))];
        store.commit(vec![change], Promise::Queued).await.unwrap();
    }
    store.commit(Vec::new(), Promise::Flushed).await.unwrap();
}

/// What [`take_half_away`] left.
pub(in crate::state) async fn half_is_gone(store: &dyn StateStore) {
    let all = store.scan(None, 100).await.unwrap();
    assert_eq!(all.len(), 25);
    for (id, record) in &all {
        assert_eq!(record.offset % 2, 1);
        let detail = store.detail(id, Detail::Segments).await.unwrap();
        assert_eq!(detail.unwrap(), b"short");
    }
    assert_eq!(
        store.detail(&id("s/02"), Detail::Segments).await.unwrap(),
        None
    );
    assert_eq!(store.marked(Mark::Assembling).await.unwrap(), []);
}
