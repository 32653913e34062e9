//! Who gets in.

use crate::identity::{ALICE, As, BOB, two_users_with, users};
use crate::quotas::rates::{too_fast, until_refused};
use crate::support::{Process, start, start_with};

const TOKEN: &str = "a-token-of-the-tests";
const PATHS: [(&str, &str); 8] = [
    ("GET", "/metrics"),
    ("GET", "/admin/uploads/active"),
    ("GET", "/admin/uploads/metrics"),
    ("GET", "/admin/uploads/storage"),
    ("GET", "/admin/users"),
    ("GET", "/admin/uploads/none"),
    ("POST", "/admin/uploads/none/cancel"),
    ("POST", "/admin/cleanup"),
];

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one() {
    let server = start_with(|config| config.admin_token = TOKEN.parse().ok()).await;
    for (method, path) in PATHS {
        for told in ["", "Bearer another-token-of-them", "Basic YTpi", "Bearer"] {
            let mut request = server.request(method, path);
            if !told.is_empty() {
                request = request.header("Authorization", told);
            }
            let refused = request.send().await;
            assert_eq!(
                (refused.status, &refused.code[..]),
                (401, "unauthorized"),
                "{path} {told}"
            );
            assert_eq!(refused.header("WWW-Authenticate"), Some("Bearer"));
        }
        let token = format!("Bearer {TOKEN}");
        let request = server.request(method, path).header("Authorization", token);
        let status = request.header("Host-Is-Any", "x").send().await.status;
        assert!(matches!(status, 200 | 404), "{path}: {status}");
    }
    let open = server.get("/readyz").await;
    assert_eq!(open.status, 200, "readiness is no secret");
}

#[tokio::test]
async fn the_token_comes_from_the_environment_and_is_never_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_highwater"));
    command
        .args(["--port", "0", "--log-level", "trace", "--upload-dir"])
        .arg(dir.path())
        .env("HIGHWATER_ADMIN_TOKEN", TOKEN);
    let mut server = Process::spawn(command).expect("it starts");
    let token = format!("Bearer {TOKEN}");
    let get = server
        .request("GET", "/metrics")
        .header("Authorization", token);
    assert_eq!(get.send().await.status, 200);
    assert_eq!(server.get("/metrics").await.status, 401);
    server.wait_for_line("unauthorized");
    assert!(!server.log().iter().any(|line| line.contains(TOKEN)));
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_highwater"))
        .arg("--help")
        .env("HIGHWATER_ADMIN_TOKEN", TOKEN)
        .output()
        .expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("--admin-token") && !help.contains(TOKEN));
    let short = std::process::Command::new(env!("CARGO_BIN_EXE_highwater"))
        .env("HIGHWATER_ADMIN_TOKEN", "hunter2")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&short.stderr).into_owned();
    assert_eq!(short.status.code(), Some(2));
    assert!(
        said.contains("--admin-token") && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test]
async fn without_a_token_it_is_hidden_from_proxies_and_rebound_names() {
    let server = start().await;
    let get = |path: &str, host: &str| {
        server
            .request("GET", path)
            .without("Host")
            .header("Host", host)
    };
    for (method, path) in PATHS {
        for host in [
            "rebound.example",
            "rebound.example:8080",
            "127.0.0.1.nip.io",
            "0.0.0.0",
        ] {
            let request = server
                .request(method, path)
                .without("Host")
                .header("Host", host);
            let hidden = request
                .header("Origin", format!("http://{host}"))
                .send()
                .await;
            assert_eq!(
                (hidden.status, &hidden.code[..]),
                (404, "no-such-resource"),
                "{path} {host}"
            );
        }
        let proxied = server
            .request(method, path)
            .header("X-Forwarded-For", "1.2.3.4");
        assert_eq!(proxied.send().await.status, 404, "{path}");
    }
    assert_eq!(get("/metrics", "localhost").send().await.status, 200);
    // HTTP/1.0 without a host names nothing.
    assert_eq!(
        server.raw(b"GET /metrics HTTP/1.0\r\n\r\n").await.status,
        404
    );
    for change in [true, false] {
        let other = start_with(|config| {
            config.behind_proxy = change;
            if !change {
                config.host = "0.0.0.0".into();
            }
        })
        .await;
        let local = other.request("GET", "/metrics").without("Host");
        assert_eq!(local.header("Host", "localhost").send().await.status, 404);
    }
}

