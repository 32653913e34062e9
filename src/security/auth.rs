//! Who asks: decided on the head alone, by one of four ways, the same at every door.
//!
//! | `--auth` | a user is |
//! |---|---|
//! | `none` | nobody: everybody may do everything, and only a session has a key of its own |
//! | `token` | whoever bears a token of a file |
//! | `jwt` | the `sub` of a signed token |
//! | `forward` | whom a proxy names, that is believed by its address |
//!
//! A bearer token that is no user's may still be the key of one session: that is found out where the session is known.

mod forward;
mod jwt;
mod tokens;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;

pub use self::forward::{Forward, Trusted, UserHeader};
pub use self::jwt::{Expect, Jwt};
pub use self::tokens::Tokens;
pub use super::kept::Kept;
use super::kept::{FileError, FromFiles, Reload};
use super::user::{OwnRates, User};
use crate::protocol::bearer;
use crate::upload::UserId;

/// No credential, two of them, or one that is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the credential is missing or not valid")]
pub struct Unauthorized;

/// Where a request's connection came from; in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP connection from this address.
    Address(SocketAddr),
    /// The Unix socket.
    Local,
}

/// Who asks.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// Whether users are told apart here at all.
    asked: bool,
    user: Option<Arc<User>>,
    /// Bearer tokens that are no user's, and may be a session's.
    tokens: Vec<Arc<str>>,
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.tokens.len();
        write!(f, "Who({:?}, {tokens} tokens)", self.user)
    }
}

impl Who {
    /// Anybody, where nobody is asked; with the tokens of sessions.
    #[must_use]
    pub fn anybody<'t>(tokens: impl IntoIterator<Item = &'t str>) -> Self {
        Self {
            tokens: tokens.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The user, where it is one.
    #[must_use]
    pub fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    /// The tokens that may be a session's.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(AsRef::as_ref)
    }

    /// As whom something is created; `None`: nobody is asked.
    ///
    /// # Errors
    /// For a bearer of nothing but a session's token, which creates nothing.
    pub fn creator(&self) -> Result<Option<Arc<User>>, Unauthorized> {
        if !self.is_known() {
            return Err(Unauthorized);
        }
        Ok(self.user.clone())
    }

    /// Whether it is a user, or nobody is asked.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.asked || self.user.is_some()
    }

    /// Whether what belongs to `owner` is this one's; where nobody is asked, everything is everybody's.
    #[must_use]
    pub fn owns(&self, owner: Option<&UserId>) -> bool {
        let is = |user: &Arc<User>| owner == Some(&user.id);
        !self.asked || self.user.as_ref().is_some_and(is)
    }
}

/// A way to tell who asks.
#[derive(Debug)]
pub enum Auth {
    /// Nobody is asked.
    None,
    /// Tokens of a file.
    Token(Kept<Tokens>),
    /// Signed tokens.
    Jwt(Kept<Jwt>),
    /// A proxy says.
    Forward(Forward),
}

impl Auth {
    /// Whether anybody is asked.
    #[must_use]
    pub fn asks(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether a browser shows the credential by itself, whatever page asks: a proxy knows its users by cookies, mostly.
    #[must_use]
    pub fn is_ambient(&self) -> bool {
        matches!(self, Self::Forward(_))
    }

    /// Who asks, by the head.
    ///
    /// # Errors
    /// No credential, two of them, or one that is not believed and cannot be a session's token either.
    pub fn who(&self, head: &Parts) -> Result<Who, Unauthorized> {
        self.of(self.named(head)?, bearer::token(&head.headers))
    }

    /// The user that a proxy names.
    ///
    /// # Errors
    /// It names two, or one that cannot be.
    pub fn named(&self, head: &Parts) -> Result<Option<Arc<User>>, Unauthorized> {
        let Self::Forward(forward) = self else {
            return Ok(None);
        };
        let peer = head.extensions.get().copied();
        Ok(forward.user(&head.headers, peer)?.map(Arc::new))
    }

    /// Who shows these tokens, besides being named by a proxy.
    ///
    /// # Errors
    /// As [`Auth::who`].
    pub fn of<'t>(
        &self,
        named: Option<Arc<User>>,
        tokens: impl IntoIterator<Item = &'t str>,
    ) -> Result<Who, Unauthorized> {
        if !self.asks() {
            return Ok(Who::anybody(tokens));
        }
        let mut who = Who {
            asked: true,
            user: named,
            tokens: Vec::new(),
        };
        for token in tokens {
            let user = match self {
                Self::Token(tokens) => tokens.get().user(token),
                // One that is over is no user's: another token beside it may still be.
                Self::Jwt(jwt) if Jwt::is_one(token) => jwt.get().user(token).ok(),
                // Whoever comes past a proxy may hold a session's token, and nothing else.
                Self::Jwt(_) | Self::Forward(_) | Self::None => None,
            };
            match user {
                Some(user) if who.user.as_ref().is_some_and(|first| first.id != user.id) => {
                    return Err(Unauthorized);
                }
                Some(user) => who.user = Some(user),
                None => who.tokens.push(token.into()),
            }
        }
        if who.user.is_none() && who.tokens.is_empty() {
            return Err(Unauthorized);
        }
        Ok(who)
    }

    /// What is said now of how fast a user may be, who need not be there. Of signed tokens only who bears one tells it.
    #[must_use]
    pub fn rates(&self, user: &UserId) -> Option<OwnRates> {
        match self {
            Self::Token(tokens) => tokens.get().rates(user),
            Self::None | Self::Jwt(_) | Self::Forward(_) => None,
        }
    }

    /// Users of whom it knows: those of a file, or who came lately with a signed token.
    #[must_use]
    pub fn known(&self) -> Vec<Arc<User>> {
        match self {
            Self::None | Self::Forward(_) => Vec::new(),
            Self::Token(tokens) => tokens.get().users(),
            Self::Jwt(jwt) => jwt.get().users(),
        }
    }
}

impl Reload for Auth {
    fn reload(&self, asked: bool) -> Result<bool, FileError> {
        match self {
            Self::None | Self::Forward(_) => Ok(false),
            Self::Token(tokens) => tokens.reload(asked),
            Self::Jwt(jwt) => jwt.reload(asked),
        }
    }
}

impl FromFiles for Tokens {
    type Options = ();

    fn parse(files: &[Vec<u8>], (): &()) -> Result<Self, String> {
        Self::of(&files.concat())
    }
}

impl FromFiles for Jwt {
    type Options = Expect;

    fn parse(files: &[Vec<u8>], expect: &Expect) -> Result<Self, String> {
        Self::of(&files.concat(), expect)
    }
}
