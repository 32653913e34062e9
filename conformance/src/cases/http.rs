//! HTTP as an upload server needs it: the head of a request.

use super::core::{one_of, options, succeeded};
use crate::case::{Case, Need, Outcome, Stop, ensure, may, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::{Request, Response, WireError};

const PARSING: &str = "RFC 9112, 2.2";
const LINE: &str = "RFC 9112, 3";
const TARGET: &str = "RFC 9112, 3.2";
const ABSOLUTE: &str = "RFC 9112, 3.2.2";
const FIELDS: &str = "RFC 9112, 5.1";
const FOLDING: &str = "RFC 9112, 5.2";

pub(super) const CASES: &[Case] = &[
    should(
        "http.line.empty-before",
        PARSING,
        "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF) received prior to the request-line",
        |client| {
            let upload = client.create(5)?;
            let head = [b"\r\n", &client.head(&upload).to_bytes()[..]].concat();
            ensure_carried_out(client, &head)
        },
    )
    .fault(Fault::Flaw(Flaw::LeadingLineRefused)),
    should(
        "http.line.no-http",
        PARSING,
        "receives a sequence of octets that does not match the HTTP-message grammar aside from the robustness exceptions listed above, the server SHOULD respond with a 400 (Bad Request) response and close the connection",
        |client| {
            for garbage in ["this is no HTTP\r\n\r\n", "\u{1}\u{2}\u{3} / HTTP/1.1\r\n\r\n"] {
                let mut talk = client.open()?;
                talk.write(garbage.as_bytes())?;
                one_of(&talk.answer("GET")?, &[400])?;
                ensure(
                    talk.ends_within(crate::wire::PATIENCE),
                    "400, but the connection stays",
                )?;
            }
            Ok(())
        },
    )
    .fault(Fault::Flaw(Flaw::GarbageDropped)),
    should(
        "http.line.invalid",
        LINE,
        "Recipients of an invalid request-line SHOULD respond with either a 400 (Bad Request) error or a 301 (Moved Permanently) redirect with the request-target properly encoded.",
        |client| {
            let upload = client.create(5)?;
            let line = format!("HEAD {} x HTTP/1.1", upload.path);
            let head = client.head(&upload).line(&line).to_bytes();
            ensure_answer(client, &head, "HEAD", &[400, 301])
        },
    ),
    should(
        "http.line.no-autocorrection",
        LINE,
        "A recipient SHOULD NOT attempt to autocorrect and then process the request without a redirect, since the invalid request-line might be deliberately crafted to bypass security filters along the request chain.",
        |client| {
            let upload = client.create(5)?;
            let line = format!("PATCH {} x HTTP/1.1", upload.path);
            let patch = client.patch(&upload, 0).body("hello").line(&line);
            answer_or_end(client, &patch.to_bytes(), "PATCH")?;
            client.ensure_offset(&upload, 0)
        },
    ),
    should(
        "http.line.method-long",
        LINE,
        "A server that receives a method longer than any that it implements SHOULD respond with a 501 (Not Implemented) status code.",
        |client| {
            let upload = client.create(5)?;
            let method = "UPLOAD".repeat(10);
            one_of(
                &client.send(&client.request(&method, &upload).body(""))?,
                &[501],
            )
        },
    ),
    must(
        "http.line.target-long",
        LINE,
        "A server that receives a request-target longer than any URI it wishes to parse MUST respond with a 414 (URI Too Long) status code",
        Fault::Status("*", 414, 400),
        |client| {
            let answer = client.send(&client.head(&longer(client, 80_000)))?;
            // Any other status is that of a server which did parse it.
            ensure(
                !matches!(answer.status, 400 | 431),
                format!("80 kB answered by {} instead of 414", answer.status),
            )
        },
    ),
    should(
        "http.line.8000-octets",
        LINE,
        "It is RECOMMENDED that all HTTP senders and recipients support, at a minimum, request-line lengths of 8000 octets.",
        |client| {
            let answer = client.send(&client.head(&longer(client, 7_900)))?;
            ensure(
                !matches!(answer.status, 400 | 414 | 431),
                format!("answered by {}", answer.status),
            )
        },
    ),
    must(
        "http.line.method-case",
        "RFC 9110, 9.1",
        "The method token is case-sensitive",
        Fault::Flaw(Flaw::MethodAnyCase),
        |client| {
            let upload = client.create(5)?;
            let line = format!("patch {} HTTP/1.1", upload.path);
            let patch = client.patch(&upload, 0).body("hello").line(&line);
            answer_or_end(client, &patch.to_bytes(), "patch")?;
            client.ensure_offset(&upload, 0)
        },
    ),
    should(
        "http.line.minor-version",
        "RFC 9110, 2.5",
        "A recipient that receives a message with a major version number that it implements and a minor version number higher than what it implements SHOULD process the message",
        |client| {
            let upload = client.create(5)?;
            let line = format!("HEAD {} HTTP/1.2", upload.path);
            ensure_carried_out(client, &client.head(&upload).line(&line).to_bytes())
        },
    ),
    must(
        "http.host.missing",
        TARGET,
        "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header field",
        Fault::Flaw(Flaw::HostMissingTaken),
        |client| {
            let upload = client.create(5)?;
            let head = client.head(&upload).without("Host").to_bytes();
            ensure_answer(client, &head, "HEAD", &[400])
        },
    ),
    must(
        "http.host.twice",
        TARGET,
        "and to any request message that contains more than one Host header field line",
        Fault::Flaw(Flaw::HostTwiceTaken),
        |client| {
            let upload = client.create(5)?;
            let head = client.head(&upload).field("Host", "other.example");
            ensure_answer(client, &head.to_bytes(), "HEAD", &[400])
        },
    ),
    must(
        "http.host.invalid",
        TARGET,
        "or a Host header field with an invalid field value",
        Fault::Flaw(Flaw::HostInvalidTaken),
        |client| {
            let upload = client.create(5)?;
            for host in ["a b", "a/b", "a?b", "a\\b"] {
                let head = client.head(&upload).set("Host", host).to_bytes();
                ensure_answer(client, &head, "HEAD", &[400])?;
            }
            Ok(())
        },
    ),
    must(
        "http.target.absolute",
        ABSOLUTE,
        "MUST accept the absolute-form in requests even though most HTTP/1.1 clients will only send the absolute-form to a proxy.",
        Fault::Flaw(Flaw::AbsoluteFormRefused),
        |client| {
            let upload = client.create(5)?;
            let head = client.head(&upload).line(&format!("HEAD {upload} HTTP/1.1"));
            ensure_carried_out(client, &head.to_bytes())
        },
    ),
    must(
        "http.target.absolute-host",
        ABSOLUTE,
        "When an origin server receives a request with an absolute-form of request-target, the origin server MUST ignore the received Host header field (if any) and instead use the host information of the request-target.",
        Fault::Flaw(Flaw::AbsoluteFormHost),
        |client| {
            let url = &client.server.url;
            let post = client.post(5).set("Host", "other.example");
            let answer = client.send(&post.line(&format!("POST {url} HTTP/1.1")))?;
            let location = answer.get("Location").unwrap_or_default();
            ensure(
                !location.contains("//other.example"),
                format!("Location: {location}"),
            )
        },
    ),
    may(
        "http.target.asterisk",
        "RFC 9110, 9.3.7",
        "applies to the server in general rather than to a specific resource",
        |client| {
            let ask = options(client).line("OPTIONS * HTTP/1.1");
            let answer = client.send(&ask)?;
            ensure(answer.status < 400, format!("answered by {}", answer.status))
        },
    ),
    must(
        "http.field.blank-before-colon",
        FIELDS,
        "A server MUST reject, with a response status code of 400 (Bad Request), any received request message that contains whitespace between a header field name and colon.",
        Fault::Flaw(Flaw::BlankBeforeColonTaken),
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).without("Upload-Offset");
            for name in ["Upload-Offset ", "Upload-Offset\t"] {
                let patch = patch.clone().field(name, 0).body("hello");
                ensure_answer(client, &patch.to_bytes(), "PATCH", &[400])?;
            }
            client.ensure_offset(&upload, 0)
        },
    ),
    must(
        "http.field.blanks-around",
        FIELDS,
        "The field line value does not include that leading or trailing whitespace",
        Fault::Flaw(Flaw::BlanksCount),
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).set("Upload-Offset", "  0 ");
            let patch = patch.set("Content-Type", "\tapplication/offset+octet-stream \t");
            succeeded(&client.send(&patch.body("hello"))?)
        },
    ),
    must(
        "http.field.folded",
        FOLDING,
        "or replace each received obs-fold with one or more SP octets prior to interpreting the field value",
        Fault::Flaw(Flaw::FoldTaken),
        |client| {
            // 1 0, and neither 10 nor 1.
            let post = client.bare_post().field("Upload-Length", "1\r\n 0");
            ensure_refused(client, &post.to_bytes())
        },
    ),
    must(
        "http.field.first-blank",
        PARSING,
        "A recipient that receives whitespace between the start-line and the first header field MUST either reject the message as invalid or consume each whitespace-preceded line without further processing of it",
        Fault::Flaw(Flaw::LeadingBlankTaken),
        |client| {
            let line = format!("POST {} HTTP/1.1\r\n Upload-Length: 5", client.server.url.path);
            ensure_refused(client, &client.bare_post().line(&line).to_bytes())
        },
    ),
    must(
        "http.field.bare-cr",
        PARSING,
        "A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP before processing the element or forwarding the message.",
        Fault::Flaw(Flaw::BareReturnDropped),
        |client| {
            let post = client.bare_post().field("Upload-Length", "1\r0");
            ensure_refused(client, &post.to_bytes())
        },
    ),
    must(
        "http.field.nul",
        "RFC 9110, 5.5",
        "a recipient of CR, LF, or NUL within a field value MUST either reject the message or replace each of those characters with SP before further processing or forwarding of that message",
        Fault::Flaw(Flaw::NulTaken),
        |client| {
            let post = client.bare_post().field("Upload-Length", "1\u{0}0");
            ensure_refused(client, &post.to_bytes())
        },
    ),
    must(
        "http.field.name-case",
        "RFC 9110, 5.1",
        "Field names are case-insensitive",
        Fault::Flaw(Flaw::NamesMindCase),
        |client| {
            let upload = client.create(10)?;
            for (offset, lower) in [(0, true), (5, false)] {
                let name = |name: &str| {
                    if lower {
                        name.to_ascii_lowercase()
                    } else {
                        name.to_ascii_uppercase()
                    }
                };
                let patch = client.request("PATCH", &upload).without("Tus-Resumable");
                let patch = patch.field(&name("Tus-Resumable"), "1.0.0");
                let patch = patch.field(&name("Upload-Offset"), offset);
                let patch = patch.field(&name("Content-Type"), crate::client::OFFSET_STREAM);
                succeeded(&client.send(&patch.body("hello"))?)?;
            }
            Ok(())
        },
    ),
    should(
        "http.field.unknown",
        "RFC 9110, 5.1",
        "Other recipients SHOULD ignore unrecognized header and trailer fields.",
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).field("Upload-Colour", "blue");
            let patch = patch.field("X-Nobody-Knows", "\"a;b,c\"").field("Tus-Extra", 1);
            succeeded(&client.send(&patch.body("hello"))?)
        },
    ),
    must(
        "http.field.large",
        "RFC 9110, 5.4",
        "A server that receives a request header field line, field value, or set of fields larger than it wishes to process MUST respond with an appropriate 4xx (Client Error) status code.",
        Fault::Flaw(Flaw::LargeHeadDropped),
        |client| {
            let upload = client.create(5)?;
            let long = client.head(&upload).field("X-Long", "x".repeat(100_000));
            let many = |head: Request, n| head.field(&format!("X-Many-{n}"), "x".repeat(20));
            for head in [long, (0..3_000).fold(client.head(&upload), many)] {
                let answer = client.send(&head)?;
                let why = format!("answered by {}", answer.status);
                ensure(answer.status < 500, why)?;
            }
            Ok(())
        },
    ),
    must(
        "http.head.incomplete",
        "RFC 9110, 5.3",
        "A server MUST NOT apply a request to the target resource until it receives the entire request header section",
        Fault::Flaw(Flaw::HeadCutTaken),
        |client| {
            let upload = client.create(5)?;
            let delete = client.request("DELETE", &upload).to_bytes();
            // Without the empty line that ends it.
            let mut talk = client.open()?;
            talk.write(&delete[..delete.len() - 2])?;
            talk.finish()?;
            let _ = talk.answer("DELETE");
            client.ensure_offset(&upload, 0)
        },
    )
    .needs(&[Need::Extension("termination")]),
];

