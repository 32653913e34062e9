//! The listening socket: TCP or Unix, and the loop that accepts from it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::StartError;
use crate::config::Config;

/// Connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn` (4096 by default).
const BACKLOG: u32 = 4096;
/// How long accepting rests when no file is left; the connections wait in the backlog.
const REST: Duration = Duration::from_millis(100);
/// The least time between two warnings of one kind.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// A listening socket that belongs to no runtime yet.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// The file of a Unix socket, which goes with it.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            warn!(path = %self.0.display(), %error, "the socket's file stays");
        }
    }
}

impl Bound {
    /// Binds and listens where the configuration says.
    pub(super) async fn new(config: &Config) -> Result<Self, StartError> {
        if let Some(path) = &config.unix_sock {
            return unix(path).await.map_err(|source| StartError::Listen {
                what: path.display().to_string(),
                source,
            });
        }
        let host = config.host.trim_start_matches('[').trim_end_matches(']');
        let tcp = tcp(host, config.port).await;
        tcp.map_err(|source| StartError::Listen {
            what: format!("{}:{}", config.host, config.port),
            source,
        })
    }

    /// The TCP address, with the port that was free where the configured one is 0.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<Bound> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in lookup_host((host, port)).await? {
        let listening = if addr.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }
        .and_then(|socket| {
            socket.set_reuseaddr(true)?; // connections of a server before this one may still linger
            socket.bind(addr)?;
            socket.listen(BACKLOG)?.into_std()
        });
        match listening {
            Ok(listener) => return Ok(Bound::Tcp(listener)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn unix(path: &Path) -> io::Result<Bound> {
    match std::fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it exists and is not a socket",
            ));
        }
        Ok(_) => match UnixStream::connect(path).await {
            Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?
            }
            Err(other) => return Err(other),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another server listens on it",
                ));
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = tokio::net::UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile(path.to_owned());
    Ok(Bound::Unix(socket.listen(BACKLOG)?.into_std()?, file))
}

/// Something that connections come from.
pub(super) trait Accept {
    type Socket;
    async fn accept(&self) -> io::Result<Self::Socket>;
}

impl Accept for TcpListener {
    type Socket = TcpStream;
    async fn accept(&self) -> io::Result<TcpStream> {
        Self::accept(self).await.map(|(socket, _)| socket)
    }
}

/// The file is dropped first: a server that comes after this one finds a live socket or none.
impl Accept for (SocketFile, UnixListener) {
    type Socket = UnixStream;
    async fn accept(&self) -> io::Result<UnixStream> {
        self.1.accept().await.map(|(socket, _)| socket)
    }
}

/// Accepts until the stop, never more than the limit at a time.
pub(super) async fn accept_all<L: Accept>(
    listener: L,
    limit: Arc<Semaphore>,
    stop: &CancellationToken,
    mut each: impl FnMut(L::Socket, OwnedSemaphorePermit),
) {
    let (mut full, mut failing) = (Seldom::default(), Seldom::default());
    let accept = async {
        loop {
            if limit.available_permits() == 0 && full.is_due() {
                warn!(
                    "as many connections as --max-connections and the open files allow; more wait"
                );
            }
            let Ok(permit) = Arc::clone(&limit).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok(socket) => each(socket, permit),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    if failing.is_due() {
                        warn!(%error, "cannot accept connections; they wait");
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await;
}

/// A connection that went before it was accepted; anything else (no file or memory left) is worth a rest.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Something that is said once in a while.
#[derive(Debug, Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|said| said.elapsed() >= WARN_EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    /// Accepts what its script says, and then nothing more.
    struct Script(RefCell<VecDeque<io::Result<u8>>>);

    impl Accept for Script {
        type Socket = u8;
        async fn accept(&self) -> io::Result<u8> {
            let next = self.0.borrow_mut().pop_front();
            match next {
                Some(outcome) => outcome,
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_file_left_is_a_rest_and_a_lost_client_is_not() {
        let emfile = || Err(rustix::io::Errno::MFILE.into());
        let script = [
            Err(io::ErrorKind::ConnectionAborted.into()),
            Ok(1),
            emfile(),
            emfile(),
            Ok(2),
        ];
        let stop = CancellationToken::new();
        let began = Instant::now();
        let accepted = RefCell::new(Vec::new());
        accept_all(
            Script(RefCell::new(script.into())),
            Arc::new(Semaphore::new(9)),
            &stop,
            |socket, _permit| {
                accepted.borrow_mut().push((socket, began.elapsed()));
                if socket == 2 {
                    stop.cancel();
                }
            },
        )
        .await;
        // The clock stands still but for sleeps (to the millisecond above).
        let accepted = accepted.into_inner();
        assert_eq!(accepted[0], (1, Duration::ZERO));
        assert!(
            accepted[1].0 == 2
                && (REST * 2..REST * 2 + Duration::from_millis(5)).contains(&accepted[1].1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_the_most_at_a_time() {
        let stop = CancellationToken::new();
        let limit = Arc::new(Semaphore::new(2));
        let held = RefCell::new(Vec::new());
        let script = Script(RefCell::new([Ok(1), Ok(2), Ok(3)].into()));
        let accepting = accept_all(script, limit, &stop, |socket, permit| {
            held.borrow_mut().push((socket, permit))
        });
        let look = async {
            tokio::time::sleep(REST).await;
            assert_eq!(held.borrow().len(), 2);
            drop(held.borrow_mut().remove(0)); // a connection ends
            tokio::time::sleep(REST).await;
            assert_eq!(
                held.borrow().iter().map(|(s, _)| *s).collect::<Vec<_>>(),
                [2, 3]
            );
            stop.cancel();
        };
        tokio::join!(accepting, look);
    }

    #[tokio::test]
    async fn a_dead_servers_socket_is_replaced_and_a_live_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // its file stays
        let bound = unix(&path).await.unwrap();
        assert_eq!(
            unix(&path).await.unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(bound);
        assert!(!path.exists());
        std::fs::write(&path, b"precious").unwrap();
        assert_eq!(
            unix(&path).await.unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }
}
