//! Every door, every method, every state of another's upload: byte for byte the answer of an id that there is not.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::identity::{ALICE, As, BOB, create, two_users_with};
use crate::support::client::Request;
use crate::support::receiver::{Receiver, Said};
use crate::support::{Client, Server, id, until};

/// As long as one that there is.
const UNKNOWN: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "TRACE", "patch",
];

/// Every path that can name an upload, `@` standing for it.
const PATHS: [&str; 19] = [
    "/files/@",
    "/files/@?x=1",
    "/files/@/",
    "/files/@/1",
    "/files/@/2",
    "/files/@.info",
    "/files/%2e/@",
    "/uploads/@",
    "/uploads/@/",
    "/uploads/@/status",
    "/uploads/@/resume",
    "/uploads/@/finalize",
    "/uploads/@/chunks/0",
    "/uploads/@/chunks/1",
    "/uploads/@/chunks/99",
    "/uploads/@/chunks/x",
    "/progress?upload=@",
    "/admin/uploads/@",
    "/admin/uploads/@/cancel",
];

/// Those of them that something is behind, for whom it belongs to.
const ANSWERED: [&str; 7] = [
    "/files/@",
    "/files/@/1",
    "/uploads/@",
    "/uploads/@/status",
    "/uploads/@/finalize",
    "/uploads/@/chunks/1",
    "/uploads/@/chunks/99",
];

/// What else a request may say, that is looked at sooner or later.
const HEADS: [&[(&str, &str)]; 15] = [
    &[],
    &[("Tus-Resumable", "0.2.2")],
    &[("Upload-Offset", "7")],
    &[("Upload-Offset", "-1")],
    &[("Content-Type", "text/plain")],
    &[("Upload-Checksum", "sha1 x")],
    &[("Upload-Checksum", "md5 XUFAKrxLKna5cZ2REBfFkg==")],
    &[("Upload-Length", "1")],
    &[("X-HTTP-Method-Override", "DELETE")],
    &[("X-HTTP-Method-Override", "HEAD")],
    &[("X-HTTP-Method-Override", "PATCH")],
    &[("Range", "bytes=0-0")],
    &[("If-None-Match", "*"), ("If-Match", "\"x\"")],
    &[("X-Chunk-SHA256", "x")],
    &[("Expect", "100-continue")],
];

/// A request of Bob's, with a body of five bytes. What `say` has stands there once, as it has it.
fn request(client: &Client, method: &str, path: &str, say: &[(&str, &str)]) -> Request {
    let mut request = client.request(method, path).bearing(BOB);
    for (name, value) in [
        ("Tus-Resumable", "1.0.0"),
        ("Upload-Offset", "0"),
        ("Content-Type", "application/offset+octet-stream"),
        ("Origin", "https://app.example"),
        ("Connection", "close"),
    ] {
        if say.iter().all(|(own, _)| !own.eq_ignore_ascii_case(name)) {
            request = request.header(name, value);
        }
    }
    let request = say.iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    request.body("hello")
}

/// All that comes back, but for the date and the number of the request; the id is the client's own word.
async fn answer(client: &Client, request: &Request, id: &str) -> String {
    let mut conn = client.connect().await;
    conn.send(&request.to_bytes()).await;
    let mut came = Vec::new();
    let read = conn.stream.read_to_end(&mut came);
    timeout(Duration::from_secs(30), read)
        .await
        .expect("an answer, and its end")
        .expect("no reset");
    let text = String::from_utf8(came).expect("text");
    let passing = |line: &&str| !line.starts_with("date: ") && !line.starts_with("x-request-id: ");
    let lines: Vec<&str> = text.split("\r\n").filter(passing).collect();
    assert!(lines.len() > 2, "{text}");
    lines.join("\r\n").replace(id, "@")
}

/// That Bob learns nothing of this upload by any request, nor changes it.
async fn is_not_there(server: &Client, foreign: &str) {
    for method in METHODS {
        for path in PATHS {
            let is_answered = METHODS[..5].contains(&method) && ANSWERED.contains(&path);
            for say in &HEADS[..if is_answered { HEADS.len() } else { 1 }] {
                let ask = async |id: &str| {
                    let request = request(server, method, &path.replace('@', id), say);
                    answer(server, &request, id).await
                };
                let (foreign, unknown) = tokio::join!(ask(foreign), ask(UNKNOWN));
                assert_eq!(foreign, unknown, "{method} {path} {say:?}");
            }
        }
    }
}

