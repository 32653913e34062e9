//! Those who follow uploads: what they are told, in which order, and how soon.

mod all;
mod events;
mod latency;
mod misuse;
mod sessions;
pub(crate) mod stream;
pub(crate) mod watcher;
