//! The core protocol: what each header means, versions, OPTIONS, and methods in disguise.

use crate::case::{Case, Need, Outcome, Stop, ensure, may, must, should};
use crate::client::{Client, OFFSET_STREAM};
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::{PATIENCE, Request, Response};

const UPLOAD_OFFSET: &str = "tus 1.0.0, Core Protocol, Headers, Upload-Offset";
const UPLOAD_LENGTH: &str = "tus 1.0.0, Core Protocol, Headers, Upload-Length";
const TUS_VERSION: &str = "tus 1.0.0, Core Protocol, Headers, Tus-Version";
const TUS_RESUMABLE: &str = "tus 1.0.0, Core Protocol, Headers, Tus-Resumable";
const TUS_EXTENSION: &str = "tus 1.0.0, Core Protocol, Headers, Tus-Extension";
const TUS_MAX_SIZE: &str = "tus 1.0.0, Core Protocol, Headers, Tus-Max-Size";
const OVERRIDE: &str = "tus 1.0.0, Core Protocol, Headers, X-HTTP-Method-Override";
const OPTIONS: &str = "tus 1.0.0, Core Protocol, Requests, OPTIONS";
const EXTENSIONS: &str = "tus 1.0.0, Protocol Extensions";

/// A version that nobody speaks.
const UNSUPPORTED: &str = "99.0.0";

