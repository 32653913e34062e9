//! HTTP as an upload server needs it: answers that end where they say, connections that go on, and 100 Continue.

use std::time::Duration;

use super::core::{one_of, succeeded, unknown};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::{Client, Talk};
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::{PATIENCE, Request, Response, WireError};

const PERSISTENCE: &str = "RFC 9112, 9.3";
const PIPELINING: &str = "RFC 9112, 9.3.2";
const CLOSING: &str = "RFC 9112, 9.6";
const EXPECT: &str = "RFC 9110, 10.1.1";

pub(super) const CASES: &[Case] = &[
    must(
        "http.head.no-content",
        "RFC 9110, 9.3.2",
        "the server MUST NOT send content in the response",
        Fault::Flaw(Flaw::BodyWithHead),
        |client| {
            let upload = client.create_complete(b"hello")?;
            for first in [&upload, &unknown(&upload)] {
                ensure_no_content(client, &client.head(first), &upload)?;
            }
            Ok(())
        },
    ),
    must(
        "http.204.no-content",
        "RFC 9110, 15.3.5",
        "A 204 response is terminated by the end of the header section; it cannot contain content or trailers.",
        Fault::Flaw(Flaw::BodyWith204),
        |client| {
            let upload = client.create(5)?;
            ensure_no_content(client, &client.patch(&upload, 0).body("hello"), &upload)
        },
    ),
    must(
        "http.204.no-length",
        "RFC 9110, 8.6",
        "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx (Informational) or 204 (No Content).",
        Fault::Flaw(Flaw::LengthWith204),
        |client| without_in_204(client, "Content-Length"),
    ),
    must(
        "http.204.no-coding",
        "RFC 9112, 6.1",
        "A server MUST NOT send a Transfer-Encoding header field in any response with a status code of 1xx (Informational) or 204 (No Content).",
        Fault::Field("PATCH", 204, "Transfer-Encoding", "chunked"),
        |client| without_in_204(client, "Transfer-Encoding"),
    ),
    must(
        "http.answer.no-coding-for-1.0",
        "RFC 9112, 6.1",
        "A server MUST NOT send a response containing Transfer-Encoding unless the corresponding request indicates HTTP/1.1",
        Fault::Flaw(Flaw::CodingFor10),
        |client| {
            let upload = client.create_complete(b"hello")?;
            for url in [&upload, &unknown(&upload)] {
                let line = format!("GET {} HTTP/1.0", url.path);
                let mut talk = client.open()?;
                talk.write(&client.request("GET", url).line(&line).to_bytes())?;
                let answer = talk.next_head(PATIENCE)?;
                let why = format!("{} with Transfer-Encoding", answer.status);
                ensure(!answer.has("Transfer-Encoding"), why)?;
            }
            Ok(())
        },
    ),
    must(
        "http.connection.close-announced",
        PERSISTENCE,
        "A server that does not support persistent connections MUST send the \"close\" connection option in every response message that does not have a 1xx (Informational) status code.",
        Fault::Flaw(Flaw::ClosesUnsaid),
        |client| {
            let upload = client.create(5)?;
            goes_on(client, &client.head(&upload), &upload)?;
            Ok(())
        },
    ),
    should(
        "http.connection.persistent",
        PERSISTENCE,
        "HTTP implementations SHOULD support persistent connections.",
        |client| {
            let upload = client.create(5)?;
            let mut talk = client.open()?;
            for request in [
                client.head(&upload),
                client.patch(&upload, 0).body("hello"),
                client.post(5),
                client.patch(&upload, 5).body(""),
                client.head(&upload),
            ] {
                let answer = talk.exchange(&request)?;
                let why = format!("{} closes the connection", request.method());
                ensure(!answer.lists("Connection", "close"), why)?;
            }
            Ok(())
        },
    ),
    must(
        "http.connection.unread-body",
        PERSISTENCE,
        "A server MUST read the entire request message body or close the connection after sending its response; otherwise, the remaining data on a persistent connection would be misinterpreted as the next request.",
        Fault::Flaw(Flaw::UnreadParsed),
        unread_bodies,
    ),
    must(
        "http.connection.pipelined",
        PIPELINING,
        "A client that supports persistent connections MAY \"pipeline\" its requests (i.e., send multiple requests without waiting for each response).",
        Fault::Flaw(Flaw::PipelineDropped),
        |client| {
            let upload = client.create(5)?;
            let head = client.head(&upload).to_bytes();
            let patch = client.patch(&upload, 0).body("hello").to_bytes();
            let mut talk = client.open()?;
            talk.write(&[&head[..], &head, &patch].concat())?;
            succeeded(&talk.answer("HEAD")?)?;
            succeeded(&talk.answer("HEAD")?)?;
            succeeded(&talk.answer("PATCH")?)?;
            client.ensure_offset(&upload, 5)
        },
    ),
    must(
        "http.connection.pipelined-order",
        PIPELINING,
        "it MUST send the corresponding responses in the same order that the requests were received",
        Fault::Flaw(Flaw::PipelineReversed),
        |client| {
            let uploads = [client.create(5)?, client.create(6)?, client.create(7)?];
            let heads = uploads.iter().map(|upload| client.head(upload).to_bytes());
            let mut talk = client.open()?;
            talk.write(&heads.collect::<Vec<_>>().concat())?;
            for length in 5..8 {
                let found = told(&talk.answer("HEAD")?, "Upload-Length")?;
                ensure(found == length, format!("{found} came instead of {length}"))?;
            }
            Ok(())
        },
    ),
    must(
        "http.connection.closes",
        CLOSING,
        "A server that receives a \"close\" connection option MUST initiate closure of the connection (see below) after it sends the final response to the request that contained the \"close\" connection option.",
        Fault::Flaw(Flaw::ClosesNever),
        |client| {
            let upload = client.create(5)?;
            ensure_ends(client, &client.head(&upload).field("Connection", "close"))?;
            let patch = client.patch(&upload, 0).body("hello");
            ensure_ends(client, &patch.field("Connection", "close"))
        },
    ),
    should(
        "http.connection.says-close",
        CLOSING,
        "The server SHOULD send a \"close\" connection option in its final response on that connection.",
        |client| {
            let upload = client.create(5)?;
            let head = client.head(&upload).field("Connection", "close");
            let found = client.send(&head)?.list("Connection");
            ensure(
                found.iter().any(|option| option.eq_ignore_ascii_case("close")),
                format!("Connection: {found:?}"),
            )
        },
    )
    .fault(Fault::Without("HEAD", 200, "Connection")),
    must(
        "http.connection.nothing-after-close",
        CLOSING,
        "The server MUST NOT process any further requests received on that connection.",
        Fault::Flaw(Flaw::ClosesNever),
        |client| {
            let upload = client.create(5)?;
            let head = client.head(&upload).field("Connection", "close").to_bytes();
            let patch = client.patch(&upload, 0).body("hello").to_bytes();
            let mut talk = client.open()?;
            talk.write(&[head, patch].concat())?;
            talk.answer("HEAD")?;
            let _ = talk.answer("PATCH");
            client.ensure_offset(&upload, 0)
        },
    ),
    must(
        "http.connection.said-is-done",
        CLOSING,
        "A server that sends a \"close\" connection option MUST initiate closure of the connection (see below) after it sends the response containing the \"close\" connection option.",
        Fault::Field("HEAD", 200, "Connection", "close"),
        |client| {
            let upload = client.create(5)?;
            for request in [client.head(&upload), client.head(&unknown(&upload))] {
                let mut talk = client.open()?;
                if talk.exchange(&request)?.lists("Connection", "close") {
                    let why = "it says close, and the connection stays";
                    ensure(talk.ends_within(PATIENCE), why)?;
                }
            }
            Ok(())
        },
    ),
    must(
        "http.connection.option-case",
        "RFC 9110, 7.6.1",
        "Connection options are case-insensitive.",
        Fault::Flaw(Flaw::CloseMindsCase),
        |client| {
            let upload = client.create(5)?;
            ensure_ends(client, &client.head(&upload).field("Connection", "Close"))?;
            ensure_ends(client, &client.head(&upload).field("Connection", "CLOSE"))
        },
    ),
    must(
        "http.connection.empty-members",
        "RFC 9110, 5.6.1.2",
        "A recipient MUST parse and ignore a reasonable number of empty list elements",
        Fault::Flaw(Flaw::EmptyMembersMinded),
        |client| {
            let upload = client.create(5)?;
            ensure_ends(client, &client.head(&upload).field("Connection", ", ,close,"))
        },
    ),
    must(
        "http.connection.closes-1.0",
        PERSISTENCE,
        "The connection will close after the current response.",
        Fault::Flaw(Flaw::ClosesNever10),
        |client| {
            let upload = client.create(5)?;
            let line = format!("HEAD {} HTTP/1.0", upload.path);
            ensure_ends(client, &client.head(&upload).line(&line))
        },
    ),
    should(
        "http.answer.version",
        "RFC 9110, 2.5",
        "A server SHOULD send a response version equal to the highest version to which the server is conformant that has a major version less than or equal to the one received in the request.",
        |client| {
            let version = client.send(&super::core::options(client))?.version;
            ensure(version == "HTTP/1.1", format!("{version} in answer to HTTP/1.1"))
        },
    )
    .fault(Fault::Flaw(Flaw::AnswersHttp10)),
    must(
        "http.continue.sent",
        EXPECT,
        "an immediate 100 (Continue) response to encourage the client to send the request content",
        Fault::Flaw(Flaw::NoContinue),
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).body("hello");
            let mut talk = continued(client, patch, "100-continue")?;
            talk.write(b"hello")?;
            succeeded(&talk.answer("PATCH")?)?;
            client.ensure_offset(&upload, 5)
        },
    ),
    must(
        "http.continue.not-waiting",
        EXPECT,
        "The origin server MUST NOT wait for the content before sending the 100 (Continue) response.",
        Fault::Flaw(Flaw::NoContinue),
        |client| {
            let upload = client.create(100)?;
            let patch = client.patch(&upload, 0).chunked(&[b"hello"]);
            let mut talk = continued(client, patch.clone(), "100-continue")?;
            talk.write(&patch.framed_body())?;
            succeeded(&talk.answer("PATCH")?)
        },
    ),
    must(
        "http.continue.final",
        EXPECT,
        "A server that sends a 100 (Continue) response MUST ultimately send a final status code, once it receives and processes the request content",
        Fault::Flaw(Flaw::ContinueOnly),
        |client| {
            let upload = client.create(100_000)?;
            let patch = client.patch(&upload, 0).body([b'x'; 100_000]);
            let mut talk = continued(client, patch, "100-continue")?;
            for _ in 0..10 {
                talk.write(&[b'x'; 10_000])?;
            }
            succeeded(&talk.answer("PATCH")?)
        },
    ),
    must(
        "http.continue.case",
        EXPECT,
        "The Expect field value is case-insensitive.",
        Fault::Flaw(Flaw::ExpectMindsCase),
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).body("hello");
            continued(client, patch, "100-Continue").map(drop)
        },
    ),
    must(
        "http.continue.body-at-once",
        EXPECT,
        "such a client MAY proceed to send the content even if it has not yet received a response",
        Fault::Flaw(Flaw::ContinueBodyMissed),
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).body("hello");
            let answer = client.send(&patch.field("Expect", "100-continue"))?;
            succeeded(&answer)?;
            client.ensure_offset(&upload, 5)
        },
    ),
    must(
        "http.continue.not-for-1.0",
        EXPECT,
        "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation.",
        Fault::Flaw(Flaw::Continue10),
        |client| {
            let upload = client.create(5)?;
            let line = format!("PATCH {} HTTP/1.0", upload.path);
            let patch = client.patch(&upload, 0).body("hello").line(&line);
            let patch = patch.field("Expect", "100-continue");
            let mut talk = client.open()?;
            talk.write(&patch.head())?;
            // Whatever comes before the content is no 100.
            if !talk.silent_for(Duration::from_millis(300)) {
                let head = talk.next_head(PATIENCE)?;
                return ensure(head.status >= 200, format!("{} came", head.status));
            }
            talk.write(b"hello")?;
            let answer = talk.answer("PATCH")?;
            ensure(answer.interim.is_empty(), format!("{:?} came", answer.interim))
        },
    ),
    should(
        "http.continue.refused",
        EXPECT,
        "SHOULD indicate whether it intends to close the connection",
        refused_early,
    ),
    must(
        "http.head.length",
        "RFC 9110, 8.6",
        "a server MUST NOT send Content-Length in such a response unless its field value equals the decimal number of octets that would have been sent in the content of a response if the same request had used the GET method",
        Fault::Field("HEAD", 200, "Content-Length", "7"),
        |client| {
            let upload = client.create_complete(b"hello")?;
            let answer = client.send(&client.head(&upload))?;
            let found = answer.list("Content-Length");
            ensure(
                found.is_empty() || answer.number("Content-Length") == Some(5),
                format!("HEAD told {found:?}, GET gives 5 bytes"),
            )
        },
    )
    .needs(&[Need::Download]),
];

