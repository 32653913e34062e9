//! The door itself: who may ask, how, and what it says where there is nothing or where it is shut.

use serde_json::json;

use crate::support::{Client, Reply, start, start_with};

fn told(reply: &Reply) -> (u16, &str) {
    (reply.status, &reply.code)
}

/// What a browser sends without asking first, since any form could.
async fn simple(server: &Client, path: &str, origin: &str) -> Reply {
    server
        .request("POST", path)
        .header("Origin", origin)
        .header("Content-Type", "text/plain")
        .body(json!({"filename": "f", "size": 1}).to_string())
        .send()
        .await
}

#[tokio::test]
async fn pages_of_origins_that_are_not_allowed_begin_nothing() {
    let server = start_with(|config| config.cors_allow_origin = "https://good\\.example".into());
    let server = server.await;
    let session = server.session_of(b"x").await;
    let chunk = format!("/uploads/{}/chunks/1", session.id);
    let finalize = format!("/uploads/{}/finalize", session.id);
    for path in ["/uploads/initialize", &chunk, &finalize] {
        let reply = simple(&server, path, "https://evil.example").await;
        assert_eq!(told(&reply), (403, "foreign-origin"), "{path}");
        assert_eq!(simple(&server, path, "null").await.status, 403, "{path}");
    }
    let own = format!("http://{}", server.addr);
    for origin in ["https://good.example", &own] {
        let reply = simple(&server, "/uploads/initialize", origin).await;
        assert_eq!(reply.status, 201, "{origin}");
    }
    // Without CORS, the server's own pages alone.
    let server = start_with(|config| config.disable_cors = true).await;
    let reply = simple(&server, "/uploads/initialize", "https://good.example").await;
    assert_eq!(told(&reply), (403, "foreign-origin"));
    let own = format!("http://{}", server.addr);
    let reply = simple(&server, "/uploads/initialize", &own).await;
    assert_eq!(reply.status, 201);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = start().await;
    let session = server.session_of(b"x").await;
    for below in ["/status", "/resume"] {
        let get = session.request("GET", below).send().await;
        let head = session.request("HEAD", below).send().await;
        assert_eq!((head.status, &head.body[..]), (200, &b""[..]), "{below}");
        for name in ["Content-Type", "Cache-Control", "Content-Length"] {
            assert_eq!(head.header(name), get.header(name), "{below} {name}");
        }
        let bare = server.request("HEAD", &format!("/uploads/{}{below}", session.id));
        assert_eq!(bare.send().await.status, 401, "{below}");
    }
    let path = server.create(3).await;
    let events = path.replace("/files/", "/progress/events?upload=");
    let head = server.request("HEAD", &events).send().await;
    assert_eq!((head.status, &head.body[..]), (200, &b""[..]));
    assert_eq!(head.header("Content-Type"), Some("text/event-stream"));
    let none = server.request("HEAD", "/progress/events").send().await;
    assert_eq!((none.status, &none.body[..]), (400, &b""[..]));
    let socket = events.replace("/events", "");
    assert_eq!(server.request("HEAD", &socket).send().await.status, 426);
}

#[tokio::test]
async fn without_termination_no_session_is_cancelled() {
    let server = start_with(|config| config.disable_termination = true).await;
    let session = server.session_of(b"x").await;
    assert_eq!(session.send(1, b"x").await.status, 201);
    let reply = session.request("DELETE", "").send().await;
    assert_eq!(told(&reply), (403, "disabled"));
    assert_eq!(session.resume().await["uploaded_chunks"], json!([1]));
}

#[tokio::test]
async fn without_sessions_their_paths_say_so() {
    let server = start_with(|config| config.disable_sessions = true).await;
    for (method, path) in [
        ("POST", "/uploads/initialize"),
        ("GET", "/uploads/a/status"),
        ("POST", "/uploads/a/chunks/1"),
        ("DELETE", "/uploads/a"),
        ("GET", "/uploads/"),
    ] {
        let reply = server.request(method, path).send().await;
        assert_eq!(told(&reply), (403, "disabled"), "{method} {path}");
    }
    assert_eq!(server.get("/").await.code, "no-such-resource");
    // Uploads that lie there themselves have those paths to themselves.
    for base in ["/uploads/", "/"] {
        let server = start_with(|config| {
            config.disable_sessions = true;
            config.base_path = base.parse().expect("a path");
        });
        let server = server.await;
        for path in ["/uploads/initialize", "/uploads/a/status"] {
            let reply = server.tus("HEAD", path).send().await;
            assert_eq!(reply.status, 404, "{base} {path}");
        }
        let created = server.tus("POST", base).header("Upload-Length", 1);
        assert_eq!(created.send().await.status, 201, "{base}");
    }
}

#[tokio::test]
async fn a_path_that_is_nobodys_is_no_lost_upload() {
    let server = start().await;
    for path in [
        "/nope",
        "/web/nope.js",
        "/admin/x",
        "/metrics/",
        "/uploads",
        "/uploads/a/b",
        "/files.txt",
    ] {
        let reply = server.get(path).await;
        assert_eq!(told(&reply), (404, "no-such-resource"), "{path}");
        let brew = server.request("PUT", path).send().await;
        assert_eq!(brew.status, 404, "{path}");
    }
    for path in ["/files/nope", "/files/..%2f..", "/admin/uploads/nope"] {
        assert_eq!(told(&server.get(path).await), (404, "not-found"), "{path}");
    }
}
