//! POST `/uploads/{id}/finalize` and DELETE `/uploads/{id}`: the two ends that a client can give a session.

use http::request::Parts;
use http::{Response, StatusCode};

use super::{Door, json as form};
use crate::answer::{self, ResponseBody};
use crate::error::Reject;

pub(super) async fn answer(
    door: &Door,
    head: &Parts,
    id: &str,
) -> Result<Response<ResponseBody>, Reject> {
    let owned = door.owned(head, id).await?;
    door.engine.finalize(&owned).await?;
    let mut response = form::answer(door, head, &owned);
    if let Some(said) = door.engine.finished(owned.id()).await? {
        answer::dress(&mut response, &said, false);
    }
    Ok(response)
}

pub(super) async fn cancel(
    door: &Door,
    head: &Parts,
    id: &str,
) -> Result<Response<ResponseBody>, Reject> {
    let owned = door.owned(head, id).await?;
    let said = door.engine.may_terminate(owned.id()).await?;
    door.engine.terminate(owned.id()).await?;
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    if let Some(said) = said {
        answer::dress(&mut response, &said, false);
    }
    Ok(response)
}
