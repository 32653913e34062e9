//! Highwater: a resumable upload server.
//!
//! The *high-water mark* of an upload is its offset: the bytes that are safe. It only rises: **an offset that a client has
//! been told is never taken back.**
//!
//! # Layout, lowest first
//!
//! - [`protocol`]: the wire, typed; one header a file.
//! - [`upload`]: the name of an upload, its record, and the rules by which the record changes.
//! - [`error`]: every failure a client can see, and its status.
//! - [`blob`]: where bytes lie.
//! - [`state`]: where records lie.
//! - [`lock`]: who may write.
//! - [`security`]: who may do what.

pub mod blob;
pub mod error;
pub mod lock;
pub mod protocol;
pub mod security;
pub mod state;
pub mod upload;
