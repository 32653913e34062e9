//! `Upload-Metadata`: checked at creation, given back by HEAD as it came.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::answer::Answer;
use super::request::Fields;
use super::{Flaw, Server};

/// The request's metadata as received, if it is well formed.
pub(super) fn received(server: &Server, fields: &Fields) -> Result<Option<Vec<u8>>, Answer> {
    let Some(raw) = fields.one("Upload-Metadata")? else {
        return Ok(None);
    };
    let mut keys = HashSet::new();
    for (key, value) in pairs(raw) {
        let is_named = key.iter().all(u8::is_ascii_graphic)
            && (!key.is_empty() || server.has(Flaw::MetadataKeyEmptyTaken));
        let is_new = keys.insert(key) || server.has(Flaw::MetadataKeyTwiceTaken);
        let is_blank = value.contains(&b' ') && server.has(Flaw::MetadataBlankTaken);
        let is_base64 =
            STANDARD.decode(value).is_ok() || is_blank || server.has(Flaw::MetadataBadBase64Taken);
        let is_refused = value.is_empty() && server.has(Flaw::MetadataEmptyRefused);
        if !is_named || !is_new || !is_base64 || is_refused {
            return Err(Answer::new(400));
        }
    }
    Ok(Some(raw.to_vec()))
}

/// Key, and value in Base64.
fn pairs(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    raw.split(|byte| *byte == b',')
        .filter(move |_| !raw.is_empty())
        .map(|pair| {
            let pair = pair.trim_ascii();
            match pair.iter().position(|byte| *byte == b' ') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            }
        })
}

/// The file's name as it came, where there is one.
pub(super) fn filename(raw: &[u8]) -> Option<Vec<u8>> {
    let (_, value) = pairs(raw).find(|(key, _)| *key == b"filename")?;
    STANDARD.decode(value).ok()
}

/// What HEAD tells of it: just what was received, without a flaw.
pub(super) fn told(server: &Server, raw: &[u8]) -> Vec<u8> {
    let lossy = |value: &[u8]| {
        let bytes = STANDARD.decode(value).unwrap_or_default();
        STANDARD
            .encode(String::from_utf8_lossy(&bytes).as_bytes())
            .into_bytes()
    };
    let mut all: Vec<(&[u8], Vec<u8>)> = pairs(raw)
        .map(|(key, value)| (key, value.to_vec()))
        .collect();
    if server.has(Flaw::MetadataLossy) {
        for (_, value) in &mut all {
            *value = lossy(value);
        }
    } else if server.has(Flaw::MetadataAscii) {
        all.retain(|(_, value)| STANDARD.decode(value).is_ok_and(|bytes| bytes.is_ascii()));
    } else if server.has(Flaw::MetadataSorted) {
        all.sort();
    } else if server.has(Flaw::MetadataEmptyDropped) {
        all.retain(|(_, value)| !value.is_empty());
    } else if server.has(Flaw::MetadataOnePair) {
        all.truncate(1);
    } else if !server.has(Flaw::MetadataReformed) {
        return raw.to_vec();
    }
    // The other form has a blank more everywhere.
    let (comma, space): (&[u8], &[u8]) = if server.has(Flaw::MetadataReformed) {
        (b", ", b"  ")
    } else {
        (b",", b" ")
    };
    let pairs: Vec<Vec<u8>> = all
        .iter()
        .map(|(key, value)| match value.as_slice() {
            [] => key.to_vec(),
            value => [key, space, value].concat(),
        })
        .collect();
    pairs.join(comma)
}
