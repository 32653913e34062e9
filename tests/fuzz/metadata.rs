//! Target `metadata`: any bytes as `Upload-Metadata`.

use highwater::protocol::disposition::{content_disposition, content_type};
use highwater::protocol::metadata::{NAME, UploadMetadata};
use http::{HeaderMap, HeaderValue};

/// Keys and values, in their order.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads `bytes` as the server does and naively, and holds the two against each other; what is taken must come back byte for
/// byte, and be harmless in the headers that a download makes of it.
pub(crate) fn run(bytes: &[u8]) {
    let naive = naive(bytes);
    let read = UploadMetadata::parse(bytes);
    assert_eq!(
        read.is_ok(),
        naive.is_some(),
        "{read:?} instead of {naive:?}"
    );
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let headers = HeaderMap::from_iter([(NAME.parse().expect("a name"), value)]);
        let in_head = UploadMetadata::from_headers(&headers);
        assert_eq!(in_head, read.clone().map(Some));
    }
    let (Ok(metadata), Some(naive)) = (read, naive) else {
        return;
    };
    assert_eq!(metadata.raw(), bytes, "the raw value");
    let owned = |(key, value): (&str, Vec<u8>)| (key.as_bytes().to_vec(), value);
    assert_eq!(metadata.pairs().map(owned).collect::<Pairs>(), naive);
    for (key, value) in &naive {
        let key = std::str::from_utf8(key).expect("visible ASCII");
        assert_eq!(metadata.get(key).as_ref(), Some(value));
        for shown in [
            content_disposition(Some(value), true),
            content_type(Some(value)),
        ] {
            assert!(
                shown.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{shown:?}"
            );
            assert!(shown.len() < 1200, "{shown:?}");
        }
    }
}

/// The pairs, read by hand; `None` for what is to be refused.
pub(crate) fn naive(bytes: &[u8]) -> Option<Pairs> {
    let mut pairs = Pairs::new();
    let bytes = shorn(bytes);
    if bytes.is_empty() {
        return Some(pairs);
    }
    for piece in bytes.split(|byte| *byte == b',') {
        let mut words = shorn(piece).split(|byte| *byte == b' ');
        let (key, value, more) = (words.next()?, words.next(), words.next());
        let key_is_good = !key.is_empty() && key.iter().all(|byte| matches!(byte, b'!'..=b'~'));
        if !key_is_good || more.is_some() || pairs.iter().any(|(other, _)| other == key) {
            return None;
        }
        pairs.push((key.to_vec(), decoded(value.unwrap_or_default())?));
    }
    Some(pairs)
}

/// Without the blanks and tabs around it.
fn shorn(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Base64 bit by bit. Source: RFC 4648, 3.5 and 4: whole groups of four, padded, and no bits are lost.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u8> = text
        .iter()
        .copied()
        .take_while(|byte| *byte != b'=')
        .collect();
    let padding = &text[digits.len()..];
    let padding_is_good = padding.len() <= 2 && padding.iter().all(|byte| *byte == b'=');
    if !text.len().is_multiple_of(4) || !padding_is_good {
        return None;
    }
    let mut bits = Vec::new();
    for digit in digits {
        let value = ALPHABET.iter().position(|known| *known == digit)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1 == 1));
    }
    let rest = bits.split_off(bits.len() - bits.len() % 8);
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    (!rest.contains(&true)).then(|| bits.chunks(8).map(byte).collect())
}
