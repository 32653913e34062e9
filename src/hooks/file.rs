//! A directory of programs, each named as the event it is run for, or one program: JSON on its standard input, and its reply on
//! its standard output. Another status than 0 is a failure.

use std::io::ErrorKind::NotFound;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::job::Job;
use super::{Call, Event, Fault, MOST, Way};

/// Programs that run at a time; more wait, and that counts as their time.
const AT_A_TIME: usize = 32;

/// Runs programs.
pub struct FileWay {
    programs: Programs,
    timeout: Duration,
    running: Semaphore,
}

enum Programs {
    /// Those of a directory, and in it.
    In(PathBuf),
    /// This one for everything, where the server itself is.
    One(PathBuf),
}

impl FileWay {
    /// Of the directory `dir`; a program runs for `timeout` at most.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn new(dir: &std::path::Path, timeout: Duration) -> Result<Self, String> {
        let says = |error: std::io::Error| format!("{}: {error}", dir.display());
        let dir = dir.canonicalize().map_err(says)?;
        if !dir.is_dir() {
            return Err(format!("{} is no directory", dir.display()));
        }
        Ok(Self {
            programs: Programs::In(dir),
            timeout,
            running: Semaphore::new(AT_A_TIME),
        })
    }

    /// One program for all; it runs for `timeout` at most.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn one(program: &std::path::Path, timeout: Duration) -> Result<Self, String> {
        let says = |error: std::io::Error| format!("{}: {error}", program.display());
        // By this name: there are programs that go by it.
        let program = std::path::absolute(program).map_err(says)?;
        if !program.metadata().map_err(says)?.is_file() {
            return Err(format!("{} is no program", program.display()));
        }
        Ok(Self {
            programs: Programs::One(program),
            timeout,
            // How many that are is said where they are sent.
            running: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    fn command(&self, call: &Call) -> Command {
        match &self.programs {
            Programs::In(dir) => {
                let mut command = Command::new(dir.join(call.event.name()));
                command.current_dir(dir);
                command
            }
            Programs::One(program) => Command::new(program),
        }
    }

    fn start(&self, call: &Call) -> std::io::Result<Child> {
        let mut command = self.command(call);
        // The server's own options are in variables, its secrets among them.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"HIGHWATER_") {
                command.env_remove(name);
            }
        }
        if call.event == Event::Job
            && let Ok(job) = Job::of(call)
        {
            command
                .env("HIGHWATER_JOB_KEY", job.key)
                .env("HIGHWATER_JOB_PRIORITY", job.priority.name())
                .env("HIGHWATER_JOB_PATH", job.path.unwrap_or_default());
        }
        // What a job's program prints is nobody's, also that of what it leaves behind.
        let stdout = match &self.programs {
            Programs::In(_) => Stdio::piped(),
            Programs::One(_) => Stdio::null(),
        };
        command
            .env("TUS_ID", &call.upload)
            .env("TUS_SIZE", call.size.to_string())
            .env("TUS_OFFSET", call.offset.to_string())
            .stdin(Stdio::piped())
            .stdout(stdout)
            // A group of its own, so that what it has started ends with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn run(&self, call: &Call) -> Result<Vec<u8>, Fault> {
        let _permit = self.running.acquire().await.map_err(Fault::of)?;
        let mut child = match self.start(call) {
            Ok(child) => child,
            // Most have programs for some events only; but nobody's silence is a verdict.
            Err(error)
                if error.kind() == NotFound
                    && call.event != Event::Scan
                    && matches!(self.programs, Programs::In(_)) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(Fault(format!("it does not start: {error}"))),
        };
        let group = Group::of(&child);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // One that does not read it all is none the worse.
                let _ = stdin.write_all(&call.body).await;
            }
        };
        let read = async {
            let mut said = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(MOST as u64 + 1).read_to_end(&mut said).await?;
            }
            Ok::<_, std::io::Error>(said)
        };
        let (said, ()) = tokio::join!(read, write);
        let said = said.map_err(Fault::of)?;
        if said.len() > MOST {
            return Err(Fault(format!("its reply is longer than {MOST} bytes")));
        }
        let status = child.wait().await.map_err(Fault::of)?;
        group.release();
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(said),
            (Some(code), _) => Err(Fault(format!("it ended with status {code}"))),
            (None, signal) => Err(Fault(format!("it was ended by signal {signal:?}"))),
        }
    }
}

#[async_trait]
impl Way for FileWay {
    async fn bring(&self, call: &Call, _: bool) -> Result<Vec<u8>, Fault> {
        timeout(self.timeout, self.run(call))
            .await
            .unwrap_or_else(|_| Err(Fault(format!("it ran longer than {:?}", self.timeout))))
    }
}

/// A process group that is killed when this is dropped, unless it is released.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
