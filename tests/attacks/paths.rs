//! Names that lead elsewhere, in every field that a client, a token, a proxy or a hook fills beside the ones of
//! `invariants::names`: nothing is made, changed or read outside of what is the upload's.

use std::path::{Path, PathBuf};

use highwater::config::{AuthMode, Config, SniffMode};
use percent_encoding::NON_ALPHANUMERIC;
use serde_json::json;

use crate::support::client::Request;
use crate::support::receiver::{Receiver, Said};
use crate::support::{Client, Server, start_with, walk};

/// Names that lead elsewhere wherever they are taken for a path.
const EVIL: [&str; 14] = [
    "../../victim",
    "../../../../../../../../tmp/victim",
    "/etc/passwd",
    "//etc/passwd",
    "./victim",
    "a/../../victim",
    "..\\..\\victim",
    "%2e%2e/%2e%2e/victim",
    "..%2fvictim",
    "victim\u{0}.txt",
    "file:///etc/passwd",
    "~root/.ssh/authorized_keys",
    "-rf",
    "$(touch victim)`touch victim`;touch victim",
];

/// Files in the directory above the data: `victim`, and those that the test put there.
fn outside(server: &Server) -> Vec<PathBuf> {
    let above = server.data().parent().expect("it is in one").to_owned();
    let mut found = Vec::new();
    walk(&above, &mut |path| {
        if !path.starts_with(server.data()) {
            found.push(path.to_owned());
        }
    });
    found.sort();
    found
}

/// Every name of a file below the data has nothing of the evil ones, wherever it lies.
fn harmless(server: &Server, name: &str) {
    assert_eq!(
        outside(server),
        [server.data().with_file_name("victim")],
        "{name}"
    );
    let victim = std::fs::read(server.data().with_file_name("victim"));
    assert_eq!(victim.expect("it is there"), b"precious", "{name}");
    for file in server.stored_files() {
        assert!(
            !file.contains("victim") && !file.contains("passwd"),
            "{name}: {file}"
        );
    }
    assert!(!Path::new("/tmp/victim").exists() && !Path::new("victim").exists());
}

async fn serve(change: impl FnOnce(&mut Config)) -> Server {
    let server = start_with(change).await;
    std::fs::write(server.data().with_file_name("victim"), "precious").expect("a victim");
    server
}

/// A whole upload, whatever it is called, if it comes to be.
async fn upload(post: Request, patch: impl Fn(&str) -> Request) -> Option<String> {
    let reply = post.send().await;
    assert!(reply.status < 500, "{reply:?}");
    let path = (reply.status == 201).then(|| reply.location_path())?;
    assert_eq!(patch(&path).send().await.status, 204);
    Some(path)
}

#[tokio::test]
async fn of_users() {
    let server = serve(|config| {
        config.auth.auth = AuthMode::Forward;
        config.auth.auth_forward_from = "127.0.0.0/8".parse().expect("addresses");
        config.limits.quota = 1 << 20;
        config.limits.max_open_uploads = 9;
    })
    .await;
    for name in EVIL {
        if name.contains('\0') {
            continue; // nothing that can be sent
        }
        let as_user = |request: Request| request.header("X-Forwarded-User", name);
        let post = as_user(server.tus("POST", "/files/").header("Upload-Length", 4));
        let path = upload(post, |path| as_user(server.patch(path, 0, "evil"))).await;
        if let Some(path) = path {
            // It is a name like any other, and nobody else's.
            assert_eq!(
                as_user(server.request("GET", &path)).send().await.body,
                b"evil"
            );
            let other = server
                .request("GET", &path)
                .header("X-Forwarded-User", "victim");
            assert_eq!(other.send().await.status, 404);
        }
        harmless(&server, name);
    }
}

/// File names, types and whatever else metadata tells, through both doors; and with all that looks at them switched on.
#[tokio::test]
async fn of_files() {
    let server = serve(|config| config.content.sniff = SniffMode::On).await;
    for name in EVIL {
        let metadata = |key: &'static str| {
            let post = server.tus("POST", "/files/").header("Upload-Length", 4);
            post.described(&[(key, name)])
        };
        for key in ["filename", "name", "filetype", "relativePath", "path", "id"] {
            let path = upload(metadata(key), |path| server.patch(path, 0, "evil")).await;
            if let Some(path) = path {
                let got = server.get(&path).await;
                assert_eq!(got.body, b"evil", "{key} {name}");
                let shown = got.header("Content-Disposition").unwrap_or_default();
                assert!(!shown.contains(['\r', '\n', '\0']), "{shown}");
            }
            harmless(&server, name);
        }
        let ask = json!({"filename": name, "size": 4, "verify": false, "metadata": {"path": name, "relativePath": name}});
        let begun = server.initialize(&ask).await;
        if begun.status == 201 {
            let told = begun.json();
            let text = |name: &str| told[name].as_str().expect("a text").to_owned();
            let (id, token) = (text("session_id"), text("session_token"));
            let of = |method: &str, below: &str| {
                let request = server.request(method, &format!("/uploads/{id}/{below}"));
                request.header("Authorization", format!("Bearer {token}"))
            };
            assert_eq!(of("POST", "chunks/1").body("evil").send().await.status, 201);
            assert_eq!(of("POST", "finalize").send().await.status, 200);
        }
        harmless(&server, name);
    }
}

