//! Names of files, as clients give them: kept, cleaned or refused by a rule. Pure.
//!
//! No name becomes a path here, whatever is in it. It is told to others, though, who show it or save a file under it, and a
//! name can deceive them: by characters that are not seen, or that turn the direction of text, by separators and control
//! characters, and by two extensions of which the first is believed and the second one runs.

use std::borrow::Cow;

use bytes::Bytes;

use crate::protocol::disposition::safe_name;
use crate::protocol::metadata::UploadMetadata;

/// What becomes of names that could deceive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NamePolicy {
    /// They stay as they are.
    #[default]
    Keep,
    /// They are made harmless.
    Clean,
    /// Their upload is refused.
    Refuse,
}

/// A name that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} in the metadata is no good name for a file: {1}")]
pub struct BadName(pub &'static str, pub &'static str);

/// The keys under which clients send a file's name.
const KEYS: [&str; 2] = ["filename", "name"];

/// What is opened as a document, a picture and the like: nobody expects a program.
const HARMLESS: &[&str] = &[
    "pdf", "doc", "docx", "rtf", "odt", "xls", "xlsx", "ods", "csv", "ppt", "pptx", "odp", "txt",
    "md", "htm", "html", "jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff", "heic", "svg",
    "mp3", "wav", "flac", "ogg", "m4a", "mp4", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "wmv",
    "zip", "rar", "7z", "epub", "eml",
];

/// What runs when it is opened, or where a web server finds it. The README lists it.
const RUNS: &[&str] = &[
    "exe",
    "com",
    "scr",
    "pif",
    "bat",
    "cmd",
    "msi",
    "msix",
    "msp",
    "cpl",
    "dll",
    "vbs",
    "vbe",
    "vb",
    "js",
    "jse",
    "ws",
    "wsf",
    "wsh",
    "wsc",
    "sct",
    "hta",
    "ps1",
    "psm1",
    "ps2",
    "lnk",
    "url",
    "scf",
    "inf",
    "reg",
    "jar",
    "jnlp",
    "class",
    "apk",
    "ipa",
    "app",
    "command",
    "dmg",
    "pkg",
    "deb",
    "rpm",
    "sh",
    "bash",
    "zsh",
    "run",
    "appimage",
    "desktop",
    "gadget",
    "application",
    "appref-ms",
    "chm",
    "xll",
    "xlam",
    "docm",
    "dotm",
    "xlsm",
    "xltm",
    "pptm",
    "ppam",
    "php",
    "phtml",
    "phar",
    "asp",
    "aspx",
    "jsp",
    "jspx",
    "cgi",
    "py",
    "pyw",
    "pl",
    "rb",
    "iso",
    "img",
    "vhd",
    "vhdx",
];

impl NamePolicy {
    /// A name that was let in with [`NamePolicy::apply`], as it is kept.
    #[must_use]
    pub fn name(self, name: String) -> String {
        match self {
            Self::Clean if flaw(name.as_bytes()).is_some() => clean(name.as_bytes()),
            _ => name,
        }
    }

    /// Metadata with the names in it as the policy wants them.
    ///
    /// # Errors
    /// `BadName`, where such names are refused.
    pub fn apply(self, metadata: Option<Bytes>) -> Result<Option<Bytes>, BadName> {
        let raw = match metadata {
            Some(raw) if self != Self::Keep => raw,
            other => return Ok(other),
        };
        let Ok(parsed) = UploadMetadata::parse(&raw) else {
            return Ok(Some(raw));
        };
        let mut changed = false;
        let mut pairs = Vec::new();
        for (key, value) in parsed.pairs() {
            let named = KEYS.into_iter().find(|known| *known == key);
            if let Some(key) = named
                && let Some(flaw) = flaw(&value)
            {
                if self == Self::Refuse {
                    return Err(BadName(key, flaw));
                }
                changed = true;
                pairs.push((key, clean(&value).into_bytes()));
            } else {
                pairs.push((key, value));
            }
        }
        let cleaned = UploadMetadata::of(pairs.iter().map(|(key, value)| (*key, &value[..])));
        Ok(Some(match cleaned {
            Ok(cleaned) if changed => Bytes::copy_from_slice(cleaned.raw()),
            _ => raw,
        }))
    }
}

