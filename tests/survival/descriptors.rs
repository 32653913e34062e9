//! More connections than there are files for: those that are there go on, the others wait, and waiting costs nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::io::AsyncWriteExt;

use crate::support::client::Request;
use crate::support::{Client, Conn, Process, Reply, bytes, figure, raise_file_limit, rounds, same};

const UPLOADS: usize = 8;
const FRAME: usize = 1000;
/// Connections that ask for nothing.
const IDLE: usize = 150;

/// Processor time that a process has used.
fn used(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    let stat = stat.expect("the process is there");
    // The second field, in brackets, may have anything in it; user and system time are the 14th and 15th.
    let fields = stat.rsplit(") ").next().expect("more fields");
    let times = fields.split(' ').skip(11).take(2);
    let ticks: u64 = times.map(|n| n.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// An upload that sends a frame now and then.
struct Running {
    path: String,
    data: Vec<u8>,
    conn: Conn,
}

async fn running(client: &Client, frames: usize) -> Vec<Running> {
    let mut all = Vec::new();
    for seed in 0..UPLOADS {
        let data = bytes(seed as u64, frames * FRAME);
        let path = client.create(data.len() as u64).await;
        let conn = client
            .hang(&path, 0, data.len() as u64, &data[..FRAME])
            .await;
        all.push(Running { path, data, conn });
    }
    all
}

/// A request of one who has a connection already.
async fn ask(conn: &mut Conn, request: &Request, method: &str) -> Reply {
    conn.send(&request.to_bytes()).await;
    conn.reply_to(method).await
}

/// How many answers were failures for want of a file.
#[derive(Default)]
struct Failed(usize);

impl Failed {
    fn note(&mut self, reply: &Reply, good: u16) {
        let short = (reply.status, reply.code.as_str()) == (500, "storage");
        assert!(short || reply.status == good, "{reply:?}");
        self.0 += usize::from(short);
    }
}

/// With too few files: who is there is served, who comes waits until others go, and nothing is lost. How many requests
/// failed all the same.
async fn is_borne(what: &str, server: &mut Process, line: &str, limit: impl FnOnce(u32)) -> usize {
    let frames = rounds(100, 500);
    let client = **server;
    let mut failed = Failed::default();
    let mut uploads = running(&client, frames).await;
    let mut kept = client.connect().await;
    let head = client.tus("HEAD", &uploads[0].path);
    assert_eq!(ask(&mut kept, &head, "HEAD").await.status, 200);
    limit(server.pid());
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(client.connect().await); // the kernel takes them all
    }
    server.wait_for_line(line);
    let (begun, before) = (Instant::now(), used(server.pid()));
    for frame in 1..frames {
        for upload in &mut uploads {
            let bytes = &upload.data[frame * FRAME..(frame + 1) * FRAME];
            // One that has failed meanwhile is closed: its answer says so at the end.
            let _ = upload.conn.stream.write_all(bytes).await;
        }
        if frame % 10 == 0 {
            let post = client.tus("POST", "/files/").header("Upload-Length", 3);
            failed.note(&ask(&mut kept, &post, "POST").await, 201);
            assert_eq!(ask(&mut kept, &head, "HEAD").await.status, 200);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (took, cpu) = (begun.elapsed(), used(server.pid()).saturating_sub(before));
    for upload in &mut uploads {
        failed.note(&upload.conn.reply().await, 204);
    }
    // One that came too late waits, and is served when others have gone.
    let late = tokio::spawn(async move { client.request("GET", "/healthz").send().await });
    drop(idle);
    assert_eq!(late.await.expect("an answer").status, 200);
    for Running { path, data, .. } in uploads {
        let at = client.offset(&path).await;
        let rest = &data[usize::try_from(at).expect("small")..];
        assert_eq!(client.patch(&path, at, rest).send().await.status, 204);
        same(&client.get(&path).await.body, &data);
    }
    figure(
        "too few files",
        format_args!(
            "{what}: {cpu:.1?} of processor time in {took:.1?} with {IDLE} connections too many, {} requests failed",
            failed.0
        ),
    );
    assert!(cpu < took / 2, "it is busy with waiting: {cpu:?}");
    let told = server.log().iter().filter(|l| l.contains(line)).count();
    assert!(told <= 2, "{told} lines of one kind");
    failed.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_few_files_bears_more_connections_than_it_can_take() {
    raise_file_limit();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -n 64 && exec \"$0\" --port 0 --upload-dir \"$1\"",
        ])
        .arg(env!("CARGO_BIN_EXE_highwater"))
        .arg(dir.path());
    let mut server = Process::spawn(command).expect("the server listens");
    let failed = is_borne("started with 64", &mut server, "more wait", |_| {}).await;
    assert_eq!(failed, 0, "files are left to those who are there");
}

/// The limit is lowered under the server, so that it does not know of it: what needs another file may fail, and goes on later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_files_run_out_bears_it() {
    raise_file_limit();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut server = Process::start(dir.path(), &[]);
    let line = "cannot accept connections";
    let limit = |pid: u32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files");
        let limit = Rlimit {
            current: Some(open.count() as u64 + 20),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        let process = Pid::from_raw(pid.cast_signed()).expect("its id");
        prlimit(Some(process), Resource::Nofile, limit).expect("its limit");
    };
    is_borne("run out", &mut server, line, limit).await;
}
