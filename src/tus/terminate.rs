//! DELETE: the end of an upload.

use http::{Response, StatusCode};

use super::Door;
use super::respond::{self, ResponseBody};
use crate::error::Reject;
use crate::upload::UploadId;

pub(super) async fn answer(door: &Door, id: &UploadId) -> Result<Response<ResponseBody>, Reject> {
    let said = door.engine.may_terminate(id).await?;
    door.engine.terminate(id).await?;
    let response = respond::empty(StatusCode::NO_CONTENT);
    Ok(respond::dressed(response, said.as_ref()))
}
