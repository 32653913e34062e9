//! The `highwater` binary.

use std::process::ExitCode;

use highwater::config::CommandLine;
use highwater::server::{self, StartError};
use tracing::{error, warn};

fn main() -> ExitCode {
    let CommandLine { config, warnings } = match CommandLine::parse(std::env::args_os()) {
        Ok(line) => line,
        Err(told) => told.exit(), // 2, or 0 for help and version
    };
    highwater::logging::init(&config);
    for warning in warnings {
        warn!("{warning}");
    }
    let ended = server::main_runtime()
        .map_err(StartError::System)
        .and_then(|runtime| {
            let ended = runtime.block_on(server::run(config));
            runtime.shutdown_background(); // what is still open after the time to stop was told so
            ended
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}