/// Two users, and an operator with a token of his own.
async fn serve(change: impl FnOnce(&mut highwater::config::Config)) -> (Server, tempfile::TempDir) {
    two_users_with(|config| {
        config.admin_token = Some("the-operators-own-token".parse().expect("a token"));
        change(config);
    })
    .await
}

/// A session of Alice's, whose first chunk is there.
async fn session(server: &Client) -> String {
    let post = server.request("POST", "/uploads/initialize").bearing(ALICE);
    let ask = json!({"filename": "f", "size": 65536 + 1, "chunk_size": 65536, "verify": false});
    let told = post.body(ask.to_string()).send().await.json();
    let id = told["session_id"].as_str().expect("an id").to_owned();
    let chunk = server.request("POST", &format!("/uploads/{id}/chunks/1"));
    let chunk = chunk.bearing(ALICE).body(vec![7; 65536]).send().await;
    assert_eq!(chunk.status, 201, "{chunk:?}");
    id
}

/// Uploads of Alice's: open, complete, a part, a final that waits, one that is complete, a session.
async fn living(server: &Client) -> Vec<String> {
    let open = create(server, ALICE, 100).await;
    let whole = create(server, ALICE, 5).await;
    let patch = server.patch(&whole, 0, "hello").bearing(ALICE).send().await;
    assert_eq!(patch.status, 204);
    let partial = async |length: u64| {
        let post = server
            .tus("POST", "/files/")
            .header("Upload-Length", length);
        let post = post.header("Upload-Concat", "partial").bearing(ALICE);
        post.send().await.location_path()
    };
    let (part, later) = (partial(0).await, partial(5).await);
    let join = async |parts: &str| {
        let post = server.tus("POST", "/files/");
        let post = post.header("Upload-Concat", format!("final;{parts}"));
        post.bearing(ALICE).send().await.location_path()
    };
    let (joined, waiting) = (join(&part).await, join(&later).await);
    let paths = [open, whole, part, later, joined, waiting];
    let mut ids: Vec<String> = paths.iter().map(|path| id(path).to_owned()).collect();
    ids.push(session(server).await);
    ids
}

