use std::fs;
use std::time::{Duration, Instant};

use super::*;

/// A database and its journal.
struct Pair {
    dir: tempfile::TempDir,
    db: Option<Db>,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut pair = Self { dir, db: None };
        pair.start();
        pair
    }

    /// Starts anew, without a word to the database: what it did not write itself is not there.
    fn start(&mut self) {
        drop(self.db.take());
        let config = sled::Config::new().path(self.dir.path().join("db"));
        let config = config.flush_every_ms(None);
        // Another test may be starting a program at this moment, which holds the file's lock until it is that program.
        let patience = Instant::now() + Duration::from_secs(10);
        while self.db.is_none() {
            match config.open() {
                Ok(db) => self.db = Some(db),
                Err(error) => assert!(Instant::now() < patience, "{error}"),
            }
        }
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn open(&self) -> Journal {
        Journal::open(self.db(), self.dir.path()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.dir.path().join(NAME)).unwrap()
    }

    /// What the database has when it is opened beside a journal of these bytes.
    fn after(&self, bytes: &[u8]) -> String {
        fs::write(self.dir.path().join(NAME), bytes).unwrap();
        let journal = self.open();
        assert_eq!((journal.len, journal.keeps()), (0, true));
        self.values()
    }

    fn values(&self) -> String {
        let all = self.db().scan_prefix(b"r").values();
        let all = all.map(|value| String::from_utf8(value.unwrap().to_vec()).unwrap());
        all.collect()
    }
}

/// Adds an entry, and answers what the database is to be given for it.
fn add(journal: &mut Journal, writes: &Writes, number: u64) -> Batch {
    journal.add(writes, number);
    journal.batch(writes)
}

fn writes(key: &str, value: &str) -> Writes {
    let value = (!value.is_empty()).then(|| value.as_bytes().to_vec());
    Writes::from([(key.as_bytes().to_vec(), value)])
}

#[test]
fn the_database_is_given_what_it_lacks() {
    let pair = Pair::new();
    let mut journal = pair.open();
    let first = add(&mut journal, &writes("r1", "a"), 0);
    journal.add(&writes("r2", "b"), 0);
    journal.add(&writes("r1", ""), 0);
    let whole = pair.bytes();
    // It had the first; the others died with the process.
    pair.db().apply_batch(first).unwrap();
    assert_eq!(pair.after(&whole), "b");
    // All of it is there: nothing is done again.
    let newer = add(&mut pair.open(), &writes("r2", "c"), 0);
    pair.db().apply_batch(newer).unwrap();
    assert_eq!(pair.after(&whole), "c");
}

#[test]
fn what_was_cut_is_left_out_and_nothing_before_it() {
    let pair = Pair::new();
    let mut journal = pair.open();
    let mut ends = Vec::new();
    for value in ["a", "b", "c"] {
        journal.add(&writes(&format!("r{value}"), value), 0);
        ends.push(pair.bytes().len());
    }
    let whole = pair.bytes();
    let clear = || {
        pair.db().clear().unwrap();
    };
    for len in 0..=whole.len() {
        clear();
        let there = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(pair.after(&whole[..len]), "abc"[..there], "{len} bytes");
        // A byte that is another one.
        let Some(byte) = whole.get(len) else { continue };
        let mut damaged = whole.clone();
        damaged[len] = byte ^ 0x10;
        clear();
        assert_eq!(pair.after(&damaged), "abc"[..there], "byte {len}");
    }
}

#[test]
fn entries_that_do_not_follow_the_database_are_left_out() {
    let pair = Pair::new();
    let mut journal = pair.open();
    let first = add(&mut journal, &writes("r1", "a"), 7);
    let entry = pair.bytes();
    journal.clear();
    journal.add(&writes("r1", "b"), 0);
    let later = pair.bytes();
    // The database lost what it had when the journal was cleared.
    assert_eq!(pair.after(&later), "");
    pair.db().apply_batch(first).unwrap();
    // What came before it was cleared lies behind what came since.
    assert_eq!(pair.after(&[&later[..], &entry].concat()), "b");
    assert_eq!(pair.after(&entry), "b");
}

#[test]
fn numbers_are_never_used_again() {
    let mut pair = Pair::new();
    for (given, number) in [(5, 5), (3, 6), (6, 7), (100, 100)] {
        let added = add(&mut pair.open(), &writes("r1", "a"), given);
        pair.db().apply_batch(added).unwrap();
        assert_eq!(stored(pair.db()).unwrap(), number);
        pair.db().flush().unwrap();
        pair.start();
    }
    // In the journal alone.
    pair.open().add(&writes("r1", "b"), 200);
    pair.start();
    assert_eq!(pair.open().last, 200);
    assert_eq!(pair.values(), "b");
}

#[test]
fn a_journal_that_grows_or_cannot_be_written_asks_for_a_flush() {
    let pair = Pair::new();
    let mut journal = pair.open();
    let long = "a".repeat(3 << 19);
    for _ in 0..2 {
        journal.add(&writes("r1", &long), 0);
        assert!(journal.keeps());
    }
    journal.add(&writes("r1", &long), 0);
    assert!(!journal.keeps());
    journal.clear();
    assert!(journal.keeps());
    journal.reserved = 0;
    journal.file = File::open(pair.dir.path().join(NAME)).unwrap();
    for _ in 0..2 {
        journal.add(&writes("r1", "a"), 0);
        assert!(!journal.keeps(), "it can only be read");
        journal.clear();
        assert!(journal.keeps(), "the database has all of it");
    }
}
