//! `--auth forward`: a proxy has asked who it is, and names the user in a header. Only the proxy is believed: whoever comes
//! from another address could name anybody.

use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderMap;
/// The name of the header with the user in it.
pub use http::HeaderName as UserHeader;
use ipnet::IpNet;

use super::{Peer, Unauthorized};
use crate::security::user::{Limits, User};
use crate::units;

/// Where proxies that are believed connect from: addresses, networks (`10.0.0.0/8`), or `unix` for the Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted {
    networks: Vec<IpNet>,
    local: bool,
}

impl Trusted {
    /// Whether nobody is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.local
    }

    fn has(&self, peer: Peer) -> bool {
        match peer {
            Peer::Local => self.local,
            Peer::Address(address) => {
                let address = address.ip().to_canonical(); // an IPv4 client of an IPv6 socket
                self.networks
                    .iter()
                    .any(|network| network.contains(&address))
            }
        }
    }
}

impl FromStr for Trusted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut trusted = Self::default();
        for item in units::list(text) {
            if item == "unix" {
                trusted.local = true;
                continue;
            }
            let network = item
                .parse::<IpNet>()
                .or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
            let network =
                network.map_err(|_| format!("{item:?} is no address, network or `unix`"))?;
            trusted.networks.push(network);
        }
        Ok(trusted)
    }
}

/// Who is believed, and in which header.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The header with the user's id.
    pub header: UserHeader,
    /// Who may set it.
    pub from: Trusted,
}

impl Forward {
    /// The user that a believed proxy names; `None`: none is named, or it is not a believed one that does.
    ///
    /// # Errors
    /// `Unauthorized`: a believed proxy names two, or one that cannot be.
    pub(super) fn user(
        &self,
        headers: &HeaderMap,
        peer: Option<Peer>,
    ) -> Result<Option<User>, Unauthorized> {
        if !peer.is_some_and(|peer| self.from.has(peer)) {
            return Ok(None);
        }
        let mut all = headers.get_all(&self.header).iter();
        let Some(value) = all.next() else {
            return Ok(None);
        };
        if all.next().is_some() {
            return Err(Unauthorized);
        }
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Unauthorized)?;
        let id = text.parse().map_err(|_| Unauthorized)?;
        let limits = Limits::default();
        Ok(Some(User { id, limits }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn asked(from: &str, peer: Peer, values: &[&str]) -> Result<Option<String>, ()> {
        let forward = Forward {
            header: UserHeader::from_static("x-forwarded-user"),
            from: from.parse().unwrap(),
        };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-user", value.parse().unwrap());
        }
        let user = forward.user(&headers, Some(peer)).map_err(drop)?;
        Ok(user.map(|user| user.id.to_string()))
    }

    #[test]
    fn the_proxy_alone_is_believed() {
        let at = |text: &str| Peer::Address(SocketAddr::new(text.parse().unwrap(), 9));
        let alice = Ok(Some("alice".to_owned()));
        let from = "127.0.0.1, 10.0.0.0/8,::1";
        for peer in ["127.0.0.1", "10.9.8.7", "::1", "::ffff:10.1.2.3"] {
            assert_eq!(asked(from, at(peer), &["alice"]), alice, "{peer}");
        }
        for peer in ["127.0.0.2", "11.0.0.1", "::2", "::ffff:11.1.2.3"] {
            assert_eq!(asked(from, at(peer), &["alice"]), Ok(None), "{peer}");
        }
        assert_eq!(asked(from, Peer::Local, &["alice"]), Ok(None));
        assert_eq!(asked("unix", Peer::Local, &["alice"]), alice);
        assert_eq!(asked("", at("127.0.0.1"), &["alice"]), Ok(None));
        assert_eq!(asked(from, at("127.0.0.1"), &[]), Ok(None));
        assert_eq!(asked(from, at("127.0.0.1"), &["alice", "bob"]), Err(()));
        assert_eq!(asked(from, at("127.0.0.1"), &[""]), Err(()));
    }

    #[test]
    fn addresses_are_read_strictly() {
        for bad in ["localhost", "10.0.0.0/33", "10.0.0", "1.2.3.4 5.6.7.8"] {
            assert!(bad.parse::<Trusted>().is_err(), "{bad}");
        }
        assert!(" , ".parse::<Trusted>().unwrap().is_empty());
    }
}
