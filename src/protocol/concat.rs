//! `Upload-Concat`.

use http::HeaderMap;

use super::{HeaderError, one, trim};

/// The header's name.
pub const NAME: &str = "Upload-Concat";

/// The most parts a final can have.
pub const MAX_PARTS: usize = 10_000;

/// What a creation makes: a part, or an upload joined from parts.
/// Source: tus 1.0.0, Concatenation, Headers, `Upload-Concat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadConcat {
    /// `partial`.
    Partial,
    /// `final;` and the parts' URLs in their order, unresolved: absolute, absolute path or relative; the same one may come
    /// again. One at least, [`MAX_PARTS`] at most, each of visible ASCII.
    Final(Vec<String>),
}

/// [`UploadConcat`], and the header's value byte for byte as received: HEAD gives it back so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcatHeader {
    /// What it says.
    pub value: UploadConcat,
    /// How it says it.
    pub raw: Vec<u8>,
}

/// An `Upload-Concat` that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConcatError {
    /// It is repeated or malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It names this many parts, more than [`MAX_PARTS`].
    #[error("{NAME} names {0} parts; {MAX_PARTS} are the most")]
    TooMany(usize),
}

impl ConcatHeader {
    /// What the request says; `None` without the header.
    ///
    /// Blanks around the value, after `final;` and in runs between URLs are read over; `partial` and `final` are lower-case.
    ///
    /// # Errors
    /// `Header` with `Repeated` or `Malformed` (no URL at all, or one of other than visible ASCII: RFC 3986), or `TooMany`.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, ConcatError> {
        let Some(value) = one(headers, NAME)? else {
            return Ok(None);
        };
        let raw = value.as_bytes().to_vec();
        let value = parse(trim(&raw))?;
        Ok(Some(Self { value, raw }))
    }
}

fn parse(text: &[u8]) -> Result<UploadConcat, ConcatError> {
    const MALFORMED: ConcatError = ConcatError::Header(HeaderError::Malformed(NAME));
    if text == b"partial" {
        return Ok(UploadConcat::Partial);
    }
    let list = text.strip_prefix(b"final;").ok_or(MALFORMED)?;
    if !list
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        return Err(MALFORMED);
    }
    let list = std::str::from_utf8(list).map_err(|_| MALFORMED)?;
    let urls = || list.split(' ').filter(|url| !url.is_empty());
    // Counted before anything is copied.
    match urls().count() {
        0 => Err(MALFORMED),
        count if count > MAX_PARTS => Err(ConcatError::TooMany(count)),
        _ => Ok(UploadConcat::Final(urls().map(str::to_owned).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head};
    use super::*;
    use proptest::prelude::*;

    fn read(raw: impl AsRef<[u8]>) -> Result<UploadConcat, ConcatError> {
        let read = ConcatHeader::from_headers(&head(&[(NAME, raw.as_ref())]))?.unwrap();
        assert_eq!(read.raw, raw.as_ref());
        Ok(read.value)
    }

    #[test]
    fn good_values() {
        assert_eq!(ConcatHeader::from_headers(&HeaderMap::new()), Ok(None));
        for raw in ["partial", " partial", "partial\t"] {
            assert_eq!(read(raw), Ok(UploadConcat::Partial), "{raw:?}");
        }
        let table: [(&str, &[&str]); 8] = [
            ("final;/files/a /files/b", &["/files/a", "/files/b"]),
            ("final; /files/a /files/b", &["/files/a", "/files/b"]),
            ("final;a  b ", &["a", "b"]),
            ("final;  a   b", &["a", "b"]),
            ("final;a", &["a"]),
            ("final;a a", &["a", "a"]),
            (
                "final;http://h:1/files/a https://h/b?c#d",
                &["http://h:1/files/a", "https://h/b?c#d"],
            ),
            ("final;a;b", &["a;b"]),
        ];
        for (raw, urls) in table {
            let wanted = UploadConcat::Final(urls.iter().map(|url| (*url).to_owned()).collect());
            assert_eq!(read(raw), Ok(wanted), "{raw:?}");
        }
    }

    #[test]
    fn bad_values() {
        let malformed = Err(ConcatError::Header(HeaderError::Malformed(NAME)));
        for raw in [
            "",
            " ",
            "final",
            "final;",
            "final; ",
            "Partial",
            "PARTIAL",
            "partial;",
            "partial;a",
            "partial final;a",
            "Final;a",
            "final ;a",
            "final:a",
            "final,a",
            "finale;a",
            "final;a\tb",
            "final;\u{e9}",
            "final;a \u{e9}",
            "other",
            "1",
        ] {
            assert_eq!(read(raw), malformed, "{raw:?}");
        }
        assert_eq!(read(b"final;\xff"), malformed);
        for second in ["partial", "final;a"] {
            let twice = head(&[(NAME, "partial"), (NAME, second)]);
            let repeated = ConcatError::Header(HeaderError::Repeated(NAME));
            assert_eq!(ConcatHeader::from_headers(&twice), Err(repeated));
        }
    }

    #[test]
    fn ten_thousand_parts_and_no_more() {
        let parts = |count: usize| format!("final;{}", "a ".repeat(count));
        let Ok(UploadConcat::Final(urls)) = read(parts(MAX_PARTS)) else {
            panic!("no final")
        };
        assert_eq!(urls.len(), MAX_PARTS);
        assert_eq!(
            read(parts(MAX_PARTS + 1)),
            Err(ConcatError::TooMany(MAX_PARTS + 1))
        );
    }

    proptest! {
        #[test]
        fn urls_read_back(urls in proptest::collection::vec("[!-~]{1,20}", 1..10)) {
            let raw = format!("final;{}", urls.join(" "));
            prop_assert_eq!(read(raw), Ok(UploadConcat::Final(urls)));
        }

        #[test]
        fn no_value_panics(value in any_value()) {
            let headers = HeaderMap::from_iter([(NAME.parse().unwrap(), value)]);
            let _ = ConcatHeader::from_headers(&headers);
        }
    }
}
