//! Answers of this door: what every one of them has.

use http::{HeaderValue, Response, StatusCode};

pub use crate::answer::{BoxError, ResponseBody};
pub(super) use crate::answer::{dressed, set, set_text};

use crate::answer;
use crate::engine::Appended;
use crate::error::Reject;
use crate::protocol::expires::http_date;
use crate::protocol::{expires, offset, version};
use crate::upload::Millis;

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<ResponseBody> {
    versioned(answer::empty(status))
}

/// An answer with a body.
pub(super) fn with_body(status: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
    versioned(answer::with_body(status, body))
}

/// A failure.
pub(super) fn problem(reject: &Reject, without_body: bool) -> Response<ResponseBody> {
    versioned(answer::problem(reject, without_body))
}

fn versioned(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    let version = HeaderValue::from_static(version::VERSION);
    set(&mut response, version::NAME, version);
    response
}

/// Sets `Upload-Expires`, if the upload expires.
pub(super) fn set_expires(response: &mut Response<ResponseBody>, at: Option<Millis>) {
    if let Some(at) = at {
        set_text(response, expires::NAME, &http_date(at));
    }
}

/// The answer to bytes that were taken.
pub(super) fn appended(appended: &Appended) -> Response<ResponseBody> {
    let mut response = empty(StatusCode::NO_CONTENT);
    set(&mut response, offset::NAME, appended.offset.into());
    set_expires(&mut response, appended.expires);
    response
}
