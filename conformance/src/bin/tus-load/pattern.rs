//! The bytes every upload is made of: one buffer, cheap to send, and telling when a server mixed bytes up.

use std::ops::Range;

/// The pattern's period. Prime: no two pages, chunks or segments of an upload begin at the same place in it, so bytes stored
/// at a wrong offset never compare equal.
const PERIOD: u16 = 65_521;

/// Bytes handed to one `write`. The buffer fits the second-level cache; much more would be read from memory each time.
pub(crate) const WRITE: usize = 256 * 1024;

/// Noise that repeats every `PERIOD` bytes; upload `n` begins `n` steps into it.
#[derive(Clone)]
pub(crate) struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes: Vec<u8> = (0..PERIOD)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_be_bytes()[0]
            })
            .collect();
        // The tail repeats the head, so a full write can begin anywhere in the period.
        while bytes.len() < usize::from(PERIOD) + WRITE {
            bytes.extend_from_within(..usize::from(PERIOD));
        }
        Self { bytes }
    }

    /// The bytes `range` of upload `number`, in pieces of at most `WRITE`.
    pub(crate) fn run(&self, number: u64, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            let len = left.min(WRITE);
            let start = usize::try_from((at + number * 7919) % u64::from(PERIOD)).ok()?;
            at += len as u64;
            (len > 0).then(|| &self.bytes[start..start + len])
        })
    }

    /// What a hash says of the bytes `range` of upload `number`.
    pub(crate) fn sum<D: sha1::Digest>(&self, number: u64, range: Range<u64>) -> Vec<u8> {
        let mut digest = D::new();
        for piece in self.run(number, range) {
            digest.update(piece);
        }
        digest.finalize().to_vec()
    }

    /// Whether `stored` is what upload `number` has from `offset` on.
    pub(crate) fn matches(&self, number: u64, offset: u64, stored: &[u8]) -> bool {
        let mut rest = stored;
        self.run(number, offset..offset + stored.len() as u64)
            .all(|piece| {
                let (head, tail) = rest.split_at(piece.len());
                rest = tail;
                head == piece
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(pattern: &Pattern, number: u64, range: Range<u64>) -> Vec<u8> {
        pattern.run(number, range).flatten().copied().collect()
    }

    #[test]
    fn a_run_is_a_window_on_one_sequence() {
        let pattern = Pattern::new();
        let whole = bytes(&pattern, 3, 0..1_000_000);
        assert_eq!(whole.len(), 1_000_000);
        assert_eq!(bytes(&pattern, 3, 70_000..900_001), whole[70_000..900_001]);
        assert!(pattern.matches(3, 70_000, &whole[70_000..900_001]));
        assert!(pattern.run(3, 5..5).next().is_none());
    }

    #[test]
    fn misplaced_bytes_differ() {
        let pattern = Pattern::new();
        let whole = bytes(&pattern, 0, 0..4 << 20);
        assert!(!pattern.matches(0, 1 << 20, &whole[..4096]));
        assert!(!pattern.matches(0, 4096, &whole[..4096]));
        assert!(!pattern.matches(1, 0, &whole[..4096]));
    }
}
