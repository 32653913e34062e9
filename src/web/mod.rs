//! The door for browsers: the upload page at `/`, the operators' at `/admin`, and their scripts under `/web/`.
//!
//! The files are embedded in the binary and never change while it runs, so an answer is made of what was prepared at the
//! start. A page holds no secret and no data: what it shows it asks the other doors for.

mod files;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

use self::files::{FILES, File, PAGE};
use crate::answer::{ResponseBody, empty, problem, with_body};
use crate::error::Reject;
use crate::protocol::base_path::BasePath;
use crate::protocol::conditional;
use crate::protocol::sha256::Sum;
use crate::security::admin::AdminDoor;

/// What pages may do: use what this server serves, talk to it, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every file is answered with.
const ALWAYS: [(HeaderName, HeaderValue); 5] = [
    // Kept, and asked about each time: a new server's script never meets an old one's page.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const ROOT: &str = "/";
const ADMIN: &str = "/admin";
const ALLOW: &str = "GET, HEAD";

/// What the door needs to know.
pub(crate) struct Settings {
    /// Where the uploads are.
    pub(crate) base_path: BasePath,
    /// Whether there is a session door, without which there is no upload page.
    pub(crate) sessions: bool,
    /// The largest upload in bytes; 0 for no limit.
    pub(crate) max_size: u64,
    /// Who may use the admin API.
    pub(crate) guard: AdminDoor,
}

/// The door; clones share it.
#[derive(Clone)]
pub(crate) struct Web {
    door: Arc<Door>,
}

struct Door {
    /// In no order: there are few.
    prepared: Vec<Prepared>,
    guard: AdminDoor,
    /// Uploads are created at `/`: only what reads is the page's there.
    tus_at_root: bool,
}

/// A file as it is answered.
struct Prepared {
    file: &'static File,
    bytes: Bytes,
    etag: HeaderValue,
}

impl Web {
    /// A door with every file ready.
    pub(crate) fn new(settings: &Settings) -> Self {
        let shown = |file: &&File| settings.sessions || file.path != ROOT;
        let prepared = FILES.iter().filter(shown);
        let prepared = prepared.map(|file| Prepared::new(file, settings)).collect();
        let door = Door {
            prepared,
            guard: settings.guard.clone(),
            tus_at_root: settings.base_path.as_str() == ROOT,
        };
        Self {
            door: Arc::new(door),
        }
    }

    /// The answer, where the path is this door's.
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Option<Response<ResponseBody>> {
        let path = request.uri().path();
        let found = self
            .door
            .prepared
            .iter()
            .find(|one| one.file.path == path)?;
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if path == ROOT && self.door.tus_at_root && !reads {
            return None;
        }
        // Where there is no admin API there is no page of it. Whoever it asks for a token gets the page, which asks for it.
        if path == ADMIN && self.door.guard.is_hidden(request.headers(), request.uri()) {
            return None; // the operators' door says so
        }
        if !reads {
            return Some(problem(&Reject::MethodNotAllowed { allow: ALLOW }, false));
        }
        Some(found.answer(request))
    }
}

impl Prepared {
    fn new(file: &'static File, settings: &Settings) -> Self {
        let bytes = if file.path == ROOT {
            // The one thing that a page cannot ask for before it uploads.
            let size = format!("data-max-size=\"{}\"", settings.max_size);
            Bytes::from(PAGE.replacen("data-max-size=\"0\"", &size, 1))
        } else {
            Bytes::from_static(file.bytes)
        };
        let etag = format!("\"{}\"", Sum::of(&bytes));
        Self {
            file,
            bytes,
            etag: HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<ResponseBody> {
        let etag = self.etag.to_str().unwrap_or_default();
        let mut answer = if conditional::has_it(request.headers(), etag) {
            empty(StatusCode::NOT_MODIFIED)
        } else if *request.method() == Method::HEAD {
            self.described(empty(StatusCode::OK))
        } else {
            let body = Full::new(self.bytes.clone()).map_err(|never| match never {});
            self.described(with_body(StatusCode::OK, body.boxed_unsync()))
        };
        let headers = answer.headers_mut();
        headers.extend(ALWAYS.iter().cloned());
        headers.insert(header::ETAG, self.etag.clone());
        let readers = if self.file.shared {
            let any = HeaderValue::from_static("*");
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
            "cross-origin"
        } else {
            "same-origin"
        };
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static(readers));
        answer
    }

    fn described(&self, mut answer: Response<ResponseBody>) -> Response<ResponseBody> {
        let headers = answer.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.file.media),
        );
        headers.insert(header::CONTENT_LENGTH, self.bytes.len().into());
        answer
    }
}
