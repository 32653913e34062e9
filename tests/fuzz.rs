//! The fuzz targets without a fuzzer: over their corpus, and over what chance makes of it. `tests/fuzz/Cargo.toml` runs the
//! same functions under libFuzzer.

mod metadata;
mod request_head;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::{figure, rounds, seed};

/// Inputs have at most so many bytes.
const LONGEST: usize = 16 << 10;

/// The seeds of a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .expect("a corpus")
        .map(|entry| entry.expect("a seed").path())
        .collect();
    paths.sort();
    assert!(paths.len() > 40, "a corpus");
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a seed"))
        .collect()
}

/// What is done to a seed, one after the other.
#[derive(Debug, Clone)]
enum Change {
    Put(Index, Vec<u8>),
    /// The same, as a line of its own.
    Line(Index, Vec<u8>),
    Over(Index, u8),
    Cut(Index, Index),
    /// A piece of another seed.
    Splice(Index, Arc<[u8]>, Index, Index),
    Again(Index, Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let piece = |bytes: &[u8], from: &Index, to: &Index| {
            let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Put(at, word) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, word.iter().copied());
            }
            Self::Line(at, word) => {
                let ends = bytes
                    .windows(2)
                    .enumerate()
                    .filter(|(_, two)| two == b"\r\n");
                let ends: Vec<_> = ends.map(|(at, _)| at + 2).collect();
                if !ends.is_empty() {
                    let at = *at.get(&ends);
                    bytes.splice(at..at, word.iter().chain(b"\r\n").copied());
                }
            }
            Self::Over(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Over(..) => {}
            Self::Cut(from, to) => drop(bytes.drain(piece(bytes, from, to))),
            Self::Splice(at, other, from, to) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, other[piece(other, from, to)].iter().copied());
            }
            Self::Again(from, to) => {
                let again = bytes[piece(bytes, from, to)].to_vec();
                bytes.extend(again);
            }
        }
        bytes.truncate(LONGEST);
    }
}

/// Seeds, with some changes; `words` are what is put into them.
fn mutated(
    corpus: &[Vec<u8>],
    words: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds: Vec<Arc<[u8]>> = corpus.iter().map(|bytes| bytes.clone().into()).collect();
    let at = any::<Index>;
    let change = prop_oneof![
        2 => (at(), select(words)).prop_map(|(at, word)| Change::Put(at, word.as_bytes().to_vec())),
        6 => (at(), select(LINES)).prop_map(|(at, line)| Change::Line(at, line.as_bytes().to_vec())),
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Over(at, byte)),
        1 => (at(), at()).prop_map(|(from, to)| Change::Cut(from, to)),
        1 => (at(), select(seeds.clone()), at(), at()).prop_map(|(at, other, from, to)| Change::Splice(at, other, from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Change::Again(from, to)),
    ];
    (select(seeds), proptest::collection::vec(change, 1..4)).prop_map(|(bytes, changes)| {
        let mut bytes = bytes.to_vec();
        for change in &changes {
            change.apply(&mut bytes);
        }
        bytes
    })
}

