//! The paths that are the server's own, before any base path's.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::body::{ResponseBody, full};

/// The answer to a request for a path of the server's own.
pub(super) fn fixed(method: &Method, path: &str) -> Option<Response<ResponseBody>> {
    match path {
        "/healthz" => Some(healthz(method)),
        _ => None,
    }
}

fn healthz(method: &Method) -> Response<ResponseBody> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = Response::new(full(Bytes::new()));
        *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let mut healthy = Response::new(full("ok\n"));
    let headers = healthy.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    healthy
}
