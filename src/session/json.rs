//! The session as JSON.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Door;
use crate::answer::{self, ResponseBody};
use crate::engine::{OwnedSession, SessionView};
use crate::protocol::expires::rfc3339;

/// What every answer about a session has.
pub(super) fn session(door: &Door, head: &Parts, view: &SessionView) -> Value {
    let metadata: BTreeMap<String, String> = view.metadata().into_iter().collect();
    json!({
        "session_id": view.id.as_str(),
        "user_id": view.owner,
        "original_filename": view.filename,
        "size": view.size,
        "chunk_size": view.chunk_size,
        "total_chunks": view.total_chunks,
        "max_parallel_chunks": view.parallel,
        "uploaded_chunks": view.uploaded,
        "file_hash": view.file_hash,
        "verify": view.verify,
        "metadata": metadata,
        "priority": view.priority,
        "status": view.status,
        "created_at": rfc3339(view.created),
        "expires_at": view.expires.map(rfc3339),
        "upload_url": door.upload_path(head, &view.id),
        "progress_url": format!("/progress?upload={}", view.id),
    })
}

/// A session as it is now, as an answer.
pub(super) fn answer(door: &Door, head: &Parts, owned: &OwnedSession) -> Response<ResponseBody> {
    let view = door.engine.look_at_session(owned);
    answer::json(StatusCode::OK, &status(door, head, &view))
}

/// The same, and how far it is.
pub(super) fn status(door: &Door, head: &Parts, view: &SessionView) -> Value {
    let mut status = session(door, head, view);
    if let Some(failure) = view.failure {
        status["code"] = failure.code().into();
    }
    let uploaded = u32::try_from(view.uploaded.len()).unwrap_or(u32::MAX);
    let left = view.size.saturating_sub(view.bytes);
    status["bytes_transferred"] = view.bytes.into();
    status["chunks_remaining"] = view.total_chunks.saturating_sub(uploaded).into();
    status["rate"] = view.rate.into();
    status["estimated_time_seconds"] = view.rate.map(|rate| left.div_ceil(rate.max(1))).into();
    status
}
