//! What every store of blobs must do. Each backend's tests call all of it, through [`suite`].

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{Blob, BlobError, BlobStore, File, JoinParts, Segment};
use crate::upload::UploadId;

/// Makes a test of each function here. `$make` gives the store, and what must live as long.
macro_rules! suite {
    ($make:expr) => {
        $crate::blob::contract::suite!(flavor = "current_thread"; $make);
    };
    (flavor = $flavor:literal; $make:expr) => {
        $crate::blob::contract::suite! {
            @each $flavor; $make;
            appending_moves_the_position
            appending_cuts_the_tail
            too_few_bytes_are_lost
            a_part_of_a_larger_file_keeps_to_itself
            a_list_cannot_be_written
            a_writer_takes_bytes_back
            reading_crosses_segments
            reading_what_is_not_there_is_lost
            stored_counts_to_the_first_missing_byte
            cutting_never_lengthens
            about_is_kept_and_not_overwritten
            a_sidecar_is_replaced_as_a_whole
            an_upload_of_no_bytes_has_a_file
            removing_twice_is_fine
            files_lists_everything_by_its_name
            linking_shares_bytes
            linking_leaves_nothing_behind_when_a_part_is_lost
            what_a_join_shares_is_never_cut
            copying_goes_by_budget_and_finishes_whole
            adopting_takes_the_first_free_name
            syncing_needs_the_bytes
        }
    };
    (@each $flavor:literal; $make:expr; $($name:ident)*) => {
        $(
            #[tokio::test(flavor = $flavor)]
            async fn $name() {
                let (store, _alive) = $make;
                $crate::blob::contract::$name(&store).await;
            }
        )*
    };
}
pub(super) use suite;

pub(super) fn id(text: &str) -> UploadId {
    text.parse().unwrap()
}

pub(super) fn own(text: &str) -> Blob {
    Blob::Own(id(text))
}

fn upload(text: &str) -> File {
    File::Upload(id(text))
}

fn segment(file: File, start: u64, len: u64) -> Segment {
    Segment { file, start, len }
}

fn one(file: File, start: u64, len: u64) -> Blob {
    Blob::Segments(vec![segment(file, start, len)])
}

/// Appends `bytes` at `at`.
pub(super) async fn put(store: &dyn BlobStore, blob: &Blob, at: u64, bytes: &[u8]) {
    let mut writer = store.append(blob, at, None).await.unwrap();
    writer.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    writer.close().await.unwrap();
}

/// Reads `start..end`.
pub(super) async fn get(
    store: &dyn BlobStore,
    blob: &Blob,
    start: u64,
    end: u64,
) -> Result<Vec<u8>, BlobError> {
    let pieces = store.read(blob, start..end).await?;
    let add = |mut all: Vec<u8>, piece: Bytes| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    };
    pieces.try_fold(Vec::new(), add).await
}

fn joins(store: &dyn BlobStore) -> &dyn JoinParts {
    store.join().expect("a store that joins")
}

fn is_lost<T>(result: &Result<T, BlobError>) -> bool {
    matches!(result, Err(BlobError::Lost))
}

fn is_fixed<T>(result: &Result<T, BlobError>) -> bool {
    matches!(result, Err(BlobError::Fixed))
}

/// Every file of the store, in some order.
async fn everything(store: &dyn BlobStore) -> Vec<File> {
    let mut all = Vec::new();
    for shard in store.shards().await.unwrap() {
        all.extend(store.files(&shard).await.unwrap());
    }
    all
}

pub(super) async fn appending_moves_the_position(store: &dyn BlobStore) {
    let blob = own("x");
    let mut writer = store.append(&blob, 0, Some(9)).await.unwrap();
    assert_eq!(writer.position(), 0);
    writer.write(Bytes::from_static(b"high")).await.unwrap();
    writer.write(Bytes::new()).await.unwrap();
    assert_eq!(writer.position(), 4);
    writer.sync().await.unwrap();
    drop(writer);
    let mut writer = store.append(&blob, 4, Some(9)).await.unwrap();
    writer.write(Bytes::from_static(b"water")).await.unwrap();
    assert_eq!(writer.position(), 9);
    writer.close().await.unwrap();
    assert_eq!(get(store, &blob, 0, 9).await.unwrap(), b"highwater");
}

