//! Identity (`--auth`): who gets in at every door, and that what is another's is as if it were not there.

mod attacks;
mod streams;

use std::path::Path;

use highwater::config::{AuthMode, Config};
use highwater::security::auth::{Auth, Expect, Kept};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::client::Request;
use crate::support::{Client, Process, Server, start_with, until};

pub(crate) const ALICE: &str = "alices-token-of-some-length";
pub(crate) const BOB: &str = "bobs-token-of-another-length";
pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";

pub(crate) fn users(bob: &str) -> String {
    format!(
        "[[user]]\nid = \"alice\"\ntoken = \"{ALICE}\"\nmax_size = \"1MiB\"\n\n[[user]]\nid = \"bob\"\ntoken = \"{bob}\"\n"
    )
}

/// A server that tells Alice from Bob by their tokens.
pub(crate) async fn two_users() -> (Server, tempfile::TempDir) {
    two_users_with(|_| {}).await
}

/// The same, with more changed.
pub(crate) async fn two_users_with(
    change: impl FnOnce(&mut highwater::config::Config),
) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("users.toml");
    std::fs::write(&file, users(BOB)).expect("it is written");
    let server = start_with(|config| {
        config.auth.auth = AuthMode::Token;
        config.auth.auth_file = Some(file);
        change(config);
    })
    .await;
    (server, dir)
}

pub(crate) trait As {
    fn bearing(self, token: &str) -> Self;
}

impl As for Request {
    fn bearing(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }
}

pub(crate) async fn create(client: &Client, token: &str, length: u64) -> String {
    let post = client
        .tus("POST", "/files/")
        .header("Upload-Length", length);
    let reply = post.bearing(token).send().await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.location_path()
}

#[tokio::test]
async fn users_have_their_own_uploads() {
    let (server, _dir) = two_users().await;
    let path = create(&server, ALICE, 5).await;
    let patch = server.patch(&path, 0, "hello").bearing(ALICE).send().await;
    assert_eq!(patch.status, 204);
    let head = server.tus("HEAD", &path).bearing(ALICE).send().await;
    assert_eq!((head.status, head.number("Upload-Offset")), (200, Some(5)));
    let get = server.request("GET", &path).bearing(ALICE).send().await;
    assert_eq!(get.body, b"hello");
    // A limit of hers, and none of his.
    let large = |token: &str| {
        let post = server
            .tus("POST", "/files/")
            .header("Upload-Length", (1 << 20) + 1);
        post.bearing(token).send()
    };
    let (hers, his) = (large(ALICE).await, large(BOB).await);
    assert_eq!(
        (hers.status, hers.code.as_str(), his.status),
        (413, "too-large", 201)
    );
}

#[tokio::test]
async fn a_users_own_limit_holds_however_the_length_is_told() {
    let (server, _dir) = two_users().await;
    let post = |length: Option<u64>, concat: &str| {
        let post = server.tus("POST", "/files/").bearing(ALICE);
        let post = match length {
            Some(length) => post.header("Upload-Length", length),
            None => post.header("Upload-Defer-Length", 1),
        };
        if concat.is_empty() {
            post
        } else {
            post.header("Upload-Concat", concat)
        }
    };
    let deferred = post(None, "").send().await.location_path();
    let declared = server
        .patch(&deferred, 0, "x")
        .header("Upload-Length", (1 << 20) + 1);
    let declared = declared.bearing(ALICE).send().await;
    assert_eq!(
        (declared.status, declared.code.as_str()),
        (413, "too-large")
    );
    let long = vec![7; (1 << 20) + 1];
    let sent = server.patch(&deferred, 0, long).bearing(ALICE).send().await;
    assert_eq!((sent.status, sent.code.as_str()), (413, "too-large"));
    // Parts whose lengths were not known when they were joined.
    let mut parts = Vec::new();
    for _ in 0..2 {
        parts.push(post(None, "partial").send().await.location_path());
    }
    let join = server.tus("POST", "/files/").bearing(ALICE);
    let join = join.header("Upload-Concat", format!("final;{}", parts.join(" ")));
    let joined = join.send().await.location_path();
    for part in &parts {
        let patch = server
            .patch(part, 0, vec![7; 600 << 10])
            .header("Upload-Length", 600 << 10);
        assert_eq!(patch.bearing(ALICE).send().await.status, 204);
    }
    let head = server.tus("HEAD", &joined).bearing(ALICE);
    assert_eq!(head.send().await.status, 410);
}

