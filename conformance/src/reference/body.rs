//! The body of a request, piece by piece as it comes (RFC 9112, 6 and 7).

use std::io::Write;

use super::request::{Fields, Request, Trouble, Wire, careless, digits};
use super::{Flaw, Server};

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// That many bytes; without any length it has none.
    Length(u64),
    Chunked,
}

impl Framing {
    /// What the head says, or the status of the refusal.
    pub(super) fn of(fields: &Fields, is_http10: bool, server: &Server) -> Result<Self, u16> {
        let length = content_length(fields, server)?;
        if !fields.has("Transfer-Encoding") {
            return Ok(Self::Length(length.unwrap_or(0)));
        }
        match length {
            Some(length) if server.has(Flaw::LengthAndCodingByLength) => {
                return Ok(Self::Length(length));
            }
            Some(_) if !server.has(Flaw::LengthAndCodingTaken) => return Err(400),
            _ if is_http10 && !server.has(Flaw::CodingIn10Kept) => return Err(400),
            _ => {}
        }
        let mut codings = fields
            .all("Transfer-Encoding")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|coding| !coding.is_empty());
        let is_chunked = |coding: &[u8]| {
            if server.has(Flaw::CodingMindsCase) {
                coding == b"chunked"
            } else {
                coding.eq_ignore_ascii_case(b"chunked")
            }
        };
        match (codings.next(), codings.next()) {
            (Some(only), None) if is_chunked(only) => Ok(Self::Chunked),
            (None, _) => Err(400),
            (Some(first), Some(_)) if is_chunked(first) => Err(400),
            _ if server.has(Flaw::CodingUnknownTaken) => Ok(Self::Length(0)),
            _ => Err(501),
        }
    }
}

fn content_length(fields: &Fields, server: &Server) -> Result<Option<u64>, u16> {
    let mut found = None;
    for value in fields.all("Content-Length") {
        for item in value.split(|byte| *byte == b',') {
            let item = item.trim_ascii();
            let length = match digits(item) {
                None if server.has(Flaw::ContentLengthMalformedTaken) => careless(item, 10),
                other => other.ok_or(400_u16)?,
            };
            match found {
                Some(other) if other != length && !server.has(Flaw::LengthsDifferTaken) => {
                    return Err(400);
                }
                Some(other) if server.has(Flaw::LengthsAdded) => found = Some(other + length),
                Some(_) => {}
                None => found = Some(length),
            }
        }
    }
    Ok(found)
}

/// What of the body is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Bytes(u64),
    /// A chunk's size stands next.
    Size,
    /// That many bytes of a chunk.
    Chunk(u64),
    /// The line end after a chunk's bytes, which count before it is there.
    ChunkEnd,
    Nothing,
    /// It was cut, or is malformed: the connection is of no more use.
    Broken,
}

/// A body in the course of being read.
pub(super) struct Body<'w, 'a> {
    wire: &'w mut Wire<'a>,
    framing: Framing,
    rest: Rest,
    /// The client waits for `100 Continue`.
    awaited: bool,
    /// It was sent.
    pub(super) continued: bool,
    pub(super) trailers: Fields,
}

impl<'w, 'a> Body<'w, 'a> {
    pub(super) fn new(wire: &'w mut Wire<'a>, request: &Request) -> Self {
        let rest = match request.framing {
            Framing::Length(0) => Rest::Nothing,
            Framing::Length(length) => Rest::Bytes(length),
            Framing::Chunked => Rest::Size,
        };
        let asks = if wire.has(Flaw::ExpectMindsCase) {
            let mut all = request.fields.all("Expect");
            all.any(|value| value == b"100-continue")
        } else {
            request.fields.lists("Expect", "100-continue")
        };
        let heard = !request.is_http10 || wire.has(Flaw::Continue10);
        let mut body = Self {
            framing: request.framing,
            awaited: rest != Rest::Nothing && asks && heard,
            rest,
            wire,
            continued: false,
            trailers: Fields::default(),
        };
        if body.wire.has(Flaw::ContinueAlways) {
            let _ = body.go_ahead();
        }
        body
    }

