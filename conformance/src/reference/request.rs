//! The head of a request, read strictly (RFC 9112, 2 to 6).

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::body::Framing;
use super::{BASE, Flaw, Server, hostile};

/// A silent client is left after this.
const IDLE: Duration = Duration::from_mins(1);
/// How often a waiting thread looks whether it is still wanted.
pub(super) const GLANCE: Duration = Duration::from_millis(20);
const MAX_LINE: usize = 16 << 10;
const MAX_FIELDS: usize = 100;

/// The receiving side of a connection.
pub(super) struct Wire<'a> {
    pub(super) server: &'a Server,
    pub(super) stream: &'a TcpStream,
    buffer: Vec<u8>,
}

/// Why nothing more was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The client is gone, or silent for too long, or the server stops.
    Gone,
    /// Whoever asked for bytes is no longer to have them.
    Unwanted,
    /// What came is not HTTP as it should be; the status of the answer.
    Bad(u16),
}

const BAD: Trouble = Trouble::Bad(400);

impl<'a> Wire<'a> {
    pub(super) fn new(server: &'a Server, stream: &'a TcpStream) -> Self {
        Self {
            server,
            stream,
            buffer: Vec::new(),
        }
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.server.has(flaw)
    }

    /// Waits for more bytes, as long as `wanted` says so.
    fn fill(&mut self, wanted: &dyn Fn() -> bool) -> Result<(), Trouble> {
        let mut piece = vec![0; 16 << 10];
        let until = Instant::now() + IDLE;
        while Instant::now() < until {
            if !wanted() {
                return Err(Trouble::Unwanted);
            }
            match (&mut &*self.stream).read(&mut piece) {
                Ok(0) => return Err(Trouble::Gone),
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(Trouble::Gone),
                },
            }
        }
        Err(Trouble::Gone)
    }

    /// Up to `most` bytes, and at least one.
    pub(super) fn some(
        &mut self,
        most: u64,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, Trouble> {
        if self.buffer.is_empty() {
            self.fill(wanted)?;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let count = self.buffer.len().min(most);
        Ok(self.buffer.drain(..count).collect())
    }

    /// A line without its end.
    pub(super) fn line(&mut self, wanted: &dyn Fn() -> bool) -> Result<Vec<u8>, Trouble> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                } else {
                    return Err(BAD);
                }
                if self.has(Flaw::BareReturnDropped) {
                    line.retain(|byte| *byte != b'\r');
                }
                return if line.contains(&b'\r') {
                    Err(BAD)
                } else {
                    Ok(line)
                };
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Trouble::Bad(431));
            }
            match self.fill(wanted) {
                // Half a line, and no more to come.
                Err(Trouble::Gone) if !self.buffer.is_empty() => return Err(BAD),
                other => other?,
            }
        }
    }

    /// Whether bytes have come that nobody has read.
    pub(super) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    pub(super) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// The first byte of a request; not a letter, it is no request, and no line end need be waited for.
    fn first(&mut self) -> Result<u8, Trouble> {
        if self.buffer.is_empty() {
            self.fill(&|| true)?;
        }
        Ok(self.buffer[0])
    }
}

