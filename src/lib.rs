//! Highwater: a resumable upload server.
//!
//! The *high-water mark* of an upload is its offset: the bytes that are safe. It only rises: **an offset that a client has
//! been told is never taken back.**
//!
//! # Layout, lowest first
//!
//! - [`units`]: values as people write them.
//! - [`upload`]: the name of an upload, its record, and the rules by which the record changes.
//! - [`meter`]: what happens, counted.
//! - [`protocol`]: the wire, typed; one header a file.
//! - `clock`: the time of day.
//! - `pace`: whether the disk is fast enough to be waited for in a task.
//! - [`blob`]: where bytes lie.
//! - [`state`]: where records lie.
//! - [`lock`]: who may write.
//! - [`progress`]: who is told what, while it happens.
//! - [`security`]: who may do what, and what uploads may be.
//! - [`hooks`]: programs of the operator's own that are asked and told, and those that complete uploads are handed to.
//! - [`error`]: every failure a client can see, and its status.
//! - [`config`]: what the operator wants, checked once at start.
//! - [`engine`]: the use cases over the ports.
//! - [`logging`]: what the operator is told.
//! - `answer`: what the doors' answers have in common.
//! - [`tus`]: the door for tus 1.0.
//! - [`session`]: the door for sessions, `/uploads/`.
//! - [`watch`]: the door for those who follow uploads.
//! - [`admin`]: the door for operators.
//! - `web`: the pages and their scripts, embedded.
//! - [`server`]: sockets and connections.

pub mod admin;
mod answer;
pub mod blob;
mod clock;
pub mod config;
pub mod engine;
pub mod error;
pub mod hooks;
pub mod lock;
pub mod logging;
pub mod meter;
mod pace;
pub mod progress;
pub mod protocol;
pub mod security;
pub mod server;
pub mod session;
pub mod state;
pub mod tus;
pub mod units;
pub mod upload;
pub mod watch;
mod web;
