//! What an operator sees of a running server: its log, its files, its paths.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Process, TREES, file_of, id, raise_file_limit, until};

fn started(arguments: &[&str]) -> (Process, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    (Process::start(dir.path(), arguments), dir)
}

#[tokio::test]
async fn a_patch_has_no_line_in_the_log_and_a_complete_upload_has_one_with_its_path() {
    let (mut server, dir) = started(&[]);
    let path = server.create(200).await;
    for n in 0..19 {
        assert_eq!(
            server.patch(&path, n * 10, [1; 10]).send().await.status,
            204
        );
    }
    assert_eq!(server.offset(&path).await, 190);
    // What comes later in the log than this upload's end: nothing was said of it before.
    let marker = server.create(0).await;
    let file = file_of(dir.path(), &marker);
    server.wait_for_line(&file.display().to_string());
    let about = |server: &mut Process| {
        let lines = server.log().iter();
        lines
            .filter(|line| line.contains(id(&path)))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(about(&mut server), Vec::<String>::new());
    assert_eq!(server.patch(&path, 190, [1; 10]).send().await.status, 204);
    let file = file_of(dir.path(), &path);
    let line = server.wait_for_line(&file.display().to_string()).to_owned();
    assert!(
        line.contains("INFO") && line.contains("complete") && line.contains("length=200"),
        "{line}"
    );
    assert_eq!(about(&mut server), [line]);
    assert_eq!(fs::read(file).expect("the file"), [1; 200]);
}

#[tokio::test]
async fn a_joined_upload_tells_its_path_once_it_is_one_file() {
    let (mut server, dir) = started(&[]);
    let parts = [server.part(b"hello ").await, server.part(b"world").await];
    let path = server.join(&parts).await.location_path();
    let file = file_of(dir.path(), &path);
    server.wait_for_line(&file.display().to_string());
    assert_eq!(fs::read(file).expect("the file"), b"hello world");
    for part in &parts {
        // Where a part lies is not for those who look for uploads.
        let told = file_of(dir.path(), part).display().to_string();
        assert!(!server.log().iter().any(|line| line.contains(&told)));
    }
}

#[tokio::test]
async fn json_lines_are_json_and_name_their_request() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command
        .args([
            "--log-format",
            "json",
            "--log-level",
            "debug",
            "--upload-dir",
        ])
        .arg(dir.path())
        .args(["--port", "0"]);
    let mut server = Process::spawn(command).expect("the server listens");
    let refused = server
        .tus("PATCH", "/files/none")
        .header("X-Request-Id", "find-me");
    assert_eq!(refused.send().await.status, 404);
    server.wait_for_line("find-me");
    let path = server.create(5).await;
    let patched = server
        .patch(&path, 0, "hello")
        .header("X-Request-Id", "and-me");
    let patched = patched.send().await;
    assert_eq!(patched.header("X-Request-Id"), Some("and-me"));
    server.wait_for_line("and-me");
    server.wait_for_line("upload complete");
    let mut named = 0;
    for line in server.log() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for key in ["timestamp", "level", "message", "target"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
        let id = line["span"]["id"].as_str();
        named += usize::from(id.is_some());
        if line["message"] == "answered"
            || line["message"] == "refused"
            || line["message"] == "upload complete"
        {
            assert!(id.is_some(), "{line}");
        }
    }
    assert!(named >= 3, "{:#?}", server.lines);
}