/// Names and values, in the order of the wire.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    pub(super) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        self.0
            .iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The value of a field that may stand once.
    pub(super) fn one<'s>(&'s self, name: &'s str) -> Result<Option<&'s [u8]>, Answer> {
        let mut all = self.all(name);
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(_) => Err(Answer::new(400)),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Whether a list in this field has `item`, in capitals or not.
    pub(super) fn lists(&self, name: &str, item: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|found| found.trim_ascii().eq_ignore_ascii_case(item.as_bytes()))
    }

    /// Reads field lines up to the empty one. Of trailers, `wanted` says whether they still are.
    pub(super) fn read(wire: &mut Wire<'_>, wanted: &dyn Fn() -> bool) -> Result<Self, Trouble> {
        let mut fields = Self::default();
        loop {
            let line = match wire.line(wanted) {
                Err(Trouble::Gone) if wire.has(Flaw::HeadCutTaken) => return Ok(fields),
                other => other?,
            };
            if line.is_empty() {
                return Ok(fields);
            }
            if fields.0.len() == MAX_FIELDS {
                return Err(Trouble::Bad(431));
            }
            fields.push(&line, wire.server)?;
        }
    }

    fn push(&mut self, mut line: &[u8], server: &Server) -> Result<(), Trouble> {
        if self.0.is_empty() && server.has(Flaw::LeadingBlankTaken) {
            line = line.trim_ascii_start();
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            let Some((_, last)) = self.0.last_mut() else {
                return Err(BAD);
            };
            if !server.has(Flaw::FoldTaken) {
                return Err(BAD);
            }
            last.extend_from_slice(line.trim_ascii());
            return Ok(());
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(BAD)?;
        let mut name = &line[..colon];
        if server.has(Flaw::BlankBeforeColonTaken) {
            name = name.trim_ascii_end();
        }
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(BAD);
        }
        let mut value = trim(&line[colon + 1..]);
        if server.has(Flaw::BlanksCount) {
            value = &line[colon + 1..];
            value = value.strip_prefix(b" ").unwrap_or(value);
        }
        let control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
        if value.iter().any(control) && !server.has(Flaw::NulTaken) {
            return Err(BAD);
        }
        let name = String::from_utf8_lossy(name).into_owned();
        if server.has(Flaw::ObsTextRefused) && !value.is_ascii() {
            return Err(BAD);
        }
        if server.has(Flaw::TwiceFirstTaken) && name.starts_with("Upload-") && self.has(&name) {
            return Ok(());
        }
        if server.has(Flaw::NamesMindCase) && !is_as_in_the_spec(&name) {
            return Ok(());
        }
        let value = value.iter().copied().filter(|byte| !control(byte));
        self.0.push((name, value.collect()));
        Ok(())
    }
}

/// Not a field of tus, or with the spec's capitals.
fn is_as_in_the_spec(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let of_tus = lower.starts_with("upload-") || lower.starts_with("tus-");
    !of_tus
        || name
            .split('-')
            .all(|word| word.starts_with(|first: char| first.is_ascii_uppercase()))
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Request {
    /// As it stands in the request line.
    pub(super) method: String,
    /// The target's path, without a query.
    pub(super) path: String,
    /// Host and port in the request line; they count before `Host` (RFC 9112, 3.2.2).
    authority: Option<String>,
    pub(super) is_http10: bool,
    pub(super) fields: Fields,
    pub(super) framing: Framing,
}

impl Request {
    /// The method that counts, after `X-HTTP-Method-Override`.
    pub(super) fn effective(&self, server: &Server) -> String {
        let other = self.fields.all("X-HTTP-Method-Override").next();
        match other {
            Some(other) if self.heeds_override(server, other) => {
                String::from_utf8_lossy(other).to_ascii_uppercase()
            }
            _ if server.has(Flaw::MethodAnyCase) => self.method.to_ascii_uppercase(),
            _ => self.method.clone(),
        }
    }

    fn heeds_override(&self, server: &Server, other: &[u8]) -> bool {
        !(server.has(Flaw::OverrideIgnored)
            || (server.has(Flaw::OverrideCreates) && BASE.starts_with(&self.path))
            || (server.has(Flaw::OverrideKnowsPatchOnly) && other != b"PATCH"))
    }

    /// Under which host and port the client knows this server.
    pub(super) fn host(&self) -> String {
        let host = self.fields.all("Host").next().unwrap_or(b"localhost");
        let named = self.authority.clone();
        named.unwrap_or_else(|| String::from_utf8_lossy(host).into_owned())
    }

    /// Whether it says how long its body is.
    pub(super) fn is_framed(&self) -> bool {
        self.fields.has("Content-Length") || self.fields.has("Transfer-Encoding")
    }

    /// Whether the client wants no more on this connection.
    pub(super) fn is_last(&self, server: &Server) -> bool {
        if self.is_http10 {
            let coded = self.fields.has("Transfer-Encoding") && server.has(Flaw::CodingIn10Kept);
            return !coded && !server.has(Flaw::ClosesNever10);
        }
        let closes = if server.has(Flaw::CloseMindsCase) {
            self.fields
                .all("Connection")
                .any(|value| value.ends_with(b"close"))
        } else if server.has(Flaw::EmptyMembersMinded) {
            let mut all = self.fields.all("Connection");
            all.any(|value| value.to_ascii_lowercase().starts_with(b"close"))
        } else {
            self.fields.lists("Connection", "close")
        };
        closes && !server.has(Flaw::ClosesNever)
    }
}

/// Reads the next head.
pub(super) fn read(wire: &mut Wire<'_>) -> Result<Request, Trouble> {
    let (method, target, is_http10) = loop {
        // An empty line or two before a request are left over from old clients' bodies (RFC 9112, 2.2).
        let line = match wire.first()? {
            b'\r' | b'\n' if !wire.has(Flaw::LeadingLineRefused) => {
                if wire.line(&|| true)?.is_empty() {
                    continue;
                }
                return Err(BAD);
            }
            first if is_token(first) => {
                // Too long a line is too long a target.
                wire.line(&|| true).map_err(|trouble| match trouble {
                    Trouble::Bad(431) => Trouble::Bad(414),
                    other => other,
                })?
            }
            _ => return Err(BAD),
        };
        match request_line(&line) {
            Err(_) if wire.has(Flaw::GarbageDropped) => return Err(Trouble::Gone),
            other => break other?,
        }
    };
    let fields = Fields::read(wire, &|| true)?;
    let authority = authority(&target, wire.server);
    let path = path(&target, &method, wire.server)?;
    check_host(&fields, is_http10, wire.server)?;
    let framing = Framing::of(&fields, is_http10, wire.server).map_err(Trouble::Bad)?;
    Ok(Request {
        method,
        path,
        authority,
        is_http10,
        fields,
        framing,
    })
}

fn request_line(line: &[u8]) -> Result<(String, String, bool), Trouble> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD);
    };
    let is_good = !method.is_empty()
        && method.iter().copied().all(is_token)
        && !target.is_empty()
        && target.iter().all(u8::is_ascii_graphic);
    let is_http10 = match version {
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Trouble::Bad(505));
        }
        _ => return Err(BAD),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if is_good {
        Ok((text(method), text(target), is_http10))
    } else {
        Err(BAD)
    }
}

