//! A small tus server with every extension, against which the runner is tested: right as it stands, and wrong in one way on
//! demand ([`Fault`]).
//!
//! It shares no code with the runner's own side of HTTP, keeps everything in memory, and takes a thread a connection.
//!
//! - [`fault`]: what it can do wrong
//! - `request`, `body`: reading HTTP/1.1; `answer`: writing it; `connection`: one after another on a socket
//! - `store`: the uploads, and when they expire
//! - `core`: which request is for whom; OPTIONS, HEAD, GET and DELETE; `patch`, `append`: PATCH, and how
//!   bytes come in
//! - `hostile`: what falls for hostile requests, all of it flaws
//! - `download`: what GET gives, in part and under conditions
//! - `creation`, `metadata`, `concat`, `checksum`, `cors`: the extensions, and what browsers need

mod answer;
mod append;
mod body;
mod checksum;
mod concat;
mod connection;
mod core;
mod cors;
mod creation;
mod date;
mod download;
pub mod fault;
mod hostile;
mod metadata;
mod patch;
mod request;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

pub use fault::{Fault, Flaw};
use store::Store;

/// Where uploads are created.
const BASE: &str = "/files/";
/// `Tus-Max-Size`: small, so that a test can pass it.
const MAX_SIZE: u64 = 4 << 20;
/// What a connection's thread needs: no buffer is on the stack.
const STACK: usize = 256 << 10;

/// A running server on a port of its own. It stops when this is dropped.
#[derive(Debug)]
pub struct Reference {
    server: Arc<Server>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl Reference {
    /// Starts one at 127.0.0.1, without a fault or with one.
    ///
    /// # Errors
    /// What the system says to a socket or a thread.
    pub fn start(fault: Option<Fault>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let server = Arc::new(Server::new(fault));
        let accepting = {
            let server = Arc::clone(&server);
            thread::Builder::new()
                .name("reference".into())
                .stack_size(STACK)
                .spawn(move || accept(&listener, &server))?
        };
        Ok(Self {
            server,
            address,
            accepting: Some(accepting),
        })
    }

    /// Its endpoint, `http://127.0.0.1:PORT/files/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{BASE}", self.address)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.server.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees that it is to stop; without one, there is no backlog to be woken by.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for connection in lock(&self.server.connections).values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Server {
    fault: Option<Fault>,
    store: Store,
    stopping: AtomicBool,
    /// The open ones, by number, so that they can be shut down.
    connections: Mutex<HashMap<u64, TcpStream>>,
    numbers: AtomicU64,
}

impl Server {
    fn new(fault: Option<Fault>) -> Self {
        let flaw = match fault {
            Some(Fault::Flaw(flaw)) => Some(flaw),
            _ => None,
        };
        Self {
            fault,
            store: Store::new(flaw),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            numbers: AtomicU64::new(1),
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.fault == Some(Fault::Flaw(flaw))
    }

    /// A number that nobody else has.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

fn accept(listener: &TcpListener, server: &Arc<Server>) {
    for stream in listener.incoming() {
        if server.stopping.load(Ordering::SeqCst) {
            return;
        }
        // A connection that could not be taken is the client's to see: it is closed.
        let Ok(stream) = stream else { continue };
        let Ok(second) = stream.try_clone() else {
            continue;
        };
        let number = server.number();
        lock(&server.connections).insert(number, second);
        let served = Arc::clone(server);
        let started = thread::Builder::new()
            .name("reference".into())
            .stack_size(STACK)
            .spawn(move || {
                connection::serve(&served, &stream);
                lock(&served.connections).remove(&number);
            });
        if started.is_err() {
            lock(&server.connections).remove(&number);
        }
    }
}

/// Locks, also after a panic in another thread: a test that panicked has failed already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