#[tokio::test]
async fn at_the_root_fixed_paths_come_first() {
    let (server, _dir) = started(&["--base-path", "/"]);
    let created = server
        .tus("POST", "/")
        .header("Upload-Length", 5)
        .send()
        .await;
    assert_eq!(created.status, 201, "{created:?}");
    let path = created.location_path();
    assert_eq!(path.matches('/').count(), 1, "{path}");
    assert_eq!(server.patch(&path, 0, "hello").send().await.status, 204);
    assert_eq!(server.get(&path).await.body, b"hello");
    let health = server.request("GET", "/healthz").send().await;
    assert_eq!((health.status, &health.body[..]), (200, &b"ok\n"[..]));
    // Also on a connection that has asked for something else before, and with a method of tus.
    let mut conn = server.connect().await;
    for (method, path, status) in [
        ("HEAD", &path[..], 200),
        ("GET", "/healthz", 200),
        ("PATCH", "/healthz", 405),
    ] {
        conn.send(&server.tus(method, path).to_bytes()).await;
        assert_eq!(
            conn.reply_to(method).await.status,
            status,
            "{method} {path}"
        );
    }
}

/// The permissions of everything below `dir`, by whether it is a directory.
fn permissions(dir: &Path) -> BTreeMap<bool, Vec<(u32, String)>> {
    let mut found: BTreeMap<bool, Vec<_>> = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").flatten() {
            let meta = entry.metadata().expect("its metadata");
            let mode = meta.permissions().mode() & 0o777;
            let name = entry.path().display().to_string();
            found.entry(meta.is_dir()).or_default().push((mode, name));
            if meta.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test]
async fn files_and_directories_get_the_permissions_asked_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 002 && exec \"$0\" --port 0 --dir-perms 0750 --file-perms 0640 --upload-dir \"$1\""])
        .arg(env!("CARGO_BIN_EXE_highwater"))
        .arg(&data);
    let server = Process::spawn(command).expect("the server listens");
    let path = server.create(5).await;
    assert_eq!(server.patch(&path, 0, "hello").send().await.status, 204);
    let session = server.session_of(b"hello").await;
    assert_eq!(session.chunk(1, b"hello").send().await.status, 201);
    let parts = [server.part(b"a").await, server.part(b"b").await];
    let joined = server.join(&parts).await.location_path();
    until("the final is one file", || async {
        file_of(&data, &joined).exists()
    })
    .await;
    for tree in TREES {
        let tree = data.join(tree);
        let mode = fs::metadata(&tree)
            .expect("the directory")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o750, "{}", tree.display());
        for (is_dir, found) in permissions(&tree) {
            let expected = if is_dir { 0o750 } else { 0o640 };
            for (mode, name) in found {
                assert_eq!(mode, expected, "{name}: {mode:o}");
            }
        }
    }
    // The records hold what clients say of their uploads: for the server alone.
    let data_mode = fs::metadata(&data)
        .expect("the directory")
        .permissions()
        .mode();
    assert_eq!(data_mode & 0o777, 0o750, "{data_mode:o}");
    let state = fs::metadata(data.join("state"))
        .expect("the state")
        .permissions()
        .mode();
    assert_eq!(state & 0o777, 0o700, "{state:o}");
}

/// Connections that come while the server is busy wait to be accepted; the kernel refuses none of a thousand.
#[test]
fn a_thousand_connections_wait_to_be_accepted() {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    let longest = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("the kernel's limit");
    let longest: usize = longest.trim().parse().expect("a number");
    assert!(
        longest >= 1024,
        "this machine cuts every backlog to {longest}: sysctl -w net.core.somaxconn=4096"
    );
    let (server, _dir) = started(&[]);
    let process = rustix::process::Pid::from_raw(server.pid().cast_signed()).expect("its id");
    raise_file_limit();
    let signal =
        |signal| rustix::process::kill_process(process, signal).expect("the process is there");
    signal(rustix::process::Signal::STOP);
    let timeout = std::time::Duration::from_secs(5);
    let all: Vec<_> = (0..1024)
        .map(|n| {
            let socket = TcpStream::connect_timeout(&server.addr, timeout);
            socket.unwrap_or_else(|error| panic!("connection {n}: {error}"))
        })
        .collect();
    signal(rustix::process::Signal::CONT);
    for mut socket in all {
        socket
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
            .expect("it is sent");
        let mut status = [0; 12];
        socket.read_exact(&mut status).expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 200");
    }
}
