//! The one gate before every door of the users': who asks, and whether not too often. Decided on the head alone.
//!
//! HEAD is never refused for how often it comes, since clients take that for the end of an upload; nor is OPTIONS, with which
//! browsers ask before they send anything.
//!
//! What all may do together only those use up who are believed: whoever has no credential cannot shut the others out.
//!
//! Whoever has no more than a session's token counts as the session's owner, once it is known whose that is.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::request::Parts;

use super::auth::{Auth, Peer, Unauthorized, Who};
use super::rate::{Allowed, Beginning, Key, Pace, Rates, TooFast};
use super::user::{Owner, User};
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
    /// Whether the request may come however often.
    free: bool,
    /// Whether it is still to be counted: its bearer has no more than a session's token, perhaps, and counts as whose that is.
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
        match self.auth.who(head) {
            Ok(who) if !who.is_known() => Ok(Visitor {
                gate: self,
                key: self.address(head),
                allowed: self.allowed,
                free: free || head.method == Method::HEAD,
                uncounted: true,
                who,
            }),
            who => self.let_in(head, free, who),
        }
    }

    /// The same, where it was found out already who asks. One who is not believed, or is nobody yet, counts by address, so
    /// that tokens cannot be tried at any rate.
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
        let who = who?;
        if !free && (!self.auth.asks() || who.user().is_some()) {
            self.rates.request_of_all()?;
        }
        Ok(Visitor {
            gate: self,
            key,
            allowed,
            free,
            uncounted: false,
            who,
        })
    }

    /// How fast an owner may be who is not there: as the credentials of now say, or else as was said when it was made.
    fn allowed_to(&self, owner: &Owner) -> Allowed {
        let now = self.auth.rates(&owner.id);
        self.allowed.at(now.unwrap_or(owner.rates))
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
    /// What was asked for was looked for, with whose it is. Where a token of a session has opened it, the request counts as its
    /// owner's, as it would with the owner's own credential; where none has, by its address.
    ///
    /// # Errors
    /// Why it was not opened; `TooFast`.
    pub fn has_opened<T, E: From<Refused>>(
        &mut self,
        found: Result<T, E>,
        owner: impl FnOnce(&T) -> Option<Owner>,
    ) -> Result<T, E> {
        if let (true, Ok(opened)) = (self.uncounted, &found) {
            if let Some(owner) = owner(opened) {
                self.allowed = self.gate.allowed_to(&owner);
                self.key = Key::User(owner.id);
            }
            self.counts()?;
            if !self.free {
                self.gate.rates.request_of_all().map_err(Refused::from)?;
            }
        }
        self.counts()?;
        found
    }

    /// As whom something is asked for that no token of a session opens; `None`: nobody is asked.
    ///
    /// # Errors
    /// As [`Who::creator`]; `TooFast`.
    pub fn creator(&mut self) -> Result<Option<Arc<User>>, Refused> {
        self.counts()?;
        Ok(self.who.creator()?)
    }

    /// Counts by the key, once.
    fn counts(&mut self) -> Result<(), Refused> {
        if std::mem::take(&mut self.uncounted) && !self.free {
            self.gate.rates.request(&self.key, self.allowed)?;
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
