//! Who may do what. Decided on the head alone, before the first read of a body.

pub mod admin;
pub mod auth;
pub mod cors;
pub mod kept;
pub mod tls;
pub mod user;
