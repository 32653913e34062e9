//! POST: a new upload, perhaps with its first bytes, or a final made of parts.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Body;

use super::Door;
use super::patch;
use super::respond::{self, ResponseBody};
use crate::engine::{Append, Create, Join, View};
use crate::error::Reject;
use crate::protocol::concat::{self, ConcatError, ConcatHeader, UploadConcat};
use crate::protocol::length::{self, UploadLength};
use crate::protocol::location::{Origin, resolve};
use crate::protocol::metadata::UploadMetadata;
use crate::protocol::{HeaderError, media, offset};
use crate::upload::{Kind, UploadId};

pub(super) async fn answer<B>(
    door: &Door,
    head: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, Reject>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let headers = &head.headers;
    let origin = door.origin(head);
    let length = UploadLength::from_headers(headers)?;
    let metadata = UploadMetadata::from_headers(headers)?
        .map(|metadata| Bytes::copy_from_slice(metadata.raw()));
    let concat = ConcatHeader::from_headers(headers).map_err(|error| match error {
        ConcatError::TooMany(parts) => Reject::TooManyParts(parts),
        ConcatError::Header(error) => error.into(),
    })?;
    if concat.is_some() && !door.settings.concatenation {
        return Err(Reject::Disabled("concatenation"));
    }
    let has_body = body.size_hint().exact() != Some(0);
    let (kind, raw) = match concat {
        Some(ConcatHeader {
            value: UploadConcat::Final(references),
            raw,
        }) => {
            if length.is_some() {
                return Err(HeaderError::Conflict(concat::NAME, length::NAME).into());
            }
            if has_body {
                return Err(HeaderError::Conflict(concat::NAME, "Content-Length").into());
            }
            let parts = parts(door, &origin, references)?;
            let view = door
                .engine
                .join(Join {
                    parts,
                    metadata,
                    concat: raw.into(),
                })
                .await?;
            return Ok(created(door, &origin, &view));
        }
        Some(ConcatHeader {
            value: UploadConcat::Partial,
            raw,
        }) => (Kind::Partial, Some(raw.into())),
        None => (Kind::Plain, None),
    };
    let length = match length.ok_or(HeaderError::Missing(length::NAME))? {
        UploadLength::Known(length) => Some(length),
        UploadLength::Deferred => None,
    };
    let create = Create {
        kind,
        length,
        metadata,
        concat: raw,
    };
    if !has_body {
        let view = door.engine.create(create).await?;
        return Ok(created(door, &origin, &view));
    }
    if !media::is_offset_stream(headers) {
        return Err(Reject::MediaType);
    }
    let append = patch::append(headers, 0, None, &body)?;
    with_upload(door, &origin, create, append, body).await
}

/// The ids of a final's parts, each with the text that named it.
fn parts(
    door: &Door,
    origin: &Origin,
    references: Vec<String>,
) -> Result<Vec<(UploadId, String)>, Reject> {
    let base = door.settings.base_path.as_str();
    references
        .into_iter()
        .map(|reference| match resolve(&reference, origin, base) {
            Ok(id) => Ok((id, reference)),
            Err(_) => Err(Reject::BadPart(reference)),
        })
        .collect()
}

/// Creation with the first bytes. A body that is refused leaves no upload behind; one that was cut does, and says where it
/// is, so that the client can go on.
async fn with_upload<B>(
    door: &Door,
    origin: &Origin,
    create: Create,
    append: Append,
    body: B,
) -> Result<Response<ResponseBody>, Reject>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    if let (Some(length), Some(coming)) = (create.length, append.body_length)
        && coming > length
    {
        return Err(Reject::Surplus);
    }
    let view = door.engine.create(create).await?;
    match door.engine.append(&view.id, append, body).await {
        Ok(appended) => {
            let view = View {
                offset: appended.offset,
                expires: appended.expires,
                ..view
            };
            Ok(created(door, origin, &view))
        }
        Err(reject) if reject.offset().is_some() => {
            let mut response = respond::problem(&reject, false);
            respond::set_text(&mut response, "Location", &door.location(origin, &view.id));
            Ok(response)
        }
        Err(reject) => {
            door.engine.terminate(&view.id).await?;
            Err(reject)
        }
    }
}

fn created(door: &Door, origin: &Origin, view: &View) -> Response<ResponseBody> {
    let mut response = respond::empty(StatusCode::CREATED);
    respond::set_text(&mut response, "Location", &door.location(origin, &view.id));
    // Also where no byte was sent: tus-js-client with a deferred length looks for it.
    if view.kind != Kind::Final || view.is_complete() {
        respond::set(&mut response, offset::NAME, view.offset.into());
    }
    respond::set_expires(&mut response, view.expires);
    response
}
