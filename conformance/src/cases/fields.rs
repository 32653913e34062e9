//! The fields of requests, whatever they mean: repeated, and other than ASCII.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::case::{Case, Need, Outcome, Stop, ensure, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};

pub(super) const CASES: &[Case] = &[
    should(
        "fields.twice.offset",
        "RFC 9110, 5.3",
        "a sender MUST NOT generate multiple field lines with the same name in a message",
        |client| {
            let upload = client.create(10)?;
            for (first, second) in [(0, 5), (5, 0), (0, 7)] {
                let request = client.patch(&upload, first).field("Upload-Offset", second);
                let answer = client.send(&request.body("hello"))?;
                ensure(
                    (400..500).contains(&answer.status),
                    format!("Upload-Offset {first} and {second} answered by {}", answer.status),
                )?;
            }
            client.ensure_offset(&upload, 0)
        },
    )
    .fault(Fault::Flaw(Flaw::TwiceFirstTaken)),
    should(
        "fields.twice.length",
        "RFC 9110, 5.5",
        "a singleton field might be erroneously sent with multiple members and detecting such errors improves \
         interoperability",
        |client| {
            for (first, second) in [("5", "6"), ("6", "5"), ("5, 6", "5")] {
                let request = client.bare_post().field("Upload-Length", first);
                let answer = client.send(&request.field("Upload-Length", second))?;
                ensure(
                    (400..500).contains(&answer.status),
                    format!("Upload-Length {first} and {second} answered by {}", answer.status),
                )?;
            }
            Ok(())
        },
    )
    .fault(Fault::Flaw(Flaw::TwiceFirstTaken)),
    should(
        "fields.twice.checksum",
        "RFC 9110, 5.2",
        "When a field name is repeated within a section, its combined field value consists of the list of corresponding field \
         line values within that section, concatenated in order, with each field line value separated by a comma",
        twice_checksum,
    )
    .needs(&[Need::Extension("checksum")])
    .fault(Fault::Flaw(Flaw::TwiceFirstTaken)),
    should(
        "fields.twice.concat",
        "tus 1.0.0, Concatenation, Headers, Upload-Concat",
        "It indicates whether the upload is either a partial or final upload.",
        |client| {
            let part = client.create_by(&client.post(0).field("Upload-Concat", "partial"))?;
            let request = client
                .post(0)
                .field("Upload-Concat", "partial")
                .field("Upload-Concat", format!("final;{}", part.path));
            let answer = client.send(&request)?;
            ensure(
                (400..500).contains(&answer.status),
                format!("Upload-Concat partial and final answered by {}", answer.status),
            )
        },
    )
    .needs(&[Need::Extension("concatenation")])
    .fault(Fault::Flaw(Flaw::TwiceFirstTaken)),
    should(
        "fields.twice.metadata",
        "RFC 9110, 5.3",
        "A recipient MAY combine multiple field lines within a field section that have the same field name into one field \
         line, without changing the semantics of the message",
        |client| {
            let request = client
                .post(5)
                .field("Upload-Metadata", "one b25l")
                .field("Upload-Metadata", "two dHdv");
            let answer = client.send(&request)?;
            if (400..500).contains(&answer.status) {
                return Ok(());
            }
            let upload = client.location(&answer).map_err(Stop::Broken)?;
            let mut found = client.send(&client.head(&upload))?.list("Upload-Metadata");
            found.sort();
            ensure(
                found == ["one b25l", "two dHdv"],
                format!("two lines of Upload-Metadata are taken, and HEAD tells {found:?}"),
            )
        },
    )
    .fault(Fault::Flaw(Flaw::TwiceFirstTaken)),
    should(
        "fields.opaque",
        "RFC 9110, 5.5",
        "A recipient SHOULD treat other allowed octets in field content (i.e., obs-text) as opaque data",
        |client| {
            for value in [&b"caf\xc3\xa9"[..], b"caf\xe9", b"\x80\xff\xfe"] {
                let answer = client.send(&client.post(5).raw_field("X-Comment", value))?;
                ensure(
                    answer.status == 201,
                    format!("a field of other than ASCII answered by {}", answer.status),
                )?;
            }
            Ok(())
        },
    )
    .fault(Fault::Flaw(Flaw::ObsTextRefused)),
];

fn twice_checksum(client: &Client<'_>) -> Outcome {
    let upload = client.create(5)?;
    let sum = |bytes: &[u8]| format!("sha1 {}", STANDARD.encode(Sha1::digest(bytes)));
    for (first, second) in [(b"hello", b"HELLO"), (b"HELLO", b"hello")] {
        let request = client
            .patch(&upload, 0)
            .field("Upload-Checksum", sum(first))
            .field("Upload-Checksum", sum(second));
        let answer = client.send(&request.body("hello"))?;
        ensure(
            (400..500).contains(&answer.status),
            format!("a right sum and a wrong one answered by {}", answer.status),
        )?;
    }
    client.ensure_offset(&upload, 0)
}
