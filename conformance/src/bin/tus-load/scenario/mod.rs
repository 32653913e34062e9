//! The loads themselves: each leaves its uploads as it says, and keeps the connections it needs open.
//!
//! - [`single`]: one upload at a time
//! - [`crowd`]: many at once; [`quiet`]: many that hardly send
//! - [`joined`]: parts and their final
//! - [`sessions`]: the session API; [`slow`]: either over a long thin line
//! - [`beside`]: uploads beside downloads and readers of progress
//! - [`stored`]: what stored uploads cost, and a server that is killed

mod beside;
mod crowd;
mod joined;
mod quiet;
mod sessions;
mod single;
mod slow;
mod stored;

use std::time::Duration;

use clap::value_parser;

use crate::failure::Failure;
use crate::site::{Done, MIB, Site};

pub(crate) use single::one;

/// What to do to the server.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum Scenario {
    /// One upload in one PATCH
    S1 {
        /// Size of the upload, in MiB
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u64).range(1..=65_536))]
        mib: u64,
    },
    /// One upload, 1 MiB a PATCH, on one connection
    S2 {
        /// Size of the upload, in MiB
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u64).range(1..=65_536))]
        mib: u64,
    },
    /// Parts sent in parallel, and their final; also what is on the disk then, and afterwards
    Join {
        /// How many parts
        #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..=10_000))]
        parts: u64,
        /// Size of each, in KiB
        #[arg(long, default_value_t = 256 * 1024, value_parser = value_parser!(u64).range(1..=16_777_216))]
        kib: u64,
        /// How many are sent at a time
        #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..=64))]
        parallel: u64,
    },
    /// Uploads all at once, each created and sent in one PATCH on a new connection
    Crowd {
        /// How many
        #[arg(long, default_value_t = 200, value_parser = value_parser!(u64).range(1..=1000))]
        uploads: u64,
        /// Size of each, in MiB
        #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..=1024))]
        mib: u64,
    },
    /// Small files one after the other on some connections, a POST and a PATCH each
    Small {
        /// How many
        #[arg(long, default_value_t = 5000, value_parser = value_parser!(u64).range(1..=1_000_000))]
        files: u64,
        /// Size of each, in KiB
        #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..=1024))]
        kib: u64,
        /// Connections
        #[arg(long, default_value_t = 32, value_parser = value_parser!(u64).range(1..=1000))]
        connections: u64,
    },
    /// HEAD on some connections: of one upload, then of as many as there are connections
    Heads {
        /// Connections
        #[arg(long, default_value_t = 32, value_parser = value_parser!(u64).range(1..=1000))]
        connections: u64,
        /// Milliseconds of each
        #[arg(long, default_value_t = 3000, value_parser = value_parser!(u64).range(100..=60_000))]
        time: u64,
    },
    /// Uploads that trickle all at once, each in one PATCH on its own connection, and then end
    Trickle {
        /// How many
        #[arg(long, default_value_t = 1000, value_parser = value_parser!(u64).range(1..=20_000))]
        uploads: u64,
        /// How often each sends a piece
        #[arg(long, default_value_t = 8, value_parser = value_parser!(u64).range(1..=600))]
        pieces: u64,
        /// Milliseconds from piece to piece
        #[arg(long, default_value_t = 1000, value_parser = value_parser!(u64).range(10..=60_000))]
        pause: u64,
    },
    /// As s2, each PATCH under a checksum; one with a false sum must be refused
    Checked {
        /// Size of the upload, in MiB
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u64).range(1..=65_536))]
        mib: u64,
        /// Whose sum
        #[arg(long, value_enum, default_value_t = single::Algorithm::Sha1)]
        algorithm: single::Algorithm,
    },
    /// `kill -9` in the middle of uploads, beside stored ones; needs --pid and --restart
    Kill {
        /// Stored uploads, each half sent
        #[arg(long, default_value_t = 1000, value_parser = value_parser!(u64).range(1..=100_000))]
        uploads: u64,
        /// What each of four has sent by then, in MiB
        #[arg(long, default_value_t = 32, value_parser = value_parser!(u64).range(1..=1024))]
        mib: u64,
    },
    /// Processor time of small uploads beside few stored ones and beside many; with --restart, also how soon it is back
    Growth {
        /// Few
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(1..=10_000))]
        few: u64,
        /// Many
        #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
        many: u64,
        /// Uploads that are measured together; they are terminated before the next
        #[arg(long, default_value_t = 1000, value_parser = value_parser!(u64).range(1..=100_000))]
        batch: u64,
        /// How often
        #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=100))]
        batches: u64,
        /// Seconds without load before each measurement: what a server puts off is over then
        #[arg(long, default_value_t = 12, value_parser = value_parser!(u64).range(..=600))]
        rest: u64,
    },
    /// Uploads that grow by 1 KiB a PATCH, 32 of them: memory after a tenth of them and at the end
    Flat {
        /// How many
        #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(320..=100_000_000))]
        patches: u64,
    },
    /// 4, 50 and 100 uploads at once, of the same size together
    Many {
        /// Size of all, in MiB
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u64).range(1..=65_536))]
        mib: u64,
    },
    /// Uploads of 1 KiB to 64 MiB on some connections, at most 8 MiB a PATCH
    Mixed {
        /// How many
        #[arg(long, default_value_t = 400, value_parser = value_parser!(u64).range(1..=100_000))]
        uploads: u64,
        /// Connections
        #[arg(long, default_value_t = 16, value_parser = value_parser!(u64).range(1..=1000))]
        connections: u64,
    },
    /// One upload in one PATCH, while a finished one is downloaded over and over
    Downloads {
        /// Size of the upload, in MiB
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u64).range(1..=65_536))]
        mib: u64,
        /// How many download at once
        #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..=100))]
        readers: u64,
    },
    /// One upload, 1 MiB a PATCH, followed by readers of its progress (Highwater)
    Watched {
        /// Size of the upload, in MiB
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u64).range(1..=65_536))]
        mib: u64,
        /// How many follow it
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(1..=1000))]
        watchers: u64,
    },
    /// One upload over HTTP/2 by prior knowledge
    H2 {
        /// Size of the upload, in MiB
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u64).range(1..=65_536))]
        mib: u64,
        /// MiB a PATCH
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..=65_536))]
        step: u64,
    },
    /// Sessions at once, each in chunks (Highwater)
    Session(sessions::Shape),
    /// One upload, or its parts or chunks in parallel, over connections of 20 MiB/s and 50 ms
    Slow {
        /// Size, in MiB
        #[arg(long, default_value_t = 64, value_parser = value_parser!(u64).range(4..=1024))]
        mib: u64,
        /// How it is sent
        #[arg(long, value_enum, default_value_t = slow::How::Patch)]
        how: slow::How,
    },
    /// Uploads of 1 MiB, each with a connection that sent 16 KiB of a PATCH and is silent
    Idle {
        /// How many
        #[arg(long, default_value_t = 1000, value_parser = value_parser!(u64).range(1..=10_000))]
        uploads: u64,
    },
    /// Uploads of 1 MiB with 4 KiB stored and no connection
    Parked {
        /// How many
        #[arg(long, default_value_t = 1000, value_parser = value_parser!(u64).range(1..=10_000))]
        uploads: u64,
    },
    /// Uploads all at once, each in one PATCH on its own connection
    Busy {
        /// How many
        #[arg(long, default_value_t = 64, value_parser = value_parser!(u64).range(1..=1000))]
        uploads: u64,
        /// Size of each, in MiB
        #[arg(long, default_value_t = 32, value_parser = value_parser!(u64).range(1..=1024))]
        mib: u64,
    },
}

