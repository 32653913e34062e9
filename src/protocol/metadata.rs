//! `Upload-Metadata`.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;

use super::{HeaderError, one, trim};

/// The header's name.
pub const NAME: &str = "Upload-Metadata";

/// `Upload-Metadata`: pairs of a key and a value, kept as the client wrote them, because HEAD gives them back so.
///
/// Pairs stand between commas, with blanks around them or not; a key is visible ASCII, stands once, and is cut from its value
/// by one space; a value is Base64 (padded, as every client writes it) of any bytes, or is left out for none. An empty header
/// is no pairs.
/// Source: tus 1.0.0, Creation, Headers, `Upload-Metadata`; the leniency is what real clients need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadMetadata {
    raw: Bytes,
}

impl UploadMetadata {
    /// The request's metadata; `None` without the header.
    ///
    /// # Errors
    /// `Repeated`, or `Malformed` as in [`UploadMetadata::parse`].
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, HeaderError> {
        one(headers, NAME)?
            .map(|value| Self::parse(value.as_bytes()))
            .transpose()
    }

    /// Metadata from the header's value, or from what [`UploadMetadata::raw`] gave.
    ///
    /// # Errors
    /// `Malformed` for an empty pair between commas, a key that is not visible ASCII or stands twice, bad Base64.
    pub fn parse(raw: &[u8]) -> Result<Self, HeaderError> {
        let mut keys = HashSet::new();
        for (key, value) in split(raw) {
            let key_is_good = !key.is_empty() && key.iter().all(u8::is_ascii_graphic);
            if !key_is_good || !keys.insert(key) || STANDARD.decode(value).is_err() {
                return Err(HeaderError::Malformed(NAME));
            }
        }
        Ok(Self {
            raw: Bytes::copy_from_slice(raw),
        })
    }

    /// Metadata of these pairs.
    ///
    /// # Errors
    /// `Malformed` for a key that is not visible ASCII, has a comma, or stands twice.
    pub fn of<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, HeaderError> {
        let mut raw = Vec::new();
        for (key, value) in pairs {
            if key.is_empty() || key.contains([',', ' ']) {
                return Err(HeaderError::Malformed(NAME));
            }
            if !raw.is_empty() {
                raw.push(b',');
            }
            raw.extend_from_slice(format!("{key} {}", STANDARD.encode(value)).as_bytes());
        }
        Self::parse(&raw)
    }

    /// The header's value byte for byte as received.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The value of `key`, in any bytes; empty where the client left the value out, `None` where there is no such key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.pairs()
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value)
    }

    /// All pairs, in the order of the header.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        // `parse` has seen to it that nothing is left out here.
        split(&self.raw).filter_map(|(key, value)| {
            Some((std::str::from_utf8(key).ok()?, STANDARD.decode(value).ok()?))
        })
    }
}

