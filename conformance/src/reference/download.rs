//! GET of a complete upload: whole, in part, or not at all (RFC 9110, 13 and 14).

use super::answer::Answer;
use super::request::{Request, digits};
use super::{Flaw, Server};

/// What a range asks for.
enum Range {
    /// It is none that is understood, so that it does not count.
    Ignored,
    Unsatisfiable,
    /// From this byte up to that one, which is not in it.
    Bytes(usize, usize),
}

/// The answer to a GET of `data`.
pub(super) fn content(server: &Server, request: &Request, data: &[u8]) -> Answer {
    let tag = tag(data);
    if !server.has(Flaw::IfMatchIgnored) && names(request, "If-Match", &tag) == Some(false) {
        return Answer::new(412);
    }
    let mut none_match = names(request, "If-None-Match", &tag);
    if !server.has(Flaw::TagsComparedStrongly) {
        let weak = names(request, "If-None-Match", &format!("W/{tag}"));
        none_match = none_match.map(|strong| strong || weak == Some(true));
    }
    if !server.has(Flaw::IfNoneMatchIgnored) && none_match == Some(true) {
        return Answer::new(304).with("ETag", tag);
    }
    if server.has(Flaw::IfModifiedSinceFirst) && request.fields.has("If-Modified-Since") {
        return Answer::new(304).with("ETag", tag);
    }
    let alone = request.fields.has("If-Range") && !request.fields.has("Range");
    if server.has(Flaw::IfRangeAlone) && alone {
        return Answer::new(412);
    }
    let holds = server.has(Flaw::IfRangeIgnored) || names(request, "If-Range", &tag) != Some(false);
    let range = match request.fields.all("Range").next() {
        Some(range) if holds => self::range(server, range, data.len()),
        _ => Range::Ignored,
    };
    let (answer, content) = match range {
        Range::Ignored => (Answer::new(200), data),
        Range::Unsatisfiable => {
            let range = format!("bytes */{}", data.len());
            return Answer::new(416).with("Content-Range", range);
        }
        Range::Bytes(from, to) => {
            let range = format!("bytes {from}-{}/{}", to - 1, data.len());
            let short = usize::from(server.has(Flaw::RangeShort));
            let answer = Answer::new(206).with("Content-Range", range);
            (answer, &data[from..to - short])
        }
    };
    answer
        .with("ETag", tag)
        .with("Content-Type", "application/octet-stream")
        .containing(content.to_vec())
}

/// Of bytes that never change, a few sums are enough.
fn tag(data: &[u8]) -> String {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = data.iter().fold(0xcbf2_9ce4_8422_2325, step);
    format!("\"{:x}-{sum:x}\"", data.len())
}

/// Whether a condition names `tag`; `None` where there is none.
fn names(request: &Request, condition: &str, tag: &str) -> Option<bool> {
    let tags = request.fields.all(condition).next()?;
    let mut tags = tags.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    Some(tags.any(|found| found == b"*" || found == tag.as_bytes()))
}

/// One range; of several, none counts.
fn range(server: &Server, value: &[u8], len: usize) -> Range {
    let value = String::from_utf8_lossy(value);
    let Some((unit, range)) = value.split_once('=') else {
        return Range::Ignored;
    };
    let known = unit.eq_ignore_ascii_case("bytes") || server.has(Flaw::RangeUnitIgnored);
    let Some((first, last)) = range.split_once('-').filter(|_| known) else {
        return Range::Ignored;
    };
    let number = |text: &str| digits(text.as_bytes()).and_then(|n| usize::try_from(n).ok());
    let (from, to) = (number(first), number(last));
    let reaches_past = from.map_or(to > Some(len), |_| to >= Some(len));
    if server.has(Flaw::RangePastEndRefused) && to.is_some() && reaches_past {
        return Range::Unsatisfiable;
    }
    match (from, to) {
        (Some(from), Some(to)) if server.has(Flaw::RangeReversedTaken) && to < from => {
            Range::Bytes(to, len.min(from + 1))
        }
        (None, Some(0)) if first.is_empty() => Range::Unsatisfiable,
        (None, Some(count)) if first.is_empty() && len > 0 => {
            Range::Bytes(len.saturating_sub(count), len)
        }
        (Some(from), None) if last.is_empty() && from < len => Range::Bytes(from, len),
        (Some(from), Some(to)) if from <= to && from < len => Range::Bytes(from, len.min(to + 1)),
        (Some(from), _) if from >= len => Range::Unsatisfiable,
        _ => Range::Ignored,
    }
}
