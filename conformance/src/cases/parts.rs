//! Concatenation: which uploads a final one may name, how it names them, and what becomes of them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::joining::{
    NEEDED, concatenates, concatenation, created, ensure_whole, joined, partial, refused,
    unfinished,
};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::{Client, OFFSET_STREAM};
use crate::reference::{Fault, Flaw};
use crate::target::Url;

const CONCAT: &str = "tus 1.0.0, Concatenation";
const HEADER: &str = "tus 1.0.0, Concatenation, Headers, Upload-Concat";

pub(super) const CASES: &[Case] = &[
    must(
        "parts.url.absolute",
        HEADER,
        "The partial uploads URLs MAY be absolute",
        Fault::Flaw(Flaw::ConcatAbsoluteRefused),
        |client| named(client, Url::to_string),
    )
    .needs(&[NEEDED]),
    must(
        "parts.url.relative",
        HEADER,
        "The partial uploads URLs MAY be absolute or relative",
        Fault::Flaw(Flaw::ConcatPathRefused),
        |client| named(client, |part| part.path.clone()),
    )
    .needs(&[NEEDED]),
    should(
        "parts.url.relative-to-target",
        "RFC 9110, 4.1",
        "Unless otherwise indicated, URI references are parsed relative to the target URI",
        |client| {
            let base = &client.server.url.path;
            let folder = base.rfind('/').map_or("", |slash| &base[..=slash]);
            let below = |part: &Url| part.path.strip_prefix(folder).map(str::to_owned);
            let part = partial(client, b"hello")?;
            let name = below(&part)
                .filter(|name| !name.is_empty() && !name.contains(':'))
                .ok_or_else(|| Stop::Skip("uploads are not below the creation URL".to_owned()))?;
            let value = format!("final;{name}");
            let answer = client.send(&client.bare_post().field("Upload-Concat", value))?;
            let whole = created(client, &answer)?;
            ensure_whole(client, &whole, b"hello")
        },
    )
    .needs(&[NEEDED])
    .fault(Fault::Flaw(Flaw::ConcatNameRefused)),
    must(
        "parts.url.encoded-space",
        HEADER,
        "MUST NOT contain spaces as defined in RFC 3986",
        Fault::Flaw(Flaw::ConcatDecoded),
        |client| {
            let (a, b) = (partial(client, b"hello")?, partial(client, b" world")?);
            // One URL with an escaped space is no two URLs.
            let value = format!("final;{}%20{}", a.path, b.path);
            let request = client.bare_post().field("Upload-Concat", &value);
            refused(client, &request, &value)
        },
    )
    .needs(&[NEEDED]),
    should(
        "parts.url.other-host",
        "RFC 9110, 4.3.1",
        "Two origins are distinct if they differ in scheme, host, or port",
        |client| {
            let part = partial(client, b"hello")?;
            for authority in ["other.invalid", "192.0.2.1:1080"] {
                let value = format!("final;http://{authority}{}", part.path);
                let request = client.bare_post().field("Upload-Concat", &value);
                refused(client, &request, &value)?;
            }
            Ok(())
        },
    )
    .needs(&[NEEDED])
    .fault(Fault::Flaw(Flaw::ConcatForeignTaken)),
    should(
        "parts.url.userinfo",
        "RFC 9110, 4.2.4",
        "Before making use of an \"http\" or \"https\" URI reference received from an untrusted source, a recipient SHOULD \
         parse for userinfo and treat its presence as an error",
        |client| {
            let part = partial(client, b"hello")?;
            let value = format!("final;http://user:x@{}{}", part.authority, part.path);
            let request = client.bare_post().field("Upload-Concat", &value);
            refused(client, &request, &value)
        },
    )
    .needs(&[NEEDED])
    .fault(Fault::Flaw(Flaw::ConcatUserinfoTaken)),
    must(
        "parts.unknown",
        HEADER,
        "a space-separated list of partial upload URLs that will be concatenated",
        Fault::Flaw(Flaw::ConcatUnknownTaken),
        |client| {
            let part = partial(client, b"hello")?;
            let base = client.server.url.path.trim_end_matches('/');
            for unknown in [
                format!("{base}/0123456789abcdef0123456789abcdef"),
                format!("{}0", part.path),
                "/".to_owned(),
                format!("{base}/../../../../etc/passwd"),
                "http://[::1".to_owned(),
            ] {
                for value in [
                    format!("final;{unknown}"),
                    format!("final;{} {unknown}", part.path),
                ] {
                    let request = client.bare_post().field("Upload-Concat", &value);
                    refused(client, &request, &value)?;
                }
            }
            Ok(())
        },
    )
    .needs(&[NEEDED]),
    should(
        "parts.not-partial",
        HEADER,
        "In the case of a final upload, its value MUST be `final` followed by a semicolon and a space-separated list of \
         partial upload URLs",
        |client| {
            let (part, plain) = (partial(client, b"hello")?, client.create_complete(b"world")?);
            refused(
                client,
                &concatenation(client, &[&part, &plain]),
                "a part that is no partial upload",
            )?;
            let whole = joined(client, &[&part])?;
            refused(
                client,
                &concatenation(client, &[&whole]),
                "a part that is a final upload",
            )
        },
    )
    .needs(&[NEEDED])
    .fault(Fault::Flaw(Flaw::ConcatWholeTaken)),
    must(
        "parts.deleted-before",
        "tus 1.0.0, Termination, Requests, DELETE",
        "with the `204 No Content` status confirming that the upload was terminated",
        Fault::Flaw(Flaw::ConcatDeletedTaken),
        |client| {
            let (a, b) = (partial(client, b"hello")?, partial(client, b" world")?);
            client.step(&client.request("DELETE", &a).body(""), 204)?;
            refused(
                client,
                &concatenation(client, &[&a, &b]),
                "a part that was terminated",
            )
        },
    )
    .needs(&[NEEDED, Need::Extension("termination")]),
    must(
        "parts.deleted-after",
        CONCAT,
        "The Server MAY delete partial uploads after concatenation",
        Fault::Flaw(Flaw::FinalNeedsParts),
        |client| {
            let (a, b) = (partial(client, b"hello")?, partial(client, b" world")?);
            let whole = joined(client, &[&a, &b])?;
            // It may have gone by itself.
            client.send(&client.request("DELETE", &a).body(""))?;
            ensure_whole(client, &whole, b"hello world")
        },
    )
    .needs(&[NEEDED, Need::Extension("termination")]),
    must(
        "parts.twice-in-one",
        CONCAT,
        "The same partial upload MAY be present multiple times in the `Upload-Concat` header in one upload creation request",
        Fault::Flaw(Flaw::ConcatTwiceRefused),
        |client| {
            concatenates(client)?;
            let (a, b) = (partial(client, b"ha")?, partial(client, b"! ")?);
            let answer = client.send(&concatenation(client, &[&a, &a, &b, &a]))?;
            let whole = created(client, &answer)?;
            ensure_whole(client, &whole, b"haha! ha")
        },
    )
    .needs(&[NEEDED]),
    must(
        "parts.twice-in-several",
        CONCAT,
        "or MAY be used in multiple upload creation requests",
        Fault::Flaw(Flaw::ConcatUsedRefused),
        |client| {
            let (a, b) = (partial(client, b"hello")?, partial(client, b"world")?);
            joined(client, &[&a, &b])?;
            kept(client, &[&a, &b])?;
            let answer = client.send(&concatenation(client, &[&b, &a]))?;
            let whole = created(client, &answer)?;
            ensure_whole(client, &whole, b"worldhello")
        },
    )
    .needs(&[NEEDED]),
    must(
        "parts.attempted-again",
        CONCAT,
        "The Client, however, MAY attempt to use a partial upload multiple times",
        Fault::Flaw(Flaw::ConcatTakesParts),
        |client| {
            let part = partial(client, b"hello")?;
            let first = joined(client, &[&part])?;
            // It may have gone by itself.
            let again = client.send(&concatenation(client, &[&part]))?;
            ensure(
                again.status < 500,
                format!("the second attempt answered by {}", again.status),
            )?;
            ensure_whole(client, &first, b"hello")
        },
    )
    .needs(&[NEEDED]),
    must(
        "parts.refused-request",
        "RFC 9110, 15.5.1",
        "the server cannot or will not process the request due to something that is perceived to be a client error",
        Fault::Flaw(Flaw::ConcatRefusedEats),
        |client| {
            concatenates(client)?;
            let part = partial(client, b"hello")?;
            let value = format!("final;{} {}0", part.path, part.path);
            let request = client.bare_post().field("Upload-Concat", &value);
            let answer = client.send(&request)?;
            if answer.status < 400 {
                return Err(Stop::Skip("a part is unknown, and was taken".to_owned()));
            }
            let answer = client.send(&concatenation(client, &[&part]))?;
            let whole = created(client, &answer)?;
            ensure_whole(client, &whole, b"hello")
        },
    )
    .needs(&[NEEDED]),
    must(
        "parts.parallel",
        "tus 1.0.0, Core Protocol, Requests, PATCH",
        "In order to achieve parallel upload the Concatenation extension MAY be used",
        Fault::Flaw(Flaw::PartsOneByOne),
        parallel,
    )
    .needs(&[NEEDED]),
    must(
        "parts.with-upload",
        "tus 1.0.0, Creation With Upload",
        "either the entirety or a chunk of the upload data in the body of the `POST` request",
        Fault::Flaw(Flaw::PartialBodyDropped),
        with_upload,
    )
    .needs(&[NEEDED, Need::Extension("creation-with-upload")]),
    must(
        "parts.checksum",
        "tus 1.0.0, Checksum",
        "to verify data integrity of each `PATCH` request",
        Fault::Flaw(Flaw::ChecksumPartialIgnored),
        checksum,
    )
    .needs(&[NEEDED, Need::Extension("checksum")]),
];

