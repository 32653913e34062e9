//! What an answer tells of chunks that are missing.

/// Chunks that are missing: all of them as ranges as far as those go, and the first ones by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub count: usize,
    /// The first ones.
    pub chunks: Vec<u32>,
    /// The first ranges, from and to.
    pub ranges: Vec<(u32, u32)>,
}

impl Missing {
    /// The most that are named.
    pub const NAMED: usize = 1000;

    /// Of all missing chunks, in order.
    #[must_use]
    pub fn of(missing: &[u32]) -> Self {
        Self {
            count: missing.len(),
            chunks: missing.iter().copied().take(Self::NAMED).collect(),
            ranges: ranges(missing).into_iter().take(Self::NAMED).collect(),
        }
    }
}

/// Numbers in order, as ranges of those that follow on one another.
#[must_use]
pub fn ranges(numbers: &[u32]) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for &n in numbers {
        match found.last_mut() {
            Some((_, to)) if to.checked_add(1) == Some(n) => *to = n,
            _ => found.push((n, n)),
        }
    }
    found
}
