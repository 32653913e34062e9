//! The loads themselves: each leaves its uploads as it says, and keeps the connections it needs open.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::http::Connection;
use crate::pattern::Pattern;
use crate::target::Target;
use crate::tus::Upload;

pub(crate) const MIB: u64 = 1024 * 1024;

/// What to do to the server.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum Scenario {
    /// One upload in one PATCH
    S1 {
        /// Size of the upload, in MiB
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=65_536))]
        mib: u64,
    },
    /// One upload, 1 MiB a PATCH, on one connection
    S2 {
        /// Size of the upload, in MiB
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=65_536))]
        mib: u64,
    },
    /// Uploads of 1 MiB, each with a connection that sent 16 KiB of a PATCH and is silent
    Idle {
        /// How many
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        uploads: u64,
    },
    /// Uploads of 1 MiB with 4 KiB stored and no connection
    Parked {
        /// How many
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        uploads: u64,
    },
    /// Uploads all at once, each in one PATCH on its own connection
    Busy {
        /// How many
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1000))]
        uploads: u64,
        /// Size of each, in MiB
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1024))]
        mib: u64,
    },
}

/// What a scenario did.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) uploads: Vec<Upload>,
    /// From the first byte of the first PATCH to the last answer.
    pub(crate) wall: Duration,
    /// Of every PATCH that was answered.
    pub(crate) patches: Vec<Duration>,
    /// Connections that have to stay open while the server is looked at.
    pub(crate) held: Vec<Connection>,
}

impl Scenario {
    pub(crate) fn run(self, target: &Target, pattern: &Pattern) -> Result<Done, Failure> {
        match self {
            Self::S1 { mib } => one(target, pattern, mib * MIB, mib * MIB),
            Self::S2 { mib } => one(target, pattern, mib * MIB, MIB),
            Self::Idle { uploads } => idle(target, pattern, uploads),
            Self::Parked { uploads } => parked(target, pattern, uploads),
            Self::Busy { uploads, mib } => busy(target, pattern, uploads, mib * MIB),
        }
    }
}

/// One upload, `step` bytes a PATCH.
pub(crate) fn one(
    target: &Target,
    pattern: &Pattern,
    len: u64,
    step: u64,
) -> Result<Done, Failure> {
    let mut via = Connection::open(target.address)?;
    let mut upload = Upload::create(&mut via, target, 0, len)?;
    let mut patches = Vec::new();
    let began = Instant::now();
    while upload.offset < len {
        let sent = Instant::now();
        upload.append(&mut via, pattern, step.min(len - upload.offset))?;
        patches.push(sent.elapsed());
    }
    Ok(Done {
        wall: began.elapsed(),
        uploads: vec![upload],
        patches,
        held: Vec::new(),
    })
}

fn idle(target: &Target, pattern: &Pattern, uploads: u64) -> Result<Done, Failure> {
    let mut done = Done::default();
    let began = Instant::now();
    for number in 0..uploads {
        let mut via = Connection::open(target.address)?;
        let mut upload = Upload::create(&mut via, target, number, MIB)?;
        upload.trickle(&mut via, pattern, 16 * 1024)?;
        done.uploads.push(upload);
        done.held.push(via);
    }
    done.wall = began.elapsed();
    Ok(done)
}

fn parked(target: &Target, pattern: &Pattern, uploads: u64) -> Result<Done, Failure> {
    let mut done = Done::default();
    let mut via = Connection::open(target.address)?;
    let began = Instant::now();
    for number in 0..uploads {
        let mut upload = Upload::create(&mut via, target, number, MIB)?;
        let sent = Instant::now();
        upload.append(&mut via, pattern, 4 * 1024)?;
        done.patches.push(sent.elapsed());
        done.uploads.push(upload);
    }
    done.wall = began.elapsed();
    Ok(done)
}

fn busy(target: &Target, pattern: &Pattern, uploads: u64, len: u64) -> Result<Done, Failure> {
    let mut ready = Vec::new();
    for number in 0..uploads {
        let mut via = Connection::open(target.address)?;
        let upload = Upload::create(&mut via, target, number, len)?;
        ready.push((via, upload));
    }
    let start = Barrier::new(ready.len());
    thread::scope(|scope| {
        let began = Instant::now();
        let senders: Vec<_> = ready
            .into_iter()
            .map(|(mut via, mut upload)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    let sent = Instant::now();
                    upload.append(&mut via, pattern, len)?;
                    Ok((upload, sent.elapsed()))
                })
            })
            .collect();
        let mut done = Done::default();
        for sender in senders {
            let (upload, took) = sender.join().map_err(|_| Failure::Panicked)??;
            done.uploads.push(upload);
            done.patches.push(took);
        }
        done.wall = began.elapsed();
        Ok(done)
    })
}