#[tokio::test]
async fn options_that_the_mode_has_no_use_for_end_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("users.toml");
    std::fs::write(&file, users(BOB)).expect("it is written");
    let started = |mode: AuthMode, file: Option<&Path>, audience: Option<&str>| {
        let mut config = Config::for_test();
        config.upload_dir = dir.path().join("data");
        config.auth.auth = mode;
        config.auth.auth_file = file.map(Into::into);
        config.auth.auth_audience = audience.map(Into::into);
        highwater::server::start(config)
    };
    for (mode, file, audience, option) in [
        (AuthMode::None, Some(file.as_path()), None, "auth-file"),
        (AuthMode::Token, None, None, "auth-file"),
        (AuthMode::Token, Some(&file), Some("x"), "auth-audience"),
        (AuthMode::Jwt, Some(&file), None, "auth-file"),
        (AuthMode::Forward, None, None, "auth-forward-from"),
    ] {
        let refused = started(mode, file, audience)
            .await
            .expect_err("it is refused");
        assert!(refused.to_string().contains(option), "{refused}");
    }
    // And what was refused has left nothing running.
    started(AuthMode::Token, Some(&file), None)
        .await
        .expect("it starts");
}

#[tokio::test]
async fn the_file_is_read_again_when_it_changes() {
    const NEW: &str = "bobs-new-token-of-some-length";
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("users.toml");
    std::fs::write(&file, users(BOB)).expect("it is written");
    let options = [
        "--auth",
        "token",
        "--auth-file",
        file.to_str().expect("text"),
    ];
    let mut server = Process::start(&dir.path().join("data"), &options);
    let path = create(&server, BOB, 5).await;
    std::fs::write(&file, users(NEW)).expect("it is written");
    until("the new token is known", || async {
        let head = server.tus("HEAD", &path).bearing(NEW);
        head.send().await.status == 200
    })
    .await;
    let old = server.tus("HEAD", &path).bearing(BOB).send().await;
    assert_eq!(old.status, 401);
    // Rubbish changes nothing.
    std::fs::write(&file, "[[user]]\nid = ").expect("it is written");
    server.wait_for_line("the last good one stays");
    let head = server.tus("HEAD", &path).bearing(NEW).send().await;
    assert_eq!(head.status, 200);
}

#[tokio::test]
async fn who_owns_it_survives_a_restart_and_the_loss_of_the_records() {
    let (mut server, _dir) = two_users().await;
    let path = create(&server, ALICE, 5).await;
    for _ in 0..2 {
        server.restart().await;
        let hers = server.tus("HEAD", &path).bearing(ALICE).send().await;
        let his = server.tus("HEAD", &path).bearing(BOB).send().await;
        assert_eq!((hers.status, his.status), (200, 404));
        server.stop().await;
        std::fs::remove_dir_all(server.data().join("state")).expect("the records go");
    }
}

pub(crate) fn jwt(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token")
}

pub(crate) fn soon() -> u64 {
    jsonwebtoken::get_current_timestamp() + 600
}

async fn with_jwt() -> (Server, tempfile::TempDir) {
    with_jwt_and(|config| config.auth.auth_audience = Some("uploads".into())).await
}

