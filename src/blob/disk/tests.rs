//! What the disk store does beyond the contract.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use bytes::Bytes;

use super::tip::WORTH;
use super::*;
use crate::blob::contract::{get, id, own, put};

fn store(options: &DiskOptions) -> (DiskBlobs, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (DiskBlobs::open(dir.path(), options).unwrap(), dir)
}

fn default() -> (DiskBlobs, tempfile::TempDir) {
    store(&DiskOptions::default())
}

fn path(store: &DiskBlobs, name: &str) -> PathBuf {
    store.path_of(&File::Upload(id(name)))
}

/// Bytes allocated for a file.
fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// With the tests' single worker, so that every write goes through the pool.
mod in_the_pool {
    crate::blob::contract::suite!(super::default());
}

/// With spare workers.
mod in_the_task {
    crate::blob::contract::suite!(flavor = "multi_thread"; super::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn tasks_write_themselves_where_a_worker_can_be_spared() {
    let (store, _dir) = default();
    let mut writer = store.append(&own("x"), 0, None).await.unwrap();
    // Ready at the first poll: nothing went to the pool.
    let write = futures_util::FutureExt::now_or_never(writer.write(Bytes::from_static(b"now")));
    write.expect("written in the task").unwrap();
    assert_eq!(fs::read(path(&store, "x")).unwrap(), b"now");
    writer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn silent_files_are_closed_and_come_back() {
    let max_open_files = 4;
    let (store, _dir) = store(&DiskOptions {
        max_open_files,
        ..DiskOptions::default()
    });
    let mut writers = Vec::new();
    for n in 0..50 {
        let blob = own(&n.to_string());
        writers.push(store.append(&blob, 0, None).await.unwrap());
        assert!(store.open_files() <= max_open_files);
    }
    for round in 1..=3 {
        for writer in &mut writers {
            writer.write(Bytes::from_static(b"x")).await.unwrap();
            assert_eq!(writer.position(), round);
            assert!(store.open_files() <= max_open_files);
        }
    }
    // The last ones are still open, the first ones not.
    let last = writers.last_mut().unwrap();
    let again = futures_util::FutureExt::now_or_never(last.write(Bytes::from_static(b"y")));
    again.expect("still open").unwrap();
    for (n, writer) in writers.into_iter().enumerate() {
        writer.close().await.unwrap();
        let bytes = fs::read(path(&store, &n.to_string())).unwrap();
        assert_eq!(bytes, if n == 49 { &b"xxxy"[..] } else { b"xxx" });
    }
    assert_eq!(store.open_files(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_at_once_share_few_files() {
    let (store, _dir) = store(&DiskOptions {
        max_open_files: 4,
        ..DiskOptions::default()
    });
    let tasks = (0..20).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let blob = own(&n.to_string());
            let mut writer = store.append(&blob, 0, None).await.unwrap();
            for round in 0..50u8 {
                let frame = Bytes::from(vec![round; 1000]);
                writer.write(frame).await.unwrap();
            }
            writer.close().await.unwrap();
            let bytes = get(&store, &blob, 0, 50_000).await.unwrap();
            let expected = (0..50u8).flat_map(|round| vec![round; 1000]);
            assert!(expected.eq(bytes));
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(store.open_files(), 0);
}

#[tokio::test]
async fn a_file_removed_while_it_was_closed_is_lost_not_made_anew() {
    let (store, _dir) = store(&DiskOptions {
        max_open_files: 1,
        ..DiskOptions::default()
    });
    let mut writer = store.append(&own("x"), 0, None).await.unwrap();
    writer.write(Bytes::from_static(b"12345")).await.unwrap();
    put(&store, &own("y"), 0, b"1").await;
    fs::remove_file(path(&store, "x")).unwrap();
    let write = writer.write(Bytes::from_static(b"6")).await;
    assert!(matches!(write, Err(BlobError::Lost)));
    assert_eq!(writer.position(), 5);
    assert!(!path(&store, "x").exists());
}

#[tokio::test]
async fn a_newer_writer_cuts_the_older_off() {
    let (store, _dir) = default();
    let mut old = store.append(&own("x"), 0, None).await.unwrap();
    old.write(Bytes::from_static(b"12345")).await.unwrap();
    let mut new = store.append(&own("x"), 3, None).await.unwrap();
    assert!(old.write(Bytes::from_static(b"late")).await.is_err());
    new.write(Bytes::from_static(b"67")).await.unwrap();
    old.close().await.unwrap();
    new.write(Bytes::from_static(b"8")).await.unwrap();
    new.close().await.unwrap();
    assert_eq!(fs::read(path(&store, "x")).unwrap(), b"123678");
    assert_eq!(store.open_files(), 0);
}

#[tokio::test]
async fn nobody_writes_to_a_file_that_was_removed() {
    let (store, _dir) = default();
    let file = File::Upload(id("x"));
    let part = Segment {
        file: file.clone(),
        start: 10,
        len: 10,
    };
    let part = Blob::Segments(vec![part]);
    for blob in [own("x"), part] {
        let mut writer = store.append(&blob, 0, None).await.unwrap();
        writer.write(Bytes::from_static(b"1")).await.unwrap();
        store.remove(std::slice::from_ref(&file)).await.unwrap();
        assert!(writer.write(Bytes::from_static(b"2")).await.is_err());
        assert_eq!(writer.position(), 1);
        writer.close().await.unwrap();
    }
    assert!(!path(&store, "x").exists());
}

#[tokio::test]
async fn a_write_given_up_is_waited_for_by_the_next() {
    let (store, _dir) = default();
    let mut writer = store.append(&own("x"), 0, None).await.unwrap();
    // Polled once, in which it hardly ever comes to its end.
    let _ = futures_util::FutureExt::now_or_never(writer.write(Bytes::from_static(b"abc")));
    writer.write(Bytes::from_static(b"def")).await.unwrap();
    assert_eq!(writer.position(), 6);
    writer.close().await.unwrap();
    assert_eq!(fs::read(path(&store, "x")).unwrap(), b"abcdef");
}

#[tokio::test]
async fn reserved_space_is_given_back() {
    let (store, _dir) = default();
    let frame = Bytes::from(vec![1; 400 << 10]);
    let path = path(&store, "x");
    let mut writer = store.append(&own("x"), 0, Some(1 << 30)).await.unwrap();
    for _ in 0..3 {
        writer.write(frame.clone()).await.unwrap();
    }
    let len = writer.position();
    assert!(allocated(&path) > len + WORTH, "nothing was reserved");
    writer.close().await.unwrap();
    assert!(allocated(&path) < len + WORTH, "close");
    let reserve = async |at| {
        let mut writer = store.append(&own("x"), at, None).await.unwrap();
        writer.write(frame.clone()).await.unwrap();
        writer
    };
    // Left by a writer that was dropped, and given back by a cut that takes no byte.
    drop(reserve(len).await);
    let len = len + frame.len() as u64;
    assert!(allocated(&path) > len + WORTH);
    store.cut(&own("x"), len).await.unwrap();
    assert!(allocated(&path) < len + WORTH, "cut");
    // Left again, and inherited by the next writer.
    drop(reserve(len).await);
    let len = len + frame.len() as u64;
    let writer = store.append(&own("x"), len, None).await.unwrap();
    assert!(allocated(&path) > len + WORTH);
    writer.close().await.unwrap();
    assert!(allocated(&path) < len + WORTH, "inherited");
    let mut writer = reserve(len).await;
    writer.cut(5).await.unwrap();
    assert!(allocated(&path) <= WORTH, "a writer's cut");
}

#[tokio::test]
async fn space_reserved_inside_a_larger_file_is_given_back_unless_it_holds_data() {
    const MIB: u64 = 1 << 20;
    let (store, _dir) = default();
    let path = path(&store, "x");
    let part = |start, len| {
        let file = File::Upload(id("x"));
        Blob::Segments(vec![Segment { file, start, len }])
    };
    put(&store, &part(8 * MIB, 6), 0, b"behind").await;
    put(&store, &part(0, 4 * MIB), 0, &vec![1; 100_000]).await;
    assert!(allocated(&path) < 100_000 + 3 * WORTH);
    put(&store, &part(4 * MIB, MIB), 0, &vec![2; 1 << 20]).await;
    put(&store, &part(4 * MIB, MIB), 0, b"again").await;
    let bytes = fs::read(&path).unwrap();
    let rewritten = &bytes[4 << 20..5 << 20];
    assert!(rewritten.starts_with(b"again"));
    assert!(rewritten[5..].iter().all(|b| *b == 2), "a hole in the data");
    assert!(bytes.ends_with(b"behind"));
}

#[tokio::test]
async fn the_longest_length_breaks_nothing() {
    let (store, _dir) = default();
    for length in [i64::MAX as u64, u64::MAX] {
        let mut writer = store.append(&own("x"), 0, Some(length)).await.unwrap();
        writer.write(Bytes::from_static(b"12345")).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(store.stored(&own("x")).await.unwrap(), 5);
    }
}

#[tokio::test]
async fn modes_are_as_asked_and_paths_as_told() {
    let (store, dir) = store(&DiskOptions {
        dir_mode: 0o700,
        file_mode: 0o600,
        ..DiskOptions::default()
    });
    store.create(&id("x"), b"{}", false).await.unwrap();
    put(&store, &own("x"), 0, b"1").await;
    let mode = |path: &str| {
        let meta = fs::metadata(dir.path().join(path)).unwrap();
        meta.permissions().mode() & 0o777
    };
    assert_eq!(mode("files/x_/x"), 0o600);
    assert_eq!(mode("info/x_/x.json"), 0o600);
    assert_eq!(mode("files"), 0o700);
    assert_eq!(mode("files/x_"), 0o700);
}

#[tokio::test]
async fn a_list_cut_short_and_files_of_others_are_passed_over() {
    let (store, dir) = default();
    store.create(&id("x"), b"{}", false).await.unwrap();
    let part = [(own("p"), 0)];
    store.join().unwrap().link(&id("x"), &part).await.unwrap();
    let list = store.path_of(&File::List(id("x")));
    assert_eq!(fs::read(&list).unwrap(), b"[]");
    fs::write(&list, b"[{").unwrap();
    let about = store.about(&id("x")).await.unwrap();
    assert_eq!(about, Some((b"{}".to_vec(), None)));
    fs::create_dir_all(dir.path().join("files/x_/xdir")).unwrap();
    fs::create_dir_all(dir.path().join("files/lost+found")).unwrap();
    fs::write(dir.path().join("files/x_/elsewhere"), b"1").unwrap();
    fs::write(dir.path().join("files/x_/x~"), b"1").unwrap();
    assert_eq!(store.shards().await.unwrap(), ["x_"]);
    assert_eq!(store.files("x_").await.unwrap().len(), 2);
}

/// The list is read by later versions.
#[test]
fn the_list_has_a_stable_form() {
    let list = [Segment {
        file: File::Link(id("a/b"), 3),
        start: 1,
        len: 2,
    }];
    let json = r#"[{"file":{"Link":["a/b",3]},"start":1,"len":2}]"#;
    assert_eq!(serde_json::to_string(&list).unwrap(), json);
}

/// A file system of one MiB, where the tests run as root; `None` elsewhere.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "none"]);
        let mounted = mount.arg(dir.path()).status();
        mounted.is_ok_and(|s| s.success()).then(|| Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let mut umount = std::process::Command::new("umount");
        let _ = umount.arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_full_disk_keeps_what_fitted_and_takes_reserved_space_back_first() {
    let Some(small) = Small::mount() else {
        return;
    };
    let store = DiskBlobs::open(small.0.path(), &DiskOptions::default()).unwrap();
    let frame = Bytes::from(vec![1; 100 << 10]);
    // Reserves 256 KiB behind its 100.
    let mut idle = store.append(&own("idle"), 0, Some(1 << 20)).await.unwrap();
    idle.write(frame.clone()).await.unwrap();
    assert!(allocated(&path(&store, "idle")) > 300 << 10);
    let mut busy = store.append(&own("busy"), 0, Some(1 << 30)).await.unwrap();
    let full = loop {
        if let Err(e) = busy.write(frame.clone()).await {
            break e;
        }
    };
    assert!(matches!(full, BlobError::Full), "{full}");
    assert!(allocated(&path(&store, "idle")) < 110 << 10);
    let fitted = busy.position();
    assert!(fitted > 800 << 10, "{fitted}");
    assert_eq!(store.stored(&own("busy")).await.unwrap(), fitted);
    let again = busy.write(frame.clone()).await;
    assert!(matches!(again, Err(BlobError::Full)));
    let created = store.create(&id("new"), &vec![b' '; 9000], false).await;
    assert!(matches!(created, Err(BlobError::Full)));
    assert!(store.about(&id("new")).await.unwrap().is_none());
    let whole = [Segment {
        file: File::Upload(id("busy")),
        start: 0,
        len: fitted,
    }];
    let joined = id("f");
    let copied = store.join().unwrap().copy(&joined, &whole, 0, fitted);
    assert!(matches!(copied.await, Err(BlobError::Full)));
    let draft = File::Draft(joined);
    // Once there is space it goes on.
    let gone = [File::Upload(id("idle")), draft];
    store.remove(&gone).await.unwrap();
    let rest = frame.slice(..50 << 10);
    busy.write(rest).await.unwrap();
    assert_eq!(busy.position(), fitted + (50 << 10));
    busy.close().await.unwrap();
    drop(idle);
}

#[tokio::test]
async fn what_a_crash_left_of_an_amendment_goes_with_the_sidecar() {
    let (store, _dir) = default();
    store.create(&id("x"), b"{}", false).await.unwrap();
    store.amend(&id("x"), b"{1}").await.unwrap();
    let about = store.path_of(&File::About(id("x")));
    assert_eq!(fs::read(&about).unwrap(), b"{1}");
    let shard = about.parent().unwrap();
    fs::write(shard.join("x.json~"), b"{").unwrap();
    store.remove(&[File::About(id("x"))]).await.unwrap();
    assert_eq!(fs::read_dir(shard).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_set_aside_is_there_whole_or_not_at_all_however_often() {
    let (store, dir) = default();
    let aside = dir.path().join("quarantine");
    put(&store, &own("a"), 0, b"hello").await;
    put(&store, &own("b"), 0, b"world").await;
    let segment = |name: &str| Segment {
        file: File::Upload(id(name)),
        start: 1,
        len: 4,
    };
    let torn = Blob::Segments(vec![segment("a"), segment("none")]);
    let failed = store.set_aside(&id("x"), &torn).await;
    assert!(matches!(failed, Err(BlobError::Lost)), "{failed:?}");
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 0, "half of it stays");
    let whole = Blob::Segments(vec![segment("a"), segment("b")]);
    for (name, blob, bytes) in [
        ("x", whole, b"elloorld".as_slice()),
        ("a", own("a"), b"hello"),
    ] {
        for _ in 0..2 {
            store.set_aside(&id(name), &blob).await.unwrap();
            assert_eq!(fs::read(aside.join(name)).unwrap(), bytes);
        }
    }
    // The first one's segments are gone by now.
    let again = Blob::Segments(vec![segment("a"), segment("b")]);
    store.set_aside(&id("x"), &again).await.unwrap();
    assert_eq!(fs::read(aside.join("x")).unwrap(), b"elloorld");
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 2);
}
