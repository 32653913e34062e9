//! The address of a client, as the unit by which clients are counted.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;

use super::trim;

/// The address that stands for a subscriber: of IPv6 the network of 64 bits, which is the least that anybody is given; an IPv4
/// address that is written as IPv6 is that.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            const NETWORK: u128 = u128::MAX << 64;
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & NETWORK))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Where a request comes from, as the proxy next to this server says: the last address of `X-Forwarded-For`. What stands before
/// it may be the client's own invention. Where that header is missing, `for` of the last element of `Forwarded`.
#[must_use]
pub fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    if let Some(last) = last(headers, "x-forwarded-for") {
        return address(last);
    }
    let element = last(headers, "forwarded")?;
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(value.trim().trim_matches('"'))
}

/// The last element of the list that a header is, over all of its lines.
fn last<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let line = headers.get_all(name).iter().next_back()?;
    let element = line.as_bytes().rsplit(|b| *b == b',').next()?;
    std::str::from_utf8(trim(element)).ok()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.split(']').next());
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|of| of.ip());
    bare.unwrap_or(text).parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::super::testing::head;
    use super::*;

    #[test]
    fn a_subscriber_has_a_network() {
        for (address, of) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            let (address, of): (IpAddr, IpAddr) = (address.parse().unwrap(), of.parse().unwrap());
            assert_eq!(subscriber(address), of);
        }
    }

    #[test]
    fn the_last_proxy_is_believed() {
        let (x, f) = ("x-forwarded-for", "forwarded");
        let of = |headers: &[(&str, &str)]| forwarded(&head(headers)).map(|ip| ip.to_string());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(x, "6.6.6.6, 192.0.2.1")]), some("192.0.2.1"));
        assert_eq!(
            of(&[(x, "6.6.6.6"), (x, "192.0.2.1:99")]),
            some("192.0.2.1")
        );
        assert_eq!(of(&[(x, "[2001:db8::1]:4")]), some("2001:db8::1"));
        assert_eq!(of(&[(x, "2001:db8::1")]), some("2001:db8::1"));
        assert_eq!(
            of(&[(f, "for=6.6.6.6, proto=https;For=\"[2001:db8::1]:4\"")]),
            some("2001:db8::1")
        );
        assert_eq!(
            of(&[(f, "for=192.0.2.1"), (x, "192.0.2.2")]),
            some("192.0.2.2")
        );
        for garbage in ["", "unknown", "_hidden", "6.6.6.6,", "[", "[x]"] {
            assert_eq!(of(&[(x, garbage)]), None, "{garbage}");
        }
    }
}
