//! `GET /admin/users`: what each user has, and may have.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Door;
use crate::answer::{self, ResponseBody};
use crate::engine::Amount;
use crate::error::Reject;
use crate::protocol::expires::rfc3339_millis;
use crate::security::quota::Use;
use crate::security::user::{Limits, User};
use crate::upload::UserId;

/// What is known of one.
#[derive(Default)]
struct Line {
    reserved: Use,
    stored: Amount,
    limits: Limits,
}

pub(super) async fn answer(door: &Door) -> Result<Response<ResponseBody>, Reject> {
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
    let users = lines
        .iter()
        .map(|(user, line)| door.user(user.as_ref(), line));
    let value = json!({
        "users": users.collect::<Vec<Value>>(),
        "total": {
            "reserved_bytes": total.told(),
            "open_uploads": total.open,
            "quota": door.engine.bounds().total,
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
