//! Why a run ended early.

use std::io;
use std::process::ExitStatus;

/// Everything that ends a run; each says what was being done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}: only http://127.0.0.1[:port]/path is loaded, nothing further away")]
    NotLoopback(String),
    #[error("{doing}: {source}")]
    Io {
        doing: &'static str,
        source: io::Error,
    },
    #[error("the server's answer is no HTTP/1.1: {0}")]
    NotHttp(&'static str),
    #[error("{method} {path}: wanted {wanted}, got {got}")]
    Status {
        method: &'static str,
        path: String,
        wanted: u16,
        got: u16,
    },
    #[error("{path}: offset {got:?}, should be {wanted}")]
    Offset {
        path: String,
        wanted: u64,
        got: Option<u64>,
    },
    #[error("{path}: the stored bytes differ from those sent, at or soon after {at}")]
    Bytes { path: String, at: u64 },
    #[error("/proc/{pid}/{file}: {what}")]
    Proc {
        pid: u32,
        file: &'static str,
        what: String,
    },
    #[error("HTTP/2: {0}")]
    NotHttp2(String),
    #[error("{path}: {what}")]
    Wrong { path: String, what: String },
    #[error("this scenario needs {0}")]
    Needs(&'static str),
    #[error("the server that was started again ended: {0}")]
    Ended(ExitStatus),
    #[error("a sending thread panicked")]
    Panicked,
}

impl Failure {
    /// For `map_err`: an I/O error with what was being done.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}
