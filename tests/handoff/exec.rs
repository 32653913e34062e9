//! Jobs as runs of a program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{outbox, text, upload};
use crate::support::{Process, id, start_with, until};

fn program(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("take");
    fs::write(
        &path,
        format!("#!/bin/sh\ncd '{}'\n{script}", dir.display()),
    )
    .expect("it is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it may run");
    path
}

#[tokio::test]
async fn a_program_is_run_with_the_job_until_it_takes_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = r#"
        echo x >> tries
        [ "$(wc -l < tries)" -ge 3 ] || exit 7
        cat > job.part
        printf '%s\n' "$TUS_ID" "$TUS_SIZE" "$HIGHWATER_JOB_KEY" "$HIGHWATER_JOB_PRIORITY" > environment
        cp "$HIGHWATER_JOB_PATH" bytes
        # It has taken the job, whatever it leaves behind.
        sleep 60 &
        mv job.part job
    "#;
    let program = program(dir.path(), script);
    let server = start_with(|config| {
        config.handoff.handoff_exec = Some(program);
        config.hooks.hooks_http_backoff = Duration::from_millis(10);
    })
    .await;
    let path = upload(&server, b"hello", &[("priority", "low")]).await;
    let file = dir.path().join("job");
    until("it has taken the job", || async { file.exists() }).await;
    let job: Value = serde_json::from_slice(&fs::read(&file).expect("the job")).expect("JSON");
    assert_eq!(
        (text(&job, "id"), text(&job, "priority")),
        (id(&path), "low")
    );
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect(name);
    let expected = [id(&path), "5", text(&job, "key"), "low"].join("\n");
    assert_eq!(read("environment").trim(), expected);
    assert_eq!((&*read("bytes"), &*read("tries")), ("hello", "x\nx\nx\n"));
    until("the outbox is empty", || async {
        outbox(&server).await["waiting"] == 0
    })
    .await;
}

#[tokio::test]
async fn one_that_is_gone_or_never_ends_is_a_failure() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = program(dir.path(), "echo x >> tries\nexec sleep 1000\n");
    let server = start_with(|config| {
        config.handoff.handoff_exec = Some(program.clone());
        config.handoff.handoff_exec_timeout = Duration::from_millis(200);
        config.hooks.hooks_retry_for = Duration::from_millis(10);
        config.hooks.hooks_http_backoff = Duration::from_millis(10);
    })
    .await;
    server.whole(b"hello").await;
    until("it is given up", || async {
        outbox(&server).await["failed"] == 1
    })
    .await;
    let listed = outbox(&server).await;
    let why = text(&listed["letters"][0], "error").to_owned();
    assert!(why.contains("it ran longer than"), "{why}");
    fs::remove_file(&program).expect("it is there");
    server.whole(b"hello").await;
    until("it is given up", || async {
        outbox(&server).await["failed"] == 2
    })
    .await;
    let listed = outbox(&server).await;
    let why = text(&listed["letters"][1], "error").to_owned();
    assert!(why.contains("it does not start"), "{why}");
    assert_eq!(listed["waiting"], json!(0));
}

#[test]
fn what_is_no_receiver_ends_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    for (arguments, said) in [
        (
            ["--handoff-exec", "/nowhere/at/all"],
            "--handoff-exec: /nowhere/at/all: ",
        ),
        (["--handoff-exec", "/"], "--handoff-exec: / is no program"),
        (["--handoff-http", "ftp://x/"], "--handoff-http: "),
        (["--handoff-redis", "http://x/"], "--handoff-redis: "),
        (["--handoff-redis", "rediss://x/"], "--handoff-redis: "),
        (
            ["--handoff-parallel", "0"],
            "--handoff-parallel: at least 1",
        ),
        (["--handoff-timeout", "0"], "--handoff-timeout: more than 0"),
    ] {
        let binary = env!("CARGO_BIN_EXE_highwater");
        let mut command = crate::support::process::command(binary, dir.path());
        command.args(arguments);
        let Err(log) = Process::spawn(command) else {
            panic!("{arguments:?} is accepted");
        };
        assert!(log.contains(said), "{arguments:?}: {log}");
    }
}