pub(super) async fn appending_cuts_the_tail(store: &dyn BlobStore) {
    let blob = own("x");
    put(store, &blob, 0, b"hello wrong").await;
    put(store, &blob, 6, b"tus").await;
    assert_eq!(store.stored(&blob).await.unwrap(), 9);
    assert_eq!(get(store, &blob, 0, 9).await.unwrap(), b"hello tus");
    put(store, &blob, 0, b"").await;
    assert_eq!(store.stored(&blob).await.unwrap(), 0);
}

pub(super) async fn too_few_bytes_are_lost(store: &dyn BlobStore) {
    let none = own("none");
    assert!(is_lost(&store.append(&none, 1, None).await));
    assert!(everything(store).await.is_empty());
    put(store, &own("x"), 0, b"12345").await;
    assert!(is_lost(&store.append(&own("x"), 6, None).await));
    assert!(is_lost(&store.append(&own("x"), u64::MAX, None).await));
    let part = one(upload("x"), 2, 3);
    assert!(is_lost(&store.append(&part, 4, None).await));
    let later = one(upload("x"), 4, 3);
    assert!(is_lost(&store.append(&later, 2, None).await));
    let link = one(File::Link(id("x"), 0), 0, 3);
    assert!(is_lost(&store.append(&link, 0, None).await));
    assert_eq!(get(store, &own("x"), 0, 5).await.unwrap(), b"12345");
}

pub(super) async fn a_part_of_a_larger_file_keeps_to_itself(store: &dyn BlobStore) {
    put(store, &own("x"), 0, &[b'.'; 20]).await;
    let part = one(upload("x"), 5, 10);
    put(store, &part, 0, b"abcdef").await;
    put(store, &part, 2, b"CD").await;
    let all = get(store, &own("x"), 0, 20).await.unwrap();
    assert_eq!(all, b".....abCDef.........");
    let mut writer = store.append(&part, 4, Some(10)).await.unwrap();
    let over = writer.write(Bytes::from_static(b"123456789")).await;
    assert!(is_fixed(&over));
    assert_eq!(writer.position(), 10);
    writer.cut(8).await.unwrap();
    assert_eq!(writer.position(), 8);
    writer.close().await.unwrap();
    store.cut(&part, 1).await.unwrap();
    let all = get(store, &own("x"), 0, 20).await.unwrap();
    assert_eq!(all, b".....abCD123456.....");
    // The first part that comes may be one from the middle.
    let part = one(upload("new"), 4, 4);
    put(store, &part, 0, b"wxyz").await;
    assert_eq!(get(store, &part, 0, 4).await.unwrap(), b"wxyz");
    assert_eq!(store.stored(&own("new")).await.unwrap(), 8);
}

pub(super) async fn a_list_cannot_be_written(store: &dyn BlobStore) {
    put(store, &own("x"), 0, b"12345").await;
    let two = vec![segment(upload("x"), 0, 1), segment(upload("x"), 1, 1)];
    for list in [vec![], two] {
        assert!(is_fixed(
            &store.append(&Blob::Segments(list), 0, None).await
        ));
    }
}

pub(super) async fn a_writer_takes_bytes_back(store: &dyn BlobStore) {
    let blob = own("x");
    let mut writer = store.append(&blob, 0, None).await.unwrap();
    writer.write(Bytes::from_static(b"good bad")).await.unwrap();
    writer.cut(99).await.unwrap();
    assert_eq!(writer.position(), 8);
    writer.cut(5).await.unwrap();
    assert_eq!(writer.position(), 5);
    assert_eq!(store.stored(&blob).await.unwrap(), 5);
    writer.write(Bytes::from_static(b"again")).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(get(store, &blob, 0, 10).await.unwrap(), b"good again");
}

pub(super) async fn reading_crosses_segments(store: &dyn BlobStore) {
    let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    put(store, &own("a"), 0, &bytes).await;
    put(store, &own("b"), 0, b"0123456789").await;
    assert_eq!(get(store, &own("a"), 0, 700_000).await.unwrap(), bytes);
    assert_eq!(get(store, &own("a"), 5, 9).await.unwrap(), &bytes[5..9]);
    let blob = Blob::Segments(vec![
        segment(upload("b"), 2, 3),
        segment(upload("a"), 100, 600_000),
        segment(upload("b"), 0, 0),
        segment(upload("b"), 9, 1),
    ]);
    let mut all = b"234".to_vec();
    all.extend_from_slice(&bytes[100..600_100]);
    all.push(b'9');
    assert_eq!(get(store, &blob, 0, 600_004).await.unwrap(), all);
    assert_eq!(get(store, &blob, 1, 5).await.unwrap(), &all[1..5]);
    let end = get(store, &blob, 600_001, 600_004).await.unwrap();
    assert_eq!(end, &all[600_001..]);
    assert_eq!(get(store, &blob, 7, 7).await.unwrap(), b"");
    let pieces = store.read(&own("a"), 0..700_000).await.unwrap();
    let longest = pieces.try_fold(
        0,
        |longest, piece| async move { Ok(piece.len().max(longest)) },
    );
    assert!(longest.await.unwrap() <= 256 << 10);
}

