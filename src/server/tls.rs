//! The handshake, on the workers; and what a connection reads and writes through, encrypted or not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::first::{First, Prefixed};

/// How every record of a client's handshake begins.
const HANDSHAKE: u8 = 0x16;
/// What a browser shows to whom forgot the `s` of `https`.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 50\r\n\
    Connection: close\r\n\r\nThis port speaks HTTPS; the request was plain HTTP";
/// How long such a client has to read that before the connection is closed on the rest of its request.
const LINGER: Duration = Duration::from_secs(1);
/// And the most that is read of it meanwhile.
const LINGER_BYTES: u64 = 64 << 10;

/// A socket, encrypted or not: one type, so that what speaks HTTP is there once.
#[derive(Debug)]
pub(super) enum Wire<I> {
    Plain(Prefixed<I>),
    Tls(Box<TlsStream<Prefixed<I>>>),
}

/// Encrypts a connection that has sent nothing yet.
///
/// # Errors
/// One that does not speak TLS, or not any that this server does.
pub(super) async fn handshake<I>(
    mut io: I,
    config: Arc<ServerConfig>,
) -> io::Result<(Wire<I>, First)>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut prefix = BytesMut::with_capacity(1024);
    if io.read_buf(&mut prefix).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if prefix[0] != HANDSHAKE {
        return Err(refuse(io, prefix[0]).await);
    }
    let prefix = prefix.freeze();
    let stream = TlsAcceptor::from(config)
        .accept(Prefixed { prefix, io })
        .await?;
    let first = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => First::Http2,
        _ => First::Http1,
    };
    Ok((Wire::Tls(Box::new(stream)), first))
}

/// Tells a client that speaks HTTP what is wrong, and any other nothing.
async fn refuse<I>(mut io: I, first: u8) -> io::Error
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    if first.is_ascii_uppercase() && io.write_all(PLAIN).await.is_ok() {
        let _ = io.shutdown().await;
        let mut rest = io.take(LINGER_BYTES);
        let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
    io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS")
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, into),
            Self::Tls(io) => Pin::new(io).poll_read(cx, into),
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
