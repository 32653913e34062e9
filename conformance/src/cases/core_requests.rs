//! The core protocol: HEAD and PATCH.

use super::core::{one_of, succeeded, unknown};
use crate::case::{Case, Outcome, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};

const EXAMPLE: &str = "tus 1.0.0, Core Protocol, Example";
const HEAD: &str = "tus 1.0.0, Core Protocol, Requests, HEAD";
const PATCH: &str = "tus 1.0.0, Core Protocol, Requests, PATCH";

pub(super) const CASES: &[Case] = &[
    must(
        "core.head.offset-zero",
        HEAD,
        "The Server MUST always include the `Upload-Offset` header in the response for a `HEAD` request, even if the offset is `0`",
        Fault::Without("HEAD", 200, "Upload-Offset"),
        |client| {
            let upload = client.create(5)?;
            ensure_told(client, &client.head(&upload), "Upload-Offset", 0)
        },
    ),
    must(
        "core.head.offset-complete",
        HEAD,
        "or the upload is already considered completed",
        Fault::Flaw(Flaw::HeadCompleteUntold),
        |client| {
            let upload = client.create_complete(b"hello")?;
            ensure_told(client, &client.head(&upload), "Upload-Offset", 5)
        },
    ),
    must(
        "core.head.length",
        HEAD,
        "If the size of the upload is known, the Server MUST include the `Upload-Length` header in the response.",
        Fault::Without("HEAD", 200, "Upload-Length"),
        |client| {
            let upload = client.create(5)?;
            ensure_told(client, &client.head(&upload), "Upload-Length", 5)?;
            client.append(&upload, 0, b"hello")?;
            ensure_told(client, &client.head(&upload), "Upload-Length", 5)
        },
    ),
    should(
        "core.head.not-found",
        HEAD,
        "If the resource is not found, the Server SHOULD return either the `404 Not Found`, `410 Gone` or `403 Forbidden` status",
        |client| {
            let unknown = unknown(&client.create(5)?);
            one_of(&client.send(&client.head(&unknown))?, &[403, 404, 410])
        },
    )
    .fault(Fault::Status("HEAD", 404, 400)),
    should(
        "core.head.not-found-offset",
        HEAD,
        "without the `Upload-Offset` header",
        |client| {
            let unknown = unknown(&client.create(5)?);
            let answer = client.send(&client.head(&unknown))?;
            let why = format!("{} with Upload-Offset", answer.status);
            ensure(!answer.has("Upload-Offset"), why)
        },
    )
    .fault(Fault::Field("HEAD", 404, "Upload-Offset", "0")),
    should(
        "core.head.status",
        HEAD,
        "The Server SHOULD acknowledge successful `HEAD` requests with a `200 OK` or `204 No Content` status.",
        |client| {
            let upload = client.create(5)?;
            one_of(&client.send(&client.head(&upload))?, &[200, 204])
        },
    )
    .fault(Fault::Status("HEAD", 200, 202)),
    must(
        "core.head.no-store",
        HEAD,
        "The Server MUST prevent the client and/or proxies from caching the response by adding the `Cache-Control: no-store` header to the response.",
        Fault::Without("HEAD", 200, "Cache-Control"),
        |client| {
            let upload = client.create(5)?;
            let answer = client.send(&client.head(&upload))?;
            let found = answer.list("Cache-Control");
            let why = format!("Cache-Control: {found:?}");
            ensure(answer.lists("Cache-Control", "no-store"), why)
        },
    ),
    must(
        "core.head.continues",
        EXAMPLE,
        "Given the offset, the Client uses the `PATCH` method to resume the upload",
        Fault::Flaw(Flaw::SecondPatchRefused),
        |client| {
            let upload = client.create(100)?;
            let bytes: Vec<u8> = (0..100).collect();
            client.append(&upload, 0, &bytes[..70])?;
            let offset = client.offset(&upload)?;
            let rest = &bytes[usize::try_from(offset).unwrap_or(100).min(100)..];
            succeeded(
                &client.send(&client.patch(&upload, offset).body(rest))?)?;
            client.ensure_offset(&upload, 100)?;
            client.ensure_bytes(&upload, &bytes)
        },
    ),
    should(
        "core.patch.any-upload",
        PATCH,
        "The Server SHOULD accept `PATCH` requests against any upload URL",
        |client| {
            let upload = client.create(5)?;
            for (offset, bytes) in [(0, ""), (0, "he"), (2, ""), (2, "llo"), (5, "")] {
                let answer = client.send(&client.patch(&upload, offset).body(bytes))?;
                let what = format!("{} bytes at {offset} of 5", bytes.len());
                let why = format!("{what} answered by {}", answer.status);
                ensure(answer.status == 204, why)?;
            }
            client.ensure_bytes(&upload, b"hello")
        },
    )
    .fault(Fault::Flaw(Flaw::EmptyPatchRefused)),
    should(
        "core.patch.applies-bytes",
        PATCH,
        "apply the bytes contained in the message at the given offset specified by the `Upload-Offset` header",
        |client| {
            let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
            let upload = client.create(100_000)?;
            client.append(&upload, 0, &bytes[..10])?;
            client.append(&upload, 10, &bytes[10..99_999])?;
            client.append(&upload, 99_999, &bytes[99_999..])?;
            client.ensure_offset(&upload, 100_000)?;
            client.ensure_bytes(&upload, &bytes)
        },
    )
    ,
    should(
        "core.patch.type",
        PATCH,
        "All `PATCH` requests MUST use `Content-Type: application/offset+octet-stream`, otherwise the server SHOULD return a `415 Unsupported Media Type` status.",
        |client| {
            let upload = client.create(5)?;
            let bare = client.patch(&upload, 0).without("Content-Type");
            for request in [
                bare.clone().field("Content-Type", "text/plain"),
                bare.clone().field("Content-Type", "application/octet-stream"),
                bare,
            ] {
                one_of(&client.send(&request.body("hello"))?, &[415])?;
                client.ensure_offset(&upload, 0)?;
            }
            Ok(())
        },
    )
    .fault(Fault::Flaw(Flaw::TypeIgnored)),
    must(
        "core.patch.offset-mismatch",
        PATCH,
        "If the offsets do not match, the Server MUST respond with the `409 Conflict` status",
        Fault::Status("PATCH", 409, 400),
        |client| {
            let upload = client.create(10)?;
            client.append(&upload, 0, b"abc")?;
            for offset in [0, 2, 4, 9] {
                one_of(
                    &client.send(&client.patch(&upload, offset).body("x"))?,
                    &[409],
                )?;
            }
            Ok(())
        },
    ),
    must(
        "core.patch.offset-mismatch-unmodified",
        PATCH,
        "without modifying the upload resource",
        Fault::Flaw(Flaw::MismatchStored),
        |client| {
            let upload = client.create(10)?;
            client.append(&upload, 0, b"hello")?;
            client.send(&client.patch(&upload, 0).body("HELLO"))?;
            client.send(&client.patch(&upload, 7).body("LLO"))?;
            client.ensure_offset(&upload, 5)?;
            client.append(&upload, 5, b"world")?;
            client.ensure_bytes(&upload, b"helloworld")
        },
    ),
    must(
        "core.patch.at-once",
        PATCH,
        "The Client SHOULD send all the remaining bytes of an upload in a single `PATCH` request",
        Fault::Flaw(Flaw::BigPatchRefused),
        |client| {
            let most = client.server.max_size.unwrap_or(u64::MAX).min(4 << 20);
            let bytes = vec![b'x'; usize::try_from(most).unwrap_or(0)];
            let upload = client.create(most)?;
            let patch = client.patch(&upload, 0).body(&bytes);
            succeeded(&client.send(&patch)?)?;
            client.ensure_offset(&upload, most)?;
            client.ensure_bytes(&upload, &bytes)
        },
    ),
    must(
        "core.patch.bit-by-bit",
        PATCH,
        "but MAY also use multiple small requests successively for scenarios where this is desirable",
        Fault::Flaw(Flaw::SecondPatchRefused),
        |client| {
            let bytes = b"one byte after the other";
            let upload = client.create(bytes.len() as u64)?;
            for (offset, byte) in (0..).zip(bytes) {
                succeeded(&client.send(&client.patch(&upload, offset).body([*byte]))?)?;
            }
            client.ensure_bytes(&upload, bytes)
        },
    ),
    must(
        "core.patch.acknowledged",
        PATCH,
        "The Server MUST acknowledge successful `PATCH` requests with the `204 No Content` status.",
        Fault::Status("PATCH", 204, 200),
        |client| {
            let upload = client.create(5)?;
            one_of(
                &client.send(&client.patch(&upload, 0).body("hello"))?,
                &[204],
            )
        },
    ),
    must(
        "core.patch.new-offset",
        PATCH,
        "It MUST include the `Upload-Offset` header containing the new offset.",
        Fault::Without("PATCH", 204, "Upload-Offset"),
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).body("hello");
            ensure_told(client, &patch, "Upload-Offset", 5)
        },
    ),
    must(
        "core.patch.offset-sum",
        PATCH,
        "The new offset MUST be the sum of the offset before the `PATCH` request and the number of bytes received",
        Fault::Flaw(Flaw::PatchTellsOld),
        |client| {
            let upload = client.create(10)?;
            client.append(&upload, 0, b"hello")?;
            let patch = client.patch(&upload, 5).body("wor");
            ensure_told(client, &patch, "Upload-Offset", 8)
        },
    ),
    must(
        "core.patch.offset-stored",
        PATCH,
        "received and processed or stored during the current `PATCH` request",
        Fault::Flaw(Flaw::PatchTellsMore),
        |client| {
            let upload = client.create(10)?;
            let answer = client.send(&client.patch(&upload, 0).body("hello"))?;
            let told = answer.number("Upload-Offset");
            let found = client.offset(&upload)?;
            let why = format!("PATCH told {told:?}, HEAD tells {found}");
            ensure(told.is_none_or(|told| told == found), why)
        },
    ),
    should(
        "core.patch.not-found",
        PATCH,
        "If the server receives a `PATCH` request against a non-existent resource it SHOULD return a `404 Not Found` status.",
        |client| {
            let unknown = unknown(&client.create(5)?);
            one_of(
                &client.send(&client.patch(&unknown, 0).body("hello"))?,
                &[404],
            )
        },
    )
    .fault(Fault::Status("PATCH", 404, 400)),
    should(
        "core.patch.offset-missing",
        PATCH,
        "at the given offset specified by the `Upload-Offset` header",
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).without("Upload-Offset");
            let answer = client.send(&patch.body("hello"))?;
            let why = format!("without Upload-Offset answered by {}", answer.status);
            ensure(answer.status >= 400, why)?;
            client.ensure_offset(&upload, 0)
        },
    )
    .fault(Fault::Flaw(Flaw::OffsetMissingTaken)),
];

/// That the answer to `request` has this number in that field.
fn ensure_told(
    client: &Client<'_>,
    request: &crate::wire::Request,
    name: &str,
    expected: u64,
) -> Outcome {
    let answer = client.send(request)?;
    let found = answer.list(name);
    ensure(
        answer.number(name) == Some(expected),
        format!(
            "{} with {name} {found:?} instead of {expected}",
            answer.status
        ),
    )
}
