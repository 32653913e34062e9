//! What no session API should be sent: each gets the fitting answer with its code, and nothing is left behind.

use serde_json::{Value, json};

use crate::support::session::CHUNK;
use crate::support::{bytes, start, start_with};

#[tokio::test]
async fn a_session_that_cannot_be_is_refused_and_leaves_nothing() {
    let server = start_with(|config| config.max_size = 100 << 30).await;
    let long = "a".repeat(70_000);
    for (ask, status, code) in [
        ("{", 400, "bad-json"),
        ("", 400, "bad-json"),
        ("[1]", 400, "bad-json"),
        ("\u{0}\u{1}garbage", 400, "bad-json"),
        (r#"{"size":5}"#, 400, "bad-json"),
        (r#"{"filename":"f"}"#, 400, "bad-json"),
        (r#"{"filename":"f","size":"5"}"#, 400, "bad-json"),
        (r#"{"filename":"f","size":-5}"#, 400, "bad-json"),
        (r#"{"filename":"f","size":5.5}"#, 400, "bad-json"),
        (r#"{"filename":["f"],"size":5}"#, 400, "bad-json"),
        (
            r#"{"filename":"f","size":99999999999999999999}"#,
            400,
            "bad-json",
        ),
        (
            r#"{"filename":"f","size":18446744073709551615}"#,
            413,
            "too-large",
        ),
        (r#"{"filename":"f","size":107374182401}"#, 413, "too-large"),
        (
            r#"{"filename":"f","size":5,"chunk_size":65535}"#,
            400,
            "chunk-size",
        ),
        (
            r#"{"filename":"f","size":5,"chunk_size":67108865}"#,
            400,
            "chunk-size",
        ),
        (
            r#"{"filename":"f","size":5,"chunk_size":0}"#,
            400,
            "chunk-size",
        ),
        (
            r#"{"filename":"f","size":107374182400,"chunk_size":65536}"#,
            400,
            "too-many-chunks",
        ),
        (
            r#"{"filename":"f","size":5,"file_hash":"no"}"#,
            400,
            "bad-json",
        ),
        (long.as_str(), 413, "json-too-large"),
    ] {
        for chunked in [false, true] {
            let post = server.request("POST", "/uploads/initialize").body(ask);
            let post = if chunked { post.chunked() } else { post };
            let reply = post.send().await;
            let shown = ask.get(..80).unwrap_or(ask);
            assert_eq!(
                (reply.status, reply.code.as_str()),
                (status, code),
                "{shown}"
            );
        }
    }
    let wrong = server
        .initialize(&json!({"filename": "f", "size": "5"}))
        .await;
    let detail = wrong.json()["detail"].as_str().expect("words").to_owned();
    assert!(detail.contains("line 1 column"), "it says where: {detail}");
    assert_eq!(server.stored_files(), [""; 0]);
    // A large file, without a chunk size, gets one that does.
    let large = server
        .session(&json!({"filename": "f", "size": 100_u64 << 30}))
        .await;
    assert!(large.info["chunk_size"].as_u64() > Some(1 << 20));
}

#[tokio::test]
async fn limits_are_the_operators() {
    let server = start_with(|config| {
        config.max_size = 1000;
        config.session_chunk_min = 10;
        config.session_chunk_size = 100;
        config.session_chunk_max = 200;
        config.session_parallel_chunks = 2;
    })
    .await;
    let session = server
        .session(&json!({"filename": "f", "size": 1000}))
        .await;
    let told =
        ["chunk_size", "total_chunks", "max_parallel_chunks"].map(|n| session.info[n].clone());
    assert_eq!(told, [json!(100), json!(10), json!(2)]);
    for (ask, code) in [
        (json!({"filename": "f", "size": 1001}), "too-large"),
        (
            json!({"filename": "f", "size": 5, "chunk_size": 201}),
            "chunk-size",
        ),
        (
            json!({"filename": "f", "size": 5, "chunk_size": 9}),
            "chunk-size",
        ),
    ] {
        assert_eq!(server.initialize(&ask).await.code, code);
    }
}

#[tokio::test]
async fn a_session_is_its_owners_alone() {
    let server = start().await;
    let data = bytes(1, 2 * CHUNK);
    let session = server.session_of(&data).await;
    assert_eq!(session.send(1, &data).await.status, 201);
    let unknown = "00000000-0000-4000-8000-000000000000";
    let foreign = server.session_of(&data).await.token;
    let paths = [
        ("GET", "/status"),
        ("GET", "/resume"),
        ("POST", "/chunks/1"),
        ("POST", "/chunks/99"),
        ("POST", "/finalize"),
        ("DELETE", ""),
    ];
    for (method, below) in paths {
        for id in [session.id.as_str(), unknown, "..", "%2e%2e", "a%20b"] {
            let ask = |token: Option<&str>| {
                let request = server.request(method, &format!("/uploads/{id}{below}"));
                match token {
                    Some(token) => request.header("Authorization", token),
                    None => request,
                }
            };
            for none in [None, Some("Basic YTpi"), Some("Bearer")] {
                let reply = ask(none).send().await;
                assert_eq!(
                    (reply.status, reply.code.as_str()),
                    (401, "token-required"),
                    "{id}{below}"
                );
                assert_eq!(reply.header("WWW-Authenticate"), Some("Bearer"));
            }
            for wrong in [
                "garbage".to_owned(),
                foreign.clone(),
                session.token.to_lowercase(),
            ] {
                let reply = ask(Some(&format!("Bearer {wrong}"))).send().await;
                assert_eq!(
                    (reply.status, reply.code.as_str()),
                    (404, "not-found"),
                    "{id}{below}"
                );
            }
        }
    }
    // At the tus door, byte for byte the answer of an upload that there is not.
    for below in ["", "/1", "/2", "/3"] {
        for method in ["HEAD", "GET", "PATCH", "DELETE"] {
            let ask = |id: &str, token: Option<&str>| {
                let request = server.tus(method, &format!("/files/{id}{below}"));
                let request = match method {
                    "PATCH" => request
                        .header("Upload-Offset", 0)
                        .header("Content-Type", "application/offset+octet-stream")
                        .body("x"),
                    _ => request,
                };
                match token {
                    Some(token) => request.header("Authorization", format!("Bearer {token}")),
                    None => request,
                }
            };
            let never = ask(unknown, None).send().await;
            for token in [None, Some(foreign.as_str())] {
                let reply = ask(&session.id, token).send().await;
                let told = |reply: &crate::support::Reply| {
                    let mut headers = reply.headers.clone();
                    headers.retain(|(name, _)| name != "x-request-id" && name != "date");
                    (reply.status, headers, reply.body.clone())
                };
                assert_eq!(told(&reply), told(&never), "{method} {below}");
            }
        }
    }
    assert_eq!(session.resume().await["missing_chunks"], json!([2]));
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let server = start().await;
    let session = server.session_of(b"x").await;
    for (method, below, allow) in [
        ("GET", "/finalize", "OPTIONS, POST"),
        ("PUT", "/chunks/1", "OPTIONS, POST"),
        ("POST", "/status", "OPTIONS, GET, HEAD"),
        ("GET", "", "OPTIONS, DELETE"),
    ] {
        let reply = session.request(method, below).send().await;
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (405, "method-not-allowed")
        );
        assert_eq!(reply.header("Allow"), Some(allow));
    }
    for (path, code) in [
        ("/uploads/", "no-such-resource"),
        ("/uploads/a/b", "no-such-resource"),
        ("/uploads/a/chunks/1/2", "no-such-resource"),
        ("/uploads//status", "not-found"),
    ] {
        let reply = session.owned(server.request("GET", path)).send().await;
        assert_eq!((reply.status, reply.code.as_str()), (404, code), "{path}");
    }
}

#[tokio::test]
async fn browsers_on_other_origins_may_send_chunks() {
    let server = start().await;
    let preflight = server
        .request("OPTIONS", "/uploads/a/chunks/1")
        .header("Origin", "https://a.test")
        .header("Access-Control-Request-Method", "POST")
        .send()
        .await;
    assert_eq!(preflight.status, 204);
    let allowed = preflight
        .header("Access-Control-Allow-Headers")
        .expect("headers");
    for name in [
        "Authorization",
        "X-Chunk-SHA256",
        "Upload-Checksum",
        "Content-Type",
    ] {
        assert!(allowed.contains(name), "{name}: {allowed}");
    }
    let refused = server
        .request("GET", "/uploads/a/status")
        .header("Origin", "https://a.test");
    let refused = refused.send().await;
    assert_eq!(
        refused.header("Access-Control-Allow-Origin"),
        Some("https://a.test")
    );
}

/// Where the uploads themselves lie under `/uploads/`, both doors are open.
#[tokio::test]
async fn the_base_path_may_be_the_same() {
    let server = start_with(|config| config.base_path = "/uploads/".parse().unwrap()).await;
    let created = server
        .tus("POST", "/uploads/")
        .header("Upload-Length", 1)
        .send()
        .await;
    let path = created.location_path();
    assert_eq!(server.patch(&path, 0, "x").send().await.status, 204);
    assert_eq!(server.delete(&path).await.status, 204);
    let session = server.session_of(b"x").await;
    assert_eq!(
        session.info["upload_url"],
        json!(format!("/uploads/{}", session.id))
    );
    assert_eq!(session.send(1, b"x").await.status, 201);
    let told: Value = session.finalize().await.json();
    assert_eq!(told["status"], "completed");
    let got = session.owned(server.request("GET", &format!("/uploads/{}", session.id)));
    assert_eq!(got.send().await.body, b"x");
}
