//! Pages of origins that look like one that may come: each is refused where a browser would have sent what it has, and
//! is told nothing that it could read.

use highwater::config::{AuthMode, Config};

use crate::progress::watcher::{HANDSHAKE, ask};
use crate::support::{Client, Server, start_with};

/// What a page of such an origin gets: from a WebSocket, from a stream of events, from a form that is sent, from a preflight
/// and from an upload's head, whether it may read it.
async fn visit(client: &Client, origins: &[&str]) -> [bool; 5] {
    let mut headers = HANDSHAKE.to_vec();
    headers.extend(origins.iter().map(|origin| ("Origin", *origin)));
    let (_, socket) = ask(client.addr, "/progress", &headers).await;
    let from = |method: &str, path: &str| {
        let request = client.tus(method, path);
        let origins = origins.iter();
        origins.fold(request, |request, origin| request.header("Origin", origin))
    };
    let events = from("GET", "/progress/events").send().await;
    let form = from("POST", "/uploads/initialize").header("Content-Type", "text/plain");
    let form = form.body(r#"{"filename":"f","size":1}"#).send().await;
    let preflight = from("OPTIONS", "/files/").send().await;
    let head = from("HEAD", "/files/never").send().await;
    let readable = |reply: &crate::support::Reply| {
        let allowed = reply.header("Access-Control-Allow-Origin");
        assert!(
            allowed.is_none_or(|allowed| origins.contains(&allowed)),
            "{reply:?}"
        );
        allowed.is_some()
    };
    assert_eq!(preflight.header("Access-Control-Allow-Credentials"), None);
    [
        socket.status == 101,
        events.status != 403,
        form.status == 201,
        readable(&preflight),
        readable(&head),
    ]
}

async fn serve(change: impl FnOnce(&mut Config)) -> Server {
    start_with(|config| {
        config.cors_allow_origin = r"https://app\.example(:8443)?".into();
        change(config);
    })
    .await
}

#[tokio::test]
async fn that_look_like_one_of_the_list() {
    let server = serve(|_| {}).await;
    for origin in ["https://app.example", "https://app.example:8443"] {
        assert_eq!(visit(&server, &[origin]).await, [true; 5], "{origin}");
    }
    for origin in [
        "https://app.example.evil",
        "https://app.example.",
        "https://app.example:443",
        "https://app.example:84430",
        "https://app.example:8443.evil",
        "https://app.example/",
        "https://app.example?x",
        "https://app.example@evil.example",
        "https://evil.example/https://app.example",
        "https://evil.example?https://app.example",
        "https://evil.example#https://app.example",
        "https://app.example https://evil.example",
        "https://evil.example,https://app.example",
        "https://appxexample",
        "https://evil-app.example",
        "https://evil.app.example",
        "http://app.example",
        "HTTPS://APP.EXAMPLE",
        "app.example",
        "https://app.example\t.evil",
        "file://",
        "null",
        "",
        "*",
    ] {
        assert_eq!(visit(&server, &[origin]).await, [false; 5], "{origin}");
    }
    // One that may come beside one that may not.
    for two in [
        ["https://app.example", "https://evil.example"],
        ["https://evil.example", "https://app.example"],
    ] {
        assert_eq!(visit(&server, &two).await[..3], [false; 3], "{two:?}");
    }
}

#[tokio::test]
async fn that_look_like_the_servers_own() {
    for change in [
        (|config| config.disable_cors = true) as fn(&mut Config),
        |config| config.cors_allow_origin = "https://app\\.example".into(),
    ] {
        let server = serve(change).await;
        let own = format!("http://{}", server.addr);
        let port = server.addr.port();
        // Whether a proxy in front encrypts is not known here.
        for own in [&own, &own.replace("http:", "https:")] {
            assert_eq!(visit(&server, &[own]).await[..3], [true; 3], "{own}");
        }
        for origin in [
            format!("{own}.evil.example"),
            format!("{own}/"),
            format!("{own}0"),
            format!("{own}@evil.example"),
            format!("http://evil.example/{own}"),
            format!("http://x@{}", server.addr),
            format!("ws://{}", server.addr),
            format!("http://localhost:{port}"),
            format!("http://[::1]:{port}"),
            format!("http://127.1:{port}"),
            format!("http://2130706433:{port}"),
            "http://127.0.0.1".into(),
            format!("http://127.0.0.1:{}", port ^ 1),
            "null".into(),
        ] {
            assert_eq!(visit(&server, &[&origin]).await, [false; 5], "{origin}");
        }
        // A page cannot make itself the server's own by what a proxy would say: nobody has said that there is one.
        for name in [
            "X-Forwarded-Host",
            "Forwarded",
            "X-Forwarded-Server",
            "X-Original-Host",
        ] {
            let mut headers = HANDSHAKE.to_vec();
            headers.extend([
                ("Origin", "http://evil.example"),
                (name, "evil.example"),
                (name, "host=evil.example"),
            ]);
            let (_, socket) = ask(server.addr, "/progress", &headers).await;
            assert_eq!(socket.status, 403, "{name}");
        }
    }
}

/// Whoever a proxy names is named whatever page asks: without a list only the server's own pages come in, by every door and
/// method that a browser sends without asking first.
#[tokio::test]
async fn with_the_visitors_own_cookie() {
    let server = start_with(|config| {
        config.auth.auth = AuthMode::Forward;
        config.auth.auth_forward_from = "127.0.0.0/8".parse().expect("addresses");
    })
    .await;
    let own = format!("http://{}", server.addr);
    let post = server.tus("POST", "/files/").header("Upload-Length", 5);
    let path = post
        .header("X-Forwarded-User", "alice")
        .send()
        .await
        .location_path();
    for origin in [
        "https://evil.example",
        "null",
        &format!("{own}.evil.example"),
    ] {
        for (method, target) in [
            ("POST", "/uploads/initialize"),
            ("GET", "/uploads/never/status"),
            ("DELETE", "/uploads/never"),
            ("GET", "/progress/events?upload=x"),
        ] {
            let ask = server.request(method, target).header("Origin", origin);
            let ask = ask
                .header("X-Forwarded-User", "alice")
                .body(r#"{"filename":"f","size":1}"#);
            assert_eq!(
                ask.send().await.code,
                "foreign-origin",
                "{origin} {method} {target}"
            );
        }
        let mut headers = HANDSHAKE.to_vec();
        headers.extend([("Origin", origin), ("X-Forwarded-User", "alice")]);
        let (_, socket) = ask(server.addr, "/progress", &headers).await;
        assert_eq!(socket.status, 403, "{origin}");
        // What tus changes it changes for nobody who does not say which tus, and a page of another origin may not say that.
        let form = server.request("POST", &path).header("Origin", origin);
        let form = form
            .header("X-Forwarded-User", "alice")
            .header("Content-Type", "text/plain");
        assert_eq!(form.body("x").send().await.status, 412);
        // Nor has it a way past that where it needs to say nothing.
        for method in ["POST", "PATCH", "DELETE", "GET"] {
            let ask = server.tus(method, &path).header("Origin", origin);
            let ask = ask.header("X-Forwarded-User", "alice").send().await;
            assert_eq!(ask.code, "foreign-origin", "{origin} {method}");
        }
        let preflight = server.request("OPTIONS", &path).header("Origin", origin);
        let preflight = preflight.send().await;
        assert_eq!(
            preflight.header("Access-Control-Allow-Origin"),
            None,
            "{origin}"
        );
    }
}
