//! Answers, and the one place where faults rewrite them.

use super::date;
use super::request::Request;
use super::{Fault, Flaw, Server};

/// An answer in the making. Errors have no body.
#[derive(Debug)]
pub(super) struct Answer {
    /// 0 is no answer at all: the client is gone.
    pub(super) status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// Whether the connection ends with it, whatever the client wants.
    pub(super) closes: bool,
}

impl Answer {
    pub(super) const fn new(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: Vec::new(),
            closes: false,
        }
    }

    /// Nothing is said to a client that has gone.
    pub(super) const fn none() -> Self {
        Self::new(0)
    }

    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.set(name, value);
        self
    }

    #[must_use]
    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    #[must_use]
    pub(super) fn containing(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.remove(name);
        self.fields.push((name.to_owned(), value.into()));
    }

    fn remove(&mut self, name: &str) {
        self.fields
            .retain(|(found, _)| !found.eq_ignore_ascii_case(name));
    }

    /// Takes a member out of a list.
    fn unlist(&mut self, name: &str, member: &str) {
        for (_, value) in self
            .fields
            .iter_mut()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        {
            let list = String::from_utf8_lossy(value);
            let left: Vec<&str> = list
                .split(',')
                .map(str::trim)
                .filter(|found| !found.eq_ignore_ascii_case(member))
                .collect();
            *value = left.join(", ").into_bytes();
        }
    }

    /// Its bytes. `request` is `None` where it could not be read.
    pub(super) fn render(
        mut self,
        server: &Server,
        request: Option<&Request>,
        closes: bool,
    ) -> Vec<u8> {
        let is_head = request.is_some_and(|request| request.method == "HEAD");
        let effective = request.map(|request| request.effective(server));
        let right = self.status;
        let concerns = |method: &str, status: u16| {
            (method == "*" || effective.as_deref() == Some(method))
                && (status == 0 || status == right)
        };
        if let Some(Fault::Status(method, from, to)) = server.fault
            && concerns(method, from)
        {
            self.status = to;
        }
        self.frame(server, is_head);
        self.set("Date", date::imf(date::now() / 1000));
        if closes {
            self.set("Connection", "close");
        }
        if server.has(Flaw::CodingFor10) && request.is_some_and(|request| request.is_http10) {
            self.set("Transfer-Encoding", "chunked");
        }
        match server.fault {
            Some(Fault::Without(method, status, name)) if concerns(method, status) => {
                self.remove(name);
            }
            Some(Fault::Field(method, status, name, value)) if concerns(method, status) => {
                self.set(name, value);
            }
            Some(Fault::Unlisted(method, name, member)) if concerns(method, 0) => {
                self.unlist(name, member);
            }
            _ => {}
        }
        self.write(server)
    }

    /// Sees to `Content-Length` and the body (RFC 9112, 6.3).
    fn frame(&mut self, server: &Server, is_head: bool) {
        if is_head {
            self.body.clear();
            if server.has(Flaw::BodyWithHead) {
                self.body = b"here\n".to_vec();
                self.set("Content-Length", "5");
            }
        } else if self.status == 304 {
            self.body.clear();
        } else if self.status == 204 {
            self.body.clear();
            if server.has(Flaw::BodyWith204) {
                self.body = b"here\n".to_vec();
            }
            if server.has(Flaw::BodyWith204) || server.has(Flaw::LengthWith204) {
                self.set("Content-Length", self.body.len().to_string());
            }
        } else {
            self.set("Content-Length", self.body.len().to_string());
        }
    }

    fn write(&self, server: &Server) -> Vec<u8> {
        let minor = u8::from(!server.has(Flaw::AnswersHttp10));
        let head = format!("HTTP/1.{minor} {} {}\r\n", self.status, reason(self.status));
        let mut bytes = head.into_bytes();
        for (name, value) in &self.fields {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        423 => "Locked",
        431 => "Request Header Fields Too Large",
        460 => "Checksum Mismatch",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