/// The answer to these bytes, or `None` where the connection ended without one.
pub(super) fn answer_or_end(
    client: &Client<'_>,
    bytes: &[u8],
    method: &str,
) -> Result<Option<Response>, Stop> {
    let mut talk = client.open()?;
    // It may be answered, and closed, before all is sent.
    let _ = talk.write(bytes);
    match talk.answer(method) {
        Ok(answer) => Ok(Some(answer)),
        Err(WireError::Cut(_) | WireError::Read(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// That these bytes are answered with one of the statuses.
pub(super) fn ensure_answer(
    client: &Client<'_>,
    bytes: &[u8],
    method: &str,
    expected: &[u16],
) -> Outcome {
    match answer_or_end(client, bytes, method)? {
        Some(answer) => one_of(&answer, expected),
        None => Err(Stop::Broken(format!(
            "the connection ended without an answer instead of {expected:?}"
        ))),
    }
}

/// That this HEAD is answered as any other.
fn ensure_carried_out(client: &Client<'_>, bytes: &[u8]) -> Outcome {
    let mut talk = client.open()?;
    talk.write(bytes)?;
    succeeded(&talk.answer("HEAD")?)
}

/// That a malformed POST makes nothing: an error, or the end of the connection.
fn ensure_refused(client: &Client<'_>, bytes: &[u8]) -> Outcome {
    match answer_or_end(client, bytes, "POST")? {
        Some(answer) => ensure(
            answer.status >= 400,
            format!("answered by {} instead of an error", answer.status),
        ),
        None => Ok(()),
    }
}

/// A target of about so many bytes below the creation URL.
fn longer(client: &Client<'_>, len: usize) -> Url {
    let url = &client.server.url;
    Url {
        path: format!("{}/{}", url.path.trim_end_matches('/'), "x".repeat(len)),
        ..url.clone()
    }
}