pub(super) const CASES: &[Case] = &[
    must(
        "core.upload-offset.position",
        UPLOAD_OFFSET,
        "The `Upload-Offset` request and response header indicates a byte offset within a resource.",
        Fault::Flaw(Flaw::HeadWraps),
        |client| {
            let bytes = [7; 70_001];
            let upload = client.create(bytes.len() as u64)?;
            client.append(&upload, 0, &bytes[..70_000])?;
            client.ensure_offset(&upload, 70_000)
        },
    ),
    must(
        "core.upload-offset.integer",
        UPLOAD_OFFSET,
        "within a resource. The value MUST be a non-negative integer.",
        Fault::Flaw(Flaw::OffsetMalformedTaken),
        offset_malformed,
    ),
    must(
        "core.upload-length.size",
        UPLOAD_LENGTH,
        "The `Upload-Length` request and response header indicates the size of the entire upload in bytes.",
        Fault::Flaw(Flaw::SurplusTaken),
        surplus,
    ),
    must(
        "core.upload-length.integer",
        UPLOAD_LENGTH,
        "in bytes. The value MUST be a non-negative integer.",
        Fault::Flaw(Flaw::LengthMalformedTaken),
        |client| {
            for value in ["-1", "5x", "five", "0x5", "5.5"] {
                let answer = client.send(&client.bare_post().field("Upload-Length", value))?;
                ensure(
                    answer.status >= 400,
                    format!(
                        "Upload-Length: {value} answered by {} instead of an error",
                        answer.status
                    ),
                )?;
            }
            Ok(())
        },
    ),
    must(
        "core.tus-version.list",
        TUS_VERSION,
        "The `Tus-Version` response header MUST be a comma-separated list of protocol versions",
        Fault::Field("OPTIONS", 204, "Tus-Version", "1.0.0 0.2.2"),
        |client| {
            let versions = versions(client)?;
            let wrong = versions.iter().find(|version| !is_version(version));
            ensure(
                wrong.is_none() && !versions.is_empty(),
                format!("{versions:?} is no list of versions"),
            )
        },
    ),
    must(
        "core.tus-version.supported",
        TUS_VERSION,
        "protocol versions supported by the Server",
        Fault::Field("OPTIONS", 204, "Tus-Version", "1.0.0,0.2.2"),
        |client| {
            let upload = client.create(5)?;
            for version in versions(client)?.iter().filter(|v| is_version(v)).take(5) {
                let answer = client.send(&client.head(&upload).set("Tus-Resumable", version))?;
                ensure(
                    answer.status != 412,
                    format!("{version} is listed, and answered by 412"),
                )?;
            }
            Ok(())
        },
    ),
    must(
        "core.tus-resumable.in-answers",
        TUS_RESUMABLE,
        "The `Tus-Resumable` header MUST be included in every request and response",
        Fault::Without("PATCH", 409, "Tus-Resumable"),
        |client| {
            let upload = client.create(5)?;
            let unknown = unknown(&upload);
            for request in [
                client.post(5),
                client.head(&upload),
                client.patch(&upload, 3).body("he"),
                client.patch(&upload, 0).body("hello"),
                client.head(&unknown),
                client.patch(&unknown, 0).body("hello"),
            ] {
                let answer = client.send(&request)?;
                ensure(
                    answer.has("Tus-Resumable"),
                    format!("{} {} without it", request.method(), answer.status),
                )?;
            }
            Ok(())
        },
    ),
    must(
        "core.tus-resumable.value",
        TUS_RESUMABLE,
        "The value MUST be the version of the protocol used by the Client or the Server.",
        Fault::Field("HEAD", 200, "Tus-Resumable", "0.2.2"),
        |client| {
            let upload = client.create(5)?;
            let answer = client.send(&client.head(&upload))?;
            let Some(version) = answer.get("Tus-Resumable") else {
                return Err(Stop::Skip("no single Tus-Resumable in the answer".into()));
            };
            ensure(
                version == "1.0.0" || versions(client)?.iter().any(|known| known == version),
                format!("{version:?} is neither 1.0.0 nor in Tus-Version"),
            )
        },
    ),
    may(
        "core.tus-resumable.required",
        TUS_RESUMABLE,
        "The `Tus-Resumable` header MUST be included in every request",
        |client| {
            let upload = client.create(5)?;
            let bare = client.patch(&upload, 0).without("Tus-Resumable");
            let answer = client.send(&bare.body("hello"))?;
            one_of(&answer, &[400, 412])?;
            client.ensure_offset(&upload, 0)
        },
    )
    .fault(Fault::Flaw(Flaw::VersionMissingTaken)),
    must(
        "core.tus-resumable.not-for-options",
        TUS_RESUMABLE,
        "except for `OPTIONS` requests",
        Fault::Flaw(Flaw::OptionsWantsVersion),
        |client| one_of(&client.send(&options(client))?, &[200, 204]),
    ),
    must(
        "core.unsupported-version.412",
        TUS_RESUMABLE,
        "If the version specified by the Client is not supported by the Server, it MUST respond with the `412 Precondition Failed` status",
        Fault::Flaw(Flaw::VersionIgnored),
        |client| {
            let upload = client.create(5)?;
            for request in [
                client.patch(&upload, 0).body("hello"),
                client.post(5),
                client.head(&upload),
            ] {
                let request = request.set("Tus-Resumable", UNSUPPORTED);
                let answer = client.send(&request)?;
                ensure(
                    answer.status == 412,
                    format!("{} answered by {}", request.method(), answer.status),
                )?;
            }
            Ok(())
        },
    ),
    must(
        "core.unsupported-version.lists-supported",
        TUS_RESUMABLE,
        "and MUST include the `Tus-Version` header into the response",
        Fault::Without("*", 412, "Tus-Version"),
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).set("Tus-Resumable", UNSUPPORTED);
            let answer = client.send(&patch.body("hello"))?;
            if answer.status < 400 {
                return Err(Stop::Skip(format!("answered by {}", answer.status)));
            }
            let why = format!("{} without Tus-Version", answer.status);
            ensure(answer.has("Tus-Version"), why)
        },
    ),
    must(
        "core.unsupported-version.not-processed",
        TUS_RESUMABLE,
        "In addition, the Server MUST NOT process the request.",
        Fault::Flaw(Flaw::UnsupportedProcessed),
        |client| {
            let upload = client.create(5)?;
            let wrong = |request: Request| request.set("Tus-Resumable", UNSUPPORTED);
            client.send(&wrong(client.patch(&upload, 0).body("hello")))?;
            client.ensure_offset(&upload, 0)?;
            client.send(&wrong(client.request("DELETE", &upload).body("")))?;
            client.ensure_offset(&upload, 0)?;
            let answer = client.send(&wrong(client.post(5)))?;
            let why = format!("an upload was created, says {}", answer.status);
            ensure(answer.status >= 400 && !answer.has("Location"), why)
        },
    ),
    must(
        "core.tus-extension.list",
        TUS_EXTENSION,
        "The `Tus-Extension` response header MUST be a comma-separated list of the extensions supported by the Server.",
        Fault::Field("OPTIONS", 204, "Tus-Extension", "creation; expiration"),
        |client| {
            let extensions = client.send(&options(client))?.list("Tus-Extension");
            let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            let wrong = extensions.iter().find(|name| !name.bytes().all(word));
            ensure(
                wrong.is_none(),
                format!("{wrong:?} is no name of an extension"),
            )
        },
    ),
    must(
        "core.tus-extension.omitted",
        TUS_EXTENSION,
        "If no extensions are supported, the `Tus-Extension` header MUST be omitted.",
        Fault::Field("OPTIONS", 204, "Tus-Extension", ""),
        |client| {
            let answer = client.send(&options(client))?;
            ensure(
                !answer.has("Tus-Extension") || !answer.list("Tus-Extension").is_empty(),
                "an empty Tus-Extension",
            )
        },
    ),
    must(
        "core.tus-max-size.integer",
        TUS_MAX_SIZE,
        "The `Tus-Max-Size` response header MUST be a non-negative integer",
        Fault::Field("OPTIONS", 204, "Tus-Max-Size", "4 MiB"),
        |client| {
            let answer = client.send(&options(client))?;
            let found = answer.list("Tus-Max-Size");
            ensure(
                found.is_empty() || answer.number("Tus-Max-Size").is_some(),
                format!("{found:?}"),
            )
        },
    ),
    should(
        "core.tus-max-size.known-limit",
        TUS_MAX_SIZE,
        "The Server SHOULD set this header if there is a known hard limit.",
        |client| {
            if client.server.max_size.is_some() {
                return Ok(());
            }
            let answer = client.send(&client.post((1 << 53) - 1))?;
            let why = "8 PiB are answered by 413, but no limit is told";
            ensure(answer.status != 413, why)
        },
    )
    .fault(Fault::Without("OPTIONS", 204, "Tus-Max-Size")),
    must(
        "core.options.configuration",
        OPTIONS,
        "An `OPTIONS` request MAY be used to gather information about the Server's current configuration.",
        Fault::Status("OPTIONS", 204, 405),
        |client| one_of(&client.send(&options(client))?, &[200, 204]),
    ),
    must(
        "core.options.version",
        OPTIONS,
        "A successful response indicated by the `204 No Content` or `200 OK` status MUST contain the `Tus-Version` header.",
        Fault::Without("OPTIONS", 204, "Tus-Version"),
        |client| {
            let answer = client.send(&options(client))?;
            ensure(
                answer.status >= 300 || answer.has("Tus-Version"),
                format!("{} without it", answer.status),
            )
        },
    ),
    must(
        "core.options.ignores-tus-resumable",
        OPTIONS,
        "The Client SHOULD NOT include the `Tus-Resumable` header in the request and the Server MUST ignore the header.",
        Fault::Flaw(Flaw::OptionsMindsVersion),
        |client| {
            for version in [UNSUPPORTED, "1.0.0", "one"] {
                let answer = client.send(&options(client).field("Tus-Resumable", version))?;
                one_of(&answer, &[200, 204])?;
            }
            Ok(())
        },
    ),
    may(
        "core.options.limits",
        OPTIONS,
        "It MAY include the `Tus-Extension` and `Tus-Max-Size` headers.",
        |client| {
            let answer = client.send(&options(client))?;
            ensure(
                answer.has("Tus-Extension") && answer.has("Tus-Max-Size"),
                "not both are there",
            )
        },
    ),
    should(
        "core.options.feature-detection",
        EXTENSIONS,
        "Feature detection SHOULD be achieved by the Client sending an `OPTIONS` request and the Server responding with the `Tus-Extension` header.",
        |client| {
            client.create(5)?;
            ensure(
                client.send(&options(client))?.has("Tus-Extension"),
                "uploads can be created, but there is no Tus-Extension",
            )
        },
    ),
    must(
        "core.override.interpreted",
        OVERRIDE,
        "The `X-HTTP-Method-Override` request header MUST be a string which MUST be interpreted as the request's method by the Server, if the header is presented.",
        Fault::Flaw(Flaw::OverrideIgnored),
        overridden,
    ),
    must(
        "core.override.actual-method",
        OVERRIDE,
        "The actual method of the request MUST be ignored.",
        Fault::Flaw(Flaw::OverrideCreates),
        // Carried by POST, which is what a client has that needs the header: on a safe method it would be a hole (RFC 9110,
        // 9.2.1), and a client that can send PATCH has no use for it.
        |client| {
            let options = client.post(5).field("X-HTTP-Method-Override", "OPTIONS");
            let answer = client.send(&options)?;
            ensure(
                answer.status != 201 && !answer.has("Location"),
                format!("a POST for OPTIONS created an upload: {}", answer.status),
            )
        },
    ),
    must(
        "core.override.delete",
        OVERRIDE,
        "The Client SHOULD use this header if its environment does not support the PATCH or DELETE methods.",
        Fault::Flaw(Flaw::OverrideKnowsPatchOnly),
        |client| {
            let upload = client.create(5)?;
            let post = client.request("POST", &upload).body("");
            let answer = client.send(&post.field("X-HTTP-Method-Override", "DELETE"))?;
            succeeded(&answer)?;
            one_of(&client.send(&client.head(&upload))?, &[403, 404, 410])
        },
    )
    .needs(&[Need::Extension("termination")]),
];

