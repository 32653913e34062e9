//! What users may do: how much they store, how fast they come, and which files they bring.

mod bytes_kept;
mod races;
pub(crate) mod rates;
mod refusals;
mod sessions;
mod sizes;
mod told;
mod totals;

use std::path::{Path, PathBuf};

use highwater::config::AuthMode;
use serde_json::{Value, json};

use crate::identity::{jwt, soon, with_jwt_and};
use crate::support::client::Request;
use crate::support::{Client, Reply, Server, start_with};

const ALICE: &str = "alices-token-of-some-length";
const BOB: &str = "bobs-token-of-another-length";
const ADMIN: &str = "the-operators-own-token";

/// A client who is one of the users.
#[derive(Debug, Clone, Copy)]
struct User {
    client: Client,
    token: &'static str,
}

/// A file of Alice, of whom it says what is given here, and of Bob, of whom it says nothing.
fn users(dir: &Path, alice: &str) -> PathBuf {
    let file = dir.join("users.toml");
    let text = format!(
        "[[user]]\nid = \"alice\"\ntoken = \"{ALICE}\"\n{alice}\n[[user]]\nid = \"bob\"\ntoken = \"{BOB}\"\n"
    );
    std::fs::write(&file, text).expect("it is written");
    file
}

/// A server with these two, and what else is to be different.
async fn serve(
    alice: &str,
    change: impl FnOnce(&mut highwater::config::Config),
) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = users(dir.path(), alice);
    let server = start_with(|config| {
        config.auth.auth = AuthMode::Token;
        config.auth.auth_file = Some(file);
        config.admin_token = Some(ADMIN.parse().expect("a token"));
        change(config);
    })
    .await;
    (server, dir)
}

/// A server that believes signed tokens.
async fn serve_jwt(
    change: impl FnOnce(&mut highwater::config::Config),
) -> (Server, tempfile::TempDir) {
    with_jwt_and(|config| {
        config.admin_token = Some(ADMIN.parse().expect("a token"));
        change(config);
    })
    .await
}

/// A signed token of a user, with these claims besides.
fn claims(user: &str, more: &Value) -> String {
    let mut all = json!({"sub": user, "exp": soon()});
    for (name, value) in more.as_object().expect("claims") {
        all[name] = value.clone();
    }
    jwt(&all)
}

fn alice(client: &Client) -> User {
    let client = *client;
    User {
        client,
        token: ALICE,
    }
}

fn bob(client: &Client) -> User {
    let client = *client;
    User { client, token: BOB }
}

impl User {
    /// The request as this user's.
    fn own(&self, request: Request) -> Request {
        request.header("Authorization", format!("Bearer {}", self.token))
    }

    fn tus(&self, method: &str, path: &str) -> Request {
        self.own(self.client.tus(method, path))
    }

    fn patch(&self, path: &str, offset: u64, body: impl Into<Vec<u8>>) -> Request {
        self.own(self.client.patch(path, offset, body))
    }

    /// Asks for an upload with these headers.
    async fn post(&self, headers: &[(&str, &str)]) -> Reply {
        let mut post = self.tus("POST", "/files/");
        for (name, value) in headers {
            post = post.header(name, value);
        }
        post.send().await
    }

    async fn ask(&self, length: u64) -> Reply {
        self.post(&[("Upload-Length", &length.to_string())]).await
    }

    async fn create(&self, length: u64) -> String {
        made(&self.ask(length).await)
    }

    async fn deferred(&self) -> String {
        made(&self.post(&[("Upload-Defer-Length", "1")]).await)
    }

    /// A complete part with these bytes.
    async fn part(&self, bytes: &[u8]) -> String {
        let length = bytes.len().to_string();
        let path = made(
            &self
                .post(&[("Upload-Length", &length), ("Upload-Concat", "partial")])
                .await,
        );
        self.send(&path, 0, bytes).await;
        path
    }

    async fn join(&self, parts: &[&String]) -> Reply {
        let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
        let concat = format!("final;{}", parts.join(" "));
        self.post(&[("Upload-Concat", &concat)]).await
    }

    async fn send(&self, path: &str, offset: u64, bytes: &[u8]) {
        let reply = self.patch(path, offset, bytes).send().await;
        assert_eq!(reply.status, 204, "{reply:?}");
    }

    async fn offset(&self, path: &str) -> u64 {
        let reply = self.tus("HEAD", path).send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.number("Upload-Offset").expect("an offset")
    }

    async fn delete(&self, path: &str) {
        let reply = self.tus("DELETE", path).send().await;
        assert_eq!(reply.status, 204, "{reply:?}");
    }
}

fn made(reply: &Reply) -> String {
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.location_path()
}

/// `GET /admin/users`.
async fn told(client: &Client) -> Value {
    let get = client.request("GET", "/admin/users");
    let get = get.header("Authorization", format!("Bearer {ADMIN}"));
    let reply = get.send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// What a user has: reserved bytes and open uploads.
async fn used(client: &Client, user: &str) -> (u64, u64) {
    let told = told(client).await;
    let users = told["users"].as_array().expect("users");
    let line = users.iter().find(|line| line["user_id"] == *user);
    line.map_or((0, 0), |line| {
        let number = |name: &str| line[name].as_u64().expect("a number");
        (number("reserved_bytes"), number("open_uploads"))
    })
}

/// That an answer refuses for the quota, with what is used and allowed.
#[track_caller]
fn over_quota(reply: &Reply, used: u64, allowed: u64) {
    assert_eq!(
        (reply.status, reply.code.as_str()),
        (403, "quota-exceeded"),
        "{reply:?}"
    );
    let told = reply.json();
    assert_eq!(
        (&told["used"], &told["allowed"]),
        (&json!(used), &json!(allowed))
    );
}

/// The last value of a metric.
async fn metric(client: &Client, name: &str) -> u64 {
    let get = client.request("GET", "/metrics");
    let reply = get
        .header("Authorization", format!("Bearer {ADMIN}"))
        .send()
        .await;
    let text = String::from_utf8(reply.body).expect("text");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}: {text}"))
        .parse()
        .expect("a number")
}
