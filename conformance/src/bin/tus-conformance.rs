//! `tus-conformance`: checks any tus 1.0 server over the network.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tus_conformance::case::Case;
use tus_conformance::run::{Tried, Verdict, is_there, look_at, run};
use tus_conformance::target::Url;
use tus_conformance::{cases, report};

/// Checks a tus 1.0 server over the network, clause by clause
///
/// Makes small uploads, some of them broken on purpose, and terminates them afterwards where the server can do that. A run
/// takes less than a minute.
///
/// Exit status: 0 if every MUST that could be tried is kept, 1 if one is broken, 2 if the server cannot be checked, or ended
/// meanwhile.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The creation URL, such as <http://127.0.0.1:1080/files/>
    #[arg(required_unless_present = "list", value_parser = Url::parse)]
    url: Option<Url>,
    /// Only cases whose id has this in it; may be repeated
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// A field for every request, such as 'Authorization: Bearer x'; may be repeated
    #[arg(long, value_name = "NAME: VALUE", value_parser = field)]
    header: Vec<(String, String)>,
    /// Tell of passed cases too, with what was sent and what came back
    #[arg(long, short)]
    verbose: bool,
    /// Write JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Write JUnit XML to a file as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// List the cases, each with the fault of the reference server that makes it fail, and check nothing
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match check(&cli) {
        Ok(status) => status,
        // Who reads no further has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tus-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

fn check(cli: &Cli) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let wanted = |case: &&Case| {
        cli.only.is_empty() || cli.only.iter().any(|part| case.id.contains(part.as_str()))
    };
    let chosen: Vec<&'static Case> = cases::all().filter(wanted).collect();
    if chosen.is_empty() {
        return Err(io::Error::other("no case is called so; see --list"));
    }
    let Some(url) = cli.url.as_ref().filter(|_| !cli.list) else {
        for case in chosen {
            let fault = case.fault.map_or("-".to_owned(), |fault| fault.to_string());
            writeln!(out, "{:6} {:50} {fault}", case.level, case.id)?;
            writeln!(out, "       {}: «{}»", case.section, case.clause)?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let server = look_at(url, &cli.header).map_err(io::Error::other)?;
    let tried: Vec<Tried> = run(&server, &chosen);
    if let Some(file) = &cli.junit {
        fs::write(file, report::junit(&server, &tried))?;
    }
    if cli.json {
        writeln!(out, "{}", report::json(&server, &tried)?)?;
    } else {
        write!(out, "{}", report::table(&server, &tried, cli.verbose))?;
    }
    if !is_there(&server) {
        return Err(io::Error::other(
            "the server has ended, and what it broke is not all known",
        ));
    }
    Ok(match report::count(&tried, Verdict::Fail) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    })
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("it has no colon")?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{name:?} is no field name"));
    }
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("a value has no control characters".to_owned());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}
