//! An upload: its name, its record, and the rules by which the record changes. Pure: no clock, no I/O.

mod priority;
mod user;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use priority::{NotAPriority, Priority};
pub use user::{NotAUserId, UserId};

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// The name of an upload: segments of `[A-Za-z0-9._-]{1,128}` joined by `/`, none of them `.` or `..`, at most
/// [`UploadId::MAX`] bytes in all. A new one is a UUID v4. Only what was parsed comes near a path or a key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UploadId(Box<str>);

/// What stands below `/admin/uploads/` beside uploads: what hooks choose as an id is none of that.
pub mod words {
    /// The list.
    pub const ACTIVE: &str = "active";
    /// Figures of all.
    pub const METRICS: &str = "metrics";
    /// Where the bytes are.
    pub const STORAGE: &str = "storage";
    /// After an id: what is done to it.
    pub const CANCEL: &str = "/cancel";
}

/// Text that is no [`UploadId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an upload id")]
pub struct NotAnId;

impl UploadId {
    /// Longest id in bytes: with a suffix it is still a file name everywhere.
    pub const MAX: usize = 200;

    /// A fresh random id.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string().into_boxed_str())
    }

    /// One that somebody chooses: it stands for nothing else at any door. Those that lie there from before are as they are.
    ///
    /// # Errors
    /// For what is no id, and for [`words`].
    pub fn chosen(text: &str) -> Result<Self, NotAnId> {
        let taken = matches!(text, words::ACTIVE | words::METRICS | words::STORAGE);
        if taken || text.ends_with(words::CANCEL) {
            return Err(NotAnId);
        }
        text.parse()
    }

    /// The id as text, as it stands in URLs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let segment = |s: &str| {
            (1..=128).contains(&s.len()) && s != "." && s != ".." && s.bytes().all(allowed)
        };
        if text.len() <= Self::MAX && text.split('/').all(segment) {
            Ok(Self(text.into()))
        } else {
            Err(NotAnId)
        }
    }
}

impl TryFrom<String> for UploadId {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<UploadId> for String {
    fn from(id: UploadId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an upload is in tus concatenation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// An upload of its own.
    Plain,
    /// A part, made to be joined.
    Partial,
    /// Joined from parts, or waiting for them.
    Final,
}

/// Where an upload is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Takes bytes; a final in this state waits for its parts.
    Active,
    /// Complete, and its segments are still to be put into one file.
    Assembling,
    /// Complete, nothing left to do.
    Completed,
    /// Of no use any more, and why.
    Failed(Failure),
    /// Tombstone: terminated by its owner.
    Cancelled,
    /// Tombstone: its time ran out.
    Expired,
    /// Complete, and still to be looked through for malware. Last, since stored records count from the first.
    Scanning,
}

impl Kind {
    /// For people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Partial => "partial",
            Self::Final => "final",
        }
    }
}

impl Status {
    /// For people and programs, without the reason of a failure.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Assembling => "assembling",
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Scanning => "scanning",
        }
    }
}

/// Why an upload failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// Its blob is gone, or shorter than the offset.
    BlobLost,
    /// A part that its final waited for is gone.
    PartGone,
    /// The parts' sum is past the limit, known only when the last part was complete.
    TooLarge,
    /// The disk lost bytes that it had taken: whatever the file's length says now.
    DiskFault,
    /// A session's bytes do not have the hash that was named for the whole file.
    FileHash,
    /// Its first bytes are not what they were declared as, or of a type that is not taken.
    TypeMismatch,
    /// A scanner found malware in it.
    Malware,
    /// It could not be scanned, and what is not scanned is refused.
    Unscanned,
    /// The parts' sum is below the least, known only when the last part was complete.
    TooSmall,
}

impl Failure {
    /// The stable code, as answers to requests for the upload have it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BlobLost | Self::DiskFault => "blob-lost",
            Self::PartGone => "part-gone",
            Self::TooLarge => "parts-too-large",
            Self::TooSmall => "parts-too-small",
            Self::FileHash => "file-hash-mismatch",
            Self::TypeMismatch => "type-mismatch",
            Self::Malware => "malware-found",
            Self::Unscanned => "unscanned",
        }
    }

    /// Whether it was refused for what its bytes are, and they are gone.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::TypeMismatch | Self::Malware | Self::Unscanned)
    }
}

