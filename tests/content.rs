//! What the bytes of uploads are: types (`--sniff`), names (`--filename-policy`), malware (`--scan`).

mod casting_out;
mod clamd;
mod fake_clamd;
mod names;
mod scanning;
mod sniffing;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::client::Request;

/// `Upload-Metadata` of these texts.
fn metadata(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(key, value)| format!("{key} {}", STANDARD.encode(value)));
    pairs.collect::<Vec<_>>().join(",")
}

trait Described {
    fn described(self, pairs: &[(&str, &str)]) -> Self;
}

impl Described for Request {
    fn described(self, pairs: &[(&str, &str)]) -> Self {
        self.header("Upload-Metadata", metadata(pairs))
    }
}
