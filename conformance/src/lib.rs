//! Checks any tus 1.0 server over the network, and shows that the checks are worth something.
//!
//! In reading order: [`target`] (where the server is) → [`wire`] (HTTP/1.1 on raw sockets, so that a case can send what a
//! correct client would not) → [`case`] (a clause of a specification, and how to see that it holds) → [`client`] (what a
//! case works with) → [`cases`] (all of them) → [`run`] (every case, side by side, within a minute) → [`report`] (table,
//! JSON, JUnit). [`mod@reference`] is a small server with faults that can be switched on: each fault must make its case fail.
//!
//! Nothing here shares code with a server that it checks.

pub mod case;
pub mod cases;
pub mod client;
pub mod reference;
pub mod report;
pub mod run;
pub mod target;
pub mod wire;
