//! Another's uploads, on every door and by every method: byte for byte the answer of an id that there is not.

use std::time::Instant;

use serde_json::json;

use super::{ALICE, As, BOB, create, jwt, soon, two_users, with_jwt};
use crate::progress::watcher::Watcher;
use crate::support::client::{Reply, Request};
use crate::support::{Server, figure, id};

/// What of an answer may tell something. The id itself is the client's own word.
fn told(reply: &Reply, id: &str) -> (u16, Vec<(String, String)>, String) {
    let passing = ["x-request-id", "date"];
    let mut headers = reply.headers.clone();
    headers.retain(|(name, _)| !passing.contains(&name.to_ascii_lowercase().as_str()));
    let body = String::from_utf8_lossy(&reply.body).replace(id, "ID");
    (reply.status, headers, body)
}

/// Every request that names an upload.
fn requests(server: &Server, id: &str) -> Vec<Request> {
    let file = format!("/files/{id}");
    let session =
        |method: &str, below: &str| server.request(method, &format!("/uploads/{id}{below}"));
    let post = server
        .tus("POST", &file)
        .header("X-HTTP-Method-Override", "DELETE");
    vec![
        server.tus("HEAD", &file),
        server.request("GET", &file),
        server.request("GET", &file).header("Range", "bytes=0-0"),
        server.patch(&file, 0, "x"),
        server.patch(&file, 7, "x"),
        server
            .patch(&file, 0, "x")
            .header("Upload-Checksum", "sha1 x"),
        server.tus("DELETE", &file),
        post,
        server.tus("PATCH", &file),
        server.tus("HEAD", &format!("{file}/1")),
        server.patch(&format!("{file}/1"), 0, "x"),
        server
            .tus("POST", "/files/")
            .header("Upload-Concat", format!("final;{file}")),
        session("GET", "/status"),
        session("GET", "/resume"),
        session("POST", "/finalize"),
        session("POST", "/chunks/1")
            .header("X-Chunk-SHA256", "0".repeat(64))
            .body("x"),
        session("POST", "/chunks/99").body("x"),
        session("DELETE", ""),
        server
            .request("GET", &format!("/progress/events?upload={id}"))
            .header("Accept", "text/event-stream"),
    ]
}

const UNKNOWN: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

/// Uploads of Alice's in every state.
async fn hers(server: &Server) -> Vec<String> {
    let open = create(server, ALICE, 100).await;
    let whole = create(server, ALICE, 5).await;
    assert_eq!(
        server
            .patch(&whole, 0, "hello")
            .bearing(ALICE)
            .send()
            .await
            .status,
        204
    );
    let ended = create(server, ALICE, 5).await;
    assert_eq!(
        server
            .tus("DELETE", &ended)
            .bearing(ALICE)
            .send()
            .await
            .status,
        204
    );
    let part = server
        .tus("POST", "/files/")
        .header("Upload-Concat", "partial")
        .header("Upload-Length", 0);
    let part = part.bearing(ALICE).send().await.location_path();
    let joined = server
        .tus("POST", "/files/")
        .header("Upload-Concat", format!("final;{part}"));
    let joined = joined.bearing(ALICE).send().await.location_path();
    let session = server.request("POST", "/uploads/initialize").bearing(ALICE);
    let session = session
        .body(json!({"filename": "f", "size": 5}).to_string())
        .send()
        .await
        .json();
    assert_eq!(session["user_id"], "alice");
    let mut all: Vec<String> = [open, whole, ended, part, joined]
        .iter()
        .map(|path| id(path).to_owned())
        .collect();
    all.push(session["session_id"].as_str().expect("an id").to_owned());
    all
}