/// What is wrong with a name. One that is empty is none, and harmless.
#[must_use]
pub fn flaw(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        return None;
    }
    let Ok(text) = std::str::from_utf8(name) else {
        return Some("it is not UTF-8");
    };
    if text != safe_name(name) {
        return Some(
            "it is too long or nothing but dots, begins or ends with a blank, or has separators, control characters, invisible ones, or \
             ones that turn the direction of text",
        );
    }
    if text.ends_with('.') {
        return Some("it ends with a dot");
    }
    disguise(text).map(|_| "behind the extension of a document there is one of a program")
}

/// The name without its flaws; the same for one that has none.
///
/// What is harmful in it becomes `_`; blanks and dots at the end go; of two extensions, the first one's dot becomes `_`, so that
/// what the file is stands alone: `invoice_pdf.exe`. What is left of nothing is `unnamed`.
#[must_use]
pub fn clean(name: &[u8]) -> String {
    let safe = safe_name(name);
    let mut text = safe.trim_end_matches(is_dot_or_blank).to_owned();
    while let Some(dot) = disguise(&text) {
        text.replace_range(dot..=dot, "_");
    }
    if text.is_empty() && !name.is_empty() {
        return "unnamed".into();
    }
    text
}

fn is_dot_or_blank(c: char) -> bool {
    c == '.' || c.is_whitespace()
}

