//! POST `/uploads/{id}/chunks/{n}`: a chunk.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode, Version};
use http_body::Body;
use serde_json::json;

use super::Door;
use crate::answer::{self, ResponseBody};
use crate::engine::ChunkBody;
use crate::error::Reject;
use crate::protocol::sha256::{self, SumError};

/// So many chunks of a session may wait for their turn.
const MAX_WAITING: usize = 16;
/// On HTTP/2, where what waits unread takes its part of the connection's window, and with all of it those would stall that it
/// waits for.
const MAX_WAITING_H2: usize = 2;

pub(super) async fn answer<B>(
    door: &Door,
    head: &Parts,
    id: &str,
    number: &str,
    body: B,
) -> Result<Response<ResponseBody>, Reject>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let mut visitor = door.settings.gate.enter(head, false)?;
    let owned = door.visited(head, &mut visitor, id).await?;
    let number = owned.chunk_number(number)?;
    let sum = sha256::of_chunk(&head.headers).map_err(|error| match error {
        SumError::Algorithm => Reject::NotSha256,
        SumError::Header(error) => error.into(),
    })?;
    let chunk = ChunkBody {
        length: body.size_hint().exact(),
        sum,
        waiting: if head.version == Version::HTTP_2 {
            MAX_WAITING_H2
        } else {
            MAX_WAITING
        },
        far_end: head.extensions.get().cloned(),
        pace: visitor.pace(),
    };
    let chunked = door.engine.chunk(&owned, number, chunk, body).await?;
    let status = if chunked.repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let answer = json!({
        "chunk": chunked.number,
        "size": chunked.size,
        "sha256": chunked.sum,
        "uploaded": chunked.uploaded,
        "remaining": chunked.remaining,
    });
    Ok(answer::json(status, &answer))
}
