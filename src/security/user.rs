//! A user, and what each may do.

use serde::{Deserialize, Serialize};

use crate::upload::UserId;

/// What one user may do, where it is said of this one; what is `None` is as the server's options have it for everybody. A size
/// or a number of 0 is none at all here, where in an option it is no limit; a rate of 0 is no limit here either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the largest upload.
    pub max_size: Option<u64>,
    /// Bytes of all uploads together.
    pub quota: Option<u64>,
    /// Media types that are taken: `image/png`, or `image/*` for all of them.
    pub types: Option<Vec<String>>,
    /// Uploads that are not complete, at a time.
    pub open_uploads: Option<u64>,
    /// Uploads begun within an hour.
    pub uploads_per_hour: Option<u64>,
    /// Requests a second.
    pub request_rate: Option<u64>,
    /// Bytes of bodies a second.
    pub byte_rate: Option<u64>,
}

impl Limits {
    /// How fast this one may be.
    #[must_use]
    pub fn rates(&self) -> OwnRates {
        OwnRates {
            requests: self.request_rate,
            bytes: self.byte_rate,
        }
    }
}

/// How fast one user may be, where it is said of this one: what a session remembers of its owner, who is not there when
/// its token is shown. 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnRates {
    /// Requests a second.
    pub requests: Option<u64>,
    /// Bytes of bodies a second.
    pub bytes: Option<u64>,
}

/// Whose something is that was opened by a key of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Who.
    pub id: UserId,
    /// What was said of this one when it was made.
    pub rates: OwnRates,
}

/// Somebody who showed a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// What this one may do.
    pub limits: Limits,
}
