//! Host and port, as in `Host` and in URLs.

use std::net::Ipv6Addr;

/// Whether `text` is a host (a name of letters, digits and `-._~`, an IPv4 address, or an IPv6 one in brackets) with a port or
/// without. Narrower than RFC 3986, 3.2: no user, no percent-encoding, nothing that means anything in a URL or a header.
pub(crate) fn is_valid(text: &str) -> bool {
    parse(text).is_some()
}

/// Whether two authorities name one server: hosts compared without case, the ports 80 and 443 like none, since a proxy that
/// ends TLS may hide from us which one the client used. Either being invalid, they do not.
pub(crate) fn same(one: &str, other: &str) -> bool {
    match (parse(one), parse(other)) {
        (Some((host, port)), Some((other, other_port))) => {
            let explicit = |port: Option<u16>| port.filter(|port| !matches!(port, 80 | 443));
            host.eq_ignore_ascii_case(other) && explicit(port) == explicit(other_port)
        }
        _ => false,
    }
}

/// The host alone, without its port.
pub(crate) fn host(text: &str) -> Option<&str> {
    parse(text).map(|(host, _)| host)
}

fn parse(text: &str) -> Option<(&str, Option<u16>)> {
    let end = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(end);
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(port) if (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(port.parse().ok()?)
        }
        _ => return None,
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let valid = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => (1..=255).contains(&host.len()) && host.bytes().all(named),
    };
    valid.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn authorities() {
        for good in [
            "a",
            "a.test",
            "A.test:8080",
            "127.0.0.1:1",
            "[::1]",
            "[2001:db8::1]:443",
            "my_host",
            "a.test.",
            "x:65535",
        ] {
            assert!(is_valid(good), "{good}");
        }
        let huge = "a".repeat(256);
        for bad in [
            "",
            ":",
            ":80",
            "a:",
            "a:x",
            "a:65536",
            "a:123456",
            "a:+1",
            "a:8:0",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[]",
            "[x]",
            "[fe80::1%25eth0]",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "a\"",
            "<a>",
            "a,b",
            "a%20b",
            "a\\b",
            "\u{e9}",
            "a\r\nb",
            &huge,
        ] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn one_server_under_two_spellings() {
        for (one, other) in [
            ("a.test", "A.TEST"),
            ("a:80", "a"),
            ("a:443", "a"),
            ("a:443", "a:80"),
            ("a:1", "a:1"),
            ("[::1]:80", "[::1]"),
        ] {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("a", "b"),
            ("a:1", "a"),
            ("a:1", "a:2"),
            ("a:8080", "a:80"),
            ("", ""),
            ("a b", "a b"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_valid_is_harmless(text: String, near in "[a.:\\[\\]0-9]{0,12}") {
            for text in [text, near] {
                if is_valid(&text) {
                    prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@\\\"<>".contains(&b)));
                }
            }
        }
    }
}
