//! `GET /progress/events`: the same messages as Server-Sent Events, for those behind a proxy that breaks a WebSocket.
//!
//! The id of an event is made of the numbers of all the uploads in the query, in its order, so that a browser that comes
//! back with `Last-Event-ID` gets what it missed of each. Source: HTML, 9.2.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Interval, sleep};

use super::follow::{Asked, Follower, looks, refusal};
use crate::answer::{BoxError, ResponseBody};
use crate::error::Reject;
use crate::progress::Told;
use crate::upload::UploadId;

/// The most uploads of a stream: each is in the id of every event.
const MOST: usize = 100;
/// A line for the proxies on the way, which close what is silent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events for one frame of the body, about.
const FRAME: usize = 16 << 10;

/// A stream of events, while it lasts.
struct Events {
    follower: Follower,
    looks: Interval,
    /// What is sent before anything else.
    first: String,
    /// The last number told of each upload of the query.
    numbers: Vec<(Option<UploadId>, u64)>,
}

pub(super) async fn answer(
    head: &Parts,
    mut follower: Follower,
    asked: Asked,
) -> Result<Response<ResponseBody>, Reject> {
    if asked.uploads.is_empty() {
        return Err(Reject::BadSubscription("name uploads as ?upload=ID"));
    }
    if asked.uploads.len() > MOST {
        return Err(Reject::TooManySubscriptions { most: MOST });
    }
    let known = last_event_id(&head.headers, asked.uploads.len());
    // A client that lost its connection comes back after a second.
    let mut first = String::from("retry: 1000\n\n");
    let mut numbers = Vec::with_capacity(asked.uploads.len());
    let who = follower.who();
    let mut strangers = 0;
    for (at, text) in asked.uploads.iter().enumerate() {
        let since = known.as_ref().map(|known| known[at]);
        if let Err(reject) = follower.follow(text, since, &who).await {
            strangers += usize::from(matches!(reject, Reject::Unauthorized));
            write(&mut first, None, &refusal(text, &reject));
        }
        numbers.push((text.parse().ok(), since.unwrap_or(0)));
    }
    // A browser that comes back with a token that has ended would do so for ever.
    if strangers == asked.uploads.len() {
        return Err(Reject::Unauthorized);
    }
    let events = Events {
        follower,
        looks: looks(),
        first,
        numbers,
    };
    let frames = stream::unfold(events, async |mut events| {
        let text = events.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(Bytes::from(text))), events))
    });
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    for (name, value) in [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // nginx would keep events back until it has a page of them.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(answer)
}

impl Events {
    /// What is next to be sent; `None` when the server stops, and clients are to come back to the next one, or when what the
    /// client showed is not good any more.
    async fn next(&mut self) -> Option<String> {
        let first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            return Some(first);
        }
        let stopping = self.follower.stopping();
        let heartbeat = sleep(HEARTBEAT);
        tokio::pin!(stopping, heartbeat);
        let mut told = loop {
            tokio::select! {
                biased;
                () = &mut stopping => return None,
                _ = self.looks.tick() => if !self.follower.may_go_on().await {
                    return None;
                },
                told = self.follower.next() => break told,
                () = &mut heartbeat => return Some(":\n\n".into()),
            }
        };
        let mut text = String::new();
        loop {
            for one in &told {
                self.add(&mut text, one);
            }
            // What is taken is sent: first the room for it, then the news.
            let more = if text.len() < FRAME {
                self.follower.try_next()
            } else {
                None
            };
            match more {
                Some(more) => told = more,
                None => return Some(text),
            }
        }
    }

    fn add(&mut self, text: &mut String, told: &Told) {
        let Some((id, number)) = &told.at else {
            return write(text, None, &told.json);
        };
        let mut moved = false;
        for (upload, last) in &mut self.numbers {
            if upload.as_ref() == Some(id) && *last != *number {
                *last = *number;
                moved = true;
            }
        }
        let ids = moved.then(|| {
            let numbers: Vec<String> = self.numbers.iter().map(|(_, n)| format!("{n:x}")).collect();
            numbers.join("-")
        });
        write(text, ids.as_deref(), &told.json);
    }
}

/// One event; without an `id` the browser keeps the last one. JSON has no line breaks outside of its strings, and there they
/// are escaped.
fn write(text: &mut String, id: Option<&str>, json: &str) {
    if let Some(id) = id {
        text.extend(["id: ", id, "\n"]);
    }
    text.extend(["data: ", json, "\n\n"]);
}

/// The numbers that a returning client knows, if they are of as many uploads.
fn last_event_id(headers: &HeaderMap, uploads: usize) -> Option<Vec<u64>> {
    let text = headers.get("last-event-id")?.to_str().ok()?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let numbers: Vec<u64> = text.split('-').map(number).collect::<Option<_>>()?;
    (numbers.len() == uploads).then_some(numbers)
}
