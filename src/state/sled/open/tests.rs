use std::os::unix::fs::FileExt;

use super::super::super::contract::{at, change, id, put};
use super::super::super::{Promise, StateStore};
use super::*;

/// A closed database with a thousand records, alone in its directory.
async fn filled() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let state = SledState::open(&path).unwrap().state;
    for n in 0..1000 {
        let born = change(&format!("u{n}"), None, Some(at(n)));
        state.commit(vec![born], Promise::Queued).await.unwrap();
    }
    state.close().await.unwrap();
    // A second start, so that there is a snapshot of the records.
    let state = SledState::open(&path).unwrap().state;
    state.close().await.unwrap();
    (dir, path)
}

fn overwrite(path: &Path, at: u64, len: usize) {
    let garbage: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[0] ^ 0xA5).collect();
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&garbage, at).unwrap();
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

fn snapshot(dir: &Path) -> PathBuf {
    let all = fs::read_dir(dir).unwrap();
    let mut paths = all.map(|entry| entry.unwrap().path());
    paths
        .find(|path| path.to_str().unwrap().contains("snap."))
        .unwrap()
}

#[tokio::test]
async fn a_damaged_database_is_set_aside() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 7] = [
        ("the first page", |dir| overwrite(&dir.join("db"), 20, 4096)),
        ("all of it", |dir| {
            let db = dir.join("db");
            overwrite(&db, 0, usize::try_from(len(&db)).unwrap());
        }),
        ("cut short", |dir| {
            let db = File::options().write(true).open(dir.join("db")).unwrap();
            db.set_len(50_000).unwrap();
        }),
        ("cut to nothing", |dir| {
            File::create(dir.join("db")).unwrap();
        }),
        ("settings", |dir| overwrite(&dir.join("conf"), 0, 62)),
        ("settings that read", |dir| {
            fs::write(dir.join("conf"), "segment_size: 1024\nversion: 9.9\n....").unwrap();
        }),
        ("snapshot", |dir| overwrite(&snapshot(dir), 8, 50)),
    ];
    for (what, damage) in damages {
        let (outer, dir) = filled().await;
        damage(&dir);
        let opened = SledState::open(&dir).unwrap();
        let aside = opened.rebuilt_from.unwrap_or_else(|| panic!("{what}"));
        let name = aside.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("state.damaged-"), "{name}");
        assert!(aside.join("db").exists());
        assert_eq!(opened.state.scan(None, 9).await.unwrap(), []);
        put(&opened.state, "a", at(1)).await;
        opened.state.close().await.unwrap();

        let again = SledState::open(&dir).unwrap();
        assert_eq!(again.rebuilt_from, None);
        assert_eq!(again.state.get(&id("a")).await.unwrap(), Some(at(1)));
        again.state.close().await.unwrap();
        assert_eq!(entries(outer.path()), 2, "{what}");
    }
}

#[tokio::test]
async fn what_opens_can_be_read_to_the_end() {
    let (outer, dir) = filled().await;
    // Sled itself reads the last segment of its log when it opens: there are to be others.
    let state = SledState::open(&dir).unwrap().state;
    for n in 0..4000 {
        let born = change(&format!("u{n:0120}"), None, Some(at(n)));
        state.commit(vec![born], Promise::Queued).await.unwrap();
    }
    state.close().await.unwrap();
    SledState::open(&dir).unwrap().state.close().await.unwrap();
    let mut rebuilt = 0;
    for place in (0..len(&dir.join("db"))).step_by(64 << 10) {
        let copy = outer.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for file in [dir.join("db"), dir.join("conf"), snapshot(&dir)] {
            fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
        }
        overwrite(&copy.join("db"), place + 20, 8 << 10);
        let opened = SledState::open(&copy).unwrap();
        let found = opened.state.scan(None, 9999).await.unwrap().len();
        let all = if opened.rebuilt_from.is_some() {
            0
        } else {
            5000
        };
        assert_eq!(found, all);
        rebuilt += usize::from(opened.rebuilt_from.is_some());
        opened.state.close().await.unwrap();
        fs::remove_dir_all(&copy).unwrap();
    }
    assert!(rebuilt > 0);
}

#[tokio::test]
async fn one_set_aside_does_not_replace_another() {
    let (outer, dir) = filled().await;
    for aside in 1..4 {
        overwrite(&dir.join("conf"), 0, 62);
        let opened = SledState::open(&dir).unwrap();
        assert!(opened.rebuilt_from.is_some());
        opened.state.close().await.unwrap();
        assert_eq!(entries(outer.path()), 1 + aside);
    }
}

#[tokio::test]
async fn the_leavings_of_an_interrupted_start_are_removed() {
    let (_outer, dir) = filled().await;
    let leaving = dir.join("snap.7FFFFFFFFFFFFFFF.generating");
    fs::write(&leaving, b"half a snapshot").unwrap();
    let opened = SledState::open(&dir).unwrap();
    assert_eq!(opened.rebuilt_from, None);
    assert!(!leaving.exists());
    assert_eq!(opened.state.scan(None, 9999).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn a_database_in_use_is_left_alone() {
    let (outer, dir) = filled().await;
    let state = SledState::open(&dir).unwrap().state;
    let leaving = dir.join("snap.0.generating");
    fs::write(&leaving, b"being written").unwrap();
    let refused = SledState::open(&dir).err().unwrap().to_string();
    assert!(
        refused.contains("is in use by another process"),
        "{refused}"
    );
    assert!(leaving.exists());
    assert_eq!(entries(outer.path()), 1);
    assert_eq!(state.scan(None, 9999).await.unwrap().len(), 1000);
    state.close().await.unwrap();
    assert_eq!(SledState::open(&dir).unwrap().rebuilt_from, None);
}

#[tokio::test]
async fn what_the_file_system_refuses_is_no_damage() {
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("state");
    fs::write(&file, b"no directory").unwrap();
    assert!(SledState::open(&file).is_err());
    fs::remove_file(&file).unwrap();
    fs::create_dir_all(file.join("conf")).unwrap();
    assert!(SledState::open(&file).is_err());
    assert_eq!(entries(outer.path()), 1);
}

#[test]
fn a_name_aside_is_found_for_any_spelling() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("state/");
    fs::create_dir(&dir).unwrap();
    let aside = set_aside(&dir).unwrap();
    assert_eq!(aside.parent(), Some(outer.path()));
    assert!(!dir.exists());
}