/// The hot part of what is stored of an upload: small, rewritten as the offset moves. The raw metadata, the list of parts
/// and the segments lie apart, under [`crate::state::Detail`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// Where it is in its life.
    pub status: Status,
    /// Length in bytes, once known.
    pub length: Option<u64>,
    /// Bytes `0..offset` are stored.
    pub offset: u64,
    /// Bytes `0..synced` are known to survive a power cut.
    pub synced: u64,
    /// Set while the bytes past it may stand unverified on the disk: recovery cuts back to it.
    pub unverified_from: Option<u64>,
    /// How many power cuts this data directory had seen when the offset was written.
    pub power_cuts: u32,
    /// When it was created.
    pub created: Millis,
    /// When it was last changed.
    pub touched: Millis,
    /// When it expires, if it does.
    pub expires: Option<Millis>,
    /// Who created it; `None`: nobody was asked.
    pub owner: Option<UserId>,
    /// The most bytes it may have, where its owner may have fewer than others.
    pub limit: Option<u64>,
}

/// Why a change of a record is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The client claims another offset than the record's.
    OffsetMismatch {
        /// The record's.
        actual: u64,
    },
    /// More bytes than there is room for.
    TooLong,
    /// The length was declared before, with another value.
    LengthKnown,
    /// The declared length is below the offset.
    TooShort,
    /// Finals take no bytes.
    IsFinal,
}

impl Record {
    /// A new upload of `length` bytes (`None`: declared later) at offset 0.
    #[must_use]
    pub fn new(kind: Kind, length: Option<u64>, now: Millis) -> Self {
        Self {
            kind,
            status: if length == Some(0) && kind != Kind::Final {
                Status::Completed
            } else {
                Status::Active
            },
            length,
            offset: 0,
            synced: 0,
            unverified_from: None,
            power_cuts: 0,
            created: now,
            touched: now,
            expires: None,
            owner: None,
            limit: None,
        }
    }

    /// The most bytes it may have, where others may have `max_size`.
    #[must_use]
    pub fn most(&self, max_size: u64) -> u64 {
        self.limit.map_or(max_size, |own| own.min(max_size))
    }

