//! The pages and their scripts: what they are served with, and to whom.

use crate::support::{Reply, start, start_with};

const FILES: [(&str, &str); 21] = [
    ("/", "text/html; charset=utf-8"),
    ("/web/upload.js", "text/javascript; charset=utf-8"),
    ("/web/row.js", "text/javascript; charset=utf-8"),
    ("/web/words.js", "text/javascript; charset=utf-8"),
    ("/web/upload.css", "text/css; charset=utf-8"),
    ("/web/highwater.js", "text/javascript; charset=utf-8"),
    ("/web/errors.js", "text/javascript; charset=utf-8"),
    ("/web/hash.js", "text/javascript; charset=utf-8"),
    ("/web/ledger.js", "text/javascript; charset=utf-8"),
    ("/web/live.js", "text/javascript; charset=utf-8"),
    ("/web/patience.js", "text/javascript; charset=utf-8"),
    ("/web/policy.js", "text/javascript; charset=utf-8"),
    ("/web/session.js", "text/javascript; charset=utf-8"),
    ("/web/sha256.js", "text/javascript; charset=utf-8"),
    ("/web/store.js", "text/javascript; charset=utf-8"),
    ("/web/transport.js", "text/javascript; charset=utf-8"),
    ("/web/unfinished.js", "text/javascript; charset=utf-8"),
    ("/web/worker.js", "text/javascript; charset=utf-8"),
    ("/admin", "text/html; charset=utf-8"),
    ("/web/admin.js", "text/javascript; charset=utf-8"),
    ("/web/admin.css", "text/css; charset=utf-8"),
];

/// Loaded by pages of other origins, too.
const SHARED: [&str; 13] = [
    "/web/highwater.js",
    "/web/errors.js",
    "/web/hash.js",
    "/web/ledger.js",
    "/web/live.js",
    "/web/patience.js",
    "/web/policy.js",
    "/web/session.js",
    "/web/sha256.js",
    "/web/store.js",
    "/web/transport.js",
    "/web/unfinished.js",
    "/web/worker.js",
];

fn assert_guarded(path: &str, reply: &Reply) {
    for (name, value) in [
        ("Cache-Control", "no-cache"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        (
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ] {
        assert_eq!(reply.header(name), Some(value), "{path}: {name}");
    }
    let shared = SHARED.contains(&path);
    let any = reply.header("Access-Control-Allow-Origin");
    assert_eq!(any, shared.then_some("*"), "{path}");
    let policy = if shared {
        "cross-origin"
    } else {
        "same-origin"
    };
    let told = reply.header("Cross-Origin-Resource-Policy");
    assert_eq!(told, Some(policy), "{path}");
}

#[tokio::test]
async fn files_have_their_type_and_guards() {
    let server = start().await;
    for (path, media) in FILES {
        let reply = server
            .request("GET", path)
            .header("Origin", "https://app.example")
            .send()
            .await;
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("Content-Type"), Some(media), "{path}");
        assert!(!reply.body.is_empty(), "{path}");
        assert_guarded(path, &reply);

        let head = server.request("HEAD", path).send().await;
        assert_eq!(head.status, 200, "{path}");
        for name in ["Content-Type", "ETag"] {
            assert_eq!(head.header(name), reply.header(name), "{path}: {name}");
        }
        let length = u64::try_from(reply.body.len()).ok();
        assert_eq!(head.number("Content-Length"), length, "{path}");
        assert_guarded(path, &head);
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let server = start().await;
    let mut conn = server.connect().await;
    // Had the first answer a body, the second would not begin where its head ends.
    for _ in 0..2 {
        conn.send(b"HEAD /web/highwater.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        assert_eq!(conn.reply_to("HEAD").await.status, 200);
    }
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let server = start().await;
    let mut tags = std::collections::HashSet::new();
    for (path, _) in FILES {
        let tag = server.get(path).await.header("ETag").unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() == 66);
        let asked = |tag: &str| server.request("GET", path).header("If-None-Match", tag);
        for known in [&tag, &format!("\"other\", W/{tag}"), "*"] {
            let reply = asked(known).send().await;
            assert_eq!((reply.status, reply.body.len()), (304, 0), "{path} {known}");
            assert_eq!(reply.header("ETag"), Some(&*tag));
            assert_guarded(path, &reply);
        }
        assert_eq!(asked("\"other\"").send().await.status, 200);
        tags.insert(tag);
    }
    assert!(tags.len() > 5, "a tag is of the content");
}

#[tokio::test]
async fn files_are_read_and_nothing_else() {
    let server = start().await;
    for (path, _) in FILES {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let reply = server.request(method, path).send().await;
            assert_eq!((reply.status, &*reply.code), (405, "method-not-allowed"));
            assert_eq!(reply.header("Allow"), Some("GET, HEAD"), "{method} {path}");
        }
    }
    for path in [
        "/web/",
        "/web",
        "/web/upload.html",
        "/web/../web/upload.js",
        "/index.html",
    ] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_upload_page_knows_the_limit() {
    let server = start_with(|config| config.max_size = 12_345).await;
    let page = String::from_utf8(server.get("/").await.body).unwrap();
    assert_eq!(page.matches("data-max-size=\"12345\"").count(), 1);
}

#[tokio::test]
async fn pages_can_be_switched_off() {
    let server = start_with(|config| config.no_pages = true).await;
    for (path, _) in FILES {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    let server = start_with(|config| config.disable_sessions = true).await;
    assert_eq!(
        server.get("/").await.status,
        404,
        "a page that could upload nothing"
    );
    assert_eq!(server.get("/admin").await.status, 200);
}

#[tokio::test]
async fn uploads_at_the_root_are_left_alone() {
    let server = start_with(|config| config.base_path = "/".parse().unwrap()).await;
    assert_eq!(server.get("/").await.status, 200);
    let created = server
        .tus("POST", "/")
        .header("Upload-Length", 3)
        .send()
        .await;
    assert_eq!(created.status, 201);
    let path = created.location_path();
    assert_eq!(server.head(&path).await.status, 200);
    assert_eq!(server.tus("OPTIONS", "/").send().await.status, 204);
}

#[tokio::test]
async fn the_page_of_operators_is_where_their_api_is() {
    let local = start().await;
    let rebound = local
        .request("GET", "/admin")
        .without("Host")
        .header("Host", "rebound.example")
        .send()
        .await;
    assert_eq!((rebound.status, &*rebound.code), (404, "no-such-resource"));
    // With a token it is for everybody: the page asks for the token, and shows nothing without.
    let server = start_with(|config| {
        config.behind_proxy = true;
        config.admin_token = "a-token-of-the-tests".parse().ok();
    })
    .await;
    assert_eq!(server.get("/admin").await.status, 200);
    assert_eq!(server.get("/admin/uploads/active").await.status, 401);
}
