//! HEAD: where an upload stands.

use http::{HeaderValue, Response, StatusCode};

use super::Door;
use super::respond::{self, ResponseBody};
use crate::answer;
use crate::error::Reject;
use crate::hooks::Answer;
use crate::protocol::{concat, length, metadata, offset};
use crate::upload::{Kind, UploadId};

pub(super) async fn answer(door: &Door, id: &UploadId) -> Result<Response<ResponseBody>, Reject> {
    let view = door.engine.look(id).await?;
    let mut response = respond::empty(StatusCode::OK);
    respond::set(
        &mut response,
        "Cache-Control",
        HeaderValue::from_static("no-store"),
    );
    // The offset of a final that waits for its parts is not defined.
    if view.kind != Kind::Final || view.is_complete() {
        respond::set(&mut response, offset::NAME, view.offset.into());
    }
    match view.length {
        Some(length) => respond::set(&mut response, length::NAME, length.into()),
        None if view.kind == Kind::Final => {}
        None => respond::set(&mut response, length::DEFER, HeaderValue::from_static("1")),
    }
    let received = [
        (metadata::NAME, &view.metadata),
        (concat::NAME, &view.concat),
    ];
    for (name, bytes) in received {
        if let Some(value) = bytes
            .as_ref()
            .and_then(|bytes| HeaderValue::from_maybe_shared(bytes.clone()).ok())
        {
            respond::set(&mut response, name, value);
        }
    }
    respond::set_expires(&mut response, view.expires);
    if view.is_complete() {
        // Who asks again after a hook failed, or its answer was lost, is told what it said; until then, to wait.
        let said = door.engine.finished(id).await;
        if let Some(said) = said.map_err(|_| Reject::HookDown { head: true })? {
            answer::dress(
                &mut response,
                &Answer {
                    status: None,
                    ..said
                },
                true,
            );
        }
    }
    Ok(response)
}
