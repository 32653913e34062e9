//! The path under which uploads live, and what a request's path names below it.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::upload::UploadId;

/// The path of the collection, with a slash at both ends: `/files/`, or `/` alone. Written with or without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePath(Box<str>);

/// Text that is no path for a base path: it has a query, an empty or a dot segment, or characters that no URL's path has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a path: write it as in a URL, like /files/")]
pub struct NotAPath;

/// What a path below the base path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The collection: here uploads are created.
    Collection,
    /// An upload, which may exist or not.
    Upload(UploadId),
    /// What can be no upload's name: 404.
    Garbage,
}

impl BasePath {
    /// The path, with a slash at both ends.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What `path` (a request's, percent-encoded, without query) names; `None` outside the base path.
    ///
    /// The collection's last slash may be left out, and an upload may have one (tusd takes both).
    #[must_use]
    pub fn route(&self, path: &str) -> Option<Target> {
        if self.0.strip_suffix('/') == Some(path) {
            return Some(Target::Collection);
        }
        Some(match path.strip_prefix(&*self.0)? {
            "" => Target::Collection,
            name => upload_id(name).map_or(Target::Garbage, Target::Upload),
        })
    }
}

impl FromStr for BasePath {
    type Err = NotAPath;

    fn from_str(text: &str) -> Result<Self, NotAPath> {
        if matches!(text, "" | "/") {
            return Ok(Self("/".into()));
        }
        let path = text.strip_prefix('/').unwrap_or(text);
        let path = path.strip_suffix('/').unwrap_or(path);
        if is_path(path) {
            Ok(Self(format!("/{path}/").into()))
        } else {
            Err(NotAPath)
        }
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The upload that `name`, the rest of a URL's path, stands for. Decoded once, then parsed: what `%2e%2e` hides is refused.
pub(crate) fn upload_id(name: &str) -> Option<UploadId> {
    let name = name.strip_suffix('/').unwrap_or(name);
    percent_decode_str(name).decode_utf8().ok()?.parse().ok()
}

/// Whether `text` is segments of RFC 3986's `pchar` between single slashes, none empty and none of dots.
pub(crate) fn is_path(text: &str) -> bool {
    text.split('/')
        .all(|segment| !matches!(segment, "" | "." | "..") && is_segment(segment.as_bytes()))
}

fn is_segment(mut text: &[u8]) -> bool {
    while let [byte, rest @ ..] = text {
        text = match (byte, rest) {
            (b'%', [high, low, rest @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                rest
            }
            (byte, rest) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(byte) => {
                rest
            }
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base_paths_are_brought_to_one_form() {
        for (text, path) in [
            ("/files/", "/files/"),
            ("files", "/files/"),
            ("/files", "/files/"),
            ("files/", "/files/"),
            ("/", "/"),
            ("", "/"),
            ("/a/b.c/d-e", "/a/b.c/d-e/"),
            ("/a%20b/", "/a%20b/"),
        ] {
            let base: BasePath = text.parse().unwrap();
            assert_eq!(
                (base.as_str(), base.to_string().as_str()),
                (path, path),
                "{text:?}"
            );
        }
        for bad in [
            "//", "//files/", "/files//", "/a//b", "/../", "/a/../b", "/.", "/a b/", "/a?b",
            "/a#b", "/a%2/", "/a%zz", "/\u{e9}/", "/a\n", "/a\"b", "a\\b",
        ] {
            assert_eq!(bad.parse::<BasePath>(), Err(NotAPath), "{bad:?}");
        }
    }

    #[test]
    fn paths_are_routed() {
        let upload = |id: &str| Some(Target::Upload(id.parse().unwrap()));
        let table = [
            ("/files/", "/files/", Some(Target::Collection)),
            ("/files/", "/files", Some(Target::Collection)),
            ("/files/", "/files/a", upload("a")),
            ("/files/", "/files/a/", upload("a")),
            ("/files/", "/files/a/b", upload("a/b")),
            ("/files/", "/files/a%2Fb", upload("a/b")),
            ("/files/", "/files/%61", upload("a")),
            ("/files/", "/files/%2e%2e/x", Some(Target::Garbage)),
            ("/files/", "/files/../x", Some(Target::Garbage)),
            ("/files/", "/files/a%252Fb", Some(Target::Garbage)),
            ("/files/", "/files/%00", Some(Target::Garbage)),
            ("/files/", "/files/%ff", Some(Target::Garbage)),
            ("/files/", "/files//a", Some(Target::Garbage)),
            ("/files/", "/files//", Some(Target::Garbage)),
            ("/files/", "/files/a//", Some(Target::Garbage)),
            ("/files/", "/files/a b", Some(Target::Garbage)),
            ("/files/", "/filesa", None),
            ("/files/", "/file", None),
            ("/files/", "/", None),
            ("/files/", "", None),
            ("/files/", "*", None),
            ("/files/", "files/a", None),
            ("/files/", "/Files/a", None),
            ("/", "/", Some(Target::Collection)),
            ("/", "/a", upload("a")),
            ("/", "", Some(Target::Collection)),
            ("/", "*", None),
        ];
        for (base, path, wanted) in table {
            assert_eq!(
                base.parse::<BasePath>().unwrap().route(path),
                wanted,
                "{path:?} under {base}"
            );
        }
        let huge = format!("/files/{}", "a".repeat(60_000));
        assert_eq!(
            "files".parse::<BasePath>().unwrap().route(&huge),
            Some(Target::Garbage)
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_is_in_its_form(text: String, path: String) {
            if let Ok(base) = text.parse::<BasePath>() {
                prop_assert_eq!(base.as_str().parse::<BasePath>(), Ok(base.clone()));
                let _ = base.route(&path);
            }
            let _ = BasePath("/files/".into()).route(&format!("/files/{path}"));
        }
    }
}
