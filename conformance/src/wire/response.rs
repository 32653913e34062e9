//! Answers, read strictly (RFC 9112).

use super::WireError;

/// Status line, fields and body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// 100 to 999.
    pub status: u16,
    /// What follows the status; may be empty.
    pub reason: String,
    /// In their order; names as they came.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Without framing.
    pub body: Vec<u8>,
    /// The statuses of the 1xx answers before it.
    pub interim: Vec<u16>,
}

impl Response {
    /// The value of the only field of that name, as text.
    ///
    /// `None` where there is none, where it is repeated, and where it is not ASCII.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [only] => std::str::from_utf8(only).ok(),
            _ => None,
        }
    }

    /// The values of every field of that name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = |(n, _): &&(String, Vec<u8>)| n.eq_ignore_ascii_case(name);
        let fields = self.fields.iter().filter(named);
        fields.map(|(_, value)| value.as_slice()).collect()
    }

    /// Whether there is a field of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The number in a field: decimal digits and nothing else.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self.get(name)?;
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
    }

    /// The members of a comma-separated list, over all fields of that name, without blanks around them.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name)
            .into_iter()
            .flat_map(|value| {
                String::from_utf8_lossy(value)
                    .split(',')
                    .map(|member| member.trim().to_owned())
                    .collect::<Vec<_>>()
            })
            .filter(|member| !member.is_empty())
            .collect()
    }

    /// Whether the list in a field has a member, without regard to case.
    #[must_use]
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.list(name)
            .iter()
            .any(|found| found.eq_ignore_ascii_case(member))
    }

    /// Status line and fields for people, as they came.
    #[must_use]
    pub fn head_text(&self) -> String {
        let mut text = format!("{} {} {}\n", self.version, self.status, self.reason);
        for (name, value) in &self.fields {
            text.extend([name, ": ", &String::from_utf8_lossy(value), "\n"]);
        }
        text
    }

    /// Takes a head off the front of `bytes`, with its length. `None` while it is incomplete.
    pub(super) fn parse_head(bytes: &[u8]) -> Result<Option<(Self, usize)>, WireError> {
        let bad = |what: &str| WireError::NotHttp(format!("{what} in {:?}", shown(bytes)));
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            return if bytes.len() > 64 * 1024 {
                Err(bad("a head without an end"))
            } else if !bytes.is_empty() && !b"HTTP/1.".starts_with(&bytes[..bytes.len().min(7)]) {
                Err(bad("no status line"))
            } else {
                Ok(None)
            };
        };
        let mut lines = bytes[..end].split(|byte| *byte == b'\n');
        let line = lines
            .next()
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .and_then(|line| std::str::from_utf8(line).ok())
            .ok_or_else(|| bad("no status line"))?;
        let mut parts = line.splitn(3, ' ');
        let version = parts
            .next()
            .filter(|version| matches!(*version, "HTTP/1.1" | "HTTP/1.0"))
            .ok_or_else(|| bad("no version"))?;
        let status = parts
            .next()
            .filter(|status| status.len() == 3)
            .and_then(|status| status.parse().ok())
            .filter(|status| (100..=999).contains(status))
            .ok_or_else(|| bad("no status"))?;
        let mut fields = Vec::new();
        for line in lines {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let colon = line.iter().position(|byte| *byte == b':');
            let colon = colon.ok_or_else(|| bad("a field without a colon"))?;
            let name = std::str::from_utf8(&line[..colon]).ok();
            let name = name.filter(|name| !name.is_empty() && name.bytes().all(is_token));
            let name = name.ok_or_else(|| bad("a field name that is no token"))?;
            fields.push((name.to_owned(), line[colon + 1..].trim_ascii().to_vec()));
        }
        let head = Self {
            version: version.to_owned(),
            status,
            reason: parts.next().unwrap_or_default().to_owned(),
            fields,
            body: Vec::new(),
            interim: Vec::new(),
        };
        Ok(Some((head, end + 4)))
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The first bytes of something, for people.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let bytes = b"HTTP/1.1 201 Created\r\nLocation: http://127.0.0.1/a:b\r\nupload-OFFSET:12 \r\n\r\nbody";
        for len in 0..bytes.len() - 4 {
            assert_eq!(Response::parse_head(&bytes[..len]).unwrap(), None);
        }
        let (head, len) = Response::parse_head(bytes).unwrap().unwrap();
        assert_eq!(&bytes[len..], b"body");
        assert_eq!((head.status, head.reason.as_str()), (201, "Created"));
        assert_eq!(head.get("location"), Some("http://127.0.0.1/a:b"));
        assert_eq!(head.number("Upload-Offset"), Some(12));
        assert_eq!(head.number("Content-Length"), None);
    }

    #[test]
    fn what_is_no_http_is_refused() {
        for bytes in [
            &b"SSH-2.0\r\n\r\n"[..],
            b"HTTP/1.1 20\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n a: c\r\n\r\n",
        ] {
            assert!(matches!(
                Response::parse_head(bytes),
                Err(WireError::NotHttp(_))
            ));
        }
    }

    #[test]
    fn a_number_is_digits_and_a_field_is_single() {
        let (head, _) =
            Response::parse_head(b"HTTP/1.1 200 OK\r\nA: +1\r\nB: 1\r\nB: 1\r\nC: x, ,Y\r\n\r\n")
                .unwrap()
                .unwrap();
        assert_eq!((head.number("a"), head.number("b")), (None, None));
        assert_eq!(head.list("c"), ["x", "Y"]);
        assert!(head.lists("c", "y") && !head.lists("c", "z"));
    }
}
