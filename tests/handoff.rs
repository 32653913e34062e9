//! The hand-off (`--handoff-http`, `--handoff-exec`, `--handoff-redis`): each complete upload is a job, and none is lost.

mod digest;
mod example;
mod exec;
mod http;
mod redis;

use std::time::Duration;

use highwater::config::Config;
use serde_json::Value;

use crate::support::receiver::Receiver;
use crate::support::{Client, Server, start_with};

/// A server that hands on to `receiver`, and is quick to try again.
async fn handing_on(receiver: &Receiver, change: impl FnOnce(&mut Config)) -> Server {
    let url = receiver.url();
    start_with(|config| {
        config.handoff.handoff_http = url;
        config.hooks.hooks_http_backoff = Duration::from_millis(10);
        change(config);
    })
    .await
}

/// A complete upload with these bytes and this metadata; the path of its URL.
async fn upload(client: &Client, bytes: &[u8], metadata: &[(&str, &str)]) -> String {
    let created = client
        .tus("POST", "/files/")
        .header("Upload-Length", bytes.len())
        .described(metadata)
        .header("Content-Type", "application/offset+octet-stream")
        .body(bytes)
        .send()
        .await;
    assert_eq!(created.status, 201, "{created:?}");
    created.location_path()
}

/// What operators see of the outbox.
async fn outbox(client: &Client) -> Value {
    client.get("/admin/hooks").await.json()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    let text = value[name].as_str();
    text.unwrap_or_else(|| panic!("no text {name} in {value}"))
}
