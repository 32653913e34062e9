//! DELETE: the end of an upload.

use http::{Response, StatusCode};

use super::Door;
use super::respond::{self, ResponseBody};
use crate::error::Reject;
use crate::upload::UploadId;

pub(super) async fn answer(door: &Door, id: &UploadId) -> Result<Response<ResponseBody>, Reject> {
    door.engine.terminate(id).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}
