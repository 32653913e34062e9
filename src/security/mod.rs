//! Who may do what. Decided on the head alone, before the first read of a body.

pub mod admin;
pub mod auth;
pub mod cors;
pub mod gate;
pub mod kept;
pub mod names;
pub mod quota;
pub mod rate;
pub mod scan;
pub mod sniff;
pub mod tls;
pub mod types;
pub mod user;
