//! `Content-Type` of bytes to append.

use http::HeaderMap;

use super::{one, trim};

/// The media type of a PATCH's body, and of a POST's that carries bytes.
pub const OFFSET_STREAM: &str = "application/offset+octet-stream";

/// Whether the body is declared as bytes to append: [`OFFSET_STREAM`] once, in any case; parameters are read over.
/// Source: tus 1.0.0, core protocol, PATCH; RFC 9110, 8.3.1.
#[must_use]
pub fn is_offset_stream(headers: &HeaderMap) -> bool {
    let Ok(Some(value)) = one(headers, "content-type") else {
        return false;
    };
    let essence = value
        .as_bytes()
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    trim(essence).eq_ignore_ascii_case(OFFSET_STREAM.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn media_types() {
        for good in [
            "application/offset+octet-stream",
            "Application/Offset+Octet-Stream",
            "application/offset+octet-stream; charset=utf-8",
            "application/offset+octet-stream ;x",
            " application/offset+octet-stream",
        ] {
            assert!(
                is_offset_stream(&head(&[("content-type", good)])),
                "{good:?}"
            );
        }
        let huge = "a".repeat(60_000);
        for bad in [
            "",
            ";",
            "application/octet-stream",
            "application/offset",
            "application/offset+octet-streams",
            "application/offset+octet-stream, text/plain",
            "application / offset+octet-stream",
            "text/plain",
            "\u{e9}",
            &huge,
        ] {
            assert!(
                !is_offset_stream(&head(&[("content-type", bad)])),
                "{bad:?}"
            );
        }
        assert!(!is_offset_stream(&HeaderMap::new()));
        let twice = head(&[
            ("content-type", OFFSET_STREAM),
            ("content-type", OFFSET_STREAM),
        ]);
        assert!(!is_offset_stream(&twice));
    }

    proptest! {
        #[test]
        fn no_value_panics(value in any_value()) {
            let _ = is_offset_stream(&HeaderMap::from_iter([(http::header::CONTENT_TYPE, value)]));
        }
    }
}