/// A server that believes signed tokens, and what else is to be different.
pub(crate) async fn with_jwt_and(
    change: impl FnOnce(&mut highwater::config::Config),
) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    std::fs::write(&file, SECRET).expect("it is written");
    let server = start_with(|config| {
        config.auth.auth = AuthMode::Jwt;
        config.auth.auth_file = Some(file);
        change(config);
    })
    .await;
    (server, dir)
}

#[tokio::test]
async fn a_signed_token_is_a_user() {
    let (server, _dir) = with_jwt().await;
    let token = |user: &str| jwt(&json!({"sub": user, "exp": soon(), "aud": "uploads"}));
    let path = create(&server, &token("alice"), 5).await;
    let head = |token: String| server.tus("HEAD", &path).bearing(&token).send();
    assert_eq!(head(token("alice")).await.status, 200);
    assert_eq!(head(token("bob")).await.status, 404);
    for bad in [
        json!({"sub": "alice", "exp": soon()}),
        json!({"sub": "alice", "exp": soon(), "aud": "downloads"}),
        json!({"sub": "alice", "exp": 1, "aud": "uploads"}),
        json!({"sub": "alice", "exp": soon(), "nbf": soon(), "aud": "uploads"}),
    ] {
        let reply = head(jwt(&bad)).await;
        assert_eq!(reply.status, 401, "{bad}");
    }
    let small = json!({"sub": "alice", "exp": soon(), "aud": "uploads", "upload_max_size": 3});
    let post = server.tus("POST", "/files/").header("Upload-Length", 4);
    assert_eq!(post.bearing(&jwt(&small)).send().await.status, 413);
}

#[tokio::test]
async fn a_proxy_names_the_user() {
    let by = |from: &str| {
        let from = from.parse().expect("addresses");
        start_with(|config| {
            config.auth.auth = AuthMode::Forward;
            config.auth.auth_forward_from = from;
        })
    };
    let server = by("127.0.0.0/8").await;
    let post = |user: &str| {
        let post = server.tus("POST", "/files/").header("Upload-Length", 5);
        post.header("X-Forwarded-User", user)
    };
    let path = post("alice").send().await.location_path();
    let head = |user: &str| server.tus("HEAD", &path).header("X-Forwarded-User", user);
    assert_eq!(head("alice").send().await.status, 200);
    assert_eq!(head("bob").send().await.status, 404);
    let two = head("alice").header("X-Forwarded-User", "bob").send().await;
    assert_eq!(two.status, 401);
    assert_eq!(server.head(&path).await.status, 401);
    // A page of another origin could use the proxy's cookie: it is refused, unless it was named.
    let session = |origin: Option<&str>| {
        let post = server
            .request("POST", "/uploads/initialize")
            .header("X-Forwarded-User", "alice");
        let post = origin
            .into_iter()
            .fold(post, |post, origin| post.header("Origin", origin));
        post.body(r#"{"filename":"f","size":1}"#).send()
    };
    let foreign = session(Some("https://evil.example")).await;
    assert_eq!(
        (foreign.status, foreign.code.as_str()),
        (403, "foreign-origin")
    );
    let own = format!("http://{}", server.addr);
    assert_eq!(session(Some(&own)).await.status, 201);
    assert_eq!(session(None).await.status, 201);
    // And whoever comes by it is no operator at this machine.
    let admin = server.request("GET", "/admin/uploads/active").send().await;
    assert_eq!(admin.status, 404);
    // The same from somebody who is no proxy of ours.
    let server = by("10.0.0.0/8").await;
    let post = server.tus("POST", "/files/").header("Upload-Length", 5);
    let reply = post.header("X-Forwarded-User", "alice").send().await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn preflights_and_checks_of_health_need_no_credential() {
    let (server, _dir) = two_users().await;
    for (method, path) in [
        ("OPTIONS", "/files/"),
        ("OPTIONS", "/uploads/initialize"),
        ("GET", "/healthz"),
    ] {
        let reply = server
            .request(method, path)
            .header("Origin", "https://a.example")
            .send()
            .await;
        assert!(reply.status < 300, "{method} {path}: {reply:?}");
    }
    // A browser can read why it was refused.
    let post = server.tus("POST", "/files/").header("Upload-Length", 1);
    let reply = post.header("Origin", "https://a.example").send().await;
    assert_eq!(reply.status, 401);
    assert!(reply.header("Access-Control-Allow-Origin").is_some());
    assert_eq!(reply.header("WWW-Authenticate"), Some("Bearer"));
}

#[test]
fn keys_of_every_kind_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key.pem");
    let openssl = |args: &[&str]| {
        let done = std::process::Command::new("openssl")
            .args(args)
            .current_dir(dir.path())
            .output();
        assert!(
            done.expect("openssl, of the Debian package of that name")
                .status
                .success()
        );
    };
    let head = |algorithm| Header::new(algorithm);
    let claims = json!({"sub": "alice", "exp": soon()});
    for (algorithm, kind, option) in [
        (Algorithm::RS256, "RSA", "rsa_keygen_bits:2048"),
        (Algorithm::ES256, "EC", "ec_paramgen_curve:P-256"),
        (Algorithm::EdDSA, "ED25519", ""),
    ] {
        let mut args = vec!["genpkey", "-algorithm", kind, "-out", "private.pem"];
        if !option.is_empty() {
            args.extend(["-pkeyopt", option]);
        }
        openssl(&args);
        openssl(&["pkey", "-in", "private.pem", "-pubout", "-out", "key.pem"]);
        let private = std::fs::read(dir.path().join("private.pem")).expect("a key");
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(&private),
            Algorithm::ES256 => EncodingKey::from_ec_pem(&private),
            _ => EncodingKey::from_ed_pem(&private),
        };
        let token = encode(&head(algorithm), &claims, &key.expect("a key")).expect("a token");
        let auth = Auth::Jwt(Kept::read([&file], Expect::default()).expect("a public key"));
        let who = auth.of(None, [token.as_str()]).expect("a user");
        assert_eq!(who.user().expect("a user").id.as_str(), "alice", "{kind}");
        let mut broken = token.into_bytes();
        let last = broken.len() - 10;
        broken[last] = if broken[last] == b'A' { b'B' } else { b'A' };
        let broken = String::from_utf8(broken).expect("text");
        let who = auth.of(None, [broken.as_str()]).expect("a bearer");
        assert!(who.user().is_none() && !who.is_known(), "{kind}");
    }
}

