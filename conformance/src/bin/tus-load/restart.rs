//! `kill -9` for the server, and another one in its place.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;
use crate::site::Site;

/// The server that this program started: ended with it, however it ends.
static STARTED: Mutex<Option<Child>> = Mutex::new(None);

/// Kills the server, starts the next one, and tells when.
///
/// # Errors
/// `Needs` unless both its process id and the command are known.
pub(crate) fn restart(site: &Site) -> Result<Instant, Failure> {
    let pid = site.server.ok_or(Failure::Needs("--pid"))?;
    let (program, arguments) = site
        .restart
        .split_first()
        .ok_or(Failure::Needs("--restart, the server's command"))?;
    let named = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(named.ok_or(Failure::Needs("--pid"))?, Signal::KILL)
        .map_err(|e| Failure::io("killing the server")(e.into()))?;
    while lives(pid) {
        thread::sleep(Duration::from_millis(1));
    }
    let began = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Failure::io("starting the server again"))?;
    *STARTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    Ok(began)
}

/// Ends the server that was started, if one was.
pub(crate) fn end() {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(mut child) = started.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// # Errors
/// `Ended` when the server that was started is no more.
pub(crate) fn check() -> Result<(), Failure> {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    match started.as_mut().and_then(|child| child.try_wait().ok()?) {
        Some(status) => Err(Failure::Ended(status)),
        None => Ok(()),
    }
}

/// Whether any thread of it runs. One that is dead stays in the list until its parent looks; and the first thread may be dead
/// while others still hold port and files.
fn lives(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| !state.starts_with(['Z', 'X']))
    })
}
