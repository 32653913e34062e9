//! Who follows which upload, and what they are told.
//!
//! The engine tells the [`hub`] what happens; whoever watches has a [`mailbox`]. A mailbox holds no messages, only which of
//! its uploads have news, and how far it has read in each: the news themselves are kept once an upload, so that a reader
//! that never reads costs a constant, and no writer ever waits for a reader. [`event`] is what goes over the wire.

pub mod event;
pub mod hub;
pub mod mailbox;
mod topic;

pub use event::{Facts, What};
pub use hub::Hub;
pub use mailbox::{Disk, Mailbox, Told};
