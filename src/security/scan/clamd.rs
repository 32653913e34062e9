//! clamd, over TCP or a Unix socket: `INSTREAM`, a piece at a time.
//! Source: clamd(8), COMMANDS.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{ScanError, Scanner, Verdict};
use crate::blob::Pieces;

/// How long a connection may take: it is near.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one piece of bytes may take: it waits for one of clamd's threads.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a verdict may take, once all bytes are there: clamd itself gives up after two minutes (`MaxScanTime`).
const THOUGHT: Duration = Duration::from_mins(5);
/// The longest answer that is read.
const ANSWER: u64 = 4096;

/// Where a clamd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// The path of its socket.
    Unix(PathBuf),
}

/// A clamd; each scan has a connection of its own.
#[derive(Debug, Clone)]
pub struct Clamd(pub Address);

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

#[async_trait]
impl Scanner for Clamd {
    async fn scan(&self, bytes: Pieces) -> Result<Verdict, ScanError> {
        let connect = async {
            Ok::<Box<dyn Duplex>, std::io::Error>(match &self.0 {
                Address::Tcp(at) => Box::new(TcpStream::connect(at).await?),
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        };
        let mut socket = in_time(CONNECT, connect).await?;
        let sent = send(&mut *socket, bytes).await;
        if let Err(error @ ScanError::Blob(_)) = sent {
            return Err(error);
        }
        // It may have said why before it stopped to listen.
        let mut answer = Vec::new();
        let mut limited = socket.take(ANSWER);
        let read = in_time(THOUGHT, limited.read_to_end(&mut answer)).await;
        match (verdict(&answer), sent, read) {
            (Some(verdict), ..) => Ok(verdict),
            (None, Err(error), _) | (None, _, Err(error)) => Err(error),
            (None, Ok(()), Ok(_)) => {
                let why = format!("answered {:?}", String::from_utf8_lossy(&answer));
                // What is cut is of one that dies.
                let answered = answer.ends_with(b"\0");
                Err(if answered {
                    ScanError::Failed(why)
                } else {
                    ScanError::Unavailable(why)
                })
            }
        }
    }
}

async fn in_time<T>(
    patience: Duration,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<T, ScanError> {
    match timeout(patience, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(ScanError::Unavailable(format!("failed: {error}"))),
        Err(_) => Err(ScanError::Unavailable("is silent".into())),
    }
}

/// All bytes, each piece behind its length.
async fn send(socket: &mut dyn Duplex, mut bytes: Pieces) -> Result<(), ScanError> {
    in_time(PATIENCE, socket.write_all(b"zINSTREAM\0")).await?;
    while let Some(piece) = bytes.next().await {
        let piece = piece?;
        // Pieces are far below the length's 4 GiB, whatever the store.
        for piece in piece.chunks(1 << 20).filter(|piece| !piece.is_empty()) {
            let length = u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes();
            in_time(PATIENCE, async {
                socket.write_all(&length).await?;
                socket.write_all(piece).await
            })
            .await?;
        }
    }
    in_time(PATIENCE, async {
        socket.write_all(&[0; 4]).await?;
        socket.flush().await
    })
    .await
}

/// What an answer says; `None` if it is no verdict.
fn verdict(answer: &[u8]) -> Option<Verdict> {
    // What is cut is not believed.
    let answer = answer.strip_suffix(b"\0")?;
    let text = String::from_utf8_lossy(answer);
    if text.starts_with("INSTREAM size limit exceeded") {
        return Some(Verdict::TooLarge);
    }
    let found = text.strip_prefix("stream: ")?;
    if found == "OK" {
        return Some(Verdict::Clean);
    }
    let name = found.strip_suffix(" FOUND")?;
    // A file past clamd's own limits, where it is told to say so (AlertExceedsMax).
    if name.starts_with("Heuristics.Limits.Exceeded") {
        return Some(Verdict::TooLarge);
    }
    Some(Verdict::Infected(super::name(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let infected = |name: &str| Some(Verdict::Infected(name.into()));
        for (answer, wanted) in [
            (&b"stream: OK\0"[..], Some(Verdict::Clean)),
            (b"stream: Eicar-Test FOUND\0", infected("Eicar-Test")),
            (b"stream: A B FOUND\0", infected("A B")),
            (
                b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0",
                Some(Verdict::TooLarge),
            ),
            (
                b"INSTREAM size limit exceeded. ERROR\0",
                Some(Verdict::TooLarge),
            ),
            (b"stream: Can't allocate memory ERROR\0", None),
            (b"stream: OK", None),
            (b"stream: O\0", None),
            (b"OK\0", None),
            (b"UNKNOWN COMMAND\0", None),
            (b"", None),
            (b"\0", None),
        ] {
            assert_eq!(verdict(answer), wanted, "{answer:?}");
        }
    }
}
