//! HTTP as an upload server needs it: what answers say.

use super::core::{one_of, succeeded, unknown};
use crate::case::{Case, Need, Stop, ensure, must, should};
use crate::client::{Client, OFFSET_STREAM};
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::Response;

const METHODS: &str = "RFC 9110, 9.1";
const RANGE: &str = "RFC 9110, 14.2";
const PARTIAL: &str = "RFC 9110, 15.3.7";
const SINGLE_PART: &str = "RFC 9110, 15.3.7.1";
const IF_NONE_MATCH: &str = "RFC 9110, 13.1.2";

pub(super) const CASES: &[Case] = &[
    must(
        "http.date.there",
        "RFC 9110, 6.6.1",
        "MUST generate a Date header field in all 2xx (Successful), 3xx (Redirection), and 4xx (Client Error) responses",
        Fault::Without("*", 0, "Date"),
        |client| {
            let upload = client.create(5)?;
            for request in [
                client.head(&upload),
                client.patch(&upload, 3).body("he"),
                client.patch(&upload, 0).body("hello"),
                client.head(&unknown(&upload)),
            ] {
                let answer = client.send(&request)?;
                let why = format!("{} {} without it", request.method(), answer.status);
                ensure(answer.status >= 500 || answer.has("Date"), why)?;
            }
            Ok(())
        },
    ),
    must(
        "http.date.format",
        "RFC 9110, 5.6.7",
        "the sender MUST generate those timestamps in the IMF-fixdate format",
        Fault::Field("HEAD", 200, "Date", "2014-06-25T16:00:00Z"),
        |client| {
            let upload = client.create(5)?;
            let answer = client.send(&client.head(&upload))?;
            let found = answer.get("Date").unwrap_or_default();
            ensure(is_imf_fixdate(found), format!("Date: {found}"))
        },
    ),
    should(
        "http.method.unknown",
        METHODS,
        "An origin server that receives a request method that is unrecognized or not implemented SHOULD respond with the 501 (Not Implemented) status code.",
        |client| {
            let upload = client.create(5)?;
            one_of(&client.send(&client.request("FROB", &upload).body(""))?, &[501])
        },
    )
    .fault(Fault::Status("FROB", 501, 400)),
    should(
        "http.method.not-allowed",
        METHODS,
        "An origin server that receives a request method that is recognized and implemented, but not allowed for the target resource, SHOULD respond with the 405 (Method Not Allowed) status code.",
        |client| one_of(&misdirected(client)?, &[405]),
    )
    .fault(Fault::Status("PATCH", 405, 400)),
    must(
        "http.method.allow",
        "RFC 9110, 15.5.6",
        "The origin server MUST generate an Allow header field in a 405 response containing a list of the target resource's currently supported methods.",
        Fault::Without("*", 405, "Allow"),
        |client| {
            let upload = client.create(5)?;
            let put = client.send(&client.request("PUT", &upload).body("hello"))?;
            let mut seen = false;
            for answer in [put, misdirected(client)?] {
                if answer.status == 405 {
                    seen = true;
                    ensure(answer.has("Allow"), "405 without Allow")?;
                }
            }
            match seen {
                true => Ok(()),
                false => Err(Stop::Skip("nothing is answered by 405".into())),
            }
        },
    ),
    must(
        "http.type.case",
        "RFC 9110, 8.3.1",
        "The type and subtype tokens are case-insensitive.",
        Fault::Flaw(Flaw::TypeMindsCase),
        |client| {
            let upload = client.create(5)?;
            let name = OFFSET_STREAM.to_ascii_uppercase();
            let patch = client.patch(&upload, 0).set("Content-Type", name);
            succeeded(&client.send(&patch.body("hello"))?)
        },
    ),
    should(
        "http.answer.length",
        "RFC 9110, 8.6",
        "in the absence of Transfer-Encoding, an origin server SHOULD send a Content-Length header field when the content size is known prior to sending the complete header section",
        |client| {
            let upload = client.create(5)?;
            for request in [client.post(5), client.request("GET", &unknown(&upload))] {
                let answer = client.send(&request)?;
                let why = format!("{} {} without", request.method(), answer.status);
                let framed = answer.has("Content-Length") || answer.has("Transfer-Encoding");
                ensure(framed || answer.status == 204, why)?;
            }
            Ok(())
        },
    )
    .fault(Fault::Without("GET", 404, "Content-Length")),
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

/// A method that uploads know, sent to the creation URL.
fn misdirected(client: &Client<'_>) -> Result<Response, Stop> {
    Ok(client.send(&client.patch(&client.server.url, 0).body("hello"))?)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_imf_fixdate(text: &str) -> bool {
    let pattern = b"Aaa, 00 Aaa 0000 00:00:00 GMT";
    text.len() == pattern.len()
        && text.bytes().zip(pattern).all(|(byte, kind)| match kind {
            b'0' => byte.is_ascii_digit(),
            b'A' => byte.is_ascii_uppercase(),
            b'a' => byte.is_ascii_lowercase(),
            _ => byte == *kind,
        })
        && text.ends_with("GMT")
}
