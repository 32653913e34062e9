//! SHA-256: sums as the session API writes them, the headers that name a chunk's, and a hash that can rest and go on.

use std::fmt;
use std::str::FromStr;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use subtle::ConstantTimeEq as _;

use super::checksum::{self, Algorithm, ChecksumError, UploadChecksum};
use super::{HeaderError, one, trim};

/// The header's name.
pub const NAME: &str = "X-Chunk-SHA256";

/// A sum; 64 hexadecimal digits as text, read in either case.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sum(pub [u8; 32]);

/// Text that is no [`Sum`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 of 64 hexadecimal digits")]
pub struct NotASum;

impl Sum {
    /// Of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Whether this is the sum of a secret; how long that takes tells nothing of it, nor does a prefix of it.
    #[must_use]
    pub fn is_of(&self, secret: &str) -> bool {
        Self::of(secret.as_bytes()).0.ct_eq(&self.0).into()
    }
}

impl FromStr for Sum {
    type Err = NotASum;

    fn from_str(text: &str) -> Result<Self, NotASum> {
        let digits = text.as_bytes();
        let mut sum = [0; 32];
        if digits.len() != 64 {
            return Err(NotASum);
        }
        let value = |digit: u8| char::from(digit).to_digit(16).ok_or(NotASum);
        for (byte, pair) in sum.iter_mut().zip(digits.chunks(2)) {
            let both = value(pair[0])? << 4 | value(pair[1])?;
            *byte = u8::try_from(both).map_err(|_| NotASum)?;
        }
        Ok(Self(sum))
    }
}

impl TryFrom<String> for Sum {
    type Error = NotASum;

    fn try_from(text: String) -> Result<Self, NotASum> {
        text.parse()
    }
}

impl From<Sum> for String {
    fn from(sum: Sum) -> Self {
        sum.to_string()
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A chunk's sum that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    /// `Upload-Checksum` by another algorithm.
    #[error("another algorithm than sha256")]
    Algorithm,
    /// Repeated, malformed, or named by two headers.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// The sum that the head names for a chunk: in `X-Chunk-SHA256` as hex, or in tus's `Upload-Checksum`.
///
/// # Errors
/// `Algorithm`, or what is wrong with the header.
pub fn of_chunk(headers: &HeaderMap) -> Result<Option<Sum>, SumError> {
    let tus = UploadChecksum::from_headers(headers).map_err(|error| match error {
        ChecksumError::Unknown => SumError::Algorithm,
        ChecksumError::Header(error) => error.into(),
    })?;
    match (one(headers, NAME)?, tus) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(HeaderError::Conflict(NAME, checksum::NAME).into()),
        (Some(value), None) => std::str::from_utf8(trim(value.as_bytes()))
            .ok()
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or(HeaderError::Malformed(NAME).into()),
        (None, Some(tus)) if tus.algorithm == Algorithm::Sha256 => {
            let sum = tus.sum.try_into();
            let sum = sum.map_err(|_| HeaderError::Malformed(checksum::NAME))?;
            Ok(Some(Sum(sum)))
        }
        (None, Some(_)) => Err(SumError::Algorithm),
    }
}

/// A sum in the making, which can be stored and gone on with.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Takes further bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum.
    #[must_use]
    pub fn finish(self) -> Sum {
        Sum(self.0.finalize().into())
    }

    /// Where it stands, as bytes.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// From what [`Hasher::save`] gave; `None`: something else did.
    #[must_use]
    pub fn restore(saved: &[u8]) -> Option<Self> {
        let state = SerializedState::<sha2::Sha256>::try_from(saved).ok()?;
        sha2::Sha256::deserialize(&state).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::head;
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn sums_are_hex() {
        assert_eq!(Sum::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.to_uppercase().parse(), Ok(Sum::of(b"")));
        for bad in [
            "",
            &EMPTY[1..],
            &format!("{EMPTY}0"),
            &EMPTY.replace('e', "g"),
            &format!("+{}", &EMPTY[1..]),
            &"\u{e9}".repeat(32),
        ] {
            assert_eq!(bad.parse::<Sum>(), Err(NotASum), "{bad}");
        }
    }

    #[test]
    fn a_chunks_sum_comes_in_one_of_two_headers() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Result<Option<Sum>, SumError>);
        let tus = "sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let some = Ok(Some(Sum::of(b"")));
        let malformed = |name| Err(SumError::Header(HeaderError::Malformed(name)));
        let table: [Row<'_>; 7] = [
            (&[], Ok(None)),
            (&[(NAME, EMPTY)], some),
            (&[("Upload-Checksum", tus)], some),
            (&[(NAME, "abc")], malformed(NAME)),
            (
                &[("Upload-Checksum", "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=")],
                Err(SumError::Algorithm),
            ),
            (
                &[("Upload-Checksum", "sha3 AAAA")],
                Err(SumError::Algorithm),
            ),
            (
                &[(NAME, EMPTY), ("Upload-Checksum", tus)],
                Err(HeaderError::Conflict(NAME, "Upload-Checksum").into()),
            ),
        ];
        for (headers, wanted) in table {
            assert_eq!(of_chunk(&head(headers)), wanted, "{headers:?}");
        }
    }

    #[test]
    fn a_hash_rests_and_goes_on() {
        let mut hasher = Hasher::default();
        for piece in [&b"some "[..], b"", &[7; 200], b"end"] {
            hasher = Hasher::restore(&hasher.save()).unwrap();
            hasher.update(piece);
        }
        let whole = [&b"some "[..], &[7; 200], b"end"].concat();
        assert_eq!(hasher.finish(), Sum::of(&whole));
        for bad in [&b""[..], b"garbage", &[255; 105]] {
            assert!(Hasher::restore(bad).is_none());
        }
    }
}
