//! Files that vanish or shrink, records that rot, a disk that turns read-only: told clearly for the upload it hits, and
//! the others go on.

use std::fs;
use std::path::Path;

use crate::support::disk::{Disk, ReadOnly};
use crate::support::{Process, Reply, bytes, file_of, id};

fn told(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.code.as_str())
}

/// Three uploads: one to be harmed, one in the middle of its bytes, one complete.
struct Three {
    dir: tempfile::TempDir,
    begun: String,
    done: String,
    other: String,
}

impl Three {
    const LENGTH: usize = 100_000;

    async fn make(server: &Process, dir: tempfile::TempDir) -> Self {
        let begun = server.create(Self::LENGTH as u64).await;
        let half = &bytes(1, Self::LENGTH)[..Self::LENGTH / 2];
        assert_eq!(server.patch(&begun, 0, half).send().await.status, 204);
        Self {
            begun,
            done: server.whole(&bytes(2, Self::LENGTH)).await,
            other: server.whole(b"other").await,
            dir,
        }
    }

    fn data(&self) -> &Path {
        self.dir.path()
    }

    /// Neither of the harmed ones is served, and the other one is.
    async fn are_lost_but_the_other(&self, server: &Process) {
        let head = server.head(&self.begun).await;
        assert_eq!(head.status, 410, "{head:?}");
        let patched = server.patch(&self.begun, 50_000, "x").send().await;
        assert_eq!(told(&patched), (410, "blob-lost"));
        let got = server.get(&self.done).await;
        assert_eq!(told(&got), (410, "blob-lost"));
        assert_eq!(server.head(&self.done).await.status, 410);
        assert_eq!(server.get(&self.other).await.body, b"other");
        server.whole(b"a new one").await;
    }

    /// Each of the harmed ones has a line that says so.
    fn are_in_the_log(&self, server: &mut Process) {
        for path in [&self.begun, &self.done] {
            let failed = format!("upload failed id={}", id(path));
            assert!(server.wait_for_line(&failed).contains("ERROR"));
        }
    }
}

fn started() -> (Process, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    (Process::start(dir.path(), &[]), dir)
}

#[tokio::test]
async fn vanished_files_are_told_after_a_start() {
    let (mut server, dir) = started();
    let three = Three::make(&server, dir).await;
    assert!(server.terminate().0);
    for path in [&three.begun, &three.done] {
        fs::remove_file(file_of(three.data(), path)).expect("its file");
    }
    let mut server = Process::start(three.data(), &[]);
    three.are_lost_but_the_other(&server).await;
    three.are_in_the_log(&mut server);
}

#[tokio::test]
async fn shortened_files_are_told_after_a_crash() {
    let (server, dir) = started();
    let three = Three::make(&server, dir).await;
    server.kill();
    for path in [&three.begun, &three.done] {
        let file = fs::File::options()
            .write(true)
            .open(file_of(three.data(), path))
            .expect("its file");
        file.set_len(40_000).expect("it can be cut");
    }
    let mut server = Process::start(three.data(), &[]);
    three.are_lost_but_the_other(&server).await;
    three.are_in_the_log(&mut server);
}

#[tokio::test]
async fn a_file_that_vanishes_under_the_server_is_told_at_the_next_look() {
    let (mut server, dir) = started();
    let three = Three::make(&server, dir).await;
    fs::remove_file(file_of(three.data(), &three.done)).expect("its file");
    assert_eq!(told(&server.get(&three.done).await), (410, "blob-lost"));
    assert_eq!(server.head(&three.done).await.status, 410);
    // Its file is still open for writing, but nobody would find the bytes: they are not called complete.
    fs::remove_file(file_of(three.data(), &three.begun)).expect("its file");
    let rest = bytes(1, Three::LENGTH)[Three::LENGTH / 2..].to_vec();
    let patched = server.patch(&three.begun, 50_000, rest).send().await;
    assert_eq!(told(&patched), (410, "blob-lost"), "{patched:?}");
    assert_eq!(server.head(&three.begun).await.status, 410);
    assert_eq!(server.get(&three.other).await.body, b"other");
    three.are_in_the_log(&mut server);
}

#[tokio::test]
async fn a_file_that_shrinks_under_the_server_is_told_at_the_next_look() {
    let (mut server, dir) = started();
    let three = Three::make(&server, dir).await;
    for path in [&three.begun, &three.done] {
        let file = file_of(three.data(), path);
        let file = fs::File::options().write(true).open(file);
        file.expect("its file").set_len(40_000).expect("a cut");
    }
    assert_eq!(told(&server.get(&three.done).await), (410, "blob-lost"));
    // Its file is still open for writing: what is sent now would lie behind a hole.
    let rest = bytes(1, Three::LENGTH)[Three::LENGTH / 2..].to_vec();
    let patched = server.patch(&three.begun, 50_000, rest).send().await;
    assert_eq!(told(&patched), (410, "blob-lost"), "{patched:?}");
    three.are_lost_but_the_other(&server).await;
    three.are_in_the_log(&mut server);
}

