//! Answers for operators.

use http::header::{CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};
use http_body::Body as _;

use crate::answer::{self, ResponseBody};

/// What every answer of this door has, and an answer to HEAD: its body is taken away, and its length stays told.
pub(super) fn finished(
    mut answer: Response<ResponseBody>,
    head_only: bool,
) -> Response<ResponseBody> {
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    if head_only {
        if let Some(length) = answer.body().size_hint().exact() {
            answer.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        *answer.body_mut() = answer::empty(answer.status()).into_body();
    }
    answer
}
