//! The log: to standard error, a line for people or a JSON object each.

use std::io::{IsTerminal, stderr};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

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
    let level: Level;
    let set = match config.log_format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            level = Box::new(move |filter| handle.reload(filter).is_ok());
            builder.try_init()
        }
        // A request's id and path stand in the line's "span".
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_span_list(false);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            level = Box::new(move |filter| handle.reload(filter).is_ok());
            builder.try_init()
        }
    };
    if set.is_ok() {
        let _ = LEVEL.set(level);
        std::panic::set_hook(Box::new(panicked));
    }
}

/// Sets another level, as `--log-level` has it; whether that could be done.
pub fn set_level(level: &str) -> bool {
    let set = |level_is: &Level| level_is(EnvFilter::new(filter(level)));
    LEVEL.get().is_some_and(set)
}

/// Changes the log's filter.
type Level = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;
static LEVEL: OnceLock<Level> = OnceLock::new();

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
