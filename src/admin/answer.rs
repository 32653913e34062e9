//! Answers for operators: JSON, and failures as `application/problem+json` (RFC 9457).

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tracing::{debug, error};

use crate::error::{Code, Reject};
use crate::upload::Millis;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

fn full(text: String) -> ResponseBody {
    Full::from(text)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Text of this type, that nobody keeps.
pub(super) fn text(status: u16, media: &'static str, text: String) -> Response<ResponseBody> {
    let mut answer = Response::new(full(text));
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

pub(super) fn json(status: u16, value: &Value) -> Response<ResponseBody> {
    text(status, "application/json", format!("{value}\n"))
}

/// Takes the body of an answer to HEAD away; its length stays told.
pub(super) fn without_body(answer: &mut Response<ResponseBody>) {
    use http_body::Body as _;
    if let Some(length) = answer.body().size_hint().exact() {
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    *answer.body_mut() = full(String::new());
}

pub(super) fn problem(reject: &Reject) -> Response<ResponseBody> {
    let (status, code) = reject.wire();
    if status == 500 {
        error!(code, error = %reject, "request failed");
    } else {
        debug!(status, code, detail = %reject, "refused");
    }
    let value = json!({
        "type": "about:blank",
        "title": reject.title(),
        "status": status,
        "code": code,
        "detail": reject.detail(),
    });
    let mut answer = text(status, "application/problem+json", format!("{value}\n"));
    answer.extensions_mut().insert(Code(code));
    let headers = answer.headers_mut();
    match reject {
        Reject::Unauthorized => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Reject::MethodNotAllowed { allow } => {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        _ => {}
    }
    if let Some(seconds) = reject.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    answer
}

/// A time as in RFC 3339, in UTC, to the millisecond.
pub(super) fn time(at: Millis) -> String {
    let (seconds, millis) = (at / 1000, at % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the day of a leap year is the last. Source: Howard Hinnant, "chrono-compatible
    // low-level date algorithms", civil_from_days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_767_225_599_001, "2025-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(at), text);
        }
    }
}