#[tokio::test]
async fn a_record_that_rots_harms_its_own_upload_only() {
    let (mut server, dir) = started();
    let three = Three::make(&server, dir).await;
    assert!(server.terminate().0);
    {
        let db = sled::open(three.data().join("state")).expect("the database");
        for path in [&three.begun, &three.done] {
            let key = [b"r\0", id(path).as_bytes()].concat();
            let before = db.insert(key, b"\x01rubbish").expect("it takes a value");
            assert!(before.is_some(), "there is a record to spoil");
        }
        db.flush().expect("a flush");
    }
    let mut server = Process::start(three.data(), &[]);
    for path in [&three.begun, &three.done] {
        assert_eq!(server.head(path).await.status, 500);
        assert_eq!(told(&server.get(path).await), (500, "record-damaged"));
        let patched = server.patch(path, 50_000, "x").send().await;
        assert_eq!(told(&patched), (500, "record-damaged"));
        assert_eq!(told(&server.delete(path).await), (500, "record-damaged"));
        server.wait_for_line(&format!("the record of {} is damaged", id(path)));
        assert!(file_of(three.data(), path).exists(), "its bytes stay");
    }
    assert_eq!(server.get(&three.other).await.body, b"other");
    assert_eq!(server.delete(&three.other).await.status, 204);
    server.whole(b"a new one").await;
}

#[tokio::test]
async fn a_read_only_directory_is_an_error_for_who_needs_it_and_passes() {
    let (mut server, dir) = started();
    let three = Three::make(&server, dir).await;
    let (path, body) = (server.create(5).await, "hello");
    {
        let _read_only = ReadOnly::make(&three.data().join("files"));
        let refused = server.patch(&path, 0, body).send().await;
        assert_eq!(told(&refused), (500, "storage"), "{refused:?}");
        server.wait_for_line("Read-only file system");
        // A new upload needs a directory for its file only later, but a sidecar at once.
        let _read_only = ReadOnly::make(&three.data().join("info"));
        let created = server.tus("POST", "/files/").header("Upload-Length", 5);
        let created = created.send().await;
        assert_eq!(told(&created), (500, "storage"), "{created:?}");
        assert_eq!(created.header("Location"), None);
        assert_eq!(server.offset(&path).await, 0);
        assert_eq!(server.offset(&three.done).await, Three::LENGTH as u64);
        assert_eq!(server.get(&three.other).await.body, b"other");
    }
    assert_eq!(server.patch(&path, 0, body).send().await.status, 204);
    assert_eq!(server.get(&path).await.body, body.as_bytes());
}

#[tokio::test]
async fn a_disk_that_turns_read_only_acknowledges_nothing_and_takes_nothing_back() {
    let disk = Disk::ext4(48);
    let mut server = Process::start(&disk.path().join("data"), &[]);
    let begun = server.create(10).await;
    assert_eq!(server.patch(&begun, 0, "hello").send().await.status, 204);
    let done = server.whole(b"complete").await;
    let unsynced = server.create(1 << 20).await;
    let mut conn = server.hang(&unsynced, 0, 1 << 20, &[7; 1000]).await;
    server.create(1).await; // after it no record is left to be written
    disk.break_it();

    let refused = server.patch(&begun, 5, "world").send().await;
    assert_eq!(told(&refused), (500, "storage"), "{refused:?}");
    for (path, offset) in [(&begun, 5), (&done, 8), (&unsynced, 1000)] {
        assert_eq!(server.offset(path).await, offset);
    }
    assert_eq!(server.get(&done).await.body, b"complete");
    assert_eq!(server.request("GET", "/healthz").send().await.status, 200);
    conn.send(&[7; 1000]).await;
    let cut = conn.reply().await;
    assert_eq!(told(&cut), (500, "storage"), "{cut:?}");
    // Records cannot be written either: nothing more is acknowledged, and the server ends with a reason.
    assert_eq!(told(&server.delete(&done).await), (500, "state"));
    assert!(!server.ended_well());
    server.wait_for_line("the state store stops");
    let upload = file_of(&disk.path().join("data"), &done);
    assert_eq!(fs::read(upload).expect("the file"), b"complete");
}
