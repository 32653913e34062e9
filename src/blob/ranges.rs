//! Which bytes of which files a blob is: arithmetic that every store shares.

use std::collections::HashMap;
use std::ops::Range;

use super::{Blob, BlobError, File, Segment};
use crate::upload::UploadId;

/// Where a blob is written: from `start` of `file`, and at most `len` bytes where others lie behind them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) file: File,
    pub(super) start: u64,
    pub(super) len: Option<u64>,
}

impl Target {
    /// All of a file, however long it grows.
    pub(super) fn whole(file: File) -> Self {
        Self {
            file,
            start: 0,
            len: None,
        }
    }

    /// # Errors
    /// `Fixed` for a list of more or less than one segment.
    pub(super) fn of(blob: &Blob) -> Result<Self, BlobError> {
        match blob {
            Blob::Own(id) => Ok(Self::whole(File::Upload(id.clone()))),
            Blob::Segments(list) => match list.as_slice() {
                [only] => Ok(Self {
                    file: only.file.clone(),
                    start: only.start,
                    len: Some(only.len),
                }),
                _ => Err(BlobError::Fixed),
            },
        }
    }
}

/// The pieces of files that `range` of the blob is; `None` if its segments end before.
pub(super) fn slice(blob: &Blob, range: &Range<u64>) -> Option<Vec<Segment>> {
    let mut wanted = range.end.saturating_sub(range.start);
    let list = match blob {
        Blob::Own(id) => {
            let own = Segment {
                file: File::Upload(id.clone()),
                start: range.start,
                len: wanted,
            };
            return Some(if wanted == 0 { Vec::new() } else { vec![own] });
        }
        Blob::Segments(list) => list,
    };
    let mut skip = range.start;
    let mut pieces = Vec::new();
    for segment in list {
        if wanted == 0 {
            break;
        }
        if skip >= segment.len {
            skip -= segment.len;
            continue;
        }
        let len = wanted.min(segment.len - skip);
        pieces.push(Segment {
            file: segment.file.clone(),
            start: segment.start.checked_add(skip)?,
            len,
        });
        wanted -= len;
        skip = 0;
    }
    (wanted == 0).then_some(pieces)
}

/// How parts become one list of segments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The n-th of these becomes `File::Link(id, n)`, and must have as many bytes.
    pub(super) sources: Vec<(File, u64)>,
    /// The bytes of all parts, in order, in those links.
    pub(super) segments: Vec<Segment>,
}

/// Plans the join of `parts` (blob and length) under `id`; `None` if a part's segments are shorter than its length. What
/// follows on one another in a file becomes one segment, a file that is used twice one link.
pub(super) fn plan(id: &UploadId, parts: &[(Blob, u64)]) -> Option<Plan> {
    let mut numbers: HashMap<File, u32> = HashMap::new();
    let mut sources: Vec<(File, u64)> = Vec::new();
    let mut segments: Vec<Segment> = Vec::new();
    for (blob, len) in parts {
        for piece in slice(blob, &(0..*len))? {
            let end = piece.start.checked_add(piece.len)?;
            let next = u32::try_from(sources.len()).ok()?;
            let n = *numbers.entry(piece.file.clone()).or_insert(next);
            match sources.get_mut(n as usize) {
                Some((_, needed)) => *needed = end.max(*needed),
                None => sources.push((piece.file, end)),
            }
            let link = File::Link(id.clone(), n);
            match segments.last_mut() {
                Some(last) if last.file == link && last.start + last.len == piece.start => {
                    last.len += piece.len;
                }
                _ => segments.push(Segment {
                    file: link,
                    start: piece.start,
                    len: piece.len,
                }),
            }
        }
    }
    Some(Plan { sources, segments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> UploadId {
        text.parse().unwrap()
    }

    fn segment(file: File, start: u64, len: u64) -> Segment {
        Segment { file, start, len }
    }

    #[test]
    fn a_range_becomes_pieces_of_files() {
        let (a, b) = (File::Upload(id("a")), File::Upload(id("b")));
        let blob = Blob::Segments(vec![segment(a.clone(), 100, 10), segment(b.clone(), 0, 5)]);
        let all = vec![segment(a.clone(), 100, 10), segment(b.clone(), 0, 5)];
        let whole = 0..15;
        assert_eq!(slice(&blob, &whole), Some(all));
        let (over, middle) = (8..12, 10..15);
        let two = vec![segment(a, 108, 2), segment(b.clone(), 0, 2)];
        assert_eq!(slice(&blob, &over), Some(two));
        assert_eq!(slice(&blob, &middle), Some(vec![segment(b, 0, 5)]));
        let (none, past) = (15..15, 10..16);
        assert_eq!(slice(&blob, &none), Some(vec![]));
        assert_eq!(slice(&blob, &past), None);
    }

    #[test]
    fn parts_become_links_and_neighbours_one_segment() {
        let whole = File::Upload(id("session"));
        let chunk = |start| Blob::Segments(vec![segment(whole.clone(), start, 10)]);
        let other = Blob::Own(id("other"));
        let parts = [
            (chunk(0), 10),
            (chunk(10), 10),
            (other.clone(), 3),
            (other, 3),
            (chunk(10), 0),
        ];
        let f = id("f");
        let plan = plan(&f, &parts).unwrap();
        assert_eq!(
            plan.sources,
            [(whole.clone(), 20), (File::Upload(id("other")), 3)]
        );
        let (first, second) = (File::Link(f.clone(), 0), File::Link(f, 1));
        assert_eq!(
            plan.segments,
            [
                segment(first, 0, 20),
                segment(second.clone(), 0, 3),
                segment(second, 0, 3)
            ]
        );
        assert_eq!(super::plan(&id("f"), &[(chunk(0), 11)]), None);
    }
}
