//! The listening socket: TCP or Unix.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use tokio::net::{TcpSocket, UnixStream, lookup_host};
use tracing::warn;

use super::StartError;
use crate::config::Config;

/// Connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn` (4096 by default).
const BACKLOG: u32 = 4096;

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
                std::fs::remove_file(path)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
