//! The first bytes of a connection: which protocol it speaks, and whether it only asks for the server's health.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Http1,
    /// With the preface of HTTP/2 (prior knowledge).
    Http2,
    /// HTTP/1, with a request that the side thread answers.
    Health,
}

const BEGINNINGS: [(&[u8], First); 5] = [
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", First::Http2),
    (b"GET /healthz ", First::Health),
    (b"GET /healthz?", First::Health),
    (b"HEAD /healthz ", First::Health),
    (b"HEAD /healthz?", First::Health),
];
/// The longest of them, so that no more is read than is needed to tell.
const LONGEST: usize = 24;

/// What these bytes begin, once they tell.
fn classify(bytes: &[u8]) -> Option<First> {
    if let Some((_, first)) = BEGINNINGS.iter().find(|(b, _)| bytes.starts_with(b)) {
        return Some(*first);
    }
    let undecided = BEGINNINGS.iter().any(|(b, _)| b.starts_with(bytes));
    (!undecided).then_some(First::Http1)
}

/// Reads until the connection's beginning tells what it is; `None` if it ends before.
pub(super) async fn read<I>(mut io: I) -> io::Result<Option<(First, Prefixed<I>)>>
where
    I: AsyncRead + Unpin,
{
    let mut prefix = BytesMut::with_capacity(LONGEST);
    while io.read_buf(&mut prefix).await? > 0 {
        if let Some(first) = classify(&prefix) {
            let prefix = prefix.freeze();
            return Ok(Some((first, Prefixed { prefix, io })));
        }
    }
    Ok(None)
}

/// A socket whose first bytes were read already, and are read again.
#[derive(Debug)]
pub(super) struct Prefixed<I> {
    pub(super) prefix: Bytes,
    pub(super) io: I,
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, into);
        }
        let n = self.prefix.len().min(into.remaining());
        into.put_slice(&self.prefix[..n]);
        self.prefix.advance(n);
        if into.remaining() > 0 {
            // With what has come after them: hyper doubles its buffer for a head that a read brings in part. What fails
            // here fails at the next read, too.
            let _ = Pin::new(&mut self.io).poll_read(cx, into);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefixed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_tell_as_soon_as_they_can() {
        let table: [(&[u8], Option<First>); 13] = [
            (b"", None),
            (b"P", None),
            (b"PO", Some(First::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(First::Http2)),
            (b"PRI * HTTP/1", Some(First::Http1)),
            (b"GET /health", None),
            (b"GET /healthz HTTP/1.1", Some(First::Health)),
            (b"HEAD /healthz?x HTTP", Some(First::Health)),
            (b"GET /healthz/ HTTP/1.1", Some(First::Http1)),
            (b"GET /healthzz", Some(First::Http1)),
            (b"HEAD /files/x", Some(First::Http1)),
            (b"\r\nGET /healthz ", Some(First::Http1)),
        ];
        for (bytes, first) in table {
            assert_eq!(
                classify(bytes),
                first,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
        assert_eq!(
            BEGINNINGS.map(|(b, _)| b.len()).into_iter().max(),
            Some(LONGEST)
        );
    }

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        let (first, mut whole) = read(&b"PATCH /files/x HTTP/1.1\r\n and more"[..])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(first, First::Http1);
        let mut text = String::new();
        whole.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "PATCH /files/x HTTP/1.1\r\n and more");
        assert!(read(&b"GET /hea"[..]).await.unwrap().is_none());
    }
}