#[tokio::test]
async fn what_is_anothers_is_not_there() {
    let (server, _dir) = two_users().await;
    let look = async |id: &str| {
        let head = server.tus("HEAD", &format!("/files/{id}"));
        let head = head.bearing(ALICE).send().await;
        (head.status, head.number("Upload-Offset"))
    };
    for id in hers(&server).await {
        let before = look(&id).await;
        for (foreign, unknown) in requests(&server, &id)
            .into_iter()
            .zip(requests(&server, UNKNOWN))
        {
            let what = String::from_utf8_lossy(&foreign.to_bytes())
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            // A stream goes on for ever: what it begins with is looked at below, by the WebSocket.
            if what.contains("/progress") {
                continue;
            }
            let foreign = foreign.bearing(BOB).send().await;
            let unknown = unknown.bearing(BOB).send().await;
            assert_eq!(told(&foreign, &id), told(&unknown, UNKNOWN), "{what}");
        }
        let follow = async |id: &str| {
            let mut watcher = Watcher::open(&server, &format!("?upload={id}&token={BOB}")).await;
            let mut told = watcher.next().await;
            told["time"].take();
            told.to_string().replace(id, "ID")
        };
        assert_eq!(follow(&id).await, follow(UNKNOWN).await);
        // And nothing of it was touched.
        let after = look(&id).await;
        assert_eq!(after, before, "{id}");
    }
}