    /// Whether every byte is here: offset = length.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(
            self.status,
            Status::Assembling | Status::Completed | Status::Scanning
        )
    }

    /// Whether it is complete, and not held back by a scan.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_complete() && self.status != Status::Scanning
    }

    /// Whether this is a final whose parts are not all there yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.kind == Kind::Final && self.status == Status::Active
    }

    /// Whether its time is over at `now`.
    #[must_use]
    pub fn is_due(&self, now: Millis) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Whether this is complete with bytes that may not survive a power cut.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        self.is_complete() && self.synced < self.offset
    }

    /// Whether this is what is left of an upload that ended: terminated or expired.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        matches!(self.status, Status::Cancelled | Status::Expired)
    }

    /// Whether a PATCH at `claimed` may go ahead, and how many bytes there is room for; `max_size` bounds an upload whose
    /// length is not declared yet.
    ///
    /// # Errors
    /// `IsFinal`, or `OffsetMismatch` with the record's own offset.
    pub fn admit(&self, claimed: u64, max_size: u64) -> Result<u64, Refused> {
        if self.kind == Kind::Final {
            return Err(Refused::IsFinal);
        }
        if claimed != self.offset {
            return Err(Refused::OffsetMismatch {
                actual: self.offset,
            });
        }
        Ok(self
            .length
            .unwrap_or(self.most(max_size))
            .saturating_sub(self.offset))
    }

    /// The record with its offset moved to `offset`, complete if that is the length.
    ///
    /// # Errors
    /// `TooLong` past the length; `OffsetMismatch` below the offset, which never falls.
    pub fn advance(&self, offset: u64, now: Millis) -> Result<Self, Refused> {
        if offset < self.offset {
            return Err(Refused::OffsetMismatch {
                actual: self.offset,
            });
        }
        if self.length.is_some_and(|length| offset > length) {
            return Err(Refused::TooLong);
        }
        let mut next = Self {
            offset,
            touched: now,
            ..self.clone()
        };
        if self.length == Some(offset) && self.status == Status::Active {
            next.status = Status::Completed;
        }
        Ok(next)
    }

    /// The record with the length of an upload whose length was deferred; complete if the offset is there already.
    ///
    /// # Errors
    /// `LengthKnown` if another one was declared before, `TooShort` below the offset, `TooLong` past `max_size`.
    /// Source: tus 1.0.0, Creation, `Upload-Defer-Length`.
    pub fn declare_length(&self, length: u64, max_size: u64, now: Millis) -> Result<Self, Refused> {
        match self.length {
            Some(known) if known == length => return Ok(self.clone()),
            Some(_) => return Err(Refused::LengthKnown),
            None if self.kind == Kind::Final => return Err(Refused::IsFinal),
            None => {}
        }
        if length < self.offset {
            return Err(Refused::TooShort);
        }
        if length > self.most(max_size) {
            return Err(Refused::TooLong);
        }
        let mut next = Self {
            length: Some(length),
            touched: now,
            ..self.clone()
        };
        if length == self.offset && self.status == Status::Active {
            next.status = Status::Completed;
        }
        Ok(next)
    }

    /// The record as a tombstone.
    #[must_use]
    pub fn entombed(&self, status: Status, now: Millis) -> Self {
        Self {
            status,
            touched: now,
            expires: None,
            unverified_from: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_parsed_strictly() {
        let long = "a".repeat(128);
        for good in ["a", "a/b", "A-Z_0.9", "..a", "a..", &long] {
            assert!(good.parse::<UploadId>().is_ok(), "{good}");
        }
        let too_long = format!("{long}/{long}");
        let over = "a".repeat(129);
        for bad in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.", "a b", "a%2fb", "é", "a\0",
            &too_long, &over,
        ] {
            assert!(bad.parse::<UploadId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_offset_only_rises_and_ends_at_the_length() {
        let new = Record::new(Kind::Plain, Some(10), 1);
        let half = new.advance(5, 2).unwrap();
        assert_eq!(
            (half.offset, half.status, half.touched),
            (5, Status::Active, 2)
        );
        assert_eq!(
            half.advance(4, 3),
            Err(Refused::OffsetMismatch { actual: 5 })
        );
        assert_eq!(half.advance(11, 3), Err(Refused::TooLong));
        let done = half.advance(10, 3).unwrap();
        assert!(done.is_complete());
        assert_eq!(done.advance(10, 4).unwrap().status, Status::Completed);
        assert_eq!(done.admit(10, 99), Ok(0));
        assert_eq!(
            half.admit(4, 99),
            Err(Refused::OffsetMismatch { actual: 5 })
        );
        assert_eq!(half.admit(5, 99), Ok(5));
    }

    #[test]
    fn a_deferred_length_is_declared_once() {
        let new = Record::new(Kind::Partial, None, 1);
        assert_eq!(new.admit(0, 7), Ok(7));
        let some = new.advance(5, 2).unwrap();
        assert_eq!(some.declare_length(4, 9, 3), Err(Refused::TooShort));
        assert_eq!(some.declare_length(10, 9, 3), Err(Refused::TooLong));
        assert!(some.declare_length(5, 9, 3).unwrap().is_complete());
        let known = some.declare_length(6, 9, 3).unwrap();
        assert_eq!(known.status, Status::Active);
        assert_eq!(known.declare_length(7, 9, 4), Err(Refused::LengthKnown));
        assert_eq!(known.declare_length(6, 9, 4), Ok(known.clone()));
    }

    #[test]
    fn an_upload_of_no_bytes_is_born_complete_but_a_final_waits() {
        assert!(Record::new(Kind::Plain, Some(0), 1).is_complete());
        assert!(!Record::new(Kind::Final, Some(0), 1).is_complete());
        assert!(!Record::new(Kind::Plain, None, 1).is_complete());
    }
}
