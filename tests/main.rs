//! The tests of the server, through real sockets: a module a concern.

mod checksum;
mod concatenation;
mod crash;
mod creation;
mod disk_frozen;
mod download;
mod invariants;
mod lifetime;
mod locks;
mod protocol;
mod server_process;
mod support;
mod web;
