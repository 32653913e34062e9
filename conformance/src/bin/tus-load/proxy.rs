//! A long thin line before the server: each connection is held to a rate, and what goes in comes out a while later.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// What a line is like, in either direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// Bytes a second.
    pub(crate) rate: u64,
    /// From one end to the other.
    pub(crate) delay: Duration,
}

const PIECE: usize = 16 * 1024;
/// Pieces that are under way: some more than what fits on a line of 20 MiB/s and 25 ms.
const QUEUE: usize = 64;

/// Listens on a port of its own for connections to `server`; goes on for as long as the program.
pub(crate) fn before(server: SocketAddr, line: Line) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::io("listening"))?;
    let address = listener.local_addr().map_err(Failure::io("listening"))?;
    thread::spawn(move || {
        for near in listener.incoming() {
            // Whoever could not be connected sees that its connection is closed.
            let _ = near.and_then(|near| connect(near, server, line));
        }
    });
    Ok(address)
}

fn connect(near: TcpStream, server: SocketAddr, line: Line) -> std::io::Result<()> {
    let far = TcpStream::connect(server)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let (send, receive) = sync_channel(QUEUE);
        thread::spawn(move || take(from, &send));
        thread::spawn(move || give(to, &receive, line));
    }
    Ok(())
}

fn take(mut from: TcpStream, line: &SyncSender<(Instant, Vec<u8>)>) {
    loop {
        let mut piece = vec![0; PIECE];
        let got = from.read(&mut piece).unwrap_or(0);
        piece.truncate(got);
        if got == 0 || line.send((Instant::now(), piece)).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, line: &Receiver<(Instant, Vec<u8>)>, of: Line) {
    let mut free = Instant::now();
    for (came, piece) in line {
        let due = free.max(came + of.delay);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        free = due + Duration::from_nanos(piece.len() as u64 * 1_000_000_000 / of.rate);
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_as_slow_as_it_says() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let line = Line {
            rate: 1 << 20,
            delay: Duration::from_millis(20),
        };
        let address = before(listener.local_addr().unwrap(), line).unwrap();
        let began = Instant::now();
        let mut near = TcpStream::connect(address).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(&vec![7; 256 << 10]).unwrap();
        let mut all = vec![0; 256 << 10];
        far.read_exact(&mut all).unwrap();
        // A quarter of a second for the bytes but for the last piece, and one way.
        assert!(
            began.elapsed() > Duration::from_millis(250),
            "{:?}",
            began.elapsed()
        );
        far.write_all(b"x").unwrap();
        near.read_exact(&mut all[..1]).unwrap();
        assert_eq!(&all[..2], b"x\x07");
        drop(near);
        assert_eq!(far.read(&mut all).unwrap(), 0, "an end goes through, too");
    }
}
