//! What an upload's first bytes are, held against what they are said to be. Pure: bytes and metadata in, a verdict out.
//!
//! Magic numbers tell a format, or a family of formats: a Word document begins as any zip archive does, and an SVG as any XML.
//! What is declared need only be of a family with what is found (`families`). What has no magic number, as text and many rare
//! formats, is found to be nothing, and taken unless the operator is strict.

mod families;

use self::families::{FAMILIES, NOTHING, PROGRAMS, SETTLED, VAGUE};
use super::types::{self, MediaTypes, essence, extension};

/// Bytes that are looked at.
pub const HEAD: usize = 4096;

/// What the operator wants of first bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sniff {
    /// What is not recognized is refused.
    pub strict: bool,
    /// Types that are taken; all of them if it is empty.
    pub allow: MediaTypes,
    /// Types that are not.
    pub deny: MediaTypes,
}

/// What a client says of its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// `filetype`, in lower case and without parameters; `None` where it says nothing.
    media: Option<String>,
    /// Of the file's name, in lower case.
    extension: Option<String>,
}

/// Bytes that are not what they are said to be, or not what is taken here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are {found}, {why}")]
pub struct Mismatch {
    /// The media type that was found, or `of no known type`.
    pub found: &'static str,
    why: String,
}

/// What first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// A magic number.
    Type(&'static str),
    /// No magic number, and nothing that could not be read.
    Text,
    Unknown,
}

impl Declared {
    /// What `Upload-Metadata` says.
    #[must_use]
    pub fn of(metadata: Option<&[u8]>) -> Self {
        let declared = types::Declared::by(metadata);
        let media = declared.media.as_deref().map(essence);
        Self {
            media: media.filter(|media| !NOTHING.contains(&media.as_str())),
            extension: declared.name.as_deref().and_then(extension),
        }
    }
}

impl Sniff {
    /// The verdict on first bytes: [`HEAD`] of them, or all there are.
    ///
    /// # Errors
    /// What does not fit.
    pub fn judge(&self, head: &[u8], declared: &Declared) -> Result<(), Mismatch> {
        if head.is_empty() {
            return Ok(());
        }
        let found = look(head);
        let media = match found {
            Found::Type(media) => media,
            Found::Text => "text/plain",
            Found::Unknown => "of no known type",
        };
        let refuse = |why: String| Err(Mismatch { found: media, why });
        if self.strict && found == Found::Unknown {
            return refuse("and only known types are taken here".into());
        }
        // Without a magic number nothing is proven.
        let proven = matches!(found, Found::Type(_)) || (self.strict && found == Found::Text);
        if proven && let Some(other) = &declared.media {
            // What nobody knows may be anything, but no program, and to the strict no text.
            let sure = PROGRAMS.contains(&media) || (self.strict && media.starts_with("text/"));
            if (sure || is_known(other)) && !are_related(media, other) {
                return refuse(format!("and were declared as {other:.100}"));
            }
        }
        if proven
            && let Some(other) = &declared.extension
            && !may_have_extension(media, other)
        {
            return refuse(format!("and the name says .{other:.20}"));
        }
        self.lists(found, declared)
            .or_else(|why| refuse(why.into()))
    }

    /// The verdict on fewer bytes than that, as far as it stands whatever follows them.
    ///
    /// # Errors
    /// What does not fit.
    pub fn foresee(&self, head: &[u8], declared: &Declared) -> Result<(), Mismatch> {
        match look(head) {
            Found::Type(media) if SETTLED.contains(&media) || PROGRAMS.contains(&media) => {
                self.judge(head, declared)
            }
            _ => Ok(()),
        }
    }

    /// The lists are held against what was found; where that leaves open which of its family it is, against what was declared.
    fn lists(&self, found: Found, declared: &Declared) -> Result<(), &'static str> {
        let said = declared.media.as_deref();
        // A type that no family has is as good as an invented one.
        let of_its_family = |media| said.filter(|said| are_related(media, said)).or(Some(media));
        let media = match found {
            Found::Type(media) if VAGUE.contains(&media) => of_its_family(media),
            Found::Type(media) => Some(media),
            Found::Text => of_its_family("text/plain"),
            Found::Unknown => said,
        };
        if media.is_some_and(|media| self.deny.has(media)) {
            return Err("and that is not taken here");
        }
        if !self.allow.is_empty() && !media.is_some_and(|media| self.allow.has(media)) {
            return Err("and only other types are taken here");
        }
        Ok(())
    }
}

/// The media type that first bytes tell, [`HEAD`] of them or all there are; `None`: none that is known.
#[must_use]
pub fn detect(head: &[u8]) -> Option<&'static str> {
    match look(head) {
        Found::Type(media) => Some(media),
        Found::Text => Some("text/plain"),
        Found::Unknown => None,
    }
}

/// What first bytes tell. What can be read as text is no binary format, even if it begins with `BM` or `MZ`.
fn look(head: &[u8]) -> Found {
    let found = infer::get(head);
    if is_text(head) {
        return match found.map(|found| found.mime_type()) {
            Some(
                media @ ("text/html"
                | "text/xml"
                | "text/x-shellscript"
                | "application/rtf"
                | "application/postscript"),
            ) => Found::Type(media),
            // Else it only speaks of one.
            Some(media @ "application/pdf") if begins(head, b"%PDF") => Found::Type(media),
            _ => Found::Text,
        };
    }
    match found.map(|found| (found.mime_type(), found.extension())) {
        None if head.get(4..8) == Some(b"ftyp") => Found::Type(of_brand(head.get(8..12))),
        None if head.starts_with(b"\x1a\x45\xdf\xa3") => Found::Type("video/x-matroska"),
        // Two bytes that much else begins with.
        Some((_, "obj" | "der" | "eot") | ("application/octet-stream", _)) | None => Found::Unknown,
        // The compound file, whatever is in it.
        Some(("application/msword", _)) => Found::Type("application/x-ole-storage"),
        Some((media, _)) => Found::Type(media),
    }
}

/// ISO base media of a brand that is not recognized otherwise.
fn of_brand(major: Option<&[u8]>) -> &'static str {
    match major {
        Some(
            b"mif1" | b"mif2" | b"msf1" | b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx"
            | b"hevm" | b"hevs",
        ) => "image/heif",
        Some(b"avif" | b"avis") => "image/avif",
        Some(b"crx ") => "image/x-canon-cr3",
        // A film, of a brand that has come since.
        _ => "video/mp4",
    }
}

fn begins(head: &[u8], with: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    head.trim_ascii_start().starts_with(with)
}

fn is_text(head: &[u8]) -> bool {
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return head.len().is_multiple_of(2)
            && head.len() > 2
            && !head.chunks(2).any(|pair| pair == [0, 0]);
    }
    let whole = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let plain =
        |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}' | '\u{8}' | '\u{1b}');
    !whole.is_empty() && whole.chars().all(plain)
}

fn is_known(media: &str) -> bool {
    FAMILIES.iter().any(|family| family.has_type(media))
}

/// Whether what was found may be what was declared, as far as types are known.
fn are_related(found: &str, declared: &str) -> bool {
    let has_both = |family: &families::Family| family.has_type(found) && family.has_type(declared);
    found == declared || FAMILIES.iter().any(has_both)
}

fn may_have_extension(found: &str, extension: &str) -> bool {
    let mut families = FAMILIES
        .iter()
        .filter(|family| family.has_extension(extension))
        .peekable();
    families.peek().is_none() || families.any(|family| family.has_type(found))
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
