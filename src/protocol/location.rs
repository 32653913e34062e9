//! `Location`: the URL of an upload as this client must see it; and back, the upload that a client's URL names.

use http::{HeaderMap, Uri};

use super::base_path::upload_id;
use super::forwarded::Forwarded;
use super::{authority, one};
use crate::upload::UploadId;

pub use super::public_url::{NotAPublicUrl, PublicUrl};

/// How a request came in, and what the operator says of the way before that.
#[derive(Debug, Clone, Default)]
pub struct Via {
    /// The connection is TLS.
    pub tls: bool,
    /// A trusted proxy stands in front: its `Forwarded` and `X-Forwarded-*` count.
    pub behind_proxy: bool,
    /// The URL to name in any case.
    pub public_url: Option<PublicUrl>,
}

/// The server under the name that the client used: scheme, host and port, and the path prefix that a proxy cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: &'static str,
    authority: Option<String>,
    prefix: String,
    public: Option<PublicUrl>,
}

/// A URL that names no upload of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL names no upload of this server")]
pub struct NotOurs;

impl Origin {
    /// The origin of a request: behind a proxy what the proxy says; else, and for what that leaves out, the URI's own
    /// authority (HTTP/2, absolute form), else `Host`. An authority that is missing, repeated or odd is none.
    /// Source: RFC 9112, 3.2 and 3.3; RFC 9113, 8.3.1.
    #[must_use]
    pub fn of(headers: &HeaderMap, uri: &Uri, via: &Via) -> Self {
        let proxy = if via.behind_proxy {
            Forwarded::read(headers)
        } else {
            Forwarded::default()
        };
        let own = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => one(headers, "Host")
                .ok()
                .flatten()
                .and_then(|host| host.to_str().ok()),
        };
        let own = own.filter(|own| authority::is_valid(own));
        Self {
            scheme: proxy
                .scheme
                .unwrap_or(if via.tls { "https" } else { "http" }),
            authority: proxy.authority.or_else(|| own.map(str::to_owned)),
            prefix: proxy.prefix,
            public: via.public_url.clone(),
        }
    }

    /// The URL of upload `id` under `base_path` (a slash at both ends): absolute, or an absolute path where the client did
    /// not say which host it used (HTTP/1.0).
    #[must_use]
    pub fn location(&self, base_path: &str, id: &UploadId) -> String {
        match (&self.public, &self.authority) {
            (Some(public), _) => format!("{public}{base_path}{id}"),
            (None, Some(authority)) => {
                format!(
                    "{}://{authority}{}{base_path}{id}",
                    self.scheme, self.prefix
                )
            }
            (None, None) => format!("{}{base_path}{id}", self.prefix),
        }
    }

    /// The path of upload `id`, as this client must see it.
    #[must_use]
    pub fn path(&self, base_path: &str, id: &UploadId) -> String {
        let prefix = self.public.as_ref().map_or(&*self.prefix, PublicUrl::path);
        format!("{prefix}{base_path}{id}")
    }

    /// Whether `origin`, a browser's `Origin`, is this server's own. Its scheme is not held against ours: whether a proxy in
    /// front encrypts is often not known here.
    #[must_use]
    pub fn is_origin(&self, origin: &str) -> bool {
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| self.is_named(authority))
    }

    /// Whether `authority` is this server's, as the request or `--public-url` has it.
    fn is_named(&self, authority: &str) -> bool {
        let public = self.public.as_ref().map(PublicUrl::authority);
        let mut names = self.authority.as_deref().into_iter().chain(public);
        names.any(|name| authority::same(name, authority))
    }
}

/// The upload that `reference`, a URL of `Upload-Concat`, names.
///
/// An absolute URL must name the request's host or `--public-url`, with http or https. Paths may have the proxy's prefix (or
/// the public URL's path) before `base_path`, or not. A relative path is resolved against the collection with its last
/// slash, however the request spelt it: `<id>` and `./<id>` are below it. A query or fragment is cut off, as it would be on
/// a request to that URL.
///
/// # Errors
/// `NotOurs`. Source: tus 1.0.0, Concatenation, `Upload-Concat`; RFC 3986, 5.2.
pub fn resolve(reference: &str, origin: &Origin, base_path: &str) -> Result<UploadId, NotOurs> {
    let reference = reference.split(['?', '#']).next().unwrap_or_default();
    let path = match with_authority(reference) {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').ok_or(NotOurs)?);
            if !origin.is_named(authority) {
                return Err(NotOurs);
            }
            remove_dots(path)
        }
        None if reference.starts_with('/') => remove_dots(reference),
        None => remove_dots(&format!("{base_path}{reference}")),
    };
    let public = origin.public.as_ref().map_or("", PublicUrl::path);
    [&origin.prefix, public, ""]
        .into_iter()
        .find_map(|prefix| upload_id(path.strip_prefix(prefix)?.strip_prefix(base_path)?))
        .ok_or(NotOurs)
}

/// What follows the two slashes before the authority of `//host/path` and `http(s)://host/path`.
fn with_authority(reference: &str) -> Option<&str> {
    if let Some(rest) = reference.strip_prefix("//") {
        return Some(rest);
    }
    let (scheme, rest) = reference.split_once("://")?;
    ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
        .then_some(rest)
}

/// RFC 3986, 5.2.4, on a path that starts with a slash.
fn remove_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
        if segments.peek().is_none() && matches!(segment, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests;
