//! The `highwater` binary.

use std::process::ExitCode;

use highwater::config::{CommandLine, Settings};
use highwater::server::{self, StartError};
use tracing::{error, info, warn};

fn main() -> ExitCode {
    let CommandLine {
        config,
        settings,
        print_config,
        warnings,
    } = match CommandLine::parse(std::env::args_os()) {
        Ok(line) => line,
        Err(told) => told.exit(), // 2, or 0 for help and version
    };
    if print_config {
        print!("{settings}");
        return ExitCode::SUCCESS;
    }
    highwater::logging::init(&config);
    for warning in warnings {
        warn!("{warning}");
    }
    let ended = server::main_runtime()
        .map_err(StartError::System)
        .and_then(|runtime| {
            let ended = runtime.block_on(server::run(config, || reload(&settings)));
            runtime.shutdown_background(); // what is still open after the time to stop was told so
            ended
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            match reason {
                StartError::Config(wrong) => error!("{}", settings.placed(&wrong)),
                reason => error!("{reason}"),
            }
            ExitCode::FAILURE
        }
    }
}

/// What SIGHUP asks for beside the files that the server watches: reads all options anew, and takes over what can be.
fn reload(began_with: &Settings) {
    let now = match CommandLine::parse(std::env::args_os()) {
        Ok(now) => now,
        Err(wrong) => {
            let text = wrong.to_string();
            let reason = text.lines().next().unwrap_or_default();
            return error!(
                reason,
                "the options cannot be read anew; they stay as they were"
            );
        }
    };
    if highwater::logging::set_level(&now.config.log_level) {
        info!(
            level = now.config.log_level,
            "the log's level is that of --log-level"
        );
    }
    let mut changed = began_with.differing(&now.settings);
    changed.retain(|name| name != "--log-level");
    if changed.is_empty() {
        info!("no option has changed that needs a restart");
    } else {
        warn!(
            options = changed.join(" "),
            "these options have changed, and need a restart"
        );
    }
}
