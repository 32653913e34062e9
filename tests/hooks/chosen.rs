//! Where a finished file is to lie, as `pre-create` says it (`ChangeFileInfo.Storage.Path`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::receiver::{Call, Receiver, Said};
use super::{at, calling, calling_with};
use crate::support::client::Request;
use crate::support::{Reply, Server, bytes, file_of, id, metadata, same, stored_files, until};

/// A hook that does as the client's metadata has it, which no hook should.
fn obeying(call: &Call) -> Said {
    let wanted = &call.upload()["MetaData"]["path"];
    if call.event() != "pre-create" || wanted.is_null() {
        return Said::fine();
    }
    Said::Json(json!({ "ChangeFileInfo": { "Storage": { "Path": wanted } } }))
}

pub(super) async fn obeyed() -> (Receiver, Server) {
    let receiver = Receiver::start(obeying).await;
    let server = calling(&receiver, "pre-create,post-create,post-finish").await;
    (receiver, server)
}

pub(super) fn post(server: &Server, path: &str) -> Request {
    let metadata = metadata(&[("path", path)]);
    let post = server.tus("POST", "/files/");
    post.header("Upload-Metadata", metadata)
}

async fn create(server: &Server, path: &str, length: usize) -> String {
    let created = post(server, path).header("Upload-Length", length);
    let created = created.send().await;
    assert_eq!(created.status, 201, "{path}: {created:?}");
    created.location_path()
}

pub(super) async fn refused(server: &Server, path: &str) {
    let reply = post(server, path).header("Upload-Length", 1).send().await;
    let told = (reply.status, reply.code.as_str());
    assert_eq!(told, (500, "hook-failed"), "{path:?}");
}

/// A complete upload with these bytes.
async fn whole(server: &Server, path: &str, bytes: &[u8]) -> String {
    let upload = create(server, path, bytes.len()).await;
    let patched = server.patch(&upload, 0, bytes).send().await;
    assert_eq!(patched.status, 204, "{patched:?}");
    upload
}

/// What lies at the top of the data directory beside the server's own.
pub(super) fn others(data: &Path) -> Vec<String> {
    let ours = ["boot", "files", "info", "segments", "sessions", "state"];
    let entries = fs::read_dir(data).expect("the directory").flatten();
    let names = entries.map(|entry| entry.file_name().into_string().expect("text"));
    names
        .filter(|name| !ours.contains(&name.as_str()))
        .collect()
}

pub(super) fn storage(call: &Call) -> PathBuf {
    let path = at(&call.json, "Event.Upload.Storage.Path").as_str();
    PathBuf::from(path.expect("a path"))
}

async fn is_gone(server: &Server, upload: &str) {
    assert_eq!(server.delete(upload).await.status, 204);
    assert_eq!(others(&server.data()), [""; 0], "nor its directories");
    assert_eq!(server.stored_files(), [""; 0]);
}

#[tokio::test]
async fn a_finished_file_lies_where_the_hook_wants_it() {
    let (receiver, mut server) = obeyed().await;
    let data = bytes(1, 100_000);
    let upload = create(&server, "./users/7/talk one.mp4", data.len()).await;
    let place = server.data().join("users/7/talk one.mp4");
    let half = server.patch(&upload, 0, &data[..50_000]).send().await;
    assert_eq!((half.status, place.exists()), (204, false));
    let created = receiver.waits_for("post-create", 1).await;
    assert_eq!(storage(&created), file_of(&server.data(), &upload));
    let last = server.patch(&upload, 50_000, &data[50_000..]).send().await;
    assert_eq!(last.status, 204);
    // By the time of the answer.
    same(&fs::read(&place).expect("the file"), &data);
    assert!(!file_of(&server.data(), &upload).exists());
    let done = receiver.waits_for("post-finish", 1).await;
    assert_eq!((done.id(), storage(&done)), (id(&upload), place.clone()));
    for _ in 0..2 {
        same(&server.get(&upload).await.body, &data);
        let part = server.request("GET", &upload).header("Range", "bytes=5-8");
        assert_eq!(part.send().await.body, data[5..9]);
        assert_eq!(server.offset(&upload).await, 100_000);
        let admin = server.get(&format!("/admin/uploads/{}", id(&upload))).await;
        let admin: Value = serde_json::from_slice(&admin.body).expect("JSON");
        assert_eq!(admin["status"], "completed", "{admin}");
        assert_eq!(admin["path"], json!(place), "{admin}");
        refused(&server, "users/7/talk one.mp4").await;
        server.restart().await;
    }
    is_gone(&server, &upload).await;
    let again = whole(&server, "users/7/talk one.mp4", b"again").await;
    assert_eq!(fs::read(&place).expect("the file"), b"again");
    assert_eq!(server.get(&again).await.body, b"again");
    assert_eq!(receiver.waits_for("post-finish", 2).await.id(), id(&again));
}

