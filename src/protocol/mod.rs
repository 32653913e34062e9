//! The wire, typed: one header a file, parsed once and strictly. Pure, no I/O.
//!
//! Headers of tus 1.0: [`offset`], [`length`], [`metadata`], [`concat`](mod@concat), [`checksum`], [`expires`], [`version`],
//! [`method`], [`media`]. Sessions: [`bearer`], [`sha256`]. URLs: [`base_path`], [`location`]. Downloads: [`conditional`], [`range`], [`disposition`].

pub mod address;
pub(crate) mod authority;
pub mod base_path;
pub mod bearer;
pub mod checksum;
pub mod concat;
pub mod conditional;
pub mod disposition;
pub mod expires;
mod forwarded;
pub mod length;
pub mod location;
pub mod media;
pub mod metadata;
pub mod method;
pub mod offset;
#[cfg(test)]
mod properties;
mod public_url;
pub mod range;
pub mod sha256;
pub mod version;

use http::{HeaderMap, HeaderValue};

/// A header that is missing or cannot be read; the name is the header's, in its usual spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is required.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// It came more than once.
    #[error("the header {0} came more than once")]
    Repeated(&'static str),
    /// Its value is not of the form it must have.
    #[error("the header {0} is malformed")]
    Malformed(&'static str),
    /// It must not stand beside another one.
    #[error("the headers {0} and {1} exclude each other")]
    Conflict(&'static str, &'static str),
}

/// The header's one value, if it came.
///
/// # Errors
/// `Repeated` if it came more than once, equal values or not: no tus header is a list over several lines.
pub(crate) fn one<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h HeaderValue>, HeaderError> {
    let mut all = headers.get_all(name).iter();
    let first = all.next();
    match all.next() {
        Some(_) => Err(HeaderError::Repeated(name)),
        None => Ok(first),
    }
}

/// A count of bytes: decimal digits and nothing else, `0..=2^63-1` (what a file's offset can be). Leading zeros are read.
///
/// # Errors
/// `Malformed`. Source: tus 1.0.0, `Upload-Offset` and `Upload-Length`: "a non-negative integer".
pub(crate) fn bytes_count(name: &'static str, value: &HeaderValue) -> Result<u64, HeaderError> {
    // `str::parse` takes "+5", tus does not.
    let digits = value.as_bytes();
    if digits.is_empty() {
        return Err(HeaderError::Malformed(name));
    }
    let mut count = 0_i64;
    for digit in digits {
        count = Some(digit)
            .filter(|digit| digit.is_ascii_digit())
            .and_then(|digit| count.checked_mul(10)?.checked_add(i64::from(digit - b'0')))
            .ok_or(HeaderError::Malformed(name))?;
    }
    Ok(count.unsigned_abs())
}

/// `text` without the blanks and tabs around it (RFC 9110, 5.6.3, OWS).
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|b| !blank(b))
        .map_or(start, |at| at + 1);
    &text[start..end]
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the table tests of the headers share.

    use http::header::HeaderName;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    /// A head of these headers, in this order; a name may come again.
    pub(crate) fn head<V: AsRef<[u8]>>(headers: &[(&str, V)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_ref()).unwrap(),
            );
        }
        map
    }

    /// Any bytes that can stand in a header's value: no control characters but the tab.
    pub(crate) fn any_value() -> impl Strategy<Value = HeaderValue> {
        let byte = prop_oneof![8 => 0x20_u8..0x7f, 1 => 0x80_u8.., 1 => Just(b'\t')];
        proptest::collection::vec(byte, 0..200).prop_filter_map("a header's value", |bytes| {
            HeaderValue::from_bytes(&bytes).ok()
        })
    }

    /// Values that are no count of bytes, for every header that must be one.
    pub(crate) fn no_counts() -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = [
            "",
            "+5",
            "-5",
            "-0",
            "5 ",
            " 5",
            "5\t",
            "1 2",
            "1,2",
            "5,",
            "0x5",
            "5.0",
            "5e3",
            "1_000",
            "five",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999",
            "NaN",
            "\u{665}",
            "\u{ff15}",
        ]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
        all.push(b"5\xff".to_vec());
        all.push(vec![b'9'; 60_000]);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_blanks_only() {
        for (text, trimmed) in [
            ("", ""),
            (" ", ""),
            (" \t ", ""),
            ("a", "a"),
            (" a", "a"),
            ("a\t", "a"),
            ("\t a b ", "a b"),
        ] {
            assert_eq!(trim(text.as_bytes()), trimmed.as_bytes(), "{text:?}");
        }
    }
}