#[tokio::test]
async fn no_page_of_another_origin_changes_or_reads_anything() {
    let server = start().await;
    let path = server.create(10).await;
    let id = crate::support::id(&path).to_owned();
    for change in [
        format!("/admin/uploads/{id}/cancel"),
        "/admin/cleanup".into(),
    ] {
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1", ""] {
            let request = server.request("POST", &change).header("Origin", origin);
            let refused = request.body("").send().await;
            assert_eq!(
                (refused.status, &refused.code[..]),
                (403, "foreign-origin"),
                "{origin}"
            );
        }
    }
    assert_eq!(server.offset(&path).await, 0, "it is there");
    let own = format!("http://{}", server.addr);
    let swept = server
        .request("POST", "/admin/cleanup")
        .header("Origin", own);
    assert_eq!(swept.body("").send().await.status, 200);
    for (method, path) in PATHS
        .into_iter()
        .chain([("OPTIONS", "/metrics"), ("GET", "/readyz")])
    {
        let request = server
            .request(method, path)
            .header("Origin", "http://evil.example");
        let request = request.header("Access-Control-Request-Method", "POST");
        let answer = request.send().await;
        let cors =
            |(name, _): &&(String, String)| name.to_lowercase().starts_with("access-control");
        assert_eq!(answer.headers.iter().find(cors), None, "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_and_paths_are_told_so() {
    let server = start().await;
    for (path, allow) in [
        ("/metrics", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/admin/uploads/active", "GET, HEAD"),
        ("/admin/uploads/none", "GET, HEAD"),
        ("/admin/uploads/none/cancel", "POST"),
        ("/admin/cleanup", "POST"),
        ("/admin/users", "GET, HEAD"),
    ] {
        let wrong = if allow == "POST" {
            ["GET", "DELETE"]
        } else {
            ["POST", "DELETE"]
        };
        for method in wrong.into_iter().chain(["OPTIONS", "PUT"]) {
            let refused = server.request(method, path).send().await;
            assert_eq!(
                (refused.status, &refused.code[..]),
                (405, "method-not-allowed"),
                "{method} {path}"
            );
            assert_eq!(refused.header("Allow"), Some(allow));
        }
    }
    for path in [
        "/admin/",
        "/admin/uploads",
        "/admin/uploads/../../etc",
        "/metrics/x",
        "/admin/x",
    ] {
        let status = server.get(path).await.status;
        assert_eq!(status, 404, "{path}");
    }
    let head = server.request("HEAD", "/metrics").send().await;
    assert!(
        head.status == 200 && head.body.is_empty() && head.number("Content-Length") > Some(100)
    );
}

#[tokio::test]
async fn where_users_are_told_apart_it_wants_the_token_on_this_machine_too() {
    let (server, _dir) = two_users_with(|_| {}).await;
    for told in ["", ALICE] {
        for (method, path) in PATHS.into_iter().chain([
            ("GET", "/admin"),
            ("GET", "/progress/events?upload=*"),
            ("GET", "/admin/hooks"),
        ]) {
            let request = server.request(method, path);
            let request = if told.is_empty() {
                request
            } else {
                request.bearing(told)
            };
            let reply = request.send().await;
            let wanted = if path == "/metrics" { 200 } else { 404 };
            assert_eq!(reply.status, wanted, "{path} {told:?}: {reply:?}");
        }
    }
    let (server, _dir) = two_users_with(|config| config.admin_token = TOKEN.parse().ok()).await;
    for (method, path) in PATHS {
        let mine = server.request(method, path).bearing(ALICE).send().await;
        assert_eq!(mine.status, 401, "{path}: {mine:?}");
        let right = server.request(method, path).bearing(TOKEN).send().await;
        assert!(matches!(right.status, 200 | 404), "{path}: {right:?}");
    }
    assert_eq!(server.get("/admin").await.status, 200, "it asks for it");
}

#[tokio::test]
async fn a_start_says_that_there_is_no_admin_api_without_its_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, file) = (dir.path().join("data"), dir.path().join("users.toml"));
    std::fs::write(&file, users(BOB)).expect("it is written");
    let auth = [
        "--auth",
        "token",
        "--auth-file",
        file.to_str().expect("text"),
    ];
    let token = ["--admin-token", TOKEN];
    for (options, lines) in [
        (auth.to_vec(), 1),
        ([&auth[..], &token].concat(), 0),
        (vec![], 0),
    ] {
        let mut server = Process::start(&data, &options);
        assert!(server.terminate().0);
        let is_it = |line: &&String| line.contains("--admin-token");
        assert_eq!(server.log().iter().filter(is_it).count(), lines);
    }
}

#[tokio::test]
async fn tokens_cannot_be_tried_at_any_rate() {
    let server = start_with(|config| {
        config.admin_token = TOKEN.parse().ok();
        config.limits.max_request_rate = 8;
        // Every client has an address of its own here.
        config.behind_proxy = true;
    })
    .await;
    for (method, path) in PATHS {
        let from = |told: &str, address: &str| {
            let request = server.request(method, path).bearing(told);
            request.header("X-Forwarded-For", address)
        };
        let guess = from("a-guess-of-some-length", "192.0.2.1");
        let (_, reply) = until_refused(guess).await;
        too_fast(&reply, 1);
        // Whoever has the token is not hindered, not even at the same address.
        let right = from(TOKEN, "192.0.2.1").send().await;
        assert!(matches!(right.status, 200 | 404), "{path}: {right:?}");
    }
    let guess = server.request("GET", "/admin/users").bearing("a-guess");
    let other = guess.header("X-Forwarded-For", "192.0.2.2").send().await;
    assert_eq!(other.status, 401, "{other:?}");
    // HEAD is never refused for how often it comes.
    for _ in 0..30 {
        let head = server.request("HEAD", "/metrics").bearing("another");
        assert_eq!(head.send().await.status, 401);
    }
}
