//! Just enough HTTP/2, by prior knowledge, to PATCH: one stream at a time on a blocking socket.
//!
//! Of an answer only the status is read. The client's header table has no room, so a status that HPACK's static table has is
//! one byte, and nothing need be decoded; the offset is asked for over HTTP/1.1 afterwards.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::failure::Failure;
use crate::target::Target;

const PATIENCE: Duration = Duration::from_secs(30);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// Frames of a body handed to the kernel at once.
const BATCH: usize = 16;
/// The largest payload that a peer takes unless it says otherwise (RFC 9113, 6.5.2).
const FRAME: usize = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// One connection.
pub(crate) struct Http2 {
    socket: TcpStream,
    authority: String,
    stream: u32,
    /// What may be sent on the connection, and on a stream at first and now.
    window: i64,
    initial: i64,
    stream_window: i64,
    status: Option<u16>,
    ended: bool,
}

impl Http2 {
    pub(crate) fn open(target: &Target) -> Result<Self, Failure> {
        let open = || {
            let socket = TcpStream::connect_timeout(&target.address, PATIENCE)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let mut all = Self {
            socket: open().map_err(Failure::io("connecting"))?,
            authority: target.address.to_string(),
            stream: u32::MAX, // the first is 1
            window: 65_535,
            initial: 65_535,
            stream_window: 0,
            status: None,
            ended: false,
        };
        // HEADER_TABLE_SIZE 0, ENABLE_PUSH 0
        let mut hello = PREFACE.to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]));
        all.write(&hello)?;
        // The server's settings come first; its windows count from the first request on.
        all.next_frame()?;
        Ok(all)
    }

    /// Sends a PATCH whose body is `pieces`, of `len` bytes together; the answer's status.
    pub(crate) fn patch<'b>(
        &mut self,
        path: &str,
        offset: u64,
        len: u64,
        pieces: impl Iterator<Item = &'b [u8]>,
    ) -> Result<u16, Failure> {
        self.stream = self.stream.wrapping_add(2);
        (self.stream_window, self.status, self.ended) = (self.initial, None, false);
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "PATCH"),
            (":scheme", "http"),
            (":authority", &self.authority),
            (":path", path),
            ("tus-resumable", "1.0.0"),
            ("upload-offset", &offset.to_string()),
            ("content-type", "application/offset+octet-stream"),
            ("content-length", &len.to_string()),
        ] {
            literal(&mut block, name, value);
        }
        let head = frame(HEADERS, END_HEADERS, self.stream, &block);
        self.write(&head)?;
        let mut left = len;
        for mut piece in pieces {
            while !piece.is_empty() && !self.ended {
                let sent = self.data(piece, left)?;
                piece = &piece[sent..];
                left -= sent as u64;
            }
        }
        while !self.ended {
            self.next_frame()?;
        }
        self.status
            .ok_or_else(|| Failure::NotHttp2("a stream ended without a status".into()))
    }

    /// Sends what the windows let through of `piece`; `left` is what is left of the body with it.
    fn data(&mut self, piece: &[u8], left: u64) -> Result<usize, Failure> {
        while self.window.min(self.stream_window) <= 0 {
            self.next_frame()?;
            if self.ended {
                return Ok(piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            }
        }
        let room = usize::try_from(self.window.min(self.stream_window)).unwrap_or(0);
        let now = &piece[..piece.len().min(room).min(BATCH * FRAME)];
        let heads: Vec<[u8; HEAD]> = now
            .chunks(FRAME)
            .enumerate()
            .map(|(n, part)| {
                let last = (n * FRAME + part.len()) as u64 == left;
                head_of(DATA, u8::from(last) * END_STREAM, self.stream, part.len())
            })
            .collect();
        let slices = heads.iter().zip(now.chunks(FRAME));
        let slices = slices.flat_map(|(head, part)| [IoSlice::new(head), IoSlice::new(part)]);
        self.write_slices(&mut slices.collect::<Vec<_>>())?;
        let sent = i64::try_from(now.len()).unwrap_or(i64::MAX);
        self.window -= sent;
        self.stream_window -= sent;
        Ok(now.len())
    }

    /// Reads a frame and does what it asks for.
    fn next_frame(&mut self) -> Result<(), Failure> {
        let mut head = [0; HEAD];
        self.read(&mut head)?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; len];
        self.read(&mut payload)?;
        let stream = number(&head[5..]);
        let ours = stream == self.stream;
        match (head[3], head[4]) {
            (SETTINGS, flags) if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    if setting[..2] == [0, 4] {
                        let initial = i64::from(number(&setting[2..]));
                        self.stream_window += initial - self.initial;
                        self.initial = initial;
                    }
                }
                self.write(&frame(SETTINGS, ACK, 0, &[]))?;
            }
            (PING, flags) if flags & ACK == 0 => self.write(&frame(PING, ACK, 0, &payload))?,
            (WINDOW_UPDATE, _) if stream == 0 => self.window += i64::from(number(&payload)),
            (WINDOW_UPDATE, _) if ours => self.stream_window += i64::from(number(&payload)),
            (HEADERS, flags) if ours => {
                self.status = self.status.or(status(&payload));
                self.ended |= flags & END_STREAM != 0;
            }
            (DATA, flags) if ours => self.ended |= flags & END_STREAM != 0,
            (RST_STREAM, _) if ours => {
                return Err(Failure::NotHttp2(format!("reset, {payload:?}")));
            }
            (GOAWAY, _) => return Err(Failure::NotHttp2(format!("goaway, {payload:?}"))),
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), Failure> {
        self.socket
            .read_exact(into)
            .map_err(Failure::io("waiting for a frame"))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.socket.write_all(bytes).map_err(Failure::io("sending"))
    }

    fn write_slices(&mut self, mut slices: &mut [IoSlice<'_>]) -> Result<(), Failure> {
        while !slices.is_empty() {
            let sent = self
                .socket
                .write_vectored(slices)
                .map_err(Failure::io("sending"))?;
            IoSlice::advance_slices(&mut slices, sent);
        }
        Ok(())
    }
}

