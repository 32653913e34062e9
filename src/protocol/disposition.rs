//! How a browser takes a download: `Content-Type` and `Content-Disposition`, out of metadata that is the uploader's.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::trim;

/// What a type is when nothing better is known.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// Longest file name sent, in bytes of UTF-8: fits every file system.
const NAME_MAX: usize = 240;

/// Longest extension that is kept when a name is cut.
const EXTENSION_MAX: usize = 20;

/// Longest media type sent.
const TYPE_MAX: usize = 255;

/// All but RFC 8187's `attr-char`.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `Content-Disposition`: `inline` or `attachment`, with the file's name where there is one.
///
/// In the name, `_` takes the place of what could deceive or do harm (control characters, path separators, invisible
/// characters, ones that turn the direction of text, bytes that are not UTF-8), and it is cut to 240 bytes before its
/// extension. `filename` is ASCII; `filename*` follows only where that is not the whole name. The value is visible ASCII.
/// Source: RFC 6266, 4 and appendix D; RFC 8187, 3.2.
#[must_use]
pub fn content_disposition(filename: Option<&[u8]>, inline: bool) -> String {
    let mut value = String::from(if inline { "inline" } else { "attachment" });
    let name = filename.map(safe_name).unwrap_or_default();
    if name.is_empty() {
        return value;
    }
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii() && c != '"' { c } else { '_' })
        .collect();
    // Writing to a string does not fail.
    let _ = write!(value, "; filename=\"{plain}\"");
    // Some browsers take a %41 in `filename` for an A.
    if plain != name || name.contains('%') {
        let _ = write!(
            value,
            "; filename*=UTF-8''{}",
            utf8_percent_encode(&name, NOT_ATTR_CHAR)
        );
    }
    value
}

/// The name without what could do harm; empty if it was nothing but dots and blanks.
pub(crate) fn safe_name(name: &[u8]) -> String {
    let name = without_harm(&String::from_utf8_lossy(name));
    let name = name.trim();
    if name.chars().all(|c| c == '.') {
        return String::new();
    }
    if name.len() <= NAME_MAX {
        return name.to_owned();
    }
    let dot = name
        .rfind('.')
        .filter(|dot| name.len() - dot <= EXTENSION_MAX);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let room = stem.floor_char_boundary(NAME_MAX - extension.len());
    let stem = stem[..room].trim_end_matches(is_joiner);
    format!("{stem}{extension}")
}

/// The name with `_` for what is harmful. Joiners are not where they join: Persian words, letters of India and emoji are
/// written with them. Both neighbours tell: they are neither ASCII nor blank nor harmful.
fn without_harm(name: &str) -> String {
    let joins = |c: char| !c.is_ascii() && !c.is_whitespace() && !is_harmful(c);
    let mut before = None;
    let mut rest = name.chars();
    let mut safe = String::with_capacity(name.len());
    while let Some(c) = rest.next() {
        let joined =
            is_joiner(c) && before.is_some_and(joins) && rest.clone().next().is_some_and(joins);
        safe.push(if is_harmful(c) && !joined { '_' } else { c });
        before = Some(c);
    }
    safe
}

/// U+200C and U+200D.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '/' | '\\' | '\u{fffd}' | '\u{feff}' | '\u{61c}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        // Not seen either: the soft hyphen, fillers of Hangul, Braille without a dot, tags.
        || matches!(c, '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}')
        || matches!(c, '\u{e0001}'..='\u{e007f}')
}

/// `Content-Type`: the metadata's `filetype` as it stands if it is a well-formed media type of visible ASCII and blanks, at
/// most 255 bytes, else [`OCTET_STREAM`]. To be sent with `nosniff`.
/// Source: RFC 9110, 8.3.1, with type and subtype as RFC 6838, 4.2, names them (so no `*/*`).
#[must_use]
pub fn content_type(filetype: Option<&[u8]>) -> String {
    let text = trim(filetype.unwrap_or_default());
    // The grammar has tabs where it has blanks.
    let well_formed = text.len() <= TYPE_MAX && !text.contains(&b'\t') && is_media_type(text);
    let text = std::str::from_utf8(text).ok().filter(|_| well_formed);
    text.unwrap_or(OCTET_STREAM).to_owned()
}

fn is_media_type(text: &[u8]) -> bool {
    let essence_ends = text
        .iter()
        .position(|byte| *byte == b';')
        .unwrap_or(text.len());
    let (essence, parameters) = text.split_at(essence_ends);
    let mut halves = trim(essence).splitn(2, |byte| *byte == b'/');
    let restricted = |name: &[u8]| {
        name.first().is_some_and(u8::is_ascii_alphanumeric)
            && name
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(b))
    };
    halves.next().is_some_and(restricted)
        && halves.next().is_some_and(restricted)
        && are_parameters(parameters)
}

/// `*( OWS ";" OWS [ token "=" ( token / quoted-string ) ] )`
fn are_parameters(mut text: &[u8]) -> bool {
    loop {
        let Some(rest) = trim(text).strip_prefix(b";") else {
            return trim(text).is_empty();
        };
        let rest = trim(rest);
        let (name, rest) = rest.split_at(token_len(rest));
        text = match (name, rest.strip_prefix(b"=")) {
            ([], None) => rest,
            ([], _) | (_, None) => return false,
            (_, Some(value)) => match token_len(value).max(quoted_len(value)) {
                0 => return false,
                len => &value[len..],
            },
        };
    }
}

fn token_len(text: &[u8]) -> usize {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    text.iter()
        .position(|byte| !token(byte))
        .unwrap_or(text.len())
}

/// Length of the quoted string of printable ASCII that `text` starts with, 0 for none.
fn quoted_len(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' if at > 0 && !escaped => return at + 1,
            b'"' => escaped = false,
            _ if at == 0 => return 0,
            b'\\' => escaped = !escaped,
            b' '..=b'~' => escaped = false,
            _ => return 0,
        }
    }
    0
}

/// Whether a browser may show a file of this type in place: only what cannot script. That is plain text, sound, moving
/// pictures and pictures, except those written in XML (SVG). No PDF, as with tusd: its readers are rich in holes.
#[must_use]
pub fn may_inline(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.split_once('/') {
        Some(("image" | "audio" | "video", subtype)) => {
            !subtype.is_empty() && !subtype.contains("svg") && !subtype.contains("xml")
        }
        _ => matches!(essence.as_str(), "text/plain" | "application/ogg"),
    }
}

#[cfg(test)]
mod tests;
