//! A stream of progress ends with the credential that opened it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ALICE, As, BOB, create, jwt, two_users, users, with_jwt};
use crate::progress::stream::Events;
use crate::progress::watcher::Watcher;
use crate::support::{Client, Server, id, until};

const NEW: &str = "bobs-new-token-of-some-length";

/// Follows an upload both ways; the first message of each is how it stands.
async fn both(client: &Client, path: &str, token: &str) -> (Watcher, Events) {
    let query = format!("?upload={}", id(path));
    let mut socket = Watcher::open(client, &format!("{query}&token={token}")).await;
    let bearer = format!("Bearer {token}");
    let mut events = Events::open(client, &query, &[("Authorization", &bearer)]).await;
    for first in [socket.next().await, events.next().await] {
        assert_eq!(first["event"], "snapshot", "{first}");
    }
    (socket, events)
}

/// Both end, and not only when somebody has enough of them.
async fn end((mut socket, mut events): (Watcher, Events)) {
    let ends = async { (socket.closed().await, events.try_next().await) };
    let ends = timeout(Duration::from_secs(40), ends).await;
    assert_eq!(ends.expect("an end"), (1008, None));
}

/// Both end, and do not open again.
async fn are_over(client: &Client, path: &str, token: &str, streams: (Watcher, Events)) {
    end(streams).await;
    let query = format!("?upload={}&token={token}", id(path));
    let again = client.get(&format!("/progress/events{query}")).await;
    assert_eq!((again.status, again.code.as_str()), (401, "unauthorized"));
    let mut again = Watcher::open(client, &query).await;
    assert_eq!(again.next().await["code"], "unauthorized");
}

/// Both hear of the end of their upload.
async fn go_on(client: &Client, path: &str, token: &str, streams: (Watcher, Events)) {
    let (mut socket, mut events) = streams;
    let patch = client.patch(path, 0, "hello").bearing(token).send().await;
    assert_eq!(patch.status, 204);
    socket.until("upload_completed").await;
    events.until("upload_completed").await;
}

async fn is_refused(server: &Server, path: &str, token: &str) {
    until("the token is good no more", || async {
        let head = server.tus("HEAD", path).bearing(token);
        head.send().await.status == 401
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_taken_out_of_the_file_ends_what_it_opened() {
    let (server, dir) = two_users().await;
    let (hers, his) = (
        create(&server, ALICE, 5).await,
        create(&server, BOB, 5).await,
    );
    let alice = both(&server, &hers, ALICE).await;
    let bob = both(&server, &his, BOB).await;
    // One that shows the new token beside the old, once it is known, goes on.
    let (mut renewed, _) = both(&server, &his, BOB).await;
    let file = dir.path().join("users.toml");
    let two = format!("{}[[user]]\nid = \"bob\"\ntoken = \"{NEW}\"\n", users(BOB));
    std::fs::write(&file, two).expect("it is written");
    server.reload();
    until("the new token is known", || async {
        let head = server.tus("HEAD", &his).bearing(NEW);
        head.send().await.status == 200
    })
    .await;
    renewed
        .send(&json!({ "subscribe": [id(&his)], "token": NEW }))
        .await;
    assert_eq!(renewed.next().await["event"], "snapshot");
    std::fs::write(&file, users(NEW)).expect("it is written");
    server.reload();
    is_refused(&server, &his, BOB).await;
    are_over(&server, &his, BOB, bob).await;
    go_on(&server, &hers, ALICE, alice).await;
    let (_, events) = both(&server, &his, NEW).await;
    go_on(&server, &his, NEW, (renewed, events)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_token_that_is_over_ends_what_it_opened() {
    /// Seconds by which clocks may differ.
    const LEEWAY: u64 = 30;
    let (server, _dir) = with_jwt().await;
    let now = jsonwebtoken::get_current_timestamp();
    let token = |user: &str, exp: u64| jwt(&json!({"sub": user, "exp": exp, "aud": "uploads"}));
    let (short, long) = (token("alice", now - LEEWAY + 8), token("alice", now + 600));
    let path = create(&server, &short, 5).await;
    let streams = both(&server, &path, &short).await;
    let lasting = both(&server, &path, &long).await;
    are_over(&server, &path, &short, streams).await;
    go_on(&server, &path, &long, lasting).await;
}

/// The token of a session stands for nothing else, and is not looked for among the users' while it is one of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sessions_token_that_opens_it_no_more_ends_what_it_opened() {
    let (server, dir) = two_users().await;
    let ask = json!({"filename": "f", "size": 5, "verify": false});
    let session = async || -> Value {
        let post = server.request("POST", "/uploads/initialize").bearing(ALICE);
        post.body(ask.to_string()).send().await.json()
    };
    let text = |told: &Value, name: &str| told[name].as_str().expect("a text").to_owned();
    let (one, two) = (session().await, session().await);
    let (one, token) = (text(&one, "session_id"), text(&one, "session_token"));
    let (two, other) = (text(&two, "session_id"), text(&two, "session_token"));
    let (socket, events) = both(&server, &one, &token).await;
    let (mut more, _) = both(&server, &one, &token).await;
    more.send(&json!({ "subscribe": [two], "token": other }))
        .await;
    assert_eq!(more.next().await["event"], "snapshot");
    let carol = format!("[[user]]\nid = \"carol\"\ntoken = \"{token}\"\n");
    std::fs::write(dir.path().join("users.toml"), users(BOB) + &carol).expect("it is written");
    server.reload();
    end((socket, events)).await;
    // Where another session is followed as well, that goes on, and soon it is the only one.
    let began = Instant::now();
    loop {
        for id in [&one, &two] {
            let chunk = server.request("POST", &format!("/uploads/{id}/chunks/1"));
            let wrong = chunk.header("X-Chunk-SHA256", "0".repeat(64)).body("hello");
            assert_eq!(wrong.bearing(ALICE).send().await.status, 460);
        }
        let told = more.until("chunk_failed").await;
        if told.last().expect("one")["upload_id"] == two {
            break;
        }
        more.until("chunk_failed").await;
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it is followed still"
        );
    }
}