/// The path of a target in any of its forms (RFC 9112, 3.2).
fn path(target: &str, method: &str, server: &Server) -> Result<String, Trouble> {
    let path = if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        target
    } else {
        let (scheme, rest) = target.split_once("://").ok_or(BAD)?;
        let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        if !known || server.has(Flaw::AbsoluteFormRefused) {
            return Err(BAD);
        }
        rest.find('/').map_or("/", |at| &rest[at..])
    };
    let path = path.split(['?', '#']).next().unwrap_or(path);
    if server.has(Flaw::NamesMindEncoding) {
        Ok(path.to_owned())
    } else {
        Ok(hostile::normal(path))
    }
}

/// What stands before the path of an absolute target.
fn authority(target: &str, server: &Server) -> Option<String> {
    let (_, rest) = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))?;
    let authority = rest.split('/').next().unwrap_or(rest);
    (!server.has(Flaw::AbsoluteFormHost)).then(|| authority.to_owned())
}

fn check_host(fields: &Fields, is_http10: bool, server: &Server) -> Result<(), Trouble> {
    let mut hosts = fields.all("Host");
    let is_good = |host: &[u8]| {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/@?#,\\".contains(byte);
        !host.iter().any(ends) || server.has(Flaw::HostInvalidTaken)
    };
    match (hosts.next(), hosts.next()) {
        (None, _) if is_http10 || server.has(Flaw::HostMissingTaken) => Ok(()),
        (Some(_), Some(_)) if server.has(Flaw::HostTwiceTaken) => Ok(()),
        (Some(host), None) if is_good(host) => Ok(()),
        _ => Err(BAD),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Without blanks and tabs at its ends.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// A number in decimal digits and nothing else.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What a careless server makes of a malformed number: what it begins with, after a sign, and else 0.
pub(super) fn careless(text: &[u8], radix: u32) -> u64 {
    let text = String::from_utf8_lossy(text);
    let text = text.trim().trim_start_matches(['+', '-']);
    let text = text.strip_prefix("0x").unwrap_or(text);
    let end = text.find(|letter: char| !letter.is_digit(radix));
    u64::from_str_radix(&text[..end.unwrap_or(text.len())], radix).unwrap_or(0)
}
