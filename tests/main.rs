//! The tests of the server, through real sockets: a module a concern.

mod checksum;
mod concatenation;
mod creation;
mod download;
mod lifetime;
mod protocol;
mod server_process;
mod support;
mod web;
