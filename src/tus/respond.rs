//! Answers: their common headers, and failures as `application/problem+json` (RFC 9457).

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde_json::json;
use tracing::{debug, error, warn};

use crate::engine::Appended;
use crate::error::{Code, Reject};
use crate::protocol::expires::http_date;
use crate::protocol::{checksum, expires, offset, version};
use crate::upload::Millis;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// tusgo panics on a failure whose body has 1 to 255 bytes; JSON takes blanks at its end.
const PROBLEM_LEAST: usize = 256;

pub(super) fn named(name: &'static str) -> HeaderName {
    // Header names in this crate are constants; their only difference to the wire is their case.
    HeaderName::from_bytes(name.as_bytes()).unwrap_or(header::WARNING)
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<ResponseBody> {
    with_body(
        status,
        Empty::new().map_err(|never| match never {}).boxed_unsync(),
    )
}

/// An answer with a body.
pub(super) fn with_body(status: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set(
        &mut response,
        version::NAME,
        HeaderValue::from_static(version::VERSION),
    );
    response
}

/// Sets a header of this protocol.
pub(super) fn set(response: &mut Response<ResponseBody>, name: &'static str, value: HeaderValue) {
    response.headers_mut().insert(named(name), value);
}

/// Sets a header to text that was made here; text that cannot stand in a header is left out.
pub(super) fn set_text(response: &mut Response<ResponseBody>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        set(response, name, value);
    }
}

/// Sets `Upload-Expires`, if the upload expires.
pub(super) fn set_expires(response: &mut Response<ResponseBody>, at: Option<Millis>) {
    if let Some(at) = at {
        set_text(response, expires::NAME, &http_date(at));
    }
}

/// The answer to bytes that were taken.
pub(super) fn appended(status: StatusCode, appended: &Appended) -> Response<ResponseBody> {
    let mut response = empty(status);
    set(&mut response, offset::NAME, appended.offset.into());
    set_expires(&mut response, appended.expires);
    response
}

/// A failure: status, code and words from the one table.
pub(super) fn problem(reject: &Reject, without_body: bool) -> Response<ResponseBody> {
    let (status, code) = reject.wire();
    if status == 500 {
        error!(code, error = %reject, "request failed");
    } else if status == 507 {
        warn!(code, detail = %reject, "refused");
    } else {
        debug!(status, code, detail = %reject, "refused");
    }
    let body = if without_body {
        None
    } else {
        Some(problem_body(reject, status, code))
    };
    let mut response = match body {
        Some(text) => with_body(
            status_of(status),
            Full::from(text)
                .map_err(|never| match never {})
                .boxed_unsync(),
        ),
        None => empty(status_of(status)),
    };
    response.extensions_mut().insert(Code(code));
    if !without_body {
        set(
            &mut response,
            "Content-Type",
            HeaderValue::from_static("application/problem+json"),
        );
    }
    set(
        &mut response,
        "Cache-Control",
        HeaderValue::from_static("no-store"),
    );
    if let Some(offset) = reject.offset() {
        set(&mut response, offset::NAME, offset.into());
    }
    if let Some(seconds) = reject.retry_after() {
        set(&mut response, "Retry-After", seconds.into());
    }
    match reject {
        Reject::MethodNotAllowed { allow } => {
            set(&mut response, "Allow", HeaderValue::from_static(allow));
        }
        Reject::UnsupportedVersion => {
            set(
                &mut response,
                version::SUPPORTED,
                HeaderValue::from_static(version::VERSION),
            );
        }
        Reject::UnknownAlgorithm => {
            set(
                &mut response,
                "Tus-Checksum-Algorithm",
                HeaderValue::from_static(checksum::NAMES),
            );
        }
        Reject::Range { length } => {
            set_text(&mut response, "Content-Range", &format!("bytes */{length}"));
        }
        _ => {}
    }
    response
}

fn problem_body(reject: &Reject, status: u16, code: &str) -> String {
    let mut text = json!({
        "type": "about:blank",
        "title": reject.title(),
        "status": status,
        "code": code,
        "detail": reject.detail(),
    })
    .to_string();
    while text.len() < PROBLEM_LEAST {
        text.push(' ');
    }
    text.push('\n');
    text
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
