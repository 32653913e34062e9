//! Answers, whatever the door: headers, JSON, and failures as `application/problem+json` (RFC 9457).

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde_json::{Value, json};
use tracing::{debug, error, warn};

use crate::error::{Code, Reject};
use crate::hooks::Answer;
use crate::protocol::{checksum, offset, version};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// tusgo panics on a failure whose body has 1 to 255 bytes; JSON takes blanks at its end.
const PROBLEM_LEAST: usize = 256;

fn named(name: &'static str) -> HeaderName {
    // Header names in this crate are constants; their only difference to the wire is their case.
    HeaderName::from_bytes(name.as_bytes()).unwrap_or(header::WARNING)
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<ResponseBody> {
    with_body(
        status,
        Empty::new().map_err(|never| match never {}).boxed_unsync(),
    )
}

/// An answer with a body.
pub(crate) fn with_body(status: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// An answer that no cache keeps.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response<ResponseBody> {
    text(status, "application/json", value.to_string() + "\n")
}

/// Text of a media type, that no cache keeps.
pub(crate) fn text(
    status: StatusCode,
    media: &'static str,
    text: String,
) -> Response<ResponseBody> {
    let body = Full::from(text).map_err(|never| match never {});
    let mut response = with_body(status, body.boxed_unsync());
    set_text(&mut response, "Content-Type", media);
    set_text(&mut response, "Cache-Control", "no-store");
    response
}

/// Sets a header.
pub(crate) fn set(response: &mut Response<ResponseBody>, name: &'static str, value: HeaderValue) {
    response.headers_mut().insert(named(name), value);
}

/// Sets a header to text that was made here; text that cannot stand in a header is left out.
pub(crate) fn set_text(response: &mut Response<ResponseBody>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        set(response, name, value);
    }
}

/// A failure: status, code and words from the one table.
pub(crate) fn problem(reject: &Reject, without_body: bool) -> Response<ResponseBody> {
    let (status, code) = reject.wire();
    if status == 500 {
        error!(code, error = %reject, "request failed");
    } else if status == 507 {
        warn!(code, detail = %reject, "refused");
    } else {
        debug!(status, code, detail = %reject, "refused");
    }
    let mut response = if without_body {
        empty(status_of(status))
    } else {
        let body = problem_body(reject, status, code);
        text(status_of(status), "application/problem+json", body)
    };
    response.extensions_mut().insert(Code(code));
    set_text(&mut response, "Cache-Control", "no-store");
    if let Some(offset) = reject.offset() {
        set(&mut response, offset::NAME, offset.into());
    }
    if let Some(seconds) = reject.retry_after() {
        set(&mut response, "Retry-After", seconds.into());
    }
    match reject {
        Reject::MethodNotAllowed { allow } => set_text(&mut response, "Allow", allow),
        Reject::TokenRequired | Reject::Unauthorized => {
            set_text(&mut response, "WWW-Authenticate", "Bearer");
        }
        // To what. Source: RFC 9110, 15.5.22; RFC 6455, 4.2.2.
        Reject::UpgradeRequired => {
            set_text(&mut response, "Connection", "upgrade");
            set_text(&mut response, "Upgrade", "websocket");
            set_text(&mut response, "Sec-WebSocket-Version", "13");
        }
        Reject::UnsupportedVersion => {
            set_text(&mut response, version::SUPPORTED, version::VERSION);
        }
        Reject::UnknownAlgorithm => {
            set_text(&mut response, "Tus-Checksum-Algorithm", checksum::NAMES);
        }
        Reject::Range { length } => {
            set_text(&mut response, "Content-Range", &format!("bytes */{length}"));
        }
        Reject::Hook { answer, .. } => dress(&mut response, answer, without_body),
        _ => {}
    }
    response
}

/// With what a hook says, if one was asked.
pub(crate) fn dressed(
    mut response: Response<ResponseBody>,
    said: Option<&Answer>,
) -> Response<ResponseBody> {
    if let Some(said) = said {
        dress(&mut response, said, false);
    }
    response
}

/// Puts what a hook says into an answer.
pub(crate) fn dress(response: &mut Response<ResponseBody>, with: &Answer, without_body: bool) {
    if let Some(status) = with.status {
        *response.status_mut() = status_of(status);
    }
    let status = response.status();
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless || without_body {
        *response.body_mut() = empty(status).into_body();
        response.headers_mut().remove(header::CONTENT_TYPE);
    } else if !with.body.is_empty() {
        let body = Full::from(with.body.clone()).map_err(|never| match never {});
        *response.body_mut() = body.boxed_unsync();
        set_text(response, "Content-Type", "text/plain; charset=utf-8");
    }
    for (name, value) in &with.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
}

fn problem_body(reject: &Reject, status: u16, code: &str) -> String {
    let mut problem = json!({
        "type": "about:blank",
        "title": reject.title(),
        "status": status,
        "code": code,
        "detail": reject.detail(),
    });
    if let Reject::ChunksMissing(missing) = reject {
        problem["missing"] = missing.count.into();
        problem["missing_chunks"] = json!(missing.chunks);
        problem["missing_ranges"] = json!(missing.ranges);
    }
    if let Reject::QuotaExceeded(excessive) = reject
        && let Some((used, allowed)) = excessive.told
    {
        problem["used"] = used.into();
        problem["allowed"] = allowed.into();
    }
    let mut text = problem.to_string();
    while text.len() < PROBLEM_LEAST {
        text.push(' ');
    }
    text.push('\n');
    text
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
