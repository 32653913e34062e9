//! Uploads whose hook chose a path, and a server that dies between the steps that bring the file there, or remove it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::Mortal;
use crate::support::disk::Disk;
use crate::support::power::{Cut, start_on_boot};
use crate::support::{Dice, bytes, figure, file_of, id, rounds, same, seed, stored_files, until};

/// Programs for hooks: the path is what is written in their file `path`.
fn programs() -> tempfile::TempDir {
    let hooks = tempfile::tempdir().expect("a directory");
    let choose = r#"printf '{"ChangeFileInfo":{"Storage":{"Path":"%s"}}}' "$(cat path)""#;
    // What a receiver finds where it is told that the file lies.
    let finish = r#"cat > told.new; path=$(sed 's/.*"Path":"\([^"]*\)".*/\1/' told.new); cp "$path" copy.new && mv copy.new "$TUS_ID.copy""#;
    for (event, text) in [("pre-create", choose), ("post-finish", finish)] {
        let new = hooks.path().join("new");
        fs::write(&new, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("its mode");
        fs::rename(&new, hooks.path().join(event)).expect("its name");
    }
    hooks
}

/// A server with these programs.
struct Choosing {
    server: Mortal,
    hooks: tempfile::TempDir,
}

impl Choosing {
    fn new(durability: &'static str) -> Self {
        let hooks = programs();
        // As long as the process lives, as its arguments are elsewhere.
        let dir: &'static str = hooks.path().to_str().expect("text").to_owned().leak();
        let server = Mortal::new(&["--durability", durability, "--hooks-dir", dir]);
        Self { server, hooks }
    }

    /// `kill -9`. A program that was just being started holds the directory's lock for a moment longer, until it is run.
    async fn kill(&mut self) {
        self.server.kill();
        until("the directory is free", || async {
            let dir = fs::File::open(self.server.data()).expect("the directory");
            flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok()
        })
        .await;
    }

    async fn reborn(&mut self) {
        self.kill().await;
        self.server.start();
    }

    /// `None`: the hook's path is not to be had.
    async fn try_create(&self, path: &str, length: usize) -> Option<String> {
        fs::write(self.hooks.path().join("path"), path).expect("written");
        let post = self.server.tus("POST", "/files/");
        let reply = post.header("Upload-Length", length).send().await;
        assert!(
            reply.status == 201 || reply.code == "hook-failed",
            "{reply:?}"
        );
        (reply.status == 201).then(|| reply.location_path())
    }

    async fn create(&self, path: &str, length: usize) -> String {
        let created = self.try_create(path, length).await;
        created.expect("the path is free")
    }

    async fn is_taken(&self, path: &str) -> bool {
        self.try_create(path, 1).await.is_none()
    }

    fn place(&self, path: &str) -> PathBuf {
        self.server.data().join(path)
    }

    /// The upload is complete, at its place and nowhere else, and its hook was told.
    async fn has_arrived(&self, upload: &str, path: &str, data: &[u8]) {
        let own = file_of(&self.server.data(), upload);
        until("it is at its place alone", || async {
            self.place(path).exists() && !own.exists()
        })
        .await;
        same(&fs::read(self.place(path)).expect("the file"), data);
        same(&self.server.get(upload).await.body, data);
        let copy = self.hooks.path().join(format!("{}.copy", id(upload)));
        until("its hook has found it", || async { copy.exists() }).await;
        same(&fs::read(copy).expect("the copy"), data);
        assert!(self.is_taken(path).await);
    }
}

#[tokio::test]
async fn a_file_arrives_wherever_the_server_died_on_its_way() {
    for durability in ["process", "complete"] {
        let mut all = Choosing::new(durability);
        let data = bytes(1, 10_000);
        // Nothing but its creation: the path is known, and the upload goes on.
        let upload = all.create("a/one", data.len()).await;
        all.reborn().await;
        assert!(all.is_taken("a/one").await);
        let sent = all.server.patch(&upload, 0, &data[..]).send().await;
        assert_eq!(sent.status, 204);
        // Right after the answer.
        all.reborn().await;
        all.has_arrived(&upload, "a/one", &data).await;

        // Complete, and no name there yet: something is in the way until the server is dead.
        let upload = all.create("a/two", data.len()).await;
        fs::create_dir(all.place("a/two")).expect("a directory");
        let sent = all.server.patch(&upload, 0, &data[..]).send().await;
        assert_eq!(sent.status, 204);
        all.kill().await;
        fs::remove_dir(all.place("a/two")).expect("it goes");
        all.server.start();
        all.has_arrived(&upload, "a/two", &data).await;

        // It has both names, and the record says nothing of the second.
        let upload = all.create("a/three", data.len()).await;
        fs::create_dir(all.place("a/three")).expect("a directory");
        let sent = all.server.patch(&upload, 0, &data[..]).send().await;
        assert_eq!(sent.status, 204);
        all.kill().await;
        fs::remove_dir(all.place("a/three")).expect("it goes");
        let own = file_of(&all.server.data(), &upload);
        fs::hard_link(&own, all.place("a/three")).expect("a link");
        all.server.start();
        all.has_arrived(&upload, "a/three", &data).await;

        // The record says so, and the first name is still there.
        all.kill().await;
        fs::hard_link(all.place("a/three"), &own).expect("a link");
        all.server.start();
        all.has_arrived(&upload, "a/three", &data).await;
        all.server.lost_no_record();
    }
}

#[tokio::test]
async fn what_is_terminated_with_both_names_loses_both() {
    let mut all = Choosing::new("complete");
    let upload = all.create("x/y/z", 3).await;
    fs::create_dir_all(all.place("x/y/z")).expect("a directory");
    let sent = all.server.patch(&upload, 0, "abc").send().await;
    assert_eq!(sent.status, 204);
    let (place, aside) = (all.place("x/y/z"), all.place("x/y/aside"));
    let own = file_of(&all.server.data(), &upload);
    fs::hard_link(&own, &aside).expect("a link");
    assert_eq!(fs::metadata(&aside).expect("it").nlink(), 2);
    // In one step: the server tries again just after the answer, and would take the place.
    renameat_with(CWD, &aside, CWD, &place, RenameFlags::EXCHANGE).expect("they change places");
    fs::remove_dir(&aside).expect("it goes");
    assert_eq!(all.server.delete(&upload).await.status, 204);
    assert!(!all.place("x").exists(), "nor its directories");
    assert_eq!(stored_files(&all.server.data()), [""; 0]);
    all.reborn().await;
    assert!(!all.is_taken("x/y/z").await);
}

/// Without its records, the sidecars tell what lies where.
#[tokio::test]
async fn a_lost_state_store_does_not_lose_what_lies_elsewhere() {
    let mut all = Choosing::new("complete");
    let data = bytes(2, 10_000);
    let done = all.create("b/done", data.len()).await;
    let sent = all.server.patch(&done, 0, &data[..]).send().await;
    assert_eq!(sent.status, 204);
    let begun = all.create("b/begun", data.len()).await;
    let sent = all.server.patch(&begun, 0, &data[..5000]).send().await;
    assert_eq!(sent.status, 204);
    all.has_arrived(&done, "b/done", &data).await;
    all.kill().await;
    fs::remove_dir_all(all.server.data().join("state")).expect("it goes");
    all.server.start();
    all.has_arrived(&done, "b/done", &data).await;
    assert!(all.is_taken("b/begun").await);
    let sent = all.server.patch(&begun, 5000, &data[5000..]).send().await;
    assert_eq!(sent.status, 204);
    all.has_arrived(&begun, "b/begun", &data).await;
    for upload in [&done, &begun] {
        assert_eq!(all.server.delete(upload).await.status, 204);
    }
    assert!(!all.place("b").exists());
}

/// What was told to be complete is at its place after a loss of power, with its name and the directories above it.
#[tokio::test]
async fn a_file_that_arrived_survives_a_power_cut() {
    let hooks = programs();
    let disk = Disk::ext4(64);
    let data = disk.path().join("data");
    let dir = hooks.path().to_str().expect("text");
    for (round, durability) in [(0, "complete"), (3, "process")] {
        let arguments = [
            "--hooks-dir",
            dir,
            "--durability",
            durability,
            "--log-level",
            "debug",
        ];
        let mut server = start_on_boot(&disk, &data, &format!("boot-{round}"), &arguments);
        let path = format!("p{round}/q/file");
        fs::write(hooks.path().join("path"), &path).expect("written");
        let bytes = bytes(round, 200_000);
        let upload = server.whole(&bytes).await;
        if durability == "process" {
            server.wait_for_line("synced a while after it was complete");
        }
        let power = Cut::prepare(&disk);
        power.now(server);
        disk.power_on();
        let server = start_on_boot(&disk, &data, &format!("boot-{}", round + 1), &arguments);
        until("it is there alone", || async {
            !file_of(&data, &upload).exists()
        })
        .await;
        same(&fs::read(data.join(&path)).expect("the file"), &bytes);
        same(&server.get(&upload).await.body, &bytes);
        // Its end holds, too.
        assert_eq!(server.delete(&upload).await.status, 204);
        let power = Cut::prepare(&disk);
        power.now(server);
        disk.power_on();
        let mut server = start_on_boot(&disk, &data, &format!("boot-{}", round + 2), &arguments);
        if durability == "complete" {
            assert_eq!(server.get(&upload).await.status, 404);
            until("nothing of it is left", || async {
                !data.join(format!("p{round}")).exists()
            })
            .await;
        }
        assert!(server.terminate().0);
    }
}

/// At moments that nobody chose: while it goes there, and while it is removed.
#[tokio::test]
async fn whenever_the_server_dies_a_file_is_there_whole_or_gone() {
    let name = "deaths of uploads with a path";
    let seed = seed(name);
    let mut dice = Dice::new(seed);
    let (mut arrived, mut removed) = (0, 0);
    let mut all = Choosing::new("process");
    let data = bytes(3, 300_000);
    let began = Instant::now();
    for round in 0..rounds(12, 200) {
        let path = format!("r/{}/file", round % 3);
        // The files of the one before are gone, and its path is free a moment after that.
        let mut created = None;
        while created.is_none() {
            assert!(began.elapsed() < Duration::from_mins(10), "never free");
            created = all.try_create(&path, data.len()).await;
        }
        let upload = created.expect("it is there");
        let pause = Duration::from_micros(dice.below(8000));
        let last = tokio::time::timeout(pause, all.server.patch(&upload, 0, &data[..]).send());
        let told = last.await.is_ok();
        all.reborn().await;
        let offset = all.server.offset(&upload).await;
        assert!(!told || offset == 300_000);
        if offset < 300_000 {
            let offset = usize::try_from(offset).expect("a size");
            assert!(!all.place(&path).exists());
            let rest = all.server.patch(&upload, offset as u64, &data[offset..]);
            assert_eq!(rest.send().await.status, 204);
        } else {
            arrived += 1;
        }
        all.has_arrived(&upload, &path, &data).await;
        let pause = Duration::from_micros(dice.below(5000));
        let _ = tokio::time::timeout(pause, all.server.delete(&upload)).await;
        all.reborn().await;
        if all.server.head(&upload).await.status == 200 {
            all.has_arrived(&upload, &path, &data).await;
            assert_eq!(all.server.delete(&upload).await.status, 204);
        } else {
            removed += 1;
        }
        until("nothing of it is left", || async {
            !all.place("r").exists() && stored_files(&all.server.data()).is_empty()
        })
        .await;
    }
    figure(
        name,
        format!("seed {seed}: {arrived} complete before the server died, {removed} terminated"),
    );
}

#[tokio::test]
async fn the_list_of_a_final_that_was_moved_outlives_those_who_read_it_before() {
    let mut all = Choosing::new("process");
    let data = bytes(7, 48 << 20);
    fs::write(all.hooks.path().join("path"), "f/whole").expect("written");
    let mut parts = Vec::new();
    for half in data.chunks(data.len() / 2) {
        let post = all.server.tus("POST", "/files/");
        let post = post.header("Upload-Concat", "partial");
        let part = post.header("Upload-Length", half.len()).send().await;
        let part = part.location_path();
        let sent = all.server.patch(&part, 0, half).send().await;
        assert_eq!(sent.status, 204);
        parts.push(part);
    }
    let concat = format!("final;{}", parts.join(" "));
    let post = all.server.tus("POST", "/files/");
    let whole = post.header("Upload-Concat", concat).send().await;
    assert_eq!(whole.status, 201, "{whole:?}");
    let whole = whole.location_path();
    // Somebody reads in the parts' files until long after the move.
    let mut reader = all.server.connect().await;
    let get = format!("GET {whole} HTTP/1.1\r\nHost: h\r\n\r\n");
    reader.send(get.as_bytes()).await;
    all.has_arrived(&whole, "f/whole", &data).await;
    drop(reader);
    let segments = all.server.data().join("segments").join(&id(&whole)[..2]);
    until(
        "of the final's names of its parts only the list is left",
        || async {
            let names = fs::read_dir(&segments).expect("a shard").flatten();
            let names = names.map(|name| name.file_name().to_string_lossy().into_owned());
            names.filter(|name| name.starts_with(id(&whole))).count() == 1
        },
    )
    .await;
    for part in &parts {
        assert_eq!(all.server.delete(part).await.status, 204);
    }
    all.kill().await;
    fs::remove_dir_all(all.server.data().join("state")).expect("it goes");
    all.server.start();
    all.has_arrived(&whole, "f/whole", &data).await;
    assert_eq!(all.server.delete(&whole).await.status, 204);
    assert!(!all.place("f").exists());
}
