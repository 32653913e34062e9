//! A client for what no client would send: it writes bytes, closes its side, and reads answers strictly to the end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The longest that a connection may last whose client has said everything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every header that the server sends. Another one came out of a request.
const HEADERS: &[&str] = &[
    "accept-ranges",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "cache-control",
    "connection",
    "content-disposition",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "etag",
    "last-modified",
    "location",
    "referrer-policy",
    "retry-after",
    "sec-websocket-accept",
    "sec-websocket-version",
    "transfer-encoding",
    "tus-checksum-algorithm",
    "tus-extension",
    "tus-max-size",
    "tus-resumable",
    "tus-version",
    "upload-concat",
    "upload-defer-length",
    "upload-expires",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "upgrade",
    "vary",
    "www-authenticate",
    "x-accel-buffering",
    "x-content-type-options",
    "x-request-id",
];

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Answer {
    /// A header's value; none comes twice.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| &value[..])
    }

    /// The path of `Location`, without what a proxy would have cut off.
    pub(crate) fn location(&self) -> Option<String> {
        let location = std::str::from_utf8(self.header("location")?).expect("a URL");
        let at = location.rfind("/files/").expect("the base path");
        Some(location[at..].to_owned())
    }

    /// Id and token of the session that began with this answer.
    pub(crate) fn session(&self) -> Option<(String, String)> {
        if self.status != 201 {
            return None;
        }
        let session: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let text = |name| Some(session.get(name)?.as_str()?.to_owned());
        Some((text("session_id")?, text("session_token")?))
    }

    /// How the request begins that ends the upload or the session that began with this answer.
    pub(crate) fn end(&self) -> Option<String> {
        let (path, header) = match (self.location(), self.session()) {
            (Some(path), _) => (path, "Tus-Resumable: 1.0.0".to_owned()),
            (None, Some((id, token))) => (
                format!("/uploads/{id}"),
                format!("Authorization: Bearer {token}"),
            ),
            (None, None) => return None,
        };
        Some(format!("DELETE {path} HTTP/1.1\r\n{header}\r\n"))
    }

    /// Whether what follows the head is no body that ends: events, which last as long as their client, or a WebSocket.
    fn is_stream(&self) -> bool {
        self.status == 101 || self.header("content-type") == Some(b"text/event-stream")
    }
}

/// Sends `bytes` on a connection of their own, and reads all that comes back until the server closes, or begins to tell
/// events.
pub(crate) fn talk(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    // The server may close while bytes are still on their way.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let begin = Instant::now();
    let mut read = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        assert!(begin.elapsed() < PATIENCE, "neither answered nor closed");
        match stream.read(&mut buffer) {
            Ok(0) => return read,
            Ok(n) => {
                read.extend_from_slice(&buffer[..n]);
                if tells_events(&read) {
                    return read;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return read,
            Err(error) => panic!("neither answered nor closed: {error}"),
        }
    }
}

/// Whether a stream of events has begun. A client that has closed its side may still read: the server does not end it.
fn tells_events(read: &[u8]) -> bool {
    let kind: &[u8] = b"\r\ncontent-type: text/event-stream\r\n";
    let at = read.windows(kind.len()).position(|line| line == kind);
    at.is_some_and(|at| read[at..].windows(4).any(|four| four == b"\r\n\r\n"))
}

/// The answers in what came back, interim ones too. Each must be well-formed: it panics on what is not. `bodiless`: there may
/// be answers to HEAD among them.
pub(crate) fn answers(mut rest: &[u8], bodiless: bool) -> Vec<Answer> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.expect("a whole head");
        let mut answer = head(&rest[..end]);
        rest = &rest[end + 4..];
        let (body, after) = body(&answer, rest, bodiless);
        rest = after;
        answer.body = body;
        problem(&answer, bodiless);
        found.push(answer);
    }
    found
}

fn head(head: &[u8]) -> Answer {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let clean = line
            .iter()
            .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
        assert!(clean, "a head of lines: {}", head.escape_ascii());
        line
    });
    let first = lines.next().expect("a line");
    let version = first
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| first.strip_prefix(b"HTTP/1.0 "));
    let status = version.and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    for line in lines {
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .expect("a header's colon");
        let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
        assert!(
            HEADERS.contains(&&*name),
            "a header of the server's: {}",
            line.escape_ascii()
        );
        let twice = headers.iter().any(|(other, _)| *other == name) && name != "vary";
        assert!(!twice, "{name} once");
        headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
    }
    Answer {
        status: status.expect("a status line"),
        headers,
        body: Vec::new(),
    }
}

/// The answer's body, and what follows it.
fn body<'r>(answer: &Answer, rest: &'r [u8], bodiless: bool) -> (Vec<u8>, &'r [u8]) {
    if answer.is_stream() {
        return (rest.to_vec(), &[]);
    }
    if answer.status < 200 || matches!(answer.status, 204 | 304) {
        return (Vec::new(), rest);
    }
    let coded = answer.header("transfer-encoding").is_some();
    assert!(!coded, "every body has its length: {answer:?}");
    let length = answer.header("content-length").map_or(0, |length| {
        let length = std::str::from_utf8(length).expect("digits");
        length.parse().expect("a length")
    });
    let next = rest.is_empty() || rest.starts_with(b"HTTP/1.");
    if bodiless && next {
        return (Vec::new(), rest);
    }
    assert!(rest.len() >= length, "the whole body of {answer:?}");
    let (body, rest) = rest.split_at(length);
    (body.to_vec(), rest)
}

/// A failure says the same in its body as in its head; none is the server's own.
fn problem(answer: &Answer, bodiless: bool) {
    let known = matches!(
        answer.status,
        100 | 101 | 200 | 201 | 204 | 206 | 304 | 400 | 401 | 403 | 404 | 405 | 409 | 410 | 412
            ..=416 | 422 | 423 | 426 | 429 | 431 | 460 | 501 | 503 | 507
    );
    assert!(known, "{answer:?}");
    let is_problem = answer.header("content-type") == Some(b"application/problem+json");
    if is_problem && !(bodiless && answer.body.is_empty()) {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(body["status"], answer.status);
        assert!(body["code"].is_string(), "{body}");
    }
}