/// That a final upload can be made of parts that are named by `name`.
fn named(client: &Client<'_>, name: fn(&Url) -> String) -> Outcome {
    let (a, b) = (partial(client, b"hello")?, partial(client, b" world")?);
    let value = format!("final;{} {}", name(&a), name(&b));
    let answer = client.send(&client.bare_post().field("Upload-Concat", value))?;
    let whole = created(client, &answer)?;
    ensure_whole(client, &whole, b"hello world")
}

/// A server may delete parts once they are joined: then nothing can be asked of them.
fn kept(client: &Client<'_>, parts: &[&Url]) -> Outcome {
    for part in parts {
        if client.send(&client.head(part))?.status >= 400 {
            return Err(Stop::Skip("parts go once they are joined".to_owned()));
        }
    }
    Ok(())
}

fn parallel(client: &Client<'_>) -> Outcome {
    let (a, b) = (unfinished(client, 5)?, unfinished(client, 5)?);
    let mut talks = Vec::new();
    for (part, bytes) in [(&a, b"hello"), (&b, b"world")] {
        let request = client.patch(part, 0).body(bytes);
        let mut talk = client.open()?;
        let (head, body) = (request.head(), request.framed_body());
        talk.write(&[&head, &body[..2]].concat())?;
        // An answer to half a request is a refusal. (HEAD would disturb those who let it take over.)
        ensure(
            talk.silent_for(Duration::from_millis(100)),
            "one of two PATCHes at a time answered before its body was there",
        )?;
        talks.push((talk, body));
    }
    // The other way round: none can wait for the other.
    for (talk, body) in talks.iter_mut().rev() {
        talk.write(&body[2..])?;
        let answer = talk.answer("PATCH")?;
        ensure(
            answer.status == 204,
            format!("one of two PATCHes at a time answered by {}", answer.status),
        )?;
    }
    let whole = joined(client, &[&b, &a])?;
    client.ensure_bytes(&whole, b"worldhello")
}

