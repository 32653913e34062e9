//! Concatenation: partial uploads, and what becomes of them in a final one. What names the parts is in `parts.rs`.

use super::joining::{
    NEEDED, concatenates, concatenation, created, ensure_whole, finished, joined, partial, refused,
    unfinished,
};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;

const CONCAT: &str = "tus 1.0.0, Concatenation";
const HEADER: &str = "tus 1.0.0, Concatenation, Headers, Upload-Concat";
const MAX_SIZE: &str = "tus 1.0.0, Core Protocol, Headers, Tus-Max-Size";
const CREATION: &str = "tus 1.0.0, Creation, Requests, POST";
const DELETE: &str = "tus 1.0.0, Termination, Requests, DELETE";

pub(super) const CASES: &[Case] = &[
    must(
        "concat.advertised",
        CONCAT,
        "If the Server supports this extension, it MUST add `concatenation` to the `Tus-Extension` header",
        Fault::Unlisted("OPTIONS", "Tus-Extension", "concatenation"),
        advertised,
    ),
    must(
        "concat.partial.created",
        CONCAT,
        "A partial upload represents a chunk of a file. It is constructed by including the `Upload-Concat: partial` \
         header while creating a new upload",
        Fault::Flaw(Flaw::ConcatPartialRefused),
        |client| {
            let answer = client.send(&client.post(5).field("Upload-Concat", "partial"))?;
            let part = created(client, &answer)?;
            client.append(&part, 0, b"hello")
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.final.created",
        CONCAT,
        "In order to create a new final upload, the Client MUST add the `Upload-Concat` header to the upload creation request",
        Fault::Flaw(Flaw::FinalNotCreated),
        |client| {
            let (a, b) = (partial(client, b"hello")?, partial(client, b" world")?);
            let answer = client.send(&concatenation(client, &[&a, &b]))?;
            let whole = created(client, &answer)?;
            ensure(
                whole != a && whole != b,
                "Location of the final upload is that of a part",
            )
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.final.many",
        CONCAT,
        "This extension can be used to concatenate multiple uploads into a single one",
        Fault::Flaw(Flaw::ConcatFew),
        |client| {
            concatenates(client)?;
            let mut parts = Vec::new();
            let mut expected = Vec::new();
            for n in 0..9_u8 {
                let bytes = vec![b'a' + n; usize::from(n) + 1];
                parts.push(partial(client, &bytes)?);
                expected.extend(bytes);
            }
            let parts: Vec<&Url> = parts.iter().collect();
            let answer = client.send(&concatenation(client, &parts))?;
            let whole = created(client, &answer)?;
            ensure_whole(client, &whole, &expected)
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.order.listed",
        CONCAT,
        "The partial uploads MUST be concatenated as per the order specified in the list",
        Fault::Flaw(Flaw::ConcatByCreation),
        |client| {
            let (a, b) = (partial(client, b"world")?, partial(client, b"hello ")?);
            let c = partial(client, b", again")?;
            let whole = joined(client, &[&b, &a, &c])?;
            client.ensure_bytes(&whole, b"hello world, again")
        },
    )
    .needs(&[NEEDED, Need::Download]),
    must(
        "concat.order.non-contiguous",
        CONCAT,
        "enabling Clients to perform parallel uploads and to upload non-contiguous chunks",
        Fault::Flaw(Flaw::ConcatByCompletion),
        non_contiguous,
    )
    .needs(&[NEEDED, Need::Download]),
    must(
        "concat.length.sum",
        CONCAT,
        "The length of the final upload MUST be the sum of the length of all partial uploads",
        Fault::Flaw(Flaw::ConcatLengthWrong),
        |client| {
            let parts = [
                partial(client, b"a")?,
                partial(client, b"bcdef")?,
                partial(client, &[b'g'; 1000])?,
            ];
            let parts: Vec<&Url> = parts.iter().collect();
            for (count, sum) in [(1, 1), (2, 6), (3, 1006)] {
                let whole = joined(client, &parts[..count])?;
                let length = client.send(&client.head(&whole))?.number("Upload-Length");
                ensure(
                    length == Some(sum),
                    format!("Upload-Length is {length:?} instead of {sum}, of {count} parts"),
                )?;
            }
            Ok(())
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.length.empty-parts",
        CREATION,
        "Such an upload is immediately complete after its creation",
        Fault::Flaw(Flaw::EmptyNeverComplete),
        |client| {
            concatenates(client)?;
            let (empty, a) = (partial(client, b"")?, partial(client, b"hello")?);
            for (parts, bytes) in [
                (&[&empty, &a, &empty][..], &b"hello"[..]),
                (&[&empty], b""),
                (&[&empty, &empty], b""),
            ] {
                let answer = client.send(&concatenation(client, parts))?;
                let whole = created(client, &answer)?;
                finished(client, &whole)?;
                client.ensure_bytes(&whole, bytes)?;
            }
            Ok(())
        },
    )
    .needs(&[NEEDED]),
    should(
        "concat.length.given",
        CONCAT,
        "The Client MUST NOT include the `Upload-Length` header in the final upload creation",
        |client| {
            let (a, b) = (partial(client, b"hello")?, partial(client, b" world")?);
            for length in [3, 11, 20] {
                let request = concatenation(client, &[&a, &b]).field("Upload-Length", length);
                refused(client, &request, &format!("Upload-Length: {length}"))?;
            }
            Ok(())
        },
    )
    .needs(&[NEEDED])
    .fault(Fault::Flaw(Flaw::ConcatLengthTaken)),
    must(
        "concat.length.past-the-maximum",
        MAX_SIZE,
        "a non-negative integer indicating the maximum allowed size of an entire upload in bytes",
        Fault::Flaw(Flaw::ConcatPastMax),
        |client| {
            concatenates(client)?;
            let max = client.server.max_size.unwrap_or_default();
            let quarter = usize::try_from(max / 4 + 1).unwrap_or_default();
            let part = partial(client, &vec![b'x'; quarter])?;
            let answer = client.send(&concatenation(client, &[&part; 4]))?;
            ensure(
                answer.status == 413,
                format!(
                    "parts of {} bytes in all answered by {}",
                    4 * quarter,
                    answer.status
                ),
            )
        },
    )
    .needs(&[NEEDED, Need::SmallMaxSize]),
    must(
        "concat.metadata.not-transferred",
        CONCAT,
        "When creating a new final upload the partial uploads' metadata SHALL NOT be transferred to the new final upload",
        Fault::Flaw(Flaw::ConcatMetadataInherited),
        |client| {
            let request = client
                .post(0)
                .field("Upload-Concat", "partial")
                .field("Upload-Metadata", "filename cGFydA==");
            let part = client.create_by(&request)?;
            let whole = joined(client, &[&part])?;
            let answer = client.send(&client.head(&whole))?;
            let found = answer.list("Upload-Metadata");
            ensure(
                !found.iter().any(|pair| pair.starts_with("filename")),
                format!("HEAD of the final upload has Upload-Metadata {found:?}"),
            )
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.metadata.own",
        CONCAT,
        "All metadata SHOULD be included in the concatenation request using the `Upload-Metadata` header",
        Fault::Flaw(Flaw::FinalMetadataDropped),
        |client| {
            let part = partial(client, b"hello")?;
            let request =
                concatenation(client, &[&part]).field("Upload-Metadata", "filename d2hvbGU=");
            let whole = client.create_by(&request)?;
            let answer = client.send(&client.head(&whole))?;
            let found = answer.get("Upload-Metadata");
            ensure(
                found == Some("filename d2hvbGU="),
                format!("HEAD of the final upload has Upload-Metadata {found:?}"),
            )
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.final.patch-status",
        CONCAT,
        "The Server MUST respond with the `403 Forbidden` status to `PATCH` requests against a final upload URL",
        Fault::Status("PATCH", 403, 409),
        |client| {
            let whole = joined(client, &[&partial(client, b"hello")?])?;
            for (offset, body) in [(5, &b"!"[..]), (0, b"HELLO"), (5, b"")] {
                let answer = client.send(&client.patch(&whole, offset).body(body))?;
                ensure(
                    answer.status == 403,
                    format!(
                        "{} bytes at offset {offset} answered by {}",
                        body.len(),
                        answer.status
                    ),
                )?;
            }
            Ok(())
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.final.patch-unmodified",
        CONCAT,
        "and MUST NOT modify the final",
        Fault::Flaw(Flaw::FinalPatchStored),
        |client| {
            let whole = joined(client, &[&partial(client, b"hello")?])?;
            client.send(&client.patch(&whole, 5).body("!"))?;
            client.send(&client.patch(&whole, 0).body("HELLO"))?;
            ensure_whole(client, &whole, b"hello")
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.final.patch-parts-unmodified",
        CONCAT,
        "MUST NOT modify the final or its partial uploads",
        Fault::Flaw(Flaw::FinalPatchSpoilsParts),
        |client| {
            let part = partial(client, b"hello")?;
            let whole = joined(client, &[&part])?;
            let before = client.send(&client.head(&part))?;
            if before.status >= 400 {
                return Err(Stop::Skip("parts go once they are joined".to_owned()));
            }
            client.send(&client.patch(&whole, 5).body("!"))?;
            client.send(&client.patch(&whole, 0).body("HELLO"))?;
            client.ensure_offset(&part, 5)?;
            client.ensure_bytes(&joined(client, &[&part])?, b"hello")
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.final.offset-and-length",
        CONCAT,
        "After successful concatenation, the `Upload-Offset` and `Upload-Length` MUST be set",
        Fault::Flaw(Flaw::FinalOffsetUntold),
        |client| {
            let part = partial(client, b"hello")?;
            let whole = client.create_by(&concatenation(client, &[&part]))?;
            finished(client, &whole)
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.final.offset-is-length",
        CONCAT,
        "After successful concatenation, the `Upload-Offset` and `Upload-Length` MUST be set and their values MUST be equal",
        Fault::Flaw(Flaw::FinalOffsetZero),
        |client| {
            let (a, b) = (partial(client, b"hello")?, partial(client, b" world")?);
            let whole = joined(client, &[&a, &b])?;
            let answer = client.send(&client.head(&whole))?;
            let (offset, length) = (answer.number("Upload-Offset"), answer.number("Upload-Length"));
            ensure(
                offset.is_some() && offset == length,
                format!("Upload-Offset {offset:?} and Upload-Length {length:?}"),
            )
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.partial.offset",
        CONCAT,
        "The response to a HEAD request for a partial upload MUST contain the `Upload-Offset` header",
        Fault::Flaw(Flaw::PartialOffsetUntold),
        |client| {
            let part = unfinished(client, 5)?;
            for (offset, bytes) in [(0, &b"hel"[..]), (3, b"lo"), (5, b"")] {
                let found = client.send(&client.head(&part))?.number("Upload-Offset");
                ensure(
                    found == Some(offset),
                    format!("Upload-Offset is {found:?} instead of {offset}"),
                )?;
                if !bytes.is_empty() {
                    client.append(&part, offset, bytes)?;
                }
            }
            Ok(())
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.head.told",
        CONCAT,
        "Response to `HEAD` request against partial or final upload MUST include the `Upload-Concat` header",
        Fault::Without("HEAD", 200, "Upload-Concat"),
        |client| {
            let part = partial(client, b"hello")?;
            let whole = client.create_by(&concatenation(client, &[&part]))?;
            for (upload, what) in [(&whole, "final"), (&part, "partial")] {
                let answer = client.send(&client.head(upload))?;
                let gone = upload == &part && answer.status >= 400;
                ensure(
                    gone || answer.has("Upload-Concat"),
                    format!("no Upload-Concat in the answer to HEAD of a {what} upload"),
                )?;
            }
            Ok(())
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.head.as-received",
        CONCAT,
        "the `Upload-Concat` header and its value as received in the upload creation request",
        Fault::Flaw(Flaw::ConcatRewritten),
        as_received,
    )
    .needs(&[NEEDED]),
    must(
        "concat.head.plain",
        HEADER,
        "It indicates whether the upload is either a partial or final upload",
        Fault::Flaw(Flaw::PlainToldPartial),
        |client| {
            let upload = client.create(5)?;
            let answer = client.send(&client.head(&upload))?;
            ensure(
                !answer.has("Upload-Concat"),
                "HEAD of an upload that is neither partial nor final has Upload-Concat",
            )
        },
    )
    .needs(&[NEEDED]),
    should(
        "concat.value.partial",
        HEADER,
        "If the upload is a partial one, the header value MUST be `partial`",
        |client| {
            for value in ["partially", "part", "partial;", "whole", "partial final"] {
                refused(client, &client.post(5).field("Upload-Concat", value), value)?;
            }
            Ok(())
        },
    )
    .needs(&[NEEDED])
    .fault(Fault::Flaw(Flaw::ConcatMalformedTaken)),
    must(
        "concat.value.final",
        CONCAT,
        "The value MUST be `final` followed by a semicolon and a space-separated list of the partial upload URLs",
        Fault::Flaw(Flaw::ConcatCarelessTaken),
        |client| {
            let (a, b) = (partial(client, b"hello")?, partial(client, b" world")?);
            let (a, b) = (&a.path, &b.path);
            for value in [
                format!("final:{a} {b}"),
                format!("final,{a} {b}"),
                format!("final {a} {b}"),
                format!("final;{a},{b}"),
                format!("final;{a};{b}"),
                format!("{a} {b}"),
                "final;".to_owned(),
                "final".to_owned(),
            ] {
                let request = client.bare_post().field("Upload-Concat", &value);
                refused(client, &request, &value)?;
            }
            Ok(())
        },
    )
    .needs(&[NEEDED]),
    must(
        "concat.final.terminated",
        DELETE,
        "When receiving a `DELETE` request for an existing upload the Server SHOULD free associated resources and MUST \
         respond with the `204 No Content` status",
        Fault::Flaw(Flaw::DeleteFinalRefused),
        |client| {
            let whole = joined(client, &[&partial(client, b"hello")?])?;
            let answer = client.send(&client.request("DELETE", &whole).body(""))?;
            ensure(
                answer.status == 204,
                format!("DELETE of a final upload answered by {}", answer.status),
            )?;
            let status = client.send(&client.head(&whole))?.status;
            ensure(
                matches!(status, 403 | 404 | 410),
                format!("HEAD of the terminated final upload answered by {status}"),
            )
        },
    )
    .needs(&[NEEDED, Need::Extension("termination")]),
];

fn advertised(client: &Client<'_>) -> Outcome {
    let part = client.create_by(&client.post(0).field("Upload-Concat", "partial"))?;
    let answer = client.send(&concatenation(client, &[&part]))?;
    let told = || -> Result<bool, Stop> {
        let whole = created(client, &answer)?;
        let answer = client.send(&client.head(&whole))?;
        let value = answer.get("Upload-Concat");
        Ok(value.is_some_and(|value| value.starts_with("final;")))
    };
    if answer.status != 201 || !told()? {
        return Err(Stop::Skip("final uploads cannot be created".to_owned()));
    }
    let there = client
        .server
        .extensions
        .iter()
        .any(|e| e == "concatenation");
    ensure(
        there,
        "a final upload was created, and Tus-Extension is silent",
    )
}

fn non_contiguous(client: &Client<'_>) -> Outcome {
    let (first, second) = (unfinished(client, 6)?, unfinished(client, 5)?);
    client.append(&second, 0, b"world")?;
    client.append(&first, 0, b"hello ")?;
    let whole = joined(client, &[&first, &second])?;
    client.ensure_bytes(&whole, b"hello world")
}

fn as_received(client: &Client<'_>) -> Outcome {
    let part = unfinished(client, 0)?;
    let paths = format!("final;{} {}", part.path, part.path);
    let whole = client.create_by(&concatenation(client, &[&part, &part]))?;
    for (upload, sent) in [(&whole, paths.as_str()), (&part, "partial")] {
        let answer = client.send(&client.head(upload))?;
        if let Some(found) = answer.get("Upload-Concat") {
            ensure(
                found == sent,
                format!("Upload-Concat is {found:?} instead of {sent:?}"),
            )?;
        }
    }
    Ok(())
}
