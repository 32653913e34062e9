//! Options of TLS, named as tusd's.

use std::path::PathBuf;

use clap::Args;

use super::{ConfigError, at, path};
use crate::security::kept::Kept;
use crate::security::tls::{Tls, TlsMode};

/// Whether connections are encrypted, and how.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TlsOptions {
    /// Certificate in PEM, with the intermediate ones after it: with it and --tls-key the server speaks TLS, and nothing
    /// else. Both are read again when they change, and on SIGHUP.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key in PEM.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub tls_key: Option<PathBuf>,
    /// Versions and ciphers.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = TlsMode::Tls12)]
    pub tls_mode: TlsMode,
}

impl TlsOptions {
    /// An empty path is none, and both are there or neither.
    pub(super) fn checked(mut self) -> Result<Self, ConfigError> {
        let some = |path: &PathBuf| !path.as_os_str().is_empty();
        self.tls_certificate = self.tls_certificate.filter(some);
        self.tls_key = self.tls_key.filter(some);
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => Err(at("tls-key")("needed by --tls-certificate")),
            (None, Some(_)) => Err(at("tls-certificate")("needed by --tls-key")),
            _ => Ok(self),
        }
    }

    /// Reads the files; `None`: connections are not encrypted.
    /// # Errors
    /// A file that cannot be read or used, or a key that is not the certificate's.
    pub fn open(&self) -> Result<Option<Kept<Tls>>, ConfigError> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let kept = Kept::read([certificate, key], self.tls_mode);
        kept.map(Some).map_err(at("tls-certificate, --tls-key"))
    }
}
