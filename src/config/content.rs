//! Options of content: what the bytes of uploads may be.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ConfigError, at};
use crate::hooks::{Event, Hooks};
use crate::security::names::NamePolicy;
use crate::security::scan::clamd::Clamd;
use crate::security::scan::{By, Infected, ScanOptions, ScannerAt, Unavailable};
use crate::security::sniff::Sniff;
use crate::security::types::MediaTypes;
use crate::units;

/// What Debian's clamd takes: its `StreamMaxLength` and `MaxFileSize`.
const CLAMDS_MOST: u64 = 25 << 20;

/// Whether first bytes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SniffMode {
    /// They are not.
    Off,
    /// What is recognized must be what was declared.
    On,
    /// As well, what is not recognized is refused.
    Strict,
}

/// What becomes of names of files that could deceive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FilenamePolicy {
    /// They stay as the client wrote them.
    Keep,
    /// They are made harmless; HEAD tells the mended name.
    Clean,
    /// Their upload is refused.
    Refuse,
}

/// What the bytes of uploads may be.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ContentOptions {
    /// Whether an upload's first bytes are held against the declared type and the file's name.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = SniffMode::Off)]
    pub sniff: SniffMode,
    /// With --sniff: the only types that are taken, by what the first bytes are; separated by commas, as in `image/*,application/pdf`.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub sniff_allow: MediaTypes,
    /// With --sniff: types that are not taken.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub sniff_deny: MediaTypes,
    /// What becomes of file names with two extensions (invoice.pdf.exe), control characters, separators, or characters that
    /// turn the direction of text.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = FilenamePolicy::Keep)]
    pub filename_policy: FilenamePolicy,
    /// What looks for malware in complete uploads: clamd:tcp://127.0.0.1:3310, clamd:unix:/run/clamav/clamd.ctl, or hook for
    /// those hooks that have the event `scan`.
    #[arg(long, value_name = "SCANNER")]
    pub scan: Option<ScannerAt>,
    /// How long the request that completes an upload waits for the verdict; later than that it is 204 or 201, and downloads are
    /// refused until there is one.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration)]
    pub scan_wait: Duration,
    /// The most bytes that are scanned; 25MiB for clamd, and no bound for hooks, unless it is said. No more than clamd's own
    /// limits, of streams, files and scans, since it calls clean what it did not look at.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub scan_max_bytes: Option<u64>,
    /// What becomes of malware.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = ScanInfected::Delete)]
    pub scan_infected: ScanInfected,
    /// Time after which malware that was set aside is removed for good; 0 for never.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = units::duration)]
    pub scan_quarantine_for: Duration,
    /// What becomes of uploads that the scanner cannot look at, because it is not there, or they are too large for it.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = ScanUnavailable::Hold)]
    pub scan_unavailable: ScanUnavailable,
}

/// What becomes of malware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScanInfected {
    /// Its bytes are removed.
    Delete,
    /// They are set aside, in `quarantine` below the upload directory.
    Quarantine,
}

/// What becomes of uploads that cannot be scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScanUnavailable {
    /// They wait, and are not given out.
    Hold,
    /// They pass.
    Pass,
    /// They are refused.
    Refuse,
}

impl ContentOptions {
    /// What first bytes are held against; `None` if they are not looked at.
    #[must_use]
    pub fn sniffing(&self) -> Option<Arc<Sniff>> {
        (self.sniff != SniffMode::Off).then(|| {
            Arc::new(Sniff {
                strict: self.sniff == SniffMode::Strict,
                allow: self.sniff_allow.clone(),
                deny: self.sniff_deny.clone(),
            })
        })
    }

    /// What scans, and what becomes of its verdicts; `None` if nothing is scanned.
    #[must_use]
    pub fn scanning(&self) -> Option<ScanOptions> {
        let (by, usual) = match self.scan.clone()? {
            ScannerAt::Clamd(address) => (By::Scanner(Arc::new(Clamd(address))), CLAMDS_MOST),
            ScannerAt::Hook => (By::Hook, u64::MAX),
        };
        Some(ScanOptions {
            by,
            wait: self.scan_wait,
            max_bytes: self.scan_max_bytes.unwrap_or(usual),
            infected: match self.scan_infected {
                ScanInfected::Delete => Infected::Delete,
                ScanInfected::Quarantine => Infected::Quarantine,
            },
            unavailable: match self.scan_unavailable {
                ScanUnavailable::Hold => Unavailable::Hold,
                ScanUnavailable::Pass => Unavailable::Pass,
                ScanUnavailable::Refuse => Unavailable::Refuse,
            },
        })
    }

    /// Whether these hooks are what `--scan` needs: nobody is to believe that there is a scan where there is none.
    ///
    /// # Errors
    /// Where they are not.
    pub fn fits(&self, hooks: &Hooks) -> Result<(), ConfigError> {
        let by_hooks = self.scan == Some(ScannerAt::Hook);
        match (by_hooks, hooks.wants(Event::Scan)) {
            (true, false) => Err(at("scan")(
                "no hook has the event scan; name it in --hooks-enabled-events, or before a URL",
            )),
            (false, true) => Err(at("hooks-enabled-events")(
                "hooks are asked for the event scan with --scan hook alone",
            )),
            _ => Ok(()),
        }
    }

    /// What becomes of names.
    #[must_use]
    pub fn names(&self) -> NamePolicy {
        match self.filename_policy {
            FilenamePolicy::Keep => NamePolicy::Keep,
            FilenamePolicy::Clean => NamePolicy::Clean,
            FilenamePolicy::Refuse => NamePolicy::Refuse,
        }
    }
}
