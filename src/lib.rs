//! Highwater: a resumable upload server.
