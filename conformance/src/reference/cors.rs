//! What browsers need for requests from other origins (the Fetch standard, CORS).

use super::answer::Answer;
use super::request::Request;
use super::{Flaw, Server};

const METHODS: &str = "POST, HEAD, PATCH, DELETE, OPTIONS, GET";
const ALLOWED: &str = "Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Defer-Length, \
                       Upload-Concat, Upload-Checksum, Content-Type, X-HTTP-Method-Override, X-Requested-With, \
                       X-Request-ID, Authorization";
const EXPOSED: &str = "Location, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Defer-Length, Upload-Concat, \
                       Upload-Expires, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, \
                       Tus-Checksum-Algorithm";

/// Adds to an answer to OPTIONS what a preflight asks.
pub(super) fn preflight(_server: &Server, request: &Request, answer: Answer) -> Answer {
    if !request.fields.has("Origin") || !request.fields.has("Access-Control-Request-Method") {
        return answer;
    }
    answer
        .with("Access-Control-Allow-Methods", METHODS)
        .with("Access-Control-Allow-Headers", ALLOWED)
        .with("Access-Control-Max-Age", "86400")
}

/// Adds to any answer what lets a page of the request's origin read it.
pub(super) fn dress(server: &Server, request: &Request, answer: &mut Answer) {
    // Also where there was no origin: a cache must not give that answer to a page.
    answer.set("Vary", "Origin");
    let Some(origin) = request.fields.all("Origin").next() else {
        return;
    };
    let is_preflight = request.fields.has("Access-Control-Request-Method");
    if (answer.is_error() && server.has(Flaw::CorsNotOnErrors))
        || (!is_preflight && server.has(Flaw::CorsNotOnActual))
    {
        return;
    }
    answer.set("Access-Control-Allow-Origin", origin);
    answer.set("Access-Control-Expose-Headers", EXPOSED);
}
