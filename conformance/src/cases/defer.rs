//! Lengths that are told later.

use super::means::{
    announces, ensure_announced, ensure_refused, ensure_status, ensure_taken, head, located, noise,
    not_so, small_max,
};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::{Request, WireError};

const POST: &str = "tus 1.0.0, Creation, Requests, POST";
const DEFER: &str = "tus 1.0.0, Creation, Headers, Upload-Defer-Length";
const OFFSET: &str = "tus 1.0.0, Core Protocol, Headers, Upload-Offset";
const LENGTH: &str = "tus 1.0.0, Core Protocol, Headers, Upload-Length";
const MAX_SIZE: &str = "tus 1.0.0, Core Protocol, Headers, Tus-Max-Size";
const PATCH: &str = "tus 1.0.0, Core Protocol, Requests, PATCH";
const NAME: &str = "Upload-Defer-Length";

const NEEDS: &[Need] = &[
    Need::Extension("creation"),
    Need::Extension("creation-defer-length"),
];
const NEEDS_SMALL: &[Need] = &[
    Need::Extension("creation"),
    Need::Extension("creation-defer-length"),
    Need::SmallMaxSize,
];

pub(super) const CASES: &[Case] = &[
    must(
        "defer.extension.announced",
        POST,
        "If the Server supports deferring length, it MUST add `creation-defer-length` to the `Tus-Extension` header",
        announces!(
            "creation,creation-with-upload,expiration,checksum,checksum-trailer,termination,concatenation,concatenation-unfinished"
        ),
        |client| {
            let answer = client.send(&post(client))?;
            if answer.status >= 300 {
                return not_so("POST needs a length");
            }
            ensure_announced(client, "creation-defer-length")
        },
    ),
    must(
        "defer.post.created",
        POST,
        "`Upload-Defer-Length: 1` if upload size is not known at the time",
        Fault::Flaw(Flaw::DeferRefused),
        |client| ensure_taken("a creation that defers its length", &client.send(&post(client))?),
    )
    .needs(NEEDS),
    should(
        "defer.post.other-value",
        POST,
        "If the `Upload-Defer-Length` header contains any other value than `1` the server should return a `400 Bad Request` status",
        |client| {
            for value in ["0", "2", "11", "-1", "true", "1x"] {
                let post = client.bare_post().field(NAME, value);
                let answer = client.send(&post)?;
                ensure(
                    answer.status == 400,
                    format!("{NAME}: {value} answered by {}", answer.status),
                )?;
            }
            Ok(())
        },
    )
    .needs(NEEDS)
    .fault(Fault::Flaw(Flaw::DeferOtherTaken)),
    must(
        "defer.post.both",
        DEFER,
        "this header MUST be omitted",
        Fault::Flaw(Flaw::LengthTwiceTaken),
        |client| {
            // Refused, or the length counts.
            let answer = client.send(&client.post(5).field(NAME, "1"))?;
            if (400..500).contains(&answer.status) {
                return Ok(());
            }
            ensure_taken("a creation", &answer)?;
            let upload = located(client, &answer)?;
            let answer = head(client, &upload)?;
            ensure(
                answer.number("Upload-Length") == Some(5) && !answer.has(NAME),
                "an upload with a length and a deferred one was created as deferred",
            )
        },
    )
    .needs(NEEDS),
    must(
        "defer.head.value",
        DEFER,
        "indicates that the size of the upload is not known currently and will be transferred later. Its value MUST be `1`",
        Fault::Field("HEAD", 200, NAME, "true"),
        |client| {
            let upload = client.create_by(&post(client))?;
            let answer = head(client, &upload)?;
            if !answer.has(NAME) {
                return not_so("HEAD does not tell of it");
            }
            let value = answer.get(NAME);
            ensure(value == Some("1"), format!("HEAD tells {value:?}"))
        },
    )
    .needs(NEEDS),
    must(
        "defer.head.told",
        POST,
        "the Server MUST set `Upload-Defer-Length: 1` in all responses to `HEAD` requests",
        Fault::Without("HEAD", 200, NAME),
        |client| {
            let upload = client.create_by(&post(client))?;
            let told = |when: &str| {
                let answer = head(client, &upload)?;
                ensure(answer.has(NAME), format!("HEAD lacks {NAME} {when}"))?;
                ensure(
                    !answer.has("Upload-Length"),
                    format!("HEAD tells an Upload-Length {when}"),
                )
            };
            told("of a new upload")?;
            client.append(&upload, 0, b"hello")?;
            told("of an upload with bytes")
        },
    )
    .needs(NEEDS),
    must(
        "defer.head.known",
        DEFER,
        "If the length of an upload is not deferred, this header MUST be omitted",
        Fault::Field("HEAD", 200, NAME, "1"),
        |client| {
            let upload = client.create(5)?;
            let has = head(client, &upload)?.has(NAME);
            ensure(!has, format!("HEAD tells {NAME} of an upload with a length"))
        },
    )
    .needs(&[Need::Extension("creation")]),
    must(
        "defer.head.once-known",
        POST,
        "As long as the length of the upload is not known",
        Fault::Flaw(Flaw::DeferStays),
        |client| {
            let upload = client.create_by(&post(client))?;
            client.step(&declare(client, &upload, 0, 11).body("hello"), 204)?;
            let has = head(client, &upload)?.has(NAME);
            ensure(!has, format!("HEAD tells {NAME} after a length was declared"))
        },
    )
    .needs(NEEDS),
    must(
        "defer.patch.before-length",
        DEFER,
        "indicates that the size of the upload is not known currently",
        Fault::Flaw(Flaw::DeferredBytesRefused),
        |client| {
            let upload = client.create_by(&post(client))?;
            for (at, bytes) in [(0, "hello"), (5, " world")] {
                let answer = client.send(&client.patch(&upload, at).body(bytes))?;
                ensure_status(&answer, 204)?;
            }
            client.ensure_offset(&upload, 11)
        },
    )
    .needs(NEEDS),
    must(
        "defer.patch.declared",
        POST,
        "the Client MUST set the `Upload-Length` header in the next `PATCH` request, once the length is known",
        Fault::Flaw(Flaw::DeclaredIgnored),
        |client| {
            let upload = client.create_by(&post(client))?;
            client.append(&upload, 0, b"hello")?;
            let last = declare(client, &upload, 5, 11).body(" world");
            ensure_status(&client.send(&last)?, 204)?;
            ensure_length(client, &upload, 11)?;
            client.ensure_bytes(&upload, b"hello world")
        },
    )
    .needs(NEEDS),
    must(
        "defer.patch.declared-empty",
        DEFER,
        "and will be transferred later",
        Fault::Flaw(Flaw::DeclaredWantsBytes),
        |client| {
            // The end of the file is known only when there is nothing more of it.
            let upload = client.create_by(&post(client))?;
            client.append(&upload, 0, b"hello")?;
            let last = declare(client, &upload, 5, 5).body("");
            ensure_status(&client.send(&last)?, 204)?;
            ensure_length(client, &upload, 5)?;
            client.ensure_bytes(&upload, b"hello")
        },
    )
    .needs(NEEDS),
    must(
        "defer.patch.changed",
        POST,
        "Once set the length MUST NOT be changed",
        Fault::Flaw(Flaw::DeclaredChanges),
        |client| {
            let upload = client.create_by(&post(client))?;
            client.step(&declare(client, &upload, 0, 8).body("hello"), 204)?;
            for length in [5, 20] {
                client.send(&declare(client, &upload, 5, length).body(""))?;
                ensure_length(client, &upload, 8)?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    must(
        "defer.patch.created-with",
        LENGTH,
        "The `Upload-Length` request and response header indicates the size of the entire upload in bytes",
        Fault::Flaw(Flaw::LengthChanges),
        |client| {
            let upload = client.create(8)?;
            client.append(&upload, 0, b"hello")?;
            for length in [5, 20] {
                client.send(&declare(client, &upload, 5, length).body(""))?;
                ensure_length(client, &upload, 8)?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    must(
        "defer.patch.too-short",
        OFFSET,
        "The `Upload-Offset` request and response header indicates a byte offset within a resource",
        Fault::Flaw(Flaw::DeclaredTooShort),
        |client| {
            let upload = client.create_by(&post(client))?;
            client.append(&upload, 0, b"hello")?;
            let answer = client.send(&declare(client, &upload, 5, 3).body(""))?;
            ensure_refused("a length below the offset", &answer)?;
            ensure_unknown(client, &upload)
        },
    )
    .needs(NEEDS),
    must(
        "defer.patch.malformed",
        POST,
        "the Client MUST set the `Upload-Length` header",
        Fault::Flaw(Flaw::DeclaredMalformedTaken),
        |client| {
            let upload = client.create_by(&post(client))?;
            for value in ["-1", "9x", "x", "9.0", "0x9"] {
                let patch = client.patch(&upload, 0).field("Upload-Length", value);
                let answer = client.send(&patch.body(""))?;
                ensure_refused(&format!("Upload-Length: {value}"), &answer)?;
            }
            ensure_unknown(client, &upload)
        },
    )
    .needs(NEEDS),
    must(
        "defer.patch.refused",
        PATCH,
        "the Server MUST respond with the `409 Conflict` status without modifying the upload resource",
        Fault::Flaw(Flaw::DeclaredRefusedKept),
        |client| {
            let upload = client.create_by(&post(client))?;
            client.append(&upload, 0, b"hello")?;
            let answer = client.send(&declare(client, &upload, 3, 20).body("xyz"))?;
            if answer.status < 400 {
                return not_so("refuse a PATCH at another offset");
            }
            ensure_unknown(client, &upload)
        },
    )
    .needs(NEEDS),
    must(
        "defer.max-size.bytes",
        MAX_SIZE,
        "the maximum allowed size of an entire upload",
        Fault::Flaw(Flaw::DeferredPastMax),
        bytes_past_max,
    )
    .needs(NEEDS_SMALL),
    must(
        "defer.max-size.declared",
        POST,
        "If the length of the upload exceeds the maximum",
        Fault::Flaw(Flaw::DeclaredPastMax),
        |client| {
            let max = client.server.max_size.unwrap_or_default();
            let upload = client.create_by(&post(client))?;
            let answer = client.send(&declare(client, &upload, 0, max + 1).body("hello"))?;
            ensure_refused("a length past Tus-Max-Size", &answer)?;
            ensure_unknown(client, &upload)
        },
    )
    .needs(NEEDS_SMALL),
];

fn post(client: &Client<'_>) -> Request {
    client.bare_post().field(NAME, "1")
}

/// A PATCH that tells the length; its body is still to be given.
fn declare(client: &Client<'_>, upload: &Url, offset: u64, length: u64) -> Request {
    client.patch(upload, offset).field("Upload-Length", length)
}

fn ensure_length(client: &Client<'_>, upload: &Url, length: u64) -> Outcome {
    let found = head(client, upload)?.number("Upload-Length");
    ensure(
        found == Some(length),
        format!("Upload-Length is {found:?} instead of {length}"),
    )
}

/// That no length was kept.
fn ensure_unknown(client: &Client<'_>, upload: &Url) -> Outcome {
    let found = head(client, upload)?.number("Upload-Length");
    ensure(
        found.is_none(),
        format!("Upload-Length is {found:?} though nothing right was declared"),
    )
}

/// Bytes that go past the maximum together with what is there.
fn bytes_past_max(client: &Client<'_>) -> Outcome {
    let max = small_max(client)?;
    let len = usize::try_from(max + 1).map_err(|_| Stop::Skip("too long".to_owned()))?;
    let bytes = noise(len);
    let upload = client.create_by(&post(client))?;
    // Nearly all of it first: what comes is past the maximum only together with what is there.
    let most = len - 11;
    client.append(&upload, 0, &bytes[..most])?;
    let patch = client.patch(&upload, most as u64).body(&bytes[most..]);
    match client.send(&patch) {
        // The connection may go with the refusal.
        Ok(_) | Err(WireError::Send(_) | WireError::Cut(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let found = client.offset(&upload)?;
    ensure(
        found <= max,
        format!("{found} bytes were taken, and Tus-Max-Size is {max}"),
    )
}
