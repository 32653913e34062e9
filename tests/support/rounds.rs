//! How much a test of survival does, from which seed, and what it has to tell.
//!
//! `HIGHWATER_TEST_LONG` is set by `tests/run --long`. `HIGHWATER_TEST_SEED` repeats a run. Figures go to standard error and, where
//! `HIGHWATER_TEST_FIGURES` names a file, to its end: `tests/run` shows them, since a test's output is hidden once it passed.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

/// `short` as a rule, `long` under `tests/run --long`.
pub fn rounds(short: usize, long: usize) -> usize {
    if std::env::var_os("HIGHWATER_TEST_LONG").is_some() {
        long
    } else {
        short
    }
}

/// Tells what `test` measured, on one line.
pub fn figure(test: &str, what: impl Display) {
    let line = format!("figure: {test}: {what}\n");
    eprint!("{line}");
    if let Some(file) = std::env::var_os("HIGHWATER_TEST_FIGURES") {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the file of the figures");
    }
}

/// The least time that so many of a hundred did not exceed.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100).saturating_sub(1)]
}

/// Another one each run, told as a figure of `test`; or `HIGHWATER_TEST_SEED`.
pub fn seed(test: &str) -> u64 {
    let seed = std::env::var("HIGHWATER_TEST_SEED").map_or_else(
        |_| {
            let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
            u64::from(since.subsec_micros())
        },
        |seed| seed.parse().expect("HIGHWATER_TEST_SEED is a number"),
    );
    figure(test, format_args!("HIGHWATER_TEST_SEED={seed}"));
    seed
}

/// A small generator of numbers, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number from 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    /// A place in a list of `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }
}
