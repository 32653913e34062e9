//! The door for operators: who gets in, what is told, what can be changed, and what of it is refused.

mod access;
mod dashboard;
mod disk;
mod metrics;
mod uploads;
mod users;

use serde_json::Value;

use crate::support::{Client, Reply};

/// The body of an answer as JSON.
fn json(reply: &Reply) -> Value {
    assert_eq!(
        reply.header("Content-Type"),
        Some("application/json"),
        "{reply:?}"
    );
    reply.json()
}

/// What GET of this path tells.
async fn told(client: &Client, path: &str) -> Value {
    let reply = client.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    json(&reply)
}

async fn post(client: &Client, path: &str) -> Reply {
    client.request("POST", path).body("").send().await
}
