//! DELETE.

use std::time::{Duration, Instant};

use super::means::{announces, ensure_announced, ensure_status, not_so};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::Response;

const TERMINATION: &str = "tus 1.0.0, Termination";
const DELETE: &str = "tus 1.0.0, Termination, Requests, DELETE";
const OVERRIDE: &str = "tus 1.0.0, Core Protocol, Headers, X-HTTP-Method-Override";
const NEEDS: &[Need] = &[Need::Extension("creation"), Need::Extension("termination")];
/// How long a DELETE may take that has to end a PATCH first.
const LONG: Duration = Duration::from_secs(8);

pub(super) const CASES: &[Case] = &[
    must(
        "termination.extension.announced",
        TERMINATION,
        "If this extension is supported by the Server, it MUST be announced by adding `termination` to the `Tus-Extension` header",
        announces!(
            "creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,concatenation,concatenation-unfinished"
        ),
        |client| {
            let upload = client.create(5)?;
            let answer = delete(client, &upload)?;
            let after = client.send(&client.head(&upload))?;
            if answer.status >= 300 || !matches!(after.status, 404 | 410) {
                return not_so("DELETE terminates nothing");
            }
            ensure_announced(client, "termination")
        },
    )
    .needs(&[Need::Extension("creation")]),
    must(
        "termination.delete.status",
        DELETE,
        "MUST respond with the `204 No Content` status",
        Fault::Status("DELETE", 204, 200),
        |client| {
            let upload = client.create(5)?;
            ensure_status(&delete(client, &upload)?, 204)
        },
    )
    .needs(NEEDS),
    must(
        "termination.delete.confirmed",
        DELETE,
        "confirming that the upload was terminated",
        Fault::Flaw(Flaw::DeleteOnlySays),
        |client| {
            let upload = client.create(10)?;
            client.append(&upload, 0, b"hello")?;
            terminate(client, &upload)?;
            let answer = client.send(&client.head(&upload))?;
            ensure(
                answer.status >= 400,
                format!("HEAD of a terminated upload answered by {}", answer.status),
            )
        },
    )
    .needs(NEEDS),
    must(
        "termination.delete.unfinished",
        TERMINATION,
        "This extension defines a way for the Client to terminate completed and unfinished uploads",
        Fault::Flaw(Flaw::DeleteUnfinishedRefused),
        |client| {
            let (fresh, begun) = (client.create(10)?, client.create(10)?);
            client.append(&begun, 0, b"hello")?;
            for (what, upload) in [("a new", fresh), ("an unfinished", begun)] {
                let answer = delete(client, &upload)?;
                ensure(
                    answer.status < 300,
                    format!("DELETE of {what} upload answered by {}", answer.status),
                )?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    must(
        "termination.delete.completed",
        TERMINATION,
        "a way for the Client to terminate completed",
        Fault::Flaw(Flaw::DeleteFinishedRefused),
        |client| {
            let upload = client.create_complete(b"hello")?;
            let answer = delete(client, &upload)?;
            ensure(
                answer.status < 300,
                format!("DELETE of a complete upload answered by {}", answer.status),
            )
        },
    )
    .needs(NEEDS),
    must(
        "termination.delete.running",
        DELETE,
        "When receiving a `DELETE` request for an existing upload",
        Fault::Flaw(Flaw::DeleteWaits),
        running,
    )
    .needs(NEEDS)
    .slow(),
    must(
        "termination.delete.override",
        OVERRIDE,
        "if its environment does not support the PATCH or DELETE methods",
        Fault::Flaw(Flaw::OverrideIgnored),
        |client| {
            let upload = client.create(5)?;
            let post = client
                .request("POST", &upload)
                .field("X-HTTP-Method-Override", "DELETE");
            ensure_status(&client.send(&post.body(""))?, 204)?;
            let answer = client.send(&client.head(&upload))?;
            ensure(
                answer.status >= 400,
                format!("HEAD of a terminated upload answered by {}", answer.status),
            )
        },
    )
    .needs(NEEDS),
    should(
        "termination.after.freed",
        DELETE,
        "the Server SHOULD free associated resources",
        |client| {
            let upload = client.create_complete(b"hello")?;
            terminate(client, &upload)?;
            let answer = client.send(&client.request("GET", &upload))?;
            ensure(
                answer.status >= 400,
                format!("GET of a terminated upload answered by {}", answer.status),
            )
        },
    )
    .needs(&[
        Need::Extension("creation"),
        Need::Extension("termination"),
        Need::Download,
    ])
    .fault(Fault::Flaw(Flaw::DeletedServed)),
    must(
        "termination.after.not-resumed",
        TERMINATION,
        "terminate completed and unfinished uploads allowing the Server to free up used resources",
        Fault::Flaw(Flaw::DeletedPatched),
        |client| {
            let upload = client.create(10)?;
            client.append(&upload, 0, b"hello")?;
            terminate(client, &upload)?;
            for at in [0, 5] {
                let answer = client.send(&client.patch(&upload, at).body("world"))?;
                ensure(
                    answer.status >= 400,
                    format!("PATCH of a terminated upload answered by {}", answer.status),
                )?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    should(
        "termination.after.status",
        DELETE,
        "For all future requests to this URL, the Server SHOULD respond with the `404 Not Found` or `410 Gone` status",
        |client| {
            let unfinished = client.create(10)?;
            client.append(&unfinished, 0, b"hello")?;
            let complete = client.create_complete(b"hello")?;
            for upload in [unfinished, complete] {
                terminate(client, &upload)?;
                // Twice: the answers to come are no other.
                for _ in 0..2 {
                    ensure_gone("HEAD", &client.send(&client.head(&upload))?)?;
                    let patch = client.patch(&upload, 5).body("world");
                    ensure_gone("PATCH", &client.send(&patch)?)?;
                    ensure_gone("DELETE", &delete(client, &upload)?)?;
                }
            }
            Ok(())
        },
    )
    .needs(NEEDS)
    .fault(Fault::Status("DELETE", 404, 204)),
];

fn delete(client: &Client<'_>, upload: &Url) -> Result<Response, Stop> {
    Ok(client.send(&client.request("DELETE", upload).body(""))?)
}

/// A DELETE on the way to what the case is about.
fn terminate(client: &Client<'_>, upload: &Url) -> Outcome {
    let answer = delete(client, upload)?;
    if answer.status < 300 {
        Ok(())
    } else {
        not_so("DELETE is refused")
    }
}

fn ensure_gone(what: &str, answer: &Response) -> Outcome {
    ensure(
        matches!(answer.status, 404 | 410),
        format!(
            "{what} of a terminated upload answered by {}",
            answer.status
        ),
    )
}

/// Terminates an upload to which a PATCH is writing whose body never ends.
fn running(client: &Client<'_>) -> Outcome {
    let upload = client.create(10)?;
    let patch = client
        .patch(&upload, 0)
        .field("Expect", "100-continue")
        .body("helloworld");
    let mut talk = client.open()?;
    talk.write(&patch.head())?;
    // 100 shows that the server has begun to read.
    match talk.next_head(Duration::from_secs(1)) {
        Ok(head) if head.status != 100 => return not_so("it ends a PATCH before its body"),
        _ => talk.write(b"hello")?,
    }
    let late = Instant::now() + LONG;
    loop {
        let mut other = client.open()?;
        other.write(&client.request("DELETE", &upload).body("").to_bytes())?;
        let left = late.saturating_duration_since(Instant::now());
        let answer = other.answer_within("DELETE", left)?;
        // A server may want to be asked again while it ends the PATCH.
        if !matches!(answer.status, 409 | 423 | 503) || Instant::now() >= late {
            ensure_status(&answer, 204)?;
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    // Whatever the PATCH does now, the upload does not come back.
    if talk.write(b"world").is_ok() {
        let _ = talk.answer_within("PATCH", Duration::from_secs(1));
    }
    let answer = client.send(&client.head(&upload))?;
    ensure(
        answer.status >= 400,
        format!("HEAD answered by {} after the PATCH", answer.status),
    )
}
