//! What a server on the open Internet gets to see: hostile names, numbers and metadata.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::case::{Case, Outcome, Stop, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::Response;

const METADATA: &str = "tus 1.0.0, Creation, Headers, Upload-Metadata";

pub(super) const CASES: &[Case] = &[
    must(
        "robust.name.above",
        "RFC 9110, 17.3",
        "an origin server needs to avoid accessing names that have a special significance to the system when mapping the \
         target resource to files, folders, or directories",
        Fault::Flaw(Flaw::NamesAboveFound),
        above,
    ),
    should(
        "robust.name.control",
        "RFC 9110, 17.4",
        "Received data that isn't based on fixed parameters ought to be carefully filtered or encoded to avoid being \
         misinterpreted",
        |client| {
            for name in [
                "%00", "a%00b", "%0d%0aX-Smuggled:%201", "%0A", "%7f", "%ff%fe", "%", "%zz", "%2", "'%22%3b--",
                "%00.info", "a%5cb", "$(id)", "*", "con", "...", "~",
            ] {
                let answer = client.send(&client.head(&below(client, name)))?;
                ensure(
                    not_found(&answer) && !answer.has("X-Smuggled"),
                    format!("HEAD of {name:?} answered by {}", answer.status),
                )?;
            }
            Ok(())
        },
    )
    .fault(Fault::Flaw(Flaw::NamesOfControlsFail)),
    should(
        "robust.name.long",
        "RFC 9110, 4.1",
        "It is RECOMMENDED that all senders and recipients support, at a minimum, URIs with lengths of 8000 octets in protocol \
         elements",
        |client| {
            for length in [300, 5000, 7900] {
                let answer = client.send(&client.head(&below(client, &"a".repeat(length))))?;
                ensure(
                    not_found(&answer) && !matches!(answer.status, 414 | 431),
                    format!("HEAD of an id of {length} letters answered by {}", answer.status),
                )?;
            }
            Ok(())
        },
    )
    .fault(Fault::Flaw(Flaw::NamesTooLongFail)),
    should(
        "robust.name.encoded",
        "RFC 3986, 2.3",
        "URIs that differ in the replacement of an unreserved character with its corresponding percent-encoded US-ASCII octet \
         are equivalent: they identify the same resource",
        |client| {
            let upload = client.create(5)?;
            let last = upload.path.chars().next_back().filter(char::is_ascii_alphanumeric);
            let Some(last) = last else {
                return Err(Stop::Skip("the URL does not end in a letter or digit".to_owned()));
            };
            let rest = &upload.path[..upload.path.len() - 1];
            let encoded = Url {
                path: format!("{rest}%{:02X}", last as u32),
                ..upload.clone()
            };
            client.ensure_offset(&encoded, 0)
        },
    )
    .fault(Fault::Flaw(Flaw::NamesMindEncoding)),
    should(
        "robust.mistake",
        "RFC 9110, 15",
        "5xx (Server Error): The server failed to fulfill an apparently valid request",
        mistakes,
    )
    .fault(Fault::Flaw(Flaw::MistakeFails)),
    should(
        "robust.number.length",
        "RFC 9110, 17.5",
        "Recipients ought to carefully limit the extent to which they process other protocol elements, including (but not \
         limited to) request methods, response status phrases, field names, numeric values, and chunk lengths",
        |client| {
            for length in HUGE {
                let answer = client.send(&client.bare_post().field("Upload-Length", length))?;
                if answer.status == 201 {
                    let upload = client.location(&answer).map_err(Stop::Broken)?;
                    let answer = client.send(&client.head(&upload))?;
                    let found = answer.get("Upload-Length");
                    ensure(
                        found == Some(*length),
                        format!("created with Upload-Length {length}, HEAD tells {found:?}"),
                    )?;
                } else {
                    // For want of space is no mistake of the server's.
                    ensure(
                        matches!(answer.status, 400..500 | 507),
                        format!("Upload-Length {length} answered by {}", answer.status),
                    )?;
                }
            }
            Ok(())
        },
    )
    .fault(Fault::Flaw(Flaw::LengthWraps)),
    must(
        "robust.number.offset",
        "tus 1.0.0, Core Protocol, Requests, PATCH",
        "The `Upload-Offset` header's value MUST be equal to the current offset of the resource",
        Fault::Flaw(Flaw::OffsetWraps),
        |client| {
            let upload = client.create(10)?;
            client.append(&upload, 0, b"hello")?;
            let wrapped = ["18446744073709551621", "4294967301", "340282366920938463463374607431768211461"];
            for offset in HUGE.iter().chain(&wrapped) {
                let request = client.patch(&upload, 5).set("Upload-Offset", offset);
                let answer = client.send(&request.body("world"))?;
                ensure(
                    (400..500).contains(&answer.status),
                    format!("Upload-Offset {offset} answered by {}", answer.status),
                )?;
            }
            client.ensure_offset(&upload, 5)?;
            client.append(&upload, 5, b"world")?;
            client.ensure_bytes(&upload, b"helloworld")
        },
    ),
    should(
        "robust.metadata.smuggled",
        METADATA,
        "Since metadata can contain arbitrary binary values, Servers SHOULD carefully validate metadata values or sanitize them \
         before using them as header values to avoid header smuggling",
        |client| {
            for name in [
                "a\r\nX-Smuggled: 1\r\nb",
                "a\nX-Smuggled: 1\nb",
                "\"\r\nX-Smuggled: 1",
                "a\r\n\r\n<script>",
            ] {
                for answer in told_of(client, name.as_bytes())? {
                    ensure(
                        !answer.has("X-Smuggled") && !answer.body.starts_with(b"<script>"),
                        format!("{name:?} in the metadata ends a field of the answer"),
                    )?;
                }
            }
            Ok(())
        },
    )
    .risky()
    .fault(Fault::Flaw(Flaw::FilenameAsItIs)),
    must(
        "robust.metadata.controls",
        "RFC 9110, 2.2",
        "A sender MUST NOT generate protocol elements that do not match the grammar defined by the corresponding ABNF rules",
        Fault::Flaw(Flaw::FilenameAsItIs),
        |client| {
            let controls: Vec<u8> = (0..32).chain([127]).collect();
            for name in [&controls[..], b"a\0b", b"a\x1b[31mb", b"a\x7f"] {
                for answer in told_of(client, name)? {
                    let legal = |byte: &u8| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t';
                    let wrong = answer.fields.iter().find(|(_, value)| !value.iter().all(legal));
                    ensure(
                        wrong.is_none(),
                        format!("a control character of the metadata is in {wrong:?}"),
                    )?;
                }
            }
            Ok(())
        },
    )
    .risky(),
    should(
        "robust.metadata.quotes",
        "RFC 6266, 4.1",
        "content-disposition = \"Content-Disposition\" \":\" disposition-type *( \";\" disposition-parm )",
        |client| {
            for name in ["a\"; filename=\"b", "a\\", "\"", "a\\\"; x=\"y"] {
                for answer in told_of(client, name.as_bytes())? {
                    let found = answer.get("Content-Disposition").unwrap_or_default();
                    ensure(
                        is_one_name(found),
                        format!("a file called {name:?} gets Content-Disposition {found:?}"),
                    )?;
                }
            }
            Ok(())
        },
    )
    .risky()
    .fault(Fault::Flaw(Flaw::FilenameAsItIs)),
];

