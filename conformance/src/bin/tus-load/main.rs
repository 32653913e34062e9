//! `tus-load`: puts a load on any tus 1.0 server on this machine, and tells what it cost.
//!
//! In reading order: [`target`] (loopback only) → [`http`], [`h2`] (raw sockets) → [`tus`], [`session`], [`watch`], [`ask`]
//! (requests) → [`site`], [`scenario`] (loads; [`proxy`] and [`restart`] for some) → [`report`] (figures, from [`proc`]).
//! Bodies are cut from one buffer, [`pattern`], so the load is cheap and every stored byte can be checked.

mod ask;
mod failure;
mod h2;
mod http;
mod pattern;
mod proc;
mod proxy;
mod report;
mod restart;
mod scenario;
mod session;
mod site;
mod target;
mod tus;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use failure::Failure;
use pattern::Pattern;
use scenario::Scenario;
use site::{Done, MIB, Site};
use target::Target;

/// Loads a tus server on 127.0.0.1 and prints figures as name=value lines
#[derive(Debug, Parser)]
struct Cli {
    /// Creation URL of the server; only <http://127.0.0.1:PORT/PATH>
    #[arg(long)]
    url: String,
    /// A token that every request bears, for a server that asks for one
    #[arg(long, value_name = "TOKEN")]
    bearer: Option<String>,
    /// Process id of the server: adds its processor time, memory and writes
    #[arg(long)]
    pid: Option<u32>,
    /// Download what was stored and compare every byte; resume some of the uploads left open
    #[arg(long)]
    verify: bool,
    /// Seconds after which the run is given up
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit: u64,
    /// Milliseconds between the end of the load and the look at the server: what it still does then counts
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=30_000))]
    settle: u64,
    /// Where the server keeps its data: what it takes there is measured by some scenarios
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How the server is started again after a `kill -9`: its program, or one argument of it; repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    restart: Vec<String>,
    #[command(subcommand)]
    scenario: Scenario,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let limit = Duration::from_secs(cli.limit);
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("tus-load: given up after {limit:?}");
        restart::end();
        std::process::exit(3);
    });
    let done = run(cli);
    restart::end();
    match done {
        Ok(figures) => {
            print!("{figures}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("tus-load: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<String, Failure> {
    let site = Site {
        target: Target::parse(&cli.url)?,
        bearer: cli.bearer,
        pattern: Pattern::new(),
        server: cli.pid,
        data: cli.data,
        restart: cli.restart,
    };
    raise_file_limit();
    // What a server sets up with its first upload is not what an upload costs.
    check(&scenario::one(&site, MIB, MIB)?, &site, false)?;
    thread::sleep(Duration::from_millis(200));

    let mut done = cli.scenario.run(&site)?;
    let figures = match done.meter.take() {
        Some(meter) => {
            if let Some(cpu) = meter.so_far()? {
                done.figure("server_cpu_s_by_then", cpu.as_secs_f64());
            }
            thread::sleep(Duration::from_millis(cli.settle));
            meter.stop(&done)?
        }
        None => report::load(&done),
    };
    done.held.clear();
    check(&done, &site, cli.verify)?;
    Ok(figures)
}

/// Asks the server for every offset, and under `verify` for the bytes: an offset alone proves little.
fn check(done: &Done, site: &Site, verify: bool) -> Result<(), Failure> {
    const RESUMED: usize = 8;
    let mut via = site.connect()?;
    for upload in &done.uploads {
        upload.settle(&mut via, Duration::from_secs(5))?;
    }
    if !verify {
        return Ok(());
    }
    let (whole, open): (Vec<_>, Vec<_>) = done
        .uploads
        .iter()
        .cloned()
        .partition(|upload| upload.offset == upload.length);
    for mut upload in open.into_iter().take(RESUMED) {
        upload.append(&mut via, &site.pattern, upload.length - upload.offset)?;
        upload.compare(&mut via, &site.pattern)?;
    }
    whole
        .iter()
        .try_for_each(|upload| upload.compare(&mut via, &site.pattern))
}

/// A connection is a descriptor, and soft limits are often 1024. Where raising fails, connecting will say so.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}
