//! The session API: many sessions, many chunks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::value_parser;

use crate::failure::Failure;
use crate::session::{Session, Sums, Wish};
use crate::site::{Done, MIB, Site, count, ms, together};

/// What the sessions are like.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Shape {
    /// How many at once
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..=1000))]
    sessions: u64,
    /// Size of each, in MiB
    #[arg(long, default_value_t = 1024, value_parser = value_parser!(u64).range(1..=65_536))]
    mib: u64,
    /// Size of a chunk, in KiB
    #[arg(long, default_value_t = 8192, value_parser = value_parser!(u64).range(64..=65_536))]
    chunk_kib: u64,
    /// Chunks of one at a time
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..=16))]
    parallel: u64,
    /// Without the hash of each chunk
    #[arg(long)]
    unverified: bool,
    /// With the hash of the whole
    #[arg(long)]
    file_hash: bool,
}

pub(crate) fn sessions(site: &Site, shape: Shape) -> Result<Done, Failure> {
    let wish = |number| Wish {
        number,
        size: shape.mib * MIB,
        chunk: shape.chunk_kib * 1024,
        hashes: !shape.unverified,
        file_hash: shape.file_hash,
    };
    // All sessions have the same bytes, so that the client hashes them once.
    let sums = Sums::of(&site.pattern, wish(0));
    let mut done = site.begin()?;
    let (all, wall) = together(0..shape.sessions, |_| {
        let mut via = site.connect()?;
        let session = Session::begin(&mut via, site, wish(0), &sums)?;
        let times = chunks(site, &session, shape.parallel)?;
        let began = Instant::now();
        session.finalize(&mut via)?;
        Ok((session.file, times, began.elapsed()))
    })?;
    done.wall = wall;
    let mut finalized = Duration::ZERO;
    for (file, times, took) in all {
        done.uploads.push(file);
        done.steps.extend(times);
        finalized = finalized.max(took);
    }
    done.figure("finalize_ms", ms(finalized));
    done.figure(
        "chunks_per_min",
        count(&done.steps) * 60.0 / wall.as_secs_f64(),
    );
    Ok(done)
}

/// Sends all chunks of a session, some at a time, each on a connection of its own; how long each took.
pub(crate) fn chunks(
    site: &Site,
    session: &Session,
    parallel: u64,
) -> Result<Vec<Duration>, Failure> {
    let next = AtomicU64::new(0);
    let (times, _) = together(0..parallel, |_| {
        let mut via = site.connect()?;
        let mut times = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= session.chunks() {
                return Ok(times);
            }
            let began = Instant::now();
            session.send(&mut via, &site.pattern, index)?;
            times.push(began.elapsed());
        }
    })?;
    Ok(times.concat())
}
