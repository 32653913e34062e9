//! `Upload-Checksum`, and the algorithms behind it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use sha2::Digest as _;

use super::{HeaderError, one, trim};

/// The header's name, and the trailer's.
pub const NAME: &str = "Upload-Checksum";

/// `Tus-Checksum-Algorithm`: every algorithm on offer. Without blanks, since clients do not trim.
pub const NAMES: &str = "sha1,sha256,sha512,md5,crc32c";

/// A checksum algorithm on offer. Source: tus 1.0.0, Checksum: `sha1` MUST be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
    /// MD5, 16 bytes.
    Md5,
    /// CRC-32C (Castagnoli), 4 bytes, most significant first.
    Crc32c,
}

impl Algorithm {
    /// All of them, in the order of [`NAMES`].
    pub const ALL: [Self; 5] = [
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Md5,
        Self::Crc32c,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Md5 => "md5",
            Self::Crc32c => "crc32c",
        }
    }

    /// Length of its sums in bytes.
    #[must_use]
    pub const fn sum_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
            Self::Crc32c => 4,
        }
    }
}

/// `Upload-Checksum`: the sum that the bytes of this request must have.
/// Source: tus 1.0.0, Checksum, Headers, `Upload-Checksum`: the algorithm's name, a space, and the sum in Base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadChecksum {
    /// By which algorithm. Its name is read without regard to case.
    pub algorithm: Algorithm,
    /// The sum, of the algorithm's length.
    pub sum: Vec<u8>,
}

/// An `Upload-Checksum` that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// Its algorithm is not on offer.
    #[error("the checksum algorithm is not one of {NAMES}")]
    Unknown,
    /// It is repeated or malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl UploadChecksum {
    /// The sum that the request's head names, if it does.
    ///
    /// # Errors
    /// `Header` with `Repeated`, or as [`UploadChecksum::from_value`].
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, ChecksumError> {
        one(headers, NAME)?.map(Self::from_value).transpose()
    }

    /// The sum in a value of the header or of the trailer.
    ///
    /// # Errors
    /// `Unknown`, or `Header` with `Malformed`: no sum, bad Base64, or a sum of another length than the algorithm's.
    pub fn from_value(value: &HeaderValue) -> Result<Self, ChecksumError> {
        const MALFORMED: ChecksumError = ChecksumError::Header(HeaderError::Malformed(NAME));
        let text = trim(value.as_bytes());
        let at = text
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or(MALFORMED)?;
        let (name, sum) = (&text[..at], &text[at + 1..]);
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(known.name().as_bytes()))
            .ok_or(ChecksumError::Unknown)?;
        let sum = STANDARD.decode(sum).map_err(|_| MALFORMED)?;
        if sum.len() == algorithm.sum_len() {
            Ok(Self { algorithm, sum })
        } else {
            Err(MALFORMED)
        }
    }

    /// Whether `sum`, which [`Digest::finish`] gave, is the one that the client named.
    #[must_use]
    pub fn matches(&self, sum: &[u8]) -> bool {
        self.sum == sum
    }
}

/// Whether the head announces that the checksum comes as a trailer.
/// Source: tus 1.0.0, Checksum; RFC 9110, 6.6.2, `Trailer`: a list of names, over several lines or not.
#[must_use]
pub fn trailer_announced(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TRAILER)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|name| trim(name).eq_ignore_ascii_case(NAME.as_bytes()))
}

/// A sum in the making.
#[derive(Debug, Clone)]
pub struct Digest(Hasher);

#[derive(Debug, Clone)]
enum Hasher {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Md5(md5::Md5),
    Crc32c(u32),
}

impl Digest {
    /// The sum of no bytes yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha1 => Hasher::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
            Algorithm::Md5 => Hasher::Md5(md5::Md5::new()),
            Algorithm::Crc32c => Hasher::Crc32c(0),
        })
    }

    /// Takes further bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
            Hasher::Md5(hasher) => hasher.update(bytes),
            Hasher::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
        }
    }

    /// The sum, of [`Algorithm::sum_len`] bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            Hasher::Sha1(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha256(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha512(hasher) => hasher.finalize().to_vec(),
            Hasher::Md5(hasher) => hasher.finalize().to_vec(),
            Hasher::Crc32c(crc) => crc.to_be_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests;
