use super::*;
use crate::upload::{Failure, Kind, Status};

fn id(text: &str) -> UploadId {
    text.parse().unwrap()
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn record(kind: Kind, length: Option<u64>) -> Record {
    Record {
        owner: Some(user("a")),
        ..Record::new(kind, length, 1)
    }
}

fn quota(bytes: u64) -> Bounds {
    Bounds {
        quota: Some(bytes),
        ..Bounds::default()
    }
}

fn begun() -> Arc<Ledger> {
    let ledger = Arc::<Ledger>::default();
    ledger.begin();
    ledger
}

fn bytes(ledger: &Ledger) -> u128 {
    let (users, total) = ledger.uses();
    let sum: u128 = users.values().map(|of| of.bytes).sum();
    assert_eq!(sum, total.bytes, "{users:?}");
    total.bytes
}

/// An upload's records, one after another.
struct Life<'l>(&'l Ledger, UploadId, Option<Record>);

impl<'l> Life<'l> {
    fn new(ledger: &'l Ledger, name: &str, record: Record, new: New<'_>) -> Self {
        ledger.changed(&id(name), None, Some(&record), new);
        Self(ledger, id(name), Some(record))
    }

    fn becomes(&mut self, next: Record) {
        self.0
            .changed(&self.1, self.2.as_ref(), Some(&next), New::Whole);
        self.2 = Some(next);
    }

    fn at(&mut self, offset: u64) {
        let next = self.2.as_ref().unwrap().advance(offset, 2).unwrap();
        self.becomes(next);
    }

    fn ends(&mut self) {
        let next = self.2.as_ref().unwrap().entombed(Status::Cancelled, 3);
        self.becomes(next);
    }
}

#[test]
fn a_known_length_is_reserved_and_returned() {
    let ledger = begun();
    let mut life = Life::new(&ledger, "u", record(Kind::Plain, Some(100)), New::Whole);
    assert_eq!((bytes(&ledger), ledger.total().open), (100, 1));
    life.at(60);
    assert_eq!(bytes(&ledger), 100);
    life.at(100);
    assert_eq!((bytes(&ledger), ledger.total().open), (100, 0));
    life.ends();
    assert_eq!(ledger.uses(), (BTreeMap::new(), Use::default()));
}

#[test]
fn a_deferred_length_is_charged_as_it_comes() {
    let ledger = begun();
    let mut life = Life::new(&ledger, "u", record(Kind::Plain, None), New::Whole);
    let hold = ledger.hold_nothing(&id("u"));
    let owner = Some(user("a"));
    assert_eq!(hold.take(owner.as_ref(), 70, quota(100)), (70, None));
    assert_eq!(bytes(&ledger), 70);
    life.at(50);
    assert_eq!(bytes(&ledger), 70, "what is stored is not charged twice");
    let excess = Excess::Quota {
        used: 100,
        allowed: 100,
    };
    assert_eq!(
        hold.take(owner.as_ref(), 40, quota(100)),
        (30, Some(excess))
    );
    life.at(90);
    drop(hold);
    assert_eq!(bytes(&ledger), 90, "what was not stored is given back");
    let longer = life
        .2
        .as_ref()
        .unwrap()
        .declare_length(95, 1000, 2)
        .unwrap();
    let held = ledger.hold(&id("u"), owner.as_ref(), (11, false), quota(100));
    assert!(held.is_err());
    let held = ledger
        .hold(&id("u"), owner.as_ref(), (5, false), quota(100))
        .unwrap();
    life.becomes(longer);
    drop(held);
    assert_eq!(bytes(&ledger), 95);
}

#[test]
fn a_creation_takes_the_place_of_what_was_held_for_it() {
    let ledger = begun();
    let owner = Some(user("a"));
    let hold = ledger
        .hold(&id("u"), owner.as_ref(), (60, true), quota(100))
        .unwrap();
    let second = ledger.hold(&id("v"), owner.as_ref(), (60, true), quota(100));
    assert!(matches!(
        second,
        Err(Excess::Quota {
            used: 60,
            allowed: 100
        })
    ));
    Life::new(&ledger, "u", record(Kind::Plain, Some(60)), New::Whole);
    assert_eq!((bytes(&ledger), ledger.total().open), (60, 1));
    drop(hold);
    assert_eq!((bytes(&ledger), ledger.total().open), (60, 1));
    // One that fails leaves nothing.
    drop(
        ledger
            .hold(&id("w"), owner.as_ref(), (40, true), quota(100))
            .unwrap(),
    );
    assert_eq!((bytes(&ledger), ledger.total().open), (60, 1));
    // Of another user, the total counts.
    let total = Bounds {
        total: Some(100),
        open: Some(1),
        ..quota(50)
    };
    let other = ledger.hold(&id("x"), Some(&user("b")), (41, true), total);
    assert!(matches!(other, Err(Excess::Total { used: 60, .. })));
    assert!(
        ledger
            .hold(&id("x"), Some(&user("b")), (40, true), total)
            .is_ok()
    );
    let open = Bounds {
        quota: None,
        ..total
    };
    let third = ledger.hold(&id("y"), owner.as_ref(), (1, true), open);
    assert!(matches!(third, Err(Excess::Open { most: 1 })));
}

