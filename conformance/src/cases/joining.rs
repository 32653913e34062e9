//! What the cases about partial and final uploads share: steps towards a final upload.

use std::time::Duration;

use crate::case::{Need, Outcome, Stop, ensure};
use crate::client::Client;
use crate::target::Url;
use crate::wire::{Request, Response};

/// What each of them needs.
pub(super) const NEEDED: Need = Need::Extension("concatenation");

/// Makes a partial upload of `bytes` that is complete.
pub(super) fn partial(client: &Client<'_>, bytes: &[u8]) -> Result<Url, Stop> {
    let part = unfinished(client, bytes.len() as u64)?;
    if !bytes.is_empty() {
        client.append(&part, 0, bytes)?;
    }
    Ok(part)
}

/// Makes a partial upload of which nothing is there yet.
pub(super) fn unfinished(client: &Client<'_>, length: u64) -> Result<Url, Stop> {
    client.create_by(&client.post(length).field("Upload-Concat", "partial"))
}

/// The creation of a final upload. Parts are named by paths, as in the spec's example.
pub(super) fn concatenation(client: &Client<'_>, parts: &[&Url]) -> Request {
    let paths: Vec<&str> = parts.iter().map(|part| part.path.as_str()).collect();
    client
        .bare_post()
        .field("Upload-Concat", format!("final;{}", paths.join(" ")))
}

/// Makes a final upload of `parts`, as a step, and waits until it is there.
pub(super) fn joined(client: &Client<'_>, parts: &[&Url]) -> Result<Url, Stop> {
    let whole = client.create_by(&concatenation(client, parts))?;
    match finished(client, &whole) {
        Err(Stop::Broken(why)) => Err(Stop::Skip(format!("cannot get there: {why}"))),
        other => other.map(|()| whole),
    }
}

/// That final uploads can be created at all, for a case that is about one of them in particular.
pub(super) fn concatenates(client: &Client<'_>) -> Outcome {
    joined(client, &[&partial(client, b"x")?]).map(drop)
}

/// That a final upload that was just created becomes finished, with these bytes.
pub(super) fn ensure_whole(client: &Client<'_>, whole: &Url, bytes: &[u8]) -> Outcome {
    if let Err(Stop::Broken(why)) = finished(client, whole) {
        return Err(Stop::Skip(format!("cannot get there: {why}")));
    }
    if client.server.downloads {
        return client.ensure_bytes(whole, bytes);
    }
    let answer = client.send(&client.head(whole))?;
    let length = answer.number("Upload-Length");
    ensure(
        length == Some(bytes.len() as u64),
        format!("Upload-Length is {length:?} instead of {}", bytes.len()),
    )
}

/// Waits until HEAD of a final upload has both numbers.
pub(super) fn finished(client: &Client<'_>, whole: &Url) -> Outcome {
    client.until(
        "Upload-Offset and Upload-Length of the final upload",
        Duration::from_secs(2),
        || {
            let answer = client.send(&client.head(whole))?;
            let there = |name| answer.number(name).is_some();
            Ok(there("Upload-Offset") && there("Upload-Length"))
        },
    )
}

/// That an upload was created, and where.
pub(super) fn created(client: &Client<'_>, answer: &Response) -> Result<Url, Stop> {
    ensure(
        answer.status == 201,
        format!("answered by {} instead of 201", answer.status),
    )?;
    client.location(answer).map_err(Stop::Broken)
}

/// That a request is refused, and not for a fault of the server's own.
pub(super) fn refused(client: &Client<'_>, request: &Request, what: &str) -> Outcome {
    let answer = client.send(request)?;
    ensure(
        (400..500).contains(&answer.status),
        format!("{what} answered by {}", answer.status),
    )
}
