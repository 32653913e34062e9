//! Just enough HTTP/1.1 on a blocking socket: no allocation a body byte, and every read and write bounded in time.

use std::fmt::Write as _;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use crate::failure::Failure;

pub(crate) const AUTHORIZATION: &str = "Authorization";
/// No answer of a healthy server takes this long; tusd waits up to 20 s for a lock.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read at once, and so the longest head.
const BUFFER: usize = 64 * 1024;

/// Status line and fields of a response: kept as text, since most of it is never asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    fields: String,
}

/// How a body ends.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

impl Head {
    /// Takes a head off the front of `bytes`; with it comes its length. `None` while it is incomplete.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Failure> {
        let Some(end) = end_of_head(bytes) else {
            return if bytes.len() >= BUFFER {
                Err(Failure::NotHttp("a head without an end"))
            } else {
                Ok(None)
            };
        };
        let text = std::str::from_utf8(&bytes[..end - 4])
            .map_err(|_| Failure::NotHttp("bytes that are no text in a head"))?;
        let (line, fields) = text.split_once("\r\n").unwrap_or((text, ""));
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|line| line.get(..3)?.parse().ok())
            .ok_or(Failure::NotHttp("the status line"))?;
        let fields = fields.to_owned();
        if fields.split_terminator("\r\n").any(|f| !f.contains(':')) {
            return Err(Failure::NotHttp("a field without a colon"));
        }
        Ok(Some((Self { status, fields }, end)))
    }

    /// The first field of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ str| {
            let (found, _) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(found.len() + 1)
        };
        self.fields
            .split("\r\n")
            .find_map(|line| Some(line[of(line)?..].trim()))
    }

    /// The number in the field `name`, if it is there and is one.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// How the body that follows the answer to `method` ends.
    fn framing(&self, method: &str) -> Result<Framing, Failure> {
        if method == "HEAD" || matches!(self.status, 101 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        if let Some(coding) = self.get("transfer-encoding") {
            return if coding.eq_ignore_ascii_case("chunked") {
                Ok(Framing::Chunked)
            } else {
                Err(Failure::NotHttp("a transfer coding that is not chunked"))
            };
        }
        self.number("content-length")
            .map(Framing::Length)
            .ok_or(Failure::NotHttp("a body without Content-Length"))
    }
}

/// Where a head ends, its empty line included.
pub(crate) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    Some(bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4)
}

/// A request's head.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    pub(crate) fields: &'a [(&'a str, &'a str)],
    pub(crate) body_len: u64,
}

/// One keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    host: String,
    /// `Authorization` of requests that bring none of their own.
    bearer: Option<String>,
    /// The head that is being sent; kept, so that a request allocates nothing.
    head: String,
    buffer: Vec<u8>,
    /// Where in `buffer` lies what was received and not yet used.
    unread: Range<usize>,
}

impl Connection {
    /// Connects; every request that brings no token of its own bears this one, if there is one.
    pub(crate) fn open(address: SocketAddr, bearer: Option<&str>) -> Result<Self, Failure> {
        let open = || -> io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        Ok(Self {
            stream: open().map_err(Failure::io("connecting"))?,
            host: address.to_string(),
            bearer: bearer.map(|token| format!("Bearer {token}")),
            head: String::new(),
            buffer: vec![0; BUFFER],
            unread: 0..0,
        })
    }

