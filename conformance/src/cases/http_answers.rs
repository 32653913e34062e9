//! HTTP as an upload server needs it: what answers say.

use super::core::{one_of, succeeded, unknown};
use super::means::Date;
use crate::case::{Case, Stop, ensure, must, should};
use crate::client::{Client, OFFSET_STREAM};
use crate::reference::{Fault, Flaw};
use crate::wire::{PATIENCE, Response};

const METHODS: &str = "RFC 9110, 9.1";

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
            let is_fixdate = Date::parse(found).is_some_and(|date| date.fixdate);
            ensure(is_fixdate, format!("Date: {found}"))
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
            if seen {
                return Ok(());
            }
            Err(Stop::Skip("nothing is answered by 405".into()))
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
        "http.answer.one-framing",
        "RFC 9112, 6.2",
        "A sender MUST NOT send a Content-Length header field in any message that contains a Transfer-Encoding header field.",
        Fault::Field("GET", 404, "Transfer-Encoding", "chunked"),
        |client| {
            let upload = client.create_complete(b"hello")?;
            for url in [&upload, &unknown(&upload)] {
                let mut talk = client.open()?;
                talk.write(&client.request("GET", url).to_bytes())?;
                let answer = talk.next_head(PATIENCE)?;
                let both = answer.has("Content-Length") && answer.has("Transfer-Encoding");
                ensure(!both, format!("{} with both", answer.status))?;
            }
            Ok(())
        },
    ),
];

/// A method that uploads know, sent to the creation URL.
fn misdirected(client: &Client<'_>) -> Result<Response, Stop> {
    Ok(client.send(&client.patch(&client.server.url, 0).body("hello"))?)
}