fn head_of(kind: u8, flags: u8, stream: u32, len: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&(u32::try_from(len).unwrap_or(u32::MAX) << 8).to_be_bytes());
    (head[3], head[4]) = (kind, flags);
    head[5..].copy_from_slice(&stream.to_be_bytes());
    head
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut all = head_of(kind, flags, stream, payload.len()).to_vec();
    all.extend_from_slice(payload);
    all
}

/// Four bytes as a number of 31 bits.
fn number(bytes: &[u8]) -> u32 {
    let all: [u8; 4] = bytes[..4].try_into().unwrap_or_default();
    u32::from_be_bytes(all) & 0x7fff_ffff
}

/// A field, literal and not indexed, neither part of it compressed (RFC 7541, 6.2.2); both are short.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(
            u8::try_from(text.len())
                .ok()
                .filter(|len| *len < 127)
                .expect("short"),
        );
        block.extend_from_slice(text.as_bytes());
    }
}

/// The status that a block begins with, if it is one of the static table; the table's size may be told before it.
fn status(block: &[u8]) -> Option<u16> {
    let first = block.iter().find(|byte| **byte & 0xe0 != 0x20)?;
    let known = [200, 204, 206, 304, 400, 404, 500];
    known.get(usize::from(first.checked_sub(0x88)?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_the_static_table_is_read() {
        assert_eq!(status(&[0x89, 0x00]), Some(204));
        assert_eq!(status(&[0x20, 0x88]), Some(200));
        assert_eq!(status(&[0x48, 0x03]), None, "a literal");
        assert_eq!(status(&[]), None);
    }

    #[test]
    fn a_frame_is_its_head_and_payload() {
        let bytes = frame(DATA, END_STREAM, 5, b"abc");
        assert_eq!(bytes, [0, 0, 3, 0, 1, 0, 0, 0, 5, b'a', b'b', b'c']);
    }
}
