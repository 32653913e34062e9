//! HTTP as an upload server needs it: downloads in part and under conditions, where they are offered.

use super::core::one_of;
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::Response;

const RANGE: &str = "RFC 9110, 14.2";
const PARTIAL: &str = "RFC 9110, 15.3.7";
const SINGLE_PART: &str = "RFC 9110, 15.3.7.1";
const IF_NONE_MATCH: &str = "RFC 9110, 13.1.2";
const IF_MODIFIED_SINCE: &str = "RFC 9110, 13.1.3";

pub(super) const CASES: &[Case] = &[
    must(
        "http.range.content-range",
        SINGLE_PART,
        "If a single part is being transferred, the server generating the 206 response MUST generate a Content-Range header field",
        Fault::Without("GET", 206, "Content-Range"),
        |client| {
            let (_, answer) = partial(client, "bytes=2-5")?;
            let found = answer.list("Content-Range");
            let why = format!("Content-Range: {found:?}");
            let good = ["bytes 2-5/11", "bytes 2-5/*"];
            ensure(good.iter().any(|good| answer.get("Content-Range") == Some(good)), why)
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.range.content",
        SINGLE_PART,
        "describing what range of the selected representation is enclosed, and a content consisting of the range",
        Fault::Flaw(Flaw::RangeShort),
        |client| {
            for (range, content) in [("bytes=2-5", "llo "), ("bytes=6-", "world"), ("bytes=-3", "rld")] {
                let (_, answer) = partial(client, range)?;
                let found = String::from_utf8_lossy(&answer.body);
                ensure(found == content, format!("{range} gives {found:?}"))?;
            }
            Ok(())
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.range.fields",
        PARTIAL,
        "A server that generates a 206 response MUST generate the following header fields, in addition to those required in the subsections below, if the field would have been sent in a 200 (OK) response to the same request",
        Fault::Without("GET", 206, "ETag"),
        |client| {
            let (upload, answer) = partial(client, "bytes=2-5")?;
            let whole = client.send(&client.request("GET", &upload))?;
            for name in ["Date", "Cache-Control", "ETag", "Expires", "Content-Location", "Vary"] {
                let why = format!("200 has {name}, 206 does not");
                ensure(answer.has(name) || !whole.has(name), why)?;
            }
            Ok(())
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.range.unit",
        RANGE,
        "An origin server MUST ignore a Range header field that contains a range unit it does not understand.",
        Fault::Flaw(Flaw::RangeUnitIgnored),
        |client| {
            let (_, answer) = ranged(client, "hours=2-5")?;
            // 416 is what the same section asks for where the unit is not supported.
            one_of(&answer, &[200, 416])?;
            ensure(answer.status == 416 || answer.body == HELLO, "not the whole is given")
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.range.head",
        RANGE,
        "A server MUST ignore a Range header field received with a request method that is unrecognized or for which range handling is not defined.",
        Fault::Flaw(Flaw::RangeAtHead),
        |client| {
            let upload = client.create_complete(HELLO)?;
            let answer = client.send(&client.head(&upload).field("Range", "bytes=2-5"))?;
            ensure(answer.status != 206, "HEAD answered by 206")
        },
    ),
    should(
        "http.range.unsatisfiable",
        RANGE,
        "is unsatisfiable with respect to the selected representation, the server SHOULD send a 416 (Range Not Satisfiable) response",
        |client| {
            partial(client, "bytes=2-5")?;
            one_of(&ranged(client, "bytes=11-")?.1, &[416])
        },
    )
    .needs(&[Need::Download])
    .fault(Fault::Status("GET", 416, 400)),
    should(
        "http.range.unsatisfiable-length",
        "RFC 9110, 14.4",
        "SHOULD send a Content-Range header field with an unsatisfied-range value",
        |client| {
            let (_, answer) = ranged(client, "bytes=11-")?;
            if answer.status != 416 {
                return Err(Stop::Skip(format!("answered by {}", answer.status)));
            }
            let found = answer.list("Content-Range");
            let why = format!("Content-Range: {found:?}");
            ensure(answer.get("Content-Range") == Some("bytes */11"), why)
        },
    )
    .needs(&[Need::Download])
    .fault(Fault::Without("GET", 416, "Content-Range")),
    must(
        "http.range.if-range",
        "RFC 9110, 13.1.5",
        "A recipient of an If-Range header field MUST ignore the Range header field if the If-Range condition evaluates to false.",
        Fault::Flaw(Flaw::IfRangeIgnored),
        |client| {
            let (upload, _) = partial(client, "bytes=2-5")?;
            let get = client.request("GET", &upload).field("Range", "bytes=2-5");
            let answer = client.send(&get.field("If-Range", "\"no such tag\""))?;
            one_of(&answer, &[200])?;
            ensure(answer.body == HELLO, "not the whole is given")
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.condition.if-none-match",
        IF_NONE_MATCH,
        "When an origin server receives a request that selects a representation and that request includes an If-None-Match header field, the origin server MUST evaluate the If-None-Match condition",
        Fault::Flaw(Flaw::IfNoneMatchIgnored),
        |client| {
            let (upload, tag) = tagged(client)?;
            let get = client.request("GET", &upload);
            let asked = |tags: &str| client.send(&get.clone().field("If-None-Match", tags));
            one_of(&asked(&tag)?, &[304])?;
            one_of(&asked("\"no such tag\"")?, &[200])?;
            one_of(&asked(&format!("\"no such tag\", {tag}"))?, &[304])
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.condition.weak",
        IF_NONE_MATCH,
        "A recipient MUST use the weak comparison function when comparing entity tags for If-None-Match",
        Fault::Flaw(Flaw::TagsComparedStrongly),
        |client| {
            let (upload, tag) = tagged(client)?;
            let weak = format!("W/{}", tag.trim_start_matches("W/"));
            let get = client.request("GET", &upload).field("If-None-Match", weak);
            one_of(&client.send(&get)?, &[304])
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.condition.304-fields",
        "RFC 9110, 15.4.5",
        "The server generating a 304 response MUST generate any of the following header fields that would have been sent in a 200 (OK) response to the same request",
        Fault::Without("GET", 304, "ETag"),
        |client| {
            let (upload, tag) = tagged(client)?;
            let get = client.request("GET", &upload);
            let whole = client.send(&get)?;
            let answer = client.send(&get.field("If-None-Match", tag))?;
            if answer.status != 304 {
                return Err(Stop::Skip(format!("answered by {}", answer.status)));
            }
            for name in ["Content-Location", "Date", "ETag", "Vary", "Cache-Control", "Expires"] {
                let why = format!("200 has {name}, 304 does not");
                ensure(answer.has(name) || !whole.has(name), why)?;
            }
            Ok(())
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.condition.if-match",
        "RFC 9110, 13.1.1",
        "An origin server that evaluates an If-Match condition MUST NOT perform the requested method if the condition evaluates to false.",
        Fault::Flaw(Flaw::IfMatchIgnored),
        |client| {
            let (upload, tag) = tagged(client)?;
            let get = client.request("GET", &upload);
            let asked = |tags: &str| client.send(&get.clone().field("If-Match", tags));
            one_of(&asked("\"no such tag\"")?, &[412])?;
            // A weak tag never matches there.
            let expected = if tag.starts_with("W/") { 412 } else { 200 };
            one_of(&asked(&tag)?, &[expected])
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.range.past-end",
        "RFC 9110, 14.1.2",
        "or if the value is greater than or equal to the current length of the representation data, the byte range is interpreted as the remainder of the representation",
        Fault::Flaw(Flaw::RangePastEndRefused),
        |client| {
            partial(client, "bytes=2-5")?;
            ensure_given(&ranged(client, "bytes=6-99")?.1, b"world")
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.range.suffix-long",
        "RFC 9110, 14.1.2",
        "If the selected representation is shorter than the specified suffix-length, the entire representation is used.",
        Fault::Flaw(Flaw::RangePastEndRefused),
        |client| ensure_given(&ranged(client, "bytes=-99")?.1, HELLO),
    )
    .needs(&[Need::Download]),
    must(
        "http.range.reversed",
        "RFC 9110, 14.1.1",
        "An int-range is invalid if the last-pos value is present and less than the first-pos.",
        Fault::Flaw(Flaw::RangeReversedTaken),
        |client| {
            let (_, answer) = ranged(client, "bytes=5-2")?;
            ensure(answer.status != 206, "answered by 206")
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.range.if-range-alone",
        "RFC 9110, 13.1.5",
        "A server MUST ignore an If-Range header field received in a request that does not contain a Range header field.",
        Fault::Flaw(Flaw::IfRangeAlone),
        |client| {
            let upload = client.create_complete(HELLO)?;
            let get = client.request("GET", &upload);
            let answer = client.send(&get.field("If-Range", "\"no such tag\""))?;
            one_of(&answer, &[200])?;
            ensure_given(&answer, HELLO)
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.condition.modified-since-behind",
        IF_MODIFIED_SINCE,
        "A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match header field",
        Fault::Flaw(Flaw::IfModifiedSinceFirst),
        |client| {
            let (upload, _) = tagged(client)?;
            let get = client.request("GET", &upload);
            let now = client.send(&get)?;
            let now = now.get("Date").unwrap_or("Sun, 06 Nov 2044 08:49:37 GMT");
            let get = get.field("If-None-Match", "\"no such tag\"");
            one_of(&client.send(&get.field("If-Modified-Since", now))?, &[200])
        },
    )
    .needs(&[Need::Download]),
    must(
        "http.condition.modified-since-invalid",
        IF_MODIFIED_SINCE,
        "A recipient MUST ignore the If-Modified-Since header field if the received field value is not a valid HTTP-date",
        Fault::Flaw(Flaw::IfModifiedSinceFirst),
        |client| {
            let upload = client.create_complete(HELLO)?;
            let get = client.request("GET", &upload);
            let get = get.field("If-Modified-Since", "yesterday");
            one_of(&client.send(&get)?, &[200])
        },
    )
    .needs(&[Need::Download]),
];

const HELLO: &[u8] = b"hello world";

/// GET of a range of a complete upload.
fn ranged(client: &Client<'_>, range: &str) -> Result<(Url, Response), Stop> {
    let upload = client.create_complete(HELLO)?;
    let answer = client.send(&client.request("GET", &upload).field("Range", range))?;
    Ok((upload, answer))
}

/// The same, where the server gives out ranges at all: it may ignore `Range` (RFC 9110, 14.2).
fn partial(client: &Client<'_>, range: &str) -> Result<(Url, Response), Stop> {
    let (upload, answer) = ranged(client, range)?;
    match answer.status {
        206 => Ok((upload, answer)),
        other => Err(Stop::Skip(format!("ranges are not served: {other}"))),
    }
}

/// A complete upload and its entity tag.
fn tagged(client: &Client<'_>) -> Result<(Url, String), Stop> {
    let upload = client.create_complete(HELLO)?;
    let answer = client.send(&client.request("GET", &upload))?;
    match answer.get("ETag") {
        Some(tag) => Ok((upload, tag.to_owned())),
        None => Err(Stop::Skip("downloads have no ETag".into())),
    }
}

/// That GET gave just these bytes.
fn ensure_given(answer: &Response, expected: &[u8]) -> Outcome {
    let found = String::from_utf8_lossy(&answer.body);
    let why = format!("{} with {found:?}", answer.status);
    ensure(answer.status < 300 && answer.body == expected, why)
}
