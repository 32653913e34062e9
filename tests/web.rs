//! Browsers on other origins: what a preflight allows, what a script may read, on errors too.

use crate::support::{Reply, start, start_with};

const EXPOSED: [&str; 13] = [
    "Location",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Defer-Length",
    "Upload-Concat",
    "Upload-Expires",
    "Tus-Resumable",
    "Tus-Version",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Checksum-Algorithm",
    "Retry-After",
];

fn list(reply: &Reply, name: &str) -> Vec<String> {
    reply
        .header(name)
        .unwrap_or_default()
        .split(',')
        .map(|item| item.trim().to_lowercase())
        .collect()
}

#[tokio::test]
async fn everything_is_exposed_on_every_answer() {
    let server = start().await;
    let path = server.create(3).await;
    let origin = |method: &str, path: &str| {
        server
            .tus(method, path)
            .header("Origin", "https://app.example")
    };
    for reply in [
        origin("OPTIONS", "/files/").send().await,
        origin("POST", "/files/")
            .header("Upload-Length", 1)
            .send()
            .await,
        origin("POST", "/files/").send().await,
        origin("HEAD", &path).send().await,
        origin("PATCH", &path).send().await,
        origin("GET", &path).send().await,
        origin("HEAD", "/files/none").send().await,
        origin("GET", "/elsewhere").send().await,
        origin("DELETE", &path).send().await,
    ] {
        assert_eq!(
            reply.header("Access-Control-Allow-Origin"),
            Some("https://app.example"),
            "{reply:?}"
        );
        let exposed = list(&reply, "Access-Control-Expose-Headers");
        for name in EXPOSED {
            assert!(exposed.contains(&name.to_lowercase()), "{name}");
        }
        assert!(list(&reply, "Vary").contains(&"origin".into()));
        assert_eq!(reply.header("Access-Control-Allow-Credentials"), None);
    }
    assert_eq!(
        server
            .head(&path)
            .await
            .header("Access-Control-Allow-Origin"),
        None
    );
}

#[tokio::test]
async fn a_preflight_allows_what_clients_send() {
    let server = start_with(|config| {
        config.cors_allow_headers = "X-Own, X-Two".into();
        config.cors_expose_headers = "X-Seen".into();
        config.cors_allow_credentials = true;
        config.cors_max_age = 60;
    })
    .await;
    let reply = server
        .request("OPTIONS", "/files/x")
        .header("Origin", "http://localhost:5173")
        .header("Access-Control-Request-Method", "PATCH")
        .header(
            "Access-Control-Request-Headers",
            "tus-resumable,upload-offset",
        )
        .send()
        .await;
    assert!(matches!(reply.status, 200 | 204));
    assert_eq!(
        reply.header("Access-Control-Allow-Origin"),
        Some("http://localhost:5173")
    );
    assert_eq!(
        reply.header("Access-Control-Allow-Credentials"),
        Some("true")
    );
    assert_eq!(reply.header("Access-Control-Max-Age"), Some("60"));
    let methods = list(&reply, "Access-Control-Allow-Methods");
    for method in ["post", "head", "patch", "delete", "options", "get"] {
        assert!(methods.contains(&method.into()), "{method}");
    }
    let headers = list(&reply, "Access-Control-Allow-Headers");
    for name in [
        "tus-resumable",
        "upload-length",
        "upload-offset",
        "upload-metadata",
        "upload-defer-length",
        "upload-concat",
        "upload-checksum",
        "content-type",
        "x-http-method-override",
        "x-requested-with",
        "x-request-id",
        "authorization",
        "upload-complete",
        "upload-draft-interop-version",
        "x-own",
        "x-two",
    ] {
        assert!(headers.contains(&name.into()), "{name}");
    }
    assert!(list(&reply, "Access-Control-Expose-Headers").contains(&"x-seen".into()));
}

#[tokio::test]
async fn origins_are_matched_whole() {
    let server =
        start_with(|config| config.cors_allow_origin = r"https://(.*\.)?example\.com".into()).await;
    for (origin, allowed) in [
        ("https://example.com", true),
        ("https://a.example.com", true),
        ("https://example.com.evil.org", false),
        ("http://evil.org/https://example.com", false),
        ("null", false),
    ] {
        let reply = server
            .request("OPTIONS", "/files/")
            .header("Origin", origin)
            .send()
            .await;
        assert_eq!(
            reply.header("Access-Control-Allow-Origin").is_some(),
            allowed,
            "{origin}"
        );
    }
    let none = start_with(|config| config.disable_cors = true).await;
    let reply = none
        .request("OPTIONS", "/files/")
        .header("Origin", "https://example.com")
        .send()
        .await;
    assert!(
        !reply
            .headers
            .iter()
            .any(|(name, _)| name.to_lowercase().starts_with("access-control"))
    );
}
