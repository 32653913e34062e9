//! One who follows every upload: an administrator, and nobody else.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::stream::Events;
use super::watcher::{HANDSHAKE, Watcher, ask, number};
use crate::support::disk::Disk;
use crate::support::{Client, Process, Server, id, start, start_with, until};

const TOKEN: &str = "a-token-of-the-tests";
const BEARER: (&str, &str) = ("Authorization", "Bearer a-token-of-the-tests");

async fn guarded() -> Server {
    start_with(|config| config.admin_token = TOKEN.parse().ok()).await
}

/// An upload of each kind by each door, whole: a plain one, a final with its parts, a session. Their ids, those of parts
/// included.
async fn one_of_each(client: &Client) -> BTreeSet<String> {
    let plain = client.create(3).await;
    assert_eq!(client.patch(&plain, 0, "abc").send().await.status, 204);
    let mut paths = vec![plain];
    let mut parts = Vec::new();
    for _ in 0..2 {
        let part = client.tus("POST", "/files/").header("Upload-Length", 2);
        let part = part.header("Upload-Concat", "partial").send().await;
        let part = part.location_path();
        assert_eq!(client.patch(&part, 0, "de").send().await.status, 204);
        parts.push(part);
    }
    paths.push(client.join(&parts).await.location_path());
    paths.extend(parts);
    let session = client.session_of(b"hello").await;
    assert_eq!(session.send(1, b"hello").await.status, 201);
    assert_eq!(session.finalize().await.status, 200);
    paths.push(session.id);
    paths.iter().map(|path| id(path).to_owned()).collect()
}

/// What is left of `ids` after this message: without the one that is told to be complete, by its event or a snapshot.
fn tick(ids: &mut BTreeSet<String>, message: &Value) {
    let told = ["snapshot", "upload_completed"].map(Value::from);
    if told.contains(&message["event"]) && message["status"] == "completed" {
        ids.remove(message["upload_id"].as_str().expect("an id"));
    }
}

#[tokio::test]
async fn uploads_of_every_door_are_told_to_an_administrator() {
    let server = guarded().await;
    let query = format!("?upload=*&token={TOKEN}");
    let mut by_query = Watcher::open(&server, &query).await;
    // A browser can keep the token out of the URL.
    let mut by_message = Watcher::open(&server, "").await;
    let asking = json!({ "subscribe": ["*"], "token": TOKEN });
    by_message.send(&asking).await;
    let mut events = Events::open(&server, "?upload=*", &[BEARER]).await;
    // A message is obeyed before the next one, and so the subscription is there when the answer is.
    by_message.send(&json!({ "subscribe": ["?"] })).await;
    assert_eq!(by_message.next().await["upload_id"], "?");

    let ids = one_of_each(&server).await;
    assert_eq!(ids.len(), 5);
    for watcher in [&mut by_query, &mut by_message] {
        let mut left = ids.clone();
        while !left.is_empty() {
            tick(&mut left, &watcher.next().await);
        }
    }
    let mut left = ids.clone();
    while !left.is_empty() {
        tick(&mut left, &events.next().await);
    }
    assert_eq!(events.last, None, "there is no number of all uploads");
    // Another one comes, and goes: from its first event on.
    let path = server.create(3).await;
    let first = by_query.next().await;
    assert_eq!(first["event"], "upload_created");
    assert_eq!(first["upload_id"], id(&path));
    assert_eq!(server.delete(&path).await.status, 204);
    let ended = by_query.next().await;
    assert_eq!(ended["event"], "upload_cancelled");
    assert_eq!(number(&ended), number(&first) + 1);
}

/// One that was there before anybody watched, and that nothing happens to but its end.
#[tokio::test]
async fn the_end_of_a_quiet_upload_is_told() {
    let server = start_with(|config| config.expire_after = Duration::from_secs(2)).await;
    let (cancelled, expired) = (server.create(3).await, server.create(3).await);
    let mut watcher = Watcher::open(&server, "?upload=*").await;
    watcher.send(&json!({ "subscribe": ["?"] })).await;
    assert_eq!(watcher.next().await["upload_id"], "?");
    assert_eq!(server.delete(&cancelled).await.status, 204);
    for (path, event) in [
        (&cancelled, "upload_cancelled"),
        (&expired, "upload_expired"),
    ] {
        let told = watcher.next().await;
        assert_eq!(
            (&told["event"], &told["upload_id"]),
            (&json!(event), &json!(id(path)))
        );
    }
}

/// How a WebSocket and a stream are refused that ask for all uploads with this query and these headers: alike.
async fn refused(client: &Client, query: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let query = format!("?upload=*{query}");
    let all = [&HANDSHAKE[..], headers].concat();
    let (_, socket) = ask(client.addr, &format!("/progress{query}"), &all).await;
    let (_, events) = ask(client.addr, &format!("/progress/events{query}"), headers).await;
    assert_eq!((socket.status, &socket.code), (events.status, &events.code));
    if socket.status == 401 {
        assert_eq!(socket.header("WWW-Authenticate"), Some("Bearer"));
    }
    (socket.status, socket.code)
}

