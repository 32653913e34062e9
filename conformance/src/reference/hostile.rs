//! Where a server falls for a hostile request: flaws only.

use super::answer::Answer;
use super::request::Request;
use super::{BASE, Flaw, Server};

/// What is answered before anything is looked up, by a server that has such a flaw.
pub(super) fn answer(server: &Server, request: &Request) -> Option<Answer> {
    let name = request.path.strip_prefix(BASE).unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    if server.has(Flaw::NamesAboveFound) && lower.contains("..") {
        let found = Answer::new(200).with("Upload-Offset", "5");
        return Some(found.with("Upload-Length", "5"));
    }
    let fails = (server.has(Flaw::NamesOfControlsFail) && lower.contains("%0"))
        || (server.has(Flaw::NamesTooLongFail) && name.len() > 255)
        || (server.has(Flaw::MistakeFails) && !name.is_empty() && request.method == "POST");
    fails.then(|| Answer::new(500))
}

/// A path whose unreserved characters are not escaped (RFC 3986, 6.2.2.2).
pub(super) fn normal(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let byte = rest.get(at + 1..at + 3);
        let byte = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push_str(&rest[..at]);
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            _ => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}
