//! The core protocol: networks that fail, and requests that meet.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::core::succeeded;
use crate::case::{Case, Outcome, Stop, ensure, may, must, should};
use crate::client::{Client, Talk};
use crate::reference::{Fault, Flaw};
use crate::target::Url;
use crate::wire::{Conn, Request};

const CORE: &str = "tus 1.0.0, Core Protocol";
const EXAMPLE: &str = "tus 1.0.0, Core Protocol, Example";
const NOTE: &str = "tus 1.0.0, Abstract";
const PATCH: &str = "tus 1.0.0, Core Protocol, Requests, PATCH";

/// How long a server may take to see that a client is gone.
const NOTICE: Duration = Duration::from_secs(5);
/// How long a server may let a silent client stand in the way of the next one.
const SILENCE: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] = &[
    must(
        "core.network.resume",
        CORE,
        "The core protocol describes how to resume an interrupted upload.",
        Fault::Flaw(Flaw::CutCounted),
        |client| {
            let bytes: Vec<u8> = (0..100).collect();
            let upload = client.create(100)?;
            let patch = client.patch(&upload, 0).body(&bytes);
            cut(client, &patch, 30)?;
            finish(client, &upload, &bytes, NOTICE)?;
            client.ensure_bytes(&upload, &bytes)
        },
    ),
    should(
        "core.network.stores-much",
        PATCH,
        "The Server SHOULD always attempt to store as much of the received data as possible.",
        |client| {
            let bytes: Vec<u8> = (0..=255).cycle().take(150_000).collect();
            for is_chunked in [false, true] {
                let upload = client.create(150_000)?;
                let patch = client.patch(&upload, 0);
                let patch = if is_chunked {
                    patch.chunked(&[&bytes[..100_000], &bytes[100_000..]])
                } else {
                    patch.body(&bytes)
                };
                // Of chunks, their framing is not counted: what is cut off is more than that.
                cut(client, &patch, 30_000)?;
                let least = if is_chunked { 119_900 } else { 120_000 };
                client.until("all that came is stored", NOTICE, || {
                    Ok(client.offset(&upload)? >= least)
                })?;
                finish(client, &upload, &bytes, NOTICE)?;
                client.ensure_bytes(&upload, &bytes)?;
            }
            Ok(())
        },
    )
    .fault(Fault::Flaw(Flaw::CutLost)),
    should(
        "core.network.head-beside-hung",
        EXAMPLE,
        "A `HEAD` request is used to determine the offset at which the upload should be continued.",
        |client| {
            let upload = client.create(10)?;
            let _hung = hang(client, &upload)?;
            let start = Instant::now();
            let offset = client.offset(&upload)?;
            let took = start.elapsed();
            let why = format!("HEAD was answered after {took:?}, beside a PATCH that says nothing");
            ensure(took < Duration::from_secs(3), why)?;
            ensure(offset <= 3, format!("told {offset} where 3 bytes came"))
        },
    )
    .fault(Fault::Flaw(Flaw::HeadWaits))
    .slow(),
    should(
        "core.network.patch-after-hung",
        PATCH,
        "Both Client and Server, SHOULD attempt to detect and handle network errors predictably.",
        |client| {
            let upload = client.create(10)?;
            let hung = hang(client, &upload)?;
            finish(client, &upload, b"helloworld", SILENCE)?;
            drop(hung);
            client.ensure_bytes(&upload, b"helloworld")
        },
    )
    .fault(Fault::Flaw(Flaw::TakeoverRefused))
    .slow(),
    may(
        "core.network.socket-errors",
        PATCH,
        "They MAY do so by checking for read/write socket errors, as well as setting read/write timeouts.",
        |client| {
            let upload = client.create(10)?;
            drop(hang(client, &upload)?);
            finish(client, &upload, b"helloworld", NOTICE)
        },
    ),
    should(
        "core.network.timeout-closes",
        PATCH,
        "A timeout SHOULD be handled by closing the underlying connection.",
        |client| {
            let upload = client.create(10)?;
            let mut hung = hang(client, &upload)?;
            if finish(client, &upload, b"helloworld", SILENCE).is_err() {
                let why = format!("the server waited longer than {SILENCE:?}");
                return Err(Stop::Skip(why));
            }
            let why = "a newer PATCH got through, but the hung one's connection stays";
            ensure(hung.ends_within(Duration::from_secs(10)), why)
        },
    )
    .slow(),
    must(
        "core.network.race",
        PATCH,
        "The `Upload-Offset` header's value MUST be equal to the current offset of the resource.",
        Fault::Flaw(Flaw::SeveralWin),
        race,
    ),
    should(
        "core.network.http-1.0",
        NOTE,
        "The protocol does not depend on specific versions of HTTP.",
        |client| {
            let upload = client.create(5)?;
            let line = format!("PATCH {} HTTP/1.0", upload.path);
            let patch = client.patch(&upload, 0).body("hello").line(&line);
            succeeded(&client.send(&patch)?)?;
            client.ensure_offset(&upload, 5)?;
            client.ensure_bytes(&upload, b"hello")
        },
    ),
];

