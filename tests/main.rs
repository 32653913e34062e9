//! The tests of the server, through real sockets: a module a concern.

mod checksum;
mod concatenation;
mod creation;
mod protocol;
mod support;