#[tokio::test]
async fn uploads_that_are_complete_at_once_lie_there_too() {
    let (receiver, server) = obeyed().await;
    let with = post(&server, "a/with").header("Upload-Length", 5);
    let with = with.header("Content-Type", "application/offset+octet-stream");
    let with = with.body("hello").send().await.location_path();
    let empty = create(&server, "a/empty", 0).await;
    let late = post(&server, "a/late").header("Upload-Defer-Length", 1);
    let late = late.send().await.location_path();
    let ended = server.patch(&late, 0, "").header("Upload-Length", 0);
    assert_eq!(ended.send().await.status, 204);
    for (upload, name, bytes) in [
        (&with, "a/with", "hello"),
        (&empty, "a/empty", ""),
        (&late, "a/late", ""),
    ] {
        let found = fs::read_to_string(server.data().join(name));
        assert_eq!(found.expect("the file"), bytes, "{name}");
        assert_eq!(server.get(upload).await.body, bytes.as_bytes(), "{name}");
    }
    receiver.waits_for("post-finish", 3).await;
    // What else lies in a directory keeps it.
    fs::write(server.data().join("a/notes"), "mine").expect("written");
    for upload in [with, empty, late] {
        assert_eq!(server.delete(&upload).await.status, 204);
    }
    assert_eq!(others(&server.data()), ["a"]);
    let left = fs::read_dir(server.data().join("a")).expect("it stays");
    assert_eq!(left.count(), 1);
}

#[tokio::test]
async fn a_final_lies_there_once_it_is_one_file() {
    let (receiver, mut server) = obeyed().await;
    for assemble in [true, false] {
        server.change(|config| config.assemble = assemble).await;
        let (a, b) = (bytes(2, 70_000), bytes(3, 30_000));
        let mut parts = Vec::new();
        for part in [&a, &b] {
            // The hook names a path for the parts as well, the same one at that.
            let post = post(&server, "finals/x").header("Upload-Concat", "partial");
            let path = post.header("Upload-Length", part.len()).send().await;
            let path = path.location_path();
            assert_eq!(server.patch(&path, 0, &part[..]).send().await.status, 204);
            parts.push(path);
        }
        let concat = format!("final;{} {}", parts[0], parts[1]);
        let joined = post(&server, "finals/x").header("Upload-Concat", concat);
        let joined = joined.send().await;
        assert_eq!(joined.status, 201, "{joined:?}");
        let upload = joined.location_path();
        let whole = [a, b.clone()].concat();
        same(&server.get(&upload).await.body, &whole);
        let place = server.data().join("finals/x");
        let mine = |call: &Call| call.id() == id(&upload);
        until("its end is told", || async {
            receiver.of("post-finish").iter().any(mine)
        })
        .await;
        same(&fs::read(&place).expect("the file"), &whole);
        let told = receiver.of("post-finish").into_iter().find(mine);
        assert_eq!(storage(&told.expect("it")), place);
        // The parts lie in it now, and outlive it.
        until("the parts are adopted", || async {
            stored_files(&server.data())
                .iter()
                .all(|file| !file.starts_with("files/"))
        })
        .await;
        server.restart().await;
        same(&server.get(&upload).await.body, &whole);
        assert_eq!(server.delete(&upload).await.status, 204);
        assert_eq!(others(&server.data()), [""; 0]);
        same(&server.get(&parts[1]).await.body, &b);
        for part in parts {
            assert_eq!(server.delete(&part).await.status, 204);
        }
    }
}

