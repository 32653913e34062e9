//! `Upload-Checksum`, in the head or in the trailer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest;

use super::{Flaw, Server};

/// `Tus-Checksum-Algorithm`.
pub(super) const NAMES: &str = "sha1,md5,sha256";

/// A sum that bytes must have.
#[derive(Debug)]
pub(super) struct Sum {
    name: &'static str,
    value: Vec<u8>,
}

/// Why there is no such sum: 400 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSum {
    Unknown,
    Malformed,
}

impl Sum {
    /// The sum in a field's value; `None` where a flaw does without.
    pub(super) fn parse(server: &Server, value: &[u8]) -> Result<Option<Self>, NoSum> {
        match Self::read(server, value) {
            Ok(_) if server.has(Flaw::ChecksumIgnored) => Ok(None),
            Err(NoSum::Unknown) if server.has(Flaw::ChecksumUnknownTaken) => Ok(None),
            Err(NoSum::Malformed) if server.has(Flaw::ChecksumMalformedTaken) => Ok(None),
            other => other.map(Some),
        }
    }

    fn read(server: &Server, value: &[u8]) -> Result<Self, NoSum> {
        let at = value
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or(NoSum::Malformed)?;
        let (name, sum) = (&value[..at], &value[at + 1..]);
        let name = NAMES
            .split(',')
            .find(|known| known.as_bytes() == name)
            .ok_or(NoSum::Unknown)?;
        if (name == "sha1" && server.has(Flaw::Sha1Unknown))
            || (name == "sha256" && server.has(Flaw::AnnouncedUnknown))
        {
            return Err(NoSum::Unknown);
        }
        let value = STANDARD.decode(sum).map_err(|_| NoSum::Malformed)?;
        if value.len() == digest(name, b"").len() {
            Ok(Self { name, value })
        } else {
            Err(NoSum::Malformed)
        }
    }

    /// Whether `bytes` have it.
    pub(super) fn fits(&self, server: &Server, bytes: &[u8]) -> bool {
        let skipped = self.name != "sha1" && server.has(Flaw::ChecksumOthersUnverified);
        skipped || digest(self.name, bytes) == self.value
    }
}

fn digest(name: &str, bytes: &[u8]) -> Vec<u8> {
    match name {
        "sha1" => sha1::Sha1::digest(bytes).to_vec(),
        "md5" => md5::Md5::digest(bytes).to_vec(),
        _ => sha2::Sha256::digest(bytes).to_vec(),
    }
}