#[test]
fn a_byte_of_a_part_is_charged_once() {
    let ledger = begun();
    let part = |name: &str, length| {
        let mut life = Life::new(
            &ledger,
            name,
            record(Kind::Partial, Some(length)),
            New::Whole,
        );
        life.at(length);
        life
    };
    let mut a = part("a", 10);
    let mut b = part("b", 1);
    assert_eq!(bytes(&ledger), 11);
    let joined = |length| Record {
        status: Status::Completed,
        offset: length,
        ..record(Kind::Final, Some(length))
    };
    let mut f = Life::new(&ledger, "f", joined(11), New::Final(&[id("a"), id("b")]));
    assert_eq!(bytes(&ledger), 11, "it passes to the final");
    // Twice in another one: charged for each.
    let twice = [id("a"), id("a")];
    let bounded =
        |most| ledger.hold_final(&id("g"), Some(&user("a")), (&twice, false), quota(most));
    assert!(bounded(30).is_err());
    // Two at once cannot both have b's own weight.
    let both = [id("b"), id("b")];
    let first = ledger.hold_final(&id("h"), Some(&user("a")), (&both, false), quota(13));
    assert!(first.is_ok() && bytes(&ledger) == 13);
    drop(first);
    assert_eq!(bytes(&ledger), 11);
    let held = bounded(31).unwrap();
    assert_eq!(bytes(&ledger), 31);
    let mut g = Life::new(&ledger, "g", joined(20), New::Final(&twice));
    drop(held);
    assert_eq!(bytes(&ledger), 31);
    f.ends();
    assert_eq!(bytes(&ledger), 21, "b is charged for itself again");
    a.ends();
    assert_eq!(bytes(&ledger), 21);
    g.ends();
    assert_eq!(bytes(&ledger), 1);
    b.ends();
    assert_eq!(bytes(&ledger), 0);
    let book = ledger.book();
    assert!(book.parts.is_empty() && book.finals.is_empty() && book.held.is_empty());
}

#[test]
fn of_finals_at_the_same_time_one_has_a_parts_own_weight() {
    let ledger = begun();
    let mut a = Life::new(&ledger, "a", record(Kind::Partial, Some(10)), New::Whole);
    a.at(10);
    let of = [id("a")];
    let hold =
        |name: &str, waits| ledger.hold_final(&id(name), Some(&user("a")), (&of, waits), quota(20));
    let first = hold("f", false).unwrap();
    assert_eq!(bytes(&ledger), 10);
    let second = hold("g", true).unwrap();
    assert_eq!(bytes(&ledger), 20);
    assert!(hold("h", false).is_err());
    drop(first);
    assert_eq!(bytes(&ledger), 10);
    Life::new(&ledger, "g", record(Kind::Final, None), New::Final(&of)).ends();
    drop(second);
    assert_eq!((bytes(&ledger), ledger.total().open), (10, 0));
    a.ends();
    assert_eq!(bytes(&ledger), 0);
    let book = ledger.book();
    assert!(book.parts.is_empty() && book.finals.is_empty() && book.held.is_empty());
}

#[test]
fn a_final_that_waits_weighs_with_its_parts() {
    let ledger = begun();
    let mut a = Life::new(&ledger, "a", record(Kind::Partial, None), New::Whole);
    a.at(5);
    let twice = [id("a"), id("a"), id("a")];
    let waiting = record(Kind::Final, None);
    let mut f = Life::new(&ledger, "f", waiting.clone(), New::Final(&twice));
    assert_eq!((bytes(&ledger), ledger.total().open), (15, 2));
    let hold = ledger.hold_nothing(&id("a"));
    // Three for one.
    let (granted, _) = hold.take(Some(&user("a")), 10, quota(22));
    assert_eq!(granted, 2);
    a.at(7);
    drop(hold);
    assert_eq!(bytes(&ledger), 21);
    a.becomes(a.2.as_ref().unwrap().declare_length(7, 100, 2).unwrap());
    let done = Record {
        length: Some(21),
        offset: 21,
        status: Status::Assembling,
        ..waiting.clone()
    };
    f.becomes(done);
    assert_eq!((bytes(&ledger), ledger.total().open), (21, 0));
    f.ends();
    assert_eq!(bytes(&ledger), 7);
    // One that fails gives its parts back.
    let mut f = Life::new(&ledger, "h", waiting.clone(), New::Final(&twice));
    assert_eq!(bytes(&ledger), 21);
    f.becomes(Record {
        status: Status::Failed(Failure::TooLarge),
        ..waiting
    });
    assert_eq!(bytes(&ledger), 7);
}

