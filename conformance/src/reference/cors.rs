//! What browsers need for requests from other origins (the Fetch standard, CORS).

use super::answer::Answer;
use super::request::Request;
use super::{BASE, Flaw, Server};

const METHODS: &str = "POST, HEAD, PATCH, DELETE, OPTIONS, GET";
const ALLOWED: &str = "Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Defer-Length, \
                       Upload-Concat, Upload-Checksum, Content-Type, X-HTTP-Method-Override, X-Requested-With, \
                       X-Request-ID, Authorization";
const EXPOSED: &str = "Location, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Defer-Length, Upload-Concat, \
                       Upload-Expires, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, \
                       Tus-Checksum-Algorithm";

/// Adds to an answer to OPTIONS what a preflight asks.
pub(super) fn preflight(server: &Server, request: &Request, mut answer: Answer) -> Answer {
    if !request.fields.has("Origin") {
        return answer;
    }
    if server.has(Flaw::OriginTakenForPreflight) {
        answer = Answer::new(204);
    } else if !request.fields.has("Access-Control-Request-Method") {
        return answer;
    }
    answer.status = status(server, request).unwrap_or(answer.status);
    let mut asked = request.fields.all("Access-Control-Request-Headers");
    let tight = |asked: &[u8]| asked.contains(&b',') && !asked.contains(&b' ');
    let allowed = match () {
        () if asked.any(tight) && server.has(Flaw::PreflightWantsBlanks) => "",
        () if server.has(Flaw::CredentialsWithAny) => "*",
        () => ALLOWED,
    };
    let spoilt = server.has(Flaw::AllowedHeadersSpoiled);
    let methods = if server.has(Flaw::CredentialsWithAny) {
        "*"
    } else {
        METHODS
    };
    answer
        .with("Access-Control-Allow-Methods", methods)
        .with("Access-Control-Allow-Headers", with_flaw(allowed, spoilt))
        .with("Access-Control-Max-Age", "86400")
}

/// What only a flaw answers preflights by.
fn status(server: &Server, request: &Request) -> Option<u16> {
    let id = request.path.strip_prefix(BASE).unwrap_or_default();
    if server.has(Flaw::PreflightRefused) {
        Some(403)
    } else if id.is_empty() {
        None
    } else if server.has(Flaw::PreflightAtEndpointOnly) {
        Some(404)
    } else if server.has(Flaw::PreflightKnowsUploads) {
        server
            .store
            .lock()
            .find(id)
            .err()
            .map(|answer| answer.status)
    } else {
        None
    }
}

fn with_flaw(list: &str, spoilt: bool) -> String {
    let more = if spoilt { ", Upload Offset" } else { "" };
    format!("{list}{more}")
}

/// Adds to any answer what lets a page of the request's origin read it.
pub(super) fn dress(server: &Server, request: &Request, answer: &mut Answer) {
    // Also where there was no origin: a cache must not give that answer to a page.
    if request.fields.has("Origin") || !server.has(Flaw::VaryWithOriginOnly) {
        answer.set("Vary", "Origin");
    }
    let Some(origin) = request.fields.all("Origin").next() else {
        return;
    };
    answer.set("Access-Control-Allow-Origin", origin);
    let spoilt = server.has(Flaw::ExposedHeadersSpoiled);
    answer.set("Access-Control-Expose-Headers", with_flaw(EXPOSED, spoilt));
    if server.has(Flaw::CredentialsWithAny) {
        answer.set("Access-Control-Allow-Origin", "*");
        answer.set("Access-Control-Allow-Credentials", "true");
    }
}