/// Holds `holds` against so many inputs.
fn over(inputs: impl Strategy<Value = Vec<u8>>, cases: usize, seed: u64, holds: impl Fn(&[u8])) {
    let config = Config {
        cases: u32::try_from(cases).expect("some cases"),
        max_shrink_iters: 300,
        // Where each try waits for something that does not come, what failed first is told all the same.
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let done = TestRunner::new_with_rng(config, rng).run(&inputs, |bytes| {
        holds(&bytes);
        Ok(())
    });
    if let Err(failure) = done {
        panic!("{failure}");
    }
}

const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\n",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "\0",
    "%2e",
    "%2f",
    "%00",
    "/",
    "..",
    "@o",
    "@f",
    "@p",
    "@s",
    "@t",
    "0",
    "1",
    "9223372036854775807",
    "18446744073709551616",
    "HTTP/1.0",
    "GET ",
    "HEAD ",
    "DELETE ",
    "PATCH ",
    "POST ",
    "1\r\nx\r\n0\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

const LINES: &[&str] = &[
    "Content-Length: 0",
    "Content-Length: 3",
    "Content-Length: 100000",
    "Transfer-Encoding: chunked",
    "Connection: close",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "Upload-Length: 3",
    "Upload-Length: 8",
    "Upload-Offset: 3",
    "Upload-Offset: 0",
    "Upload-Defer-Length: 1",
    "Upload-Concat: partial",
    "Upload-Concat: final;/files/@p",
    "Upload-Checksum: crc32c AAAAAA==",
    "Trailer: Upload-Checksum",
    "Upload-Metadata: filename YQ==",
    "Content-Type: application/offset+octet-stream",
    "X-HTTP-Method-Override: PATCH",
    "X-HTTP-Method-Override: DELETE",
    "Host: b",
    "X-Forwarded-Host: c",
    "X-Forwarded-Prefix: /up",
    "Forwarded: host=d;proto=https",
    "Range: bytes=1-",
    "Range: bytes=9-",
    "If-Match: *",
    "If-None-Match: *",
    "If-Modified-Since: Sun, 06 Nov 2044 08:49:37 GMT",
    "Upgrade: h2c",
    "Origin: https://a.test",
    "Tus-Resumable: 1.0.0",
    "Tus-Resumable: 0.2.2",
    "X-Request-ID: a",
    "Authorization: Bearer @t",
    "X-Chunk-SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "Upgrade: websocket",
    "Host: 127.0.0.1",
    "DELETE /files/@f HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\n",
    " folded",
];

const PIECES: &[&str] = &[
    ",", " ", "\t", "=", "==", "a", "filename", "YQ==", "YWI=", "YWJj", "/", "+", "_", "\u{e9}",
    "\0", "\r\n",
];

#[test]
fn the_heads_of_the_corpus() {
    let target = request_head::Target::start();
    for bytes in corpus("request_head") {
        eprintln!("{}", bytes.escape_ascii());
        target.run(&bytes);
    }
}

#[test]
fn heads_by_chance() {
    let test = "fuzz::heads_by_chance";
    let (seed, cases, threads) = (seed(test), rounds(2_000, 100_000), 4);
    let corpus = corpus("request_head");
    let begin = Instant::now();
    let seen = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for thread in 0..threads {
            let inputs = prop_oneof![
                9 => mutated(&corpus, WORDS),
                1 => proptest::collection::vec(any::<u8>(), 0..300),
            ];
            let seen = &seen;
            scope.spawn(move || {
                let target = request_head::Target::start();
                let seed = seed.wrapping_mul(10).wrapping_add(thread);
                over(inputs, cases / 4, seed, |bytes| target.run(bytes));
                for (status, times) in target.seen() {
                    *seen.lock().expect("no panic").entry(status).or_insert(0) += times;
                }
            });
        }
    });
    let (seen, seconds) = (
        seen.into_inner().expect("no panic"),
        begin.elapsed().as_secs_f64(),
    );
    figure(
        test,
        format_args!("{cases} heads in {seconds:.1} s, answered with {seen:?}"),
    );
    // Chance went past the front door.
    for status in [200, 201, 204, 400, 404, 405, 409, 412, 415] {
        assert!(seen.contains_key(&status), "{status}");
    }
}

#[test]
fn metadata_by_chance() {
    let corpus = corpus("metadata");
    for bytes in &corpus {
        metadata::run(bytes);
    }
    let inputs = prop_oneof![4 => mutated(&corpus, PIECES), 1 => proptest::collection::vec(any::<u8>(), 0..300)];
    over(
        inputs,
        rounds(20_000, 1_000_000),
        seed("fuzz::metadata_by_chance"),
        metadata::run,
    );
}

/// What the door takes is what the oracle takes, and HEAD gives it back byte for byte.
#[test]
fn metadata_comes_back() {
    let target = request_head::Target::start();
    let test = |value: &[u8]| {
        let Ok(value) = http::HeaderValue::from_bytes(value.trim_ascii()) else {
            return;
        };
        let value = value.as_bytes();
        let head = b"POST /files/ HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 1\r\nUpload-Metadata: ";
        let created = target.ask(&[head, value, b"\r\n"].concat(), b"");
        let good = metadata::naive(value).is_some();
        assert_eq!(
            created.status,
            if good { 201 } else { 400 },
            "{}",
            value.escape_ascii()
        );
        let Some(path) = created.location() else {
            return;
        };
        let ask = |method| {
            let head = format!("{method} {path} HTTP/1.1\r\nTus-Resumable: 1.0.0\r\n");
            target.ask(head.as_bytes(), b"")
        };
        assert_eq!(ask("HEAD").header("upload-metadata"), Some(value));
        assert_eq!(ask("DELETE").status, 204);
    };
    let corpus = corpus("metadata");
    for bytes in &corpus {
        test(bytes);
    }
    let seed = seed("fuzz::metadata_comes_back");
    over(mutated(&corpus, PIECES), rounds(500, 10_000), seed, test);
}
