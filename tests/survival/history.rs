//! The model of an upload that several clients use at once, and the checker that holds what they saw to it.
//!
//! A client sees of a request when it was asked, when the answer was there, and the answer. Between the two the request
//! happened at some moment, or had no effect. Of an upload the model says:
//!
//! 1. An answer is one of those its request can get. A PATCH has moved the offset from where it began to the offset of its
//!    answer: a 204 by its whole body, a cut one (400) by what was sent, one that was taken over (423) by some of it;
//!    under a checksum by all of it or nothing.
//! 2. What moved the offset lies end to end from 0 to the offset at the end, without a gap and without an overlap: at each
//!    offset one request at most has moved it.
//! 3. An offset that was told never falls: no request that was asked after an answer is answered with a lower offset, or
//!    has moved the offset from below it.
//! 4. No offset is told that nobody's bytes explain, and none in the middle of a body under a checksum or in chunks. (One
//!    that is told before its bytes were sent breaks rule 3.)
//! 5. One DELETE at most succeeds. What is asked after its answer gets 404, and 404 is what nobody gets without one.
//! 6. At the end the bytes are those of the requests that moved the offset; of a deleted upload there are none.

use std::cmp::Reverse;
use std::fmt;

/// Moments, in nanoseconds since the round began.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub(super) asked: u64,
    pub(super) answered: u64,
}

impl When {
    /// Whether this was over when the other one began.
    pub(super) fn before(self, other: Self) -> bool {
        self.answered < other.asked
    }
}

/// How a PATCH is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Plain,
    Chunked,
    Checked,
    /// With a checksum in the trailer.
    Trailed,
    /// Under a checksum of other bytes.
    Wrong,
    /// Only so many bytes of it.
    Cut(usize),
}

/// Bytes that are not shown one by one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content(pub(super) Vec<u8>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.0[..self.0.len().min(4)];
        write!(f, "{} bytes {first:x?}…", self.0.len())
    }
}

#[derive(Debug, Clone)]
pub(super) enum Ask {
    Patch { at: u64, bytes: Content, body: Body },
    Head,
    Delete,
}

/// One request to an upload.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) when: When,
    pub(super) ask: Ask,
    pub(super) status: u16,
    pub(super) code: String,
    /// `Upload-Offset` of the answer.
    pub(super) offset: Option<u64>,
}

/// What there is of an upload once all is quiet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Gone,
    There(Content),
}

/// A request that moved the offset.
pub(super) struct Move<'a> {
    from: u64,
    to: u64,
    bytes: &'a [u8],
    pub(super) when: When,
    /// Whether it may be seen half done.
    gradual: bool,
}

/// Every request to an upload, and its end.
pub(super) struct History {
    pub(super) events: Vec<Event>,
    pub(super) end: End,
}

/// A request a line, in the order in which they were asked.
impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut events: Vec<_> = self.events.iter().collect();
        events.sort_by_key(|event| event.when.asked);
        for event in events {
            let (When { asked, answered }, ask) = (event.when, &event.ask);
            let (status, code, offset) = (event.status, &event.code, event.offset);
            writeln!(
                f,
                "{asked:>9} to {answered:>9}: {ask:?}: {status} {code} {offset:?}"
            )?;
        }
        writeln!(f, "at the end {:?}", self.end)
    }
}

type Verdict = Result<(), String>;

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

impl Event {
    fn fits(&self) -> bool {
        let told = self.offset.unwrap_or(u64::MAX);
        match (&self.ask, self.status, self.code.as_str()) {
            (_, 404, _) | (Ask::Delete, 204, _) => true,
            (Ask::Head, 200, _) => self.offset.is_some(),
            (Ask::Patch { at, .. }, 409, "offset-mismatch") => told != *at && self.offset.is_some(),
            (Ask::Patch { at, bytes, body }, status, code) => {
                let (all, moved) = (bytes.0.len() as u64, told.wrapping_sub(*at));
                match (body, status, code) {
                    (Body::Wrong | Body::Cut(_), 204, _) => false,
                    (_, 204, _) => moved == all,
                    (Body::Wrong, 460, "checksum-mismatch") => true,
                    (Body::Cut(sent), 400, "body-cut") => moved == *sent as u64,
                    (Body::Cut(sent), 423, "taken-over") => moved <= *sent as u64,
                    (Body::Plain | Body::Chunked, 423, "taken-over") => moved <= all,
                    (_, 423, "taken-over") => moved == 0,
                    // At the told offset of one that sends in chunks and gets on.
                    (_, 423, "locked") => self.offset.is_none(),
                    _ => false,
                }
            }
            _ => false,
        }
    }