#[tokio::test]
async fn a_start_without_users_tells_of_uploads_that_have_some() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let file = dir.path().join("users.toml");
    std::fs::write(&file, users(BOB)).expect("it is written");
    let file = file.to_str().expect("a path");
    let mut server = Process::start(&data, &[]);
    server.create(5).await;
    let line = "UPLOADS OF USERS ARE OPEN TO EVERYBODY";
    assert!(server.terminate().0);
    // What is nobody's is no reason, nor is what ended.
    let mut server = Process::start(&data, &["--auth", "token", "--auth-file", file]);
    let path = create(&server, ALICE, 5).await;
    let gone = create(&server, BOB, 5).await;
    let delete = server.tus("DELETE", &gone).bearing(BOB).send().await;
    assert_eq!(delete.status, 204);
    assert!(server.terminate().0);
    let told = |server: &mut Process| server.log().iter().any(|told| told.contains(line));
    assert!(!told(&mut server));
    let mut server = Process::start(&data, &[]);
    let said = server.wait_for_line(line);
    assert!(
        said.contains("WARN") && said.contains("uploads=1"),
        "{said}"
    );
    // It is so.
    let head = server.head(&path).await;
    assert_eq!(head.status, 200, "{head:?}");
    let delete = server.tus("DELETE", &path).send().await;
    assert_eq!(delete.status, 204);
    assert!(server.terminate().0);
    let mut server = Process::start(&data, &[]);
    assert!(!told(&mut server));
}
