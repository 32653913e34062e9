//! Readiness, one upload, storage, and what an operator may change.

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::list::described;
use super::metrics::memory;
use crate::answer::{self, ResponseBody};
use crate::engine::{Amount, Engine, Level, Space};
use crate::error::Reject;
use crate::meter::STATUSES;
use crate::protocol::expires::rfc3339_millis;
use crate::upload::UploadId;

/// Open to everybody, as `/healthz`: levels and reasons, no numbers.
pub(super) fn ready(engine: &Engine) -> Response<ResponseBody> {
    let level = engine.space().map(|space| space.level);
    let reasons: Vec<&str> = [
        (engine.is_stopping(), "stopping"),
        (engine.is_broken(), "state-failed"),
        (level == Some(Level::Red), "disk-red"),
    ]
    .into_iter()
    .filter_map(|(holds, reason)| holds.then_some(reason))
    .collect();
    let warnings: &[&str] = match level {
        Some(Level::Yellow) => &["disk-yellow"],
        _ => &[],
    };
    let ready = reasons.is_empty();
    let value = json!({
        "ready": ready,
        "disk": level.map(Level::name),
        "reasons": reasons,
        "warnings": warnings,
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    answer::json(status, &value)
}

pub(super) async fn upload(
    engine: &Engine,
    id: &UploadId,
) -> Result<Response<ResponseBody>, Reject> {
    let found = engine.inspect(id).await?;
    let label = engine.label(&found.summary).await?;
    let mut value = described(&found.summary, &label, crate::engine::now());
    let parts: Vec<&str> = found.parts.iter().map(UploadId::as_str).collect();
    let silent = found.silent.map(|silent| silent.as_secs_f64());
    value["metadata"] = found.metadata.into();
    value["parts"] = parts.into();
    value["silent_seconds"] = silent.into();
    value["synced"] = found.summary.record.synced.into();
    value["path"] = found.path.into();
    value["path_start"] = found.place.map(|(start, _)| start).into();
    value["path_length"] = found.place.map(|(_, length)| length).into();
    value["allocated_bytes"] = found.allocated.into();
    value["sha256"] = found.sha256.map(|sum| sum.to_string()).into();
    Ok(answer::json(StatusCode::OK, &value))
}

pub(super) async fn cancel(
    engine: &Engine,
    id: &UploadId,
) -> Result<Response<ResponseBody>, Reject> {
    engine.cancel(id).await?;
    tracing::info!(%id, "cancelled by an operator");
    let value = json!({ "id": id.as_str(), "status": "cancelled" });
    Ok(answer::json(StatusCode::OK, &value))
}

pub(super) async fn cleanup(engine: &Engine) -> Result<Response<ResponseBody>, Reject> {
    let swept = engine.cleanup().await?;
    let value = json!({
        "expired": swept.expired,
        "tombstones_removed": swept.tombstones,
        "orphans_removed": swept.orphans,
        "freed_bytes": swept.bytes,
    });
    Ok(answer::json(StatusCode::OK, &value))
}

pub(super) async fn storage(engine: &Engine) -> Result<Response<ResponseBody>, Reject> {
    let storage = engine.storage().await?;
    let by_status: Map<String, Value> = STATUSES
        .iter()
        .zip(&storage.by_status)
        .map(|(status, of)| ((*status).to_owned(), amount(of)))
        .collect();
    let by_user: Vec<Value> = storage
        .by_user
        .iter()
        .map(|(user, of)| {
            let mut value = amount(of);
            value["user_id"] = json!(user);
            value
        })
        .collect();
    let value = json!({
        "measured_at": rfc3339_millis(storage.at),
        "by_status": by_status,
        "by_user": by_user,
        "files": storage.files,
        "reclaimable": amount(&storage.reclaimable),
        "expiring_within_an_hour": amount(&storage.expiring_soon),
        "disk": engine.space().map(disk),
        "memory_bytes": memory(),
    });
    Ok(answer::json(StatusCode::OK, &value))
}

fn amount(of: &Amount) -> Value {
    json!({ "uploads": of.uploads, "bytes": of.bytes, "allocated_bytes": of.allocated })
}

fn disk(space: Space) -> Value {
    json!({
        "free_bytes": space.free,
        "size_bytes": space.total,
        "level": space.level.name(),
    })
}
