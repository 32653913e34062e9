//! Sums over the bytes of a request.

use std::time::{Duration, Instant};

use super::means::{announces, checksum, ensure_announced, ensure_status, noise, not_so, sha1};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::Response;

const CHECKSUM: &str = "tus 1.0.0, Checksum";
const ALGORITHMS: &str = "tus 1.0.0, Checksum, Headers, Tus-Checksum-Algorithm";
const UPLOAD_CHECKSUM: &str = "tus 1.0.0, Checksum, Headers, Upload-Checksum";
const LIST: &str = "Tus-Checksum-Algorithm";
const NAME: &str = "Upload-Checksum";
const NEEDS: &[Need] = &[Need::Extension("creation"), Need::Extension("checksum")];
const ALONE: &[Need] = &[Need::Extension("checksum")];

pub(super) const CASES: &[Case] = &[
    must(
        "checksum.extension.announced",
        CHECKSUM,
        "If supported, the Server MUST add `checksum` to the `Tus-Extension` header",
        announces!(
            "creation,creation-with-upload,creation-defer-length,expiration,checksum-trailer,termination,concatenation,concatenation-unfinished"
        ),
        |client| {
            let upload = client.create(5)?;
            let answer = wrong(client, &upload, 0, b"hello")?;
            if answer.status != 460 {
                return not_so("a wrong sum is not answered by 460");
            }
            ensure_announced(client, "checksum")
        },
    )
    .needs(&[Need::Extension("creation")]),
    must(
        "checksum.options.included",
        CHECKSUM,
        "The `Tus-Checksum-Algorithm` header MUST be included in the response to an `OPTIONS` request",
        Fault::Without("OPTIONS", 0, LIST),
        |client| {
            let has = options(client)?.has(LIST);
            ensure(has, format!("OPTIONS answered without {LIST}"))
        },
    )
    .needs(ALONE),
    must(
        "checksum.options.sha1",
        CHECKSUM,
        "The Server MUST support at least the SHA1 checksum algorithm identified by `sha1`",
        Fault::Field("OPTIONS", 0, LIST, "md5,sha256"),
        |client| {
            let listed = options(client)?.list(LIST);
            if listed.is_empty() {
                return not_so("no algorithm is listed");
            }
            ensure(
                listed.iter().any(|name| name == "sha1"),
                format!("{LIST} is {listed:?}"),
            )
        },
    )
    .needs(ALONE),
    must(
        "checksum.options.names",
        CHECKSUM,
        "The names of the checksum algorithms MUST only consist of ASCII characters with the modification that uppercase characters are excluded",
        Fault::Field("OPTIONS", 0, LIST, "sha1,MD5,sha256"),
        |client| {
            for name in options(client)?.list(LIST) {
                let right = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
                ensure(name.bytes().all(right), format!("an algorithm is called {name:?}"))?;
            }
            Ok(())
        },
    )
    .needs(ALONE),
    must(
        "checksum.options.supported",
        ALGORITHMS,
        "The `Tus-Checksum-Algorithm` response header MUST be a comma-separated list of the checksum algorithms supported by the server",
        Fault::Flaw(Flaw::AnnouncedUnknown),
        |client| {
            for algorithm in known(client) {
                let upload = client.create(11)?;
                let sum = checksum(algorithm, b"hello world").unwrap_or_default();
                let patch = client.patch(&upload, 0).field(NAME, &sum);
                let answer = client.send(&patch.body("hello world"))?;
                ensure(
                    answer.status == 204,
                    format!("the right sum {sum} answered by {}", answer.status),
                )?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    must(
        "checksum.sha1.known",
        CHECKSUM,
        "the SHA1 checksum algorithm identified by `sha1`",
        Fault::Flaw(Flaw::Sha1Unknown),
        |client| {
            // The example of the specification.
            let upload = client.create(11)?;
            let patch = client
                .patch(&upload, 0)
                .field(NAME, "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=");
            ensure_status(&client.send(&patch.body("hello world"))?, 204)
        },
    )
    .needs(NEEDS),
    must(
        "checksum.right.stored",
        CHECKSUM,
        "`204 No Content` if the checksums match and the processing of the data succeeded",
        Fault::Flaw(Flaw::ChecksumGoodDropped),
        |client| {
            let bytes = noise(300_000);
            let upload = client.create(300_000)?;
            for (at, chunk) in [(0, &bytes[..200_000]), (200_000, &bytes[200_000..])] {
                let answer = right(client, &upload, at, chunk)?;
                ensure_status(&answer, 204)?;
                client.ensure_offset(&upload, at + chunk.len() as u64)?;
            }
            client.ensure_bytes(&upload, &bytes)
        },
    )
    .needs(NEEDS),
    must(
        "checksum.wrong.verified",
        CHECKSUM,
        "the Server MUST verify the uploaded chunk against the provided checksum",
        Fault::Flaw(Flaw::ChecksumIgnored),
        |client| {
            let upload = client.create(5)?;
            ensure_unsaid(&wrong(client, &upload, 0, b"hello")?, "a wrong sum")
        },
    )
    .needs(NEEDS),
    must(
        "checksum.wrong.algorithm",
        CHECKSUM,
        "using the specified algorithm",
        Fault::Flaw(Flaw::ChecksumOthersUnverified),
        |client| {
            for algorithm in known(client) {
                let upload = client.create(5)?;
                let sum = checksum(algorithm, b"HELLO").unwrap_or_default();
                let patch = client.patch(&upload, 0).field(NAME, sum).body("hello");
                ensure_unsaid(&client.send(&patch)?, &format!("a wrong {algorithm}"))?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    should(
        "checksum.wrong.status",
        CHECKSUM,
        "`460 Checksum Mismatch` if the checksums mismatch",
        |client| {
            let upload = client.create(5)?;
            ensure_status(&wrong(client, &upload, 0, b"hello")?, 460)
        },
    )
    .needs(NEEDS)
    .fault(Fault::Status("PATCH", 460, 400)),
    must(
        "checksum.wrong.discarded",
        CHECKSUM,
        "In the first two cases the uploaded chunk MUST be discarded",
        Fault::Flaw(Flaw::ChecksumMismatchStored),
        |client| {
            // Long enough to be written before its end is there.
            let bytes = noise(1 << 20);
            let upload = client.create(1 << 20)?;
            let spoiled: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
            let patch = client.patch(&upload, 0).field(NAME, sha1(&bytes));
            refused(&client.send(&patch.body(spoiled))?)?;
            client.ensure_offset(&upload, 0)?;
            // It can be sent again.
            client.step(&client.patch(&upload, 0).field(NAME, sha1(&bytes)).body(&bytes), 204)?;
            client.ensure_bytes(&upload, &bytes)
        },
    )
    .needs(NEEDS),
    must(
        "checksum.wrong.not-updated",
        CHECKSUM,
        "and the upload and its offset MUST NOT be updated",
        Fault::Flaw(Flaw::ChecksumMismatchRewinds),
        |client| {
            let upload = client.create(11)?;
            client.append(&upload, 0, b"hello")?;
            refused(&wrong(client, &upload, 5, b" WORLD")?)?;
            client.ensure_offset(&upload, 5)?;
            client.append(&upload, 5, b" world")?;
            client.ensure_bytes(&upload, b"hello world")
        },
    )
    .needs(NEEDS),
    must(
        "checksum.wrong.live",
        CHECKSUM,
        "Once the entire request has been received",
        Fault::Flaw(Flaw::ChecksumLive),
        live,
    )
    .needs(NEEDS),
    must(
        "checksum.unknown.discarded",
        CHECKSUM,
        "if the checksum algorithm is not supported by the server",
        Fault::Flaw(Flaw::ChecksumUnknownStored),
        |client| {
            let upload = client.create(11)?;
            client.append(&upload, 0, b"hello")?;
            let patch = client.patch(&upload, 5).field(NAME, "nosuch aGVsbG8=");
            refused(&client.send(&patch.body(" WORLD"))?)?;
            client.ensure_offset(&upload, 5)?;
            client.append(&upload, 5, b" world")?;
            client.ensure_bytes(&upload, b"hello world")
        },
    )
    .needs(NEEDS),
    should(
        "checksum.unknown.status",
        CHECKSUM,
        "`400 Bad Request` if the checksum algorithm is not supported by the server",
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).field(NAME, "nosuch aGVsbG8=");
            ensure_status(&client.send(&patch.body("hello"))?, 400)
        },
    )
    .needs(NEEDS)
    .fault(Fault::Flaw(Flaw::ChecksumUnknownTaken)),
    must(
        "checksum.header.malformed",
        UPLOAD_CHECKSUM,
        "The header MUST consist of the name of the used checksum algorithm and the Base64 encoded checksum separated by a space",
        Fault::Flaw(Flaw::ChecksumMalformedTaken),
        |client| {
            // None of them is the sum of these bytes, however it is read.
            let sum = sha1(b"other");
            let bare = sum.trim_start_matches("sha1 ");
            for value in ["sha1", "sha1 !!!!", bare, &sum.replace(' ', "="), "sha1 aGVsbG8="] {
                let upload = client.create(5)?;
                let patch = client.patch(&upload, 0).field(NAME, value).body("hello");
                ensure_unsaid(&client.send(&patch)?, &format!("{NAME}: {value}"))?;
                client.ensure_offset(&upload, 0)?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    must(
        "checksum.header.payload",
        UPLOAD_CHECKSUM,
        "contains information about the checksum of the current body payload",
        Fault::Flaw(Flaw::ChecksumOfUpload),
        |client| {
            let upload = client.create(11)?;
            client.append(&upload, 0, b"hello")?;
            ensure_status(&right(client, &upload, 5, b" world")?, 204)
        },
    )
    .needs(NEEDS),
    must(
        "checksum.header.optional",
        CHECKSUM,
        "A Client MAY include the `Upload-Checksum` header in a `PATCH` request",
        Fault::Flaw(Flaw::ChecksumWantedOn),
        |client| {
            // With one, then without.
            let upload = client.create(11)?;
            let first = client.patch(&upload, 0).field(NAME, sha1(b"hello"));
            client.step(&first.body("hello"), 204)?;
            let answer = client.send(&client.patch(&upload, 5).body(" world"))?;
            ensure_status(&answer, 204)?;
            client.ensure_bytes(&upload, b"hello world")
        },
    )
    .needs(NEEDS),
    must(
        "checksum.empty.verified",
        CHECKSUM,
        "use this extension to verify data integrity of each `PATCH` request",
        Fault::Flaw(Flaw::ChecksumEmptyIgnored),
        |client| {
            let upload = client.create(11)?;
            client.append(&upload, 0, b"hello")?;
            client.step(&client.patch(&upload, 5).field(NAME, sha1(b"")).body(""), 204)?;
            let lost = client.patch(&upload, 5).field(NAME, sha1(b" world"));
            ensure_unsaid(&client.send(&lost.body(""))?, "an empty body with the sum of another")
        },
    )
    .needs(NEEDS),
    should(
        "checksum.cut.not-kept",
        CHECKSUM,
        "Once the entire request has been received, the Server MUST verify the uploaded chunk",
        cut,
    )
    .needs(NEEDS)
    .fault(Fault::Flaw(Flaw::ChecksumCutKept)),
];

fn options(client: &Client<'_>) -> Result<Response, Stop> {
    Ok(client.send(&client.options().body(""))?)
}

/// The algorithms that the server lists and whose sums are known here.
fn known<'c>(client: &'c Client<'_>) -> impl Iterator<Item = &'c str> {
    let listed = client.server.algorithms.iter().map(String::as_str);
    listed.filter(|name| checksum(name, b"").is_some())
}

fn right(client: &Client<'_>, upload: &Url, at: u64, bytes: &[u8]) -> Result<Response, Stop> {
    let patch = client.patch(upload, at).field(NAME, sha1(bytes));
    Ok(client.send(&patch.body(bytes))?)
}

/// Bytes with the sum of other bytes.
fn wrong(client: &Client<'_>, upload: &Url, at: u64, bytes: &[u8]) -> Result<Response, Stop> {
    let patch = client.patch(upload, at).field(NAME, sha1(b"other bytes"));
    Ok(client.send(&patch.body(bytes))?)
}

/// That bytes were not acknowledged.
fn ensure_unsaid(answer: &Response, what: &str) -> Outcome {
    ensure(
        answer.status >= 400,
        format!("{what} answered by {}", answer.status),
    )
}

/// What becomes of refused bytes can be looked at only where they are refused.
fn refused(answer: &Response) -> Outcome {
    if answer.status >= 400 {
        Ok(())
    } else {
        not_so("refuse these bytes")
    }
}

/// While a body runs, nothing of it counts: the verdict may be against it.
fn live(client: &Client<'_>) -> Outcome {
    let upload = client.create(10)?;
    let patch = client
        .patch(&upload, 0)
        .field(NAME, sha1(b"other byte"))
        .body("hello worl");
    let mut talk = client.open()?;
    talk.write(&patch.head())?;
    talk.write(b"hello")?;
    // Half of the body is on its way; HEAD is asked until the server has had time to see it.
    let enough = Instant::now() + Duration::from_millis(500);
    let mut most = 0;
    while Instant::now() < enough && most == 0 {
        let answer = client.send(&client.head(&upload))?;
        most = answer.number("Upload-Offset").unwrap_or(0);
        std::thread::sleep(Duration::from_millis(20));
    }
    // Where a HEAD has ended the PATCH, there is no verdict.
    let sent = talk.write(b" worl");
    let verdict = talk.answer("PATCH");
    if let (Ok(()), Ok(answer)) = (sent, verdict)
        && answer.status == 460
    {
        return ensure(
            most == 0,
            format!("HEAD told offset {most} of bytes that were then refused"),
        );
    }
    not_so("verify a body during which HEAD was asked")
}

/// The first bytes of a body are not what its sum is of, and the rest never comes.
fn cut(client: &Client<'_>) -> Outcome {
    let upload = client.create(11)?;
    let patch = client
        .patch(&upload, 0)
        .field(NAME, sha1(b"hello world"))
        .body("HELLO world");
    let mut talk = client.open()?;
    talk.write(&patch.head())?;
    talk.write(b"HELLO")?;
    talk.finish()?;
    if !talk.ends_within(Duration::from_secs(5)) {
        return not_so("end a connection whose body was cut");
    }
    client.ensure_offset(&upload, 0)?;
    client.step(
        &client
            .patch(&upload, 0)
            .field(NAME, sha1(b"hello world"))
            .body("hello world"),
        204,
    )?;
    client.ensure_bytes(&upload, b"hello world")
}
