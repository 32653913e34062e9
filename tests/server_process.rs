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

#[test]
fn help_is_grouped_and_version_is_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let help = ended(highwater(&dir).arg("--help"));
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    let headings = [
        "Listening:",
        "Storage:",
        "Uploads:",
        "Browsers on other origins (CORS):",
        "Timeouts:",
        "Log:",
    ];
    let places: Vec<_> = headings.map(|heading| help.find(heading)).into();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{help}"
    );
    for option in [
        "--upload-dir",
        "HIGHWATER_UPLOAD_DIR",
        "--durability",
        "--base-path",
    ] {
        assert!(help.contains(option), "{option} in {help}");
    }
    let version = ended(highwater(&dir).arg("--version"));
    assert!(version.status.success());
    let version = String::from_utf8(version.stdout).unwrap();
    assert_eq!(
        version,
        format!("highwater {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_command_line_of_tusd_starts_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = highwater(&dir);
    command.args([
        "-host=127.0.0.1",
        "-port",
        "0",
        "-upload-dir=./uploads",
        "-max-size",
        "1073741824",
        "-behind-proxy",
        "-base-path",
        "/uploads/",
        "-cors-allow-origin",
        "https://example\\.org",
        "-network-timeout=1m30s",
        "-shutdown-timeout",
        "15s",
        "-disable-download=false",
        "-enable-h2c",
        "-show-greeting=false",
    ]);
    let server = Server::start(&mut command);
    assert!(server.told.contains("/uploads/"), "{}", server.told);
    let warned = server.told.lines().filter(|line| line.contains("WARN"));
    assert_eq!(warned.count(), 1, "{}", server.told);
    let created = server.ask(
        "POST /uploads/ HTTP/1.1\r\nHost: t\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: up.example.org\r\n\
         Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nConnection: close\r\n\r\n",
    );
    let created = all(created);
    assert!(
        created.starts_with("HTTP/1.1 201") && created.contains("https://up.example.org/uploads/"),
        "{created}"
    );
    assert!(dir.path().join("uploads/info").is_dir());
    assert_eq!(server.stopped_by(Signal::TERM).0, Some(0));
}

fn all(mut socket: impl Read) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_is_unknown_or_missing_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let refused = ended(highwater(&dir).arg("--no-such-option"));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(2) && said.contains("--no-such-option"),
        "{said}"
    );
    for (option, what) in [
        ("-hooks-grpc=localhost:1", "hooks"),
        ("-hooks-plugin=./hook", "hooks"),
        ("-gcs-bucket=b", "object storage"),
        ("-azure-storage=b", "object storage"),
        ("-metrics-path=/m", "metrics"),
    ] {
        let refused = ended(highwater(&dir).arg(option));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            refused.status.code() == Some(2)
                && said.trim().lines().count() == 1
                && said.contains(what),
            "{option}: {said}"
        );
    }
    let none: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(none.is_empty(), "nothing was touched: {none:?}");
}

#[test]
fn a_data_directory_in_use_is_refused_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut highwater(&dir));
    let refused = ended(&mut highwater(&dir));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(1)
            && said.trim().lines().count() == 1
            && said.contains("in use by another process"),
        "{said}"
    );
    assert_eq!(server.stopped_by(Signal::TERM).0, Some(0));
    // It is free again.
    assert_eq!(
        Server::start(&mut highwater(&dir))
            .stopped_by(Signal::TERM)
            .0,
        Some(0)
    );
}

#[test]
fn a_unix_socket_serves_a_whole_upload() {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::UnixStream;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let server = Server::start(highwater(&dir).args(["-unix-sock", "s.sock"]));
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    let ask = |request: String| {
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        all(socket)
    };
    let created = ask(
        "POST /files/ HTTP/1.1\r\nHost: up.example.org\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n\
         Connection: close\r\n\r\n"
            .into(),
    );
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    let at = created.find("/files/").unwrap();
    let upload = created[at..].lines().next().unwrap().trim();
    let patched = ask(format!(
        "PATCH {upload} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Length: 5\r\n\
         Content-Type: application/offset+octet-stream\r\nConnection: close\r\n\r\nhello"
    ));
    assert!(patched.starts_with("HTTP/1.1 204"), "{patched}");
    let got = ask(format!(
        "GET {upload} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    ));
    assert!(got.ends_with("\r\n\r\nhello"), "{got}");
    let health = ask("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n".into());
    assert!(health.ends_with("ok\n"), "{health}");
    assert_eq!(server.stopped_by(Signal::TERM).0, Some(0));
    assert!(!path.exists(), "the socket's file goes with the server");
}

/// As systemd's `Type=notify` wants it: by a path, and by an abstract name.
#[test]
fn what_started_it_hears_when_it_is_ready() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify.sock");
    let name = format!("highwater-test-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    for (socket, name) in [
        (
            UnixDatagram::bind(&path).unwrap(),
            path.display().to_string(),
        ),
        (
            UnixDatagram::bind_addr(&abstract_name).unwrap(),
            format!("@{name}"),
        ),
    ] {
        let timeout = std::time::Duration::from_secs(20);
        socket.set_read_timeout(Some(timeout)).unwrap();
        let heard = || {
            let mut said = [0; 64];
            let n = socket.recv(&mut said).unwrap();
            String::from_utf8(said[..n].to_vec()).unwrap()
        };
        let server = Server::start(highwater(&dir).env("NOTIFY_SOCKET", &name));
        assert_eq!(heard(), "READY=1");
        assert_eq!(server.stopped_by(Signal::TERM).0, Some(0));
        assert_eq!(heard(), "STOPPING=1");
    }
}
