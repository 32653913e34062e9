//! `GET /admin/users`: a page of users, nobody first and then by name; what each has, and may have.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Door;
use super::query::Query;
use crate::answer::{self, ResponseBody};
use crate::engine::Amount;
use crate::error::Reject;
use crate::protocol::expires::rfc3339_millis;
use crate::security::quota::Use;
use crate::security::rate::Allowed;
use crate::security::user::{Limits, User};
use crate::upload::UserId;

/// What is known of one.
#[derive(Default)]
struct Line {
    reserved: Use,
    stored: Amount,
    limits: Limits,
}

/// What is asked for.
#[derive(Debug)]
struct Ask {
    /// Behind the last one of the page before.
    after: Bound<Option<UserId>>,
    limit: usize,
}

impl Ask {
    fn parse(text: &str) -> Result<Self, Reject> {
        let mut query = Query::parse(text)?;
        let limit = query.limit()?;
        let after = match query.take("cursor") {
            Some(cursor) => Bound::Excluded(place(&cursor)?),
            None => Bound::Unbounded,
        };
        query.end()?;
        Ok(Self { after, limit })
    }
}

/// A user's name with a mark before it, or the mark of nobody.
fn cursor(user: Option<&UserId>) -> String {
    URL_SAFE_NO_PAD.encode(user.map_or("-".into(), |user| format!("={user}")))
}

fn place(cursor: &str) -> Result<Option<UserId>, Reject> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        match text.strip_prefix('=') {
            Some(user) => Some(Some(user.parse().ok()?)),
            None => (text == "-").then_some(None),
        }
    };
    read().ok_or(Reject::Query("cursor", "not the next_cursor of this list"))
}

pub(super) async fn answer(door: &Door, query: &str) -> Result<Response<ResponseBody>, Reject> {
    let ask = Ask::parse(query)?;
    let storage = door.engine.storage().await?;
    let (uses, total) = door.engine.uses();
    let mut lines: BTreeMap<Option<UserId>, Line> = BTreeMap::new();
    for (user, stored) in &storage.by_user {
        lines.entry(user.clone()).or_default().stored = *stored;
    }
    for (user, reserved) in uses {
        lines.entry(user).or_default().reserved = reserved;
    }
    for user in door.gate.auth().known() {
        let User { id, limits } = Arc::unwrap_or_clone(user);
        lines.entry(Some(id)).or_default().limits = limits;
    }
    let mut rest = lines.range((ask.after.as_ref(), Bound::Unbounded));
    let page: Vec<_> = rest.by_ref().take(ask.limit).collect();
    let last = page.last().filter(|_| rest.next().is_some());
    let users = page
        .iter()
        .map(|(user, line)| door.user(user.as_ref(), line));
    let bounds = door.engine.bounds();
    let Allowed {
        requests,
        bytes,
        uploads,
    } = door.gate.total();
    let value = json!({
        "users": users.collect::<Vec<Value>>(),
        "matching": lines.len(),
        "next_cursor": last.map(|(user, _)| cursor(user.as_ref())),
        "total": {
            "reserved_bytes": total.told(),
            "open_uploads": total.open,
            "quota": bounds.total,
            "limits": {
                "open_uploads": bounds.open_total,
                "uploads_per_hour": uploads,
                "request_rate": requests,
                "byte_rate": bytes,
            },
        },
        "measured_at": rfc3339_millis(storage.at),
    });
    Ok(answer::json(StatusCode::OK, &value))
}

impl Door {
    fn user(&self, user: Option<&UserId>, line: &Line) -> Value {
        let (own, rates) = (&line.limits, self.gate.allowed());
        let bounds = self.engine.bounds().of_user(own);
        let rates = rates.of_user(own);
        let all = self.engine.max_size();
        let max_size = [own.max_size, all].into_iter().flatten().min();
        json!({
            "user_id": user,
            "reserved_bytes": line.reserved.told(),
            "open_uploads": line.reserved.open,
            "uploads": line.stored.uploads,
            "stored_bytes": line.stored.bytes,
            "allocated_bytes": line.stored.allocated,
            "limits": {
                "max_size": max_size,
                "quota": bounds.quota.filter(|_| user.is_some()),
                "open_uploads": bounds.open,
                "uploads_per_hour": rates.uploads,
                "request_rate": rates.requests,
                "byte_rate": rates.bytes,
                "types": own.types,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_name_users_and_nobody() {
        for user in [
            None,
            Some("-"),
            Some("="),
            Some("jürgen, a=b"),
            Some("nobody"),
        ] {
            let user = user.map(|user| user.parse::<UserId>().unwrap());
            assert_eq!(place(&cursor(user.as_ref())).unwrap(), user);
            let ask = Ask::parse(&format!("limit=1&cursor={}", cursor(user.as_ref())));
            assert_eq!(ask.unwrap().after, Bound::Excluded(user));
        }
        let long = URL_SAFE_NO_PAD.encode(format!("={}", "x".repeat(256)));
        let line = URL_SAFE_NO_PAD.encode("=a\n");
        for bad in ["", "%00", "LQ=", "fg", "PQ", &long, &line] {
            let refused = Ask::parse(&format!("cursor={bad}")).unwrap_err();
            assert_eq!(refused.wire(), (400, "bad-query"), "{bad}");
        }
        assert!(Ask::parse("limit=0").is_err() && Ask::parse("user=a").is_err());
    }
}
