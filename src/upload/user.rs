//! The name of whoever created an upload.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name under which an upload's creator is known: what a token file, a JWT's `sub` or a proxy calls the user. 1 to 255
/// bytes of UTF-8 without control characters; compared byte for byte.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

/// Text that is no [`UserId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user id is 1 to 255 bytes without control characters")]
pub struct NotAUserId;

impl UserId {
    const LONGEST: usize = 255;

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = NotAUserId;

    fn from_str(text: &str) -> Result<Self, NotAUserId> {
        let fits = (1..=Self::LONGEST).contains(&text.len());
        if !fits || text.chars().any(char::is_control) {
            return Err(NotAUserId);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for UserId {
    type Error = NotAUserId;

    fn try_from(text: String) -> Result<Self, NotAUserId> {
        text.parse()
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = "x".repeat(255);
        for good in ["a", "auth0|5f7c", "jürgen@example.org", "a b", &longest] {
            assert_eq!(good.parse::<UserId>().unwrap().as_str(), good);
        }
        let longer = "x".repeat(256);
        for bad in ["", "a\nb", "\u{7f}", "a\u{85}", &longer] {
            assert_eq!(bad.parse::<UserId>(), Err(NotAUserId), "{bad:?}");
        }
    }
}
