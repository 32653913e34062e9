//! A small tus server with faults that can be switched on, one at a time.

mod fault;

pub use fault::{Fault, Flaw};
