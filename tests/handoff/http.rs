//! Jobs over HTTP: what they say, which goes first, and what becomes of those that nobody takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater::hooks::http::signature;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{handing_on, outbox, text, upload};
use crate::progress::watcher::Watcher;
use crate::support::receiver::{Call, Receiver, Said};
use crate::support::{Process, figure, file_of, id, rounds, until};

/// The jobs so far, each as often as it came.
fn jobs(receiver: &Receiver) -> Vec<Value> {
    receiver.calls().into_iter().map(|call| call.json).collect()
}

async fn waits_for(receiver: &Receiver, count: usize) -> Vec<Value> {
    until(&format!("{count} jobs have come"), || async {
        receiver.calls().len() >= count
    })
    .await;
    jobs(receiver)
}

fn stamp(call: &Call) -> u64 {
    let signed = call.header("x-highwater-signature");
    let stamp = signed
        .strip_prefix("t=")
        .and_then(|rest| rest.split(',').next());
    stamp.and_then(|stamp| stamp.parse().ok()).expect("seconds")
}

#[tokio::test]
async fn a_complete_upload_is_a_job() {
    let receiver = Receiver::agreeable().await;
    let server = handing_on(&receiver, |config| {
        config.handoff.handoff_http_secret = "a secret".into();
        config.public_url = Some("https://uploads.example.org".parse().expect("a URL"));
    })
    .await;
    let said = [
        ("filename", "a.wav"),
        ("filetype", "audio/wav"),
        ("priority", "high"),
    ];
    let path = upload(&server, b"hello", &said).await;
    let job = waits_for(&receiver, 1).await.remove(0);
    assert_eq!(text(&job, "id"), id(&path));
    assert_eq!(
        text(&job, "url"),
        format!("https://uploads.example.org{path}")
    );
    let metadata: BTreeMap<_, _> = said.into_iter().collect();
    for (name, value) in [
        ("priority", json!("high")),
        ("size", json!(5)),
        ("declared_type", json!("audio/wav")),
        ("detected_type", json!("text/plain")),
        ("sha256", Value::Null),
        ("segments", Value::Null),
        ("owner", Value::Null),
        ("metadata", json!(metadata)),
    ] {
        assert_eq!(job[name], value, "{name} of {job}");
    }
    assert_eq!(
        std::fs::read(text(&job, "path")).expect("its file"),
        b"hello"
    );
    assert!(text(&job, "created") <= text(&job, "completed"), "{job}");
    let call = receiver.calls().remove(0);
    assert_eq!(call.header("idempotency-key"), text(&job, "key"));
    assert_eq!(call.header("content-type"), "application/json");
    let signed = signature("a secret", stamp(&call), &call.raw);
    assert_eq!(call.header("x-highwater-signature"), signed);
}

#[tokio::test]
async fn finals_and_sessions_are_jobs_and_parts_are_not() {
    let receiver = Receiver::agreeable().await;
    let server = handing_on(&receiver, |_| {}).await;
    let parts = [server.part(b"hello ").await, server.part(b"world").await];
    let path = server.join(&parts).await.location_path();
    let job = waits_for(&receiver, 1).await.remove(0);
    assert_eq!(
        (text(&job, "id"), text(&job, "priority")),
        (id(&path), "normal")
    );
    // By now it is one file.
    assert_eq!(
        std::fs::read(text(&job, "path")).expect("its file"),
        b"hello world"
    );
    let asked =
        json!({"filename": "f", "size": 3, "priority": "low", "metadata": {"priority": "high"}});
    let session = server.session(&asked).await;
    assert!(session.send(1, b"abc").await.status < 300);
    assert_eq!(session.finalize().await.status, 200);
    let job = waits_for(&receiver, 2).await.remove(1);
    assert_eq!(
        (text(&job, "id"), text(&job, "priority")),
        (&*session.id, "low")
    );
    assert_eq!(job["metadata"]["filename"], "f");
    until("the outbox is empty", || async {
        outbox(&server).await["waiting"] == 0
    })
    .await;
    assert_eq!(receiver.calls().len(), 2, "once is enough");
}

#[tokio::test]
async fn without_assembly_a_job_names_the_segments() {
    let receiver = Receiver::agreeable().await;
    let server = handing_on(&receiver, |config| config.assemble = false).await;
    let parts = [server.part(b"hello ").await, server.part(b"world").await];
    assert_eq!(server.join(&parts).await.status, 201);
    let job = waits_for(&receiver, 1).await.remove(0);
    assert_eq!(job["path"], Value::Null);
    let mut bytes = Vec::new();
    for segment in job["segments"].as_array().expect("a list") {
        let whole = std::fs::read(text(segment, "path")).expect("its file");
        let number = |name: &str| usize::try_from(segment[name].as_u64().expect("a number"));
        let (start, length) = (number("start").unwrap(), number("length").unwrap());
        bytes.extend_from_slice(&whole[start..start + length]);
    }
    assert_eq!(bytes, b"hello world");
}