/// A number in an answer; that a right answer lacks it is another clause.
fn told(answer: &Response, name: &str) -> Result<u64, Stop> {
    succeeded(answer)?;
    let missing = || Stop::Skip(format!("{} without {name}", answer.status));
    answer.number(name).ok_or_else(missing)
}

/// That nothing is behind the answer to a request but the answer to another one on the same connection.
fn ensure_no_content(client: &Client<'_>, request: &Request, upload: &Url) -> Outcome {
    match goes_on(client, request, upload) {
        // That it ends unsaid is another clause.
        Err(WireError::Cut(text)) if text.is_empty() => Ok(()),
        Err(WireError::Send(_)) => Ok(()),
        other => other?.map_or(Ok(()), |answer| succeeded(&answer)),
    }
}

/// The answer to HEAD after `request` on the same connection, unless the first answer says that it closes.
fn goes_on(
    client: &Client<'_>,
    request: &Request,
    upload: &Url,
) -> Result<Option<Response>, WireError> {
    let mut talk = client.open()?;
    let answer = talk.exchange(request)?;
    if answer.lists("Connection", "close") {
        return match talk.answer("HEAD") {
            Err(error @ WireError::NotHttp(_)) => Err(error),
            _ => Ok(None),
        };
    }
    talk.exchange(&client.head(upload)).map(Some)
}