#[tokio::test]
async fn no_other_token_and_no_other_page_follows_all() {
    let server = guarded().await;
    let session = server.session_of(b"hello").await;
    let of_session = format!("&token={}", session.token);
    let unauthorized = (401, "unauthorized".to_owned());
    for query in ["", "&token=", "&token=a-token-of-the-test", &of_session] {
        let found = refused(&server, query, &[]).await;
        assert_eq!(found, unauthorized, "{query}");
    }
    let owner = format!("Bearer {}", session.token);
    let found = refused(&server, "", &[("Authorization", &owner)]).await;
    assert_eq!(found, unauthorized);
    // Beside what the session's token does open.
    let query = format!("&upload={}{of_session}", session.id);
    assert_eq!(refused(&server, &query, &[]).await, unauthorized);
    let headers = [BEARER, ("Origin", "http://evil.example")];
    let found = refused(&server, "", &headers).await;
    assert_eq!(found, (403, "foreign-origin".to_owned()));

    let query = format!("?upload={}{of_session}", session.id);
    let mut watcher = Watcher::open(&server, &query).await;
    assert_eq!(watcher.next().await["event"], "snapshot");
    for token in [&session.token, "", "a-token-of-the-test"] {
        let asking = json!({ "subscribe": ["*"], "token": token });
        watcher.send(&asking).await;
        let error = watcher.next().await;
        assert_eq!(error["event"], "error");
        assert_eq!(
            (&error["upload_id"], &error["code"]),
            (&json!("*"), &json!("unauthorized"))
        );
    }
    // Of another's upload nothing is told: the next message is about its own.
    let path = server.create(3).await;
    assert_eq!(server.delete(&path).await.status, 204);
    assert_eq!(session.cancel().await.status, 204);
    assert_eq!(watcher.next().await["upload_id"], session.id);
}

#[tokio::test]
async fn without_a_token_all_are_followed_from_this_machine_alone() {
    let server = start().await;
    let own = format!("http://{}", server.addr);
    let headers = [&HANDSHAKE[..], &[("Origin", &own)]].concat();
    let (_, reply) = ask(server.addr, "/progress?upload=*", &headers).await;
    assert_eq!(reply.status, 101);
    let mut watcher = Watcher::open(&server, "?upload=*").await;
    let mut events = Events::open(&server, "?upload=*", &[]).await;
    let path = server.create(3).await;
    assert_eq!(watcher.next().await["upload_id"], id(&path));
    assert_eq!(events.next().await["upload_id"], id(&path));

    let forwarded = [("X-Forwarded-For", "1.2.3.4")];
    let hidden = (404, "no-such-resource".to_owned());
    assert_eq!(refused(&server, "", &forwarded).await, hidden);
    let foreign = [("Origin", "http://evil.example")];
    let found = refused(&server, "", &foreign).await;
    assert_eq!(found, (403, "foreign-origin".to_owned()));
    let rebound = server.request("GET", "/progress/events?upload=*");
    let rebound = rebound.without("Host").header("Host", "rebound.example");
    let rebound = rebound.header("Origin", "http://rebound.example").send();
    assert_eq!(rebound.await.status, 404);

    // The connection itself is open to whoever comes through a proxy, and no message makes more of it.
    let headers = [&HANDSHAKE[..], &forwarded].concat();
    let (conn, reply) = ask(server.addr, "/progress", &headers).await;
    assert_eq!(reply.status, 101);
    let mut proxied = Watcher::on(conn).await;
    proxied.send(&json!({ "subscribe": ["*"] })).await;
    assert_eq!(proxied.next().await["code"], "no-such-resource");
}

/// Of what all are told nothing comes any more; what is no id is told to be none.
#[tokio::test]
async fn all_are_followed_no_more_when_they_are_unsubscribed() {
    let server = start().await;
    let mut watcher = Watcher::open(&server, "?upload=*").await;
    let own = server.create(3).await;
    assert_eq!(watcher.next().await["upload_id"], id(&own));
    watcher.subscribe(&own).await;
    watcher.until("snapshot").await;
    watcher
        .send(&json!({ "unsubscribe": ["*", "?", id(&own)] }))
        .await;
    let error = watcher.next().await;
    assert_eq!(
        (&error["event"], &error["upload_id"], &error["code"]),
        (&json!("error"), &json!("?"), &json!("not-found"))
    );
    assert_eq!(server.delete(&own).await.status, 204);
    server.create(3).await;
    let last = server.create(3).await;
    watcher.subscribe(&last).await;
    let told = watcher.next().await;
    assert_eq!(
        (&told["event"], &told["upload_id"]),
        (&json!("snapshot"), &json!(id(&last)))
    );
}

/// Whoever comes late is told all the same.
#[tokio::test]
async fn a_disk_that_is_full_already_is_told_to_who_comes() {
    let disk = Disk::tmpfs(16);
    let data = disk.path().join("data");
    let server = Process::start(&data, &["--disk-warn", "100%", "--disk-stop", "0"]);
    until("it is yellow", || async {
        server.get("/readyz").await.json()["disk"] == "yellow"
    })
    .await;
    let mut watcher = Watcher::open(&server, "?upload=*").await;
    let told = watcher.next().await;
    assert_eq!(
        (&told["event"], &told["level"]),
        (&json!("disk_level"), &json!("yellow"))
    );
}
