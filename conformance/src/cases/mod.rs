//! Every case, in groups: a file each. An id's first word is its group.

mod checksum;
mod concat;
mod core;
mod core_network;
mod core_requests;
mod cors;
mod creation;
mod defer;
mod expiration;
mod fields;
mod http;
mod http_answers;
mod http_connection;
mod http_download;
mod http_framing;
mod joining;
mod means;
mod metadata;
mod parts;
mod robust;
mod shared;
mod termination;
mod trailer;
mod unfinished;
mod upload;

use crate::case::Case;

/// The groups, in the order in which they are reported.
const GROUPS: &[&[Case]] = &[
    core::CASES,
    core_requests::CASES,
    core_network::CASES,
    creation::CASES,
    metadata::CASES,
    upload::CASES,
    defer::CASES,
    expiration::CASES,
    checksum::CASES,
    trailer::CASES,
    termination::CASES,
    concat::CASES,
    parts::CASES,
    unfinished::CASES,
    cors::CASES,
    shared::CASES,
    robust::CASES,
    fields::CASES,
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
