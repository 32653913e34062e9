//! `Upload-Length` and `Upload-Defer-Length`.

use http::HeaderMap;

use super::{HeaderError, bytes_count, one};

/// `Upload-Length`'s name.
pub const NAME: &str = "Upload-Length";

/// `Upload-Defer-Length`'s name.
pub const DEFER: &str = "Upload-Defer-Length";

/// What a creation says of the upload's length.
/// Source: tus 1.0.0, Creation, Headers, `Upload-Length` and `Upload-Defer-Length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadLength {
    /// This many bytes, `0..=2^63-1`.
    Known(u64),
    /// A later PATCH tells it.
    Deferred,
}

impl UploadLength {
    /// What the request says of the length; `None` if it says nothing (which a final upload must do).
    ///
    /// # Errors
    /// `Repeated`, `Malformed` (`Upload-Defer-Length` is `1` or not there), or `Conflict` of the two.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, HeaderError> {
        let deferred = match one(headers, DEFER)? {
            Some(value) if value.as_bytes() != b"1" => return Err(HeaderError::Malformed(DEFER)),
            other => other.is_some(),
        };
        match (declared(headers)?, deferred) {
            (Some(_), true) => Err(HeaderError::Conflict(NAME, DEFER)),
            (Some(length), false) => Ok(Some(Self::Known(length))),
            (None, true) => Ok(Some(Self::Deferred)),
            (None, false) => Ok(None),
        }
    }
}

/// The length that a PATCH declares for an upload whose length was deferred. `Upload-Defer-Length` has no meaning there and
/// is not looked at.
///
/// # Errors
/// `Repeated` or `Malformed`.
/// Source: tus 1.0.0, Creation: "once it is known the Client MUST set the `Upload-Length` header in the next PATCH request".
pub fn declared(headers: &HeaderMap) -> Result<Option<u64>, HeaderError> {
    one(headers, NAME)?
        .map(|value| bytes_count(NAME, value))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head, no_counts};
    use super::*;
    use proptest::prelude::*;

    type Read = Result<Option<UploadLength>, HeaderError>;

    #[test]
    fn creations() {
        let max = "9223372036854775807";
        let table: [(&[(&str, &str)], Read); 15] = [
            (&[], Ok(None)),
            (&[("upload-length", "0")], Ok(Some(UploadLength::Known(0)))),
            (&[(NAME, "5")], Ok(Some(UploadLength::Known(5)))),
            (
                &[(NAME, max)],
                Ok(Some(UploadLength::Known(i64::MAX.unsigned_abs()))),
            ),
            (&[(DEFER, "1")], Ok(Some(UploadLength::Deferred))),
            (&[(DEFER, "0")], Err(HeaderError::Malformed(DEFER))),
            (&[(DEFER, "")], Err(HeaderError::Malformed(DEFER))),
            (&[(DEFER, "2")], Err(HeaderError::Malformed(DEFER))),
            (&[(DEFER, "01")], Err(HeaderError::Malformed(DEFER))),
            (&[(DEFER, "true")], Err(HeaderError::Malformed(DEFER))),
            (&[(DEFER, "1, 1")], Err(HeaderError::Malformed(DEFER))),
            (
                &[(DEFER, "1"), (DEFER, "1")],
                Err(HeaderError::Repeated(DEFER)),
            ),
            (
                &[(NAME, "5"), (NAME, "5")],
                Err(HeaderError::Repeated(NAME)),
            ),
            (
                &[(NAME, "5"), (DEFER, "1")],
                Err(HeaderError::Conflict(NAME, DEFER)),
            ),
            (
                &[(NAME, "x"), (DEFER, "1")],
                Err(HeaderError::Malformed(NAME)),
            ),
        ];
        for (headers, wanted) in table {
            assert_eq!(
                UploadLength::from_headers(&head(headers)),
                wanted,
                "{headers:?}"
            );
        }
        for text in no_counts() {
            let headers = head(&[(NAME, &text)]);
            assert_eq!(
                UploadLength::from_headers(&headers),
                Err(HeaderError::Malformed(NAME))
            );
            assert_eq!(declared(&headers), Err(HeaderError::Malformed(NAME)));
        }
    }

    #[test]
    fn a_patch_declares_with_or_without_the_deferral_beside_it() {
        assert_eq!(declared(&HeaderMap::new()), Ok(None));
        assert_eq!(declared(&head(&[(NAME, "7")])), Ok(Some(7)));
        assert_eq!(declared(&head(&[(NAME, "7"), (DEFER, "1")])), Ok(Some(7)));
        assert_eq!(declared(&head(&[(DEFER, "1")])), Ok(None));
        let twice = head(&[(NAME, "7"), (NAME, "7")]);
        assert_eq!(declared(&twice), Err(HeaderError::Repeated(NAME)));
    }

    proptest! {
        #[test]
        fn every_length_reads_back(length in 0..=i64::MAX.unsigned_abs()) {
            let headers = head(&[(NAME, length.to_string())]);
            let read = UploadLength::from_headers(&headers);
            prop_assert_eq!(read, Ok(Some(UploadLength::Known(length))));
        }

        #[test]
        fn no_value_panics(value in any_value(), name in prop_oneof![Just(NAME), Just(DEFER)]) {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value)]);
            let _ = UploadLength::from_headers(&headers);
        }
    }
}