#[test]
fn chunks_weigh_nothing() {
    let ledger = begun();
    Life::new(&ledger, "s", record(Kind::Final, Some(100)), New::Whole);
    let mut chunk = Life::new(&ledger, "s/1", record(Kind::Partial, Some(50)), New::Chunk);
    chunk.at(50);
    assert_eq!((bytes(&ledger), ledger.total().open), (100, 1));
    ledger.changed(&chunk.1, chunk.2.as_ref(), None, New::Whole);
    assert_eq!((bytes(&ledger), ledger.total().open), (100, 1));
}

#[test]
fn lengths_past_64_bits_together_are_no_trouble() {
    let ledger = begun();
    for n in 0..5 {
        let record = record(Kind::Plain, Some(u64::MAX));
        Life::new(&ledger, &format!("u{n}"), record, New::Whole);
    }
    assert_eq!(ledger.total().told(), u64::MAX);
    let owner = Some(user("a"));
    assert!(
        ledger
            .hold(&id("x"), owner.as_ref(), (1, true), quota(u64::MAX))
            .is_err()
    );
}

/// Whatever happens in whatever order, the ledger is what the records say: as a start would find them.
#[test]
fn the_ledger_is_what_the_records_say() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut dice = |sides: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % sides
    };
    for _ in 0..200 {
        let ledger = begun();
        let mut lives: Vec<(Life<'_>, Vec<UploadId>)> = Vec::new();
        for n in 0..40 {
            let name = format!("u{n}");
            match dice(5) {
                0 => {
                    let length = (dice(2) == 0).then(|| dice(100));
                    let kind = if dice(3) == 0 {
                        Kind::Plain
                    } else {
                        Kind::Partial
                    };
                    lives.push((
                        Life::new(&ledger, &name, record(kind, length), New::Whole),
                        Vec::new(),
                    ));
                }
                1 if !lives.is_empty() => {
                    let any: Vec<UploadId> = (0..=dice(3))
                        .map(|_| {
                            lives[usize::try_from(dice(lives.len() as u64)).unwrap()]
                                .0
                                .1
                                .clone()
                        })
                        .collect();
                    let mut made = record(Kind::Final, None);
                    if dice(2) == 0 {
                        made.length = Some(dice(100));
                        made.status = Status::Completed;
                    }
                    lives.push((Life::new(&ledger, &name, made, New::Final(&any)), any));
                }
                _ if !lives.is_empty() => {
                    let at = usize::try_from(dice(lives.len() as u64)).unwrap();
                    let (life, _) = &mut lives[at];
                    let Some(now) = life.2.clone() else { continue };
                    if now.is_tombstone() {
                        life.0.changed(&life.1, Some(&now), None, New::Whole);
                        life.2 = None;
                        continue;
                    }
                    let next = match dice(4) {
                        0 => now.entombed(Status::Expired, 2),
                        1 if now.kind == Kind::Final => Record {
                            status: [
                                Status::Failed(Failure::PartGone),
                                Status::Failed(Failure::DiskFault),
                                Status::Completed,
                            ][usize::try_from(dice(3)).unwrap()],
                            length: Some(now.length.unwrap_or(7)),
                            ..now
                        },
                        _ if now.kind != Kind::Final => {
                            now.advance(now.offset + dice(20), 2).unwrap_or(now)
                        }
                        _ => now,
                    };
                    life.becomes(next);
                }
                _ => {}
            }
        }
        let found = Ledger::default();
        let finals = |(life, _): &&(Life<'_>, Vec<UploadId>)| {
            life.2
                .as_ref()
                .is_some_and(|record| record.kind == Kind::Final)
        };
        for (life, _) in lives.iter().filter(|life| !finals(life)) {
            if let Some(record) = &life.2 {
                found.found(&life.1, record);
            }
        }
        for (life, parts) in lives.iter().filter(finals) {
            let record = life.2.as_ref().unwrap();
            // As the engine does.
            if record.is_tombstone() {
                continue;
            }
            let role = found.found(&life.1, record);
            found.found_parts(&life.1, role, parts);
        }
        assert_eq!(found.uses(), ledger.uses());
        let (found, ledger) = (found.book(), ledger.book());
        assert_eq!(found.finals.len(), ledger.finals.len());
        assert_eq!(found.parts.len(), ledger.parts.len());
    }
}