impl Scenario {
    pub(crate) fn run(self, site: &Site) -> Result<Done, Failure> {
        match self {
            Self::S1 { mib } => one(site, mib * MIB, mib * MIB),
            Self::S2 { mib } => one(site, mib * MIB, MIB),
            Self::Join {
                parts,
                kib,
                parallel,
            } => joined::join(site, parts, kib * 1024, parallel),
            Self::Crowd { uploads, mib } => crowd::crowd(site, uploads, mib * MIB),
            Self::Small {
                files,
                kib,
                connections,
            } => crowd::small(site, files, kib * 1024, connections),
            Self::Heads { connections, time } => crowd::heads(site, connections, time),
            Self::Trickle {
                uploads,
                pieces,
                pause,
            } => quiet::trickle(site, uploads, pieces, pause),
            Self::Checked { mib, algorithm } => single::checked(site, mib, algorithm),
            Self::Kill { uploads, mib } => stored::kill(site, uploads, mib * MIB),
            Self::Growth {
                few,
                many,
                batch,
                batches,
                rest,
            } => {
                let rest = Duration::from_secs(rest);
                stored::growth(site, few..many, [batch, batches], rest)
            }
            Self::Flat { patches } => crowd::flat(site, patches),
            Self::Many { mib } => crowd::many(site, mib * MIB),
            Self::Mixed {
                uploads,
                connections,
            } => crowd::mixed(site, uploads, connections),
            Self::Downloads { mib, readers } => beside::downloads(site, mib * MIB, readers),
            Self::Watched { mib, watchers } => beside::watched(site, mib * MIB, watchers),
            Self::H2 { mib, step } => single::h2(site, mib * MIB, step * MIB),
            Self::Session(shape) => sessions::sessions(site, shape),
            Self::Slow { mib, how } => slow::slow(site, mib * MIB, how),
            Self::Idle { uploads } => quiet::idle(site, uploads),
            Self::Parked { uploads } => quiet::parked(site, uploads),
            Self::Busy { uploads, mib } => crowd::busy(site, uploads, mib * MIB),
        }
    }
}