    /// Its length, if the head tells it.
    pub(super) fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        }
    }

    /// The next piece; `None` at its end. `wanted` is asked now and then whether it is still to be read.
    pub(super) fn next(&mut self, wanted: &dyn Fn() -> bool) -> Result<Option<Vec<u8>>, Trouble> {
        if self.rest != Rest::Nothing {
            self.go_ahead()?;
        }
        let next = self.step(wanted);
        // Unwanted, the rest may still come: whoever answers closes the connection for it.
        if matches!(next, Err(Trouble::Gone | Trouble::Bad(_))) {
            self.rest = Rest::Broken;
        }
        next
    }

    fn step(&mut self, wanted: &dyn Fn() -> bool) -> Result<Option<Vec<u8>>, Trouble> {
        loop {
            match self.rest {
                Rest::Nothing => return Ok(None),
                Rest::Broken => return Err(Trouble::Gone),
                Rest::Bytes(left) => {
                    let piece = self.wire.some(left, wanted)?;
                    let left = left - piece.len() as u64;
                    self.rest = if left == 0 {
                        Rest::Nothing
                    } else {
                        Rest::Bytes(left)
                    };
                    return Ok(Some(piece));
                }
                Rest::Chunk(left) => {
                    let piece = self.wire.some(left, wanted)?;
                    let left = left - piece.len() as u64;
                    self.rest = if left == 0 {
                        Rest::ChunkEnd
                    } else {
                        Rest::Chunk(left)
                    };
                    return Ok(Some(piece));
                }
                Rest::ChunkEnd => self.end_chunk(wanted)?,
                Rest::Size => {
                    let line = match self.wire.line(wanted) {
                        Err(Trouble::Gone) if self.wire.has(Flaw::ChunkedCutTaken) => {
                            self.rest = Rest::Nothing;
                            return Ok(None);
                        }
                        other => other?,
                    };
                    let size = self.chunk_size(&line)?;
                    self.rest = Rest::Chunk(size);
                    if size == 0 {
                        self.read_trailers(wanted)?;
                    } else if self.wire.has(Flaw::ChunksStored) {
                        return Ok(Some([&line[..], b"\r\n"].concat()));
                    }
                }
            }
        }
    }

    fn end_chunk(&mut self, wanted: &dyn Fn() -> bool) -> Result<(), Trouble> {
        if self.wire.has(Flaw::ChunkEndIgnored) {
            let one = self.wire.some(1, wanted)?;
            if one != b"\n" {
                self.wire.some(1, wanted)?;
            }
        } else {
            for expected in b"\r\n" {
                if self.wire.some(1, wanted)? != [*expected] {
                    return Err(Trouble::Bad(400));
                }
            }
        }
        self.rest = Rest::Size;
        Ok(())
    }

    fn read_trailers(&mut self, wanted: &dyn Fn() -> bool) -> Result<(), Trouble> {
        if !self.wire.has(Flaw::TrailersUnread) {
            self.trailers = Fields::read(self.wire, wanted)?;
        }
        self.rest = Rest::Nothing;
        Ok(())
    }

    /// The size in a chunk's first line; extensions are of no interest.
    fn chunk_size(&self, line: &[u8]) -> Result<u64, Trouble> {
        let end = line.iter().position(|byte| !byte.is_ascii_hexdigit());
        let (size, rest) = line.split_at(end.unwrap_or(line.len()));
        let size = std::str::from_utf8(size).unwrap_or_default();
        let mut good = u64::from_str_radix(size, 16).ok();
        if self.wire.has(Flaw::ChunkSizeWraps) {
            let last = &size[size.len().saturating_sub(8)..];
            good = u64::from_str_radix(last, 16).ok();
        }
        let extended = rest.trim_ascii_start().first() == Some(&b';');
        if extended && self.wire.has(Flaw::ChunkExtensionRefused) {
            return Err(Trouble::Bad(400));
        }
        match good.filter(|_| rest.is_empty() || extended) {
            None if self.wire.has(Flaw::ChunkSizeMalformedTaken) => Ok(careless(line, 16)),
            other => other.ok_or(Trouble::Bad(400)),
        }
    }

    /// Sends the `100 Continue` that the client waits for.
    fn go_ahead(&mut self) -> Result<(), Trouble> {
        if !self.awaited || self.wire.has(Flaw::NoContinue) {
            return Ok(());
        }
        self.awaited = false;
        self.continued = true;
        if self.wire.has(Flaw::ContinueBodyMissed) {
            self.wire.forget();
        }
        let mut stream = self.wire.stream;
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .map_err(|_| Trouble::Gone)
    }

    /// Whether the connection can go on after this body: it was read, or what is left is known to come and is little.
    pub(super) fn leaves_order(&self) -> bool {
        match self.rest {
            Rest::Nothing => true,
            Rest::Bytes(left) => !self.awaited && left <= 64 << 10,
            _ => false,
        }
    }

    /// Reads what is left.
    pub(super) fn drain(&mut self) -> Result<(), Trouble> {
        while self.next(&|| true)?.is_some() {}
        Ok(())
    }
}