#[tokio::test]
async fn with_a_scanner_it_follows_the_verdict_and_only_a_clean_one() {
    let receiver = Receiver::start(|call| {
        let path = call.json["Event"]["Upload"]["Storage"]["Path"].as_str();
        let bad = path.is_some_and(|path| std::fs::read(path).is_ok_and(|all| all == b"bad"));
        Said::Json(json!({ "RejectUpload": bad }))
    })
    .await;
    let server = handing_on(&receiver, |config| {
        config.hooks.hooks_http = config.handoff.handoff_http.clone();
        config.hooks.hooks_enabled_events = "scan".parse().expect("an event");
        config.content.scan = Some("hook".parse().expect("a scanner"));
    })
    .await;
    let path = server.create(3).await;
    let refused = server.patch(&path, 0, *b"bad").send().await;
    assert_eq!((refused.status, &*refused.code), (422, "malware-found"));
    let clean = server.whole(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").await;
    until("the job comes", || async {
        jobs(&receiver).iter().any(|job| job["id"] == id(&clean))
    })
    .await;
    let jobs = jobs(&receiver);
    let order: Vec<_> = jobs.iter().map(|job| job["Type"].as_str()).collect();
    assert_eq!(order, [Some("scan"), Some("scan"), None]);
    assert_eq!(text(&jobs[2], "detected_type"), "image/png");
    assert_eq!(outbox(&server).await["failed"], 0);
}

/// The order in which jobs came that waited while the receiver was busy with another one.
async fn order_of_those_that_waited() -> Vec<String> {
    let word = Arc::new(Notify::new());
    let mut first = Some(word.clone());
    let receiver =
        Receiver::start(move |_| first.take().map_or_else(Said::fine, Said::After)).await;
    let server = handing_on(&receiver, |config| config.handoff.handoff_parallel = 1).await;
    upload(&server, b"x", &[]).await;
    waits_for(&receiver, 1).await;
    for priority in ["low", "nonsense", "high", "low", "normal", "high"] {
        upload(&server, b"x", &[("priority", priority)]).await;
    }
    until("all are on their way", || async {
        outbox(&server).await["waiting"] == 7
    })
    .await;
    word.notify_one();
    let jobs = waits_for(&receiver, 7).await;
    jobs[1..]
        .iter()
        .map(|job| text(job, "priority").to_owned())
        .collect()
}

#[tokio::test]
async fn of_those_that_wait_the_most_urgent_goes_first() {
    // What has not come to the queue when the word is said is late for it: that is seldom, and not in each round.
    let sorted = ["high", "high", "normal", "normal", "low", "low"];
    let mut order = Vec::new();
    for _ in 0..5 {
        order = order_of_those_that_waited().await;
        if order == sorted {
            return;
        }
    }
    panic!("{order:?}");
}

#[tokio::test]
async fn what_nobody_took_is_told_listed_and_sent_again() {
    let receiver = Receiver::start(|_| Said::Status(503)).await;
    let mut server = handing_on(&receiver, |config| {
        config.hooks.hooks_retry_for = Duration::from_millis(50);
    })
    .await;
    let path = server.create(5).await;
    let (mut watcher, _) = Watcher::of(&server, &path).await;
    assert_eq!(server.patch(&path, 0, *b"hello").send().await.status, 204);
    let told = watcher.until("job_failed").await.pop().expect("the event");
    assert_eq!(
        (text(&told, "code"), text(&told, "status")),
        ("handoff-failed", "completed")
    );
    server.restart().await;
    let listed = outbox(&server).await;
    assert_eq!(
        (&listed["waiting"], &listed["failed"]),
        (&json!(0), &json!(1))
    );
    let letter = &listed["letters"][0];
    assert_eq!(
        (text(letter, "event"), text(letter, "upload")),
        ("job", id(&path))
    );
    assert_eq!(
        text(letter, "to"),
        format!("hand-off to {}", receiver.url())
    );
    let before = receiver.calls().len();
    receiver.says(|_| Said::fine());
    let (mut watcher, _) = Watcher::of(&server, &path).await;
    let url = format!("/admin/hooks/{}/retry", text(letter, "id"));
    assert_eq!(server.request("POST", &url).send().await.status, 202);
    watcher.until("job_created").await;
    let calls = receiver.calls();
    assert_eq!(calls.len(), before + 1);
    let key = calls[0].header("idempotency-key");
    assert!(
        calls
            .iter()
            .all(|call| call.header("idempotency-key") == key)
    );
    assert_eq!(outbox(&server).await["failed"], 0);
}

#[tokio::test]
async fn a_job_whose_upload_has_ended_is_not_handed_on() {
    let receiver = Receiver::start(|_| Said::Status(503)).await;
    let server = handing_on(&receiver, |_| {}).await;
    let path = server.whole(b"hello").await;
    waits_for(&receiver, 1).await;
    assert_eq!(server.delete(&path).await.status, 204);
    until("the outbox is empty", || async {
        outbox(&server).await["waiting"] == 0
    })
    .await;
    receiver.says(|_| Said::fine());
    let other = server.whole(b"hello").await;
    until("the next one comes", || async {
        jobs(&receiver)
            .last()
            .is_some_and(|job| text(job, "id") == id(&other))
    })
    .await;
    let listed = outbox(&server).await;
    assert_eq!(listed["failed"], 0, "nobody can send it again: {listed}");
}

/// Also where it waited for its turn: what was looked at before that is old by then.
#[tokio::test]
async fn nor_is_one_that_waits_for_its_turn() {
    let word = Arc::new(Notify::new());
    let mut first = Some(word.clone());
    let receiver =
        Receiver::start(move |_| first.take().map_or_else(Said::fine, Said::After)).await;
    let server = handing_on(&receiver, |config| config.handoff.handoff_parallel = 1).await;
    server.whole(b"first").await;
    waits_for(&receiver, 1).await;
    let ended = server.whole(b"ended").await;
    let stays = server.whole(b"stays").await;
    assert_eq!(server.delete(&ended).await.status, 204);
    word.notify_one();
    until("the outbox is empty", || async {
        outbox(&server).await["waiting"] == 0
    })
    .await;
    let jobs = jobs(&receiver);
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    assert_eq!(text(&jobs[1], "id"), id(&stays));
}

/// What waited for one address goes to the only one that is configured now.
#[tokio::test]
async fn a_receiver_that_has_moved_gets_what_waited() {
    let dir = tempfile::tempdir().expect("a directory");
    let away = Receiver::start(|_| Said::Status(503)).await;
    let before = format!("{}?token=one", away.url());
    let server = Process::start(dir.path(), &["--handoff-http", &before]);
    let path = server.whole(b"hello").await;
    waits_for(&away, 1).await;
    server.kill();
    let receiver = Receiver::agreeable().await;
    let server = Process::start(dir.path(), &["--handoff-http", &receiver.url()]);
    let job = waits_for(&receiver, 1).await.remove(0);
    assert_eq!(text(&job, "id"), id(&path));
    until("the outbox is empty", || async {
        outbox(&server).await["waiting"] == 0
    })
    .await;
}

#[tokio::test]
async fn it_follows_the_hook_before_the_end() {
    let receiver = Receiver::start(|call| match call.json["Type"].as_str() {
        Some("pre-finish") => Said::Status(500),
        _ => Said::fine(),
    })
    .await;
    let server = handing_on(&receiver, |config| {
        config.hooks.hooks_http = config.handoff.handoff_http.clone();
        config.hooks.hooks_enabled_events = "pre-finish".parse().expect("an event");
        config.hooks.hooks_http_retry = 0;
    })
    .await;
    let path = server.create(5).await;
    assert_eq!(server.patch(&path, 0, *b"hello").send().await.status, 500);
    assert!(
        receiver
            .calls()
            .iter()
            .all(|call| call.json["Type"] == "pre-finish")
    );
    receiver.says(|_| Said::fine());
    assert_eq!(server.head(&path).await.status, 200);
    until("the job comes", || async {
        jobs(&receiver)
            .last()
            .is_some_and(|last| last["id"] == id(&path))
    })
    .await;
}

/// Takes one job in three, refuses one, and never answers one.
fn one_in_three() -> impl FnMut(&Call) -> Said + Send {
    let mut came = 0;
    move |_| {
        came += 1;
        match came % 3 {
            0 => Said::fine(),
            1 => Said::Status(503),
            _ => Said::Nothing,
        }
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_loses_no_job() {
    for round in 0..rounds(2, 20) {
        let receiver = Receiver::start(one_in_three()).await;
        let dir = tempfile::tempdir().expect("a directory");
        let url = receiver.url();
        let mode = ["process", "complete"][round % 2];
        let arguments = [
            "--handoff-http",
            &url,
            "--hooks-http-backoff",
            "10ms",
            "--durability",
            mode,
        ];
        let server = Process::start(dir.path(), &arguments);
        let mut keys = BTreeMap::new();
        for n in 0..12_u8 {
            keys.insert(id(&server.whole(&[n; 100]).await).to_owned(), String::new());
        }
        server.kill();
        let before = receiver.calls().len();
        receiver.says(|_| Said::fine());
        let server = Process::start(dir.path(), &arguments);
        until("every job is taken", || async {
            outbox(&server).await["waiting"] == 0
        })
        .await;
        let calls = receiver.calls();
        for call in &calls {
            let own = keys
                .get_mut(text(&call.json, "id"))
                .expect("an upload of ours");
            let key = call.header("idempotency-key");
            assert!(own.is_empty() || own == key, "one key: {own} and {key}");
            key.clone_into(own);
            let file = file_of(dir.path(), text(&call.json, "id"));
            assert_eq!(text(&call.json, "path"), file.display().to_string());
        }
        assert!(keys.values().all(|key| !key.is_empty()), "{keys:?}");
        let mut all: Vec<_> = keys.values().collect();
        all.dedup();
        assert_eq!(all.len(), keys.len(), "no two have one");
        figure(
            "a_kill_in_the_middle_loses_no_job",
            format_args!(
                "{} jobs in {} calls, {before} of them before the kill",
                keys.len(),
                calls.len()
            ),
        );
    }
}
