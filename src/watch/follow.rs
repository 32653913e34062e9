//! What a client asks for, in a query or in a message, and what it is answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Settings;
use crate::clock::now;
use crate::engine::Engine;
use crate::error::Reject;
use crate::progress::{Mailbox, Told, event};
use crate::protocol::bearer;
use crate::security::admin::Visitor;
use crate::security::auth::{Auth, Unauthorized, Who};
use crate::security::user::User;
use crate::upload::{UploadId, UserId};

/// Instead of an id: every upload. No id can be that.
const ALL: &str = "*";

/// How often it is looked at whether what a client showed is still good: it ends, or is taken back.
const LOOK: Duration = Duration::from_secs(5);
/// So many of a user's tokens are looked at: one that is about to end, and those that were shown in its place.
const PROOFS: usize = 4;

/// When to look.
pub(super) fn looks() -> Interval {
    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// What stands in the head of a request.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// `upload=`, as often as it is there.
    pub(super) uploads: Vec<String>,
    /// `token=`, since a browser cannot set headers there; and `Authorization: Bearer`.
    pub(super) tokens: Vec<String>,
}

impl Asked {
    pub(super) fn of(head: &Parts) -> Result<Self, Reject> {
        let mut asked = Self::default();
        for pair in head.uri.query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let list = match name {
                "upload" => &mut asked.uploads,
                "token" => &mut asked.tokens,
                _ => continue,
            };
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| Reject::BadSubscription("the query is not UTF-8"))?;
            list.push(value.into_owned());
        }
        let bearer = bearer::token(&head.headers);
        asked.tokens.extend(bearer.map(str::to_owned));
        Ok(asked)
    }

    /// Whether every upload is asked for.
    pub(super) fn all(&self) -> bool {
        self.uploads.iter().any(|text| text == ALL)
    }
}

/// A message of a client.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Request {
    /// Ids to follow, `*` for all.
    subscribe: Vec<String>,
    /// The number of the last event that the client knows, by id.
    since: HashMap<String, u64>,
    /// Ids to follow no more.
    unsubscribe: Vec<String>,
    /// For those to follow.
    token: Option<String>,
}

/// One client, with what it follows.
pub(super) struct Follower {
    engine: Engine,
    mailbox: Mailbox,
    visitor: Visitor,
    auth: Arc<Auth>,
    /// Whether it comes with HEAD.
    head_only: bool,
    /// What hooks said before the first answer of what the request's query names; each is for one use. `None`: of all.
    said: HashMap<Option<UploadId>, Result<(), Reject>>,
    /// Whom a proxy names.
    named: Option<Arc<User>>,
    tokens: Vec<String>,
    most: usize,
    /// The users that it was, but for one whom a proxy names, and what showed that.
    proofs: HashMap<UserId, Vec<String>>,
    /// What a session's token alone opened, with the token.
    keys: HashMap<UploadId, String>,
}

impl Follower {
    /// # Errors
    /// `Unauthorized` for a proxy that names two users.
    pub(super) fn new(
        engine: &Engine,
        settings: &Settings,
        head: &Parts,
        tokens: Vec<String>,
    ) -> Result<Self, Reject> {
        let mut follower = Self {
            engine: engine.clone(),
            mailbox: engine.mailbox(),
            visitor: settings.guard.watcher(head),
            auth: settings.gate.auth().clone(),
            head_only: head.method == Method::HEAD,
            said: HashMap::new(),
            named: settings.gate.auth().named(head)?,
            tokens,
            most: settings.max_subscriptions,
            proofs: HashMap::new(),
            keys: HashMap::new(),
        };
        // Who shows its token in a message is nobody yet.
        let who = follower.who().unwrap_or_default();
        follower.is(&who);
        settings.gate.let_in(head, false, Ok(who))?;
        Ok(follower)
    }

    /// Who follows, by all that was shown up to now.
    pub(super) fn who(&self) -> Result<Who, Unauthorized> {
        self.auth.of(self.named.clone(), self.shown())
    }

    /// Asks hooks before the first answer, while that can still be a status: of each upload of the query that a credential
    /// shown with the request opens, and of the request alone where it names none.
    ///
    /// # Errors
    /// `Hook` if they refuse all that is asked for, `HookDown`.
    pub(super) async fn enter(&mut self, asked: &Asked) -> Result<(), Reject> {
        let Ok(who) = self.who() else { return Ok(()) };
        if asked.uploads.is_empty() && who.is_known() {
            return self.may_access(None).await;
        }
        let mut refused = 0;
        for text in &asked.uploads {
            let id: Option<UploadId> = match text.parse() {
                _ if text == ALL => None,
                Ok(id) if self.engine.opened(&id, &who).await.is_ok() => Some(id),
                _ => continue,
            };
            match self.may_access(id.as_ref()).await {
                Err(reject) if matches!(reject, Reject::HookDown { .. }) => return Err(reject),
                Err(reject) if refused + 1 == asked.uploads.len() => return Err(reject),
                said => {
                    refused += usize::from(said.is_err());
                    self.said.insert(id, said);
                }
            }
        }
        Ok(())
    }

    /// Asks hooks for access to an upload, or to all.
    ///
    /// # Errors
    /// As [`Engine::may_access`].
    async fn may_access(&mut self, id: Option<&UploadId>) -> Result<(), Reject> {
        match self.said.remove(&id.cloned()) {
            Some(said) => said,
            None => self.engine.may_access(self.head_only, id).await,
        }
    }

