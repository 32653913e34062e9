//! Whoever has a session's token alone is as fast as the session's owner, and together with the owner.

use std::time::{Duration, Instant};

use serde_json::json;

use super::rates::{too_fast, until_refused};
use super::{User, alice, bob, claims, serve, serve_jwt};
use crate::support::client::Request;
use crate::support::session::Session;
use crate::support::{Server, bytes, figure};

/// Requests a second.
const RATE: u32 = 20;
/// Bytes a second.
const BYTES: usize = 256 << 10;

/// A user's credential, however it is shown.
struct Owner {
    token: String,
}

impl Owner {
    fn own(&self, request: Request) -> Request {
        request.header("Authorization", format!("Bearer {}", self.token))
    }

    async fn session(&self, server: &Server, chunks: usize) -> Session {
        let ask = json!({"filename": "f", "size": chunks * BYTES, "chunk_size": BYTES});
        let post = self.own(server.request("POST", "/uploads/initialize"));
        let reply = post.body(ask.to_string()).send().await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let info = reply.json();
        let text = |name: &str| info[name].as_str().expect("a text").to_owned();
        Session {
            client: **server,
            id: text("session_id"),
            token: text("session_token"),
            info,
        }
    }
}

/// Alice, who may be so fast, by a file and by a signed token; nobody else is bounded.
async fn servers(
    toml: &str,
    (claim, rate): (&str, u64),
) -> [(Server, tempfile::TempDir, Owner); 2] {
    let (server, dir) = serve(toml, |_| {}).await;
    let token = alice(&server).token.to_owned();
    let (signed, place) = serve_jwt(|_| {}).await;
    let jwt = claims("alice", &json!({ claim: rate }));
    [
        (server, dir, Owner { token }),
        (signed, place, Owner { token: jwt }),
    ]
}

/// Sends these in turn for a while: how many were let in, of how many, and in which time.
async fn in_turn(requests: &[Request]) -> (u32, u32, Duration) {
    let (began, mut let_in, mut sent) = (Instant::now(), 0, 0);
    while began.elapsed() < Duration::from_millis(1500) {
        for request in requests {
            let reply = request.clone().send().await;
            if reply.status == 429 {
                too_fast(&reply, 1);
            } else {
                let_in += 1;
            }
            sent += 1;
        }
    }
    (let_in, sent, began.elapsed())
}

async fn owner_and_token_share(server: &mut Server, owner: &Owner) {
    let session = owner.session(server, 2).await;
    // What a signed token said is known after a restart.
    server.restart().await;
    let client = **server;
    let session = Session { client, ..session };
    let requests = [
        session.request("GET", "/status"),
        session.chunk(1, b"of another length"),
        session.tus("GET", ""),
        session.patch(1, 7, b"at another offset"),
        owner.own(client.tus("GET", "/files/x")),
    ];
    let (let_in, sent, took) = in_turn(&requests).await;
    figure("let in", format!("{let_in} of {sent} in {took:?}"));
    let most = f64::from(RATE) * (took.as_secs_f64() + 1.0) + 1.0;
    assert!(f64::from(let_in) <= most && let_in >= RATE, "{let_in}");
    for head in [
        session.request("HEAD", "/status"),
        session.tus("HEAD", ""),
        session.tus("HEAD", "/1"),
    ] {
        for _ in 0..RATE {
            assert_eq!(head.clone().send().await.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_by_a_sessions_token_are_its_owners() {
    let [mut one, mut two] = servers(
        &format!("request_rate = {RATE}"),
        ("upload_request_rate", RATE.into()),
    )
    .await;
    tokio::join!(
        owner_and_token_share(&mut one.0, &one.2),
        owner_and_token_share(&mut two.0, &two.2),
    );
}

async fn bytes_are_slow(server: &Server, owner: &Owner) {
    let data = bytes(3, 3 * BYTES);
    let session = owner.session(server, 3).await;
    let began = Instant::now();
    assert_eq!(session.send(1, &data).await.status, 201);
    let patch = session.patch(2, 0, session.part(2, &data)).send().await;
    assert_eq!(patch.status, 204, "{patch:?}");
    assert_eq!(session.send(3, &data).await.status, 201);
    // The last of them are paid for by who comes next, with the owner's own credential as well.
    let post = server.tus("POST", "/files/").header("Upload-Length", 1);
    let path = owner.own(post).send().await.location_path();
    let patch = owner.own(server.patch(&path, 0, "x")).send().await;
    assert_eq!(patch.status, 204, "{patch:?}");
    let took = began.elapsed();
    figure("by the session's token", format!("{took:?}"));
    assert!(took >= Duration::from_millis(1800), "{took:?}");
    assert_eq!(session.finalize().await.status, 200);
    assert!(session.download().await.body == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bytes_by_a_sessions_token_are_its_owners() {
    let [one, two] = servers(
        &format!("byte_rate = \"{BYTES}\""),
        ("upload_byte_rate", BYTES as u64),
    )
    .await;
    tokio::join!(
        bytes_are_slow(&one.0, &one.2),
        bytes_are_slow(&two.0, &two.2)
    );
}

#[tokio::test]
async fn one_users_sessions_take_nothing_from_anothers_at_the_same_address() {
    let (server, _dir) = serve("", |config| config.limits.max_request_rate = 5).await;
    let owner = |user: User| Owner {
        token: user.token.to_owned(),
    };
    let hers = owner(alice(&server)).session(&server, 1).await;
    let his = owner(bob(&server)).session(&server, 1).await;
    let (before, reply) = until_refused(hers.request("GET", "/status")).await;
    too_fast(&reply, 1);
    assert!(before >= 4, "{before}");
    let status = his.request("GET", "/status").send().await;
    assert_eq!(status.status, 200, "{status:?}");
    // Nor do those that are guessed, which count by the address: of a session, of an upload, and where nothing is opened.
    let guess = |method: &str, path: &str| {
        let guess = server.tus(method, path);
        guess.header("Authorization", "Bearer guessed-token-of-length")
    };
    let upload = format!("/files/{}", his.id);
    for request in [
        guess("GET", &format!("/uploads/{}/status", his.id)),
        guess("GET", "/uploads/no%20id/status"),
        guess("PATCH", &upload),
        guess("PATCH", &format!("{upload}/1")),
        guess("POST", "/files/").header("Upload-Length", 1),
        guess("POST", "/uploads/initialize").body("{}"),
        // His token is no key to anything else.
        his.owned(server.request("POST", "/uploads/initialize")),
        his.owned(server.tus("GET", &format!("/files/{}", hers.id))),
    ] {
        let (_, reply) = until_refused(request).await;
        too_fast(&reply, 1);
    }
    let status = his.request("GET", "/status").send().await;
    assert_eq!(status.status, 200, "{status:?}");
}
