//! `Upload-Offset`.

use http::HeaderMap;

use super::{HeaderError, bytes_count, one};

/// The header's name.
pub const NAME: &str = "Upload-Offset";

/// `Upload-Offset`: bytes the client believes are stored; decimal digits only, `0..=2^63-1`.
/// Source: tus 1.0.0, core protocol, Headers, `Upload-Offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UploadOffset(pub u64);

impl UploadOffset {
    /// The offset that the request names.
    ///
    /// # Errors
    /// `Missing`, `Repeated`, or `Malformed` (signs, blanks and overflow too).
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, HeaderError> {
        let value = one(headers, NAME)?.ok_or(HeaderError::Missing(NAME))?;
        bytes_count(NAME, value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head, no_counts};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_offsets() {
        for (text, offset) in [
            ("0", 0),
            ("5", 5),
            ("007", 7),
            ("9223372036854775807", i64::MAX.unsigned_abs()),
            ("00000000000000000000000000009", 9),
        ] {
            let headers = head(&[("upload-offset", text)]);
            assert_eq!(
                UploadOffset::from_headers(&headers),
                Ok(UploadOffset(offset)),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_offsets() {
        for text in no_counts() {
            assert_eq!(
                UploadOffset::from_headers(&head(&[(NAME, &text)])),
                Err(HeaderError::Malformed(NAME)),
                "{}",
                String::from_utf8_lossy(&text)
            );
        }
        let none = HeaderMap::new();
        assert_eq!(
            UploadOffset::from_headers(&none),
            Err(HeaderError::Missing(NAME))
        );
        for second in ["5", "6", "x"] {
            let twice = head(&[(NAME, "5"), (NAME, second)]);
            assert_eq!(
                UploadOffset::from_headers(&twice),
                Err(HeaderError::Repeated(NAME))
            );
        }
    }

    proptest! {
        #[test]
        fn every_offset_reads_back(offset in 0..=i64::MAX.unsigned_abs()) {
            let headers = head(&[(NAME, offset.to_string())]);
            prop_assert_eq!(UploadOffset::from_headers(&headers), Ok(UploadOffset(offset)));
        }

        #[test]
        fn no_value_panics(value in any_value()) {
            let headers = HeaderMap::from_iter([(NAME.parse().unwrap(), value)]);
            let _ = UploadOffset::from_headers(&headers);
        }
    }
}