pub(super) async fn reading_what_is_not_there_is_lost(store: &dyn BlobStore) {
    assert!(is_lost(&store.read(&own("none"), 0..1).await));
    assert_eq!(get(store, &own("none"), 0, 0).await.unwrap(), b"");
    put(store, &own("x"), 0, b"12345").await;
    assert!(is_lost(&store.read(&own("x"), 4..6).await));
    let short = one(upload("x"), 0, 5);
    assert!(is_lost(&store.read(&short, 4..6).await));
    let list = Blob::Segments(vec![
        segment(upload("x"), 0, 5),
        segment(upload("gone"), 0, 5),
    ]);
    let mut pieces = store.read(&list, 0..10).await.unwrap();
    let first = pieces.try_next().await.unwrap();
    assert_eq!(first.as_deref(), Some(b"12345".as_slice()));
    assert!(is_lost(&pieces.try_next().await));
}

pub(super) async fn stored_counts_to_the_first_missing_byte(store: &dyn BlobStore) {
    assert_eq!(store.stored(&own("none")).await.unwrap(), 0);
    put(store, &own("x"), 0, b"12345").await;
    assert_eq!(store.stored(&own("x")).await.unwrap(), 5);
    for (list, stored) in [
        (vec![], 0),
        (vec![segment(upload("x"), 1, 3)], 3),
        (vec![segment(upload("x"), 3, 9)], 2),
        (vec![segment(upload("x"), 9, 9)], 0),
        (
            vec![segment(upload("x"), 0, 5), segment(upload("x"), 0, 2)],
            7,
        ),
        (
            vec![segment(upload("x"), 4, 2), segment(upload("x"), 0, 2)],
            1,
        ),
        (
            vec![segment(upload("gone"), 0, 2), segment(upload("x"), 0, 2)],
            0,
        ),
    ] {
        let told = store.stored(&Blob::Segments(list.clone())).await.unwrap();
        assert_eq!(told, stored, "{list:?}");
    }
}

pub(super) async fn cutting_never_lengthens(store: &dyn BlobStore) {
    store.cut(&own("none"), 3).await.unwrap();
    assert!(everything(store).await.is_empty());
    put(store, &own("x"), 0, b"12345").await;
    for (to, left) in [(9, 5), (5, 5), (2, 2), (0, 0)] {
        store.cut(&own("x"), to).await.unwrap();
        assert_eq!(store.stored(&own("x")).await.unwrap(), left);
    }
}

pub(super) async fn about_is_kept_and_not_overwritten(store: &dyn BlobStore) {
    assert_eq!(store.about(&id("x")).await.unwrap(), None);
    store.create(&id("x"), b"\0any bytes", false).await.unwrap();
    let kept = Some((b"\0any bytes".to_vec(), None));
    assert_eq!(store.about(&id("x")).await.unwrap(), kept);
    assert_eq!(everything(store).await, [File::About(id("x"))]);
    assert!(store.create(&id("x"), b"other", true).await.is_err());
    assert_eq!(store.about(&id("x")).await.unwrap(), kept);
    assert_eq!(everything(store).await, [File::About(id("x"))]);
}

pub(super) async fn a_sidecar_is_replaced_as_a_whole(store: &dyn BlobStore) {
    store.create(&id("x"), b"a longer one", true).await.unwrap();
    for about in [&b"other"[..], b"and another one"] {
        store.amend(&id("x"), about).await.unwrap();
        let kept = store.about(&id("x")).await.unwrap();
        assert_eq!(kept, Some((about.to_vec(), None)));
    }
    assert_eq!(everything(store).await.len(), 2);
}

pub(super) async fn an_upload_of_no_bytes_has_a_file(store: &dyn BlobStore) {
    put(store, &own("x"), 0, b"left over").await;
    store.create(&id("x"), b"{}", true).await.unwrap();
    let files = everything(store).await;
    assert!(files.contains(&upload("x")), "{files:?}");
    assert_eq!(store.stored(&own("x")).await.unwrap(), 0);
    store.sync(&id("x"), &own("x")).await.unwrap();
}

