//! What is bounded: open files, and memory.

use std::process::Command;

use tokio::task::JoinSet;

use crate::support::{Process, bytes, file_of, until};

/// Files of uploads that the process has open.
fn open_files(process: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("the process is there");
    let targets = open
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok());
    targets
        .filter(|path| path.to_string_lossy().contains("/files/"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_uploads_than_files_fail_none() {
    const UPLOADS: usize = 150;
    const LENGTH: usize = 60_000;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -n 256 && exec \"$0\" --port 0 --upload-dir \"$1\"",
        ])
        .arg(env!("CARGO_BIN_EXE_highwater"))
        .arg(dir.path());
    let mut server = Process::spawn(command).expect("the server listens");
    let client = *server;
    let mut uploads = Vec::new();
    for seed in 0..UPLOADS {
        uploads.push((
            client.create(LENGTH as u64).await,
            bytes(seed as u64, LENGTH),
        ));
    }
    // As many as there are connections for: half of the files.
    let mut slow = Vec::new();
    for (path, body) in &uploads[..120] {
        let mut conn = client.connect().await;
        conn.begin_patch(path, 0, LENGTH as u64).await;
        conn.send(&body[..LENGTH / 3]).await;
        slow.push(conn);
    }
    // The files tell, as a HEAD would need a connection.
    until("all have written", || async {
        uploads[..120].iter().all(|(path, _)| {
            crate::support::len_of(&file_of(dir.path(), path)) == LENGTH as u64 / 3
        })
    })
    .await;
    let open = open_files(server.pid());
    assert!(open <= 64, "{open} files of silent uploads are open");

    // The others wait to be accepted, with all that they send.
    let mut waiting = JoinSet::new();
    for (path, body) in uploads[120..].iter().cloned() {
        waiting.spawn(async move {
            let reply = client.patch(&path, 0, body).send().await;
            assert_eq!(reply.status, 204, "{reply:?}");
        });
    }
    for _ in 0..100 {
        waiting.spawn(async move {
            let reply = client.request("GET", "/healthz").send().await;
            assert_eq!(reply.status, 200, "{reply:?}");
        });
    }
    server.wait_for_line("more wait");
    for (mut conn, (_, body)) in slow.into_iter().zip(&uploads) {
        conn.send(&body[LENGTH / 3..]).await;
        let reply = conn.reply().await;
        assert_eq!(reply.status, 204, "{reply:?}");
    }
    while let Some(ended) = waiting.join_next().await {
        ended.expect("an answer");
    }
    for (path, body) in &uploads {
        assert!(client.get(path).await.body == *body, "the bytes of {path}");
    }
    assert_eq!(open_files(server.pid()), 0);
    assert!(
        server.log().iter().all(|line| !line.contains("ERROR")),
        "{:#?}",
        server.lines
    );
}

/// The soft limit of files alone is no limit, and with the hard one met in the middle of it all, accepting rests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_file_for_a_connection_accepting_rests_and_goes_on() {
    const FILES: u64 = 40;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut server = Process::start(dir.path(), &[]);
    let client = *server;
    let upload = client.create(10).await;
    let process = rustix::process::Pid::from_raw(server.pid().cast_signed()).expect("its id");
    let whole = limit_files(process, FILES);
    let mut asking = JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..FILES {
        held.push(client.connect().await); // the kernel takes them all
    }
    server.wait_for_line("cannot accept connections");
    for _ in 0..20 {
        let upload = upload.clone();
        asking.spawn(async move { client.head(&upload).await.status });
    }
    held.clear();
    while let Some(status) = asking.join_next().await {
        assert_eq!(status.expect("an answer"), 200);
    }
    limit_files(process, whole);
    assert_eq!(
        client.patch(&upload, 0, bytes(1, 10)).send().await.status,
        204
    );
}

/// Sets how many files a process may have open. How many it might before.
fn limit_files(process: rustix::process::Pid, files: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, prlimit};
    let limit = Rlimit {
        current: Some(files),
        maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
    };
    let before = prlimit(Some(process), Resource::Nofile, limit).expect("its limits");
    before.current.unwrap_or(u64::MAX)
}

#[tokio::test]
async fn memory_does_not_grow_with_uploads_that_came_and_went() {
    const GROWTH: u64 = 6 << 20;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Process::start(dir.path(), &["--durability", "process"]);
    let mut conn = server.connect().await;
    let body = bytes(1, 10_000);
    let mut after_first = 0;
    for n in 1..=2_000 {
        let mut ask =
            async |request: crate::support::client::Request, method: &str, status: u16| {
                conn.send(&request.to_bytes()).await;
                let reply = conn.reply_to(method).await;
                assert_eq!(reply.status, status, "{reply:?}");
                reply
            };
        let create = server
            .tus("POST", "/files/")
            .header("Upload-Length", body.len());
        let path = ask(create, "POST", 201).await.location_path();
        ask(server.patch(&path, 0, &body[..]), "PATCH", 204).await;
        ask(server.tus("DELETE", &path), "DELETE", 204).await;
        if n == 500 {
            after_first = server.memory();
        }
    }
    let grown = server.memory().saturating_sub(after_first);
    println!("{after_first} bytes after 500, {grown} more after 2000");
    assert!(
        grown < GROWTH,
        "{grown} bytes more after 1,500 uploads more"
    );
}