#[tokio::test]
async fn a_session_lies_there() {
    let (receiver, mut server) = obeyed().await;
    let data = bytes(4, 150_000);
    let ask = json!({ "filename": "f", "size": data.len(), "chunk_size": 65536, "metadata": { "path": "s/f" } });
    let mut session = server.session(&ask).await;
    for n in 1..=3 {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    let done = session.finalize().await;
    assert_eq!(done.status, 200, "{done:?}");
    let place = server.data().join("s/f");
    same(&fs::read(&place).expect("the file"), &data);
    let told = receiver.waits_for("post-finish", 1).await;
    assert_eq!(storage(&told), place);
    for _ in 0..2 {
        assert_eq!(session.status().await["status"], "completed");
        same(&session.download().await.body, &data);
        // A chunk that comes again is held against the file.
        assert!(session.send(2, &data).await.status < 300);
        server.restart().await;
        session.client = *server;
    }
    assert!(session.cancel().await.status < 300);
    until("all of it is gone", || async {
        others(&server.data()).is_empty() && server.stored_files().is_empty()
    })
    .await;
}

#[tokio::test]
async fn no_path_leads_out_or_to_the_servers_own() {
    let (receiver, server) = obeyed().await;
    let long = "x".repeat(256);
    let outside = server.data().parent().expect("above").join("x");
    let outside = outside.to_str().expect("text");
    for bad in [
        outside,
        ".",
        "..",
        "./..",
        "../x",
        "a/../../x",
        "a/..",
        "a//b",
        "a/",
        "/",
        "/etc/passwd",
        "a\nb",
        "a\u{7f}",
        "a\0b",
        "files",
        "files/ab/x",
        "./files/x",
        "FILES/x",
        "boot",
        "boot~",
        "state/db",
        "info/x",
        "segments/x",
        "sessions/x",
        "quarantine/x",
        "state.damaged-7",
        &long,
    ] {
        refused(&server, bad).await;
    }
    // Whatever the server keeps at the top, it keeps for itself.
    for entry in fs::read_dir(server.data()).expect("it").flatten() {
        let name = entry.file_name().into_string().expect("text");
        refused(&server, &format!("{name}/below")).await;
        refused(&server, &name).await;
    }
    for odd in [json!(7), json!(["a"]), json!({})] {
        let said = json!({ "ChangeFileInfo": { "Storage": { "Path": odd } } });
        receiver.says(move |_| Said::Json(said.clone()));
        let reply = server.tus("POST", "/files/").header("Upload-Length", 1);
        assert_eq!(reply.send().await.code, "hook-failed");
    }
    assert_eq!(server.stored_files(), [""; 0]);
    assert_eq!(others(&server.data()), [""; 0]);
    assert!(!Path::new(outside).exists());
}

#[tokio::test]
async fn a_path_is_nobody_elses() {
    let (_receiver, mut server) = obeyed().await;
    let begun = create(&server, "dir/begun", 5).await;
    let done = whole(&server, "dir/done", b"done").await;
    let data = server.data();
    fs::create_dir(data.join("mine")).expect("a directory");
    fs::write(data.join("mine/file"), "mine").expect("a file");
    let elsewhere = tempfile::tempdir().expect("a directory");
    symlink(elsewhere.path(), data.join("link")).expect("a link");
    symlink("/nowhere", data.join("mine/dangling")).expect("a link");
    symlink("mine", data.join("inner")).expect("a link");
    for _ in 0..2 {
        for taken in [
            "dir/begun",
            "./dir/begun",
            "dir/done",
            "dir",
            "dir/begun/x",
            "dir/done/x",
            "mine",
            "mine/file",
            "mine/file/x",
            "link",
            "link/x",
            "link/a/b",
            "mine/dangling",
            "inner/x",
            "inner/deep/x",
            "mine/dangling/x",
        ] {
            refused(&server, taken).await;
        }
        server.restart().await;
    }
    assert_eq!(fs::read_dir(elsewhere.path()).expect("it").count(), 0);
    // An operator may have taken the file away: the path is the upload's all the same, and what it reads is never another's.
    fs::remove_file(data.join("dir/done")).expect("it goes");
    refused(&server, "dir/done").await;
    assert_eq!(server.get(&done).await.code, "blob-lost");
    assert_eq!(server.delete(&done).await.status, 204);
    let again = whole(&server, "dir/done", b"other").await;
    assert_eq!(server.get(&again).await.body, b"other");
    assert_eq!(server.delete(&begun).await.status, 204);
    whole(&server, "dir/begun/x", b"below").await;
    assert_eq!(fs::read(data.join("mine/file")).expect("it"), b"mine");
}

#[tokio::test]
async fn two_creations_for_one_path_make_one_upload() {
    let (_receiver, server) = obeyed().await;
    let post = || post(&server, "the/one").header("Upload-Length", 3).send();
    let replies = futures_util::future::join_all((0..8).map(|_| post())).await;
    let made: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(made.len(), 1, "{replies:?}");
    let upload = made[0].location_path();
    assert_eq!(server.patch(&upload, 0, "abc").send().await.status, 204);
    assert_eq!(fs::read(server.data().join("the/one")).expect("it"), b"abc");
}

#[tokio::test]
async fn what_somebody_puts_in_the_way_is_neither_replaced_nor_followed() {
    let (receiver, server) = obeyed().await;
    let data = server.data();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "secret").expect("written");
    let (one, two) = (
        create(&server, "in/one", 3).await,
        create(&server, "to/two", 3).await,
    );
    let three = create(&server, "three", 3).await;
    // After the creations: a link for a directory, one for the file, a file of their own.
    symlink(elsewhere.path(), data.join("in")).expect("a link");
    fs::create_dir(data.join("to")).expect("a directory");
    symlink(&secret, data.join("to/two")).expect("a link");
    fs::write(data.join("three"), "mine").expect("written");
    for upload in [&one, &two, &three] {
        assert_eq!(server.patch(upload, 0, "abc").send().await.status, 204);
        assert_eq!(server.get(upload).await.body, b"abc", "whole and readable");
        let admin = server.get(&format!("/admin/uploads/{}", id(upload))).await;
        let admin: Value = serde_json::from_slice(&admin.body).expect("JSON");
        assert_eq!(admin["status"], "assembling", "{admin}");
    }
    assert_eq!(fs::read_dir(elsewhere.path()).expect("it").count(), 1);
    assert_eq!(fs::read(&secret).expect("it"), b"secret");
    assert_eq!(fs::read(data.join("three")).expect("it"), b"mine");
    assert!(receiver.of("post-finish").is_empty());
    // One goes, and leaves what is not its own; the others arrive once nothing is in their way.
    assert_eq!(server.delete(&three).await.status, 204);
    assert_eq!(fs::read(data.join("three")).expect("it"), b"mine");
    fs::remove_file(data.join("in")).expect("it goes");
    fs::remove_file(data.join("to/two")).expect("it goes");
    whole(&server, "another", b"x").await;
    receiver.waits_for("post-finish", 3).await;
    assert_eq!(fs::read(data.join("in/one")).expect("it"), b"abc");
    assert_eq!(fs::read(data.join("to/two")).expect("it"), b"abc");
    // What takes the place of the file later is not given out, nor removed.
    fs::remove_file(data.join("to/two")).expect("it goes");
    symlink(&secret, data.join("to/two")).expect("a link");
    assert_eq!(server.get(&two).await.code, "blob-lost");
    fs::rename(data.join("in"), data.join("moved")).expect("renamed");
    symlink("moved", data.join("in")).expect("a link");
    assert_eq!(server.get(&one).await.code, "blob-lost");
    for upload in [&one, &two] {
        assert_eq!(server.delete(upload).await.status, 204);
    }
    assert_eq!(fs::read(&secret).expect("it"), b"secret");
    assert_eq!(fs::read(data.join("moved/one")).expect("it"), b"abc");
}

