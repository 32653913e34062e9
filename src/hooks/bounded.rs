//! A connection to a receiver, on which a call brings back only so much: a receiver can go on about its answer for ever, and one
//! of "100 Continue" without an end would be read by hyper for as long as it comes, also when nobody waits for it any more.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::MOST;

/// The most bytes that come after what was sent last: a reply, its head, and what chunks take beside.
const MOST_READ: usize = MOST + (512 << 10);

/// A connection that fails when more comes.
#[derive(Debug)]
pub(super) struct Bounded<I> {
    io: I,
    /// Since something was sent.
    read: usize,
}

impl<I> Bounded<I> {
    pub(super) fn new(io: I) -> Self {
        Self { io, read: 0 }
    }

    /// A try that could send nothing does not count.
    fn sent(&mut self, bytes: usize) {
        if bytes > 0 {
            self.read = 0;
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Bounded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read > MOST_READ {
            return Poll::Ready(Err(io::Error::other("the answer has no end")));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, into))?;
        self.read += into.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Bounded<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        self.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<I: Connection> Connection for Bounded<I> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn each_call_brings_back_so_much_and_no_more() {
        let (near, far) = tokio::io::duplex(64 << 10);
        let flood = async move {
            let mut far = far;
            while far.write_all(&[b' '; 4096]).await.is_ok() {}
        };
        let flood = tokio::spawn(flood);
        let mut near = Bounded::new(near);
        let mut reply = vec![0; MOST_READ / 2];
        for _ in 0..5 {
            near.write_all(b"a call").await.unwrap();
            near.read_exact(&mut reply).await.unwrap();
        }
        let mut rest = Vec::new();
        assert!(near.read_to_end(&mut rest).await.is_err());
        // The read that goes past it is the last one.
        assert!(rest.len() <= MOST_READ + (64 << 10), "{}", rest.len());
        drop(near);
        flood.await.unwrap();
    }
}