pub(super) async fn removing_twice_is_fine(store: &dyn BlobStore) {
    store.create(&id("x"), b"{}", true).await.unwrap();
    let files = [upload("x"), File::About(id("x")), File::Draft(id("x"))];
    store.remove(&files).await.unwrap();
    assert!(everything(store).await.is_empty());
    store.remove(&files).await.unwrap();
    store.create(&id("x"), b"{}", false).await.unwrap();
}

pub(super) async fn files_lists_everything_by_its_name(store: &dyn BlobStore) {
    let long = "a".repeat(99);
    let long = format!("{long}/{long}x");
    assert_eq!(long.len(), UploadId::MAX);
    put(store, &own("source"), 0, b"1").await;
    let mut expected = vec![upload("source")];
    for name in ["a", "a/b", "a.b", "..x", "A-_.9", &long] {
        let id = id(name);
        store.create(&id, b"{}", true).await.unwrap();
        let part = (own("source"), 1);
        let list = joins(store).link(&id, &[part]).await.unwrap();
        joins(store).copy(&id, &list, 0, 9).await.unwrap();
        expected.extend([
            File::Upload(id.clone()),
            File::Link(id.clone(), 0),
            File::Draft(id.clone()),
            File::About(id.clone()),
            File::List(id),
        ]);
    }
    let found = everything(store).await;
    assert_eq!(found.len(), expected.len());
    for file in expected {
        assert!(found.contains(&file), "{file:?}");
    }
    assert!(store.files("..").await.unwrap().is_empty());
    assert!(store.files("zz").await.unwrap().is_empty());
}

pub(super) async fn linking_shares_bytes(store: &dyn BlobStore) {
    put(store, &own("a"), 0, b"aaa").await;
    put(store, &own("b"), 0, b"bb").await;
    put(store, &own("empty"), 0, b"").await;
    let parts = [
        (own("a"), 3),
        (own("empty"), 0),
        (own("never"), 0),
        (one(upload("b"), 1, 1), 1),
        (own("a"), 3),
    ];
    let list = joins(store).link(&id("f"), &parts).await.unwrap();
    let (first, second) = (File::Link(id("f"), 0), File::Link(id("f"), 1));
    let expected = [
        segment(first.clone(), 0, 3),
        segment(second.clone(), 1, 1),
        segment(first.clone(), 0, 3),
    ];
    assert_eq!(list, expected);
    let joined = Blob::Segments(list.clone());
    // The parts may go.
    store.remove(&[upload("a"), upload("b")]).await.unwrap();
    assert_eq!(get(store, &joined, 0, 7).await.unwrap(), b"aaabaaa");
    assert_eq!(store.stored(&joined).await.unwrap(), 7);
    store.create(&id("f"), b"{}", false).await.unwrap();
    let about = store.about(&id("f")).await.unwrap();
    assert_eq!(about, Some((b"{}".to_vec(), Some(list))));
    store.sync(&id("f"), &joined).await.unwrap();
    // Once more under the same name, as after a crash; and a join of nothing.
    put(store, &own("a"), 0, b"new").await;
    let again = joins(store).link(&id("f"), &[(own("a"), 3)]).await.unwrap();
    assert_eq!(again, [segment(first, 0, 3)]);
    let read = get(store, &Blob::Segments(again), 0, 3).await.unwrap();
    assert_eq!(read, b"new");
    let nothing = joins(store).link(&id("n"), &[(own("empty"), 0)]).await;
    assert_eq!(nothing.unwrap(), []);
}

pub(super) async fn linking_leaves_nothing_behind_when_a_part_is_lost(store: &dyn BlobStore) {
    put(store, &own("a"), 0, b"aaa").await;
    for bad in [(own("gone"), 1), (own("a"), 4), (one(upload("a"), 0, 2), 3)] {
        let linked = joins(store).link(&id("f"), &[(own("a"), 3), bad]).await;
        assert!(is_lost(&linked));
        assert_eq!(everything(store).await, [upload("a")]);
    }
}

