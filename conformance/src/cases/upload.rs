//! Creation With Upload: the first bytes come with the POST.

use super::means::{
    announces, ensure_announced, ensure_status, ensure_taken, located, not_so, sha1,
};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::{Client, OFFSET_STREAM};
use crate::reference::{Fault, Flaw};
use crate::wire::{PATIENCE, Request, Response, WireError};

const WITH_UPLOAD: &str = "tus 1.0.0, Creation With Upload";
const NEEDS: &[Need] = &[
    Need::Extension("creation"),
    Need::Extension("creation-with-upload"),
];

pub(super) const CASES: &[Case] = &[
    must(
        "upload.extension.announced",
        WITH_UPLOAD,
        "If the Server supports this extension, it MUST advertise this by including `creation-with-upload` in the `Tus-Extension` header",
        announces!(
            "creation,creation-defer-length,expiration,checksum,checksum-trailer,termination,concatenation,concatenation-unfinished"
        ),
        |client| {
            let answer = client.send(&with(client, 11, b"hello"))?;
            match (answer.status, answer.number("Upload-Offset")) {
                (201, Some(1..)) => ensure_announced(client, "creation-with-upload"),
                _ => not_so("POST takes no bytes"),
            }
        },
    ),
    must(
        "upload.extension.depends",
        WITH_UPLOAD,
        "if the Server does not offer the Creation extension, it MUST NOT offer the Creation With Upload extension either",
        announces!(
            "creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,termination,concatenation,concatenation-unfinished"
        ),
        |client| ensure_announced(client, "creation"),
    )
    .needs(&[Need::Extension("creation-with-upload")]),
    must(
        "upload.post.entirety",
        WITH_UPLOAD,
        "The Client MAY include either the entirety",
        Fault::Flaw(Flaw::BodyDropped),
        |client| ensure_goes_on(client, b"hello world", 11),
    )
    .needs(NEEDS),
    must(
        "upload.post.chunk",
        WITH_UPLOAD,
        "or a chunk of the upload data in the body of the `POST` request",
        Fault::Flaw(Flaw::BodyPartDropped),
        |client| ensure_goes_on(client, b"hello world", 5),
    )
    .needs(NEEDS),
    must(
        "upload.post.deferred",
        WITH_UPLOAD,
        "The Client MAY include parts of the upload in the initial Creation request using the Creation With Upload extension",
        Fault::Flaw(Flaw::DeferredBodyRefused),
        |client| {
            let post = client
                .bare_post()
                .field("Upload-Defer-Length", "1")
                .field("Content-Type", OFFSET_STREAM)
                .body("hello");
            let answer = client.send(&post)?;
            ensure_taken("a creation with bytes", &answer)?;
            let upload = located(client, &answer)?;
            let (at, rest) = rest_of(client, &answer, b"hello world")?;
            let patch = client.patch(&upload, at).field("Upload-Length", 11);
            client.step(&patch.body(rest), 204)?;
            client.ensure_bytes(&upload, b"hello world")
        },
    )
    .needs(&[
        Need::Extension("creation"),
        Need::Extension("creation-with-upload"),
        Need::Extension("creation-defer-length"),
    ]),
    must(
        "upload.offset.included",
        WITH_UPLOAD,
        "MUST include the `Upload-Offset` header in the response",
        Fault::Without("POST", 201, "Upload-Offset"),
        |client| {
            let answer = client.step(&with(client, 11, b"hello"), 201)?;
            ensure(
                answer.number("Upload-Offset").is_some(),
                "201 without a valid Upload-Offset",
            )
        },
    )
    .needs(NEEDS),
    must(
        "upload.offset.value",
        WITH_UPLOAD,
        "MUST set its value to the offset of the upload after applying the accepted bytes",
        Fault::Flaw(Flaw::BodyUntold),
        |client| {
            let answer = client.step(&with(client, 11, b"hello"), 201)?;
            let Some(told) = answer.number("Upload-Offset") else {
                return not_so("201 has no Upload-Offset");
            };
            client.ensure_offset(&located(client, &answer)?, told)
        },
    )
    .needs(NEEDS),
    should(
        "upload.post.all-taken",
        WITH_UPLOAD,
        "The Server SHOULD accept as many bytes as possible",
        |client| {
            let answer = client.step(&with(client, 11, b"hello"), 201)?;
            let told = answer.number("Upload-Offset");
            ensure(told == Some(5), format!("of 5 bytes, it took {told:?}"))
        },
    )
    .needs(NEEDS)
    .fault(Fault::Field("POST", 201, "Upload-Offset", "0")),
    should(
        "upload.post.content-type",
        WITH_UPLOAD,
        "The Client MUST include the `Content-Type: application/offset+octet-stream` header",
        |client| {
            let post = with(client, 11, b"hello");
            let post = post.set("Content-Type", "application/x-www-form-urlencoded");
            ensure_at_most(client, &post, 0)?;
            ensure_at_most(client, &post.without("Content-Type"), 0)
        },
    )
    .needs(NEEDS)
    .fault(Fault::Flaw(Flaw::BodyTypeIgnored)),
    must(
        "upload.post.surplus",
        WITH_UPLOAD,
        "similar rules as for the `PATCH` request and response apply",
        Fault::Flaw(Flaw::BodySurplusTaken),
        |client| {
            ensure_at_most(client, &with(client, 3, b"hello"), 3)?;
            let chunked = with(client, 3, b"").chunked(&[b"he", b"llo"]);
            ensure_at_most(client, &chunked, 3)
        },
    )
    .needs(NEEDS),
    should(
        "upload.post.checksum",
        WITH_UPLOAD,
        "In this case, similar rules as for the `PATCH` request",
        |client| {
            let post = with(client, 11, b"hello");
            ensure_at_most(client, &post.field("Upload-Checksum", sha1(b"HELLO")), 0)
        },
    )
    .needs(&[
        Need::Extension("creation"),
        Need::Extension("creation-with-upload"),
        Need::Extension("checksum"),
    ])
    .fault(Fault::Flaw(Flaw::ChecksumIgnored)),
    must(
        "upload.expect.feedback",
        WITH_UPLOAD,
        "the Client SHOULD include the `Expect: 100-continue` header in the request to receive early feedback from the Server",
        Fault::Flaw(Flaw::NoContinue),
        |client| {
            let post = with(client, 5, b"hello").field("Expect", "100-continue");
            let mut talk = client.open()?;
            talk.write(&post.head())?;
            match talk.next_head(PATIENCE) {
                Ok(head) if head.status == 100 => {
                    talk.write(&post.framed_body())?;
                    ensure_taken("a creation after 100", &talk.answer("POST")?)
                }
                Ok(head) => ensure_taken("a creation that expects 100", &head),
                Err(WireError::Late(_)) => Err(Stop::Broken(format!(
                    "neither 100 nor a final answer within {PATIENCE:?} of the head"
                ))),
                Err(error) => Err(error.into()),
            }
        },
    )
    .needs(NEEDS),
    should(
        "upload.expect.refused",
        WITH_UPLOAD,
        "on whether it will accept the creation request, before attempting to transfer the first chunk",
        |client| {
            let Some(past) = client.server.max_size.and_then(|max| max.checked_add(1)) else {
                return not_so("there is nothing past its Tus-Max-Size");
            };
            let post = with(client, past, b"hello").field("Expect", "100-continue");
            let mut talk = client.open()?;
            talk.write(&post.head())?;
            let head = talk.next_head(PATIENCE)?;
            ensure(
                head.status >= 400,
                format!("a creation past Tus-Max-Size gets {} first", head.status),
            )
        },
    )
    .needs(&[
        Need::Extension("creation"),
        Need::Extension("creation-with-upload"),
        Need::MaxSize,
    ])
    .fault(Fault::Flaw(Flaw::ContinueAlways)),
];