    fn moved(&self) -> Option<Move<'_>> {
        let Ask::Patch { at, bytes, body } = &self.ask else {
            return None;
        };
        let to = self.offset.filter(|to| to > at)?;
        let moves = matches!(self.status, 204 | 423 | 400);
        moves.then(|| Move {
            from: *at,
            to,
            bytes: &bytes.0[..usize::try_from(to - at).expect("small")],
            when: self.when,
            gradual: matches!(body, Body::Plain | Body::Cut(_)),
        })
    }
}

impl History {
    /// The requests that moved the offset, in its order.
    pub(super) fn moves(&self) -> Vec<Move<'_>> {
        let mut moves: Vec<_> = self.events.iter().filter_map(Event::moved).collect();
        moves.sort_by_key(|moved| (moved.from, Reverse(moved.to)));
        moves
    }

    /// The bytes that were stored by the end, or by the deletion.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.moves().iter().flat_map(|m| m.bytes).copied().collect()
    }

    /// The deletion that succeeded.
    pub(super) fn deletion(&self) -> Option<When> {
        let deleted = |event: &&Event| matches!(event.ask, Ask::Delete) && event.status == 204;
        Some(self.events.iter().find(deleted)?.when)
    }

    /// Holds the history to the model; the rule that it breaks.
    pub(super) fn check(&self) -> Verdict {
        for event in &self.events {
            ensure(event.fits(), || format!("rule 1: {event:?}"))?;
        }
        let moves = self.moves();
        let mut at = 0;
        for moved in &moves {
            ensure(moved.from == at, || {
                format!(
                    "rule 2: from {} to {}, but it was at {at}",
                    moved.from, moved.to
                )
            })?;
            at = moved.to;
        }
        self.check_order()?;
        for event in &self.events {
            event
                .offset
                .map_or(Ok(()), |x| told_early(event, x, at, &moves))?;
        }
        self.check_deletion()?;
        let expected = match self.deletion() {
            Some(_) => End::Gone,
            None => End::There(Content(self.bytes())),
        };
        ensure(self.end == expected, || {
            format!("rule 6: {:?} instead of {expected:?}", self.end)
        })
    }

    fn check_order(&self) -> Verdict {
        for first in &self.events {
            let Some(told) = first.offset else { continue };
            for later in self.events.iter().filter(|e| first.when.before(e.when)) {
                let least = later.moved().map(|moved| moved.from).or(later.offset);
                ensure(least.is_none_or(|least| least >= told), || {
                    format!("rule 3: {told} was told by {first:?}, then {later:?}")
                })?;
            }
        }
        Ok(())
    }

    fn check_deletion(&self) -> Verdict {
        let deleted = |event: &&Event| matches!(event.ask, Ask::Delete) && event.status == 204;
        let deletions = self.events.iter().filter(deleted).count();
        ensure(deletions <= 1, || format!("rule 5: {deletions} deletions"))?;
        let deletion = self.deletion();
        for event in &self.events {
            let after = deletion.is_some_and(|deletion| deletion.before(event.when));
            ensure(!after || event.status == 404, || {
                format!("rule 5: after the deletion {event:?}")
            })?;
            let may = deletion.is_some_and(|deletion| !event.when.before(deletion));
            ensure(may || event.status != 404, || {
                format!("rule 5: without a deletion {event:?}")
            })?;
        }
        Ok(())
    }
}

