//! CORS as browsers need it: which answers a tus client in a page gets to see, and which of their fields.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cors::{shared, tokens};
use crate::case::{Case, Level, Need, Outcome, Stop, ensure, must, should};
use crate::client::{Client, ORIGIN};
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::{Request, Response, WireError};

const ALLOW: &str = "Access-Control-Allow-Origin";
const EXPOSE: &str = "Access-Control-Expose-Headers";
const RESPONSES: &str = "Fetch, 3.3.3 HTTP responses";
const CACHES: &str = "Fetch, CORS protocol and HTTP caches";
const HEAD: &str = "tus 1.0.0, Core Protocol, Requests, HEAD";
const CREATION: &str = "tus 1.0.0, Creation, Requests, POST";

pub(super) const CASES: &[Case] = &[
    must(
        "shared.success",
        RESPONSES,
        "A successful HTTP response, i.e., one where the server developer intends to share it, to a CORS request can use any \
         status, as long as it includes the headers stated above",
        Fault::Without("PATCH", 204, ALLOW),
        |client| {
            let made = from_page(client, client.post(5))?;
            shared(&made)?;
            let upload = client.create(5)?;
            for request in [
                client.head(&upload),
                client.patch(&upload, 0).body("hello"),
                client.head(&upload),
            ] {
                shared(&from_page(client, request)?)?;
            }
            Ok(())
        },
    )
    .needs(&[Need::Cors]),
    must(
        "shared.origin",
        "Fetch, 4.10 CORS check",
        "If the result of byte-serializing a request origin with request is not origin, then return failure",
        Fault::Field("HEAD", 200, ALLOW, "https://elsewhere.example"),
        |client| {
            let upload = client.create(5)?;
            shared(&from_page(client, client.head(&upload))?)
        },
    )
    .needs(&[Need::Cors]),
    should(
        "shared.not-found",
        HEAD,
        "SHOULD return either the `404 Not Found`, `410 Gone` or `403 Forbidden` status without the `Upload-Offset` header",
        |client| {
            let base = client.server.url.path.trim_end_matches('/');
            let unknown = Url {
                path: format!("{base}/0123456789abcdef0123456789abcdef"),
                ..client.server.url.clone()
            };
            error(client, client.head(&unknown), &[404, 410, 403])
        },
    )
    .needs(&[Need::Cors])
    .fault(Fault::Without("HEAD", 404, ALLOW)),
    must(
        "shared.conflict",
        "tus 1.0.0, Core Protocol, Requests, PATCH",
        "If the offsets do not match, the Server MUST respond with the `409 Conflict` status without modifying the upload \
         resource",
        Fault::Without("PATCH", 409, ALLOW),
        |client| {
            let upload = client.create(5)?;
            error(client, client.patch(&upload, 3).body("lo"), &[409])
        },
    )
    .needs(&[Need::Cors]),
    must(
        "shared.unsupported-version",
        "tus 1.0.0, Core Protocol, Headers, Tus-Resumable",
        "it MUST respond with the `412 Precondition Failed` status",
        Fault::Without("POST", 412, ALLOW),
        |client| error(client, client.post(5).set("Tus-Resumable", "0.0.1"), &[412]),
    )
    .needs(&[Need::Cors]),
    must(
        "shared.too-large",
        CREATION,
        "the Server MUST respond with the `413 Request Entity Too Large` status",
        Fault::Without("POST", 413, ALLOW),
        |client| {
            let max = client.server.max_size.unwrap_or_default();
            error(client, client.post(max.saturating_add(1)), &[413])
        },
    )
    .needs(&[Need::Cors, Need::SmallMaxSize]),
    should(
        "shared.wrong-type",
        "tus 1.0.0, Core Protocol, Requests, PATCH",
        "otherwise the server SHOULD return a `415 Unsupported Media Type` status",
        |client| {
            let upload = client.create(5)?;
            let request = client.patch(&upload, 0).set("Content-Type", "text/plain");
            error(client, request.body("hello"), &[415])
        },
    )
    .needs(&[Need::Cors])
    .fault(Fault::Without("PATCH", 415, ALLOW)),
    should(
        "shared.checksum-mismatch",
        "tus 1.0.0, Checksum",
        "Depending on the result the Server MAY respond with one of the following status code",
        |client| {
            let upload = client.create(5)?;
            let sum = format!("sha1 {}", STANDARD.encode([0; 20]));
            let request = client.patch(&upload, 0).field("Upload-Checksum", sum);
            error(client, request.body("hello"), &[460])
        },
    )
    .needs(&[Need::Cors, Need::Extension("checksum")])
    .fault(Fault::Without("PATCH", 460, ALLOW)),
    exposed(
        Level::Must,
        "shared.field.location",
        CREATION,
        "The Server MUST set the `Location` header to the URL of the created resource",
        "Location",
        |client| reads(client, client.post(5), "Location"),
    ),
    exposed(
        Level::Must,
        "shared.field.upload-offset",
        "tus 1.0.0, Core Protocol, Example",
        "A `HEAD` request is used to determine the offset at which the upload should be continued",
        "Upload-Offset",
        |client| {
            let upload = client.create(5)?;
            reads(client, client.head(&upload), "Upload-Offset")?;
            reads(client, client.patch(&upload, 0).body("he"), "Upload-Offset")
        },
    ),
    exposed(
        Level::Must,
        "shared.field.upload-length",
        HEAD,
        "If the size of the upload is known, the Server MUST include the `Upload-Length` header in the response",
        "Upload-Length",
        |client| reads(client, client.head(&client.create(5)?), "Upload-Length"),
    ),
    exposed(
        Level::Should,
        "shared.field.upload-metadata",
        CREATION,
        "responses to `HEAD` requests MUST include the `Upload-Metadata` header",
        "Upload-Metadata",
        |client| {
            let request = client.post(5).field("Upload-Metadata", "filename aGVsbG8=");
            let upload = client.create_by(&request)?;
            reads(client, client.head(&upload), "Upload-Metadata")
        },
    ),
    exposed(
        Level::Should,
        "shared.field.upload-defer-length",
        CREATION,
        "MUST set `Upload-Defer-Length: 1` in all responses to `HEAD` requests",
        "Upload-Defer-Length",
        |client| {
            let request = client.bare_post().field("Upload-Defer-Length", 1);
            let upload = client.create_by(&request)?;
            reads(client, client.head(&upload), "Upload-Defer-Length")
        },
    )
    .needs(&[Need::Cors, Need::Extension("creation-defer-length")]),
    exposed(
        Level::Should,
        "shared.field.upload-concat",
        "tus 1.0.0, Concatenation",
        "Response to `HEAD` request against partial or final upload MUST include the `Upload-Concat` header and its value",
        "Upload-Concat",
        |client| {
            let request = client.post(5).field("Upload-Concat", "partial");
            let upload = client.create_by(&request)?;
            reads(client, client.head(&upload), "Upload-Concat")
        },
    )
    .needs(&[Need::Cors, Need::Extension("concatenation")]),
    exposed(
        Level::Should,
        "shared.field.upload-expires",
        "tus 1.0.0, Expiration, Headers, Upload-Expires",
        "The Client SHOULD use this header to determine if an upload is still valid before attempting to resume the upload",
        "Upload-Expires",
        |client| {
            let upload = client.create(5)?;
            reads(client, client.patch(&upload, 0).body("he"), "Upload-Expires")
        },
    )
    .needs(&[Need::Cors, Need::Extension("expiration")]),
    exposed(
        Level::Should,
        "shared.field.tus-resumable",
        "tus 1.0.0, Core Protocol, Headers, Tus-Resumable",
        "The value MUST be the version of the protocol used by the Client or the Server",
        "Tus-Resumable",
        |client| reads(client, client.head(&client.create(5)?), "Tus-Resumable"),
    ),
    exposed(
        Level::Should,
        "shared.field.tus-version",
        "tus 1.0.0, Core Protocol, Headers, Tus-Resumable",
        "MUST include the `Tus-Version` header into the response",
        "Tus-Version",
        |client| {
            let request = client.post(5).set("Tus-Resumable", "0.0.1");
            reads(client, request, "Tus-Version")
        },
    ),
    exposed(
        Level::Should,
        "shared.field.tus-extension",
        "tus 1.0.0, Protocol Extensions",
        "Feature detection SHOULD be achieved by the Client sending an `OPTIONS` request and the Server responding with the \
         `Tus-Extension` header",
        "Tus-Extension",
        |client| reads(client, client.options(), "Tus-Extension"),
    ),
    exposed(
        Level::Should,
        "shared.field.tus-max-size",
        "tus 1.0.0, Core Protocol, Requests, OPTIONS",
        "It MAY include the `Tus-Extension` and `Tus-Max-Size` headers",
        "Tus-Max-Size",
        |client| reads(client, client.options(), "Tus-Max-Size"),
    )
    .needs(&[Need::Cors, Need::MaxSize]),
    exposed(
        Level::Should,
        "shared.field.tus-checksum-algorithm",
        "tus 1.0.0, Checksum",
        "MUST be included in the response to an `OPTIONS` request",
        "Tus-Checksum-Algorithm",
        |client| reads(client, client.options(), "Tus-Checksum-Algorithm"),
    )
    .needs(&[Need::Cors, Need::Extension("checksum")]),
    must(
        "shared.syntax.exposed",
        "Fetch, 3.3.4 HTTP new-header syntax",
        "Access-Control-Expose-Headers = #field-name",
        Fault::Flaw(Flaw::ExposedHeadersSpoiled),
        |client| {
            let upload = client.create(5)?;
            tokens(&from_page(client, client.head(&upload))?, EXPOSE)
        },
    )
    .needs(&[Need::Cors]),
    should(
        "shared.vary",
        CACHES,
        "If CORS protocol requirements are more complicated than setting `Access-Control-Allow-Origin` to `*` or a static \
         origin, `Vary` is to be used",
        |client| {
            let upload = client.create_complete(b"hello")?;
            let get = client.request("GET", &upload);
            let one = client.send(&get.clone().field("Origin", ORIGIN))?;
            let other = client.send(&get.field("Origin", "https://elsewhere.example"))?;
            ensure(
                one.get(ALLOW) == other.get(ALLOW) || varies(&one),
                format!(
                    "{ALLOW} of GET is {:?} for one origin and {:?} for another, and Vary does not list Origin",
                    one.get(ALLOW),
                    other.get(ALLOW)
                ),
            )
        },
    )
    .needs(&[Need::Cors, Need::Download])
    .fault(Fault::Without("GET", 200, "Vary")),
    should(
        "shared.vary-without-origin",
        CACHES,
        "In particular, consider what happens if `Vary` is not used and a server is configured to send \
         `Access-Control-Allow-Origin` for a certain resource only in response to a CORS request",
        |client| {
            let upload = client.create_complete(b"hello")?;
            let get = client.request("GET", &upload);
            let plain = client.send(&get.clone())?;
            let answer = client.send(&get.field("Origin", ORIGIN))?;
            ensure(
                plain.get(ALLOW) == answer.get(ALLOW) || varies(&plain),
                format!("GET without Origin is answered without {ALLOW}, and Vary does not list Origin"),
            )
        },
    )
    .needs(&[Need::Cors, Need::Download])
    .fault(Fault::Flaw(Flaw::VaryWithOriginOnly)),
];

