//! The real binary as a process, ended by its id.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::rounds::rounds;
use super::tus::Client;

/// A server process; killed when dropped.
pub struct Process {
    client: Client,
    child: Child,
    log: mpsc::Receiver<String>,
    pub lines: Vec<String>,
}

/// The optimized binary, where `HIGHWATER_BIN` names it. A full round cannot do without.
pub fn released() -> Option<PathBuf> {
    let named = std::env::var_os("HIGHWATER_BIN").map(PathBuf::from);
    assert!(
        named.is_some() || rounds(0, 1) == 0,
        "HIGHWATER_BIN is not set: cargo build --release, and HIGHWATER_BIN=target/release/highwater"
    );
    named
}

/// What starts a binary on a free port over `data`.
pub fn command(binary: impl AsRef<OsStr>, data: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(["--port", "0", "--upload-dir"]).arg(data);
    command
}

impl Process {
    /// Starts the binary on a free port over `data` and waits until it listens.
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut command = command(env!("CARGO_BIN_EXE_highwater"), data);
        command.args(arguments);
        Self::spawn(command).expect("the server listens")
    }

    /// Starts `command`; the log of a server that ended instead of listening, as an error.
    pub fn spawn(mut command: Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = child.stderr.take().expect("stderr");
        let (send, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut lines = Vec::new();
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let addr = address(&line);
                    lines.push(line);
                    if let Some(addr) = addr {
                        return Ok(Self {
                            client: Client { addr },
                            child,
                            log,
                            lines,
                        });
                    }
                }
                Err(_) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(lines.join("\n"));
                }
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("the process is there");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM; answers whether it ended with success, and how long that took.
    pub fn terminate(&mut self) -> (bool, Duration) {
        let start = Instant::now();
        self.ask_to_stop();
        (self.ended_well(), start.elapsed())
    }

    /// SIGTERM, without waiting for the end.
    pub fn ask_to_stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the process is there");
    }

    /// Waits for the end; whether it was with success.
    pub fn ended_well(&mut self) -> bool {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status.success();
            }
            assert!(Instant::now() < until, "the server does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Memory in use, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the process is there");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kilobytes.expect("VmRSS in kB") << 10
    }

    /// Waits for a log line that has `text` in it, from the start on.
    pub fn wait_for_line(&mut self, text: &str) -> &str {
        let until = Instant::now() + Duration::from_secs(20);
        let mut from = 0;
        loop {
            if let Some(at) = self.lines[from..]
                .iter()
                .position(|line| line.contains(text))
            {
                return &self.lines[from + at];
            }
            from = self.lines.len();
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!(
                    "no line with {text:?} in the log:\n{}",
                    self.lines.join("\n")
                );
            };
            self.lines.push(line);
        }
    }

    /// Every log line so far.
    pub fn log(&mut self) -> &[String] {
        self.lines.extend(self.log.try_iter());
        &self.lines
    }
}

impl Deref for Process {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of the line that tells it, in text or JSON.
fn address(line: &str) -> Option<SocketAddr> {
    let url = line.split("http://").nth(1);
    let url = url.or_else(|| line.split("https://").nth(1))?;
    url.split('/').next()?.parse().ok()
}