/// Rule 4 for an event that was told `offset`, in an upload whose moves end at `end`.
fn told_early(event: &Event, offset: u64, end: u64, moves: &[Move<'_>]) -> Verdict {
    ensure(offset <= end, || {
        format!("rule 4: bytes that nobody sent: {event:?}")
    })?;
    let inside = |moved: &&Move| !moved.gradual && moved.from < offset && offset < moved.to;
    ensure(!moves.iter().any(|moved| inside(&moved)), || {
        format!("rule 4: in the middle of a body: {event:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(asked: u64, ask: Ask, status: u16, offset: Option<u64>) -> Event {
        let code = match status {
            409 => "offset-mismatch",
            423 => "taken-over",
            400 => "body-cut",
            460 => "checksum-mismatch",
            _ => "",
        };
        Event {
            when: When {
                asked,
                answered: asked + 10,
            },
            ask,
            status,
            code: code.into(),
            offset,
        }
    }

    fn patch(asked: u64, at: u64, bytes: &str, status: u16, offset: u64) -> Event {
        let ask = Ask::Patch {
            at,
            bytes: Content(bytes.into()),
            body: Body::Plain,
        };
        event(asked, ask, status, Some(offset))
    }

    fn head(asked: u64, offset: u64) -> Event {
        event(asked, Ask::Head, 200, Some(offset))
    }

    fn verdict(events: &[Event], end: &str) -> String {
        let history = History {
            events: events.to_vec(),
            end: if end == "gone" {
                End::Gone
            } else {
                End::There(Content(end.into()))
            },
        };
        let verdict = history.check().err().unwrap_or_default();
        verdict.split(':').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn what_a_server_may_do_passes() {
        let events = [
            patch(0, 0, "abc", 204, 3),
            head(5, 2),
            patch(5, 0, "xyz", 409, 3),
            patch(20, 3, "defg", 423, 5),
            patch(25, 5, "hi", 204, 7),
            head(40, 7),
        ];
        assert_eq!(verdict(&events, "abcdehi"), "");
        let deleted = [
            patch(0, 0, "abc", 204, 3),
            event(5, Ask::Delete, 204, None),
            event(20, Ask::Head, 404, None),
        ];
        assert_eq!(verdict(&deleted, "gone"), "");
    }

    #[test]
    fn each_rule_can_be_broken() {
        let abc = patch(0, 0, "abc", 204, 3);
        assert_eq!(verdict(&[patch(0, 0, "abc", 204, 2)], "ab"), "rule 1");
        assert_eq!(
            verdict(&[abc.clone(), patch(5, 0, "x", 204, 1)], "abc"),
            "rule 2"
        );
        assert_eq!(
            verdict(&[abc.clone(), patch(5, 4, "x", 204, 5)], "abcx"),
            "rule 2"
        );
        assert_eq!(
            verdict(&[abc.clone(), head(5, 3), head(20, 2)], "abc"),
            "rule 3"
        );
        assert_eq!(verdict(&[abc.clone(), head(5, 4)], "abc"), "rule 4");
        assert_eq!(
            verdict(&[head(0, 3), patch(11, 0, "abc", 204, 3)], "abc"),
            "rule 3"
        );
        let mut checked = abc.clone();
        checked.ask = Ask::Patch {
            at: 0,
            bytes: Content("abc".into()),
            body: Body::Checked,
        };
        assert_eq!(verdict(&[checked, head(5, 2)], "abc"), "rule 4");
        let delete = |asked| event(asked, Ask::Delete, 204, None);
        assert_eq!(verdict(&[delete(0), delete(5)], "gone"), "rule 5");
        assert_eq!(verdict(&[delete(0), head(11, 0)], "gone"), "rule 5");
        let unknown = |asked| event(asked, Ask::Head, 404, None);
        assert_eq!(verdict(&[unknown(0)], ""), "rule 5");
        assert_eq!(verdict(&[unknown(0), delete(11)], "gone"), "rule 5");
        assert_eq!(verdict(&[abc], "abd"), "rule 6");
        assert_eq!(verdict(&[delete(0)], ""), "rule 6");
    }
}
