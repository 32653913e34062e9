//! Every case, in groups: a file each. An id's first word is its group.

mod concat;
mod core;
mod cors;
mod fields;
mod joining;
mod parts;
mod robust;
mod shared;
mod unfinished;

use crate::case::Case;

/// The groups, in the order in which they are reported.
const GROUPS: &[&[Case]] = &[
    core::CASES,
    concat::CASES,
    parts::CASES,
    unfinished::CASES,
    cors::CASES,
    shared::CASES,
    robust::CASES,
    fields::CASES,
];

/// Every case there is.
pub fn all() -> impl Iterator<Item = &'static Case> {
    GROUPS.iter().copied().flatten()
}
