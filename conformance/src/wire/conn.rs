//! A connection that is read byte by byte, each read bounded in time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::response::shown;
use super::{PATIENCE, Response, WireError};
use crate::target::Url;

/// What is taken of an answer's body; nothing that a case asks for is longer.
const LONGEST_BODY: usize = 64 * 1024 * 1024;

/// One connection to the server.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    /// Received and not yet used.
    unread: Vec<u8>,
}

impl Conn {
    /// # Errors
    /// `Connect`.
    pub fn open(url: &Url) -> Result<Self, WireError> {
        let mut last = io::Error::other("the name has no address");
        for address in url.addresses().map_err(WireError::Connect)? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    let ready = stream
                        .set_nodelay(true)
                        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
                    ready.map_err(WireError::Connect)?;
                    return Ok(Self {
                        stream,
                        unread: Vec::new(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(WireError::Connect(last))
    }

    /// # Errors
    /// `Send`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.stream.write_all(bytes).map_err(WireError::Send)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// `Send`.
    pub fn finish(&mut self) -> Result<(), WireError> {
        self.stream
            .shutdown(Shutdown::Write)
            .map_err(WireError::Send)
    }

    /// The answer to `method`, with the 1xx answers before it.
    ///
    /// # Errors
    /// `Late`, `Cut`, `Read`, `NotHttp`.
    pub fn answer(&mut self, method: &str, patience: Duration) -> Result<Response, WireError> {
        let late = Instant::now() + patience;
        let mut interim = Vec::new();
        loop {
            let mut response = self.head(late, patience)?;
            if (100..200).contains(&response.status) && response.status != 101 {
                interim.push(response.status);
                continue;
            }
            response.interim = interim;
            response.body = self.body(&response, method, late, patience)?;
            return Ok(response);
        }
    }

    /// The next head, be it of a 1xx or of a final answer.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn next_head(&mut self, patience: Duration) -> Result<Response, WireError> {
        self.head(Instant::now() + patience, patience)
    }

    /// Whether nothing arrives for so long; the end of the connection is something.
    pub fn silent_for(&mut self, time: Duration) -> bool {
        self.unread.is_empty()
            && matches!(
                self.fill(Instant::now() + time, time),
                Err(WireError::Late(_))
            )
    }

    /// Whether the server ends the connection within `patience`; what it sends before is dropped.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        let late = Instant::now() + patience;
        loop {
            self.unread.clear();
            match self.fill(late, patience) {
                Ok(()) => {}
                Err(WireError::Late(_)) => return false,
                Err(_) => return true,
            }
        }
    }

    fn head(&mut self, late: Instant, patience: Duration) -> Result<Response, WireError> {
        loop {
            if let Some((head, len)) = Response::parse_head(&self.unread)? {
                self.unread.drain(..len);
                return Ok(head);
            }
            self.fill(late, patience)?;
        }
    }

    /// RFC 9112, section 6.3.
    fn body(
        &mut self,
        head: &Response,
        method: &str,
        late: Instant,
        patience: Duration,
    ) -> Result<Vec<u8>, WireError> {
        if method == "HEAD" || matches!(head.status, 101 | 204 | 304) {
            return Ok(Vec::new());
        }
        if head.lists("Transfer-Encoding", "chunked") {
            return self.chunked(late, patience);
        }
        if head.has("Transfer-Encoding") {
            return Err(WireError::NotHttp("an unknown transfer coding".to_owned()));
        }
        if head.has("Content-Length") {
            let len = head
                .number("Content-Length")
                .and_then(|len| usize::try_from(len).ok())
                .filter(|len| *len <= LONGEST_BODY)
                .ok_or_else(|| {
                    let found = head.list("Content-Length");
                    WireError::NotHttp(format!("Content-Length {found:?}"))
                })?;
            return self.take(len, late, patience);
        }
        // Neither: it lasts as long as the connection.
        loop {
            match self.fill(late, patience) {
                Ok(()) if self.unread.len() <= LONGEST_BODY => {}
                Ok(()) => return Err(WireError::NotHttp("a body without an end".to_owned())),
                Err(WireError::Cut(_)) => return Ok(std::mem::take(&mut self.unread)),
                Err(error) => return Err(error),
            }
        }
    }

    fn chunked(&mut self, late: Instant, patience: Duration) -> Result<Vec<u8>, WireError> {
        let mut body = Vec::new();
        loop {
            let line = self.line(late, patience)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .ok()
                .filter(|size| *size <= LONGEST_BODY)
                .ok_or_else(|| WireError::NotHttp(format!("a chunk size {line:?}")))?;
            if size == 0 {
                while !self.line(late, patience)?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size, late, patience)?);
            if !self.line(late, patience)?.is_empty() {
                return Err(WireError::NotHttp("a chunk longer than it says".to_owned()));
            }
        }
    }

    fn line(&mut self, late: Instant, patience: Duration) -> Result<String, WireError> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.unread[..end]).into_owned();
                self.unread.drain(..end + 2);
                return Ok(line);
            }
            self.fill(late, patience)?;
        }
    }

    fn take(
        &mut self,
        len: usize,
        late: Instant,
        patience: Duration,
    ) -> Result<Vec<u8>, WireError> {
        while self.unread.len() < len {
            self.fill(late, patience)?;
        }
        let rest = self.unread.split_off(len);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    fn fill(&mut self, late: Instant, patience: Duration) -> Result<(), WireError> {
        let left = late.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(WireError::Late(patience));
        }
        self.stream
            .set_read_timeout(Some(left))
            .map_err(WireError::Read)?;
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(WireError::Cut(shown(&self.unread))),
            Ok(got) => {
                self.unread.extend(&buffer[..got]);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    Err(WireError::Late(patience))
                }
                io::ErrorKind::Interrupted => Ok(()),
                io::ErrorKind::ConnectionReset => Err(WireError::Cut(shown(&self.unread))),
                _ => Err(WireError::Read(error)),
            },
        }
    }
}
