//! The deaths of the real binary under a mixed load: `kill -9` wherever it hurts, and power cuts; and a start with many records.
#![expect(
    unreachable_pub,
    reason = "modules of the test program, not of a library"
)]

mod check;
mod kills;
mod load;
mod places;
mod power;
mod records;
mod users;
