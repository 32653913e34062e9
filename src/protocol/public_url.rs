//! `--public-url`.

use std::fmt;
use std::str::FromStr;

use super::authority;
use super::base_path::is_path;

/// The URL under which clients reach this server, for those behind a proxy that does not say: `https://example.com`.
///
/// It may have a path, which takes the place of the root that the base path starts from: under
/// `https://example.com/up` and the base path `/files/` an upload is `https://example.com/up/files/<id>`. A last slash is
/// cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    scheme: &'static str,
    authority: Box<str>,
    /// Starts with a slash and ends without one, or is empty.
    path: Box<str>,
}

/// Text that is no [`PublicUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public URL: write http:// or https://, a host, and at most a path")]
pub struct NotAPublicUrl;

impl PublicUrl {
    /// Host, and port where there is one.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// What stands before the base path: empty, or with a slash before it and none after it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for PublicUrl {
    type Err = NotAPublicUrl;

    fn from_str(text: &str) -> Result<Self, NotAPublicUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(NotAPublicUrl)?;
        let scheme = ["http", "https"]
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known))
            .ok_or(NotAPublicUrl)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path_is_good = path.strip_prefix('/').is_none_or(is_path);
        if !path_is_good || !authority::is_valid(authority) {
            return Err(NotAPublicUrl);
        }
        Ok(Self {
            scheme,
            authority: authority.into(),
            path: path.into(),
        })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn public_urls() {
        for (text, shown) in [
            ("http://a.test", "http://a.test"),
            ("HTTPS://a.test:8443/", "https://a.test:8443"),
            ("https://[::1]:1/up/", "https://[::1]:1/up"),
            ("https://a.test/a/b", "https://a.test/a/b"),
        ] {
            assert_eq!(
                text.parse::<PublicUrl>().unwrap().to_string(),
                shown,
                "{text}"
            );
        }
        let huge = format!("http://{}", "a".repeat(60_000));
        for bad in [
            "",
            "a.test",
            "//a.test",
            "/files",
            "ftp://a.test",
            "http:a.test",
            "http://",
            "http:///x",
            "http://a.test?x",
            "http://a.test/?x",
            "http://a.test/#x",
            "http://a.test//",
            "http://a.test/../x",
            "http://u:p@a.test",
            "http://a b",
            "http://a.test/a b",
            "http://a.test/\r\nx",
            "http://\u{e9}.test",
            " http://a.test",
            &huge,
        ] {
            assert_eq!(bad.parse::<PublicUrl>(), Err(NotAPublicUrl), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_reads_back(text: String, near in "https?://[a-z:0-9/.%]{0,12}") {
            for text in [text, near] {
                if let Ok(url) = text.parse::<PublicUrl>() {
                    prop_assert_eq!(url.to_string().parse(), Ok(url));
                }
            }
        }
    }
}
