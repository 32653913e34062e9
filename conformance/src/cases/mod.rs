//! Every case, in groups: a file each. An id's first word is its group.

mod core;
mod core_network;
mod core_requests;
mod http;
mod http_answers;
mod http_connection;
mod http_download;
mod http_framing;

use crate::case::Case;

/// The groups, in the order in which they are reported.
const GROUPS: &[&[Case]] = &[
    core::CASES,
    core_requests::CASES,
    core_network::CASES,
    http::CASES,
    http_framing::CASES,
    http_connection::CASES,
    http_answers::CASES,
    http_download::CASES,
];

/// Every case there is.
pub fn all() -> impl Iterator<Item = &'static Case> {
    GROUPS.iter().copied().flatten()
}
