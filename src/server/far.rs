//! Whether a connection's far end has closed, where nothing is read of it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;

use super::first::Prefixed;
use super::tls::Wire;

/// The most that TLS holds of a connection, in bytes: a record that came, and one that is on its way.
const RECORDS: u64 = 2 * (18 << 10);

/// A connection that can be looked at without reading it.
pub(super) trait Look {
    /// The most bytes that are still to be read, once the far end has closed and sends no more.
    fn left(&self) -> Option<u64>;
}

impl<I: AsFd> Look for Prefixed<I> {
    fn left(&self) -> Option<u64> {
        Some(self.prefix.len() as u64 + left(self.io.as_fd())?)
    }
}

impl<I: AsFd> Look for Wire<I> {
    fn left(&self) -> Option<u64> {
        match self {
            Self::Plain(io) => io.left(),
            Self::Tls(io) => Some(RECORDS + io.get_ref().0.left()?),
        }
    }
}

fn left(socket: BorrowedFd<'_>) -> Option<u64> {
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // A reset and an end in both directions come unasked.
    let closed = poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0);
    // After that, since no more comes.
    closed.then(|| ioctl_fionread(socket).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use bytes::Bytes;
    use rustix::net::sockopt::set_socket_linger;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Looks until it has closed.
    fn closed(io: &impl Look) -> u64 {
        loop {
            if let Some(left) = io.left() {
                return left;
            }
            std::thread::yield_now();
        }
    }

    fn prefixed<I>(io: I) -> Prefixed<I> {
        let prefix = Bytes::from_static(b"abc");
        Prefixed { prefix, io }
    }

    #[test]
    fn what_is_left_is_told_after_the_end() {
        let (mut client, server) = pair();
        let mut server = prefixed(server);
        client.write_all(b"hello").unwrap();
        assert_eq!(server.left(), None);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(closed(&server), 3 + 5);
        server.io.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(closed(&server), 3 + 1);
        drop(client);
        assert_eq!(closed(&server), 3 + 1);
        server.io.read_exact(&mut [0]).unwrap();
        assert_eq!(closed(&server), 3);
    }

    #[test]
    fn a_reset_is_an_end_and_so_is_a_unix_sockets() {
        let (client, server) = pair();
        set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(closed(&prefixed(server)), 3);
        let (mut client, server) = UnixStream::pair().unwrap();
        let server = prefixed(server);
        client.write_all(b"hello").unwrap();
        assert_eq!(server.left(), None);
        drop(client);
        assert_eq!(closed(&server), 3 + 5);
    }
}
