//! The one gate before every door of the users': who asks, and whether not too often. Decided on the head alone.
//!
//! HEAD is never refused for how often it comes, since clients take that for the end of an upload; nor is OPTIONS, with which
//! browsers ask before they send anything.
//!
//! What all may do together only those use up who are believed: whoever has no credential cannot shut the others out.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::request::Parts;

use super::auth::{Auth, Peer, Unauthorized, Who};
use super::rate::{Allowed, Beginning, Key, Pace, Rates, TooFast};
use crate::protocol::address;
use crate::upload::UserId;

/// The gate; every door has the same.
#[derive(Debug)]
pub struct Gate {
    auth: Arc<Auth>,
    rates: Rates,
    allowed: Allowed,
    behind_proxy: bool,
}

/// Whom the gate does not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The credential is missing, or not valid.
    Unauthorized(Unauthorized),
    /// Too soon, by so much.
    TooFast(Duration),
}

impl From<Unauthorized> for Refused {
    fn from(error: Unauthorized) -> Self {
        Self::Unauthorized(error)
    }
}

impl From<TooFast> for Refused {
    fn from(TooFast(wait): TooFast) -> Self {
        Self::TooFast(wait)
    }
}

/// Somebody who was let in.
#[derive(Debug)]
pub struct Visitor<'g> {
    gate: &'g Gate,
    key: Key,
    allowed: Allowed,
    /// Whether the request is still to be counted with those of all: its bearer has no more than a session's token, perhaps.
    uncounted: bool,
    /// Who.
    pub who: Who,
}

impl Gate {
    /// A gate that tells by `auth` who asks, and lets each in as often as is allowed, and all together.
    #[must_use]
    pub fn new(auth: Arc<Auth>, (allowed, total): (Allowed, Allowed), behind_proxy: bool) -> Self {
        Self {
            auth,
            rates: Rates::new(total),
            allowed,
            behind_proxy,
        }
    }

    /// How it tells who asks.
    #[must_use]
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// How fast everybody may be, of whom nothing else is said.
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        self.allowed
    }

    /// How fast all may be together.
    #[must_use]
    pub fn total(&self) -> Allowed {
        self.rates.total()
    }

    /// Uploads that were begun so long before this start, the oldest first, and by whom. Addresses are on no record: where
    /// nobody is asked, these count for all together alone.
    pub fn remember<'u>(&self, begun: impl IntoIterator<Item = (Option<&'u UserId>, Duration)>) {
        let asks = self.auth.asks();
        let begun = begun.into_iter();
        self.rates
            .remember(begun.map(|(user, ago)| (user.filter(|_| asks), ago)));
    }

    /// Who asks; of a request that is `free`, however often.
    ///
    /// # Errors
    /// Whom it refuses, and why.
    pub fn enter(&self, head: &Parts, free: bool) -> Result<Visitor<'_>, Refused> {
        self.let_in(head, free, self.auth.who(head))
    }

    /// The same, where it was found out already who asks. One who is not believed counts by address, so that tokens cannot be
    /// tried at any rate.
    ///
    /// # Errors
    /// Whom it refuses, and why.
    pub fn let_in(
        &self,
        head: &Parts,
        free: bool,
        who: Result<Who, Unauthorized>,
    ) -> Result<Visitor<'_>, Refused> {
        let user = who.as_ref().ok().and_then(Who::user);
        let key = match user {
            Some(user) => Key::User(user.id.clone()),
            None => self.address(head),
        };
        let allowed = user.map_or(self.allowed, |user| self.allowed.of_user(&user.limits));
        let free = free || head.method == Method::HEAD;
        if !free {
            self.rates.request(&key, allowed)?;
        }
        let mut visitor = Visitor {
            gate: self,
            key,
            allowed,
            uncounted: !free,
            who: who?,
        };
        // Whoever is nobody yet may still show a token, but does not count before that.
        if !self.auth.asks() || visitor.who.user().is_some() {
            visitor.is_welcome()?;
        }
        Ok(visitor)
    }

    fn address(&self, head: &Parts) -> Key {
        let told = self.behind_proxy.then(|| address::forwarded(&head.headers));
        match (told.flatten(), head.extensions.get().copied()) {
            (Some(address), _) => Key::of(address),
            (None, Some(Peer::Address(address))) => Key::of(address.ip()),
            (None, Some(Peer::Local) | None) => Key::Local,
        }
    }
}

impl Visitor<'_> {
    /// The credential is one, or the token the key of what is asked for: the request counts with those of all, once.
    ///
    /// # Errors
    /// `TooFast`.
    pub fn is_welcome(&mut self) -> Result<(), Refused> {
        if std::mem::take(&mut self.uncounted) {
            self.gate.rates.request_of_all()?;
        }
        Ok(())
    }

    /// An upload is to be begun.
    ///
    /// # Errors
    /// `TooFast`.
    pub fn begins(&self) -> Result<Beginning, Refused> {
        Ok(self.gate.rates.upload(&self.key, self.allowed)?)
    }

    /// How fast bodies may come in; `None`: as they like.
    #[must_use]
    pub fn pace(&self) -> Option<Pace> {
        self.gate.rates.pace(&self.key, self.allowed)
    }
}