pub(super) async fn what_a_join_shares_is_never_cut(store: &dyn BlobStore) {
    put(store, &own("a"), 0, b"aaa").await;
    let list = joins(store).link(&id("f"), &[(own("a"), 3)]).await.unwrap();
    let joined = Blob::Segments(list);
    assert!(is_fixed(&store.append(&own("a"), 1, None).await));
    // At the end nothing is cut: an empty append is fine.
    put(store, &own("a"), 3, b"").await;
    // The upload is given a file of its own.
    store.cut(&own("a"), 2).await.unwrap();
    assert_eq!(store.stored(&own("a")).await.unwrap(), 2);
    put(store, &own("a"), 2, b"and more").await;
    assert_eq!(get(store, &own("a"), 0, 10).await.unwrap(), b"aaand more");
    let left = everything(store).await;
    assert!(!left.contains(&File::Draft(id("a"))), "{left:?}");
    // Another upload of that name gets another file.
    put(store, &own("a"), 0, b"b").await;
    assert_eq!(get(store, &own("a"), 0, 1).await.unwrap(), b"b");
    assert_eq!(get(store, &joined, 0, 3).await.unwrap(), b"aaa");
}

pub(super) async fn copying_goes_by_budget_and_finishes_whole(store: &dyn BlobStore) {
    put(store, &own("a"), 0, b"0123456789").await;
    put(store, &own("b"), 0, b"abc").await;
    let parts = [(own("a"), 10), (own("b"), 3)];
    let joins = joins(store);
    let list = joins.link(&id("f"), &parts).await.unwrap();
    assert!(is_lost(&joins.finish(&id("f")).await));
    assert!(is_lost(&joins.copy(&id("f"), &list, 1, 1).await));
    assert_eq!(joins.copy(&id("f"), &list, 0, 99).await.unwrap(), 13);
    let (mut at, mut steps) = (0, Vec::new());
    while at < 13 {
        at = joins.copy(&id("f"), &list, at, 4).await.unwrap();
        steps.push(at);
    }
    assert_eq!(steps, [4, 8, 12, 13]);
    assert_eq!(joins.copy(&id("f"), &list, 13, 4).await.unwrap(), 13);
    joins.finish(&id("f")).await.unwrap();
    assert_eq!(store.stored(&own("f")).await.unwrap(), 13);
    let whole = get(store, &own("f"), 0, 13).await.unwrap();
    assert_eq!(whole, b"0123456789abc");
    assert!(!everything(store).await.contains(&File::Draft(id("f"))));
    assert_eq!(joins.copy(&id("empty"), &[], 0, 4).await.unwrap(), 0);
    joins.finish(&id("empty")).await.unwrap();
    assert!(everything(store).await.contains(&upload("empty")));
    let gone = [segment(upload("gone"), 0, 1)];
    assert!(is_lost(&joins.copy(&id("g"), &gone, 0, 1).await));
    let short = [segment(upload("b"), 1, 3)];
    assert!(is_lost(&joins.copy(&id("g"), &short, 0, 3).await));
}

pub(super) async fn adopting_takes_the_first_free_name(store: &dyn BlobStore) {
    put(store, &own("f"), 0, b"0123456789").await;
    let joins = joins(store);
    let (part, whole) = (id("p"), upload("f"));
    let first = joins.adopt(&part, &whole, 2, 3).await.unwrap();
    let second = joins.adopt(&part, &whole, 5, 5).await.unwrap();
    assert_eq!(first, segment(File::Link(id("p"), 0), 2, 3));
    assert_eq!(second, segment(File::Link(id("p"), 1), 5, 5));
    store.create(&part, b"{}", false).await.unwrap();
    let (_, list) = store.about(&part).await.unwrap().unwrap();
    assert_eq!(list, Some(vec![second.clone()]));
    let file = first.file.clone();
    store.remove(&[upload("f"), file.clone()]).await.unwrap();
    let blob = Blob::Segments(vec![second]);
    assert_eq!(get(store, &blob, 0, 5).await.unwrap(), b"56789");
    assert!(is_lost(&joins.adopt(&part, &whole, 0, 1).await));
    put(store, &own("f"), 0, b"01").await;
    assert!(is_lost(&joins.adopt(&part, &whole, 1, 2).await));
    let again = joins.adopt(&part, &whole, 1, 1).await.unwrap();
    assert_eq!(again.file, file);
}

pub(super) async fn syncing_needs_the_bytes(store: &dyn BlobStore) {
    store.create(&id("x"), b"{}", false).await.unwrap();
    store.sync(&id("x"), &own("x")).await.unwrap();
    put(store, &own("x"), 0, b"123").await;
    store.sync(&id("x"), &own("x")).await.unwrap();
    assert!(is_lost(
        &store.sync(&id("f"), &one(upload("gone"), 0, 1)).await
    ));
}