#[tokio::test]
async fn what_expires_leaves_nothing_there() {
    let receiver = Receiver::start(obeying).await;
    let server = calling_with(&receiver, "pre-create,post-expire", |config| {
        config.expire_after = Duration::from_millis(700);
        config.expire_completed = Duration::from_millis(700);
    })
    .await;
    whole(&server, "deep/er/done", b"done").await;
    create(&server, "deep/begun", 5).await;
    receiver.waits_for("post-expire", 2).await;
    until("all of it is gone", || async {
        others(&server.data()).is_empty() && server.stored_files().is_empty()
    })
    .await;
    until("the path is free", || async {
        let post = post(&server, "deep/er/done").header("Upload-Length", 1);
        post.send().await.status == 201
    })
    .await;
}

#[tokio::test]
async fn a_pre_finish_hook_finds_it_there_and_malware_never_arrives() {
    let receiver = Receiver::start(|call| match call.event() {
        "scan" => Said::Json(json!({ "RejectUpload": call.upload()["Size"] == 7 })),
        _ => obeying(call),
    })
    .await;
    let server = calling_with(
        &receiver,
        "pre-create,pre-finish,post-finish,scan",
        |config| {
            config.content.scan = Some("hook".parse().expect("a scanner"));
        },
    )
    .await;
    let clean = whole(&server, "a/clean", b"clean").await;
    let asked = receiver.waits_for("pre-finish", 1).await;
    let place = server.data().join("a/clean");
    assert_eq!((asked.id(), storage(&asked)), (id(&clean), place));
    let scanned = receiver.waits_for("scan", 1).await;
    assert_eq!(storage(&scanned), file_of(&server.data(), &clean));
    let bad = create(&server, "a/b/bad", 7).await;
    let found = server.patch(&bad, 0, "malware").send().await;
    assert_eq!(found.code, "malware-found");
    assert!(!server.data().join("a/b").exists());
    assert_eq!(server.get(&clean).await.body, b"clean");
}