/// A field that a client has to be able to read.
const fn exposed(
    level: Level,
    id: &'static str,
    section: &'static str,
    clause: &'static str,
    name: &'static str,
    run: fn(&Client<'_>) -> Outcome,
) -> Case {
    let fault = Fault::Unlisted("*", EXPOSE, name);
    let case = must(id, section, clause, fault, run).needs(&[Need::Cors]);
    Case { level, ..case }
}

/// Sends as a page does, once the preflight is through.
fn from_page(client: &Client<'_>, request: Request) -> Result<Response, WireError> {
    client.send(&request.field("Origin", ORIGIN))
}

/// That a page can read a field of the answer, if it is there.
fn reads(client: &Client<'_>, request: Request, name: &str) -> Outcome {
    let answer = from_page(client, request)?;
    if !answer.has(name) {
        // Whether it has to be there is for another case.
        return Err(Stop::Skip(format!(
            "the answer {} has no {name}",
            answer.status
        )));
    }
    let readable = answer.lists(EXPOSE, name) || answer.lists(EXPOSE, "*");
    ensure(
        readable,
        format!("{EXPOSE} {:?} is without {name}", answer.list(EXPOSE)),
    )
}

/// That a page sees an error, where it is the expected one.
fn error(client: &Client<'_>, request: Request, statuses: &[u16]) -> Outcome {
    let answer = from_page(client, request)?;
    // Whether it has to be this one is for another case.
    if statuses.contains(&answer.status) {
        shared(&answer)
    } else {
        Err(Stop::Skip(format!("answered by {}", answer.status)))
    }
}

fn varies(answer: &Response) -> bool {
    answer.lists("Vary", "Origin") || answer.lists("Vary", "*")
}