/// That an answer has one of these statuses.
pub(super) fn one_of(answer: &Response, expected: &[u16]) -> Outcome {
    ensure(
        expected.contains(&answer.status),
        format!("answered by {} instead of {expected:?}", answer.status),
    )
}

/// That a request was carried out, with whatever status: which one is another clause.
pub(super) fn succeeded(answer: &Response) -> Outcome {
    let is_good = (200..300).contains(&answer.status);
    ensure(is_good, format!("answered by {}", answer.status))
}

/// OPTIONS with a body of nothing.
pub(super) fn options(client: &Client<'_>) -> Request {
    client.options().body("")
}

/// A URL that looks like an upload's, and is none.
pub(super) fn unknown(upload: &Url) -> Url {
    let (base, id) = upload.path.rsplit_once('/').unwrap_or(("", &upload.path));
    let turn = |byte: u8| match byte {
        b'9' => b'0',
        b'f' | b'z' | b'F' | b'Z' => byte - 5,
        letter if letter.is_ascii_alphanumeric() => letter + 1,
        other => other,
    };
    let id: String = id.bytes().map(|byte| char::from(turn(byte))).collect();
    Url {
        path: format!("{base}/{id}"),
        ..upload.clone()
    }
}

fn versions(client: &Client<'_>) -> Result<Vec<String>, Stop> {
    Ok(client.send(&options(client))?.list("Tus-Version"))
}

