//! The tests of the server, through real sockets: a module a concern.

mod admin;
mod checksum;
mod concatenation;
mod crash;
mod creation;
mod damage;
mod deaths;
mod disk_frozen;
mod disk_full;
mod download;
mod fuzz;
mod heads;
mod invariants;
mod layout;
mod lifetime;
mod limits;
mod locks;
mod operation;
mod progress;
mod protocol;
mod server_process;
mod sessions;
mod state_growth;
mod support;
mod survival;
mod web;
