//! CORS as browsers need it: the preflights of a tus client's requests. What a page may read is in `shared.rs`.

use crate::case::{Case, Level, Need, Outcome, Stop, ensure, must, should};
use crate::client::{Client, ORIGIN};
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::{Request, Response, WireError};

const RESPONSES: &str = "Fetch, 3.3.3 HTTP responses";
const REQUESTS: &str = "Fetch, 3.3.2 HTTP requests";
const SYNTAX: &str = "Fetch, 3.3.4 HTTP new-header syntax";
const CREDENTIALS: &str = "Fetch, 3.3.5 CORS protocol and credentials";
const PREFLIGHT: &str = "Fetch, 4.8 CORS-preflight fetch";
const CREATION: &str = "tus 1.0.0, Creation, Requests, POST";

/// Sorted, in small letters and without blanks, as browsers write them.
const FOR_PATCH: &str = "content-type,tus-resumable,upload-offset";
const FOR_POST: &str = "tus-resumable,upload-length,upload-metadata";

pub(super) const CASES: &[Case] = &[
    must(
        "cors.preflight.origin",
        "Fetch, 4.10 CORS check",
        "If origin is null, then return failure",
        Fault::Without("OPTIONS", 204, "Access-Control-Allow-Origin"),
        |client| {
            let answer = preflight(client, &client.server.url, "POST", FOR_POST)?;
            shared(&answer)
        },
    )
    .needs(&[Need::Cors]),
    must(
        "cors.preflight.status",
        RESPONSES,
        "A successful HTTP response to a CORS-preflight request is similar, except it is restricted to an ok status, e.g., \
         200 or 204",
        Fault::Flaw(Flaw::PreflightRefused),
        |client| {
            let answer = preflight(client, &client.server.url, "POST", FOR_POST)?;
            is_ok(&answer)
        },
    )
    .needs(&[Need::Cors]),
    must(
        "cors.preflight.without-version",
        "tus 1.0.0, Core Protocol, Requests, OPTIONS",
        "The Client SHOULD NOT include the `Tus-Resumable` header in the request",
        Fault::Flaw(Flaw::OptionsWantsVersion),
        |client| {
            // A preflight cannot have it, whatever a client would like.
            let answer = preflight(client, &client.server.url, "POST", "tus-resumable")?;
            ensure(
                answer.status != 412,
                "a preflight without Tus-Resumable answered by 412",
            )
        },
    )
    .needs(&[Need::Cors]),
    must(
        "cors.preflight.upload",
        PREFLIGHT,
        "URL list is a clone of request's URL list",
        Fault::Flaw(Flaw::PreflightAtEndpointOnly),
        |client| {
            let upload = client.create(5)?;
            let answer = preflight(client, &upload, "PATCH", FOR_PATCH)?;
            is_ok(&answer)?;
            shared(&answer)
        },
    )
    .needs(&[Need::Cors]),
    should(
        "cors.preflight.unknown-upload",
        RESPONSES,
        "Any other kind of HTTP response is not successful and will either end up not being shared or fail the CORS-preflight \
         request",
        |client| {
            // Without it, a page cannot learn that its upload is no more.
            let base = client.server.url.path.trim_end_matches('/');
            let unknown = Url {
                path: format!("{base}/0123456789abcdef0123456789abcdef"),
                ..client.server.url.clone()
            };
            let answer = preflight(client, &unknown, "HEAD", "tus-resumable")?;
            is_ok(&answer)?;
            shared(&answer)
        },
    )
    .needs(&[Need::Cors])
    .fault(Fault::Flaw(Flaw::PreflightKnowsUploads)),
    must(
        "cors.preflight.no-blanks",
        PREFLIGHT,
        "Let value be the items in headers separated from each other by `,`",
        Fault::Flaw(Flaw::PreflightWantsBlanks),
        |client| {
            let answer = preflight(client, &client.server.url, "POST", FOR_POST)?;
            let each = |name: &str| allows_field(&answer, name);
            ensure(
                FOR_POST.split(',').all(each),
                format!("{FOR_POST} is not allowed as a whole"),
            )
        },
    )
    .needs(&[Need::Cors]),
    must(
        "cors.method.patch",
        PREFLIGHT,
        "If request's method is not in methods, request's method is not a CORS-safelisted method, and request's credentials \
         mode is \"include\" or methods does not contain `*`, then return a network error",
        Fault::Unlisted("OPTIONS", "Access-Control-Allow-Methods", "PATCH"),
        |client| allowed_method(client, "PATCH", FOR_PATCH),
    )
    .needs(&[Need::Cors]),
    must(
        "cors.method.delete",
        "tus 1.0.0, Termination",
        "allowing the Server to free up used resources",
        Fault::Unlisted("OPTIONS", "Access-Control-Allow-Methods", "DELETE"),
        |client| allowed_method(client, "DELETE", "tus-resumable"),
    )
    .needs(&[Need::Cors, Need::Extension("termination")]),
    should(
        "cors.method.options",
        "tus 1.0.0, Core Protocol, Requests, OPTIONS",
        "An `OPTIONS` request MAY be used to gather information about the Server's current configuration",
        |client| allowed_method(client, "OPTIONS", ""),
    )
    .needs(&[Need::Cors])
    .fault(Fault::Unlisted("OPTIONS", "Access-Control-Allow-Methods", "OPTIONS")),
    field(
        "cors.field.tus-resumable",
        "tus 1.0.0, Core Protocol, Headers, Tus-Resumable",
        "MUST be included in every request and response except for `OPTIONS` requests",
        "Tus-Resumable",
        |client| allowed_field(client, "POST", "tus-resumable"),
    ),
    field(
        "cors.field.upload-offset",
        "tus 1.0.0, Core Protocol, Requests, PATCH",
        "at the given offset specified by the `Upload-Offset` header",
        "Upload-Offset",
        |client| allowed_field(client, "PATCH", "upload-offset"),
    ),
    field(
        "cors.field.content-type",
        "tus 1.0.0, Core Protocol, Requests, PATCH",
        "All `PATCH` requests MUST use `Content-Type: application/offset+octet-stream`",
        "Content-Type",
        |client| allowed_field(client, "PATCH", "content-type"),
    ),
    field(
        "cors.field.upload-length",
        CREATION,
        "The request MUST include one of the following headers: a) `Upload-Length` to indicate the size of an entire upload \
         in bytes",
        "Upload-Length",
        |client| allowed_field(client, "POST", "upload-length"),
    ),
    field(
        "cors.field.upload-metadata",
        CREATION,
        "The Client MAY supply the `Upload-Metadata` header",
        "Upload-Metadata",
        |client| allowed_field(client, "POST", "upload-metadata"),
    ),
    field(
        "cors.field.upload-defer-length",
        CREATION,
        "The request MUST include one of the following headers: b) `Upload-Defer-Length: 1` if upload size is not known at \
         the time",
        "Upload-Defer-Length",
        |client| allowed_field(client, "POST", "upload-defer-length"),
    )
    .needs(&[Need::Cors, Need::Extension("creation-defer-length")]),
    field(
        "cors.field.upload-concat",
        "tus 1.0.0, Concatenation, Headers, Upload-Concat",
        "The `Upload-Concat` request and response header MUST be set in both partial and final upload creation requests",
        "Upload-Concat",
        |client| allowed_field(client, "POST", "upload-concat"),
    )
    .needs(&[Need::Cors, Need::Extension("concatenation")]),
    field(
        "cors.field.upload-checksum",
        "tus 1.0.0, Checksum",
        "A Client MAY include the `Upload-Checksum` header",
        "Upload-Checksum",
        |client| allowed_field(client, "PATCH", "upload-checksum"),
    )
    .needs(&[Need::Cors, Need::Extension("checksum")]),
    Case {
        level: Level::Should,
        ..field(
            "cors.field.method-override",
            "tus 1.0.0, Core Protocol, Headers, X-HTTP-Method-Override",
            "The Client SHOULD use this header if its environment does not support the PATCH or DELETE methods",
            "X-HTTP-Method-Override",
            |client| allowed_field(client, "POST", "x-http-method-override"),
        )
    },
    must(
        "cors.syntax.methods",
        SYNTAX,
        "Access-Control-Allow-Methods = #method",
        Fault::Field("OPTIONS", 204, "Access-Control-Allow-Methods", "POST, HEAD PATCH, DELETE, OPTIONS, GET, PATCH"),
        |client| list_of_tokens(client, "Access-Control-Allow-Methods"),
    )
    .needs(&[Need::Cors]),
    must(
        "cors.syntax.headers",
        SYNTAX,
        "Access-Control-Allow-Headers = #field-name",
        Fault::Flaw(Flaw::AllowedHeadersSpoiled),
        |client| list_of_tokens(client, "Access-Control-Allow-Headers"),
    )
    .needs(&[Need::Cors]),
    must(
        "cors.syntax.max-age",
        SYNTAX,
        "Access-Control-Max-Age = delta-seconds",
        Fault::Field("OPTIONS", 204, "Access-Control-Max-Age", "1 day"),
        |client| {
            let answer = preflight(client, &client.server.url, "POST", FOR_POST)?;
            ensure(
                !answer.has("Access-Control-Max-Age") || answer.number("Access-Control-Max-Age").is_some(),
                format!("Access-Control-Max-Age is {:?}", answer.list("Access-Control-Max-Age")),
            )
        },
    )
    .needs(&[Need::Cors]),
    must(
        "cors.syntax.credentials",
        SYNTAX,
        "Access-Control-Allow-Credentials = %s\"true\" ; case-sensitive",
        Fault::Field("OPTIONS", 204, "Access-Control-Allow-Credentials", "True"),
        |client| {
            let answer = preflight(client, &client.server.url, "POST", FOR_POST)?;
            let found = answer.all("Access-Control-Allow-Credentials");
            ensure(
                found.iter().all(|value| value == b"true") && found.len() <= 1,
                format!(
                    "Access-Control-Allow-Credentials is {:?}",
                    answer.list("Access-Control-Allow-Credentials")
                ),
            )
        },
    )
    .needs(&[Need::Cors]),
    should(
        "cors.credentials.any-origin",
        CREDENTIALS,
        "If credentials mode is \"include\", then `Access-Control-Allow-Origin` cannot be `*`",
        |client| {
            let answer = preflight(client, &client.server.url, "POST", FOR_POST)?;
            let invites = answer.has("Access-Control-Allow-Credentials");
            ensure(
                !invites || answer.get("Access-Control-Allow-Origin") != Some("*"),
                "credentials are allowed, and Access-Control-Allow-Origin is `*`",
            )
        },
    )
    .needs(&[Need::Cors])
    .fault(Fault::Flaw(Flaw::CredentialsWithAny)),
    should(
        "cors.credentials.any-name",
        CREDENTIALS,
        "response headers can only use `*` as value when request's credentials mode is not \"include\"",
        |client| {
            let answer = preflight(client, &client.server.url, "POST", FOR_POST)?;
            if !answer.has("Access-Control-Allow-Credentials") {
                return Ok(());
            }
            for name in ["Methods", "Headers"] {
                let name = format!("Access-Control-Allow-{name}");
                ensure(
                    answer.list(&name) != ["*"],
                    format!("credentials are allowed, and {name} is `*`"),
                )?;
            }
            Ok(())
        },
    )
    .needs(&[Need::Cors])
    .fault(Fault::Flaw(Flaw::CredentialsWithAny)),
    must(
        "cors.options.no-preflight",
        REQUESTS,
        "It uses `OPTIONS` as method and includes the following header: `Access-Control-Request-Method`",
        Fault::Flaw(Flaw::OriginTakenForPreflight),
        |client| {
            let request = client.options().field("Origin", ORIGIN);
            let answer = client.send(&request)?;
            ensure(
                answer.has("Tus-Version"),
                "OPTIONS with Origin, which is no preflight, is answered without Tus-Version",
            )
        },
    )
    .needs(&[Need::Cors]),
];

