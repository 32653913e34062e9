//! Sums that come behind the bytes.

use super::means::{announces, ensure_announced, ensure_status, noise, not_so, sha1};
use crate::case::{Case, Need, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::Request;

const CHECKSUM: &str = "tus 1.0.0, Checksum";
const NAME: &str = "Upload-Checksum";
const NEEDS: &[Need] = &[
    Need::Extension("creation"),
    Need::Extension("checksum-trailer"),
];

pub(super) const CASES: &[Case] = &[
    must(
        "trailer.extension.announced",
        CHECKSUM,
        "If the Server can handle trailers, this behavior MUST be announced by adding `checksum-trailer` to the `Tus-Extension` header",
        announces!(
            "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,concatenation,concatenation-unfinished"
        ),
        |client| {
            let upload = client.create(5)?;
            let answer = client.send(&patch(client, &upload, 0, b"hello", &sha1(b"HELLO")))?;
            if answer.status != 460 {
                return not_so("a wrong sum in the trailer is not answered by 460");
            }
            ensure_announced(client, "checksum-trailer")
        },
    )
    .needs(&[Need::Extension("creation")]),
    must(
        "trailer.right.taken",
        CHECKSUM,
        "If the hash cannot be calculated at the beginning of the upload, it MAY be included as a trailer",
        Fault::Flaw(Flaw::TrailerRefused),
        |client| {
            let bytes = noise(100_000);
            let upload = client.create(100_000)?;
            for (at, chunk) in [(0, &bytes[..60_000]), (60_000, &bytes[60_000..])] {
                let answer = client.send(&patch(client, &upload, at, chunk, &sha1(chunk)))?;
                ensure_status(&answer, 204)?;
                client.ensure_offset(&upload, at + chunk.len() as u64)?;
            }
            client.ensure_bytes(&upload, &bytes)
        },
    )
    .needs(NEEDS),
    must(
        "trailer.wrong.verified",
        CHECKSUM,
        "Trailers, also known as trailing headers, are headers which are sent after the request's body has been transmitted already",
        Fault::Flaw(Flaw::TrailerIgnored),
        |client| {
            let upload = client.create(11)?;
            let sum = sha1(b"HELLO WORLD");
            let answer = client.send(&patch(client, &upload, 0, b"hello world", &sum))?;
            ensure(
                answer.status >= 400,
                format!("a wrong sum in the trailer answered by {}", answer.status),
            )
        },
    )
    .needs(NEEDS),
    must(
        "trailer.wrong.discarded",
        CHECKSUM,
        "the uploaded chunk MUST be discarded, and the upload and its offset MUST NOT be updated",
        Fault::Flaw(Flaw::TrailerMismatchStored),
        |client| {
            let bytes = noise(200_000);
            let upload = client.create(200_005)?;
            client.append(&upload, 0, b"hello")?;
            let spoiled: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
            let answer = client.send(&patch(client, &upload, 5, &spoiled, &sha1(&bytes)))?;
            if answer.status < 400 {
                return not_so("refuse a wrong sum in the trailer");
            }
            client.ensure_offset(&upload, 5)?;
            client.step(&patch(client, &upload, 5, &bytes, &sha1(&bytes)), 204)?;
            client.ensure_bytes(&upload, &[b"hello", &bytes[..]].concat())
        },
    )
    .needs(NEEDS),
    must(
        "trailer.unknown.discarded",
        CHECKSUM,
        "In the first two cases the uploaded chunk MUST be discarded, and the upload and its offset MUST NOT be updated",
        Fault::Flaw(Flaw::TrailerUnknownStored),
        |client| {
            let upload = client.create(11)?;
            client.append(&upload, 0, b"hello")?;
            let sum = "nosuch aGVsbG8=";
            let answer = client.send(&patch(client, &upload, 5, b" WORLD", sum))?;
            if answer.status < 400 {
                return not_so("refuse an unknown algorithm in the trailer");
            }
            client.ensure_offset(&upload, 5)?;
            client.append(&upload, 5, b" world")?;
            client.ensure_bytes(&upload, b"hello world")
        },
    )
    .needs(NEEDS),
    should(
        "trailer.wrong.unannounced",
        "RFC 9110, 6.6.2",
        "SHOULD generate a Trailer header field in the header section",
        |client| {
            // A client need not say that there will be one.
            let upload = client.create(5)?;
            let sum = sha1(b"HELLO");
            let patch = patch(client, &upload, 0, b"hello", &sum).without("Trailer");
            let answer = client.send(&patch)?;
            ensure(
                answer.status >= 400,
                format!("a wrong sum in an unannounced trailer answered by {}", answer.status),
            )
        },
    )
    .needs(NEEDS)
    .fault(Fault::Flaw(Flaw::TrailerIgnored)),
    must(
        "trailer.offset.not-merged",
        "RFC 9112, 7.1.2",
        "A recipient MUST NOT merge a received trailer field into the header section unless its corresponding header field definition explicitly permits and instructs how the trailer field value can be safely merged",
        Fault::Flaw(Flaw::TrailerMerged),
        |client| {
            // An offset that stands in the trailer alone is none.
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).without("Upload-Offset");
            let bare = client.send(&patch.clone().chunked(&[b"hello"]))?;
            if bare.status < 400 {
                return not_so("a PATCH without Upload-Offset is taken");
            }
            let behind = patch.chunked(&[b"hello"]).trailer("Upload-Offset", 0);
            let answer = client.send(&behind)?;
            ensure(
                answer.status >= 400,
                format!("Upload-Offset in the trailer answered by {}", answer.status),
            )
        },
    )
    .needs(&[Need::Extension("creation")]),
];

/// A PATCH in several chunks whose sum comes last.
fn patch(client: &Client<'_>, upload: &Url, at: u64, bytes: &[u8], sum: &str) -> Request {
    let chunks: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(3).max(1)).collect();
    client.patch(upload, at).chunked(&chunks).trailer(NAME, sum)
}
