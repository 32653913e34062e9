//! Programs as hooks (`--hooks-dir`).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Server, file_of, id, start_with, until};

/// A server with a directory of shell scripts.
async fn with_scripts(events: &str, scripts: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    for (event, text) in scripts {
        script(dir.path(), event, text);
    }
    let hooks = dir.path().to_owned();
    let server = start_with(|config| {
        config.hooks.hooks_dir = Some(hooks);
        config.hooks.hooks_enabled_events = events.parse().expect("events");
        config.hooks.hooks_http_backoff = Duration::from_millis(10);
        config.hooks.hooks_dir_timeout = Duration::from_secs(2);
    })
    .await;
    (server, dir)
}

/// Written aside and put in place by its name, so that no script is run while it is open for writing.
fn script(dir: &Path, event: &str, text: &str) {
    let new = dir.join("new");
    std::fs::write(&new, format!("#!/bin/sh\n{text}\n")).expect("it is written");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    std::fs::rename(&new, dir.join(event)).expect("its name");
}

#[tokio::test]
async fn a_script_is_told_on_its_input_and_in_its_environment() {
    let note = r#"cat > "$TUS_ID.json"; echo "$TUS_SIZE $TUS_OFFSET" > "$TUS_ID.env"; mv "$TUS_ID.env" "$TUS_ID.done""#;
    let (server, dir) = with_scripts("", &[("post-finish", note)]).await;
    let path = server.whole(b"hello").await;
    let file = |end: &str| dir.path().join(format!("{}.{end}", id(&path)));
    until("the script has run", || async { file("done").exists() }).await;
    assert_eq!(std::fs::read_to_string(file("done")).expect("it"), "5 5\n");
    let told: Value =
        serde_json::from_slice(&std::fs::read(file("json")).expect("it")).expect("JSON");
    assert_eq!(told["Type"], "post-finish");
    let stored = told["Event"]["Upload"]["Storage"]["Path"].as_str();
    assert_eq!(
        stored.map(Path::new),
        Some(&*file_of(&server.data(), &path))
    );
}

#[tokio::test]
async fn a_script_may_refuse_and_choose() {
    // After tusd's published example: no file name, no upload.
    let judge = r#"if ! grep -q '"filename"'; then
        echo '{"RejectUpload": true, "HTTPResponse": {"StatusCode": 400, "Body": "no filename provided"}}'
    else
        echo '{"ChangeFileInfo": {"ID": "by-script"}}'
    fi"#;
    let (server, dir) = with_scripts("", &[("pre-create", judge)]).await;
    let post = || server.tus("POST", "/files/").header("Upload-Length", 5);
    let refused = post().send().await;
    assert_eq!(
        (refused.status, &refused.body[..]),
        (400, &b"no filename provided"[..])
    );
    let named = post().header("Upload-Metadata", "filename eA==");
    assert_eq!(named.send().await.location_path(), "/files/by-script");
    // Another status is a failure, whatever it says; so is what is no program.
    script(dir.path(), "pre-create", "echo '{}'; exit 3");
    assert_eq!(post().send().await.code, "hook-failed");
    script(dir.path(), "pre-create", "kill -9 $$");
    assert_eq!(post().send().await.code, "hook-failed");
    script(dir.path(), "pre-create", "echo no JSON");
    assert_eq!(post().send().await.code, "hook-failed");
    std::fs::write(dir.path().join("plain"), "x").expect("written");
    std::fs::rename(dir.path().join("plain"), dir.path().join("pre-create")).expect("named");
    assert_eq!(post().send().await.code, "hook-failed");
    // One that reads nothing of a long input, and says nothing, agrees; so does one that is not there.
    script(dir.path(), "pre-create", "exit 0");
    let long = format!("note {}", "QUFB".repeat(20_000));
    assert_eq!(
        post().header("Upload-Metadata", long).send().await.status,
        201
    );
    std::fs::remove_file(dir.path().join("pre-create")).expect("it goes");
    assert_eq!(post().send().await.status, 201);
}

#[tokio::test]
async fn a_script_that_hangs_or_floods_is_killed_with_all_it_started() {
    let hang = "sleep 1000 & echo $! > child; sleep 1000";
    let (server, dir) = with_scripts("", &[("pre-create", hang)]).await;
    let post = || {
        server
            .tus("POST", "/files/")
            .header("Upload-Length", 5)
            .send()
    };
    let began = Instant::now();
    assert_eq!(post().await.code, "hook-failed");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let child = || std::fs::read_to_string(dir.path().join("child")).expect("its id");
    let gone = |child: String| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        // A zombie is as good as gone: who is to bury it is not ours.
        stat.map_or(true, |stat| stat.contains(") Z "))
    };
    until("what it started is killed", || async { gone(child()) }).await;
    script(
        dir.path(),
        "pre-create",
        "echo $$ > child; exec cat /dev/zero",
    );
    assert_eq!(post().await.code, "hook-failed");
    until("the flood is stopped", || async { gone(child()) }).await;
    assert!(server.stored_files().is_empty());
}

#[tokio::test]
async fn a_script_that_fails_afterwards_is_run_again() {
    let again = "echo x >> tries; test $(wc -l < tries) -ge 4";
    let (server, dir) = with_scripts("post-create", &[("post-create", again)]).await;
    server.create(5).await;
    let tries = || std::fs::read_to_string(dir.path().join("tries")).unwrap_or_default();
    until("it has succeeded", || async {
        let waiting = server.get("/admin/hooks").await.body;
        let waiting: Value = serde_json::from_slice(&waiting).expect("JSON");
        waiting["waiting"] == 0 && tries().len() >= 8
    })
    .await;
    assert_eq!(tries(), "x\n".repeat(4));
}