    /// Keeps in mind which user it is, and by what.
    fn is(&mut self, who: &Who) {
        let Some(user) = who.user().filter(|user| self.named.as_ref() != Some(user)) else {
            return;
        };
        let proofs = self.proofs.entry(user.id.clone()).or_default();
        for token in &self.tokens {
            if !proofs.contains(token) && is_of(&self.auth, token, &user.id) {
                proofs.push(token.clone());
            }
        }
        proofs.drain(..proofs.len().saturating_sub(PROOFS));
    }

    /// Whether what was shown is still good. What a session's token opened, and does not any more, is followed no more.
    pub(super) async fn may_go_on(&mut self) -> bool {
        let shows = |(user, proofs): (&UserId, &Vec<String>)| {
            proofs.iter().any(|token| is_of(&self.auth, token, user))
        };
        if !self.proofs.iter().all(shows) {
            return false;
        }
        let mut shut = Vec::new();
        for (id, token) in &self.keys {
            let opened = match self.auth.of(None, [token.as_str()]) {
                Ok(who) => self.engine.permit(id, &who).await,
                Err(unauthorized) => Err(unauthorized.into()),
            };
            // A storage error says nothing of the token.
            if matches!(opened, Err(Reject::NotFound | Reject::Unauthorized)) {
                shut.push(id.clone());
            }
        }
        for id in &shut {
            self.leave(id);
        }
        shut.is_empty() || self.mailbox.follows_any()
    }

    fn leave(&mut self, id: &UploadId) {
        self.mailbox.unsubscribe(id);
        self.keys.remove(id);
    }

    /// Resolves when the server stops.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let engine = self.engine.clone();
        async move { engine.stopping().await }
    }

    /// Waits for news. Dropped while it waits, it has read nothing.
    pub(super) async fn next(&mut self) -> Vec<Told> {
        self.mailbox.next().await
    }

    /// More news, if they are there.
    pub(super) fn try_next(&mut self) -> Option<Vec<Told>> {
        self.mailbox.try_next()
    }

    /// Does what a message asks for; answers with what of it was refused.
    pub(super) async fn obey(&mut self, message: &str) -> Vec<String> {
        // An array would do for a structure, too.
        let object = serde_json::from_str(message).map(Value::Object);
        let request: Request = match object.and_then(serde_json::from_value) {
            Ok(request) => request,
            Err(error) => {
                let code = Reject::BadSubscription("").wire().1;
                return vec![event::error(None, now(), code, &error.to_string())];
            }
        };
        let mut refused = Vec::new();
        for text in &request.unsubscribe {
            match text.parse() {
                _ if text == ALL => self.mailbox.unsubscribe_all(),
                Ok(id) => self.leave(&id),
                Err(_) => refused.push(refusal(text, &Reject::NotFound)),
            }
        }
        if let Some(token) = request.token
            && !self.tokens.contains(&token)
        {
            // As many as there can be uploads to use them for.
            if self.tokens.len() >= self.most {
                self.tokens.remove(0);
            }
            self.tokens.push(token);
        }
        if request.subscribe.is_empty() {
            return refused;
        }
        let who = self.who();
        if let Ok(who) = &who {
            self.is(who);
        }
        let mut shut: Option<Reject> = None;
        for id in &request.subscribe {
            if let Some(reject) = &shut {
                refused.push(refusal(id, reject));
                continue;
            }
            let since = request.since.get(id).copied();
            if let Err(reject) = self.follow(id, since, &who).await {
                refused.push(refusal(id, &reject));
                // A hook that is down is not waited for once for each id.
                shut = Some(reject).filter(|reject| matches!(reject, Reject::HookDown { .. }));
            }
        }
        refused
    }

    /// # Errors
    /// As of the admin API.
    pub(super) fn may_follow_all(&self) -> Result<(), Reject> {
        self.visitor.judge(self.shown()).check()
    }

    fn shown(&self) -> impl Iterator<Item = &str> + Send {
        self.tokens.iter().map(String::as_str)
    }

    /// Follows an upload. `who` is of now: a token may have ended since it was shown.
    ///
    /// # Errors
    /// Why not. One that is not there, one of somebody else, and what is no id at all are answered alike.
    pub(super) async fn follow(
        &mut self,
        text: &str,
        since: Option<u64>,
        who: &Result<Who, Unauthorized>,
    ) -> Result<(), Reject> {
        if text == ALL {
            self.may_follow_all()?;
            self.may_access(None).await?;
            self.engine.watch_all(&mut self.mailbox);
            return Ok(());
        }
        let id: UploadId = text.parse().map_err(|_| Reject::NotFound)?;
        if self.mailbox.len() >= self.most && !self.mailbox.follows(&id) {
            return Err(Reject::TooManySubscriptions { most: self.most });
        }
        let who = who.as_ref().map_err(|unauthorized| *unauthorized)?;
        let key = self.engine.opened(&id, who).await?.map(str::to_owned);
        self.may_access(Some(&id)).await?;
        self.engine.watch(&mut self.mailbox, &id, since).await?;
        match key {
            Some(key) => self.keys.insert(id, key),
            None => self.keys.remove(&id),
        };
        Ok(())
    }
}

/// Whether a token is this user's.
fn is_of(auth: &Auth, token: &str, user: &UserId) -> bool {
    let who = auth.of(None, [token]);
    who.is_ok_and(|who| who.user().is_some_and(|shown| shown.id == *user))
}

/// The message that says why an upload is not followed.
pub(super) fn refusal(text: &str, reject: &Reject) -> String {
    event::error(Some(text), now(), reject.wire().1, &reject.detail())
}
