//! GET `/uploads/{id}/status` and `/uploads/{id}/resume`: where a session stands, and what is left to be sent.

use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Door, json as form};
use crate::answer::{self, ResponseBody};
use crate::error::{Reject, ranges};

pub(super) async fn answer(
    door: &Door,
    head: &Parts,
    id: &str,
) -> Result<Response<ResponseBody>, Reject> {
    let owned = door.owned(head, id).await?;
    Ok(form::answer(door, head, &owned))
}

pub(super) async fn resume(
    door: &Door,
    head: &Parts,
    id: &str,
) -> Result<Response<ResponseBody>, Reject> {
    let owned = door.owned(head, id).await?;
    let resume = door.engine.resume(&owned).await?;
    let view = door.engine.look_at_session(&owned);
    let partial = resume.partial.iter().map(|(chunk, offset, id)| {
        json!({ "chunk": chunk, "offset": offset, "url": door.upload_path(head, id) })
    });
    let mut answer = form::status(door, head, &view);
    answer["missing_chunks"] = json!(resume.missing);
    answer["missing_ranges"] = json!(ranges(&resume.missing));
    answer["partial"] = Value::Array(partial.collect());
    Ok(answer::json(StatusCode::OK, &answer))
}
