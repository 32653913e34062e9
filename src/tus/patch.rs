//! PATCH: bytes for an upload.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body::Body;

use super::Door;
use super::respond::{self, ResponseBody};
use crate::engine::{Append, Appended};
use crate::error::Reject;
use crate::protocol::checksum::{self, ChecksumError, UploadChecksum};
use crate::protocol::offset::UploadOffset;
use crate::protocol::{length, media};
use crate::security::gate::Visitor;
use crate::upload::UploadId;

pub(super) async fn answer<B>(
    door: &Door,
    id: &UploadId,
    head: &Parts,
    by: &Visitor<'_>,
    body: B,
) -> Result<Response<ResponseBody>, Reject>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    if !media::is_offset_stream(&head.headers) {
        return Err(Reject::MediaType);
    }
    let claimed = UploadOffset::from_headers(&head.headers)?.0;
    let declared = length::declared(&head.headers)?;
    let append = append(&head.headers, claimed, declared, by, &body)?;
    let end = append
        .body_length
        .and_then(|length| claimed.checked_add(length));
    let appended = match door.engine.append(id, append, body).await {
        // The last PATCH again, whose answer was lost, or a hook's failure.
        Err(Reject::OffsetMismatch { actual })
            if end == Some(actual) && door.engine.ended_at(id, actual).await? =>
        {
            let view = door.engine.look(id).await?;
            Appended {
                offset: view.offset,
                expires: view.expires,
            }
        }
        appended => appended?,
    };
    let said = door.engine.finished(id).await?;
    let response = respond::appended(&appended);
    Ok(respond::dressed(response, said.as_ref()))
}

/// What PATCH and a creation with a body have in common.
pub(super) fn append<B: Body>(
    headers: &HeaderMap,
    claimed: u64,
    declared: Option<u64>,
    by: &Visitor<'_>,
    body: &B,
) -> Result<Append, Reject> {
    let checksum = UploadChecksum::from_headers(headers).map_err(|error| match error {
        ChecksumError::Unknown => Reject::UnknownAlgorithm,
        ChecksumError::Header(error) => error.into(),
    })?;
    let trailer_announced = checksum::trailer_announced(headers);
    Ok(Append {
        claimed,
        declared,
        body_length: body.size_hint().exact(),
        checksum,
        trailer_announced,
        by: by.who.user().cloned(),
        pace: by.pace(),
    })
}
