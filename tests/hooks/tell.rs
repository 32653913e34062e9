//! What hooks are told after it has happened: at least once, in order, whatever becomes of the server or the receiver.

use std::time::Duration;

use highwater::hooks::http::signature;
use serde_json::{Value, json};

use super::receiver::{Call, Receiver, Said};
use super::{at, calling, calling_with};
use crate::support::{Process, file_of, id, start_with, until};

fn events_of(receiver: &Receiver, path: &str) -> Vec<String> {
    let calls = receiver.calls();
    let own = calls.iter().filter(|call| call.id() == id(path));
    own.map(|call| call.event().to_owned()).collect()
}

#[tokio::test]
async fn a_life_is_told_in_its_order_and_signed() {
    let receiver = Receiver::agreeable().await;
    let events = "post-create,pre-finish,post-finish,pre-terminate,post-terminate";
    let server = calling_with(&receiver, events, |config| {
        config.hooks.hooks_http_secret = "a secret".into();
        config.hooks.hooks_http_forward_headers = "cookie, X-Highwater-Signature,Host".into();
    })
    .await;
    let created = server
        .tus("POST", "/files/")
        .header("Upload-Length", 5)
        .header("Cookie", "a=b")
        .header("X-Highwater-Signature", "t=1,v1=forged")
        .send()
        .await;
    let path = created.location_path();
    receiver.waits_for("post-create", 1).await;
    assert_eq!(server.patch(&path, 0, *b"hello").send().await.status, 204);
    receiver.waits_for("post-finish", 1).await;
    assert_eq!(server.delete(&path).await.status, 204);
    receiver.waits_for("post-terminate", 1).await;
    assert_eq!(events_of(&receiver, &path).join(","), events);
    let calls = receiver.calls();
    assert!(
        calls.is_sorted_by(|a, b| number(a) < number(b)),
        "{calls:?}"
    );
    for call in &calls {
        assert_eq!(call.header("x-highwater-event-id"), call.json["EventID"]);
        assert_eq!(
            call.header("x-highwater-sequence"),
            number(call).to_string()
        );
        assert_eq!(call.headers.get_all("host").iter().count(), 1);
        let all = call.headers.get_all("x-highwater-signature");
        assert_eq!(all.iter().count(), 1, "nobody else signs");
        let signed = call.header("x-highwater-signature");
        let stamp = signed
            .strip_prefix("t=")
            .and_then(|rest| rest.split_once(','));
        let seconds = stamp.expect("a stamp").0.parse().expect("seconds");
        assert_eq!(signed, signature("a secret", seconds, &call.raw));
    }
    assert_eq!(receiver.of("post-create")[0].header("cookie"), "a=b");
    assert_eq!(receiver.of("post-finish")[0].headers.get("cookie"), None);
}

fn number(call: &Call) -> u64 {
    call.json["Sequence"].as_u64().expect("a number")
}

