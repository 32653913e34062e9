//! A user, and what each may do.

use crate::upload::UserId;

/// What one user may do, where it is said of this one; what is `None` is as the server's options have it for everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the largest upload.
    pub max_size: Option<u64>,
    /// Bytes of all uploads together.
    pub quota: Option<u64>,
    /// Media types that are taken: `image/png`, or `image/*` for all of them.
    pub types: Option<Vec<String>>,
}

/// Somebody who showed a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// What this one may do.
    pub limits: Limits,
}
