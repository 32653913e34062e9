//! POST: a new upload, perhaps with its first bytes, or a final made of parts.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::Door;
use super::patch;
use super::respond::{self, ResponseBody};
use crate::engine::{Create, Join, Proposed, View};
use crate::error::Reject;
use crate::hooks::Answer;
use crate::protocol::concat::{self, ConcatError, ConcatHeader, UploadConcat};
use crate::protocol::length::{self, UploadLength};
use crate::protocol::location::{Origin, resolve};
use crate::protocol::metadata::UploadMetadata;
use crate::protocol::{HeaderError, media, offset};
use crate::security::gate::Visitor;
use crate::upload::{Kind, UploadId};

/// How long a body that should be empty may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn answer<B>(
    door: &Door,
    head: &Parts,
    visitor: &Visitor<'_>,
    mut body: B,
) -> Result<Response<ResponseBody>, Reject>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let by = visitor.who.creator()?;
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
    let (kind, raw) = match concat {
        Some(ConcatHeader {
            value: UploadConcat::Final(references),
            raw,
        }) => {
            if length.is_some() {
                return Err(HeaderError::Conflict(concat::NAME, length::NAME).into());
            }
            if has_bytes(&mut body).await {
                return Err(HeaderError::Conflict(concat::NAME, "Content-Length").into());
            }
            let parts = parts(door, &origin, references)?;
            let proposed = Proposed {
                kind: Kind::Final,
                length: None,
                metadata: metadata.clone(),
                parts: parts.iter().map(|(id, _)| id.clone()).collect(),
                by: by.as_deref(),
            };
            let chosen = door.engine.may_create(proposed).await?;
            let join = Join {
                parts,
                metadata: chosen.metadata(metadata),
                concat: raw.into(),
                by,
                id: chosen.id,
                path: chosen.path,
            };
            let view = door.engine.join(join).await?;
            return created(door, &origin, &view, chosen.answer).await;
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
        by,
        id: None,
        path: None,
    };
    let stream = media::is_offset_stream(headers);
    if !stream && has_bytes(&mut body).await {
        return Err(Reject::MediaType);
    }
    let append = patch::append(headers, 0, None, visitor, &body)?;
    let nothing = body.size_hint().exact() == Some(0) && append.checksum.is_none();
    let proposed = Proposed {
        kind,
        length,
        metadata: create.metadata.clone(),
        parts: Vec::new(),
        by: create.by.as_deref(),
    };
    let chosen = door.engine.may_create(proposed).await?;
    let create = Create {
        metadata: chosen.metadata(create.metadata),
        id: chosen.id,
        path: chosen.path,
        ..create
    };
    // Joining is no beginning: it brings no bytes.
    let beginning = visitor.begins()?;
    let (view, cut) = if !stream || nothing {
        let view = beginning.ended(door.engine.create(create).await)?;
        (view, None)
    } else {
        let created = door.engine.create_with(create, append, body).await;
        beginning.ended(created)?
    };
    // A body that is refused leaves no upload behind; one that was cut does, and says where it is, so that the client can go on.
    let Some(reject) = cut else {
        return created(door, &origin, &view, chosen.answer).await;
    };
    let mut response = respond::problem(&reject, false);
    respond::set_text(&mut response, "Location", &door.location(&origin, &view.id));
    Ok(response)
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

/// Whether a body that must have no bytes has some, or breaks off where they may be. One of unknown length (HTTP/2 without an
/// end, chunks) may be empty: it is read up to its first byte.
async fn has_bytes<B>(body: &mut B) -> bool
where
    B: Body<Data = Bytes> + Unpin,
{
    if let Some(length) = body.size_hint().exact() {
        return length > 0;
    }
    let first_byte = async {
        while let Some(frame) = body.frame().await {
            if frame.map_or(true, |frame| {
                frame.data_ref().is_some_and(|data| !data.is_empty())
            }) {
                return true;
            }
        }
        false
    };
    timeout(PATIENCE, first_byte).await.unwrap_or(true)
}

/// With what hooks said before it was created, and of its end if that is here already.
async fn created(
    door: &Door,
    origin: &Origin,
    view: &View,
    said: Option<Answer>,
) -> Result<Response<ResponseBody>, Reject> {
    let finished = if view.is_complete() {
        door.engine.finished(&view.id).await?
    } else {
        None
    };
    let mut response = respond::empty(StatusCode::CREATED);
    respond::set_text(&mut response, "Location", &door.location(origin, &view.id));
    // Also where no byte was sent: tus-js-client with a deferred length looks for it.
    if view.kind != Kind::Final || view.is_complete() {
        respond::set(&mut response, offset::NAME, view.offset.into());
    }
    respond::set_expires(&mut response, view.expires);
    let response = respond::dressed(response, said.as_ref());
    Ok(respond::dressed(response, finished.as_ref()))
}