/// Around the limits of 32, 53, 63, 64 and 128 bits, and beyond.
const HUGE: &[&str] = &[
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "18446744073709551621",
    "340282366920938463463374607431768211456",
    "1000000000000000000000000000000000000000000000000000000000000000000000000000000",
];

/// A URL below the creation URL, where uploads usually are.
fn below(client: &Client<'_>, name: &str) -> Url {
    let base = client.server.url.path.trim_end_matches('/');
    Url {
        path: format!("{base}/{name}"),
        ..client.server.url.clone()
    }
}

/// No upload, and no fault of the server's own. A redirection to a tidier path tells of no upload either.
fn not_found(answer: &Response) -> bool {
    (300..500).contains(&answer.status) && !answer.has("Upload-Offset")
}

fn above(client: &Client<'_>) -> Outcome {
    for name in [
        "../../../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "%252e%252e%252f%252e%252e%252fetc%252fpasswd",
        "..%5c..%5c..%5cetc%5cpasswd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "..%2f",
        "./.",
        "%2e",
        "%2e%2e",
    ] {
        let url = below(client, name);
        for method in ["HEAD", "GET"] {
            let answer = client.send(&client.request(method, &url))?;
            let told = answer.body.windows(5).any(|five| five == b"root:");
            // A way up leads out of the uploads, to whatever else may stand on that host.
            ensure(
                !told && !answer.has("Upload-Offset") && answer.status < 500,
                format!("{method} of {name:?} answered by {}", answer.status),
            )?;
        }
    }
    Ok(())
}

