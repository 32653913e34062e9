//! Final uploads that are created before their parts are finished.

use super::joining::{
    NEEDED, concatenates, concatenation, created, ensure_whole, finished, partial, unfinished,
};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;

const CONCAT: &str = "tus 1.0.0, Concatenation";
const EARLY: Need = Need::Extension("concatenation-unfinished");

pub(super) const CASES: &[Case] = &[
    must(
        "unfinished.advertised",
        CONCAT,
        "This feature MUST be explicitly announced by the Server by adding `concatenation-unfinished` to the `Tus-Extension` \
         header",
        Fault::Unlisted("OPTIONS", "Tus-Extension", "concatenation-unfinished"),
        |client| {
            concatenates(client)?;
            let part = unfinished(client, 5)?;
            let answer = client.send(&concatenation(client, &[&part]))?;
            let taken = answer.status == 201;
            let told = client.server.offers("concatenation-unfinished");
            ensure(
                taken == told,
                format!("a part in progress answered by {}, and announced: {told}", answer.status),
            )
        },
    )
    .needs(&[NEEDED]),
    must(
        "unfinished.created",
        CONCAT,
        "The Client MAY send the concatenation request while the partial uploads are still in progress",
        Fault::Flaw(Flaw::UnfinishedRefused),
        |client| {
            concatenates(client)?;
            let (begun, empty) = (unfinished(client, 5)?, unfinished(client, 6)?);
            client.append(&begun, 0, b"he")?;
            for parts in [&[&begun, &empty][..], &[&empty], &[&begun, &begun]] {
                let answer = client.send(&concatenation(client, parts))?;
                created(client, &answer)?;
            }
            Ok(())
        },
    )
    .needs(&[EARLY]),
    must(
        "unfinished.finished-later",
        CONCAT,
        "Multiple partial uploads are concatenated into a final upload in the specified order",
        Fault::Flaw(Flaw::UnfinishedForever),
        |client| {
            let (a, b, c) = (
                unfinished(client, 6)?,
                partial(client, b"world")?,
                unfinished(client, 1)?,
            );
            client.append(&a, 0, b"he")?;
            let whole = client.create_by(&concatenation(client, &[&a, &b, &c]))?;
            client.append(&c, 0, b"!")?;
            client.append(&a, 2, b"llo ")?;
            // With no request but those to its parts.
            finished(client, &whole)?;
            client.ensure_bytes(&whole, b"hello world!")
        },
    )
    .needs(&[EARLY]),
    must(
        "unfinished.length",
        CONCAT,
        "The `Upload-Length` header MUST be included if the length of the final resource can be calculated at the time of the \
         request",
        Fault::Flaw(Flaw::UnfinishedUntold),
        |client| {
            let (a, b) = (unfinished(client, 5)?, partial(client, b" world")?);
            let whole = client.create_by(&concatenation(client, &[&a, &b]))?;
            length(client, &whole, 11)
        },
    )
    .needs(&[EARLY]),
    must(
        "unfinished.length-deferred",
        CONCAT,
        "if the length of the final resource can be calculated",
        Fault::Flaw(Flaw::DeferredSumUntold),
        deferred,
    )
    .needs(&[EARLY, Need::Extension("creation-defer-length")]),
    should(
        "unfinished.offset-untold",
        CONCAT,
        "The response to a HEAD request for a final upload SHOULD NOT contain the `Upload-Offset` header unless the \
         concatenation has been successfully finished",
        |client| {
            let (a, b) = (unfinished(client, 5)?, partial(client, b" world")?);
            let whole = client.create_by(&concatenation(client, &[&a, &b]))?;
            client.append(&a, 0, b"hell")?;
            let answer = client.send(&client.head(&whole))?;
            ensure(
                !answer.has("Upload-Offset"),
                "HEAD of a final upload that waits for a part has Upload-Offset",
            )?;
            client.append(&a, 4, b"o")
        },
    )
    .needs(&[EARLY])
    .fault(Fault::Flaw(Flaw::UnfinishedClaimed)),
    must(
        "unfinished.patched",
        CONCAT,
        "respond with the `403 Forbidden` status to `PATCH` requests against a final upload URL",
        Fault::Flaw(Flaw::UnfinishedPatched),
        |client| {
            let part = unfinished(client, 5)?;
            let whole = client.create_by(&concatenation(client, &[&part]))?;
            let answer = client.send(&client.patch(&whole, 0).body("hello"))?;
            ensure(
                answer.status == 403,
                format!("PATCH of a final upload that waits answered by {}", answer.status),
            )?;
            client.ensure_offset(&part, 0)?;
            client.append(&part, 0, b"world")?;
            ensure_whole(client, &whole, b"world")
        },
    )
    .needs(&[EARLY]),
    should(
        "unfinished.part-terminated",
        CONCAT,
        "unless the concatenation has been successfully finished",
        |client| {
            let (a, b) = (unfinished(client, 5)?, unfinished(client, 6)?);
            let whole = client.create_by(&concatenation(client, &[&a, &b]))?;
            let answer = client.send(&client.request("DELETE", &a).body(""))?;
            if answer.status != 204 {
                return Err(Stop::Skip(format!(
                    "DELETE of a part that is waited for answered by {}",
                    answer.status
                )));
            }
            client.append(&b, 0, b" world")?;
            let answer = client.send(&client.head(&whole))?;
            ensure(
                answer.status >= 400 || !answer.has("Upload-Offset"),
                "a final upload is finished without the part that was terminated",
            )
        },
    )
    .needs(&[EARLY, Need::Extension("termination")])
    .fault(Fault::Flaw(Flaw::UnfinishedWithoutDeleted)),
    must(
        "unfinished.terminated",
        "tus 1.0.0, Termination",
        "a way for the Client to terminate completed and unfinished uploads",
        Fault::Flaw(Flaw::UnfinishedUndeletable),
        |client| {
            let part = unfinished(client, 5)?;
            let whole = client.create_by(&concatenation(client, &[&part]))?;
            let answer = client.send(&client.request("DELETE", &whole).body(""))?;
            ensure(
                answer.status == 204,
                format!("DELETE of a final upload that waits answered by {}", answer.status),
            )
        },
    )
    .needs(&[EARLY, Need::Extension("termination")]),
];

fn length(client: &Client<'_>, whole: &Url, expected: u64) -> Outcome {
    let length = client.send(&client.head(whole))?.number("Upload-Length");
    ensure(
        length == Some(expected),
        format!("Upload-Length is {length:?} instead of {expected}"),
    )
}

fn deferred(client: &Client<'_>) -> Outcome {
    let request = client
        .bare_post()
        .field("Upload-Defer-Length", 1)
        .field("Upload-Concat", "partial");
    let (a, b) = (client.create_by(&request)?, partial(client, b" world")?);
    let whole = client.create_by(&concatenation(client, &[&a, &b]))?;
    let answer = client.send(&client.head(&whole))?;
    ensure(
        !answer.has("Upload-Length"),
        "HEAD has Upload-Length before the length of a part is known",
    )?;
    let declare = client.patch(&a, 0).field("Upload-Length", 5).body("he");
    client.step(&declare, 204)?;
    length(client, &whole, 11)?;
    client.append(&a, 2, b"llo")?;
    ensure_whole(client, &whole, b"hello world")
}