fn ensure_ends(client: &Client<'_>, request: &Request) -> Outcome {
    let mut talk = client.open()?;
    let status = talk.exchange(request)?.status;
    let why = format!("the connection stays after {status}");
    ensure(talk.ends_within(PATIENCE), why)
}

fn without_in_204(client: &Client<'_>, name: &str) -> Outcome {
    let upload = client.create(5)?;
    let patch = client.patch(&upload, 0).body("hello");
    let requests = [patch, super::core::options(client)];
    for request in requests {
        let mut talk = client.open()?;
        talk.write(&request.to_bytes())?;
        let answer = talk.next_head(PATIENCE)?;
        let why = format!("{} 204 with {name}", request.method());
        ensure(answer.status != 204 || !answer.has(name), why)?;
    }
    Ok(())
}

/// Requests that are refused, each with another request in its body.
fn unread_bodies(client: &Client<'_>) -> Outcome {
    let (upload, victim) = (client.create(1_000)?, client.create(5)?);
    let hidden = client.patch(&victim, 0).body("hello").to_bytes();
    let patch = client.patch(&upload, 0);
    for request in [
        patch.clone().set("Upload-Offset", 7),
        patch.clone().set("Content-Type", "text/plain"),
        patch.clone().set("Tus-Resumable", "99.0.0"),
        client.patch(&unknown(&upload), 0),
        client.request("FROB", &upload),
    ] {
        let mut talk = client.open()?;
        let answer = talk.exchange(&request.body(&hidden))?;
        if !answer.lists("Connection", "close")
            && let Ok(next) = talk.exchange(&client.head(&upload))
        {
            let why = format!("HEAD after a {} answered by {}", answer.status, next.status);
            let found = next.number("Upload-Length").unwrap_or(1_000);
            ensure(next.status < 300 && found == 1_000, why)?;
        }
        client.ensure_offset(&victim, 0)?;
    }
    Ok(())
}

