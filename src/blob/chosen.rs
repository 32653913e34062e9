//! The path that a hook chooses for an upload's finished file. Only what was parsed comes near a system call.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What the server itself keeps at the top of the directory, and what a file system does.
const OURS: [&str; 8] = [
    "boot",
    "files",
    "info",
    "lost+found",
    "quarantine",
    "segments",
    "sessions",
    "state",
];

/// A relative path: names joined by `/`, none of them empty, `..`, longer than [`ChosenPath::NAME`] bytes or with a control
/// character, and the first of them none that the server uses. A name `.` is left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChosenPath(Arc<str>);

/// Why a text is no [`ChosenPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Nothing is left of it.
    #[error("it is empty")]
    Empty,
    /// It begins with `/`.
    #[error("it is absolute")]
    Absolute,
    /// An empty name, also at its end.
    #[error("it has an empty name")]
    EmptyName,
    /// It leads upwards.
    #[error("it has `..`")]
    Upwards,
    /// A name, or all of it.
    #[error("it is too long")]
    TooLong,
    /// Also a NUL.
    #[error("it has a control character")]
    Control,
    /// It begins with a name that the server uses.
    #[error("its first name is one of the server's own")]
    Ours,
}

impl ChosenPath {
    /// Longest path in bytes.
    pub const MAX: usize = 1024;
    /// Longest name in bytes, as file systems have it.
    pub const NAME: usize = 255;

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory that the file is to lie in, empty for the top; and the file's own name.
    #[must_use]
    pub fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }

    /// The directories above the file, the lowest first, without the top.
    pub fn above(&self) -> impl Iterator<Item = &str> {
        let ends = self.0.rmatch_indices('/');
        ends.map(|(end, _)| &self.0[..end])
    }
}

/// Whether the server uses this name, for a draft or for what it sets aside too: also where upper and lower case are one.
fn is_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('~').unwrap_or(&name);
    OURS.contains(&name) || name.starts_with("state.damaged-")
}

impl FromStr for ChosenPath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        if text.is_empty() {
            return Err(BadPath::Empty);
        }
        if text.starts_with('/') {
            return Err(BadPath::Absolute);
        }
        let mut names = Vec::new();
        for name in text.split('/') {
            match name {
                "" => return Err(BadPath::EmptyName),
                ".." => return Err(BadPath::Upwards),
                "." => {}
                name if name.len() > Self::NAME => return Err(BadPath::TooLong),
                name if name.chars().any(char::is_control) => return Err(BadPath::Control),
                name => names.push(name),
            }
        }
        // A directory is no file: `a/.` is not `a`.
        if names.is_empty() || text.ends_with("/.") {
            return Err(BadPath::Empty);
        }
        if is_ours(names[0]) {
            return Err(BadPath::Ours);
        }
        let path = names.join("/");
        if path.len() > Self::MAX {
            return Err(BadPath::TooLong);
        }
        Ok(Self(path.into()))
    }
}

impl TryFrom<String> for ChosenPath {
    type Error = BadPath;

    fn try_from(text: String) -> Result<Self, BadPath> {
        text.parse()
    }
}

impl From<ChosenPath> for String {
    fn from(path: ChosenPath) -> Self {
        path.0.as_ref().to_owned()
    }
}

impl fmt::Display for ChosenPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_and_off_the_servers_own() {
        let long = "a".repeat(255);
        for good in [
            "a",
            "users/7/talk.mp4",
            "..a/b..",
            "é/ ü",
            "files-of-7/x",
            "info.txt",
            &long,
        ] {
            let path: ChosenPath = good.parse().unwrap();
            assert_eq!(path.as_str(), good);
        }
        // As tusd's documentation has it.
        let dotted: ChosenPath = "./upload-e7/./a.pdf".parse().unwrap();
        assert_eq!(dotted.as_str(), "upload-e7/a.pdf");
        assert_eq!(dotted.split(), ("upload-e7", "a.pdf"));
        let deep: ChosenPath = "a/b/c".parse().unwrap();
        assert_eq!(deep.above().collect::<Vec<_>>(), ["a/b", "a"]);
        let (over, deep) = (format!("{long}a"), "a/".repeat(600) + "a");
        for (bad, why) in [
            ("", BadPath::Empty),
            (".", BadPath::Empty),
            ("./.", BadPath::Empty),
            ("a/.", BadPath::Empty),
            ("/etc/passwd", BadPath::Absolute),
            ("//a", BadPath::Absolute),
            ("a//b", BadPath::EmptyName),
            ("a/", BadPath::EmptyName),
            ("..", BadPath::Upwards),
            ("a/../../b", BadPath::Upwards),
            ("a/b/..", BadPath::Upwards),
            ("./../a", BadPath::Upwards),
            ("a\0b", BadPath::Control),
            ("a\n", BadPath::Control),
            ("a\u{9b}b", BadPath::Control),
            (&over, BadPath::TooLong),
            (&deep, BadPath::TooLong),
            ("files/ab/x", BadPath::Ours),
            ("./Files/x", BadPath::Ours),
            ("state", BadPath::Ours),
            ("state.damaged-1/db", BadPath::Ours),
            ("boot~", BadPath::Ours),
            ("quarantine/x", BadPath::Ours),
        ] {
            assert_eq!(bad.parse::<ChosenPath>(), Err(why), "{bad:?}");
        }
    }
}
