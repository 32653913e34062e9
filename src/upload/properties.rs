//! The record's rules against a naive model, over any order of what can happen to an upload.

use std::sync::LazyLock;

use proptest::prelude::*;
use regex::bytes::Regex;

use super::*;

static GRAMMAR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^(?-u)[A-Za-z0-9._-]{1,128}(/[A-Za-z0-9._-]{1,128})*$").unwrap());
static DOTS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?-u)(^|/)\.\.?(/|$)").unwrap());

/// What can happen to an upload. Numbers are small, so that they meet, or the largest there are.
#[derive(Debug, Clone)]
enum Step {
    Admit { claimed: u64, max: u64 },
    Advance { offset: u64 },
    Declare { length: u64, max: u64 },
    End { status: Status },
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..12_u64, 1 => Just(i64::MAX.unsigned_abs()), 1 => Just(u64::MAX)]
}

fn step() -> impl Strategy<Value = Step> {
    let ends = prop_oneof![
        Just(Status::Cancelled),
        Just(Status::Expired),
        Just(Status::Failed(Failure::BlobLost)),
    ];
    prop_oneof![
        6 => (number(), number()).prop_map(|(claimed, max)| Step::Admit { claimed, max }),
        6 => number().prop_map(|offset| Step::Advance { offset }),
        4 => (number(), number()).prop_map(|(length, max)| Step::Declare { length, max }),
        1 => ends.prop_map(|status| Step::End { status }),
    ]
}

fn born() -> impl Strategy<Value = Record> {
    let kind = prop_oneof![
        3 => Just(Kind::Plain), 2 => Just(Kind::Partial), 1 => Just(Kind::Final)
    ];
    (kind, proptest::option::of(number()), 0..9_u64, number()).prop_map(
        |(kind, length, now, expires)| Record {
            expires: Some(expires),
            unverified_from: Some(0),
            power_cuts: 3,
            ..Record::new(kind, length, now)
        },
    )
}

/// An upload as its history: every offset that was told, every length that was taken, how it ended.
#[derive(Debug)]
struct Model {
    kind: Kind,
    told: Vec<u64>,
    lengths: Vec<u64>,
    ended: Option<Status>,
}

impl Model {
    fn of(record: &Record) -> Self {
        Self {
            kind: record.kind,
            told: vec![0],
            lengths: record.length.into_iter().collect(),
            ended: None,
        }
    }

    fn offset(&self) -> u64 {
        self.told.iter().copied().fold(0, u64::max)
    }

    fn length(&self) -> Option<u64> {
        self.lengths.first().copied()
    }

    fn admit(&self, claimed: u64, max: u64) -> Result<u64, Refused> {
        let actual = self.offset();
        let end = self.length().unwrap_or(max);
        match self.kind {
            Kind::Final => Err(Refused::IsFinal),
            _ if claimed != actual => Err(Refused::OffsetMismatch { actual }),
            _ if end < actual => Ok(0),
            _ => Ok(end - actual),
        }
    }

    fn advance(&mut self, offset: u64) -> Result<(), Refused> {
        let actual = self.offset();
        if offset < actual {
            return Err(Refused::OffsetMismatch { actual });
        }
        if self.lengths.iter().any(|length| *length < offset) {
            return Err(Refused::TooLong);
        }
        self.told.push(offset);
        Ok(())
    }

    /// Whether the length is a new one.
    fn declare(&mut self, length: u64, max: u64) -> Result<bool, Refused> {
        match self.length() {
            Some(known) if known == length => return Ok(false),
            Some(_) => return Err(Refused::LengthKnown),
            None if self.kind == Kind::Final => return Err(Refused::IsFinal),
            None if length < self.offset() => return Err(Refused::TooShort),
            None if length > max => return Err(Refused::TooLong),
            None => self.lengths.push(length),
        }
        Ok(true)
    }

    fn status(&self, was: Status) -> Status {
        let whole = self.length() == Some(self.offset());
        match self.ended {
            Some(end) => end,
            // A final of no bytes waits for its parts all the same, until it is moved to its end.
            None if self.kind == Kind::Final && self.told.len() == 1 => was,
            None if whole => Status::Completed,
            None => Status::Active,
        }
    }
}

