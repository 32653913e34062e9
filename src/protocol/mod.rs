//! The wire, typed: one header a file, parsed once and strictly. Pure, no I/O.

pub mod concat;

/// A header that is missing or cannot be read; the name is the header's, in its usual spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is required.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// It came more than once.
    #[error("the header {0} came more than once")]
    Repeated(&'static str),
    /// Its value is not of the form it must have.
    #[error("the header {0} is malformed")]
    Malformed(&'static str),
    /// It must not stand beside another one.
    #[error("the headers {0} and {1} exclude each other")]
    Conflict(&'static str, &'static str),
}
