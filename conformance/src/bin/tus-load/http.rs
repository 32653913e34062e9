//! Just enough HTTP/1.1 on a blocking socket: no allocation a body byte, and every read and write bounded in time.

use std::fmt::Write as _;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use crate::failure::Failure;

/// No answer of a healthy server takes this long; tusd waits up to 20 s for a lock.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read at once, and so the longest head.
const BUFFER: usize = 64 * 1024;

/// Status line and fields of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Takes a head off the front of `bytes`; with it comes its length. `None` while it is incomplete.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Failure> {
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            return if bytes.len() >= BUFFER {
                Err(Failure::NotHttp("a head without an end"))
            } else {
                Ok(None)
            };
        };
        let text = std::str::from_utf8(&bytes[..end])
            .map_err(|_| Failure::NotHttp("bytes that are no text in a head"))?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|line| line.get(..3)?.parse().ok())
            .ok_or(Failure::NotHttp("the status line"))?;
        let fields = lines
            .map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<Option<_>>()
            .ok_or(Failure::NotHttp("a field without a colon"))?;
        Ok(Some((Self { status, fields }, end + 4)))
    }

    /// The first field of that name, which is given in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(n, _)| n == name)?;
        Some(value)
    }

    /// The number in the field `name`, if it is there and is one.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Length of the body that follows the answer to `method`.
    fn body_len(&self, method: &str) -> Result<u64, Failure> {
        if method == "HEAD" || matches!(self.status, 204 | 304) {
            return Ok(0);
        }
        if self.get("transfer-encoding").is_some() {
            return Err(Failure::NotHttp("a body without Content-Length"));
        }
        self.number("content-length")
            .ok_or(Failure::NotHttp("a body without Content-Length"))
    }
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
    buffer: Vec<u8>,
    /// Where in `buffer` lies what was received and not yet used.
    unread: Range<usize>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self, Failure> {
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
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in request.fields {
            head.extend([name, ": ", value, "\r\n"]);
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
        let head = loop {
            match Head::parse(&self.buffer[self.unread.clone()])? {
                Some((head, len)) => {
                    self.unread.start += len;
                    if head.status >= 200 {
                        break head;
                    }
                }
                None => self.fill()?,
            }
        };
        let mut left = head.body_len(method)?;
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
        Ok(head)
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
        assert_eq!(head.number("upload-offset"), Some(12));
        assert_eq!(head.number("content-length"), None);
    }

    #[test]
    fn a_bare_head_needs_no_reason_and_no_fields() {
        let (head, len) = Head::parse(b"HTTP/1.1 204\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.status, len), (204, 16));
        assert_eq!(head.body_len("PATCH").unwrap(), 0);
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
        assert_eq!(sized.body_len("GET").unwrap(), 7);
        assert_eq!(sized.body_len("HEAD").unwrap(), 0);
        let chunked = head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(chunked.body_len("GET").is_err());
    }
}
