//! What a credential says of its user is held to, by whichever of the two it is said, and as it is now.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use highwater::config::Config;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::rates::{too_fast, until_refused};
use super::{alice, claims, over_quota, serve, serve_jwt, told, users};
use crate::identity::{As, SECRET, soon};
use crate::support::client::Request;
use crate::support::{Client, Reply, Server, bytes, metadata, until};

/// Users, by what is said of each: in the users' file, and as claims.
fn said() -> [(&'static str, &'static str, Value); 7] {
    [
        ("quota", "quota = \"10\"", json!({"upload_quota": 10})),
        (
            "types",
            "types = [\"image/*\"]",
            json!({"upload_types": ["image/*"]}),
        ),
        ("open", "open_uploads = 1", json!({"upload_max_open": 1})),
        (
            "hour",
            "uploads_per_hour = 1",
            json!({"upload_max_per_hour": 1}),
        ),
        (
            "requests",
            "request_rate = 2",
            json!({"upload_request_rate": 2}),
        ),
        (
            "bytes",
            "byte_rate = \"64KiB\"",
            json!({"upload_byte_rate": 64 << 10}),
        ),
        (
            "free",
            "request_rate = 0\nbyte_rate = \"0\"",
            json!({"upload_request_rate": 0, "upload_byte_rate": 0}),
        ),
    ]
}

/// Requests of all others, a second.
const REQUESTS: u64 = 50;
/// Bytes of all others, a second.
const BYTES: u64 = 128 << 10;

fn general(config: &mut Config) {
    config.limits.max_request_rate = REQUESTS;
    config.limits.max_byte_rate = BYTES;
}

/// One of them.
struct Bearer {
    client: Client,
    token: String,
}

impl Bearer {
    fn own(&self, request: Request) -> Request {
        request.bearing(&self.token)
    }

    async fn ask(&self, length: usize, name: &str) -> Reply {
        let post = self.client.tus("POST", "/files/");
        let post = post.header("Upload-Length", length);
        let post = post.header("Upload-Metadata", metadata(&[("filetype", name)]));
        self.own(post).send().await
    }

    async fn send(&self, length: usize) -> Duration {
        let began = Instant::now();
        for length in [length, 1] {
            let path = self.ask(length, "image/png").await.location_path();
            let patch = self.client.patch(&path, 0, bytes(1, length));
            assert_eq!(self.own(patch).send().await.status, 204);
        }
        began.elapsed()
    }
}

async fn is_held(server: &Server, token: impl Fn(&str) -> String) {
    let bearer = |name: &str| Bearer {
        client: **server,
        token: token(name),
    };
    let png = "image/png";
    let user = bearer("quota");
    over_quota(&user.ask(11, png).await, 0, 10);
    assert_eq!(user.ask(10, png).await.status, 201);

    let user = bearer("types");
    let reply = user.ask(1, "text/plain").await;
    assert_eq!(
        (reply.status, reply.code.as_str()),
        (415, "type-not-allowed")
    );
    assert_eq!(user.ask(1, png).await.status, 201);

    let user = bearer("open");
    assert_eq!(user.ask(1, png).await.status, 201);
    let reply = user.ask(1, png).await;
    assert_eq!((reply.status, reply.code.as_str()), (429, "too-many-open"));

    let user = bearer("hour");
    assert_eq!(user.ask(1, png).await.status, 201);
    too_fast(&user.ask(1, png).await, 3600);

    let user = bearer("requests");
    let began = Instant::now();
    let (before, reply) = until_refused(user.own(server.tus("GET", "/files/x"))).await;
    too_fast(&reply, 1);
    let most = 2 * (began.elapsed().as_secs() + 2);
    assert!((2..=most).contains(&(before as u64)), "{before}");

    // Half a second beyond what comes at once.
    let took = bearer("bytes").send(96 << 10).await;
    assert!(took >= Duration::from_millis(450), "{took:?}");

    // At the others' rate it would take 15 s.
    let user = bearer("free");
    let took = user.send(16 * (128 << 10)).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    let status = by_its_token(server, |post| user.own(post)).await;
    for _ in 0..3 * REQUESTS {
        let own = user.own(server.tus("GET", "/files/x"));
        assert_eq!(own.send().await.status, 404);
        assert_eq!(status.clone().send().await.status, 200);
    }
    let told = told(server).await;
    let all = told["users"].as_array().expect("users");
    let free = all.iter().find(|line| line["user_id"] == "free");
    let limits = &free.expect("the free one")["limits"];
    for name in ["request_rate", "byte_rate"] {
        assert_eq!(limits[name], Value::Null, "{limits}");
    }
}

/// What asks for the status of a new session by the session's own token.
async fn by_its_token(server: &Server, own: impl FnOnce(Request) -> Request) -> Request {
    let post = own(server.request("POST", "/uploads/initialize"));
    let session = post.body(r#"{"filename":"f","size":1}"#).send().await;
    let session = session.json();
    let text = |name: &str| session[name].as_str().expect("a text");
    let status = format!("/uploads/{}/status", text("session_id"));
    let status = server.request("GET", &status);
    status.bearing(text("session_token"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_file_and_the_claims_say_is_held_to() {
    let mut file = String::new();
    for (name, toml, _) in said() {
        let token = format!("the-token-of-{name:-<9}");
        writeln!(
            file,
            "\n[[user]]\nid = \"{name}\"\ntoken = \"{token}\"\n{toml}"
        )
        .expect("text");
    }
    let by_file = async {
        let (server, _dir) = serve(&file, general).await;
        is_held(&server, |name| format!("the-token-of-{name:-<9}")).await;
    };
    let by_claims = async {
        let (server, _dir) = serve_jwt(general).await;
        let of = |name: &str| said().into_iter().find(|(user, ..)| *user == name);
        let token = |name: &str| claims(name, &of(name).expect("one of them").2);
        is_held(&server, token).await;
    };
    tokio::join!(by_file, by_claims);
}

#[tokio::test]
async fn what_the_file_says_is_held_to_as_it_changes() {
    let (server, dir) = serve("quota = \"5\"", |_| {}).await;
    let alice = alice(&server);
    over_quota(&alice.ask(6).await, 0, 5);
    let status = by_its_token(&server, |post| alice.own(post)).await;
    assert_eq!(status.clone().send().await.status, 200);

    users(dir.path(), "quota = \"50\"\nrequest_rate = 3");
    server.reload();
    // Of her session's token as well, though it was begun before there was a rate.
    until("she is too fast", || async {
        status.clone().send().await.status == 429
    })
    .await;
    until("there is room", || async {
        alice.ask(6).await.status == 201
    })
    .await;
}

#[tokio::test]
async fn keys_of_signed_tokens_are_read_again_when_they_change() {
    const OTHER: &str = "another secret of thirty-two bytes or more";
    let (server, dir) = serve_jwt(|_| {}).await;
    let by = |secret: &str| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let claims = json!({"sub": "alice", "exp": soon()});
        encode(&Header::default(), &claims, &key).expect("a token")
    };
    let ask = |token: String| {
        let get = server.tus("GET", "/files/x").bearing(&token);
        async { get.send().await.status }
    };
    let (old, new) = (by(SECRET), by(OTHER));
    assert_eq!((ask(old.clone()).await, ask(new.clone()).await), (404, 401));
    std::fs::write(dir.path().join("key"), OTHER).expect("it is written");
    server.reload();
    until("the new key is known", || async {
        ask(new.clone()).await == 404
    })
    .await;
    assert_eq!(ask(old).await, 401);
}
