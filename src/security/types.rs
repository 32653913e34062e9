//! Which files are taken: lists of media types and of extensions, and the judgement of what a client declares.
//!
//! What is denied is refused, whatever is allowed. Where something is allowed by name, a file that declares nothing is
//! refused as well. A part of a final upload is no file yet: what it does not declare is no reason to refuse it.

use std::str::FromStr;

use crate::protocol::metadata::UploadMetadata;
use crate::units;

/// Media types: `image/png`, `image/*`, `*/*`; without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaTypes(Vec<String>);

/// Extensions of file names, without the dot; without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions(Vec<String>);

/// Text that is no such list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not {1}")]
pub struct NotAList(String, &'static str);

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

impl MediaTypes {
    /// Of these names.
    ///
    /// # Errors
    /// For one that is neither `type/subtype` nor `type/*` nor `*/*`.
    pub fn of<'t>(names: impl IntoIterator<Item = &'t str>) -> Result<Self, NotAList> {
        let checked = |name: &'t str| {
            let (kind, sub) = name.split_once('/').unwrap_or_default();
            let good = (is_name(kind) && (sub == "*" || is_name(sub))) || name == "*/*";
            good.then(|| name.to_ascii_lowercase())
                .ok_or_else(|| NotAList(name.into(), "a media type such as image/png or image/*"))
        };
        names
            .into_iter()
            .map(checked)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a media type is one of these; its parameters are passed over.
    #[must_use]
    pub fn has(&self, media: &str) -> bool {
        let essence = essence(media);
        let kind = essence.split('/').next().unwrap_or_default();
        self.0.iter().any(|one| match one.strip_suffix("/*") {
            Some("*") => true,
            Some(all_of) => all_of == kind,
            None => *one == essence,
        })
    }
}

impl FromStr for MediaTypes {
    type Err = NotAList;

    fn from_str(text: &str) -> Result<Self, NotAList> {
        Self::of(units::list(text))
    }
}

impl Extensions {
    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an extension is one of these.
    #[must_use]
    pub fn has(&self, extension: &str) -> bool {
        self.0.iter().any(|one| one.eq_ignore_ascii_case(extension))
    }
}

impl FromStr for Extensions {
    type Err = NotAList;

    fn from_str(text: &str) -> Result<Self, NotAList> {
        let checked = |name: &str| {
            let bare = name.strip_prefix('.').unwrap_or(name);
            let good = !bare.is_empty() && !bare.contains(['.', '/', '\\']);
            good.then(|| bare.to_lowercase())
                .ok_or_else(|| NotAList(name.into(), "an extension such as png"))
        };
        units::list(text)
            .map(checked)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A media type without its parameters, in small letters.
pub(super) fn essence(media: &str) -> String {
    let essence = media.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// What follows the last dot of a file's name, in small letters. Dots and blanks at the end are none of it: some systems drop
/// them. A name that has a dot at its beginning alone has no extension.
pub(super) fn extension(name: &str) -> Option<String> {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let base = base.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    let (stem, extension) = base.rsplit_once('.')?;
    (!stem.is_empty()).then(|| extension.to_lowercase())
}

/// What a client says that its file is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// `filetype`, or `type`, in the metadata.
    pub media: Option<String>,
    /// `filename`, or `name`.
    pub name: Option<String>,
}

impl Declared {
    /// By `Upload-Metadata`, as it was received.
    #[must_use]
    pub fn by(metadata: Option<&[u8]>) -> Self {
        let metadata = metadata.and_then(|raw| UploadMetadata::parse(raw).ok());
        let first = |keys: [&str; 2]| {
            let found = |key| {
                metadata
                    .as_ref()?
                    .get(key)
                    .filter(|value| !value.is_empty())
            };
            let value = keys.into_iter().find_map(found)?;
            Some(String::from_utf8_lossy(&value).into_owned())
        };
        Self {
            media: first(["filetype", "type"]),
            name: first(["filename", "name"]),
        }
    }
}

/// What is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Types {
    /// Nothing but these; `None`: everything.
    pub allow: Option<MediaTypes>,
    /// None of these.
    pub deny: MediaTypes,
    /// No name but with one of these; empty: every name.
    pub allow_extensions: Extensions,
    /// No name with one of these.
    pub deny_extensions: Extensions,
}

/// Why a file is not taken, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// Its media type.
    #[error("files of type {0:?} are not taken here")]
    Media(String),
    /// It says nothing of its media type.
    #[error("say what the file is, as filetype in the metadata: only some types are taken here")]
    NoMedia,
    /// Its name's extension.
    #[error("files named .{0} are not taken here")]
    Extension(String),
    /// Its name says nothing.
    #[error(
        "name the file with its extension, as filename in the metadata: only some are taken here"
    )]
    NoExtension,
}

impl Types {
    /// The same, with what is allowed to one user.
    #[must_use]
    pub fn of_user(&self, own: Option<&[String]>) -> Self {
        let own = own.map(|own| {
            // What cannot be understood allows nothing; where lists are read from files it is refused there.
            let one = |name: &String| MediaTypes::of([name.as_str()]).ok();
            let list = own.iter().filter_map(one).flat_map(|list| list.0);
            MediaTypes(list.collect())
        });
        Self {
            allow: own.or_else(|| self.allow.clone()),
            ..self.clone()
        }
    }