/// Sends the head and waits for 100.
fn continued<'c>(
    client: &'c Client<'_>,
    request: Request,
    expectation: &str,
) -> Result<Talk<'c>, Stop> {
    let mut talk = client.open()?;
    talk.write(&request.field("Expect", expectation).head())?;
    let head = talk.next_head(PATIENCE)?;
    match head.status {
        100 => Ok(talk),
        417 => Err(Stop::Skip("expectations are answered by 417".into())),
        other => Err(Stop::Broken(format!("{other} instead of 100"))),
    }
}

/// A PATCH that is refused by its head, and whose content never comes.
fn refused_early(client: &Client<'_>) -> Outcome {
    let upload = client.create(10)?;
    let patch = client.patch(&upload, 7).body("abc");
    let mut talk = client.open()?;
    let head = patch.clone().field("Expect", "100-continue").head();
    talk.write(&head)?;
    let answer = talk.next_head(PATIENCE)?;
    if answer.status == 100 {
        return Err(Stop::Skip("the content is asked for first".into()));
    }
    one_of(&answer, &[409])?;
    if answer.lists("Connection", "close") {
        return Ok(());
    }
    let ends = !talk.silent_for(Duration::from_millis(500));
    let why = "the connection ends, and the answer did not say so";
    ensure(!ends || !answer.body.is_empty(), why)
}