/// A field that a client has to be allowed to send.
const fn field(
    id: &'static str,
    section: &'static str,
    clause: &'static str,
    name: &'static str,
    run: fn(&Client<'_>) -> Outcome,
) -> Case {
    let fault = Fault::Unlisted("OPTIONS", "Access-Control-Allow-Headers", name);
    must(id, section, clause, fault, run).needs(&[Need::Cors])
}

/// What a browser asks before it sends `method` with `fields`: without the fields of the command line, which may be
/// credentials.
fn preflight(
    client: &Client<'_>,
    url: &Url,
    method: &str,
    fields: &str,
) -> Result<Response, WireError> {
    let request = Request::new("OPTIONS", &url.path)
        .field("Host", &url.authority)
        .field("Origin", ORIGIN)
        .field("Access-Control-Request-Method", method);
    client.send(&match fields {
        "" => request,
        _ => request.field("Access-Control-Request-Headers", fields),
    })
}

/// A preflight that was successful, as a step; at an upload where the request goes to one.
fn passed(client: &Client<'_>, method: &str, fields: &str) -> Result<Response, Stop> {
    let url = match method {
        "POST" | "OPTIONS" => client.server.url.clone(),
        _ => client.create(5)?,
    };
    let answer = preflight(client, &url, method, fields)?;
    match is_ok(&answer).and_then(|()| shared(&answer)) {
        Ok(()) => Ok(answer),
        Err(Stop::Broken(why)) => Err(Stop::Skip(format!("the preflight failed: {why}"))),
        Err(stop) => Err(stop),
    }
}

fn is_ok(answer: &Response) -> Outcome {
    ensure(
        (200..300).contains(&answer.status),
        format!("a preflight answered by {}", answer.status),
    )
}

/// The CORS check, without credentials.
pub(super) fn shared(answer: &Response) -> Outcome {
    let found = answer.list("Access-Control-Allow-Origin");
    ensure(
        found == [ORIGIN] || found == ["*"],
        format!(
            "Access-Control-Allow-Origin in the answer {} is {found:?} for {ORIGIN}",
            answer.status
        ),
    )
}

fn allowed_method(client: &Client<'_>, method: &str, fields: &str) -> Outcome {
    let answer = passed(client, method, fields)?;
    let found = answer.list("Access-Control-Allow-Methods");
    ensure(
        found.iter().any(|found| found == method || found == "*"),
        format!("Access-Control-Allow-Methods {found:?} is without {method}"),
    )
}

fn allowed_field(client: &Client<'_>, method: &str, name: &str) -> Outcome {
    let answer = passed(client, method, name)?;
    ensure(
        allows_field(&answer, name),
        format!(
            "Access-Control-Allow-Headers {:?} is without {name}",
            answer.list("Access-Control-Allow-Headers")
        ),
    )
}

fn allows_field(answer: &Response, name: &str) -> bool {
    ["*", name]
        .iter()
        .any(|name| answer.lists("Access-Control-Allow-Headers", name))
}

fn list_of_tokens(client: &Client<'_>, name: &str) -> Outcome {
    let answer = passed(client, "POST", FOR_POST)?;
    tokens(&answer, name)
}

/// That each member of a list is a token.
pub(super) fn tokens(answer: &Response, name: &str) -> Outcome {
    let is_token = |text: &String| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let found = answer.list(name);
    ensure(found.iter().all(is_token), format!("{name} is {found:?}"))
}
