//! TLS: a certificate and its key, and the versions and ciphers that a mode allows.

use std::sync::Arc;

use clap::ValueEnum;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, CipherSuite, ServerConfig, SupportedProtocolVersion};

use super::kept::FromFiles;

/// Which versions and ciphers are spoken: the modes of tusd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsMode {
    /// TLS 1.3 alone.
    Tls13,
    /// TLS 1.2 and 1.3 with what Mozilla calls intermediate.
    Tls12,
    /// TLS 1.2 alone, with AES of 256 bits: 1.3 must have the one of 128 bits.
    Tls12Strong,
}

/// What is spoken with the clients.
#[derive(Debug)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// For the handshake.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.0.clone()
    }
}

impl FromFiles for Tls {
    type Options = TlsMode;

    fn parse(files: &[Vec<u8>], mode: &TlsMode) -> Result<Self, String> {
        let [certificate, key] = files else {
            return Err("a certificate and a key".into());
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|error| format!("the certificate: {error}"))?;
        if chain.is_empty() {
            return Err("no certificate in PEM".into());
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            PemError::NoItemsFound => "no key in PEM".to_owned(),
            other => format!("the key: {other}"),
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::new(provider(*mode)))
            .with_protocol_versions(versions(*mode))
            .map_err(|error| error.to_string())?;
        let mut config = builder
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
                other => other.to_string(),
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

fn versions(mode: TlsMode) -> &'static [&'static SupportedProtocolVersion] {
    static OLD: &[&SupportedProtocolVersion] = &[&TLS12];
    static NEW: &[&SupportedProtocolVersion] = &[&TLS13];
    match mode {
        TlsMode::Tls13 => NEW,
        TlsMode::Tls12 => rustls::ALL_VERSIONS,
        TlsMode::Tls12Strong => OLD,
    }
}

/// rustls's own choice of ciphers is Mozilla's intermediate one without finite fields.
fn provider(mode: TlsMode) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if mode == TlsMode::Tls12Strong {
        provider.cipher_suites.retain(|suite| {
            matches!(
                suite.suite(),
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                    | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
            )
        });
    }
    provider
}