/// One step on both. What is refused must be refused by both, for the same reason, and change nothing.
fn walk(model: &mut Model, record: &Record, step: &Step, now: Millis) -> Record {
    let before = record.clone();
    let next = match *step {
        Step::Admit { claimed, max } => {
            assert_eq!(record.admit(claimed, max), model.admit(claimed, max));
            before
        }
        Step::Advance { offset } => {
            let next = record.advance(offset, now);
            assert_eq!(
                next.as_ref().map(drop),
                model.advance(offset).as_ref().map(drop)
            );
            next.map_or(before, |next| {
                assert_eq!(next.touched, now);
                next
            })
        }
        Step::Declare { length, max } => {
            let next = record.declare_length(length, max, now);
            let new = model.declare(length, max);
            assert_eq!(next.as_ref().map(drop), new.map(drop).as_ref().map(drop));
            next.map_or(before, |next| {
                assert_eq!(
                    next.touched,
                    if new == Ok(true) { now } else { record.touched }
                );
                next
            })
        }
        // What ended is not ended again: the engine finds it gone.
        Step::End { .. } if model.ended.is_some() => before,
        Step::End { status } => {
            model.ended = Some(status);
            record.entombed(status, now)
        }
    };
    assert_eq!(next.status, model.status(record.status), "after {step:?}");
    next
}

/// What holds after every step, whatever it was. Invariant 2: the offset never falls, nor exceeds the length.
fn holds(model: &Model, born: &Record, before: &Record, after: &Record) {
    assert!(after.offset >= before.offset, "the offset fell");
    assert_eq!(after.offset, model.offset());
    assert_eq!(after.length, model.length());
    assert!(after.length.is_none_or(|length| after.offset <= length));
    assert!(before.length.is_none() || after.length == before.length);
    let whole = after.length == Some(after.offset);
    assert!(!after.is_complete() || whole, "complete without its bytes");
    assert!(
        !before.is_tombstone() || after.is_tombstone(),
        "a tombstone rose"
    );
    // What these rules have nothing to do with stays as it was.
    let apart = |record: &Record| {
        (
            record.kind,
            record.created,
            record.synced,
            record.power_cuts,
        )
    };
    assert_eq!(apart(after), apart(born));
    let lives = model.ended.is_none();
    let (expires, unverified) = (born.expires, born.unverified_from);
    assert_eq!(after.expires, expires.filter(|_| lives));
    assert_eq!(after.unverified_from, unverified.filter(|_| lives));
    let (written, again) = (postcard::to_stdvec(after), after.clone());
    let read = written.and_then(|bytes| postcard::from_bytes::<Record>(&bytes));
    assert_eq!(read, Ok(again));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_is_the_models(
        born in born(), steps in proptest::collection::vec(step(), 0..30)
    ) {
        let mut model = Model::of(&born);
        let mut record = born.clone();
        for (now, step) in (100..).zip(&steps) {
            let next = walk(&mut model, &record, step, now);
            holds(&model, &born, &record, &next);
            record = next;
        }
    }

    /// What is admitted can be stored: as many bytes as there is room for, and not one more, under the length; a body taken
    /// in pieces ends where it ends taken whole.
    #[test]
    fn the_room_is_the_room(born in born(), cuts in proptest::collection::vec(0..4_u64, 0..8), max in number()) {
        let Ok(room) = born.admit(0, max) else {
            return Ok(());
        };
        let mut record = born.clone();
        for cut in cuts {
            let left = record.admit(record.offset, max).unwrap();
            prop_assert_eq!(left, room - record.offset);
            record = record.advance(record.offset + cut.min(left), 5).unwrap();
        }
        prop_assert_eq!(record.advance(room, 6), born.advance(room, 6));
        if born.length.is_some() && room < u64::MAX {
            prop_assert_eq!(born.advance(room + 1, 6), Err(Refused::TooLong));
        }
    }

    #[test]
    fn ids_are_what_their_grammar_says(text: String, near in "[A-Za-z0-9._/%-]{0,12}", long in "[a./]{120,210}") {
        for text in [text, near, long] {
            let bytes = text.as_bytes();
            let good = bytes.len() <= 200 && GRAMMAR.is_match(bytes) && !DOTS.is_match(bytes);
            let id = text.parse::<UploadId>();
            prop_assert_eq!(id.is_ok(), good, "{:?}", text);
            if let Ok(id) = id {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
