//! How much one read of a connection takes, so that what all of them hold of bodies has a bound.
//!
//! hyper reads into a buffer that grows with what each read brings, up to the longest head there may be: some 400 KiB. That is
//! right for a few fast clients, and too much for a thousand. So a read brings a share of what all may hold together.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

use super::far::Look;
use crate::engine::FarEnd;

/// What the last reads of all connections may have brought together, about. They hold several times this: hyper fills a buffer
/// while another is being written. 800 connections of 200 sessions come to 109 MiB; with 16 MiB here it was 154. The price is
/// smaller reads: a GiB over 200 connections takes 8 to 17 % more of the processor, over 64 some 7 %, over one no more. To count
/// the room of the buffers instead of what came gave no better pair of the two.
const ALL: usize = 8 << 20;
/// One connection gets such a part of what is left of that.
const PART: usize = 8;
/// And no less than this. One byte less than hyper's buffer, which grows when a read fills it.
const LEAST: usize = (16 << 10) - 1;

/// What connections hold.
#[derive(Debug)]
pub(super) struct Held {
    now: AtomicUsize,
    /// The most that one read brings.
    most: usize,
}

impl Held {
    /// With `turn`, no read brings more than a body may pay for in one turn of a rate that all share.
    pub(super) fn new(turn: Option<u64>) -> Self {
        let turn = turn.and_then(|turn| usize::try_from(turn).ok());
        Self {
            now: AtomicUsize::new(0),
            most: turn.unwrap_or(ALL).max(LEAST + 1),
        }
    }

    fn share(&self) -> usize {
        let left = ALL.saturating_sub(self.now.load(Ordering::Relaxed));
        let share = (left / PART).max(LEAST + 1).min(self.most);
        // Just below a power of two, as hyper's buffers are.
        (1 << share.ilog2()) - 1
    }
}

/// A connection that reads its share.
#[derive(Debug)]
pub(super) struct Sharing<I> {
    io: Take<I>,
    /// What the last read brought.
    last: usize,
    all: Arc<Held>,
    far: Arc<FarEnd>,
}

impl<I: AsyncRead> Sharing<I> {
    pub(super) fn new(io: I, all: Arc<Held>, far: Arc<FarEnd>) -> Self {
        let io = io.take(0);
        let last = 0;
        Self { io, last, all, far }
    }
}

impl<I> Sharing<I> {
    fn holds(&mut self, now: usize) {
        self.all.now.fetch_add(now, Ordering::Relaxed);
        self.all.now.fetch_sub(self.last, Ordering::Relaxed);
        self.last = now;
    }
}

impl<I: AsyncRead + Look> Sharing<I> {
    /// Tells whether the far end has closed. The last read brought what hyper still has of the body, and perhaps a head with it.
    #[cold]
    fn look(&self) {
        if let Some(left) = self.io.get_ref().left() {
            self.far.has_closed(left.saturating_add(self.last as u64));
        }
    }
}

impl<I> Drop for Sharing<I> {
    fn drop(&mut self) {
        self.holds(0);
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Sharing<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        this.io.set_limit(this.all.share() as u64);
        ready!(Pin::new(&mut this.io).poll_read(cx, into))?;
        this.holds(into.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Look + Unpin> AsyncWrite for Sharing<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().io.get_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().io.get_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes after each look at a request, also while it reads and writes nothing.
        if self.far.is_asked() {
            self.look();
        }
        Pin::new(self.get_mut().io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().io.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_brings_less_where_much_is_held() {
        let all = Arc::new(Held::new(None));
        let sent = vec![7; 4 << 20];
        let mut alone = Sharing::new(&sent[..], all.clone(), Arc::default());
        let mut buffer = vec![0; 4 << 20];
        let alone_gets = alone.read(&mut buffer).await.unwrap();
        assert_eq!(alone_gets, (1 << 20) - 1);
        let mut others = Vec::new();
        for _ in 0..1000 {
            let mut other = Sharing::new(&sent[..], all.clone(), Arc::default());
            let got = other.read(&mut buffer).await.unwrap();
            assert!(got >= LEAST, "{got}");
            others.push(other);
        }
        let held = all.now.load(Ordering::Relaxed);
        assert!(held < ALL + 1000 * LEAST, "{held}");
        assert_eq!(alone.read(&mut buffer).await.unwrap(), LEAST);
        drop((alone, others));
        assert_eq!(all.now.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_read_brings_no_more_than_a_turn() {
        let sent = vec![7; 4 << 20];
        let mut buffer = vec![0; 4 << 20];
        for (turn, brings) in [
            (1, LEAST),
            (100_000, (64 << 10) - 1),
            (1 << 40, (1 << 20) - 1),
        ] {
            let all = Arc::new(Held::new(Some(turn)));
            let mut io = Sharing::new(&sent[..], all, Arc::default());
            assert_eq!(io.read(&mut buffer).await.unwrap(), brings);
        }
    }
}
