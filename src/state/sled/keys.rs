//! How state lies in the tree: keys, the bytes of a record, and details cut into pieces.
//!
//! | key | value |
//! |---|---|
//! | `r\0<id>` | a record: a version byte, then postcard |
//! | `d\0<id>\0<detail byte><u16 number>` | a piece of a detail: stamp, total length, bytes |
//! | `m\0<mark byte>\0<id>` | a mark, empty |
//! | `j\0` | the number of the last entry of the journal that is in the tree |
//! | `o\0<u64 number><u16 number>` | a piece of a letter: as a detail's |
//!
//! An id holds no byte below `-`, so the records' order is that of the ids, and `<id>\0` is no prefix of another id's keys.

use sled::IVec;

use super::super::{Detail, Mark};
use crate::upload::{Record, UploadId};

/// Every mark there is.
pub(super) const MARKS: [Mark; 5] = [
    Mark::Waiting,
    Mark::Assembling,
    Mark::Open,
    Mark::Scanning,
    Mark::Path,
];

/// Where records begin.
pub(super) const RECORDS: &[u8] = b"r\0";
/// The first key past all records.
pub(super) const RECORDS_END: &[u8] = b"r\x01";
/// Where the number of the last entry of the journal lies.
pub(super) const JOURNALED: &[u8] = b"j\0";
/// Where marks begin.
pub(super) const ALL_MARKS: &[u8] = b"m\0";

/// Where letters begin.
const LETTERS: &[u8] = b"o\0";
/// The first key past all letters.
pub(super) const LETTERS_END: &[u8] = b"o\x01";

/// How records are encoded today.
const VERSION: u8 = 2;
/// Bytes of a piece: below the size at which sled starts a file of its own for a page.
const PIECE: usize = 3 * 1024;
/// Of which stamp and total length take these.
const HEAD: usize = 12;

fn key(prefix: &[u8], id: &UploadId, tail: &[u8]) -> Vec<u8> {
    [prefix, id.as_str().as_bytes(), tail].concat()
}

/// Where an upload's record lies.
pub(super) fn record(id: &UploadId) -> Vec<u8> {
    key(RECORDS, id, b"")
}

/// Whose record lies at `key`; `None`: no key that was made here.
pub(super) fn record_id(key: &[u8]) -> Option<UploadId> {
    id_after(RECORDS, key)
}

/// The prefix of all of an upload's details.
pub(super) fn details(id: &UploadId) -> Vec<u8> {
    key(b"d\0", id, b"\0")
}

/// The prefix of all pieces of one detail.
pub(super) fn detail(id: &UploadId, detail: Detail) -> Vec<u8> {
    let byte = match detail {
        Detail::Metadata => 1,
        Detail::Concat => 2,
        Detail::Parts => 3,
        Detail::Segments => 4,
        Detail::Session => 5,
        Detail::Sha256 => 6,
        Detail::Front => 7,
        Detail::Finish => 8,
        Detail::Digest => 9,
        Detail::Path => 10,
    };
    key(b"d\0", id, &[0, byte])
}

/// The prefix of all uploads with a mark.
pub(super) fn marked(mark: Mark) -> [u8; 4] {
    let byte = match mark {
        Mark::Waiting => 1,
        Mark::Assembling => 2,
        Mark::Open => 3,
        Mark::Scanning => 4,
        Mark::Path => 5,
    };
    [b'm', 0, byte, 0]
}

/// Where an upload's mark lies.
pub(super) fn mark(mark: Mark, id: &UploadId) -> Vec<u8> {
    key(&marked(mark), id, b"")
}

/// Whose mark lies at `key`.
pub(super) fn marked_id(mark: Mark, key: &[u8]) -> Option<UploadId> {
    id_after(&marked(mark), key)
}

/// The prefix of all pieces of a letter.
pub(super) fn letter(number: u64) -> Vec<u8> {
    [LETTERS, &number.to_be_bytes()].concat()
}

/// Which letter has a piece at `key`.
pub(super) fn letter_number(key: &[u8]) -> Option<u64> {
    let (number, _) = key.strip_prefix(LETTERS)?.split_first_chunk()?;
    Some(u64::from_be_bytes(*number))
}

fn id_after(prefix: &[u8], key: &[u8]) -> Option<UploadId> {
    let id = key.strip_prefix(prefix)?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// A record as bytes.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(record, vec![VERSION])
}

/// The record in `bytes`, all of them; `None`: they are damaged, or from a later version.
pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
    let (&version, body) = bytes.split_first()?;
    // Version 1 ended before the owner and its limit, which are last.
    let first = (version == 1).then(|| [body, &[0, 0]].concat());
    let body = match version {
        1 | VERSION => first.as_deref().unwrap_or(body),
        _ => return None,
    };
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Some(record),
        _ => None,
    }
}