fn with_upload(client: &Client<'_>) -> Outcome {
    let post = |length, body: &str| {
        client
            .post(length)
            .field("Upload-Concat", "partial")
            .field("Content-Type", OFFSET_STREAM)
            .body(body)
    };
    let (a, b) = (
        client.create_by(&post(5, "hello"))?,
        client.create_by(&post(6, " wor"))?,
    );
    // As many bytes as possible: the answer tells how many.
    for (part, bytes) in [(&a, &b"hello"[..]), (&b, b" world")] {
        let offset = client.offset(part)?;
        ensure(
            offset > 0 || part == &a,
            "not one byte of the body was taken",
        )?;
        let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..));
        let rest = rest.ok_or_else(|| Stop::Broken(format!("Upload-Offset is {offset}")))?;
        if !rest.is_empty() {
            client.append(part, offset, rest)?;
        }
    }
    let whole = joined(client, &[&a, &b])?;
    ensure_whole(client, &whole, b"hello world")
}

fn checksum(client: &Client<'_>) -> Outcome {
    let part = unfinished(client, 5)?;
    let sum = |bytes: &[u8]| format!("sha1 {}", STANDARD.encode(Sha1::digest(bytes)));
    let patch = |bytes: &[u8]| {
        client
            .patch(&part, 0)
            .field("Upload-Checksum", sum(bytes))
            .body("hello")
    };
    let wrong = client.send(&patch(b"HELLO"))?;
    ensure(
        (400..500).contains(&wrong.status),
        format!("a wrong sum of a part's bytes answered by {}", wrong.status),
    )?;
    client.ensure_offset(&part, 0)?;
    let right = client.send(&patch(b"hello"))?;
    ensure(
        right.status == 204,
        format!("a right sum of a part's bytes answered by {}", right.status),
    )?;
    client.ensure_bytes(&joined(client, &[&part])?, b"hello")
}
