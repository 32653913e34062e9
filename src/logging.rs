//! The log: to standard error, a line for people or a JSON object each.

use std::io::{IsTerminal, stderr};
use std::panic::PanicHookInfo;

use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Libraries that are heard from `info` on, unless the filter names them.
const QUIET: &str = "sled=info,h2=info";
/// And one that is not to be heard even if the filter names it: it would tell what clients' messages say, tokens and all.
const SILENT: &str = "tungstenite=info";

/// Sets the process's log up; panics are told in it, too. Only the first call in a process does.
pub fn init(config: &Config) {
    let builder = tracing_subscriber::fmt()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        // At `debug` the libraries below would drown the server's own lines; by name they can still be asked for.
        .with_env_filter(EnvFilter::new(filter(&config.log_level)));
    let set = match config.log_format {
        LogFormat::Text => builder.try_init(),
        // A request's id and path stand in the line's "span".
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
    };
    if set.is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
}

fn filter(level: &str) -> String {
    let named = |directive: &&str| !directive.contains("tungstenite");
    let asked: Vec<&str> = level.split(',').filter(named).collect();
    format!("{QUIET},{},{SILENT}", asked.join(","))
}

fn panicked(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("not a text");
    let backtrace = std::backtrace::Backtrace::capture(); // empty unless RUST_BACKTRACE asks for it
    error!(place, %backtrace, "panic: {message}");
}
