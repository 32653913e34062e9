//! `Upload-Concat`.

/// The most parts a final can have.
pub const MAX_PARTS: usize = 10_000;