/// Requests that are wrong in one way each, none of which is the server's fault.
fn mistakes(client: &Client<'_>) -> Outcome {
    let upload = client.create(5)?;
    let unknown = below(client, "0123456789abcdef0123456789abcdef");
    let delete = client.request("DELETE", &unknown).body("");
    for (what, request) in [
        ("a creation that says nothing", client.bare_post()),
        (
            "a length in words",
            client.bare_post().field("Upload-Length", "five"),
        ),
        (
            "metadata that is none",
            client.post(5).field("Upload-Metadata", "a b c,,, =,"),
        ),
        (
            "PATCH without anything",
            client.request("PATCH", &upload).body(""),
        ),
        ("PATCH of nothing", client.patch(&unknown, 0).body("hello")),
        (
            "PATCH of the creation URL",
            client.patch(&client.server.url, 0).body("hello"),
        ),
        (
            "POST to an upload",
            client.request("POST", &upload).body("hello"),
        ),
        ("DELETE of nothing", delete),
        (
            "a checksum of no form",
            client
                .patch(&upload, 0)
                .field("Upload-Checksum", "=")
                .body(""),
        ),
        (
            "parts of no form",
            client.bare_post().field("Upload-Concat", "final;:// %% ?#"),
        ),
        (
            "a version of no form",
            client.post(5).set("Tus-Resumable", "one"),
        ),
        (
            "a method that overrides with none",
            client.post(5).field("X-HTTP-Method-Override", "???"),
        ),
    ] {
        let answer = client.send(&request)?;
        // 501: the method is known nowhere.
        ensure(
            answer.status < 500 || answer.status == 501,
            format!("{what} answered by {}", answer.status),
        )?;
    }
    Ok(())
}

/// HEAD and GET of a complete upload whose file has that name, if the server takes it.
fn told_of(client: &Client<'_>, name: &[u8]) -> Result<Vec<Response>, Stop> {
    let name = STANDARD.encode(name);
    let request = client.post(5).field(
        "Upload-Metadata",
        format!("filename {name},name {name},filetype {name},type {name}"),
    );
    let answer = client.send(&request)?;
    if (400..500).contains(&answer.status) {
        return Ok(Vec::new());
    }
    let upload = client.location(&answer).map_err(Stop::Broken)?;
    client.append(&upload, 0, b"hello")?;
    let head = client.send(&client.head(&upload))?;
    let get = client.send(&client.request("GET", &upload))?;
    Ok(vec![head, get])
}

/// Whether a `Content-Disposition` can be read, and has each parameter once at most.
fn is_one_name(value: &str) -> bool {
    let mut names = Vec::new();
    let mut bytes = value.bytes();
    let mut name = String::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => loop {
                match bytes.next() {
                    None => return false,
                    Some(b'"') => break,
                    Some(b'\\') => drop(bytes.next()),
                    Some(_) => {}
                }
            },
            b';' => name.clear(),
            b'=' if !name.is_empty() => {
                names.push(name.trim().to_ascii_lowercase());
                name.clear();
            }
            _ => name.push(char::from(byte)),
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    names.len() == count && names.iter().all(|name| name.starts_with("filename"))
}
