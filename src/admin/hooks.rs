//! What hooks were not told.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::answer::{self, ResponseBody};
use crate::engine::{DeadLetter, Engine};
use crate::error::Reject;
use crate::protocol::expires::rfc3339_millis;

pub(super) fn list(engine: &Engine) -> Response<ResponseBody> {
    let (waiting, failed) = engine.letters();
    let letters: Vec<Value> = engine.dead_letters().iter().map(described).collect();
    let value = json!({ "waiting": waiting, "failed": failed, "letters": letters });
    answer::json(StatusCode::OK, &value)
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
