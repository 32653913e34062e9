//! Options of what users may do: how much, how fast, and which files.

use std::num::NonZeroU64;

use clap::Args;

use super::auth::AuthMode;
use super::{Config, ConfigError, at};
use crate::security::quota::Bounds;
use crate::security::rate::{Allowed, SLOWEST};
use crate::security::types::{Extensions, MediaTypes, Types};
use crate::units;

/// What users may do, of whom their credentials say nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct LimitOptions {
    /// Bytes that one user's uploads may have together, stored and reserved; 0 for no limit.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = units::size)]
    pub quota: u64,
    /// Bytes that all uploads may have together; 0 for no limit.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = units::size)]
    pub quota_total: u64,
    /// Uploads of one user that are not complete, at a time; with --auth none, of all. 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_open_uploads: u64,
    /// Uploads of all users that are not complete, at a time; 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_open_uploads_total: u64,
    /// Uploads that one user begins within an hour; with --auth none, one address. 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_uploads_per_hour: u64,
    /// Uploads that all begin within an hour; 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_uploads_per_hour_total: u64,
    /// Requests a second of one user; with --auth none, of one address. As many come at once; HEAD and OPTIONS are never
    /// refused. 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_request_rate: u64,
    /// Requests a second of all together, but for HEAD and OPTIONS, and those whose credential is not believed. 0 for no
    /// limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_request_rate_total: u64,
    /// Bytes a second that come in from one user; with --auth none, from one address. What is faster is read slower, and
    /// nothing fails. 0 for no limit.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = units::size)]
    pub max_byte_rate: u64,
    /// Bytes a second that come in from all together, in turns; 0 for no limit.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = units::size)]
    pub max_byte_rate_total: u64,
    /// Connections at a time from one address (of IPv6, one /64 network); more are closed. 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_connections_per_address: usize,
    /// Media types that are taken, as `image/*,video/mp4`; every file must declare one then. Empty for all.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub allow_types: MediaTypes,
    /// Media types that are not taken.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub deny_types: MediaTypes,
    /// Extensions of file names that are taken, as `png,jpg`; every file must be named then. Empty for all.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub allow_extensions: Extensions,
    /// Extensions of file names that are not taken.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub deny_extensions: Extensions,
}

/// 0 is for none.
fn some(limit: u64) -> Option<u64> {
    Some(limit).filter(|limit| *limit > 0)
}

impl LimitOptions {
    /// What bounds reservations.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            quota: some(self.quota),
            total: some(self.quota_total),
            open: some(self.max_open_uploads),
            open_total: some(self.max_open_uploads_total),
        }
    }

    /// How fast everybody may be.
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        Allowed {
            requests: NonZeroU64::new(self.max_request_rate),
            bytes: NonZeroU64::new(self.max_byte_rate),
            uploads: some(self.max_uploads_per_hour),
        }
    }

    /// How fast all may be together.
    #[must_use]
    pub fn total(&self) -> Allowed {
        Allowed {
            requests: NonZeroU64::new(self.max_request_rate_total),
            bytes: NonZeroU64::new(self.max_byte_rate_total),
            uploads: some(self.max_uploads_per_hour_total),
        }
    }

    /// Which files are taken.
    #[must_use]
    pub fn types(&self) -> Types {
        Types {
            allow: Some(self.allow_types.clone()).filter(|list| !list.is_empty()),
            deny: self.deny_types.clone(),
            allow_extensions: self.allow_extensions.clone(),
            deny_extensions: self.deny_extensions.clone(),
        }
    }

    pub(super) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        if self.quota > 0 && config.auth.auth == AuthMode::None {
            return Err(at("quota")(
                "without --auth there are no users; --quota-total bounds all uploads together",
            ));
        }
        for (option, rate) in [
            ("max-byte-rate", self.max_byte_rate),
            ("max-byte-rate-total", self.max_byte_rate_total),
        ] {
            if (1..SLOWEST.get()).contains(&rate) {
                return Err(at(option)("at least 1024 a second, or 0"));
            }
        }
        if self.max_connections_per_address > 0 && config.behind_proxy {
            return Err(at("max-connections-per-address")(
                "behind a proxy every connection comes from the proxy's address",
            ));
        }
        Ok(())
    }
}
