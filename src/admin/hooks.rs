//! `GET /admin/hooks`: what hooks were not told, in pages, the oldest first; and one of it sent again.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::query::Query;
use crate::answer::{self, ResponseBody};
use crate::engine::{DeadLetter, Engine};
use crate::error::Reject;
use crate::protocol::expires::rfc3339_millis;

pub(super) fn list(engine: &Engine, query: &str) -> Result<Response<ResponseBody>, Reject> {
    let mut query = Query::parse(query)?;
    let limit = query.limit()?;
    let wrong = "not the next_cursor of this list";
    let after = query.number("cursor", 0..=u64::MAX, wrong)?;
    query.end()?;
    let (waiting, failed) = engine.letters();
    let (letters, more) = engine.dead_letters(after, limit);
    let last = letters.last().filter(|_| more);
    let value = json!({
        "waiting": waiting,
        "failed": failed,
        "letters": letters.iter().map(described).collect::<Vec<Value>>(),
        "next_cursor": last.map(|letter| letter.number.to_string()),
    });
    Ok(answer::json(StatusCode::OK, &value))
}

fn described(letter: &DeadLetter) -> Value {
    json!({
        // A text: it has more digits than some readers of JSON take.
        "id": letter.number.to_string(),
        "event": letter.event.name(),
        "event_id": letter.event_id,
        "upload": letter.upload.as_str(),
        "to": letter.to,
        "failed_at": rfc3339_millis(letter.at),
        "error": letter.why,
    })
}

pub(super) async fn resend(engine: &Engine, number: u64) -> Result<Response<ResponseBody>, Reject> {
    engine.resend(number).await?;
    tracing::info!(
        number,
        "a letter to a hook is sent again, as an operator asks"
    );
    let value = json!({ "id": number.to_string(), "status": "waiting" });
    Ok(answer::json(StatusCode::ACCEPTED, &value))
}
