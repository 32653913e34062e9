//! What hooks are told of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units;

/// What a hook is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Event {
    /// A request comes; it may be refused.
    PreAccess,
    /// An upload is to be created; it may be refused or changed.
    PreCreate,
    /// An upload was created.
    PostCreate,
    /// Bytes come; the upload may be stopped.
    PostReceive,
    /// Every byte is there, and the client is to be told.
    PreFinish,
    /// The upload is complete, and lies in its place.
    PostFinish,
    /// An upload is to be terminated; that may be refused.
    PreTerminate,
    /// An upload was terminated.
    PostTerminate,
    /// An upload's time ran out.
    PostExpire,
    /// An upload is of no use any more.
    PostFail,
    /// A complete upload is to be looked through for malware; it may be refused.
    Scan,
    /// A complete upload is handed on. It is a hand-off's alone, and no hook's. After those of hooks, since letters count
    /// from the first.
    Job,
    /// A complete upload's SHA-256 is to be worked out. It goes nowhere.
    Digest,
}

impl Event {
    /// Every event that there are hooks for.
    pub const ALL: [Self; 11] = [
        Self::PreAccess,
        Self::PreCreate,
        Self::PostCreate,
        Self::PostReceive,
        Self::PreFinish,
        Self::PostFinish,
        Self::PreTerminate,
        Self::PostTerminate,
        Self::PostExpire,
        Self::PostFail,
        Self::Scan,
    ];

    /// Whether there are hooks for it.
    #[must_use]
    pub const fn is_hooks(self) -> bool {
        !matches!(self, Self::Job | Self::Digest)
    }

    /// Its name, as tusd's users know it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreAccess => "pre-access",
            Self::PreCreate => "pre-create",
            Self::PostCreate => "post-create",
            Self::PostReceive => "post-receive",
            Self::PreFinish => "pre-finish",
            Self::PostFinish => "post-finish",
            Self::PreTerminate => "pre-terminate",
            Self::PostTerminate => "post-terminate",
            Self::PostExpire => "post-expire",
            Self::PostFail => "post-fail",
            Self::Scan => "scan",
            Self::Job => "job",
            Self::Digest => "digest",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events(Vec<Event>);

impl From<Event> for Events {
    fn from(event: Event) -> Self {
        Self(vec![event])
    }
}

impl Events {
    /// Whether an event is one of them.
    #[must_use]
    pub fn has(&self, event: Event) -> bool {
        self.0.contains(&event)
    }
}

impl FromStr for Events {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = units::list(text);
        let event = |name: &str| {
            let mut all = Event::ALL.into_iter();
            let names = Event::ALL.map(Event::name).join(" ");
            let unknown = || format!("{name:?} is no event; there are {names}");
            all.find(|event| event.name() == name).ok_or_else(unknown)
        };
        let events: Vec<Event> = names.map(event).collect::<Result<_, _>>()?;
        if events.is_empty() {
            return DEFAULT_EVENTS.parse();
        }
        Ok(Self(events))
    }
}

/// Those that are told where nobody says which: tusd's, and the two ends that it does not have.
pub const DEFAULT_EVENTS: &str =
    "pre-create,post-create,post-receive,post-terminate,post-finish,post-expire,post-fail";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_by_name() {
        let some: Events = "pre-create, post-finish".parse().unwrap();
        assert!(some.has(Event::PreCreate) && !some.has(Event::PostCreate));
        let default: Events = "".parse().unwrap();
        assert!(default.has(Event::PostReceive) && !default.has(Event::PreFinish));
        assert!("pre-create,nonsense".parse::<Events>().is_err());
    }
}
