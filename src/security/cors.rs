//! CORS: what browsers on other origins may send and see.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN,
    VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use regex::bytes::{Regex, RegexBuilder};

use crate::protocol::location::{Origin, Via};

/// What a client may read. The `Tus-*` ones are for the feature detection of clients in browsers.
const EXPOSED: &str = "Location, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Defer-Length, Upload-Concat, \
    Upload-Expires, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, Retry-After";

/// What a client may send: tus, what clients add to it, and the drafts that follow tus.
const ALLOWED: &str = "Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Defer-Length, Upload-Concat, \
    Upload-Checksum, Content-Type, X-HTTP-Method-Override, X-Requested-With, X-Request-ID, Authorization, \
    Upload-Complete, Upload-Draft-Interop-Version, X-Chunk-SHA256";

/// How a client may send.
const METHODS: &str = "POST, HEAD, PATCH, DELETE, OPTIONS, GET";

/// What the operator sets. A text of a list may itself be a list with commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsOptions {
    /// Regular expression that an origin (`https://example.com`) must match as a whole.
    pub allow_origin: String,
    /// Whether browsers may send cookies and the like.
    pub allow_credentials: bool,
    /// Methods beside those of tus.
    pub allow_methods: Vec<String>,
    /// Request headers beside those of tus.
    pub allow_headers: Vec<String>,
    /// Answers' headers beside those of tus.
    pub expose_headers: Vec<String>,
    /// How long a browser may keep the answer to a preflight, in seconds.
    pub max_age: u64,
}

impl Default for CorsOptions {
    /// Every origin, without credentials, preflights kept for a day: as tusd.
    fn default() -> Self {
        Self {
            allow_origin: ".*".into(),
            allow_credentials: false,
            allow_methods: Vec::new(),
            allow_headers: Vec::new(),
            expose_headers: Vec::new(),
            max_age: 86_400,
        }
    }
}

/// Options that make no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CorsError {
    /// The pattern of origins is no regular expression.
    #[error("the pattern of allowed origins is no regular expression: {0}")]
    Pattern(#[from] regex::Error),
    /// Not a header's name.
    #[error("{0:?} is no header name")]
    Header(String),
    /// Not a method.
    #[error("{0:?} is no method")]
    Method(String),
}

/// The CORS headers, ready made.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Regex,
    credentials: bool,
    methods: HeaderValue,
    allowed: HeaderValue,
    exposed: HeaderValue,
    max_age: HeaderValue,
}

impl Cors {
    /// Checks the options and makes the headers.
    ///
    /// # Errors
    /// What cannot be a pattern, a header's name, or a method.
    pub fn new(options: &CorsOptions) -> Result<Self, CorsError> {
        // Alone first: `a)|(b` must not climb out of the group that anchors it.
        pattern(&options.allow_origin)?;
        Ok(Self {
            origins: pattern(&format!("^(?:{})$", options.allow_origin))?,
            credentials: options.allow_credentials,
            methods: list(METHODS, &options.allow_methods, false, method)?,
            allowed: list(ALLOWED, &options.allow_headers, true, header)?,
            exposed: list(EXPOSED, &options.expose_headers, true, header)?,
            max_age: options.max_age.into(),
        })
    }

    /// Adds what an answer to a request from `origin` has: on every answer, errors too, and more on that of a `preflight`
    /// (OPTIONS). An allowed origin is named as it came, never by `*`, so that credentials work; one that is not allowed, or
    /// none, gets nothing but `Vary`, which every answer has so that no cache hands one origin's answer to another.
    /// Source: Fetch standard, 3.3 "CORS protocol".
    pub fn headers(&self, origin: Option<&HeaderValue>, preflight: bool, out: &mut HeaderMap) {
        out.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin.filter(|origin| self.allows(origin)) else {
            return;
        };
        out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        out.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        if self.credentials {
            out.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        if preflight {
            out.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            out.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.allowed.clone());
            out.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
    }

    /// Whether a page that asks may: one of the server's own origin, or of an allowed one. Browsers name the origin of every
    /// request that is no plain GET; other clients name none.
    #[must_use]
    pub fn admits(cors: Option<&Self>, via: &Via, head: &Parts) -> bool {
        let is_own = |origin: &HeaderValue| {
            let own = Origin::of(&head.headers, &head.uri, via);
            origin.to_str().is_ok_and(|text| own.is_origin(text))
        };
        let mut origins = head.headers.get_all(ORIGIN).iter();
        origins.all(|origin| cors.is_some_and(|cors| cors.allows(origin)) || is_own(origin))
    }

    /// Whether browsers may come from this origin.
    #[must_use]
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        origin
            .to_str()
            .is_ok_and(|origin| !origin.is_empty() && self.origins.is_match(origin.as_bytes()))
    }
}

/// An origin is ASCII, and so are the classes (`\d`) and cases (`(?i)`) of its pattern: the tables for all of Unicode are not
/// built in.
fn pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).unicode(false).build()
}

/// `standard` and, after it, the operator's own that are not in it.
fn list(
    standard: &str,
    own: &[String],
    ignore_case: bool,
    check: fn(&str) -> Result<(), CorsError>,
) -> Result<HeaderValue, CorsError> {
    let mut names: Vec<&str> = standard.split(", ").collect();
    for name in own.iter().flat_map(|text| text.split(',')).map(str::trim) {
        let same =
            |known: &&str| known == &name || (ignore_case && known.eq_ignore_ascii_case(name));
        let known = names.iter().any(same);
        if !name.is_empty() && !known {
            check(name)?;
            names.push(name);
        }
    }
    let text = names.join(", ");
    HeaderValue::from_str(&text).map_err(|_| CorsError::Header(text))
}

fn header(name: &str) -> Result<(), CorsError> {
    name.parse::<HeaderName>()
        .map(drop)
        .map_err(|_| CorsError::Header(name.to_owned()))
}

fn method(name: &str) -> Result<(), CorsError> {
    name.parse::<Method>()
        .map(drop)
        .map_err(|_| CorsError::Method(name.to_owned()))
}

#[cfg(test)]
mod tests;