/// Cuts a detail into pieces and their keys; `None`: it is longer than 65,536 pieces. The stamp differs from write to write:
/// a reader that meets two of them saw the middle of a change.
pub(super) fn cut(prefix: &[u8], stamp: u64, value: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let total = u32::try_from(value.len()).ok()?;
    let head = [&stamp.to_le_bytes()[..], &total.to_le_bytes()].concat();
    let first = value.get(..PIECE - HEAD).unwrap_or(value);
    let rest = value[first.len()..].chunks(PIECE - HEAD);
    std::iter::once(first)
        .chain(rest)
        .enumerate()
        .map(|(number, piece)| {
            let number = u16::try_from(number).ok()?;
            let key = [prefix, &number.to_be_bytes()].concat();
            Some((key, [&head[..], piece].concat()))
        })
        .collect()
}

/// Puts the pieces found under a detail's prefix together; `None`: they do not make one whole.
pub(super) fn join(pieces: &[IVec]) -> Option<Vec<u8>> {
    let (head, _) = pieces.first()?.split_at_checked(HEAD)?;
    let total = u32::from_le_bytes(head[8..].try_into().ok()?);
    let mut whole = Vec::with_capacity(pieces.len() * PIECE);
    for piece in pieces {
        whole.extend_from_slice(piece.strip_prefix(head)?);
    }
    (whole.len() == usize::try_from(total).ok()?).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::{Failure, Kind, Status};

    fn largest() -> Record {
        Record {
            kind: Kind::Final,
            status: Status::Failed(Failure::TooLarge),
            length: Some(u64::MAX),
            offset: u64::MAX,
            synced: u64::MAX,
            unverified_from: Some(u64::MAX),
            power_cuts: u32::MAX,
            created: u64::MAX,
            touched: u64::MAX,
            expires: Some(u64::MAX),
            owner: "a-user-of-36-characters-as-uuids-are".parse().ok(),
            limit: Some(u64::MAX),
        }
    }

    #[test]
    fn a_record_is_small_and_comes_back() {
        for record in [largest(), Record::new(Kind::Plain, None, 0)] {
            let bytes = encode(&record).unwrap();
            assert!(bytes.len() < 200, "{}", bytes.len());
            assert_eq!(decode(&bytes), Some(record));
        }
    }

    #[test]
    fn a_record_of_the_first_version_is_read() {
        // As it was written: kind, status, length, offset, synced, no mark, power cuts, three times.
        let first = [1, 1, 0, 1, 100, 7, 5, 0, 2, 10, 11, 1, 12];
        let record = Record {
            offset: 7,
            synced: 5,
            power_cuts: 2,
            touched: 11,
            expires: Some(12),
            ..Record::new(Kind::Partial, Some(100), 10)
        };
        assert_eq!(decode(&first), Some(record));
    }

    #[test]
    fn other_bytes_are_no_record() {
        let good = encode(&largest()).unwrap();
        let later = [&[VERSION + 1], &good[1..]].concat();
        let longer = [&good[..], &[0]].concat();
        for bad in [
            &good[..good.len() - 1],
            &later,
            &longer,
            b"",
            b"\x01",
            b"garbage",
        ] {
            assert_eq!(decode(bad), None);
        }
    }

    #[test]
    fn pieces_make_a_whole_or_nothing() {
        let parse = |text: &str| text.parse::<UploadId>().unwrap();
        let prefix = detail(&parse("a"), Detail::Parts);
        let pieces = |stamp, len| -> Vec<IVec> {
            let cut = cut(&prefix, stamp, &vec![7; len]).unwrap();
            assert!(cut.iter().all(|(_, value)| value.len() <= PIECE));
            assert!(cut.is_sorted());
            cut.into_iter().map(|(_, value)| value.into()).collect()
        };
        for len in [0, 1, 3059, 3060, 3061, 6120, 6121, 900_000] {
            assert_eq!(join(&pieces(1, len)).unwrap().len(), len);
        }
        let (old, new) = (pieces(1, 9000), pieces(2, 9000));
        assert_eq!(join(&old[..2]), None);
        assert_eq!(join(&old[1..]), None);
        assert_eq!(
            join(&[old[0].clone(), new[1].clone(), new[2].clone()]),
            None
        );
        assert_eq!(join(&[]), None);
        assert_eq!(join(&[b"short".into()]), None);
        assert_eq!(cut(&prefix, 1, &vec![0; (PIECE - HEAD) * 65_537]), None);
    }

    #[test]
    fn keys_tell_whose_they_are() {
        let id: UploadId = "a/b".parse().unwrap();
        assert_eq!(record_id(&record(&id)), Some(id.clone()));
        for of in MARKS {
            assert_eq!(marked_id(of, &mark(of, &id)), Some(id.clone()));
            assert!(mark(of, &id).starts_with(ALL_MARKS));
        }
        assert_eq!(record_id(b"r\0../a"), None);
        assert_eq!(record_id(b"x\0a"), None);
        let inner: UploadId = "a/b-c".parse().unwrap();
        assert!(!details(&inner).starts_with(&details(&id)));
        assert!(detail(&id, Detail::Parts).starts_with(&details(&id)));
    }
}
