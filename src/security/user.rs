//! A user, and what each may do.

use std::num::NonZeroU64;

use crate::upload::UserId;

/// What one user may do, where it is said of this one; what is `None` is as the server's options have it for everybody. A size
/// or a number of 0 is none at all here, where in an option it is no limit.
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
    pub request_rate: Option<NonZeroU64>,
    /// Bytes of bodies a second.
    pub byte_rate: Option<NonZeroU64>,
}

/// Somebody who showed a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// What this one may do.
    pub limits: Limits,
}
