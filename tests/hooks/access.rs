//! `pre-access` and credentials: on every door the credential is looked at first, and a hook asked only of whoever has one.

use serde_json::{Value, json};

use super::receiver::{Receiver, Said};
use super::{at, set};
use crate::identity::{ALICE, As, create, two_users_with};
use crate::progress::stream::Events;
use crate::progress::watcher::{HANDSHAKE, Watcher, ask};
use crate::support::{Server, id};

const STRANGER: &str = "no-token-of-anybodys";

/// Two users, and a hook that is asked for access.
async fn guarded(receiver: &Receiver) -> (Server, tempfile::TempDir) {
    two_users_with(|config| {
        set(config, receiver, "pre-access");
        config.hooks.hooks_http_retry = 0;
        config.admin_token = "a-token-of-the-tests".parse().ok();
    })
    .await
}

/// A session of Alice's: its id and its token.
async fn session(server: &Server) -> (String, String) {
    let body = json!({ "filename": "f", "size": 3 }).to_string();
    let post = server.request("POST", "/uploads/initialize").body(body);
    let reply = post.bearing(ALICE).send().await;
    let session: Value = serde_json::from_slice(&reply.body).expect("JSON");
    let text = |key: &str| session[key].as_str().expect("a text").to_owned();
    (text("session_id"), text("session_token"))
}

#[tokio::test]
async fn without_a_credential_no_hook_is_asked_on_any_door() {
    let receiver = Receiver::agreeable().await;
    let (server, _dir) = guarded(&receiver).await;
    let path = create(&server, ALICE, 5).await;
    let (session, _) = session(&server).await;
    let asked = receiver.calls().len();
    for stranger in [None, Some(STRANGER)] {
        let requests = [
            server.tus("POST", "/files/").header("Upload-Length", 1),
            server.tus("HEAD", &path),
            server.tus("GET", &path),
            server.patch(&path, 0, "x"),
            server.tus("DELETE", &path),
            server.tus("GET", "/files/"),
            server.tus("HEAD", "/files/%20"),
            server.request("POST", "/uploads/initialize").body("{}"),
            server.request("GET", &format!("/uploads/{session}/status")),
            server.request("DELETE", &format!("/uploads/{session}")),
            server.request("GET", &format!("/progress/events?upload={}", id(&path))),
            server.request("HEAD", &format!("/progress/events?upload={session}")),
            server.request("GET", "/progress/events?upload=*"),
        ];
        for request in requests {
            let what = format!("{} by {stranger:?}", request.method());
            let request = match stranger {
                Some(token) => request.bearing(token),
                None => request,
            };
            let reply = request.send().await;
            assert!(matches!(reply.status, 401 | 404), "{what}: {reply:?}");
        }
        let query = stranger.map_or_else(String::new, |token| format!("&token={token}"));
        // A WebSocket is opened, since its credential may come in a message: hooks wait for that.
        let query = format!("?upload={}&upload={session}{query}", id(&path));
        let mut watcher = Watcher::open(&server, &query).await;
        for _ in 0..2 {
            assert_eq!(watcher.next().await["code"], "unauthorized");
        }
        let shown = json!({ "subscribe": [id(&path)], "token": STRANGER });
        watcher.send(&shown).await;
        assert_eq!(watcher.next().await["code"], "unauthorized");
    }
    assert_eq!(receiver.calls().len(), asked, "hooks were asked");
}

#[tokio::test]
async fn whoever_has_a_credential_is_asked_of_once_a_connection() {
    let receiver = Receiver::agreeable().await;
    let (server, _dir) = guarded(&receiver).await;
    let path = create(&server, ALICE, 5).await;
    let other = create(&server, ALICE, 5).await;
    let (session, key) = session(&server).await;
    let mut asked = receiver.calls().len();
    let mut one_more = || {
        let calls = receiver.calls();
        asked += 1;
        assert_eq!(calls.len(), asked);
        at(&calls[asked - 1].json, "Event.HTTPRequest.URI").clone()
    };
    // Shown with the request, it is asked before the answer; by a session's token as well.
    for (path, token) in [(id(&path), ALICE), (&*session, &*key)] {
        let query = format!("?upload={path}&token={token}");
        let mut watcher = Watcher::open(&server, &query).await;
        assert_eq!(one_more(), format!("/progress{query}"));
        assert_eq!(watcher.next().await["event"], "snapshot");
        let mut events = Events::open(&server, &query, &[]).await;
        assert_eq!(one_more(), format!("/progress/events{query}"));
        assert_eq!(events.next().await["event"], "snapshot");
    }
    // Shown in a message, with the first that opens anything, and for the request that the WebSocket began with.
    let mut watcher = Watcher::open(&server, "").await;
    let shown = json!({ "subscribe": [id(&path), id(&other)], "token": ALICE });
    watcher.send(&shown).await;
    for _ in 0..2 {
        assert_eq!(watcher.next().await["event"], "snapshot");
    }
    assert_eq!(one_more(), "/progress");
}

#[tokio::test]
async fn those_who_watch_are_refused_in_the_hooks_words() {
    let receiver = Receiver::agreeable().await;
    let (server, _dir) = guarded(&receiver).await;
    let path = create(&server, ALICE, 5).await;
    let query = format!("?upload={}&token={ALICE}", id(&path));
    receiver.says(|_| Said::Json(json!({ "RejectAccess": true })));
    let (_, reply) = ask(server.addr, &format!("/progress{query}"), &HANDSHAKE).await;
    assert_eq!((reply.status, &*reply.code), (403, "access-rejected"));
    let events = format!("/progress/events{query}");
    let reply = server.request("GET", &events).send().await;
    assert_eq!((reply.status, &*reply.code), (403, "access-rejected"));

    // In a message: one question for all of it, and nothing is followed.
    let mut watcher = Watcher::open(&server, "").await;
    let asked = receiver.calls().len();
    let shown = json!({ "subscribe": [id(&path), id(&path)], "token": ALICE });
    watcher.send(&shown).await;
    for _ in 0..2 {
        let refused = watcher.next().await;
        assert_eq!(refused["code"], "access-rejected", "{refused}");
    }
    assert_eq!(receiver.calls().len(), asked + 1);
    receiver.says(|_| Said::Status(500));
    watcher.subscribe(&path).await;
    assert_eq!(watcher.next().await["code"], "hook-down");
    let head = server.request("HEAD", &events).send().await;
    assert_eq!((head.status, head.header("Retry-After")), (423, Some("1")));
    // Once the hook says yes, the same connection goes on.
    receiver.says(|_| Said::fine());
    watcher.subscribe(&path).await;
    assert_eq!(watcher.next().await["event"], "snapshot");
}
