//! Scanners: what looks for malware in what was uploaded. The port, [`clamd`] behind it, and hooks in its place.
//!
//! A scanner is handed the bytes in pieces as they are read, and never the whole. That it cannot be reached, or did not answer as
//! it should, is no verdict: what then becomes of the upload is the operator's to say ([`Unavailable`]).

pub mod clamd;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::blob::{BlobError, Pieces};

/// What a scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Clean,
    /// Malware, by the scanner's name for it.
    Infected(String),
    /// More bytes than it takes.
    TooLarge,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The scanner cannot be reached, or failed.
    #[error("the scanner {0}")]
    Unavailable(String),
    /// The scanner is there, and has no verdict for these bytes.
    #[error("the scanner {0}")]
    Failed(String),
    /// The bytes could not be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// What looks for malware.
#[async_trait]
pub trait Scanner: fmt::Debug + Send + Sync + 'static {
    /// Looks through all of the bytes.
    ///
    /// # Errors
    /// `Unavailable` and `Failed`, and it may be asked again; `Blob` for what the bytes' own store says.
    async fn scan(&self, bytes: Pieces) -> Result<Verdict, ScanError>;
}

/// What becomes of malware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Infected {
    /// Its bytes are removed.
    Delete,
    /// They are set aside where no upload is served from.
    Quarantine,
}

/// What becomes of what cannot be scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// It waits, and is not given out, until a scanner has looked at it.
    Hold,
    /// It passes as if it were clean.
    Pass,
    /// It is refused, and its bytes are removed.
    Refuse,
}

/// What scans.
#[derive(Debug, Clone)]
pub enum By {
    /// A scanner, which is sent the bytes.
    Scanner(Arc<dyn Scanner>),
    /// The hooks of the event `scan`, which read them where they lie.
    Hook,
}

/// What scans, and what becomes of its verdicts.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// What scans.
    pub by: By,
    /// How long the request that completes an upload waits.
    pub wait: Duration,
    /// The most bytes that are scanned.
    pub max_bytes: u64,
    /// What becomes of malware.
    pub infected: Infected,
    /// What becomes of what cannot be scanned.
    pub unavailable: Unavailable,
}

/// Where a scanner is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScannerAt {
    /// `clamd:tcp://127.0.0.1:3310` or `clamd:unix:/run/clamav/clamd.ctl`.
    Clamd(clamd::Address),
    /// `hook`: wherever hooks are.
    Hook,
}

/// Text that names no scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write clamd:tcp://HOST:PORT, clamd:unix:/PATH or hook")]
pub struct NoScanner;

impl FromStr for ScannerAt {
    type Err = NoScanner;

    fn from_str(text: &str) -> Result<Self, NoScanner> {
        if text == "hook" {
            return Ok(Self::Hook);
        }
        let at = text.strip_prefix("clamd:").ok_or(NoScanner)?;
        if let Some(path) = at.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Self::Clamd(clamd::Address::Unix(path.into())))
            } else {
                Err(NoScanner)
            };
        }
        let at = at.strip_prefix("tcp://").ok_or(NoScanner)?;
        let (host, port) = at.rsplit_once(':').ok_or(NoScanner)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(NoScanner);
        }
        Ok(Self::Clamd(clamd::Address::Tcp(at.to_owned())))
    }
}

/// A scanner's name for what it found, fit for a line of the log.
#[must_use]
pub fn name(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_have_addresses() {
        let tcp = |text: &str| ScannerAt::Clamd(clamd::Address::Tcp(text.into()));
        let unix = |text: &str| ScannerAt::Clamd(clamd::Address::Unix(text.into()));
        for (text, wanted) in [
            ("clamd:tcp://127.0.0.1:3310", tcp("127.0.0.1:3310")),
            ("clamd:tcp://[::1]:3310", tcp("[::1]:3310")),
            ("clamd:tcp://scanner:3310", tcp("scanner:3310")),
            ("clamd:unix:/run/clamd.ctl", unix("/run/clamd.ctl")),
            ("clamd:unix:///run/clamd.ctl", unix("/run/clamd.ctl")),
            ("hook", ScannerAt::Hook),
        ] {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
        for bad in [
            "",
            "clamd",
            "clamd:",
            "tcp://a:1",
            "clamd:tcp://a",
            "clamd:tcp://:1",
            "clamd:tcp://a:x",
            "clamd:tcp://a:99999",
            "clamd:unix:clamd.ctl",
            "hook:http://a",
        ] {
            assert_eq!(bad.parse::<ScannerAt>(), Err(NoScanner), "{bad}");
        }
    }
}
