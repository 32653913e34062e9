//! A proxy that cuts connections at every kind of place. It serves one request a connection, since the places are places of
//! a request.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::support::Dice;

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    InHead,
    AfterHead,
    InBody,
    InChunkHeader,
    /// After the last chunk's header, before the end of the trailers.
    InTrailers,
    /// At once after the last byte of the request.
    AfterLastByte,
    /// The server has answered, and none of it goes on to the client.
    BeforeAnswer,
    InAnswer,
}

impl Place {
    pub(super) const ALL: [Self; 8] = [
        Self::InHead,
        Self::AfterHead,
        Self::InBody,
        Self::InChunkHeader,
        Self::InTrailers,
        Self::AfterLastByte,
        Self::BeforeAnswer,
        Self::InAnswer,
    ];
}

/// The proxy; ended when dropped.
pub(super) struct Chaos {
    pub(super) addr: SocketAddr,
    cuts: Arc<[AtomicU64; Place::ALL.len()]>,
    accepting: AbortHandle,
}

impl Chaos {
    /// In front of the server at `server`; one connection in `one_in` is cut.
    pub(super) async fn start(server: SocketAddr, seed: u64, one_in: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        let cuts: Arc<[AtomicU64; Place::ALL.len()]> = Arc::default();
        let counted = cuts.clone();
        let accepting = tokio::spawn(async move {
            for number in 0.. {
                let (client, _) = listener.accept().await.expect("a connection");
                let mut dice = Dice::new(seed.wrapping_add(number));
                let counted = counted.clone();
                tokio::spawn(async move {
                    let cut = dice.below(one_in) == 0;
                    if let Some(place) = relay(client, server, &mut dice, cut).await {
                        counted[place as usize].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self {
            addr,
            cuts,
            accepting: accepting.abort_handle(),
        }
    }

    /// How often connections were cut, by place.
    pub(super) fn cuts(&self) -> [(Place, u64); Place::ALL.len()] {
        Place::ALL.map(|place| (place, self.cuts[place as usize].load(Ordering::Relaxed)))
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One request and its answer; where the connection was cut, if it was.
async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    dice: &mut Dice,
    cut: bool,
) -> Option<Place> {
    let request = Layout::read(&mut client).await?;
    let mut server = TcpStream::connect(server).await.ok()?;
    server.set_nodelay(true).ok()?;
    client.set_nodelay(true).ok()?;
    if !cut {
        pass(&mut server, &request.bytes, dice).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server)
            .await
            .ok()?;
        return None;
    }
    let places = Place::ALL.map(|place| (place, request.ends(place)));
    let possible: Vec<_> = places
        .into_iter()
        .filter(|(_, ends)| !ends.is_empty())
        .collect();
    let (place, ends) = &possible[dice.index(possible.len())];
    let end = ends[dice.index(ends.len())];
    pass(&mut server, &request.bytes[..end], dice).await?;
    if matches!(place, Place::BeforeAnswer | Place::InAnswer) {
        let answer = read_head(&mut server).await?;
        if *place == Place::InAnswer {
            let some = 1 + dice.index(answer.len() - 1);
            client.write_all(&answer[..some]).await.ok()?;
        }
    }
    for socket in [client, server] {
        if dice.below(2) == 0 {
            // A reset, and not an orderly end.
            let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
    }
    Some(*place)
}

/// Writes bytes in some pieces.
async fn pass(server: &mut TcpStream, bytes: &[u8], dice: &mut Dice) -> Option<()> {
    let piece = bytes.len() / (1 + dice.index(4)) + 1;
    for piece in bytes.chunks(piece) {
        server.write_all(piece).await.ok()?;
        if dice.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.below(3))).await;
        }
    }
    Some(())
}

/// Everything up to the end of an answer's head, and what came with it.
async fn read_head(server: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while end_of_head(&bytes).is_none() {
        more(server, &mut bytes).await?;
    }
    Some(bytes)
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    Some(bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4)
}

async fn more(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    match socket.read_buf(bytes).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(()),
    }
}

/// A whole request, and what is where in it.
struct Layout {
    bytes: Vec<u8>,
    /// Its length.
    head: usize,
    chunk_headers: Vec<Range<usize>>,
    data: Vec<Range<usize>>,
    trailers: Range<usize>,
}

impl Layout {
    /// Reads one off a connection; `None` if there is none.
    async fn read(client: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = end_of_head(&bytes) {
                break end;
            }
            more(client, &mut bytes).await?;
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let mut this = Self {
            bytes,
            head,
            chunk_headers: Vec::new(),
            data: Vec::new(),
            trailers: head..head,
        };
        if text.contains("\r\ntransfer-encoding: chunked") {
            this.read_chunks(client).await?;
        } else if let Some((_, length)) = text.split_once("\r\ncontent-length: ") {
            let length: usize = length.split("\r\n").next()?.parse().ok()?;
            while this.bytes.len() < head + length {
                more(client, &mut this.bytes).await?;
            }
            this.data.push(head..head + length);
        }
        Some(this)
    }

    async fn read_chunks(&mut self, client: &mut TcpStream) -> Option<()> {
        let mut at = self.head;
        loop {
            let line = self.line(client, at).await?;
            let size = std::str::from_utf8(&self.bytes[at..line - 2]).ok()?;
            let size = usize::from_str_radix(size, 16).ok()?;
            self.chunk_headers.push(at..line);
            if size == 0 {
                at = line;
                break;
            }
            while self.bytes.len() < line + size + 2 {
                more(client, &mut self.bytes).await?;
            }
            self.data.push(line..line + size);
            at = line + size + 2;
        }
        let first = at;
        loop {
            let line = self.line(client, at).await?;
            if line - at == 2 {
                self.trailers = first..line;
                return Some(());
            }
            at = line;
        }
    }

    /// Where the line that begins at `at` ends.
    async fn line(&mut self, client: &mut TcpStream, at: usize) -> Option<usize> {
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            if let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
                return Some(at + end + 2);
            }
            more(client, &mut self.bytes).await?;
        }
    }

    /// The lengths to which this request may be cut for a place; none where it has no such place.
    fn ends(&self, place: Place) -> Vec<usize> {
        let inside = |spans: &[Range<usize>]| -> Vec<usize> {
            let cuts = spans.iter().map(|span| span.start + 1..span.end);
            cuts.flatten().collect()
        };
        let whole = self.bytes.len();
        match place {
            Place::InHead => (1..self.head).collect(),
            Place::AfterHead if self.head < whole => vec![self.head],
            Place::AfterHead => Vec::new(),
            Place::InBody => inside(&self.data),
            Place::InChunkHeader => inside(&self.chunk_headers),
            Place::InTrailers => self.trailers.clone().collect(),
            Place::AfterLastByte | Place::BeforeAnswer | Place::InAnswer => vec![whole],
        }
    }
}
