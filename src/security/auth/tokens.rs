//! `--auth token`: static bearer tokens from a TOML file, each with its user and what that one may do.
//!
//! ```toml
//! [[user]]
//! id = "alice"
//! token = "at least 16 visible characters"   # or token_sha256 = "<64 hexadecimal digits>", so that the file is no secret
//! max_size = "2GiB"                           # all optional from here on
//! quota = "10GiB"
//! types = ["image/*", "video/mp4"]
//! open_uploads = 5                            # at a time
//! uploads_per_hour = 100
//! request_rate = 50                           # a second
//! byte_rate = "10MiB"                         # a second
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::protocol::sha256::Sum;
use crate::security::rate::SLOWEST;
use crate::security::types::MediaTypes;
use crate::security::user::{Limits, OwnRates, User};
use crate::units;
use crate::upload::UserId;

/// The shortest token that is taken: what can be guessed is none.
const SHORTEST: usize = 16;

/// Users of a file.
#[derive(Debug, Default)]
pub struct Tokens {
    /// By the SHA-256 of their token: how long a look takes tells nothing of a token.
    users: HashMap<[u8; 32], Arc<User>>,
    /// How fast each may be; of one who has several tokens, as the first of them says.
    rates: HashMap<UserId, OwnRates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    user: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    token: Option<String>,
    token_sha256: Option<String>,
    max_size: Option<String>,
    quota: Option<String>,
    types: Option<Vec<String>>,
    open_uploads: Option<u64>,
    uploads_per_hour: Option<u64>,
    request_rate: Option<u64>,
    byte_rate: Option<String>,
}

impl Tokens {
    pub(super) fn users(&self) -> Vec<Arc<User>> {
        self.users.values().cloned().collect()
    }

    pub(super) fn rates(&self, user: &UserId) -> Option<OwnRates> {
        self.rates.get(user).copied()
    }

    pub(super) fn user(&self, token: &str) -> Option<Arc<User>> {
        self.users.get(&Sum::of(token.as_bytes()).0).cloned()
    }

    /// From the file's content.
    pub(super) fn of(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "not UTF-8")?;
        // The parser's own message may quote the line, and the token in it.
        let content: Content = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text[..span.start.min(text.len())].matches('\n').count() + 1
            });
            format!("line {line} is not as it should be: tables [[user]] with id, token or token_sha256, and perhaps what the README names beside them")
        })?;
        if content.user.is_empty() {
            return Err("there is no [[user]] in it".into());
        }
        let mut tokens = Self::default();
        for line in content.user {
            let id = line.id.clone();
            let (sum, user) = line.user().map_err(|why| format!("user {id:?}: {why}"))?;
            let rates = tokens.rates.entry(user.id.clone());
            rates.or_insert_with(|| user.limits.rates());
            if tokens.users.insert(sum.0, Arc::new(user)).is_some() {
                return Err(format!("user {id:?}: the token is another's as well"));
            }
        }
        Ok(tokens)
    }
}

impl Line {
    fn user(self) -> Result<(Sum, User), String> {
        let id: UserId = self.id.parse().map_err(|error| format!("{error}"))?;
        let sum = match (self.token, self.token_sha256) {
            (Some(token), None) => {
                let visible = token.bytes().all(|b| b.is_ascii_graphic());
                if token.len() < SHORTEST || !visible {
                    return Err("a token has at least 16 visible ASCII characters".into());
                }
                Sum::of(token.as_bytes())
            }
            (None, Some(sum)) => sum
                .parse()
                .map_err(|error| format!("token_sha256: {error}"))?,
            _ => return Err("either token or token_sha256".into()),
        };
        let size = |text: Option<String>| text.map(|text| units::size(&text)).transpose();
        let types = self.types.iter().flatten().map(String::as_str);
        MediaTypes::of(types).map_err(|error| format!("types: {error}"))?;
        let byte_rate = size(self.byte_rate)?;
        if byte_rate.is_some_and(|rate| (1..SLOWEST.get()).contains(&rate)) {
            return Err(format!("byte_rate: at least {SLOWEST}, or 0"));
        }
        let limits = Limits {
            max_size: size(self.max_size)?,
            quota: size(self.quota)?,
            types: self.types,
            open_uploads: self.open_uploads,
            uploads_per_hour: self.uploads_per_hour,
            request_rate: self.request_rate,
            byte_rate,
        };
        Ok((sum, User { id, limits }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file() {
        let sum = Sum::of(b"bobs-token-is-this-one");
        let text = format!(
            "[[user]]\nid = \"alice\"\ntoken = \"correct-horse-battery\"\nmax_size = \"2GiB\"\ntypes = [\"image/*\"]\n\
             [[user]]\nid = \"bob\"\ntoken_sha256 = \"{sum}\"\nquota = \"5K\"\n"
        );
        let tokens = Tokens::of(text.as_bytes()).unwrap();
        let alice = tokens.user("correct-horse-battery").unwrap();
        assert_eq!(alice.id.as_str(), "alice");
        assert_eq!(alice.limits.max_size, Some(2 << 30));
        assert_eq!(
            alice.limits.types.as_deref(),
            Some(&["image/*".to_owned()][..])
        );
        let bob = tokens.user("bobs-token-is-this-one").unwrap();
        assert_eq!((bob.id.as_str(), bob.limits.quota), ("bob", Some(5 << 10)));
        for other in [
            "",
            "correct-horse-batter",
            "correct-horse-battery ",
            &sum.to_string(),
        ] {
            assert_eq!(tokens.user(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_token() {
        for (text, why) in [
            ("[[user]]\nid = \"a\"\ntoken = \"tooshort\"", "at least 16"),
            ("[[user]]\nid = \"a\"", "either"),
            (
                "[[user]]\nid = \"\"\ntoken = \"sixteen-characters\"",
                "user id",
            ),
            ("[[user]]\ntoken = \"sixteen-characters\"", "line 1"),
            (
                "[[user]]\nid = \"a\"\ntoken = \"sixteen-characters\"\nquotta = 1",
                "line 4",
            ),
            (
                "\n[[user]]\nid = \"a\"\ntoken = sixteen-characters",
                "line 4",
            ),
            (
                "[[user]]\nid=\"a\"\ntoken=\"sixteen-characters\"\n[[user]]\nid=\"b\"\ntoken=\"sixteen-characters\"",
                "another's",
            ),
            (
                "[[user]]\nid=\"a\"\ntoken=\"sixteen-characters\"\nquota=\"many\"",
                "many",
            ),
            ("[[user]]\nid=\"a\"\ntoken_sha256=\"abc\"", "token_sha256"),
            (
                "[[user]]\nid=\"a\"\ntoken=\"sixteen-characters\"\ntypes=[\"images\"]",
                "images",
            ),
            (
                "[[user]]\nid=\"a\"\ntoken=\"sixteen-characters\"\nbyte_rate=\"1\"",
                "byte_rate",
            ),
            (
                "[[user]]\nid=\"a\"\ntoken=\"sixteen-characters\"\nrequest_rate=-1",
                "line 4",
            ),
        ] {
            let told = Tokens::of(text.as_bytes()).unwrap_err();
            assert!(told.contains(why), "{told}");
            assert!(
                !told.contains("sixteen-characters")
                    && !told.contains("123456")
                    && !told.contains("tooshort"),
                "{told}"
            );
        }
    }
}
