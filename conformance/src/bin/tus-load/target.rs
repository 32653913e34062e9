//! Where the load goes: an address on this machine, whatever the command line or a server's `Location` says.

use std::net::{Ipv4Addr, SocketAddr};

use crate::failure::Failure;

/// The creation URL of a tus server on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Path of the creation URL, with its leading slash.
    pub(crate) path: String,
}

impl Target {
    /// # Errors
    /// `NotLoopback` unless `url` is `http://127.0.0.1[:port]/path`; names, even `localhost`, are never resolved.
    pub(crate) fn parse(url: &str) -> Result<Self, Failure> {
        let refuse = || Failure::NotLoopback(url.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(refuse)?;
        let (authority, path) = rest.split_at(rest.find('/').ok_or_else(refuse)?);
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        if host != "127.0.0.1" {
            return Err(refuse());
        }
        let port: u16 = port.parse().map_err(|_| refuse())?;
        Ok(Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            path: path.to_owned(),
        })
    }

    /// The path a `Location` names: an absolute URL on this very server, or a reference relative to the creation URL.
    ///
    /// # Errors
    /// `NotLoopback` when it names another server.
    pub(crate) fn resolve(&self, location: &str) -> Result<String, Failure> {
        if location.contains("://") {
            let other = Self::parse(location)?;
            return if other.address == self.address {
                Ok(other.path)
            } else {
                Err(Failure::NotLoopback(location.to_owned()))
            };
        }
        if location.starts_with("//") {
            return Err(Failure::NotLoopback(location.to_owned()));
        }
        if location.starts_with('/') {
            return Ok(location.to_owned());
        }
        let base = self.path.rfind('/').map_or("/", |end| &self.path[..=end]);
        Ok(format!("{base}{location}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_a_target() {
        let target = Target::parse("http://127.0.0.1:1080/files/").unwrap();
        assert_eq!(target.address.port(), 1080);
        assert_eq!(target.path, "/files/");
        for url in [
            "http://localhost:1080/files/",
            "http://10.0.0.1/files/",
            "http://127.0.0.1.example.org/files/",
            "http://user@127.0.0.1:1080/files/",
            "http://[::1]:1080/files/",
            "https://127.0.0.1/files/",
            "http://127.0.0.1:99999/files/",
            "http://127.0.0.1:1080",
        ] {
            assert!(
                matches!(Target::parse(url), Err(Failure::NotLoopback(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn a_location_stays_on_the_server() {
        let target = Target::parse("http://127.0.0.1:1080/files/").unwrap();
        for location in ["http://127.0.0.1:1080/files/a", "/files/a", "a"] {
            assert_eq!(target.resolve(location).unwrap(), "/files/a", "{location}");
        }
        for location in [
            "http://example.org/files/a",
            "//example.org/a",
            "http://127.0.0.1:1081/a",
        ] {
            assert!(target.resolve(location).is_err(), "{location}");
        }
    }
}