/// A creation that brings bytes.
fn with(client: &Client<'_>, length: u64, bytes: &[u8]) -> Request {
    client
        .post(length)
        .field("Content-Type", OFFSET_STREAM)
        .body(bytes)
}

/// What is still to be sent after a creation, and where.
fn rest_of<'b>(
    client: &Client<'_>,
    answer: &Response,
    all: &'b [u8],
) -> Result<(u64, &'b [u8]), Stop> {
    let at = match answer.number("Upload-Offset") {
        Some(at) => at,
        None => match client.location(answer) {
            Ok(upload) => client.offset(&upload)?,
            Err(why) => return Err(Stop::Skip(why)),
        },
    };
    let rest = usize::try_from(at).ok().and_then(|at| all.get(at..));
    let rest = rest.ok_or_else(|| Stop::Broken(format!("the offset of 11 bytes is {at}")))?;
    Ok((at, rest))
}

/// That an upload goes on after a creation that brought `first` bytes, and ends up right.
fn ensure_goes_on(client: &Client<'_>, all: &[u8], first: usize) -> Outcome {
    let answer = client.send(&with(client, all.len() as u64, &all[..first]))?;
    ensure_taken("a creation with bytes", &answer)?;
    let upload = located(client, &answer)?;
    let (at, rest) = rest_of(client, &answer, all)?;
    if !rest.is_empty() {
        let answer = client.send(&client.patch(&upload, at).body(rest))?;
        ensure_status(&answer, 204)?;
    }
    client.ensure_offset(&upload, all.len() as u64)?;
    client.ensure_bytes(&upload, all)
}

/// That a creation is refused, or has taken no more than so many bytes.
fn ensure_at_most(client: &Client<'_>, post: &Request, most: u64) -> Outcome {
    let answer = client.send(post)?;
    if (400..500).contains(&answer.status) {
        return Ok(());
    }
    ensure_taken("a creation with bytes", &answer)?;
    let upload = located(client, &answer)?;
    let found = client.offset(&upload)?;
    let told = answer.number("Upload-Offset").unwrap_or(found);
    ensure(
        told.max(found) <= most,
        format!("201 tells offset {told}, HEAD {found}: more than {most}"),
    )
}