/// As in semantic versioning.
fn is_version(text: &str) -> bool {
    let (core, _) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    core.split('.').count() == 3 && core.split('.').all(number)
}

fn offset_malformed(client: &Client<'_>) -> Outcome {
    let upload = client.create(10)?;
    client.append(&upload, 0, b"h")?;
    // The last one is 1 in 64 bits.
    for value in ["-1", "1x", "one", "0x1", "1.5", "18446744073709551617"] {
        let patch = client.patch(&upload, 1).set("Upload-Offset", value);
        let answer = client.send(&patch.body("ello"))?;
        ensure(
            answer.status >= 400,
            format!("Upload-Offset: {value} answered by {}", answer.status),
        )?;
        client.ensure_offset(&upload, 1)?;
    }
    Ok(())
}

/// Bytes past the length: at once, on top of the rest, and after the end.
fn surplus(client: &Client<'_>) -> Outcome {
    let upload = client.create(5)?;
    let ensure_within = |answer: &Response| {
        let told = answer.number("Upload-Offset").unwrap_or(0);
        let found = client.offset(&upload)?;
        ensure(
            told <= 5 && found <= 5,
            format!("{} of 5 bytes are told", told.max(found)),
        )
    };
    ensure_within(&client.send(&client.patch(&upload, 0).body("hello world"))?)?;
    let offset = client.offset(&upload)?;
    let rest = b"hello".get(usize::try_from(offset).unwrap_or(5)..);
    client.append(&upload, offset, rest.unwrap_or_default())?;
    ensure_within(&client.send(&client.patch(&upload, 5).body(" world"))?)?;
    client.ensure_bytes(&upload, b"hello")
}

/// A PATCH at 0 in disguise.
fn disguised(request: Request) -> Request {
    request
        .field("Content-Type", OFFSET_STREAM)
        .field("Upload-Offset", 0)
        .field("X-HTTP-Method-Override", "PATCH")
}

fn overridden(client: &Client<'_>) -> Outcome {
    let upload = client.create(5)?;
    let post = || client.request("POST", &upload);
    succeeded(&client.send(&disguised(post()).body("hello"))?)?;
    client.ensure_offset(&upload, 5)?;
    // What frames the answer to a HEAD in disguise is nobody's clause, so that its body is not waited for.
    for (method, field) in [("HEAD", "Upload-Offset"), ("OPTIONS", "Tus-Version")] {
        let mut talk = client.open()?;
        let request = post().field("X-HTTP-Method-Override", method);
        talk.write(&request.body("").to_bytes())?;
        let answer = talk.next_head(PATIENCE)?;
        let why = format!("{method} in disguise answered by {}", answer.status);
        ensure(answer.has(field), format!("{why} without {field}"))?;
    }
    Ok(())
}