/// Sends all of `request` but its last bytes, and is gone.
fn cut(client: &Client<'_>, request: &Request, lost: usize) -> Outcome {
    let bytes = request.to_bytes();
    client.open()?.write(&bytes[..bytes.len() - lost])?;
    Ok(())
}

/// A PATCH of ten bytes, of which three come.
fn hang<'c>(client: &'c Client<'_>, upload: &Url) -> Result<Talk<'c>, Stop> {
    let patch = client.patch(upload, 0).body("helloworld").to_bytes();
    let mut talk = client.open()?;
    talk.write(&patch[..patch.len() - 7])?;
    // It is to hang inside the body, not before its request is known.
    if !talk.silent_for(Duration::from_millis(200)) {
        return Err(Stop::Skip("it was answered before its body came".into()));
    }
    Ok(talk)
}

/// Asks for the offset and sends the rest from there, until all is acknowledged.
fn finish(client: &Client<'_>, upload: &Url, bytes: &[u8], patience: Duration) -> Outcome {
    let what = "the rest is taken at the offset that HEAD tells";
    client.until(what, patience, || {
        thread::sleep(Duration::from_millis(80));
        let offset = match client.offset(upload) {
            Err(Stop::Broken(_)) => return Ok(false),
            other => other?,
        };
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        match bytes.get(at..) {
            Some([]) => return Ok(true),
            Some(rest) => drop(client.send(&client.patch(upload, offset).body(rest))),
            None => {
                let why = format!("offset {offset} of {} bytes", bytes.len());
                return Err(Stop::Broken(why));
            }
        }
        Ok(false)
    })
}

/// Several `PATCH` at offset 0, each with bytes of its own. All are begun before any is ended.
fn race(client: &Client<'_>) -> Outcome {
    const RACERS: u8 = 6;
    const LEN: usize = 200_000;
    // How long a server takes to read the heads cannot be seen from here: the later rounds leave it more.
    for pause in [50, 150, 450].map(Duration::from_millis) {
        let upload = client.create(LEN as u64)?;
        let barrier = Barrier::new(RACERS.into());
        let statuses = thread::scope(|scope| {
            let run = |letter: u8| {
                let patch = client.patch(&upload, 0).body(vec![letter; LEN]).to_bytes();
                let (barrier, url) = (&barrier, &client.server.url);
                scope.spawn(move || {
                    let (early, late) = patch.split_at(patch.len() - 1);
                    let conn =
                        Conn::open(url).and_then(|mut conn| conn.write(early).map(|()| conn));
                    barrier.wait();
                    thread::sleep(pause);
                    let answer = conn.and_then(|mut conn| {
                        // It may have been answered, and closed, before that.
                        let _ = conn.write(late);
                        conn.answer("PATCH", Duration::from_secs(10))
                    });
                    answer.map_or(0, |answer| answer.status)
                })
            };
            let racers: Vec<_> = (b'a'..b'a' + RACERS).map(run).collect();
            let joined = racers.into_iter().map(|racer| racer.join().unwrap_or(0));
            joined.collect::<Vec<u16>>()
        });
        let winners: Vec<u8> = (b'a'..)
            .zip(&statuses)
            .filter(|(_, status)| (200..300).contains(*status))
            .map(|(letter, _)| letter)
            .collect();
        let why = format!("{RACERS} PATCHes at one offset answered by {statuses:?}");
        ensure(winners.len() <= 1, why)?;
        if let [winner] = winners[..] {
            client.ensure_offset(&upload, LEN as u64)?;
            client.ensure_bytes(&upload, &vec![winner; LEN])?;
        }
    }
    Ok(())
}