    /// Sends a request with `body`, which may be shorter than the request says, and waits for nothing.
    pub(crate) fn send<'b>(
        &mut self,
        request: &Request<'_>,
        mut body: impl Iterator<Item = &'b [u8]>,
    ) -> io::Result<()> {
        let Request { method, path, .. } = request;
        let Self {
            head, host, bearer, ..
        } = self;
        head.clear();
        let _ = write!(head, "{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in request.fields {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let owned = request
            .fields
            .iter()
            .any(|(name, _)| *name == AUTHORIZATION);
        if let Some(bearer) = bearer.as_ref().filter(|_| !owned) {
            head.extend([AUTHORIZATION, ": ", bearer, "\r\n"]);
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", request.body_len);
        // Head and first bytes in one segment, as clients that buffer do; a head alone would cost the server a wakeup.
        let first = body.next().unwrap_or_default();
        let sent = self
            .stream
            .write_vectored(&[IoSlice::new(head.as_bytes()), IoSlice::new(first)])?;
        if let Some(rest) = head.as_bytes().get(sent..) {
            self.stream.write_all(rest)?;
        }
        self.stream
            .write_all(&first[sent.saturating_sub(head.len())..])?;
        body.try_for_each(|piece| self.stream.write_all(piece))
    }

    /// A request and its answer; the answer's body is read and dropped.
    pub(crate) fn exchange<'b>(
        &mut self,
        request: &Request<'_>,
        body: impl Iterator<Item = &'b [u8]>,
    ) -> Result<Head, Failure> {
        match self.send(request, body) {
            Ok(()) => self.answer(request.method, |_| Ok(())),
            // A server that refuses closes before the body is through: its answer says more than the broken pipe.
            Err(source) => self
                .answer(request.method, |_| Ok(()))
                .map_err(|_| Failure::io("sending")(source)),
        }
    }

    /// The answer to `method`; its body goes to `sink`, piece by piece.
    pub(crate) fn answer(
        &mut self,
        method: &str,
        mut sink: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Head, Failure> {
        let head = self.head()?;
        match head.framing(method)? {
            Framing::Length(length) => self.pass(length, &mut sink)?,
            Framing::Chunked => self.chunks(&mut sink)?,
        }
        Ok(head)
    }

    /// The next head but for those of 1xx; what follows it is left.
    pub(crate) fn head(&mut self) -> Result<Head, Failure> {
        loop {
            match Head::parse(&self.buffer[self.unread.clone()])? {
                Some((head, len)) => {
                    self.unread.start += len;
                    // 101 is the last that is said in HTTP.
                    if head.status >= 200 || head.status == 101 {
                        return Ok(head);
                    }
                }
                None => self.fill()?,
            }
        }
    }

    /// A request with a small body, and its answer with the body.
    pub(crate) fn fetch(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
    ) -> Result<(Head, Vec<u8>), Failure> {
        self.send(request, std::iter::once(body))
            .map_err(Failure::io("sending"))?;
        let mut all = Vec::new();
        let head = self.answer(request.method, |piece| {
            all.extend_from_slice(piece);
            Ok(())
        })?;
        Ok((head, all))
    }

    /// Hands the next `left` bytes to `sink`.
    fn pass(
        &mut self,
        mut left: u64,
        sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while left > 0 {
            if self.unread.is_empty() {
                self.fill()?;
            }
            let Range { start, end } = self.unread;
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(end - start);
            sink(&self.buffer[start..start + len])?;
            self.unread.start += len;
            left -= len as u64;
        }
        Ok(())
    }

    /// Hands a chunked body to `sink`; trailers are passed over.
    fn chunks(
        &mut self,
        sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size.trim(), 16)
                .map_err(|_| Failure::NotHttp("the size of a chunk"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.pass(size, sink)?;
            if !self.line()?.is_empty() {
                return Err(Failure::NotHttp("the end of a chunk"));
            }
        }
    }

    fn line(&mut self) -> Result<String, Failure> {
        loop {
            let unread = &self.buffer[self.unread.clone()];
            if let Some(end) = unread.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&unread[..end]).into_owned();
                self.unread.start += end + 2;
                return Ok(line);
            }
            if unread.len() >= BUFFER {
                return Err(Failure::NotHttp("a line without an end"));
            }
            self.fill()?;
        }
    }

    /// The socket, and what was read from it already: for what is no longer HTTP.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer[self.unread].to_vec())
    }

    /// More bytes of a body that was begun.
    pub(crate) fn more(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).map_err(Failure::io("sending"))
    }

    /// Reads more behind what is there; `Head::parse` sees to it that there is room.
    fn fill(&mut self) -> Result<(), Failure> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let got = self
            .stream
            .read(&mut self.buffer[self.unread.end..])
            .map_err(Failure::io("waiting for an answer"))?;
        self.unread.end += got;
        if got == 0 {
            return Err(Failure::NotHttp("the connection closed before its end"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let bytes = b"HTTP/1.1 201 Created\r\nLocation: http://127.0.0.1/a:b\r\nupload-OFFSET:12\r\n\r\nbody";
        for len in 0..bytes.len() - 4 {
            assert_eq!(Head::parse(&bytes[..len]).unwrap(), None);
        }
        let (head, len) = Head::parse(bytes).unwrap().unwrap();
        assert_eq!(&bytes[len..], b"body");
        assert_eq!(head.status, 201);
        assert_eq!(head.get("location"), Some("http://127.0.0.1/a:b"));
        assert_eq!(head.get("Location"), head.get("location"));
        assert_eq!(head.number("upload-offset"), Some(12));
        assert_eq!(head.number("content-length"), None);
    }

    #[test]
    fn a_bare_head_needs_no_reason_and_no_fields() {
        let (head, len) = Head::parse(b"HTTP/1.1 204\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.status, len), (204, 16));
        assert_eq!(head.framing("PATCH").unwrap(), Framing::Length(0));
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [
            &b"SSH-2.0\r\n\r\n"[..],
            b"HTTP/1.1 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
            b"HTTP/1.1 200 \xff\r\n\r\n",
            &vec![b'x'; BUFFER],
        ] {
            assert!(matches!(Head::parse(bytes), Err(Failure::NotHttp(_))));
        }
    }

    #[test]
    fn the_length_of_a_body_follows_method_and_status() {
        let head = |text: &str| Head::parse(text.as_bytes()).unwrap().unwrap().0;
        let sized = head("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
        assert_eq!(sized.framing("GET").unwrap(), Framing::Length(7));
        assert_eq!(sized.framing("HEAD").unwrap(), Framing::Length(0));
        let chunked = head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(chunked.framing("GET").unwrap(), Framing::Chunked);
        let until_closed = head("HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
        assert!(until_closed.framing("GET").is_err());
    }
}
