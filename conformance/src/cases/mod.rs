//! Every case, in groups: a file each. An id's first word is its group.

mod core;
mod core_network;
mod core_requests;

use crate::case::Case;

/// The groups, in the order in which they are reported.
const GROUPS: &[&[Case]] = &[
    core::CASES,
    core_requests::CASES,
    core_network::CASES,
];

/// Every case there is.
pub fn all() -> impl Iterator<Item = &'static Case> {
    GROUPS.iter().copied().flatten()
}
