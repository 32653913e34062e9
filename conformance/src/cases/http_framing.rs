//! HTTP as an upload server needs it: where a body ends.

use super::core::{one_of, succeeded};
use super::http::answer_or_end;
use crate::case::{Case, Need, Outcome, Stop, ensure, may, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::{PATIENCE, Request, WireError};

const CODING: &str = "RFC 9112, 6.1";
const LENGTH: &str = "RFC 9112, 6.3";
const CODINGS: &str = "RFC 9112, 7";
const CHUNKED: &str = "RFC 9112, 7.1";
const EXTENSIONS: &str = "RFC 9112, 7.1.1";
const TRAILERS: &str = "RFC 9112, 7.1.2";
const DECODING: &str = "RFC 9112, 7.1.3";
const INCOMPLETE: &str = "RFC 9112, 8";

const HELLO: &str = "5\r\nhello\r\n0\r\n\r\n";

pub(super) const CASES: &[Case] = &[
    must(
        "http.framing.both",
        CODING,
        "A server MAY reject a request that contains both Content-Length and Transfer-Encoding or process such a request in accordance with the Transfer-Encoding alone.",
        Fault::Flaw(Flaw::LengthAndCodingByLength),
        |client| {
            let upload = client.create(100)?;
            let bytes = with_both(client, &upload);
            let taken = answer_or_end(client, &bytes, "PATCH")?
                .is_some_and(|answer| answer.status < 300);
            client.ensure_offset(&upload, if taken { 5 } else { 0 })
        },
    ),
    must(
        "http.framing.both-closes",
        CODING,
        "Regardless, the server MUST close the connection after responding to such a request to avoid the potential attacks.",
        Fault::Flaw(Flaw::LengthAndCodingTaken),
        |client| {
            let upload = client.create(100)?;
            let mut talk = client.open()?;
            talk.write(&with_both(client, &upload))?;
            let status = talk.answer("PATCH").map_or(0, |answer| answer.status);
            let why = format!("the connection stays after {status}");
            ensure(talk.ends_within(PATIENCE), why)
        },
    ),
    must(
        "http.framing.coding-in-1.0",
        CODING,
        "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat the message as if the framing is faulty, even if a Content-Length is present, and close the connection after processing the message.",
        Fault::Flaw(Flaw::CodingIn10Kept),
        |client| {
            let upload = client.create(100)?;
            let line = format!("PATCH {} HTTP/1.0", upload.path);
            let patch = coded(client, &upload, "chunked").line(&line);
            let mut talk = client.open()?;
            let patch = patch.field("Connection", "keep-alive");
            talk.write(&[&patch.to_bytes()[..], HELLO.as_bytes()].concat())?;
            let status = talk.answer("PATCH").map_or(0, |answer| answer.status);
            let why = format!("the connection stays after {status}");
            ensure(talk.ends_within(PATIENCE), why)
        },
    ),
    should(
        "http.framing.coding-unknown",
        CODING,
        "A server that receives a request message with a transfer coding it does not understand SHOULD respond with 501 (Not Implemented).",
        |client| {
            let upload = client.create(100)?;
            let patch = coded(client, &upload, "x-nobody-knows, chunked").to_bytes();
            let bytes = [&patch[..], HELLO.as_bytes()].concat();
            let answer = answer_or_end(client, &bytes, "PATCH")?;
            let status = answer.map_or(0, |answer| answer.status);
            ensure(status == 501, format!("{status} instead of 501"))?;
            client.ensure_offset(&upload, 0)
        },
    )
    .fault(Fault::Status("*", 501, 400)),
    must(
        "http.framing.coding-not-final",
        LENGTH,
        "If a Transfer-Encoding header field is present in a request and the chunked transfer coding is not the final encoding, the message body length cannot be determined reliably; the server MUST respond with the 400 (Bad Request) status code and then close the connection.",
        Fault::Flaw(Flaw::CodingUnknownTaken),
        |client| {
            for coding in ["xchunked", "chunked, identity", "chunked, x-nobody-knows"] {
                // 501 is for codings that are not understood.
                ensure_faulty(client, &[400, 501], HELLO, |patch| {
                    patch.field("Transfer-Encoding", coding)
                })?;
            }
            Ok(())
        },
    ),
    must(
        "http.framing.coding-case",
        CODINGS,
        "All transfer-coding names are case-insensitive",
        Fault::Flaw(Flaw::CodingMindsCase),
        |client| {
            for coding in ["Chunked", "CHUNKED"] {
                let upload = client.create(100)?;
                let patch = coded(client, &upload, coding).to_bytes();
                let bytes = [&patch[..], HELLO.as_bytes()].concat();
                let answer = answer_or_end(client, &bytes, "PATCH")?;
                taken(answer.map_or(0, |answer| answer.status))?;
            }
            Ok(())
        },
    ),
    must(
        "http.framing.length-invalid",
        LENGTH,
        "the server MUST respond with a 400 (Bad Request) status code and then close the connection",
        Fault::Flaw(Flaw::ContentLengthMalformedTaken),
        |client| {
            for length in ["-5", "+5", "5x", "0x5", "five", "5.0", "5 5"] {
                ensure_faulty(client, &[400], "hello", |patch| {
                    patch.field("Content-Length", length)
                })?;
            }
            Ok(())
        },
    ),
    must(
        "http.framing.lengths-differ",
        LENGTH,
        "If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then the message framing is invalid and the recipient MUST treat it as an unrecoverable error",
        Fault::Flaw(Flaw::LengthsDifferTaken),
        |client| {
            ensure_faulty(client, &[400], "hello!", |patch| {
                patch.field("Content-Length", 5).field("Content-Length", 6)
            })?;
            ensure_faulty(client, &[400], "hello!", |patch| {
                patch.field("Content-Length", "5, 6")
            })
        },
    ),
    must(
        "http.framing.length-repeated",
        "RFC 9110, 8.6",
        "MAY either reject the message as invalid or replace that invalid field value with a single instance of the decimal value",
        Fault::Flaw(Flaw::LengthsAdded),
        |client| {
            for lengths in [&["5", "5"][..], &["5, 5"]] {
                let upload = client.create(10)?;
                let add = |patch: Request, length: &&str| patch.field("Content-Length", length);
                let patch = lengths.iter().fold(client.patch(&upload, 0), add);
                let bytes = [&patch.to_bytes()[..], b"hello"].concat();
                let answer = answer_or_end(client, &bytes, "PATCH")?;
                let taken = answer.is_some_and(|answer| answer.status < 300);
                client.ensure_offset(&upload, if taken { 5 } else { 0 })?;
            }
            Ok(())
        },
    ),
    must(
        "http.framing.no-length",
        LENGTH,
        "If this is a request message and none of the above are true, then the message body length is zero (no message body is present).",
        Fault::Flaw(Flaw::LengthWanted),
        |client| {
            let post = client.request("POST", &client.server.url);
            let mut talk = client.open()?;
            let answer = talk.exchange(&post.field("Upload-Length", 5))?;
            one_of(&answer, &[201])
        },
    )
    .needs(&[Need::Extension("creation")]),
    must(
        "http.framing.cut",
        LENGTH,
        "the recipient MUST consider the message to be incomplete and close the connection",
        Fault::Flaw(Flaw::CutKeptOpen),
        |client| {
            let upload = client.create(10)?;
            let patch = client.patch(&upload, 0).body("helloworld").to_bytes();
            let mut talk = client.open()?;
            talk.write(&patch[..patch.len() - 7])?;
            talk.finish()?;
            if let Ok(answer) = talk.answer("PATCH") {
                let why = format!("a cut body answered by {}", answer.status);
                ensure(answer.status >= 400, why)?;
            }
            ensure(talk.ends_within(PATIENCE), "the connection stays")
        },
    ),
    must(
        "http.chunked.decoded",
        CHUNKED,
        "A recipient MUST be able to parse and decode the chunked transfer coding.",
        Fault::Flaw(Flaw::ChunksStored),
        |client| {
            let upload = client.create(11)?;
            let chunks: [&[u8]; 4] = [b"h", b"ello", b" wor", b"ld"];
            let patch = client.patch(&upload, 0).chunked(&chunks);
            let answer = client.send(&patch)?;
            taken(answer.status)?;
            client.ensure_offset(&upload, 11)?;
            client.ensure_bytes(&upload, b"hello world")
        },
    ),
    may(
        "http.chunked.no-411",
        LENGTH,
        "A server MAY reject a request that contains a message body but not a Content-Length by responding with 411 (Length Required).",
        |client| {
            let upload = client.create(5)?;
            let patch = client.patch(&upload, 0).chunked(&[b"hello"]);
            let answer = client.send(&patch)?;
            ensure(answer.status != 411, "chunked bodies are answered by 411")
        },
    )
    .fault(Fault::Flaw(Flaw::ChunkedRefused)),
    must(
        "http.chunked.size",
        CHUNKED,
        "The chunk-size field is a string of hex digits indicating the size of the chunk-data in octets.",
        Fault::Flaw(Flaw::ChunkSizeMalformedTaken),
        |client| {
            for size in ["5x", "0x5", "-5", "+5", "five"] {
                ensure_not_taken(client, &format!("{size}\r\nhello\r\n0\r\n\r\n"))?;
            }
            let upload = client.create(11)?;
            let patch = coded(client, &upload, "chunked").to_bytes();
            let body = b"0B\r\nhello world\r\n000\r\n\r\n";
            ensure_decoded(client, &upload, 11, &[&patch[..], body].concat())
        },
    ),
    must(
        "http.chunked.size-large",
        CHUNKED,
        "recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to integer conversion overflows or precision loss due to integer representation",
        Fault::Flaw(Flaw::ChunkSizeWraps),
        |client| {
            // 5 in 64 bits, and in 32.
            ensure_not_taken(client, "10000000000000005\r\nhello\r\n0\r\n\r\n")?;
            ensure_not_taken(client, "100000005\r\nhello\r\n0\r\n\r\n")
        },
    ),
    must(
        "http.chunked.extension",
        EXTENSIONS,
        "A recipient MUST ignore unrecognized chunk extensions.",
        Fault::Flaw(Flaw::ChunkExtensionRefused),
        |client| {
            let upload = client.create(5)?;
            let patch = coded(client, &upload, "chunked").to_bytes();
            let body = b"5;nobody=knows;it=\"a b\"\r\nhello\r\n0;last\r\n\r\n";
            ensure_decoded(client, &upload, 5, &[&patch[..], body].concat())
        },
    ),
    must(
        "http.chunked.end-of-chunk",
        DECODING,
        "read chunk-data and CRLF",
        Fault::Flaw(Flaw::ChunkEndIgnored),
        |client| ensure_not_taken(client, "5\r\nhelloXX0\r\n\r\n"),
    ),
    must(
        "http.chunked.incomplete",
        INCOMPLETE,
        "A message body that uses the chunked transfer coding is incomplete if the zero-sized chunk that terminates the encoding has not been received.",
        Fault::Flaw(Flaw::ChunkedCutTaken),
        |client| ensure_not_taken(client, "5\r\nhello\r\n"),
    ),
    must(
        "http.chunked.trailer-not-merged",
        TRAILERS,
        "A recipient MUST NOT merge a received trailer field into the header section unless its corresponding header field definition explicitly permits and instructs how the trailer field value can be safely merged.",
        Fault::Flaw(Flaw::TrailerMerged),
        |client| {
            let post = client.bare_post().field("Upload-Defer-Length", 1);
            let upload = client.create_by(&post)?;
            let patch = client.patch(&upload, 0).chunked(&[b"hello"]);
            let patch = patch.trailer("Upload-Length", 7);
            answer_or_end(client, &patch.to_bytes(), "PATCH")?;
            let answer = client.send(&client.head(&upload))?;
            let found = answer.number("Upload-Length");
            ensure(found.is_none(), format!("Upload-Length is {found:?} by a trailer"))
        },
    )
    .needs(&[Need::Extension("creation-defer-length")]),
    must(
        "http.chunked.trailer-discarded",
        TRAILERS,
        "A recipient that removes the chunked coding from a message MAY selectively retain or discard the received trailer fields.",
        Fault::Flaw(Flaw::TrailersUnread),
        |client| {
            let upload = client.create(100)?;
            let patch = client.patch(&upload, 0).chunked(&[b"hello"]);
            let mut talk = client.open()?;
            let answer = talk.exchange(&patch.trailer("X-Nobody-Knows", 1))?;
            taken(answer.status)?;
            if answer.lists("Connection", "close") {
                return Ok(());
            }
            match talk.exchange(&client.head(&upload)) {
                Ok(next) => succeeded(&next),
                // That it ends unsaid is another clause.
                Err(WireError::Cut(text)) if text.is_empty() => Ok(()),
                Err(error) => Err(error.into()),
            }
        },
    ),
];

/// 411 is allowed, and leaves nothing to be tried.
fn taken(status: u16) -> Outcome {
    if status == 411 {
        return Err(Stop::Skip("chunked bodies are answered by 411".into()));
    }
    ensure(
        (200..300).contains(&status),
        format!("answered by {status}"),
    )
}

/// A PATCH at 0 of a body in this coding, which is still to be written.
fn coded(client: &Client<'_>, upload: &Url, coding: &str) -> Request {
    client.patch(upload, 0).field("Transfer-Encoding", coding)
}

/// A PATCH with `Content-Length` and `Transfer-Encoding`, both of which fit.
fn with_both(client: &Client<'_>, upload: &Url) -> Vec<u8> {
    let patch = client.patch(upload, 0).field("Content-Length", HELLO.len());
    let head = patch.field("Transfer-Encoding", "chunked").to_bytes();
    [&head[..], HELLO.as_bytes()].concat()
}

/// That a PATCH with faulty framing is answered so, ends the connection, and stores nothing.
fn ensure_faulty(
    client: &Client<'_>,
    expected: &[u16],
    body: &str,
    framing: impl Fn(Request) -> Request,
) -> Outcome {
    let upload = client.create(100)?;
    let head = framing(client.patch(&upload, 0)).to_bytes();
    let mut talk = client.open()?;
    talk.write(&[&head[..], body.as_bytes()].concat())?;
    one_of(&talk.answer("PATCH")?, expected)?;
    ensure(talk.ends_within(PATIENCE), "the connection stays")?;
    client.ensure_offset(&upload, 0)
}

/// That a PATCH with a faulty chunked body is not acknowledged.
fn ensure_not_taken(client: &Client<'_>, body: &str) -> Outcome {
    let upload = client.create(100)?;
    let head = coded(client, &upload, "chunked").to_bytes();
    let mut talk = client.open()?;
    talk.write(&[&head[..], body.as_bytes()].concat())?;
    talk.finish()?;
    match talk.answer("PATCH") {
        Ok(answer) => ensure(
            answer.status >= 400,
            format!("{body:?} answered by {}", answer.status),
        ),
        Err(WireError::Cut(_) | WireError::Read(_) | WireError::Late(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// That a chunked body is taken, and completes its upload of `length` bytes.
fn ensure_decoded(client: &Client<'_>, upload: &Url, length: u64, bytes: &[u8]) -> Outcome {
    let answer = answer_or_end(client, bytes, "PATCH")?;
    taken(answer.map_or(0, |answer| answer.status))?;
    client.ensure_offset(upload, length)
}
