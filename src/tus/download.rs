//! GET: the bytes of a finished upload (RFC 9110: conditions, one range).

use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::Door;
use super::respond::{self, BoxError, ResponseBody};
use crate::engine::View;
use crate::error::Reject;
use crate::protocol::conditional::{self, Verdict};
use crate::protocol::disposition::{content_disposition, content_type, may_inline};
use crate::protocol::expires::http_date;
use crate::protocol::metadata::UploadMetadata;
use crate::protocol::range::{self, Requested};
use crate::upload::UploadId;

pub(super) async fn answer(
    door: &Door,
    id: &UploadId,
    head: &Parts,
) -> Result<Response<ResponseBody>, Reject> {
    let view = door.engine.look(id).await?;
    let length = view
        .length
        .filter(|_| view.is_complete())
        .ok_or(Reject::NotFinished)?;
    door.engine.gives_out(&view)?;
    // A finished upload never changes, and its id is never used again.
    let etag = format!("\"{id}\"");
    match conditional::verdict(&head.headers, &etag, view.touched) {
        Verdict::Go => {}
        Verdict::NotModified => {
            let mut response = respond::empty(StatusCode::NOT_MODIFIED);
            validators(&mut response, &etag, &view);
            return Ok(response);
        }
        Verdict::Failed => return Err(Reject::Precondition),
    }
    let (status, range) = match range::requested(&head.headers, length, &etag, view.touched) {
        Requested::Whole => (StatusCode::OK, 0..length),
        Requested::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Requested::Unsatisfiable => return Err(Reject::Range { length }),
    };
    let pieces = door.engine.read(id, range.clone()).await?;
    let frames = pieces.map(|piece| {
        piece
            .map(Frame::data)
            .map_err(|error| -> BoxError { Box::new(error) })
    });
    let mut response = respond::with_body(status, StreamBody::new(frames).boxed_unsync());
    validators(&mut response, &etag, &view);
    respond::set(
        &mut response,
        "Content-Length",
        (range.end - range.start).into(),
    );
    respond::set(
        &mut response,
        "Accept-Ranges",
        HeaderValue::from_static("bytes"),
    );
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        respond::set_text(&mut response, "Content-Range", &text);
    }
    describe(&mut response, &view);
    Ok(response)
}

fn validators(response: &mut Response<ResponseBody>, etag: &str, view: &View) {
    respond::set_text(response, "ETag", etag);
    respond::set_text(response, "Last-Modified", &http_date(view.touched));
}

/// What the client said the bytes are; shown in a browser only where that cannot run a script.
fn describe(response: &mut Response<ResponseBody>, view: &View) {
    let metadata = view
        .metadata
        .as_deref()
        .and_then(|raw| UploadMetadata::parse(raw).ok());
    let value = |key: &str| metadata.as_ref().and_then(|metadata| metadata.get(key));
    let media = content_type(value("filetype").as_deref());
    let name = value("filename").or_else(|| value("name"));
    respond::set_text(
        response,
        "Content-Disposition",
        &content_disposition(name.as_deref(), may_inline(&media)),
    );
    respond::set_text(response, "Content-Type", &media);
    respond::set(
        response,
        "X-Content-Type-Options",
        HeaderValue::from_static("nosniff"),
    );
}