/// Where the dot of a believed extension stands before one that runs, whatever dots and blanks are between them.
fn disguise(name: &str) -> Option<usize> {
    let (rest, last) = name.rsplit_once('.')?;
    let (stem, before) = rest.trim_end_matches(is_dot_or_blank).rsplit_once('.')?;
    let is = |list: &[&str], extension: &str| {
        let extension: Cow<'_, str> = extension.trim().to_ascii_lowercase().into();
        list.contains(&extension.as_ref())
    };
    (!stem.is_empty() && is(RUNS, last) && is(HARMLESS, before)).then_some(stem.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_left_alone() {
        for good in [
            "invoice.pdf",
            "setup.exe",
            "archive.tar.gz",
            "jquery.min.js",
            "app.test.js",
            "Ödön & søn – 2.jpg",
            "файл.txt",
            "資料.docx",
            "شهادة.pdf",
            ".bashrc",
            "a b  c.txt",
            "no-extension",
            "v1.2.3.exe",
            ".pdf.exe",
            "a..b.exe",
            "v1.pdf. notes.exe",
            "می\u{200c}دانم.pdf",
            "क्\u{200d}ष.txt",
            "\u{1f469}\u{200d}\u{1f680}.jpg",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "",
        ] {
            assert_eq!(flaw(good.as_bytes()), None, "{good}");
            assert_eq!(clean(good.as_bytes()), good);
        }
    }

    #[test]
    fn bad_names_are_seen_and_mended() {
        let long = "é".repeat(300);
        for (bad, mended) in [
            ("invoice.pdf.exe", "invoice_pdf.exe"),
            ("Photo.JPG.Scr", "Photo_JPG.Scr"),
            ("invoice.pdf          .exe", "invoice_pdf          .exe"),
            ("a.pdf.exe.", "a_pdf.exe"),
            ("invoice.pdf..exe", "invoice_pdf..exe"),
            ("invoice.pdf. .exe", "invoice_pdf. .exe"),
            (
                "invoice.pdf.\u{a0}.\u{3000}.exe",
                "invoice_pdf.\u{a0}.\u{3000}.exe",
            ),
            ("a\u{a0}.", "a"),
            ("a.pdf.exe. . ", "a_pdf.exe"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("C:\\a.txt", "C:_a.txt"),
            ("a\0b\n.txt", "a_b_.txt"),
            ("invoice\u{202e}fdp.exe", "invoice_fdp.exe"),
            ("a\u{200b}.txt", "a_.txt"),
            ("invoice.pdf\u{2800}\u{3164}.exe", "invoice.pdf__.exe"),
            ("a\u{ad}\u{115f}\u{1160}\u{ffa0}b", "a____b"),
            ("a\u{e0001}\u{e0041}\u{e007f}b", "a___b"),
            // Joiners that join nothing.
            ("a\u{200d}b.txt", "a_b.txt"),
            ("é\u{200c}b\u{200c}é.txt", "é_b_é.txt"),
            ("é\u{200c}\u{200c}é.txt", "é__é.txt"),
            ("é\u{200d}\u{3000}é\u{200d}", "é_\u{3000}é_"),
            ("\u{200d}é\u{202e}\u{200d}é", "_é__é"),
            ("\u{2066}a\u{2069}.txt", "_a_.txt"),
            (" a.txt ", "a.txt"),
            ("a.txt.", "a.txt"),
            ("...", "unnamed"),
            (&format!("{long}.txt"), &format!("{}.txt", "é".repeat(118))),
        ] {
            assert!(flaw(bad.as_bytes()).is_some(), "{bad:?}");
            assert_eq!(clean(bad.as_bytes()), *mended, "{bad:?}");
            assert_eq!(flaw(mended.as_bytes()), None, "{mended:?}");
        }
        assert_eq!(clean(b"a\xff.txt"), "a_.txt");
        assert!(flaw(b"a\xff.txt").is_some());
    }

    #[test]
    fn the_readme_tells_which_extensions() {
        let readme = include_str!("../../README.md");
        let words: Vec<_> = readme.split_whitespace().collect();
        let words = words.join(" ");
        for list in [HARMLESS, RUNS] {
            assert!(words.contains(&format!("`{}`", list.join(" "))));
        }
    }

    fn metadata(name: &str) -> Bytes {
        let pairs = [
            ("k", &b"\xff"[..]),
            ("name", name.as_bytes()),
            ("empty", b""),
        ];
        let metadata = UploadMetadata::of(pairs).unwrap();
        Bytes::copy_from_slice(metadata.raw())
    }

    #[test]
    fn metadata_is_kept_cleaned_or_refused() {
        let (good, bad) = (Some(metadata("a.txt")), Some(metadata("a/b.txt")));
        assert_eq!(NamePolicy::Keep.apply(bad.clone()), Ok(bad.clone()));
        assert_eq!(NamePolicy::Clean.apply(None), Ok(None));
        for policy in [NamePolicy::Clean, NamePolicy::Refuse] {
            assert_eq!(
                policy.apply(good.clone()),
                Ok(good.clone()),
                "byte for byte"
            );
        }
        assert_eq!(
            NamePolicy::Clean.apply(bad.clone()),
            Ok(Some(metadata("a_b.txt")))
        );
        let refused = NamePolicy::Refuse.apply(bad).unwrap_err();
        assert_eq!(refused.0, "name");
    }

    proptest::proptest! {
        #[test]
        fn what_was_cleaned_is_clean(
            name in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            text in ".{0,80}",
            sly in "[.é\u{200c}\u{200d}\u{202e}\u{a0} ]{0,200}([.]pdf)?[. \u{a0}]{0,3}([.]exe)?",
        ) {
            for name in [&name[..], text.as_bytes(), sly.as_bytes()] {
                let cleaned = clean(name);
                proptest::prop_assert_eq!(flaw(cleaned.as_bytes()), None);
                proptest::prop_assert_eq!(clean(cleaned.as_bytes()), cleaned);
            }
        }
    }
}
