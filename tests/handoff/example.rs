//! `examples/handoff`: the pipeline as it is shown, and its worker when things go wrong.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use redis::Value as Reply;
use serde_json::Value;

use super::redis::Redis;
use super::{outbox, text, upload};
use crate::support::{id, start_with, until};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/handoff");

#[test]
fn the_demo_runs() {
    let demo = Command::new(format!("{HERE}/demo"))
        .env("HIGHWATER_BIN", env!("CARGO_BIN_EXE_highwater"))
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&demo.stdout);
    let why = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{said}\n{why}");
    let keys: Vec<_> = said
        .lines()
        .filter(|line| line.contains("/transcripts/"))
        .collect();
    assert_eq!(keys.len(), 3, "{said}");
    for (name, seconds) in [("high", 3), ("normal", 2), ("low", 1)] {
        let at = said.find(&format!("\"file\": \"{name}.wav\""));
        let rest = &said[at.expect("its transcript")..];
        let end = rest.find('}').expect("its end");
        assert!(
            rest[..end].contains(&format!("\"seconds\": {seconds}.0")),
            "{said}"
        );
    }
}

fn worker(redis: &Redis, dir: &Path, arguments: &[&str]) -> Child {
    Command::new("python3")
        .arg(format!("{HERE}/worker.py"))
        .args([
            "--redis",
            redis.url().split('/').nth(2).expect("its address"),
        ])
        .args(["--out", "transcripts"])
        .args(arguments)
        .current_dir(dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("python3 runs: apt-get install python3")
}

fn transcript(out: &Path, path: &str) -> Option<Value> {
    let bytes = std::fs::read(out.join(format!("{}.json", id(path)))).ok()?;
    Some(serde_json::from_slice(&bytes).expect("JSON"))
}

#[tokio::test]
async fn what_a_killed_worker_had_is_done_by_another_and_what_fails_is_set_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("transcripts");
    let redis = Redis::start(dir.path());
    let server = start_with(|config| {
        config.handoff.handoff_redis = redis.url();
        config.handoff.handoff_digest = true;
        // The worker puts them together.
        config.assemble = false;
    })
    .await;
    let path = upload(&server, b"one two three", &[]).await;
    until("the job is in its stream", || async {
        outbox(&server).await["waiting"] == 0
    })
    .await;
    // It takes the job, and never ends.
    let taken = dir.path().join("taken");
    let script = "touch taken; while [ -e taken ]; do sleep 0.1; done";
    let mut stuck = worker(&redis, dir.path(), &["--", "sh", "-c", script]);
    until("it has begun", || async { taken.exists() }).await;
    stuck.kill().expect("it runs");
    stuck.wait().expect("it ends");
    assert_eq!(transcript(&out, &path), None);
    // A job that comes again with the same key is no more work.
    let again = redis.ask(&["XRANGE", "highwater:jobs:normal", "-", "+"]);
    let again: Vec<(String, Vec<String>)> = redis::from_redis_value(again).expect("entries");
    let fields: Vec<&str> = again[0].1.iter().map(String::as_str).collect();
    redis.ask(&[&["XADD", "highwater:jobs:normal", "*"], &fields[..]].concat());
    let parts = [server.part(b"a b ").await, server.part(b"c d").await];
    let joined = server.join(&parts).await.location_path();
    let bad = upload(&server, b"fail", &[("priority", "high")]).await;
    until("they are in their streams", || async {
        outbox(&server).await["waiting"] == 0
    })
    .await;
    let count = "echo x >> counted; ! grep -q fail {} && wc -w < {}";
    let options = ["--retry-after", "0.3", "--tries", "2", "--until-idle", "3"];
    let command = ["--", "sh", "-c", count];
    let mut other = worker(&redis, dir.path(), &[&options[..], &command].concat());
    assert!(other.wait().expect("it ends").success());
    for (path, words) in [(&path, "3\n"), (&joined, "4\n")] {
        let found = transcript(&out, path).expect("its transcript");
        assert_eq!(text(&found, "transcript"), words, "{found}");
    }
    assert_eq!(transcript(&out, &bad), None);
    let runs = std::fs::read_to_string(dir.path().join("counted")).expect("it ran");
    assert_eq!(
        runs.lines().count(),
        4,
        "one for each, and two for the one that fails"
    );
    assert_eq!(redis.ask(&["XLEN", "highwater:jobs:dead"]), Reply::Int(1));
    for stream in ["high", "normal"] {
        let name = format!("highwater:jobs:{stream}");
        let left = redis.ask(&["XPENDING", &name, "transcription", "-", "+", "10"]);
        assert_eq!(left, Reply::Array(Vec::new()), "{stream}");
        assert_eq!(redis.ask(&["XLEN", &name]), Reply::Int(0), "{stream}");
    }
}
