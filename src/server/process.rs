//! What the server asks of its process: threads and files.

use std::io;
use std::num::NonZero;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread::available_parallelism;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

/// A runtime for [`super::run`]: a worker a core, and at least four, since workers write to the disk.
/// # Errors
/// The system's, when it has no threads or files to give.
pub fn main_runtime() -> io::Result<Runtime> {
    let workers = available_parallelism().map_or(4, NonZero::get).max(4);
    Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("highwater")
        .enable_all()
        .build()
}

/// Raises the soft limit of open files to the hard one. How many there may be now; `None` for no limit.
pub(super) fn raise_file_limit() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let mut raised = limits;
    raised.current = limits.maximum;
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            warn!(%error, "the limit of open files stays as it is");
            limits.current
        }
    }
}

/// Connections that leave half of the files to uploads.
pub(super) fn connection_limit(configured: usize, files: Option<u64>) -> usize {
    let half = files.map_or(usize::MAX, |files| {
        usize::try_from(files / 2).unwrap_or(usize::MAX)
    });
    configured
        .min(half.max(1))
        .min(tokio::sync::Semaphore::MAX_PERMITS)
}

/// Tells systemd, where it wants to hear it (`Type=notify`): `READY=1`, `STOPPING=1`. Source: `sd_notify(3)`.
pub(super) fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let told = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        warn!(%error, state, "what started the server cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_files_are_for_uploads() {
        assert_eq!(connection_limit(10_000, Some(1024)), 512);
        assert_eq!(connection_limit(10_000, Some(1 << 20)), 10_000);
        assert_eq!(connection_limit(10_000, None), 10_000);
        assert_eq!(connection_limit(10_000, Some(1)), 1);
        assert!(connection_limit(usize::MAX, None) <= tokio::sync::Semaphore::MAX_PERMITS);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        assert_eq!(raise_file_limit(), getrlimit(Resource::Nofile).maximum);
        assert_eq!(
            getrlimit(Resource::Nofile).current,
            getrlimit(Resource::Nofile).maximum
        );
    }
}
