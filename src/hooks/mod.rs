//! Hooks: programs of the operator's own that are told what happens, and some of which may refuse it.
//!
//! What goes over the wire is tusd's, so that a receiver written for tusd works unchanged: [`wire`] has the request and the
//! reply, [`http`] and [`mod@file`] bring them there and back, [`cause`] is the request that something happened for. What is
//! asked when, and that no event is lost, is the engine's.
//!
//! Hand-offs are receivers as well, of a [`job`] for each complete upload, and can be streams in [`mod@redis`].

mod bounded;
pub mod cause;
pub mod file;
pub mod http;
pub mod job;
pub mod redis;
mod set;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use cause::Cause;
pub use set::{DEFAULT_EVENTS, Event, Events};
pub use wire::{Answer, Call, Reply, Upload};

/// The most bytes of a reply that are taken.
pub const MOST: usize = 1 << 20;

/// Why a hook did not do what it is for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

impl Fault {
    #[expect(clippy::needless_pass_by_value, reason = "errors come by value")]
    fn of(why: impl ToString) -> Self {
        Self(why.to_string())
    }
}

/// A way to a receiver. No call is longer than the way's own timeout, and no reply longer than [`MOST`].
#[async_trait]
pub trait Way: Send + Sync + 'static {
    /// Brings a call there; the reply as it came, empty for none. A call that somebody waits for is tried again where that
    /// makes sense; what is in the outbox is tried again from there.
    async fn bring(&self, call: &Call, waited_for: bool) -> Result<Vec<u8>, Fault>;
}

/// A receiver, and what it is told.
pub struct Sink {
    /// Its address, by which letters know it across restarts.
    pub name: String,
    /// What it is told.
    pub events: Events,
    /// How.
    pub way: Box<dyn Way>,
    /// How many letters are on their way there at a time.
    pub at_a_time: usize,
}

/// The usual number of letters on their way to one receiver at a time.
pub const AT_A_TIME: usize = 16;
/// What the names of receivers of jobs begin with.
pub const HAND_OFF: &str = "hand-off to ";

/// An address as it may be shown, without what may be secret in it; what is no address is nothing.
#[must_use]
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return String::new();
    };
    let rest = rest.split('?').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// The way of what has arrived as soon as it is ready to go.
pub struct Nowhere;

#[async_trait]
impl Way for Nowhere {
    async fn bring(&self, _: &Call, _: bool) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }
}

/// Every receiver that there is.
#[derive(Default)]
pub struct Hooks {
    sinks: Vec<Sink>,
    /// Headers that go from a client's request into a call as they are.
    forwarded: Vec<String>,
    /// How often a running upload is told of.
    pub interval: Duration,
    /// The first pause before a letter is tried again.
    pub backoff: Duration,
    /// How long a letter is tried.
    pub patience: Duration,
    /// Whether the SHA-256 of complete uploads is worked out.
    pub digest: bool,
    /// What comes before an upload's id in its URL, where the server knows its own address.
    pub url: Option<String>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.sinks.iter().map(|sink| &sink.name);
        f.debug_list().entries(names).finish()
    }
}

impl Hooks {
    /// With these receivers and headers to forward.
    #[must_use]
    pub fn new(sinks: Vec<Sink>, forwarded: Vec<String>) -> Self {
        Self {
            sinks,
            forwarded,
            ..Self::default()
        }
    }

    /// Whether nobody is told anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sinks.is_empty()
    }

    /// Adds a receiver, under a name that no other one has: of two whose addresses differ in what is secret alone, each has
    /// its own.
    pub fn add(&mut self, mut sink: Sink) {
        while self.find(&sink.name).is_some() {
            sink.name.push('\'');
        }
        self.sinks.push(sink);
    }

    /// Every receiver, each in its place.
    #[must_use]
    pub fn sinks(&self) -> &[Sink] {
        &self.sinks
    }

    /// Whether anybody is asked or told of what clients do.
    #[must_use]
    pub fn has_hooks(&self) -> bool {
        Event::ALL.into_iter().any(|event| self.wants(event))
    }

    /// Whether anybody is told of such an event.
    #[must_use]
    pub fn wants(&self, event: Event) -> bool {
        self.sinks.iter().any(|sink| sink.events.has(event))
    }

    /// Who is told of such an event, each with its place.
    pub fn sinks_of(&self, event: Event) -> impl Iterator<Item = (usize, &Sink)> {
        let sinks = self.sinks.iter().enumerate();
        sinks.filter(move |(_, sink)| sink.events.has(event))
    }

    /// The receiver in this place.
    #[must_use]
    pub fn sink(&self, at: usize) -> Option<&Sink> {
        self.sinks.get(at)
    }

    /// Where the receiver of this name is.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.sinks.iter().position(|sink| sink.name == name)
    }

    /// Where the receiver of a letter is. Jobs to an address that is not there any more go to the one that is, if there is just
    /// one: it has moved.
    #[must_use]
    pub fn heir(&self, name: &str) -> Option<usize> {
        let by_http = |name: &str| {
            let address = name.strip_prefix(HAND_OFF);
            address.is_some_and(|address| address.starts_with("http"))
        };
        let mut others = (0..self.sinks.len()).filter(|at| by_http(&self.sinks[*at].name));
        let alone = match (others.next(), others.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        };
        // Letters of an earlier version name the whole address.
        let found = self.find(name).or_else(|| self.find(&shown(name)));
        found.or_else(|| alone.filter(|_| by_http(name)))
    }

    /// What is told of an event.
    #[must_use]
    pub fn call(&self, event: Event, upload: &Upload, cause: Option<&Arc<Cause>>) -> Call {
        Call::new(event, upload, cause, &self.forwarded)
    }

    /// Asks everybody who wants to be, one after the other, each with the next `number`, and puts together what they say: the
    /// first refusal counts, and of anything else the last word.
    ///
    /// # Errors
    /// Of the first who cannot be asked, or does not answer as it should.
    pub async fn ask(&self, call: &Call, number: impl Fn() -> u64) -> Result<Reply, Fault> {
        let mut all = Reply::default();
        for (_, sink) in self.sinks_of(call.event) {
            let named = |fault: Fault| Fault(format!("{} at {}: {fault}", call.event, sink.name));
            let mut call = call.clone();
            call.number(number());
            let bytes = sink.way.bring(&call, true).await.map_err(named)?;
            let reply = Reply::parse(&bytes).map_err(named)?;
            if all.add(reply) {
                break;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_password_is_not_shown() {
        for (url, shown) in [
            ("redis://host:7/1", "redis://host:7/1"),
            ("redis://:pass@host", "redis://host"),
            (
                "redis+unix:///run/redis?pass=word",
                "redis+unix:///run/redis",
            ),
            ("redis://user:p@ss@host:7/1", "redis://host:7/1"),
            ("https://a:b@host/x?token=t", "https://host/x"),
            ("a:b@host", ""),
        ] {
            assert_eq!(super::shown(url), shown);
        }
    }
}
