//! Where a server is, and where a reference in one of its answers leads.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// An `http` URL without user, query or fragment: what tus needs of RFC 3986.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// `host` or `host:port` as it was written; goes into `Host`.
    pub authority: String,
    /// With its leading slash, and with a query if there is one.
    pub path: String,
}

impl Url {
    /// # Errors
    /// What is wrong, if it is no `http://host[:port][/path]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .get(..7)
            .filter(|scheme| scheme.eq_ignore_ascii_case("http://"))
            .map(|_| &text[7..])
            .ok_or_else(|| format!("{text:?} does not begin with http://"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let url = Self {
            authority: authority.to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        };
        if authority.is_empty() || authority.contains(['@', '?', '#']) || path.contains('#') {
            return Err(format!("{text:?} is no URL of an HTTP server"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{text:?} has characters that a URL cannot have"));
        }
        url.host_and_port()?;
        Ok(url)
    }

    /// The URL that `reference` (RFC 3986, section 4.1) names, seen from this one.
    ///
    /// # Errors
    /// What is wrong, if it is none.
    pub fn resolve(&self, reference: &str) -> Result<Self, String> {
        if reference.contains("://") {
            return Self::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("http://{rest}"));
        }
        if reference.is_empty() {
            return Err("an empty reference".to_owned());
        }
        let base = match self.path.rfind('/') {
            Some(slash) if !reference.starts_with('/') => &self.path[..=slash],
            _ => "",
        };
        Self::parse(&format!("http://{}{base}{reference}", self.authority))
    }

    /// The addresses of the server.
    ///
    /// # Errors
    /// If its name cannot be resolved.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = self.host_and_port().map_err(io::Error::other)?;
        Ok((host, port).to_socket_addrs()?.collect())
    }

    fn host_and_port(&self) -> Result<(&str, u16), String> {
        let authority = self.authority.as_str();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (authority, "80"),
        };
        let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        Ok((host, port))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_as_rfc_3986_says() {
        let base = Url::parse("http://127.0.0.1:1080/files/").unwrap();
        for (reference, url) in [
            (
                "http://127.0.0.1:1080/files/a",
                "http://127.0.0.1:1080/files/a",
            ),
            ("HTTP://other/a", "http://other/a"),
            ("//other:81/a", "http://other:81/a"),
            ("/a/b", "http://127.0.0.1:1080/a/b"),
            ("a", "http://127.0.0.1:1080/files/a"),
        ] {
            assert_eq!(
                base.resolve(reference).unwrap().to_string(),
                url,
                "{reference}"
            );
        }
        let bare = Url::parse("http://[::1]:1080/files").unwrap();
        assert_eq!(
            bare.resolve("a").unwrap().to_string(),
            "http://[::1]:1080/a"
        );
        assert_eq!(bare.host_and_port(), Ok(("::1", 1080)));
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for text in [
            "",
            "https://a/",
            "http://",
            "http:///files",
            "http://u@a/",
            "http://a:b/",
            "http://a/b c",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
