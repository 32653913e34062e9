//! Preconditions of downloads: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`.

use std::time::UNIX_EPOCH;

use http::HeaderMap;

use super::{one, trim};

/// What the preconditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They hold, or there are none: answer.
    Go,
    /// The client has it already: 304.
    NotModified,
    /// They do not hold: 412.
    Failed,
}

/// Evaluates the preconditions of a GET or HEAD against what is there: its `etag` (as in `ETag`, with quotes) and when it was
/// last modified, in milliseconds since the Unix epoch, of which only the seconds count.
///
/// A date that is malformed or repeated is as if it were not there; a list of tags counts as far as it can be read.
/// Source: RFC 9110, 13.2.2, for the order.
#[must_use]
pub fn verdict(headers: &HeaderMap, etag: &str, last_modified: u64) -> Verdict {
    let modified = last_modified / 1000;
    let goes = match names(headers, "If-Match", etag, strongly_equal) {
        Some(named) => named,
        None => date(headers, "If-Unmodified-Since").is_none_or(|date| modified <= date),
    };
    if !goes {
        return Verdict::Failed;
    }
    let has_it = match names(headers, "If-None-Match", etag, weakly_equal) {
        Some(named) => named,
        None => date(headers, "If-Modified-Since").is_some_and(|date| modified <= date),
    };
    if has_it {
        Verdict::NotModified
    } else {
        Verdict::Go
    }
}

/// Whether `If-None-Match` names `etag`: of what has no date, the one precondition that counts.
#[must_use]
pub fn has_it(headers: &HeaderMap, etag: &str) -> bool {
    names(headers, "If-None-Match", etag, weakly_equal) == Some(true)
}

/// A header that is a date, in seconds since the Unix epoch. Source: RFC 9110, 5.6.7: all three forms are read.
pub(crate) fn date(headers: &HeaderMap, name: &'static str) -> Option<u64> {
    let text = one(headers, name).ok()??.to_str().ok()?;
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

/// Both are strong, and the same. Source: RFC 9110, 8.8.3.2.
pub(crate) fn strongly_equal(one: &[u8], other: &[u8]) -> bool {
    one == other && one.starts_with(b"\"")
}

/// The same but for the `W/`.
fn weakly_equal(one: &[u8], other: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag).to_owned();
    opaque(one) == opaque(other)
}

/// Whether the header, a list of entity tags over several lines or `*`, names `etag`; `None` without the header.
fn names(
    headers: &HeaderMap,
    name: &str,
    etag: &str,
    equal: fn(&[u8], &[u8]) -> bool,
) -> Option<bool> {
    let lines = headers.get_all(name);
    lines.iter().next()?;
    Some(
        lines
            .iter()
            .map(|line| trim(line.as_bytes()))
            .any(|line| line == b"*" || tags(line).any(|tag| equal(tag, etag.as_bytes()))),
    )
}

/// The tags of one line, up to its end or to what is no tag.
fn tags(mut line: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let start = line.iter().position(|byte| !b" \t,".contains(byte))?;
        line = line.get(start..)?;
        let quoted = line
            .strip_prefix(b"W/")
            .unwrap_or(line)
            .strip_prefix(b"\"")?;
        // No escapes in a tag: the next quote ends it.
        let rest = quoted.get(quoted.iter().position(|byte| *byte == b'"')? + 1..)?;
        let tag = line.get(..line.len() - rest.len())?;
        line = rest;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head};
    use super::*;
    use Verdict::{Failed, Go, NotModified};
    use proptest::prelude::*;

    const TAG: &str = "\"abc\"";
    /// Sun, 06 Nov 1994 08:49:37 GMT and a half.
    const MODIFIED: u64 = 784_111_777_500;
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn conditions_one_by_one() {
        let table = [
            ("if-match", "\"abc\"", Go),
            ("if-match", "*", Go),
            ("if-match", "\"x\", \"abc\"", Go),
            ("if-match", "\"a,b\",\"abc\"", Go),
            ("if-match", "\"x\"", Failed),
            ("if-match", "W/\"abc\"", Failed),
            ("if-match", "abc", Failed),
            ("if-match", "", Failed),
            ("if-match", "\"abc", Failed),
            ("if-match", "x, \"abc\"", Failed),
            ("if-match", "\u{e9}", Failed),
            ("if-none-match", "\"abc\"", NotModified),
            ("if-none-match", "W/\"abc\"", NotModified),
            ("if-none-match", "*", NotModified),
            ("if-none-match", " ,\t\"x\" ,W/\"abc\",", NotModified),
            ("if-none-match", "\"x\"", Go),
            ("if-none-match", "w/\"abc\"", Go),
            ("if-none-match", "", Go),
            ("if-none-match", "abc", Go),
            ("if-none-match", "**", Go),
            ("if-modified-since", THEN, NotModified),
            ("if-modified-since", BEFORE, Go),
            (
                "if-modified-since",
                "Sunday, 06-Nov-94 08:49:37 GMT",
                NotModified,
            ),
            ("if-modified-since", "Sun Nov  6 08:49:37 1994", NotModified),
            ("if-modified-since", "yesterday", Go),
            ("if-modified-since", "", Go),
            ("if-modified-since", "784111777", Go),
            ("if-modified-since", "\u{e9}", Go),
            ("if-unmodified-since", THEN, Go),
            ("if-unmodified-since", BEFORE, Failed),
            ("if-unmodified-since", "tomorrow", Go),
        ];
        for (name, value, wanted) in table {
            assert_eq!(
                verdict(&head(&[(name, value)]), TAG, MODIFIED),
                wanted,
                "{name}: {value}"
            );
        }
        assert_eq!(verdict(&HeaderMap::new(), TAG, MODIFIED), Go);
        let huge = "\"x\",".repeat(20_000);
        assert_eq!(
            verdict(&head(&[("if-match", &huge)]), TAG, MODIFIED),
            Failed
        );
    }

    #[test]
    fn conditions_side_by_side() {
        let (matches, none) = ("if-match", "if-none-match");
        let (since, unmodified) = ("if-modified-since", "if-unmodified-since");
        let table: [(&[(&str, &str)], Verdict); 8] = [
            (&[(matches, TAG), (unmodified, BEFORE)], Go),
            (&[(matches, "\"x\""), (none, TAG)], Failed),
            (&[(matches, TAG), (none, TAG)], NotModified),
            (&[(none, "\"x\""), (since, THEN)], Go),
            (&[(unmodified, BEFORE), (none, TAG)], Failed),
            (&[(matches, "\"x\""), (matches, TAG)], Go),
            (&[(none, "\"x\""), (none, TAG)], NotModified),
            (&[(since, THEN), (since, THEN)], Go),
        ];
        for (headers, wanted) in table {
            assert_eq!(
                verdict(&head(headers), TAG, MODIFIED),
                wanted,
                "{headers:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value in any_value(), near in "[W/\", *a\\\\]{0,20}", date in "[A-Za-z0-9 :,]{0,32}", at: u64) {
            for name in ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] {
                let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.clone())]);
                let _ = verdict(&headers, TAG, at);
                let _ = verdict(&head(&[(name, &near)]), TAG, at);
                let _ = verdict(&head(&[(name, &date)]), TAG, at);
            }
        }
    }
}
