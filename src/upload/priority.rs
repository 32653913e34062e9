//! How urgent an upload is.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How urgent a client calls its upload: which of two jobs is handed on first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Below the others.
    Low,
    /// As the others.
    #[default]
    Normal,
    /// Above the others.
    High,
}

/// Text that is no [`Priority`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not high, normal or low")]
pub struct NotAPriority;

impl Priority {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

impl FromStr for Priority {
    type Err = NotAPriority;

    fn from_str(text: &str) -> Result<Self, NotAPriority> {
        let mut all = [Self::Low, Self::Normal, Self::High].into_iter();
        all.find(|one| one.name() == text).ok_or(NotAPriority)
    }
}
