//! A list of media types, as operators write it.

use std::fmt;
use std::str::FromStr;

/// Media types, each whole (`image/png`) or all of a kind (`image/*`). None at all by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeList(Vec<String>);

/// Text that is no list of media types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no media type: write image/png, or image/* for all images, separated by commas")]
pub struct NotATypeList(String);

impl TypeList {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a media type, in lower case and without parameters, is on it.
    #[must_use]
    pub fn has(&self, media: &str) -> bool {
        self.0.iter().any(|listed| match listed.strip_suffix('*') {
            Some(kind) => media.starts_with(kind),
            None => listed == media,
        })
    }
}

impl FromStr for TypeList {
    type Err = NotATypeList;

    fn from_str(text: &str) -> Result<Self, NotATypeList> {
        let name = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let listed = text.split(',').map(str::trim).filter(|s| !s.is_empty());
        let one = |text: &str| match text.split_once('/') {
            Some((kind, sub)) if name(kind) && (sub == "*" || name(sub)) => {
                Ok(text.to_ascii_lowercase())
            }
            _ => Err(NotATypeList(text.to_owned())),
        };
        listed.map(one).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for TypeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_strictly() {
        let list: TypeList = " image/*, Application/PDF,".parse().unwrap();
        for (media, listed) in [
            ("image/png", true),
            ("application/pdf", true),
            ("application/pdfx", false),
            ("imagex/png", false),
            ("text/plain", false),
        ] {
            assert_eq!(list.has(media), listed, "{media}");
        }
        assert_eq!(list.to_string(), "image/*,application/pdf");
        assert!("".parse::<TypeList>().unwrap().is_empty());
        for bad in [
            "image", "*/*", "/png", "image/", "image/p*", "a b/c", "a/b/c",
        ] {
            assert!(bad.parse::<TypeList>().is_err(), "{bad}");
        }
    }
}
