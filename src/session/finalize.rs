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
    let response = form::answer(door, head, &owned);
    let said = door.engine.finished(owned.id()).await?;
    Ok(answer::dressed(response, said.as_ref()))
}

pub(super) async fn cancel(
    door: &Door,
    head: &Parts,
    id: &str,
) -> Result<Response<ResponseBody>, Reject> {
    let owned = door.owned(head, id).await?;
    let said = door.engine.may_terminate(owned.id()).await?;
    door.engine.terminate(owned.id()).await?;
    let response = answer::empty(StatusCode::NO_CONTENT);
    Ok(answer::dressed(response, said.as_ref()))
}
