//! HTTP/1.1 (RFC 9112) on raw sockets: a request is built as wrongly as a case wants it, an answer is read strictly.

mod conn;
mod request;
mod response;

pub use conn::Conn;
pub use request::Request;
pub use response::Response;

use std::io;
use std::time::Duration;

/// How long an answer may take where a case does not say otherwise. A healthy server on a busy machine needs less.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer to judge.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The server does not answer the connection attempt.
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    /// The server closed or reset the connection while the request was being sent.
    #[error("sending: {0}")]
    Send(#[source] io::Error),
    /// Nothing, or not enough, came in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The connection ended before the answer did; what was there of it.
    #[error("the connection ended before the answer did, after {0:?}")]
    Cut(String),
    /// Reading failed.
    #[error("reading: {0}")]
    Read(#[source] io::Error),
    /// What came is no HTTP/1.1.
    #[error("the answer is no HTTP/1.1: {0}")]
    NotHttp(String),
}