#[tokio::test]
async fn numbers_rise_over_failures_and_a_restart() {
    let receiver = Receiver::start(|_| Said::Status(503)).await;
    let events = "post-create,pre-finish,post-finish,pre-terminate,post-terminate";
    let mut server = calling_with(&receiver, events, |config| {
        config.hooks.hooks_http_retry = 0;
    })
    .await;
    let path = server.create(5).await;
    receiver.waits_for("post-create", 2).await;
    assert_eq!(server.patch(&path, 0, *b"hello").send().await.status, 500);
    assert_eq!(server.head(&path).await.status, 423);
    server.restart().await;
    receiver.says(|_| Said::fine());
    assert_eq!(server.head(&path).await.status, 200);
    receiver.waits_for("post-finish", 1).await;
    assert_eq!(server.delete(&path).await.status, 204);
    receiver.waits_for("post-terminate", 1).await;
    let calls = receiver.calls();
    let mut seen: Vec<&Call> = Vec::new();
    for call in &calls {
        let same = |earlier: &&Call| earlier.json["EventID"] == call.json["EventID"];
        match seen.iter().copied().find(same) {
            Some(earlier) => assert_eq!(number(earlier), number(call), "{call:?}"),
            None => seen.push(call),
        }
    }
    assert!(seen.is_sorted_by(|a, b| number(a) < number(b)), "{seen:?}");
    let events: Vec<_> = seen.iter().map(|call| call.event()).collect();
    assert_eq!(
        events[events.len() - 3..],
        ["post-finish", "pre-terminate", "post-terminate"]
    );
    assert!(
        events
            .iter()
            .filter(|event| **event == "pre-finish")
            .count()
            >= 3
    );
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_again_in_order() {
    let mut failures = 5;
    let receiver = Receiver::start(move |_| {
        failures -= 1;
        if failures >= 0 {
            Said::Status(503)
        } else {
            Said::fine()
        }
    })
    .await;
    let server = calling(&receiver, "post-create,post-finish").await;
    let path = server.whole(b"hello").await;
    receiver.waits_for("post-finish", 1).await;
    let told = events_of(&receiver, &path);
    assert_eq!(told[..6], ["post-create"; 6], "what follows waits");
    assert_eq!(told[6..], ["post-finish"]);
    let ids = receiver.of("post-create");
    let first = &ids[0].json["EventID"];
    assert!(ids.iter().all(|call| call.json["EventID"] == *first));
    // One upload's trouble is no other's.
    let stuck = server.create(1).await;
    receiver.waits_for("post-create", 7).await;
    let stuck = id(&stuck).to_owned();
    receiver.says(move |call| {
        if call.id() == stuck {
            Said::Nothing
        } else {
            Said::fine()
        }
    });
    let other = server.whole(b"hello").await;
    until("the other's end is told", || async {
        events_of(&receiver, &other) == ["post-create", "post-finish"]
    })
    .await;
}

fn arguments(receiver: &Receiver) -> [String; 8] {
    [
        "--hooks-enabled-events".into(),
        "post-create,post-finish,post-terminate".into(),
        "--hooks-http".into(),
        receiver.url(),
        "--hooks-http-backoff".into(),
        "20ms".into(),
        "--durability".into(),
        "process".into(),
    ]
}

#[tokio::test]
async fn what_a_kill_left_untold_is_told_after_the_next_start() {
    let receiver = Receiver::start(|_| Said::Status(503)).await;
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = arguments(&receiver);
    let arguments: Vec<&str> = arguments.iter().map(|text| &**text).collect();
    let server = Process::start(dir.path(), &arguments);
    let mut paths = Vec::new();
    for n in 0..20_u8 {
        paths.push(server.whole(&[n; 100]).await);
    }
    assert_eq!(server.delete(&paths[7]).await.status, 204);
    receiver.waits_for("post-create", 1).await;
    server.kill();
    let before = receiver.calls().len();
    receiver.says(|_| Said::fine());
    let server = Process::start(dir.path(), &arguments);
    let told = |path: &str| {
        let calls = receiver.calls();
        let after = calls[before..].iter().filter(|call| call.id() == id(path));
        let mut after: Vec<_> = after.collect();
        // What the killed server had sent last may be read after its end.
        after.dedup_by_key(|call| &call.json["EventID"]);
        after
            .iter()
            .map(|call| call.event().to_owned())
            .collect::<Vec<_>>()
    };
    for (n, path) in paths.iter().enumerate() {
        let end: &[&str] = if n == 7 { &["post-terminate"] } else { &[] };
        let expected = [&["post-create", "post-finish"], end].concat();
        until("all of it is told", || async {
            told(path).len() >= expected.len()
        })
        .await;
        assert_eq!(told(path), expected);
    }
    // Told once is enough: what was taken is not told after another start.
    let mut server = server;
    assert!(server.terminate().0);
    let before = receiver.calls().len();
    let server = Process::start(dir.path(), &arguments);
    let last = server.whole(b"last").await;
    until("the last is told", || async {
        events_of(&receiver, &last).len() == 2
    })
    .await;
    let again = receiver.calls().split_off(before);
    assert!(again.iter().all(|call| call.id() == id(&last)), "{again:?}");
}

#[tokio::test]
async fn what_nobody_took_is_listed_and_sent_again_when_asked() {
    let receiver = Receiver::start(|_| Said::Status(503)).await;
    let mut server = calling_with(&receiver, "post-create,post-finish", |config| {
        config.hooks.hooks_retry_for = Duration::from_millis(50);
    })
    .await;
    let path = server.whole(b"hello").await;
    let listed = |reply: Vec<u8>| serde_json::from_slice::<Value>(&reply).expect("JSON");
    until("both are given up", || async {
        listed(server.get("/admin/hooks").await.body)["failed"] == 2
    })
    .await;
    server.restart().await;
    let all = listed(server.get("/admin/hooks").await.body);
    assert_eq!((&all["waiting"], &all["failed"]), (&json!(0), &json!(2)));
    let letters = all["letters"].as_array().expect("a list");
    assert_eq!((letters.len(), &all["next_cursor"]), (2, &Value::Null));
    let page = listed(server.get("/admin/hooks?limit=1").await.body);
    assert_eq!(
        (&page["letters"], &page["failed"]),
        (&json!([letters[0]]), &json!(2))
    );
    let next = page["next_cursor"].as_str().expect("there is one more");
    let rest = format!("/admin/hooks?limit=1&cursor={next}");
    let rest = listed(server.get(&rest).await.body);
    assert_eq!(
        (&rest["letters"], &rest["next_cursor"]),
        (&json!([letters[1]]), &Value::Null)
    );
    for bad in [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "cursor=",
        "event=a",
        "limit=1&limit=1",
    ] {
        let reply = server.get(&format!("/admin/hooks?{bad}")).await;
        assert_eq!((reply.status, &*reply.code), (400, "bad-query"), "{bad}");
    }
    let first = &letters[0];
    assert_eq!(
        (&first["event"], &first["upload"]),
        (&json!("post-create"), &json!(id(&path)))
    );
    assert!(
        first["error"]
            .as_str()
            .is_some_and(|why| why.contains("503")),
        "{first}"
    );
    let metrics = server.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).expect("text");
    assert!(metrics.contains("highwater_hooks_failed 2\n"), "{metrics}");
    receiver.says(|_| Said::fine());
    let before = receiver.calls().len();
    for letter in letters {
        let url = format!(
            "/admin/hooks/{}/retry",
            letter["id"].as_str().expect("an id")
        );
        assert_eq!(server.request("POST", &url).send().await.status, 202);
        until("it is told", || async { receiver.calls().len() > before }).await;
        assert_eq!(
            server.request("POST", &url).send().await.status,
            404,
            "once"
        );
    }
    until("none is left", || async {
        let all = listed(server.get("/admin/hooks").await.body);
        (&all["waiting"], &all["failed"]) == (&json!(0), &json!(0))
    })
    .await;
    let told = receiver.calls().split_off(before);
    assert_eq!(told[0].json["EventID"], first["event_id"]);
    assert_eq!(told.len(), 2);
    assert_eq!(
        server
            .request("POST", "/admin/hooks/1/retry")
            .send()
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn expiry_and_failure_are_told() {
    let receiver = Receiver::agreeable().await;
    let server = calling_with(&receiver, "", |config| {
        config.expire_after = Duration::from_secs(1);
    })
    .await;
    let lost = server.whole(b"hello").await;
    std::fs::remove_file(file_of(&server.data(), &lost)).expect("it is there");
    assert_eq!(server.get(&lost).await.status, 410);
    let told = receiver.waits_for("post-fail", 1).await;
    assert_eq!(
        (told.id(), &told.upload()["Failure"]),
        (id(&lost), &json!("blob-lost"))
    );
    let path = server.create(5).await;
    until("its end is told", || async {
        events_of(&receiver, &path) == ["post-create", "post-expire"]
    })
    .await;
    // It is nobody's request.
    let told = receiver.of("post-expire");
    assert_eq!(at(&told[0].json, "Event.HTTPRequest.Method"), "");
}

#[tokio::test]
async fn joined_uploads_and_sessions_are_told_as_what_they_are() {
    let receiver = Receiver::agreeable().await;
    let server = calling_with(&receiver, "", |config| config.keep_partials = false).await;
    let parts = [server.part(b"hello ").await, server.part(b"world").await];
    assert_eq!(
        receiver.waits_for("post-finish", 2).await.upload()["IsPartial"],
        true
    );
    let path = server.join(&parts).await.location_path();
    let told = receiver.waits_for("post-finish", 3).await;
    let names = json!([id(&parts[0]), id(&parts[1])]);
    assert_eq!(
        (told.id(), &told.upload()["IsFinal"]),
        (id(&path), &json!(true))
    );
    assert_eq!(told.upload()["PartialUploads"], names);
    let stored = at(&told.json, "Event.Upload.Storage.Path");
    let stored = std::fs::read(stored.as_str().expect("a path"));
    assert_eq!(stored.expect("one file by now"), b"hello world");
    let session = server.session_of(b"abc").await;
    assert!(session.send(1, b"abc").await.status < 300);
    assert_eq!(session.finalize().await.status, 200);
    let told = receiver.waits_for("post-finish", 4).await;
    assert_eq!(
        (told.id(), &told.upload()["IsFinal"]),
        (&*session.id, &json!(false))
    );
    assert_eq!(told.upload()["MetaData"], json!({ "filename": "f" }));
    assert_eq!(receiver.of("post-create").len(), 4, "chunks are nobody's");
    // Parts that went because they were joined were terminated by nobody.
    until("the parts are gone", || async {
        server.head(&parts[1]).await.status == 404
    })
    .await;
    assert!(receiver.of("post-terminate").is_empty());
}

#[tokio::test]
async fn of_a_chunk_alone_hooks_are_neither_asked_nor_told() {
    let receiver = Receiver::agreeable().await;
    receiver.says(|_| Said::Json(json!({ "RejectTermination": true })));
    let server = calling(&receiver, "pre-terminate,post-terminate").await;
    let session = server.session_of(b"abc").await;
    assert!(session.send(1, b"abc").await.status < 300);
    assert_eq!(session.tus("DELETE", "/1").send().await.status, 204);
    assert!(receiver.calls().is_empty(), "{:?}", receiver.calls());
    let refused = session.cancel().await;
    assert_eq!(
        (refused.status, &*refused.code),
        (400, "termination-rejected")
    );
    receiver.says(|_| Said::fine());
    assert_eq!(session.cancel().await.status, 204);
    let told = receiver.waits_for("post-terminate", 1).await;
    assert_eq!(told.id(), session.id);
}

#[tokio::test]
async fn a_creation_that_is_taken_back_is_told_to_its_end() {
    let receiver = Receiver::agreeable().await;
    let server = calling(&receiver, "post-create,post-terminate").await;
    let post = server.tus("POST", "/files/").header("Upload-Length", 5);
    let post = post.header("Content-Type", "application/offset+octet-stream");
    let wrong = post.header("Upload-Checksum", "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_eq!(wrong.body("hello").send().await.status, 460);
    let ended = receiver.waits_for("post-terminate", 1).await;
    assert_eq!(receiver.of("post-create")[0].id(), ended.id());
}

#[tokio::test]
async fn several_receivers_are_told_each_what_it_wants() {
    let (one, other) = (Receiver::agreeable().await, Receiver::agreeable().await);
    one.says(|_| Said::Json(json!({ "HTTPResponse": { "Header": { "X-A": "1", "X-B": "1" } } })));
    other.says(|_| Said::Json(json!({ "HTTPResponse": { "Header": { "X-B": "2" } } })));
    let urls = format!("{} pre-create,post-finish={}", one.url(), other.url());
    let server = start_with(|config| config.hooks.hooks_http = urls).await;
    let created = server.tus("POST", "/files/").header("Upload-Length", 5);
    let created = created.send().await;
    assert_eq!(created.header("X-A"), Some("1"));
    assert_eq!(created.header("X-B"), Some("2"));
    let path = created.location_path();
    assert_eq!(server.patch(&path, 0, *b"hello").send().await.status, 204);
    other.waits_for("post-finish", 1).await;
    one.waits_for("post-finish", 1).await;
    assert_eq!(events_of(&one, &path), ["post-create", "post-finish"]);
    assert_eq!(events_of(&other, &path), ["post-finish"]);
}

/// A receiver behind TLS; it writes down what it is sent.
const BEHIND_TLS: &str = r#"
import http.server, ssl, sys
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("told", "ab") as told:
            told.write(body + b"\n")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "cert.key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[tokio::test]
async fn a_receiver_behind_tls_is_called_if_its_certificate_is_trusted() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let dir = tempfile::tempdir().expect("a directory");
    for name in ["cert", "other"] {
        let files = format!("-keyout {name}.key.pem -out {name}.pem");
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split(' '))
            .args("-days 2 -subj /CN=hooks -addext subjectAltName=IP:127.0.0.1".split(' '))
            .args("-addext basicConstraints=critical,CA:FALSE".split(' '))
            .args(files.split(' '))
            .current_dir(dir.path())
            .stderr(Stdio::null())
            .status();
        let made = made.expect("openssl runs: apt-get install openssl");
        assert!(made.success());
    }
    let mut receiver = Command::new("python3")
        .args(["-c", BEHIND_TLS])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs: apt-get install python3");
    let mut port = String::new();
    let out = receiver.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut port).expect("its port");
    let url = format!("https://127.0.0.1:{}/", port.trim());
    let start = |trusted: &str, data: &str| {
        let binary = env!("CARGO_BIN_EXE_highwater");
        let mut command = crate::support::process::command(binary, &dir.path().join(data));
        command.args(["--hooks-http", &url, "--hooks-http-retry", "0"]);
        command.args(["--hooks-enabled-events", "pre-create"]);
        command.env("SSL_CERT_FILE", dir.path().join(trusted));
        command.env_remove("SSL_CERT_DIR");
        Process::spawn(command).expect("it starts")
    };
    let told = || std::fs::read_to_string(dir.path().join("told")).unwrap_or_default();
    let post = |server: &Process| server.tus("POST", "/files/").header("Upload-Length", 5);
    let stranger = start("other.pem", "a");
    assert_eq!(post(&stranger).send().await.code, "hook-failed");
    assert_eq!(told(), "", "nothing is sent to whom nobody vouches for");
    let friend = start("cert.pem", "b");
    assert_eq!(post(&friend).send().await.status, 201);
    assert!(told().contains("\"pre-create\""), "{}", told());
    receiver.kill().expect("it runs");
    receiver.wait().expect("it ends");
}
