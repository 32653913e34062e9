//! The loop that accepts connections: never more than the limit, and not deaf for want of a file.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::listen::SocketFile;

/// How long accepting rests when no file is left; the connections wait in the backlog.
const REST: Duration = Duration::from_millis(100);
/// How long after the last want of a file the full number of connections is tried again.
const SHORTAGE: Duration = Duration::from_secs(2);
/// The least time between two warnings of one kind.
const WARN_EVERY: Duration = Duration::from_mins(1);

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
    let mut short = Shortage::none();
    let accept = async {
        loop {
            if limit.available_permits() == 0 && full.is_due() {
                warn!(
                    "as many connections as --max-connections and the open files allow; more wait"
                );
            }
            if Instant::now() >= short.until {
                short.is_over(&limit);
            }
            let acquired = timeout_at(short.until, Arc::clone(&limit).acquire_owned()).await;
            let permit = match acquired {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) => return,
                Err(_) => continue, // waited to the end of a shortage
            };
            match listener.accept().await {
                Ok(socket) => each(socket, permit),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    if failing.is_due() {
                        warn!(%error, "cannot accept connections; they wait");
                    }
                    if is_want_of_files(&error) {
                        short.begins(&limit);
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await;
}

/// While there are no files for more connections, none come but for those that go: what becomes free is for the uploads of
/// those who are there.
struct Shortage {
    /// Permits taken out of the limit.
    withheld: usize,
    /// When they are given back.
    until: Instant,
}

impl Shortage {
    fn none() -> Self {
        Self {
            withheld: 0,
            until: far(),
        }
    }

    fn begins(&mut self, limit: &Semaphore) {
        self.withheld += limit.forget_permits(limit.available_permits());
        self.until = Instant::now() + SHORTAGE;
    }

    fn is_over(&mut self, limit: &Semaphore) {
        limit.add_permits(self.withheld);
        *self = Self::none();
    }
}

/// Never, for a timer that wants a moment.
fn far() -> Instant {
    Instant::now() + Duration::from_hours(24 * 365)
}

/// Neither this process nor the system has another file.
fn is_want_of_files(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE].map(|e| Some(e.raw_os_error()));
    codes.contains(&error.raw_os_error())
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
            held.borrow_mut().push((socket, permit));
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

    #[tokio::test(start_paused = true)]
    async fn no_more_connections_come_in_a_shortage_and_all_may_after_it() {
        let stop = CancellationToken::new();
        let held = RefCell::new(Vec::new());
        let script = [
            Ok(1),
            Ok(2),
            Err(Errno::MFILE.into()),
            Ok(3),
            Ok(4),
            Ok(5),
            Ok(6),
        ];
        let limit = Arc::new(Semaphore::new(9));
        let script = Script(RefCell::new(script.into()));
        let accepting = accept_all(script, limit, &stop, |socket, permit| {
            held.borrow_mut().push((socket, permit));
        });
        let look = async {
            let sockets = || held.borrow().iter().map(|(s, _)| *s).collect::<Vec<_>>();
            tokio::time::sleep(SHORTAGE / 2).await;
            assert_eq!(
                sockets(),
                [1, 2, 3],
                "one more is tried, so that it is never deaf"
            );
            drop(held.borrow_mut().remove(0)); // a connection ends
            tokio::time::sleep(REST).await;
            assert_eq!(sockets(), [2, 3, 4]);
            tokio::time::sleep(SHORTAGE).await;
            assert_eq!(sockets(), [2, 3, 4, 5, 6]);
            stop.cancel();
        };
        tokio::join!(accepting, look);
    }
}
