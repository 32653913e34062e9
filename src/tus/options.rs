//! OPTIONS: what this server, as it is configured, can do.

use http::{HeaderValue, Response, StatusCode};

use super::respond::{self, ResponseBody};
use super::{Door, Settings};
use crate::engine::Engine;
use crate::protocol::{checksum, version};

/// `Tus-Extension`, without blanks after the commas: some clients do not trim.
pub(super) fn extensions(engine: &Engine, settings: &Settings) -> HeaderValue {
    let mut names = vec![
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "checksum-trailer",
    ];
    if engine.expires() {
        names.push("expiration");
    }
    if settings.termination {
        names.push("termination");
    }
    if settings.concatenation && engine.can_join() {
        names.extend(["concatenation", "concatenation-unfinished"]);
    }
    HeaderValue::from_str(&names.join(",")).unwrap_or(HeaderValue::from_static("creation"))
}

pub(super) fn answer(door: &Door) -> Response<ResponseBody> {
    let mut response = respond::empty(StatusCode::NO_CONTENT);
    respond::set(
        &mut response,
        version::SUPPORTED,
        HeaderValue::from_static(version::VERSION),
    );
    respond::set(&mut response, "Tus-Extension", door.extensions.clone());
    respond::set(
        &mut response,
        "Tus-Checksum-Algorithm",
        HeaderValue::from_static(checksum::NAMES),
    );
    if let Some(max) = door.engine.max_size() {
        respond::set(&mut response, "Tus-Max-Size", max.into());
    }
    response
}
