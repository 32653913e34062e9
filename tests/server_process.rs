//! The server as a process: its command line and environment, its log, its signals, its exit codes.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn highwater(dir: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command
        .current_dir(dir.path())
        .env_clear()
        .env("HIGHWATER_PORT", "0");
    command
}

/// A server that listens.
struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
    /// The log's lines up to the one that says so.
    told: String,
    addr: String,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut told = String::new();
        while !told.contains("listening") {
            assert_ne!(log.read_line(&mut told).unwrap(), 0, "ended: {told}");
        }
        let url = told.rsplit("http://").next().unwrap();
        let addr = url.split('/').next().unwrap().to_owned();
        Self {
            process,
            log,
            told,
            addr,
        }
    }

    fn ask(&self, request: &str) -> TcpStream {
        let mut socket = TcpStream::connect(&self.addr).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        socket
    }

    /// Exit code and the rest of the log.
    fn stopped_by(mut self, signal: Signal) -> (Option<i32>, String) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.process.wait().unwrap().code(), rest)
    }
}

fn ended(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[test]
fn it_tells_where_it_listens_and_stops_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(highwater(&dir).args(["-base-path", "/up", "-verbose"]));
    let line = server.told.lines().last().unwrap();
    assert!(
        line.contains(&format!(
            " url=http://127.0.0.1:{}/up/",
            server.addr.rsplit(':').next().unwrap()
        )),
        "{line}"
    );
    assert!(
        server.told.contains("WARN") && server.told.contains("--verbose"),
        "{}",
        server.told
    );
    assert!(
        !server.told.contains('\x1b'),
        "no colours but on a terminal: {}",
        server.told
    );
    assert_eq!(
        answer(server.ask("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")),
        "ok\n"
    );
    let (code, log) = server.stopped_by(Signal::TERM);
    assert!(code == Some(0) && log.contains("stopped"), "{code:?} {log}");
    let (code, _) = Server::start(&mut highwater(&dir)).stopped_by(Signal::INT);
    assert_eq!(code, Some(0));
}

/// The body of the answer, read to the connection's end.
fn answer(mut socket: TcpStream) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn the_log_can_be_json_by_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(
        highwater(&dir)
            .env("HIGHWATER_LOG_FORMAT", "json")
            .env("HIGHWATER_ENABLE_H2C", "F"),
    );
    for line in server.told.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["message"] == "listening" {
            assert_eq!(line["url"], format!("http://{}/files/", server.addr));
        }
    }
    assert_eq!(server.stopped_by(Signal::TERM).0, Some(0));
}

#[test]
fn what_cannot_be_is_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let refused = ended(highwater(&dir).arg("-s3-bucket=b"));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(
        (refused.status.code(), said.trim().lines().count()),
        (Some(2), 1),
        "{said}"
    );
    let refused = ended(highwater(&dir).env("HIGHWATER_MAX_SIZE", "much"));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(2) && said.contains("--max-size"),
        "{said}"
    );
    let refused = ended(highwater(&dir).args(["-unix-sock", "/nonexistent/s"]));
    let said = String::from_utf8(refused.stderr).unwrap();
    let errors = said.lines().filter(|line| line.contains("ERROR")).count();
    assert!(
        refused.status.code() == Some(1) && errors == 1 && said.contains("/nonexistent/s"),
        "{said}"
    );
    for asked in ["--help", "-h", "-help", "--version", "-version"] {
        let told = ended(highwater(&dir).arg(asked));
        assert!(
            told.status.success() && told.stderr.is_empty() && !told.stdout.is_empty(),
            "{asked}"
        );
    }
}

#[test]
fn other_machines_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(highwater(&dir).args(["-host", "0.0.0.0"]));
    assert!(
        server.told.contains("WARN") && server.told.contains("OTHER MACHINES"),
        "{}",
        server.told
    );
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill(); // one that a failed test leaves
        let _ = self.process.wait();
    }
}

/// With few files, connections take half of them, and the rest of the connections are served later, not lost.
#[test]
fn few_files_are_shared_with_the_uploads() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.current_dir(dir.path()).env("HIGHWATER_PORT", "0");
    command.args([
        "-c",
        "ulimit -n 64 && exec \"$0\"",
        env!("CARGO_BIN_EXE_highwater"),
    ]);
    let server = Server::start(&mut command);
    assert!(server.told.contains("connections=32"), "{}", server.told);
    let request = "OPTIONS /files/ HTTP/1.1\r\nHost: t\r\n\r\n";
    let mut open: Vec<TcpStream> = (0..80).map(|_| server.ask(request)).collect();
    for mut socket in open.drain(..) {
        let mut status = [0; 8];
        socket.read_exact(&mut status).unwrap(); // and it closes, which lets another one in
        assert_eq!(&status, b"HTTP/1.1");
    }
    assert_eq!(server.stopped_by(Signal::TERM).0, Some(0));
}