/// The pairs, unchecked: key, and value in Base64.
fn split(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let raw = trim(raw);
    let pairs = raw
        .split(|byte| *byte == b',')
        .filter(move |_| !raw.is_empty());
    pairs.map(|pair| {
        let pair = trim(pair);
        match pair.iter().position(|byte| *byte == b' ') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head};
    use super::*;
    use proptest::prelude::*;

    type Pairs = &'static [(&'static str, &'static [u8])];

    fn read(raw: &[u8]) -> Vec<(String, Vec<u8>)> {
        let metadata = UploadMetadata::parse(raw).unwrap();
        assert_eq!(metadata.raw(), raw);
        metadata
            .pairs()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    #[test]
    fn metadata_is_made_of_pairs() {
        let pairs: Pairs = &[("filename", b"t"), ("a.b", b"")];
        let made = UploadMetadata::of(pairs.iter().copied()).unwrap();
        assert_eq!(made.raw(), b"filename dA==,a.b ");
        assert_eq!(read(made.raw()).len(), 2);
        for bad in ["", "a b", "a,b", "\u{e9}", "a\n"] {
            assert!(UploadMetadata::of([(bad, &b"x"[..])]).is_err(), "{bad:?}");
        }
        assert!(UploadMetadata::of([("a", &b"x"[..]), ("a", b"y")]).is_err());
    }

    #[test]
    fn good_metadata() {
        let table: [(&str, Pairs); 16] = [
            ("", &[]),
            ("  ", &[]),
            ("filename dGVzdA==", &[("filename", b"test")]),
            ("a YQ==,b Yg==", &[("a", b"a"), ("b", b"b")]),
            ("a YQ==, b Yg==", &[("a", b"a"), ("b", b"b")]),
            ("a YQ== ,\tb Yg==", &[("a", b"a"), ("b", b"b")]),
            ("flag", &[("flag", b"")]),
            ("flag ", &[("flag", b"")]),
            ("k1 ,k2 djI=", &[("k1", b""), ("k2", b"v2")]),
            ("k3 djM=,k4", &[("k3", b"v3"), ("k4", b"")]),
            ("k1,k2,k3", &[("k1", b""), ("k2", b""), ("k3", b"")]),
            ("raw /wD+", &[("raw", b"\xff\0\xfe")]),
            ("a-b._c~d YQ==", &[("a-b._c~d", b"a")]),
            ("k=v YQ==", &[("k=v", b"a")]),
            ("A YQ==,a Yg==", &[("A", b"a"), ("a", b"b")]),
            ("relativePath bnVsbA==", &[("relativePath", b"null")]),
        ];
        for (raw, wanted) in table {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.to_vec()))
                .collect();
            assert_eq!(read(raw.as_bytes()), wanted, "{raw:?}");
        }
        let huge = format!("note {}", STANDARD.encode(vec![7; 40_000]));
        assert_eq!(read(huge.as_bytes())[0].1.len(), 40_000);
    }

    #[test]
    fn bad_metadata() {
        for raw in [
            ",",
            " , ",
            "a YQ==,",
            ",a YQ==",
            "a YQ==,,b Yg==",
            "a YQ==,a Yg==",
            "a,a",
            "a YQ==, a",
            "a YQ",
            "a YQ=",
            "a YQ===",
            "a Y",
            "a =",
            "a YQ==YQ==",
            "a YR==",
            "a _w==",
            "a -w==",
            "a Y\tQ==",
            "a  YQ==",
            "a YQ== b",
            "a YQ== Yg==",
            "a\tYQ==",
            "\u{e9} YQ==",
            "k\u{e9}y YQ==",
            "a \u{e9}",
        ] {
            assert_eq!(
                UploadMetadata::parse(raw.as_bytes()),
                Err(HeaderError::Malformed(NAME)),
                "{raw:?}"
            );
        }
        assert!(UploadMetadata::parse(b"\xff YQ==").is_err());
    }

    #[test]
    fn the_header_comes_once_or_not_at_all() {
        assert_eq!(UploadMetadata::from_headers(&HeaderMap::new()), Ok(None));
        let twice = head(&[(NAME, "a YQ=="), (NAME, "b Yg==")]);
        assert_eq!(
            UploadMetadata::from_headers(&twice),
            Err(HeaderError::Repeated(NAME))
        );
        let once = head(&[("upload-metadata", "filename dGVzdA==,flag")]);
        let metadata = UploadMetadata::from_headers(&once).unwrap().unwrap();
        assert_eq!(metadata.get("filename"), Some(b"test".to_vec()));
        assert_eq!(metadata.get("flag"), Some(Vec::new()));
        assert_eq!(metadata.get("filetype"), None);
        let empty = UploadMetadata::from_headers(&head(&[(NAME, "")])).unwrap();
        assert_eq!(empty.unwrap().pairs().count(), 0);
    }

    proptest! {
        #[test]
        fn pairs_read_back(
            pairs in proptest::collection::hash_map("[!-+.-~]{1,12}", any::<Vec<u8>>(), 0..6)
        ) {
            let text: Vec<_> =
                pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect();
            let metadata = UploadMetadata::parse(text.join(",").as_bytes()).unwrap();
            prop_assert_eq!(metadata.pairs().count(), pairs.len());
            for (key, value) in pairs {
                prop_assert_eq!(metadata.get(&key), Some(value));
            }
        }

        #[test]
        fn what_parses_loses_no_pair(value in any_value()) {
            if let Ok(metadata) = UploadMetadata::parse(value.as_bytes()) {
                let shown = trim(value.as_bytes());
                let pieces = shown.split(|byte| *byte == b',').count();
                prop_assert_eq!(metadata.pairs().count(), if shown.is_empty() { 0 } else { pieces });
            }
        }
    }
}
