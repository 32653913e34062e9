//! Uploads that expire.

use std::thread;
use std::time::{Duration, Instant};

use super::means::{Date, announces, ensure_announced, not_so};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::Response;

const EXPIRATION: &str = "tus 1.0.0, Expiration";
const EXAMPLE: &str = "tus 1.0.0, Expiration, Example";
const EXPIRES: &str = "tus 1.0.0, Expiration, Headers, Upload-Expires";
const NAME: &str = "Upload-Expires";
const NEEDS: &[Need] = &[Need::Extension("creation"), Need::Extension("expiration")];
/// No case waits longer for an upload to expire.
const NEAR: u64 = 10;

pub(super) const CASES: &[Case] = &[
    must(
        "expiration.extension.announced",
        EXPIRATION,
        "In order to indicate this behavior to the Client, the Server MUST add `expiration` to the `Tus-Extension` header",
        announces!(
            "creation,creation-with-upload,creation-defer-length,checksum,checksum-trailer,termination,concatenation,concatenation-unfinished"
        ),
        |client| {
            let created = client.step(&client.post(10), 201)?;
            let upload = client.location(&created).map_err(Stop::Skip)?;
            let patched = client.step(&client.patch(&upload, 0).body("hello"), 204)?;
            if created.has(NAME) || patched.has(NAME) {
                ensure_announced(client, "expiration")
            } else {
                not_so("uploads do not expire")
            }
        },
    )
    .needs(&[Need::Extension("creation")]),
    must(
        "expiration.patch.included",
        EXPIRES,
        "This header MUST be included in every `PATCH` response if the upload is going to expire",
        Fault::Without("PATCH", 204, NAME),
        |client| {
            let upload = client.create(20)?;
            let mut answers = vec![client.send(&client.head(&upload))?];
            for at in [0, 5, 10] {
                answers.push(client.step(&client.patch(&upload, at).body("hello"), 204)?);
            }
            let told: Vec<bool> = answers.iter().map(|answer| answer.has(NAME)).collect();
            if !told.contains(&true) {
                return not_so("this upload does not expire");
            }
            ensure(
                told[1..] == [true; 3],
                format!("HEAD and three PATCHes tell {NAME}: {told:?}"),
            )
        },
    )
    .needs(NEEDS),
    must(
        "expiration.post.included",
        EXPIRES,
        "If the expiration is known at the creation, the `Upload-Expires` header MUST be included in the response to the initial `POST` request",
        Fault::Without("POST", 201, NAME),
        |client| {
            let created = client.step(&client.post(10), 201)?;
            let upload = client.location(&created).map_err(Stop::Skip)?;
            // Known is what HEAD tells before anything else has happened.
            let known = client.send(&client.head(&upload))?.has(NAME);
            if !known && !created.has(NAME) {
                return not_so("the expiration is not known at the creation");
            }
            ensure(
                created.has(NAME),
                format!("HEAD of the new upload has {NAME}, and the 201 before it had none"),
            )
        },
    )
    .needs(NEEDS),
    must(
        "expiration.format.date",
        EXPIRES,
        "The value of the `Upload-Expires` header MUST be in [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110.html#name-date-time-formats) datetime format",
        Fault::Field("PATCH", 204, NAME, "2099-06-25T16:00:00Z"),
        |client| patched(client).map(drop),
    )
    .needs(NEEDS),
    must(
        "expiration.format.fixdate",
        "RFC 9110, 5.6.7",
        "the sender MUST generate those timestamps in the IMF-fixdate format",
        Fault::Field("PATCH", 204, NAME, "Friday, 25-Jun-44 16:00:00 GMT"),
        |client| {
            let (date, _, answer) = dated(patched(client))?;
            let value = answer.get(NAME);
            ensure(date.fixdate, format!("{NAME}: {value:?} is no IMF-fixdate"))
        },
    )
    .needs(NEEDS),
    must(
        "expiration.format.day",
        "RFC 9110, 5.6.7",
        "are the same as those defined for the Internet Message Format constructs with the corresponding name",
        Fault::Field("PATCH", 204, NAME, "Mon, 25 Jun 2044 16:00:00 GMT"),
        |client| {
            let (date, _, answer) = dated(patched(client))?;
            let value = answer.get(NAME);
            ensure(
                date.right_day,
                format!("{NAME}: {value:?} names another day of the week than the date's"),
            )
        },
    )
    .needs(NEEDS),
    must(
        "expiration.value.future",
        EXPIRES,
        "The `Upload-Expires` response header indicates the time after which the unfinished upload expires",
        Fault::Field("PATCH", 204, NAME, "Wed, 25 Jun 2014 16:00:00 GMT"),
        |client| {
            let (date, upload, answer) = dated(patched(client))?;
            let (expires, now) = (date.seconds, Date::of(&answer));
            let alive = client.send(&client.head(&upload))?.status < 300;
            ensure(
                !alive || expires >= now,
                format!(
                    "an upload that is still there expired {} s ago",
                    now.saturating_sub(expires)
                ),
            )
        },
    )
    .needs(NEEDS),
    must(
        "expiration.value.until",
        EXAMPLE,
        "The unfinished upload is available until the time specified in `Upload-Expires`",
        Fault::Flaw(Flaw::ExpiresEarly),
        |client| {
            let (upload, time) = soon(client, &client.post(10))?;
            while Instant::now() < time.last_before {
                let asked = client.send(&client.head(&upload))?;
                let still = Instant::now() < time.last_before;
                ensure(
                    matches!(asked.status, 200 | 204) || !still,
                    format!("HEAD answered by {} before {NAME}", asked.status),
                )?;
                thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        },
    )
    .needs(NEEDS)
    .slow(),
    must(
        "expiration.expired.not-resumed",
        EXAMPLE,
        "After this date the upload can not be resumed",
        Fault::Flaw(Flaw::ExpiredPatched),
        |client| {
            let (upload, time) = soon(client, &client.post(10))?;
            wait(time.first_after);
            let answer = client.send(&client.patch(&upload, 0).body("hello"))?;
            ensure(
                answer.status >= 400,
                format!("PATCH after {NAME} answered by {}", answer.status),
            )
        },
    )
    .needs(NEEDS)
    .slow(),
    should(
        "expiration.expired.status",
        EXPIRES,
        "If a Client does attempt to resume an upload which has since been removed by the Server, the Server SHOULD respond with the`404 Not Found` or `410 Gone` status",
        |client| {
            let (upload, time) = soon(client, &client.post(10))?;
            wait(time.first_after);
            let answer = client.send(&client.head(&upload))?;
            ensure_gone("HEAD", &answer)?;
            let answer = client.send(&client.patch(&upload, 0).body("hello"))?;
            ensure_gone("PATCH", &answer)
        },
    )
    .needs(NEEDS)
    .slow()
    .fault(Fault::Flaw(Flaw::ExpiredServed)),
    should(
        "expiration.finished.stays",
        EXPIRATION,
        "The Server MAY remove unfinished uploads once they expire",
        |client| {
            let (upload, time) = soon(client, &client.post(5))?;
            client.append(&upload, 0, b"hello")?;
            // What a PATCH prolonged is over then too.
            wait(time.first_after + Duration::from_secs(1));
            let answer = client.send(&client.head(&upload))?;
            ensure(
                matches!(answer.status, 200 | 204),
                format!("HEAD of a finished upload answered by {}", answer.status),
            )
        },
    )
    .needs(NEEDS)
    .slow()
    .fault(Fault::Flaw(Flaw::FinishedExpires)),
];

/// The answer to a PATCH of an unfinished upload, and the date in it; broken if it is no date.
fn patched(client: &Client<'_>) -> Result<(Date, Url, Response), Stop> {
    let upload = client.create(10)?;
    let answer = client.step(&client.patch(&upload, 0).body("hello"), 204)?;
    let Some(value) = answer.all(NAME).first().map(|value| value.to_vec()) else {
        return Err(Stop::Skip(format!("PATCH is answered without {NAME}")));
    };
    let date = answer.get(NAME).and_then(Date::parse).ok_or_else(|| {
        let value = String::from_utf8_lossy(&value);
        Stop::Broken(format!("{NAME}: {value:?} is no date of HTTP"))
    })?;
    Ok((date, upload, answer))
}

/// Where it is no date, other clauses have nothing to look at.
fn dated<T>(found: Result<T, Stop>) -> Result<T, Stop> {
    found.map_err(|stop| match stop {
        Stop::Broken(why) | Stop::Skip(why) => Stop::Skip(why),
    })
}

/// Around the time at which an upload expires.
struct Time {
    /// The upload has to be there until then.
    last_before: Instant,
    /// The upload has expired by then.
    first_after: Instant,
}

/// An upload that expires soon.
fn soon(client: &Client<'_>, post: &crate::wire::Request) -> Result<(Url, Time), Stop> {
    let answer = client.step(post, 201)?;
    let now = Instant::now();
    let upload = client.location(&answer).map_err(Stop::Skip)?;
    let told = answer.get(NAME).and_then(Date::parse);
    let Some(expires) = told else {
        return Err(Stop::Skip(format!("201 has no date in {NAME}")));
    };
    let left = expires.seconds.saturating_sub(Date::of(&answer));
    if !(1..=NEAR).contains(&left) {
        return Err(Stop::Skip(format!(
            "uploads expire in {left} s: cases wait for {NEAR}"
        )));
    }
    // Both dates are cut to the second, so the server's clock is up to one ahead of its Date.
    let time = Time {
        last_before: now + Duration::from_secs(left - 1),
        first_after: now + Duration::from_secs(left + 1),
    };
    Ok((upload, time))
}

fn wait(until: Instant) {
    thread::sleep(until.saturating_duration_since(Instant::now()));
}

fn ensure_gone(what: &str, answer: &Response) -> Outcome {
    ensure(
        matches!(answer.status, 404 | 410),
        format!("{what} of an expired upload answered by {}", answer.status),
    )
}