/// Ids and numbers in the paths of the other doors, decoded or not.
#[tokio::test]
async fn of_sessions_and_of_what_is_watched() {
    let server = serve(|_| {}).await;
    let session = server.session_of(b"x").await;
    for name in EVIL {
        let coded = percent_encoding::percent_encode(name.as_bytes(), NON_ALPHANUMERIC);
        let coded = coded.to_string();
        let plain: String = name
            .chars()
            .filter(|c| !c.is_control() && *c != ' ')
            .collect();
        for name in [coded.as_str(), &plain] {
            for (method, path) in [
                ("GET", format!("/uploads/{name}/status")),
                ("POST", format!("/uploads/{name}/chunks/1")),
                ("POST", format!("/uploads/{}/chunks/{name}", session.id)),
                (
                    "POST",
                    format!("/uploads/{}/../{name}/finalize", session.id),
                ),
                ("DELETE", format!("/uploads/{name}")),
                ("GET", format!("/admin/uploads/{name}")),
                ("POST", format!("/admin/uploads/{name}/cancel")),
                ("POST", format!("/admin/hooks/{name}/retry")),
                ("GET", format!("/admin/{name}")),
                ("GET", format!("/{name}")),
                ("GET", format!("/files/{}/{name}", session.id)),
            ] {
                let request = session.owned(server.request(method, &path));
                let reply = request.send().await;
                assert!(
                    matches!(reply.status, 400 | 404 | 405),
                    "{method} {path}: {reply:?}"
                );
                let body = String::from_utf8_lossy(&reply.body);
                assert!(
                    !body.contains("root:") && !body.contains("precious"),
                    "{path}"
                );
            }
        }
        harmless(&server, name);
    }
}

/// What a hook says of an upload: its name, its file's name, and whatever else stands in its answer.
#[tokio::test]
async fn of_hooks() {
    let receiver = Receiver::agreeable().await;
    let url = receiver.url();
    let server = serve(|config| {
        config.hooks.hooks_http = url;
        config.hooks.hooks_enabled_events = "pre-create,pre-finish".parse().expect("events");
        config.hooks.hooks_http_retry = 0;
    })
    .await;
    let client: Client = *server;
    for name in EVIL {
        let begin = async |said: serde_json::Value| {
            receiver.says(move |_| Said::Json(said.clone()));
            let post = client.tus("POST", "/files/").header("Upload-Length", 4);
            let tus = post.send().await;
            let session = client
                .initialize(&json!({"filename": "f", "size": 4}))
                .await;
            (tus, session)
        };
        if name != "-rf" {
            for chosen in [name.to_owned(), format!("a/{name}"), format!("{name}/a")] {
                let said = json!({ "ChangeFileInfo": { "ID": chosen } });
                let (tus, session) = begin(said).await;
                for reply in [tus, session] {
                    assert_eq!(
                        (reply.status, &*reply.code),
                        (500, "hook-failed"),
                        "{chosen}"
                    );
                }
                harmless(&server, name);
            }
        }
        // What it is called is what it is called.
        let metadata = json!({"filename": name, "path": name});
        let (tus, session) = begin(json!({ "ChangeFileInfo": { "MetaData": metadata } })).await;
        assert_eq!(session.status, 201, "{session:?}");
        let path = tus.location_path();
        assert_eq!(client.patch(&path, 0, "evil").send().await.status, 204);
        assert_eq!(client.get(&path).await.body, b"evil");
        harmless(&server, name);
        let headers = json!({"Location": name, "X-Accel-Redirect": name, "Content-Length": "99", "Transfer-Encoding": "chunked", "Upload-Offset": "99"});
        let (tus, _) = begin(json!({ "HTTPResponse": { "Header": headers } })).await;
        if tus.status == 201 {
            assert!(tus.location_path().starts_with("/files/"), "{tus:?}");
            assert_eq!(tus.header("Transfer-Encoding"), None);
        }
        harmless(&server, name);
    }
}