/// What its owner sees of it.
async fn seen(server: &Client, id: &str) -> (u16, Option<u64>) {
    let head = server.tus("HEAD", &format!("/files/{id}")).bearing(ALICE);
    let head = head.send().await;
    (head.status, head.number("Upload-Offset"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_every_path_by_every_method() {
    let (server, _dir) = serve(|_| {}).await;
    for id in living(&server).await {
        let before = seen(&server, &id).await;
        assert_eq!(before.0, 200);
        is_not_there(&server, &id).await;
        assert_eq!(seen(&server, &id).await, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_has_ended() {
    let (server, _dir) = serve(|config| config.expire_after = Duration::from_secs(3)).await;
    let ended = create(&server, ALICE, 5).await;
    let delete = server.tus("DELETE", &ended).bearing(ALICE).send().await;
    assert_eq!(delete.status, 204);
    let cancelled = session(&server).await;
    let delete = server.request("DELETE", &format!("/uploads/{cancelled}"));
    assert_eq!(delete.bearing(ALICE).send().await.status, 204);
    let expired = session(&server).await;
    let path = create(&server, ALICE, 5).await;
    for gone in [&expired, id(&path)] {
        until("its owner is told that it has expired", || async {
            seen(&server, gone).await.0 == 410
        })
        .await;
    }
    for gone in [id(&ended), &cancelled, &expired, id(&path)] {
        is_not_there(&server, gone).await;
    }
}

/// One of another's among one's own parts, in whatever form.
#[tokio::test]
async fn as_a_part() {
    let (server, _dir) = serve(|_| {}).await;
    let post = server.tus("POST", "/files/").header("Upload-Length", 0);
    let own = post.header("Upload-Concat", "partial").bearing(BOB);
    let own = own.send().await.location_path();
    for foreign in living(&server).await {
        let origin = format!("http://{}", server.addr);
        for form in [
            "final;/files/@".to_owned(),
            format!("final;{own} /files/@"),
            format!("final;/files/@ {own}"),
            format!("final;{origin}/files/@"),
            "final;/files/@/1".to_owned(),
            "final;/files/@ /files/@".to_owned(),
        ] {
            let ask = async |id: &str| {
                let post = server.tus("POST", "/files/").header("Connection", "close");
                let post = post.header("Upload-Concat", form.replace('@', id));
                answer(&server, &post.bearing(BOB), id).await
            };
            let (foreign, unknown) = (ask(&foreign).await, ask(UNKNOWN).await);
            assert_eq!(foreign, unknown, "{form}");
            assert!(foreign.starts_with("HTTP/1.1 400 "), "{foreign}");
        }
    }
}

/// As Server-Sent Events, alone and beside one's own: the first words, and that nothing follows while it changes.
#[tokio::test]
async fn in_a_stream_of_events() {
    let (server, _dir) = serve(|_| {}).await;
    let first = async |query: &str, id: &str, back: &str| {
        let events = server.request("GET", &format!("/progress/events?upload={query}"));
        let events = events.bearing(BOB).header("Last-Event-ID", back);
        let mut conn = server.connect().await;
        conn.send(&events.to_bytes()).await;
        let mut came = String::new();
        while !came.contains("\n\n\r\n") {
            let mut buffer = [0; 4096];
            let read = timeout(Duration::from_secs(30), conn.stream.read(&mut buffer)).await;
            let read = read.expect("in time").expect("no reset");
            assert!(read > 0, "{came}");
            came.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        let kept = came
            .lines()
            .filter(|line| !line.starts_with("date: ") && !line.starts_with("x-request-id: "));
        let text = kept.collect::<Vec<_>>().join("\n").replace(id, "@");
        let (before, time) = text.split_once("\"time\":\"").expect("a time");
        format!("{before}{}", &time[24..])
    };
    for foreign in living(&server).await {
        for back in ["", "0", "1", "ffffffffffffffff", "1-1"] {
            let told = first(&foreign, &foreign, back).await;
            assert_eq!(told, first(UNKNOWN, UNKNOWN, back).await, "{back}");
            assert!(told.contains("not-found"), "{told}");
        }
    }
}

/// A receiver that knows the ids of all users, and lets nobody but their owners by, is not asked of another's: its word would
/// tell that there is such an upload.
#[tokio::test]
async fn hooks_are_not_asked_of_it() {
    let receiver = Receiver::agreeable().await;
    let url = receiver.url();
    let (server, _dir) = serve(|config| {
        config.hooks.hooks_http = url;
        config.hooks.hooks_enabled_events = "pre-access".parse().expect("events");
    })
    .await;
    let (upload, session) = (create(&server, ALICE, 5).await, session(&server).await);
    let ids = [id(&upload).to_owned(), session];
    let known = ids.clone();
    receiver.says(move |call| {
        let is_one = known.iter().any(|id| call.id() == id);
        Said::Json(json!({ "RejectAccess": is_one }))
    });
    let before = receiver.calls().len();
    for foreign in &ids {
        for below in [
            "files/@",
            "uploads/@/status",
            "uploads/@/resume",
            "uploads/@/chunks/1",
        ] {
            let ask = async |id: &str, token: &str| {
                let method = if below.contains("chunks") {
                    "POST"
                } else {
                    "GET"
                };
                let path = format!("/{}", below.replace('@', id));
                let request = server.request(method, &path).header("Connection", "close");
                answer(&server, &request.bearing(token), id).await
            };
            assert_eq!(ask(foreign, BOB).await, ask(UNKNOWN, BOB).await, "{below}");
            // Nor for somebody who is nobody.
            let nobody = "a-token-of-nobody-at-all";
            assert_eq!(
                ask(foreign, nobody).await,
                ask(UNKNOWN, nobody).await,
                "{below}"
            );
        }
    }
    let post = server.request("POST", "/uploads/initialize").body("{}");
    assert_eq!(post.send().await.status, 401);
    assert_eq!(receiver.calls().len(), before);
    // The owner is asked about.
    let mine = server.tus("HEAD", &upload).bearing(ALICE).send().await;
    assert_eq!(mine.status, 403);
}
