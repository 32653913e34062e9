//! What a proxy in front says of the URL that the client used: `Forwarded`, `X-Forwarded-*`.

use http::HeaderMap;

use super::base_path::is_path;
use super::{authority, trim};

/// What the proxies' headers say, each part for itself; what is garbage is as if it were not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// `http` or `https`.
    pub(crate) scheme: Option<&'static str>,
    /// Host and port.
    pub(crate) authority: Option<String>,
    /// The path that the proxy cut off: starts with a slash, ends without one; empty for none.
    pub(crate) prefix: String,
}

impl Forwarded {
    /// Reads `Forwarded` (its first element), then, for what that leaves open, `X-Forwarded-Proto` and `X-Forwarded-Host`;
    /// and `X-Forwarded-Prefix`. The first of several values is the proxy next to the client.
    /// Source: RFC 7239, 4; the `X-` ones have no standard.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let element = first(headers, "Forwarded");
        let of_element = |name| element.and_then(|element| parameter(element, name));
        let proto = of_element("proto").as_deref().and_then(scheme);
        let host = of_element("host").filter(|host| authority::is_valid(host));
        let x_host = || first(headers, "X-Forwarded-Host").filter(|host| authority::is_valid(host));
        Self {
            scheme: proto.or_else(|| first(headers, "X-Forwarded-Proto").and_then(scheme)),
            authority: host.or_else(|| x_host().map(str::to_owned)),
            prefix: first(headers, "X-Forwarded-Prefix")
                .and_then(prefix)
                .unwrap_or_default(),
        }
    }
}

fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"]
        .into_iter()
        .find(|known| text.eq_ignore_ascii_case(known))
}

fn prefix(text: &str) -> Option<String> {
    let path = text.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    is_path(path).then(|| format!("/{path}"))
}

/// The first element of the list that a header is.
fn first<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = headers.get(name)?.as_bytes();
    let element = split(std::str::from_utf8(value).ok()?, b',').next()?;
    std::str::from_utf8(trim(element.as_bytes())).ok()
}

/// A parameter of a `Forwarded` element: `name=token` or `name="quoted"`, the name in any case.
fn parameter(element: &str, name: &str) -> Option<String> {
    split(element, b';').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        if !found.trim().eq_ignore_ascii_case(name) {
            return None;
        }
        let value = value.trim();
        match value.strip_prefix('"') {
            // Nothing that may stand in a host or a scheme needs the escape of a quoted string.
            Some(quoted) => quoted.strip_suffix('"').map(str::to_owned),
            None => Some(value.to_owned()),
        }
    })
}

/// `text` cut at each `separator` that does not stand between quotes.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        let cut = !quoted && c == char::from(separator);
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        cut
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head};
    use super::*;
    use proptest::prelude::*;

    type Headers<'a> = &'a [(&'a str, &'a str)];

    /// Scheme (empty for none), authority (likewise), prefix.
    fn read(headers: Headers) -> (String, String, String) {
        let found = Forwarded::read(&head(headers));
        (
            found.scheme.unwrap_or_default().into(),
            found.authority.unwrap_or_default(),
            found.prefix,
        )
    }

    #[test]
    fn what_proxies_say() {
        let (f, proto, host, prefix) = (
            "forwarded",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-prefix",
        );
        let table: [(Headers, [&str; 3]); 22] = [
            (&[], ["", "", ""]),
            (
                &[(f, "for=192.0.2.60;proto=http;by=203.0.113.43")],
                ["http", "", ""],
            ),
            (
                &[(f, "For=\"[2001:db8::1]:47\";Proto=HTTPS; host=a.test:8443")],
                ["https", "a.test:8443", ""],
            ),
            (&[(f, "host=\"a.test\", host=b.test")], ["", "a.test", ""]),
            (
                &[(f, "for=\"_a,b;host=x\";host=a.test")],
                ["", "a.test", ""],
            ),
            (
                &[(f, "for=\"a\\\",host=x\";host=a.test")],
                ["", "a.test", ""],
            ),
            (&[(f, "for=a"), (f, "host=b.test")], ["", "", ""]),
            (&[(f, "proto=gopher;host=\"a b\"")], ["", "", ""]),
            (&[(f, "host=\"a.test")], ["", "", ""]),
            (&[(f, "host=")], ["", "", ""]),
            (
                &[(f, "proto=https"), (host, "x.test"), (proto, "http")],
                ["https", "x.test", ""],
            ),
            (
                &[(f, "garbage"), (host, "x.test"), (proto, "http")],
                ["http", "x.test", ""],
            ),
            (
                &[(proto, "https"), (host, "x.test:8080"), (prefix, "/up")],
                ["https", "x.test:8080", "/up"],
            ),
            (
                &[
                    (proto, "HTTPS, http"),
                    (host, "x.test, y.test"),
                    (prefix, "/a/b/, /c"),
                ],
                ["https", "x.test", "/a/b"],
            ),
            (&[(host, "x.test"), (host, "y.test")], ["", "x.test", ""]),
            (
                &[(proto, "ws"), (host, "x/y"), (prefix, "up")],
                ["", "", ""],
            ),
            (&[(proto, ""), (host, ""), (prefix, "")], ["", "", ""]),
            (
                &[(proto, "\u{e9}"), (host, "\u{e9}"), (prefix, "/\u{e9}")],
                ["", "", ""],
            ),
            (&[(host, "user@x.test"), (prefix, "/")], ["", "", ""]),
            (&[(prefix, "//evil.test")], ["", "", ""]),
            (&[(prefix, "/../up")], ["", "", ""]),
            (&[(prefix, "/up?x")], ["", "", ""]),
        ];
        for (headers, [scheme, authority, prefix]) in table {
            let wanted = (scheme.to_owned(), authority.to_owned(), prefix.to_owned());
            assert_eq!(read(headers), wanted, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value in any_value(), text in "[a-z=\";,\\\\ ]{0,40}") {
            for name in ["forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix"] {
                let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.clone())]);
                let _ = Forwarded::read(&headers);
                let _ = Forwarded::read(&head(&[(name, &text)]));
            }
        }
    }
}
