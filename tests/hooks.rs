//! Hooks (`--hooks-http`, `--hooks-dir`): what receivers are asked and told, and what they cannot do.

mod access;
mod ask;
mod chosen;
mod files;
mod finish;
mod misbehave;
mod scan;
mod secrets;
mod tell;
mod waiting;

use std::time::Duration;

use highwater::config::Config;
use serde_json::Value;

use crate::support::receiver::{self, Receiver};
use crate::support::{Server, start_with};

/// A server that calls `receiver` for these events, and gives up soon.
async fn calling(receiver: &Receiver, events: &str) -> Server {
    calling_with(receiver, events, |_| {}).await
}

async fn calling_with(
    receiver: &Receiver,
    events: &str,
    change: impl FnOnce(&mut Config),
) -> Server {
    start_with(|config| {
        set(config, receiver, events);
        change(config);
    })
    .await
}

/// Has a server call `receiver` for these events, and give up soon.
fn set(config: &mut Config, receiver: &Receiver, events: &str) {
    config.hooks.hooks_http = receiver.url();
    config.hooks.hooks_enabled_events = events.parse().expect("events");
    config.hooks.hooks_http_backoff = Duration::from_millis(10);
    config.hooks.progress_hooks_interval = Duration::from_millis(20);
}

/// What stands in JSON at a path of names.
fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(value, |value, name| &value[name])
}
