//! What the bytes of uploads are: types (`--sniff`), names (`--filename-policy`), malware (`--scan`).

mod casting_out;
mod clamd;
mod fake_clamd;
mod names;
mod scanning;
mod sniffing;
