//! Refusals of what is too much, or too fast.

use super::Reject;
use crate::security::gate::Refused;
use crate::security::quota::Excess;

/// What stands against more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excessive {
    /// What is used and what is allowed, in bytes, where it may be told: what all users have together is not told to one.
    pub told: Option<(u64, u64)>,
    /// The committed offset, where some of the bytes were stored.
    pub offset: Option<u64>,
}

impl Excessive {
    pub(super) fn words(&self) -> String {
        let why = match self.told {
            Some((used, allowed)) => format!("{used} of {allowed} bytes are used or reserved"),
            None => "the server has no room for more".to_owned(),
        };
        match self.offset {
            Some(_) => {
                format!("{why}; what fitted is kept, go on at Upload-Offset once there is room")
            }
            None => format!(
                "{why}; finished and unfinished uploads count, and those that are deleted do not"
            ),
        }
    }
}

impl Reject {
    /// An excess, told to a user or, where there are none, to anybody.
    #[must_use]
    pub fn excess(excess: Excess, to_user: bool, offset: Option<u64>) -> Self {
        let told = match excess {
            Excess::OpenTotal { .. } if to_user => return Self::TooManyOpenInAll,
            Excess::Open { most } | Excess::OpenTotal { most } => {
                return Self::TooManyOpen { most };
            }
            Excess::Quota { used, allowed } => Some((used, allowed)),
            Excess::Total { used, allowed } => (!to_user).then_some((used, allowed)),
        };
        Self::QuotaExceeded(Excessive { told, offset })
    }
}

impl From<Refused> for Reject {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthorized(error) => error.into(),
            Refused::TooFast(wait) => Self::RateLimited {
                seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
            },
        }
    }
}
