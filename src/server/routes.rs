//! The paths that are the server's own, before any base path's.

use http::{Method, Response, StatusCode};

use crate::answer::{ResponseBody, empty, set_text, text};

/// The answer to a request for a path of the server's own.
pub(super) fn fixed(method: &Method, path: &str) -> Option<Response<ResponseBody>> {
    match path {
        "/healthz" => Some(healthz(method)),
        _ => None,
    }
}

fn healthz(method: &Method) -> Response<ResponseBody> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = empty(StatusCode::METHOD_NOT_ALLOWED);
        set_text(&mut refused, "Allow", "GET, HEAD");
        return refused;
    }
    text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into())
}