    /// Whether every file is taken.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        *self == Self::default()
    }

    /// Judges what is declared of a file; of a `part`, which is none yet, only what it says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&self, declared: &Declared, part: bool) -> Result<(), NotAllowed> {
        match &declared.media {
            Some(media)
                if self.deny.has(media)
                    || self.allow.as_ref().is_some_and(|allow| !allow.has(media)) =>
            {
                return Err(NotAllowed::Media(media.clone()));
            }
            None if self.allow.is_some() && !part => return Err(NotAllowed::NoMedia),
            _ => {}
        }
        let allow = &self.allow_extensions;
        match declared.name.as_deref().and_then(extension) {
            Some(found)
                if self.deny_extensions.has(&found) || !(allow.is_empty() || allow.has(&found)) =>
            {
                Err(NotAllowed::Extension(found))
            }
            None if allow.is_empty() || (part && declared.name.is_none()) => Ok(()),
            None => Err(NotAllowed::NoExtension),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(allow: &str, deny: &str, allow_extensions: &str, deny_extensions: &str) -> Types {
        Types {
            allow: Some(allow.parse::<MediaTypes>().unwrap()).filter(|list| !list.is_empty()),
            deny: deny.parse().unwrap(),
            allow_extensions: allow_extensions.parse().unwrap(),
            deny_extensions: deny_extensions.parse().unwrap(),
        }
    }

    fn says(media: &str, name: &str) -> Declared {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Declared {
            media: some(media),
            name: some(name),
        }
    }

    #[test]
    fn lists_are_read_strictly() {
        for good in [
            "",
            "image/png",
            "image/*, video/mp4",
            "*/*",
            "application/x-a+b.c",
        ] {
            assert!(good.parse::<MediaTypes>().is_ok(), "{good}");
        }
        for bad in [
            "image",
            "image/",
            "/png",
            "*/png",
            "image/p*",
            "a b/c",
            "*",
            "image/png;q=1",
        ] {
            assert!(bad.parse::<MediaTypes>().is_err(), "{bad}");
        }
        for bad in ["tar.gz", "a/b", ".", ".."] {
            assert!(bad.parse::<Extensions>().is_err(), "{bad}");
        }
        assert_eq!("png,.JPG".parse::<Extensions>().unwrap().0, ["png", "jpg"]);
    }

    #[test]
    fn what_is_declared_is_judged() {
        let rules = types("image/*,video/mp4", "image/svg+xml", "", "exe");
        for good in [
            says("image/png", "a.png"),
            says("IMAGE/PNG; q=1", ""),
            says("video/mp4", "exe"),
            says("video/mp4", ".exe"),
        ] {
            assert_eq!(rules.judge(&good, false), Ok(()), "{good:?}");
        }
        for bad in [
            says("image/svg+xml", "a.svg"),
            says("Image/SVG+xml ;x", "a.svg"),
            says("video/webm", ""),
            says("imagery/png", ""),
            says("", "a.png"),
            says("image/png", "a.EXE"),
            says("image/png", "a.exe. "),
            says("image/png", "c:\\a.b\\x.exe"),
        ] {
            assert!(rules.judge(&bad, false).is_err(), "{bad:?}");
        }
        // A part need not say anything.
        assert_eq!(rules.judge(&says("", ""), true), Ok(()));
        assert!(rules.judge(&says("text/plain", ""), true).is_err());
        let rules = types("", "", "png,jpg", "");
        assert_eq!(rules.judge(&says("", "x/a.PNG"), false), Ok(()));
        assert_eq!(
            rules.judge(&says("", "a"), false),
            Err(NotAllowed::NoExtension)
        );
        assert_eq!(
            rules.judge(&says("", "a"), true),
            Err(NotAllowed::NoExtension)
        );
        assert_eq!(rules.judge(&says("", ""), true), Ok(()));
        assert!(rules.judge(&says("", "png"), false).is_err());
        assert_eq!(Types::default().judge(&says("", ""), false), Ok(()));
    }

    #[test]
    fn a_users_list_stands_for_the_servers() {
        let rules = types("image/*", "image/gif", "", "");
        let own = rules.of_user(Some(&["text/plain".into(), "image/*".into()]));
        assert_eq!(own.judge(&says("text/plain", ""), false), Ok(()));
        assert!(own.judge(&says("image/gif", ""), false).is_err());
        let nothing = rules.of_user(Some(&[]));
        assert!(nothing.judge(&says("image/png", ""), false).is_err());
        for blank in [" ", "; charset=utf-8"] {
            assert!(nothing.judge(&says(blank, ""), false).is_err(), "{blank:?}");
        }
        assert_eq!(rules.of_user(None), rules);
    }

    #[test]
    fn metadata_declares() {
        let by = |raw: &str| Declared::by(Some(raw.as_bytes()));
        assert_eq!(
            by("filename YS5wbmc=,filetype aW1hZ2UvcG5n"),
            says("image/png", "a.png")
        );
        assert_eq!(
            by("name YS5wbmc=,type aW1hZ2UvcG5n,filetype"),
            says("image/png", "a.png")
        );
        assert_eq!(Declared::by(None), Declared::default());
    }
}