#[tokio::test]
async fn without_a_credential_no_door_tells_anything() {
    let (server, _dir) = two_users().await;
    let mine = hers(&server).await.remove(0);
    for token in [None, Some("a-token-of-nobody-at-all")] {
        for id in [mine.as_str(), UNKNOWN] {
            for request in requests(&server, id) {
                let what = String::from_utf8_lossy(&request.to_bytes())
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                if what.contains("/progress") && token.is_some() {
                    continue; // it may be a session's, and is answered with an event of an error
                }
                let request = match token {
                    Some(token) => request.bearing(token),
                    None => request,
                };
                let reply = request.send().await;
                assert_eq!(reply.status, 401, "{what} {token:?}: {reply:?}");
            }
        }
        let post = server.tus("POST", "/files/").header("Upload-Length", 5);
        let post = token.into_iter().fold(post, As::bearing);
        assert_eq!(post.send().await.status, 401);
        let post = server
            .request("POST", "/uploads/initialize")
            .body(r#"{"filename":"f","size":1}"#);
        let post = token.into_iter().fold(post, As::bearing);
        assert_eq!(post.send().await.status, 401);
    }
    // A WebSocket may show its token in a message; without one it is told of nothing.
    for id in [mine.as_str(), UNKNOWN] {
        let mut watcher = Watcher::open(&server, &format!("?upload={id}")).await;
        let told = watcher.next().await;
        assert_eq!(
            (&told["event"], &told["code"]),
            (&json!("error"), &json!("unauthorized"))
        );
        watcher
            .send(&json!({"subscribe": [id], "token": ALICE}))
            .await;
        let told = watcher.next().await;
        let wanted = if id == UNKNOWN { "error" } else { "snapshot" };
        assert_eq!(told["event"], wanted, "{told}");
    }
    // Refused on the head: the body is not waited for.
    let mut conn = server.connect().await;
    conn.begin_patch(&format!("/files/{mine}"), 0, 100).await;
    assert_eq!(conn.reply().await.status, 401);
}

#[tokio::test]
async fn a_sessions_token_opens_that_session_and_nothing_else() {
    let (server, _dir) = two_users().await;
    let other = create(&server, ALICE, 5).await;
    let initialize = async || {
        let post = server.request("POST", "/uploads/initialize").bearing(ALICE);
        let told = post
            .body(json!({"filename": "f", "size": 5, "verify": false}).to_string())
            .send()
            .await
            .json();
        let text = |name: &str| told[name].as_str().expect("a text").to_owned();
        (text("session_id"), text("session_token"))
    };
    let ((one, key), (two, _)) = (initialize().await, initialize().await);
    let status = async |id: &str, token: &str| {
        server
            .request("GET", &format!("/uploads/{id}/status"))
            .bearing(token)
            .send()
            .await
            .status
    };
    // The key, and its owner's credential; nobody else's.
    assert_eq!(status(&one, &key).await, 200);
    assert_eq!(status(&one, ALICE).await, 200);
    assert_eq!(status(&one, BOB).await, 404);
    assert_eq!(status(&two, &key).await, 401);
    assert_eq!(
        server.tus("HEAD", &other).bearing(&key).send().await.status,
        401
    );
    let post = server.tus("POST", "/files/").header("Upload-Length", 5);
    assert_eq!(post.bearing(&key).send().await.status, 401);
    let chunk = server
        .request("POST", &format!("/uploads/{one}/chunks/1"))
        .bearing(&key)
        .body("hello");
    assert_eq!(chunk.send().await.status, 201);
    let done = server
        .request("POST", &format!("/uploads/{one}/finalize"))
        .bearing(&key)
        .send()
        .await;
    assert_eq!(
        (done.status, &done.json()["user_id"]),
        (200, &json!("alice"))
    );
    let get = server
        .request("GET", &format!("/files/{one}"))
        .bearing(&key)
        .send()
        .await;
    assert_eq!(get.body, b"hello");
    let mut watcher = Watcher::open(&server, &format!("?upload={one}&token={key}")).await;
    assert_eq!(watcher.next().await["event"], "snapshot");
    // An operator's page is another thing.
    let admin = server
        .request("GET", "/admin/uploads/active")
        .bearing(ALICE);
    let admin = admin
        .without("Host")
        .header("Host", "uploads.example")
        .send()
        .await;
    assert_eq!(admin.status, 404);
}

#[tokio::test]
async fn tokens_that_lie() {
    let (server, _dir) = with_jwt().await;
    let good = jwt(&json!({"sub": "alice", "exp": soon(), "aud": "uploads"}));
    let parts: Vec<&str> = good.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let huge = "x".repeat(60_000);
    for bad in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}x", parts[0], parts[1], parts[2]),
        "..".into(),
        format!("{huge}.{huge}.{huge}"),
        huge,
    ] {
        let post = server.tus("POST", "/files/").header("Upload-Length", 5);
        let reply = post.bearing(&bad).send().await;
        assert_eq!(reply.status, 401, "{bad:.80}: {reply:?}");
    }
    let post = || server.tus("POST", "/files/").header("Upload-Length", 5);
    // Two credentials are none; another scheme is none.
    assert_eq!(
        post().bearing(&good).bearing(&good).send().await.status,
        401
    );
    let basic = post().header("Authorization", format!("Basic {good}"));
    assert_eq!(basic.send().await.status, 401);
    assert_eq!(post().bearing(&good).send().await.status, 201);
}

#[tokio::test]
async fn foreign_and_unknown_ids_take_the_same_time() {
    let (server, _dir) = two_users().await;
    let hers = hers(&server).await.remove(0);
    let mut conn = server.connect().await;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..400 {
        let at = round % 2;
        let id = [hers.as_str(), UNKNOWN][at];
        let request = server
            .tus("HEAD", &format!("/files/{id}"))
            .bearing(BOB)
            .to_bytes();
        let began = Instant::now();
        conn.send(&request).await;
        assert_eq!(conn.reply_to("HEAD").await.status, 404);
        times[at].push(began.elapsed());
    }
    let [foreign, unknown] = times.map(|mut times| {
        times.sort();
        times[times.len() / 10] // what else the machine does is in the slower ones
    });
    figure(
        "identity",
        format!(
            "HEAD of a foreign id {foreign:?}, of an unknown one {unknown:?} (the quickest tenth)"
        ),
    );
    // What a look at the store costs may be seen at this machine, but not what an attacker far away could tell from noise.
    let apart = foreign.abs_diff(unknown);
    assert!(
        apart < std::time::Duration::from_millis(1),
        "{foreign:?} {unknown:?}"
    );
}
