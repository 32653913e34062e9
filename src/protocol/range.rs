//! `Range` and `If-Range` of downloads.

use std::ops::Range;

use http::HeaderMap;

use super::conditional::{date, strongly_equal};
use super::{one, trim};

/// What a GET asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// Everything: 200.
    Whole,
    /// These bytes, never none and never past the end: 206 with `Content-Range`.
    Part(Range<u64>),
    /// Bytes that there are not: 416.
    Unsatisfiable,
}

/// What a GET of `length` bytes asks for. `etag` (as in `ETag`, with quotes) and `last_modified` (milliseconds since the Unix
/// epoch, whole seconds count) are held against `If-Range`.
///
/// One range of bytes is served; several, another unit, a malformed or repeated header are answered with everything, which
/// the RFC leaves to a server. To be asked after the preconditions ([`super::conditional::verdict`]).
/// Source: RFC 9110, 13.1.5, 14.1.2 and 14.2.
#[must_use]
pub fn requested(headers: &HeaderMap, length: u64, etag: &str, last_modified: u64) -> Requested {
    let Ok(Some(range)) = one(headers, "Range") else {
        return Requested::Whole;
    };
    if !if_range(headers, etag, last_modified) {
        return Requested::Whole;
    }
    let range = std::str::from_utf8(range.as_bytes()).ok().and_then(single);
    range.map_or(Requested::Whole, |range| range.within(length))
}

/// Whether `If-Range` lets the range count: it is not there, or names exactly what is there. A finished upload never
/// changes, so that its date is a strong validator.
fn if_range(headers: &HeaderMap, etag: &str, last_modified: u64) -> bool {
    match one(headers, "If-Range") {
        Ok(None) => true,
        Ok(Some(value)) => {
            strongly_equal(trim(value.as_bytes()), etag.as_bytes())
                || date(headers, "If-Range") == Some(last_modified / 1000)
        }
        Err(_) => false,
    }
}

/// One range, as asked for; a number past `u64` is its last one.
enum Single {
    /// `first-` or `first-last`.
    From(u64, u64),
    /// `-count`.
    Last(u64),
}

impl Single {
    fn within(self, length: u64) -> Requested {
        match self {
            Self::From(first, _) if first >= length => Requested::Unsatisfiable,
            Self::From(first, last) => Requested::Part(first..last.saturating_add(1).min(length)),
            Self::Last(0) => Requested::Unsatisfiable,
            // The last bytes of nothing are nothing, which no Content-Range can say.
            Self::Last(_) if length == 0 => Requested::Whole,
            Self::Last(count) => Requested::Part(length.saturating_sub(count)..length),
        }
    }
}

/// Reads `bytes=0-4`, `bytes=5-`, `bytes=-5`; `None` for several ranges and for what is no range.
fn single(text: &str) -> Option<Single> {
    let (unit, range) = text.split_once('=')?;
    if !unit.trim_matches([' ', '\t']).eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim_matches([' ', '\t']).split_once('-')?;
    match (first, last) {
        ("", last) => number(last).map(Single::Last),
        (first, "") => Some(Single::From(number(first)?, u64::MAX)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Single::From(first, last))
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head};
    use super::*;
    use Requested::{Part, Unsatisfiable, Whole};
    use proptest::prelude::*;

    const TAG: &str = "\"abc\"";
    const MODIFIED: u64 = 784_111_777_500;

    #[test]
    fn ranges_of_ten_bytes() {
        let table = [
            ("bytes=0-4", Part(0..5)),
            ("bytes=5-", Part(5..10)),
            ("bytes=-3", Part(7..10)),
            ("bytes=0-0", Part(0..1)),
            ("bytes=9-9", Part(9..10)),
            ("bytes=0-99", Part(0..10)),
            ("bytes=-99", Part(0..10)),
            ("BYTES=0-4", Part(0..5)),
            ("bytes= 0-4", Part(0..5)),
            ("bytes=0-18446744073709551615", Part(0..10)),
            ("bytes=0-99999999999999999999999", Part(0..10)),
            ("bytes=-99999999999999999999999", Part(0..10)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("", Whole),
            ("bytes", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=5-4", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1--2", Whole),
            ("bytes=--2", Whole),
            ("bytes=1", Whole),
            ("bytes=0 - 4", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=0-1,", Whole),
            ("items=0-4", Whole),
            ("bytes:0-4", Whole),
            ("\u{e9}=0-4", Whole),
            ("bytes=\u{665}-", Whole),
        ];
        for (value, wanted) in table {
            let headers = head(&[("range", value)]);
            assert_eq!(requested(&headers, 10, TAG, MODIFIED), wanted, "{value}");
        }
        assert_eq!(requested(&HeaderMap::new(), 10, TAG, MODIFIED), Whole);
        let twice = head(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]);
        assert_eq!(requested(&twice, 10, TAG, MODIFIED), Whole);
        let huge = head(&[("range", format!("bytes={}-", "1".repeat(60_000)))]);
        assert_eq!(requested(&huge, 10, TAG, MODIFIED), Unsatisfiable);
    }

    #[test]
    fn ranges_of_nothing() {
        for (value, wanted) in [
            ("bytes=0-", Unsatisfiable),
            ("bytes=0-0", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=-5", Whole),
        ] {
            let headers = head(&[("range", value)]);
            assert_eq!(requested(&headers, 0, TAG, MODIFIED), wanted, "{value}");
        }
    }

    #[test]
    fn a_range_of_another_file_is_not_served() {
        for good in ["\"abc\"", " \"abc\"", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            let headers = head(&[("range", "bytes=0-4"), ("if-range", good)]);
            assert_eq!(requested(&headers, 10, TAG, MODIFIED), Part(0..5), "{good}");
        }
        for bad in [
            "\"x\"",
            "W/\"abc\"",
            "abc",
            "*",
            "",
            "\"abc\", \"x\"",
            "Sun, 06 Nov 1994 08:49:38 GMT",
            "Sun, 06 Nov 1994 08:49:36 GMT",
            "\u{e9}",
        ] {
            let headers = head(&[("range", "bytes=0-4"), ("if-range", bad)]);
            assert_eq!(requested(&headers, 10, TAG, MODIFIED), Whole, "{bad}");
        }
        let twice = head(&[("range", "bytes=0-4"), ("if-range", TAG), ("if-range", TAG)]);
        assert_eq!(requested(&twice, 10, TAG, MODIFIED), Whole);
        let weak = head(&[("range", "bytes=0-4"), ("if-range", "W/\"abc\"")]);
        assert_eq!(requested(&weak, 10, "W/\"abc\"", MODIFIED), Whole);
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_nor_past_the_end(
            value in any_value(), near in "bytes=[0-9]{0,21}-[0-9]{0,21}", length: u64
        ) {
            let any = HeaderMap::from_iter([(http::header::RANGE, value)]);
            for headers in [any, head(&[("range", &near)])] {
                if let Part(range) = requested(&headers, length, TAG, MODIFIED) {
                    prop_assert!(range.start < range.end && range.end <= length);
                }
            }
        }
    }
}
