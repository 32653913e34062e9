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
async fn whoever_has_a_credential_is_asked_of_for_each_upload() {
    let receiver = Receiver::agreeable().await;
    let (server, _dir) = guarded(&receiver).await;
    let path = create(&server, ALICE, 5).await;
    let other = create(&server, ALICE, 5).await;
    let (session, key) = session(&server).await;
    let mut asked = receiver.calls().len();
    let mut one_more = |upload: &str| {
        let calls = receiver.calls();
        asked += 1;
        assert!(calls.len() >= asked);
        assert_eq!(calls[asked - 1].id(), upload);
        at(&calls[asked - 1].json, "Event.HTTPRequest.URI").clone()
    };
    // Shown with the request, it is asked before the answer; by a session's token as well.
    for (path, token) in [(id(&path), ALICE), (&*session, &*key)] {
        let query = format!("?upload={path}&token={token}");
        let mut watcher = Watcher::open(&server, &query).await;
        assert_eq!(one_more(path), format!("/progress{query}"));
        assert_eq!(watcher.next().await["event"], "snapshot");
        let mut events = Events::open(&server, &query, &[]).await;
        assert_eq!(one_more(path), format!("/progress/events{query}"));
        assert_eq!(events.next().await["event"], "snapshot");
    }
    // Shown in a message, for the request that the WebSocket began with.
    let mut watcher = Watcher::open(&server, "").await;
    let shown = json!({ "subscribe": [id(&path), id(&other)], "token": ALICE });
    watcher.send(&shown).await;
    for _ in 0..2 {
        assert_eq!(watcher.next().await["event"], "snapshot");
    }
    assert_eq!(one_more(id(&path)), "/progress");
    assert_eq!(one_more(id(&other)), "/progress");
    // Where no upload is named, of the request alone.
    let query = format!("?token={ALICE}");
    let _watcher = Watcher::open(&server, &query).await;
    assert_eq!(one_more(""), format!("/progress{query}"));
    assert_eq!(receiver.calls().len(), asked);
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

    // In a message each is asked for; one that is down is asked once for all of them.
    let mut watcher = Watcher::open(&server, "").await;
    for (said, code, questions) in [(None, "access-rejected", 2), (Some(500), "hook-down", 1)] {
        if let Some(status) = said {
            receiver.says(move |_| Said::Status(status));
        }
        let asked = receiver.calls().len();
        let shown = json!({ "subscribe": [id(&path), id(&path)], "token": ALICE });
        watcher.send(&shown).await;
        for _ in 0..2 {
            let refused = watcher.next().await;
            assert_eq!(refused["code"], code, "{refused}");
        }
        assert_eq!(receiver.calls().len(), asked + questions);
    }
    let head = server.request("HEAD", &events).send().await;
    assert_eq!((head.status, head.header("Retry-After")), (423, Some("1")));
    // Once the hook says yes, the same connection goes on.
    receiver.says(|_| Said::fine());
    watcher.subscribe(&path).await;
    assert_eq!(watcher.next().await["event"], "snapshot");
}

/// A hook that lets nobody near this upload, in these words.
fn keeps(receiver: &Receiver, path: &str, status: u16) {
    let kept = id(path).to_owned();
    receiver.says(move |call| {
        let answer = json!({ "StatusCode": status });
        Said::Json(json!({ "RejectAccess": call.id() == kept, "HTTPResponse": answer }))
    });
}

#[tokio::test]
async fn an_upload_that_a_hook_keeps_is_not_watched_either() {
    let receiver = Receiver::agreeable().await;
    let (server, _dir) = guarded(&receiver).await;
    let (path, kept) = (
        create(&server, ALICE, 5).await,
        create(&server, ALICE, 5).await,
    );
    keeps(&receiver, &kept, 403);
    assert_eq!(
        server.tus("HEAD", &kept).bearing(ALICE).send().await.status,
        403
    );
    let alone = format!("?upload={}&token={ALICE}", id(&kept));
    let both = format!("?upload={}&upload={}&token={ALICE}", id(&kept), id(&path));
    let (_, reply) = ask(server.addr, &format!("/progress{alone}"), &HANDSHAKE).await;
    assert_eq!((reply.status, &*reply.code), (403, "access-rejected"));
    for method in ["GET", "HEAD"] {
        let events = server.request(method, &format!("/progress/events{alone}"));
        assert_eq!(events.send().await.status, 403, "{method}");
    }
    // Beside one that is not kept, it is refused as one that there is not.
    let mut events = Events::open(&server, &both, &[]).await;
    let mut watcher = Watcher::open(&server, &both).await;
    for (first, then) in [
        (events.next().await, events.next().await),
        (watcher.next().await, watcher.next().await),
    ] {
        assert_eq!(
            (&first["code"], &first["upload_id"]),
            (&json!("access-rejected"), &json!(id(&kept)))
        );
        assert_eq!(
            (&then["event"], &then["upload_id"]),
            (&json!("snapshot"), &json!(id(&path)))
        );
    }
    let mut watcher = Watcher::open(&server, "").await;
    let shown = json!({ "subscribe": [id(&kept), id(&path)], "token": ALICE });
    watcher.send(&shown).await;
    let (first, then) = (watcher.next().await, watcher.next().await);
    assert_eq!(first["code"], "access-rejected");
    assert_eq!(
        (&then["event"], &then["upload_id"]),
        (&json!("snapshot"), &json!(id(&path)))
    );
}

#[tokio::test]
async fn head_waits_where_a_hook_refuses_for_a_passing_reason() {
    let receiver = Receiver::agreeable().await;
    let (server, _dir) = guarded(&receiver).await;
    let path = create(&server, ALICE, 5).await;
    let (session, _) = session(&server).await;
    let heads = [
        path.clone(),
        format!("/uploads/{session}/status"),
        format!("/progress/events?upload={}", id(&path)),
    ];
    for (status, told) in [(401, 423), (429, 423), (503, 423), (403, 403), (404, 404)] {
        receiver.says(move |_| {
            let answer = json!({ "StatusCode": status });
            Said::Json(json!({ "RejectAccess": true, "HTTPResponse": answer }))
        });
        for head in &heads {
            let reply = server.tus("HEAD", head).bearing(ALICE).send().await;
            assert_eq!(reply.status, told, "{status} {head}");
            let wait = (told == 423).then_some("1");
            assert_eq!(reply.header("Retry-After"), wait, "{status} {head}");
        }
        let reply = server.tus("GET", &path).bearing(ALICE).send().await;
        assert_eq!((reply.status, &*reply.code), (status, "access-rejected"));
        let wait = matches!(status, 429 | 503).then_some("1");
        assert_eq!(reply.header("Retry-After"), wait, "{status}");
    }
    // For as long as the receiver says.
    receiver.says(|_| {
        let answer = json!({ "StatusCode": 429, "Header": { "Retry-After": "77" } });
        Said::Json(json!({ "RejectAccess": true, "HTTPResponse": answer }))
    });
    for (method, status) in [("HEAD", 423), ("GET", 429)] {
        let reply = server.tus(method, &path).bearing(ALICE).send().await;
        let told = (reply.status, reply.header("Retry-After"));
        assert_eq!(told, (status, Some("77")));
    }
}
