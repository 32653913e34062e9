//! Creation: what a POST makes, and how it says so.

use super::means::{
    announces, ensure_announced, ensure_refused, ensure_status, ensure_taken, head, noise, not_so,
};
use crate::case::{Case, Need, Outcome, Stop, ensure, must};
use crate::client::Client;
use crate::reference::{Fault, Flaw};

const CREATION: &str = "tus 1.0.0, Creation";
const EXAMPLE: &str = "tus 1.0.0, Creation, Example";
const POST: &str = "tus 1.0.0, Creation, Requests, POST";
const LENGTH: &str = "tus 1.0.0, Core Protocol, Headers, Upload-Length";
const MAX_SIZE: &str = "tus 1.0.0, Core Protocol, Headers, Tus-Max-Size";

const NEEDS: &[Need] = &[Need::Extension("creation")];

pub(super) const CASES: &[Case] = &[
    must(
        "creation.extension.announced",
        CREATION,
        "If the Server supports this extension, it MUST add `creation` to the `Tus-Extension` header",
        announces!(
            "creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,termination,concatenation,concatenation-unfinished"
        ),
        |client| {
            let answer = client.send(&client.post(5))?;
            if answer.status != 201 {
                return not_so("POST creates nothing");
            }
            ensure_announced(client, "creation")
        },
    ),
    must(
        "creation.post.created",
        POST,
        "The Server MUST acknowledge a successful upload creation with the `201 Created` status",
        Fault::Status("POST", 201, 200),
        |client| ensure_status(&client.send(&client.post(5))?, 201),
    )
    .needs(NEEDS),
    must(
        "creation.post.location",
        POST,
        "The Server MUST set the `Location` header",
        Fault::Without("POST", 201, "Location"),
        |client| {
            let answer = client.step(&client.post(5), 201)?;
            ensure(answer.has("Location"), "201 without Location")
        },
    )
    .needs(NEEDS),
    must(
        "creation.post.location-reference",
        "RFC 9110, 10.2.2",
        "The field value consists of a single URI-reference",
        Fault::Field("POST", 201, "Location", "http://a b/files/c"),
        |client| {
            let answer = client.step(&client.post(5), 201)?;
            if !answer.has("Location") {
                return not_so("201 has no Location");
            }
            client.location(&answer).map(drop).map_err(Stop::Broken)
        },
    )
    .needs(NEEDS),
    must(
        "creation.post.location-leads",
        POST,
        "to the URL of the created resource. This URL MAY be absolute or relative",
        Fault::Flaw(Flaw::LocationUseless),
        location_leads,
    )
    .needs(NEEDS),
    must(
        "creation.post.new",
        POST,
        "The Client MUST send a `POST` request against a known upload creation URL to request a new upload resource",
        Fault::Flaw(Flaw::LocationShared),
        |client| {
            // The same request twice is two uploads.
            let post = client.post(5).field("Upload-Metadata", "twin dHdpbg==");
            let (first, second) = (client.create_by(&post)?, client.create_by(&post)?);
            ensure(first != second, format!("both were given {first}"))?;
            client.append(&first, 0, b"hello")?;
            client.ensure_offset(&second, 0)
        },
    )
    .needs(NEEDS),
    must(
        "creation.post.core-follows",
        EXAMPLE,
        "The new resource has an implicit offset of `0` allowing the Client to use the core protocol for performing the actual upload",
        Fault::Flaw(Flaw::NewWantsHead),
        |client| {
            let post = client.post(11).field("Upload-Metadata", "core Zm9sbG93cw==");
            let upload = client.create_by(&post)?;
            let answer = client.send(&client.patch(&upload, 0).body("hello world"))?;
            ensure_status(&answer, 204)?;
            client.ensure_bytes(&upload, b"hello world")
        },
    )
    .needs(NEEDS),
    must(
        "creation.post.length-kept",
        POST,
        "`Upload-Length` to indicate the size of an entire upload in bytes",
        Fault::Flaw(Flaw::LengthTruncated),
        |client| {
            let long = client.server.max_size.unwrap_or(u64::MAX).min(70_001);
            for length in [1, 255, long] {
                let upload = client.create(length)?;
                let found = head(client, &upload)?.number("Upload-Length");
                ensure(
                    found == Some(length),
                    format!("created with {length}, HEAD tells {found:?}"),
                )?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    must(
        "creation.post.length-missing",
        POST,
        "The request MUST include one of the following headers",
        Fault::Flaw(Flaw::LengthMissingTaken),
        |client| {
            let answer = client.send(&client.bare_post())?;
            ensure_refused("a POST that tells no length and defers none", &answer)
        },
    )
    .needs(NEEDS),
    must(
        "creation.post.length-malformed",
        LENGTH,
        "The `Upload-Length` request and response header indicates the size of the entire upload in bytes. The value MUST be a non-negative integer",
        Fault::Flaw(Flaw::LengthMalformedTaken),
        |client| {
            for value in ["-1", "5x", "x", "5.0", "0x5", "1e1", "5 5", "5;a"] {
                let post = client.bare_post().field("Upload-Length", value);
                ensure_refused(&format!("Upload-Length: {value}"), &client.send(&post)?)?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    must(
        "creation.max-size.exceeded",
        POST,
        "If the length of the upload exceeds the maximum, which MAY be specified using the `Tus-Max-Size` header, the Server MUST respond with the `413 Request Entity Too Large` status",
        Fault::Flaw(Flaw::MaxIgnored),
        |client| {
            let Some(past) = client.server.max_size.and_then(|max| max.checked_add(1)) else {
                return not_so("there is nothing past its Tus-Max-Size");
            };
            ensure_status(&client.send(&client.post(past))?, 413)
        },
    )
    .needs(&[Need::Extension("creation"), Need::MaxSize]),
    must(
        "creation.max-size.reached",
        MAX_SIZE,
        "indicating the maximum allowed size of an entire upload in bytes",
        Fault::Flaw(Flaw::MaxRefusedExactly),
        |client| {
            let max = client.server.max_size.unwrap_or_default();
            ensure_taken("an upload of Tus-Max-Size", &client.send(&client.post(max))?)
        },
    )
    .needs(&[Need::Extension("creation"), Need::SmallMaxSize]),
    must(
        "creation.empty.allowed",
        POST,
        "The `Upload-Length` header MAY be set to 0, indicating that the Client wants to upload an empty file",
        Fault::Flaw(Flaw::EmptyRefused),
        |client| ensure_taken("an upload of length 0", &client.send(&client.post(0))?),
    )
    .needs(NEEDS),
    must(
        "creation.empty.complete",
        POST,
        "Such an upload is immediately complete after its creation without transferring data using `PATCH` requests",
        Fault::Flaw(Flaw::EmptyNeverComplete),
        empty_complete,
    )
    .needs(NEEDS),
];

/// Names from metadata go into URLs easily.
fn location_leads(client: &Client<'_>) -> Outcome {
    for name in ["dw==", "dyB4Lyw7P+KCrA=="] {
        let post = client
            .post(5)
            .field("Upload-Metadata", format!("filename {name}"));
        let answer = client.step(&post, 201)?;
        let upload = client.location(&answer).map_err(Stop::Broken)?;
        let answer = client.send(&client.head(&upload))?;
        ensure(
            matches!(answer.status, 200 | 204),
            format!("HEAD of {upload} answered by {}", answer.status),
        )?;
        let length = answer.number("Upload-Length");
        ensure(
            length == Some(5),
            format!("{upload} has a length of {length:?} instead of 5"),
        )?;
    }
    Ok(())
}

fn empty_complete(client: &Client<'_>) -> Outcome {
    let upload = client.create(0)?;
    let answer = head(client, &upload)?;
    let told = (
        answer.number("Upload-Offset"),
        answer.number("Upload-Length"),
    );
    ensure(
        told == (Some(0), Some(0)),
        format!("HEAD tells (offset, length) = {told:?}"),
    )?;
    if client.server.downloads {
        // An empty file may be given back as No Content.
        let answer = client.send(&client.request("GET", &upload))?;
        ensure(
            matches!(answer.status, 200 | 204) && answer.body.is_empty(),
            format!(
                "GET answered by {} with {} bytes",
                answer.status,
                answer.body.len()
            ),
        )?;
    }
    let concatenates = client
        .server
        .extensions
        .iter()
        .any(|e| e == "concatenation");
    if concatenates {
        // A part that is complete can be joined with another.
        let other = noise(7);
        let part = client.post(7).field("Upload-Concat", "partial");
        let part = client.create_by(&part)?;
        client.append(&part, 0, &other)?;
        let empty = client.post(0).field("Upload-Concat", "partial");
        let empty = client.create_by(&empty)?;
        let parts = format!("final;{} {}", empty.path, part.path);
        let joined = client.bare_post().field("Upload-Concat", parts);
        let answer = client.send(&joined)?;
        ensure_taken("a final upload with an empty part", &answer)?;
    }
    Ok(())
}
