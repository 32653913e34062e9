//! What a client asks for, in a query or in a message, and what it is answered.

use std::collections::HashMap;
use std::sync::Arc;

use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use super::Settings;
use crate::clock::now;
use crate::engine::Engine;
use crate::error::Reject;
use crate::progress::{Mailbox, Told, event};
use crate::protocol::bearer;
use crate::security::admin::Visitor;
use crate::security::auth::{Auth, Unauthorized, Who};
use crate::security::user::User;
use crate::upload::UploadId;

/// Instead of an id: every upload. No id can be that.
const ALL: &str = "*";

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
    /// Whom a proxy names.
    named: Option<Arc<User>>,
    tokens: Vec<String>,
    most: usize,
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
        let follower = Self {
            engine: engine.clone(),
            mailbox: engine.mailbox(),
            visitor: settings.guard.watcher(head),
            auth: settings.gate.auth().clone(),
            named: settings.gate.auth().named(head)?,
            tokens,
            most: settings.max_subscriptions,
        };
        // Who shows its token in a message is nobody yet.
        let who = follower.who().unwrap_or_default();
        settings.gate.let_in(head, false, Ok(who))?;
        Ok(follower)
    }

    /// Who follows, by all that was shown up to now.
    pub(super) fn who(&self) -> Result<Who, Unauthorized> {
        self.auth.of(self.named.clone(), self.shown())
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
                Ok(id) => self.mailbox.unsubscribe(&id),
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
        for id in &request.subscribe {
            let since = request.since.get(id).copied();
            refused.extend(self.follow(id, since, &who).await);
        }
        refused
    }

    /// Follows an upload; the answer says why not. One that is not there, one of somebody else, and what is no id at all
    /// are answered alike. `who` is of now: a token may have ended since it was shown.
    pub(super) async fn follow(
        &mut self,
        text: &str,
        since: Option<u64>,
        who: &Result<Who, Unauthorized>,
    ) -> Option<String> {
        let reject = match self.try_follow(text, since, who).await {
            Ok(()) => return None,
            Err(reject) => reject,
        };
        Some(refusal(text, &reject))
    }

    /// # Errors
    /// As of the admin API.
    pub(super) fn may_follow_all(&self) -> Result<(), Reject> {
        self.visitor.judge(self.shown()).check()
    }

    fn shown(&self) -> impl Iterator<Item = &str> + Send {
        self.tokens.iter().map(String::as_str)
    }

    async fn try_follow(
        &mut self,
        text: &str,
        since: Option<u64>,
        who: &Result<Who, Unauthorized>,
    ) -> Result<(), Reject> {
        if text == ALL {
            self.may_follow_all()?;
            self.engine.watch_all(&mut self.mailbox);
            return Ok(());
        }
        let id: UploadId = text.parse().map_err(|_| Reject::NotFound)?;
        if self.mailbox.len() >= self.most && !self.mailbox.follows(&id) {
            return Err(Reject::TooManySubscriptions { most: self.most });
        }
        let who = who.as_ref().map_err(|unauthorized| *unauthorized)?;
        self.engine.permit(&id, who).await?;
        self.engine.watch(&mut self.mailbox, &id, since).await
    }
}

fn refusal(text: &str, reject: &Reject) -> String {
    event::error(Some(text), now(), reject.wire().1, &reject.detail())
}
