//! Which files are taken; options that make no sense; what the operator sees.

use std::process::Command;

use serde_json::json;

use super::{alice, bob, made, serve, told};
use crate::support::{Reply, metadata, start_with};

#[track_caller]
fn not_taken(reply: &Reply) {
    assert_eq!(
        (reply.status, reply.code.as_str()),
        (415, "type-not-allowed"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn files_of_other_types_are_not_begun() {
    let (server, _dir) = serve("types = [\"text/plain\"]", |config| {
        config.limits.allow_types = "image/*,video/mp4".parse().expect("types");
        config.limits.deny_types = "image/svg+xml".parse().expect("types");
        config.limits.deny_extensions = "exe".parse().expect("extensions");
    })
    .await;
    let (alice, bob) = (alice(&server), bob(&server));
    let post = async |user: super::User, pairs: &[(&str, &str)]| {
        user.post(&[
            ("Upload-Length", "5"),
            ("Upload-Metadata", &metadata(pairs)),
        ])
        .await
    };
    made(&post(bob, &[("filetype", "image/png"), ("filename", "a.png")]).await);
    made(&post(bob, &[("filetype", "Video/MP4; codecs=x")]).await);
    not_taken(&post(bob, &[("filetype", "image/svg+xml")]).await);
    not_taken(&post(bob, &[("filetype", "text/plain")]).await);
    not_taken(&post(bob, &[("filetype", "image/png"), ("filename", "a.png.EXE")]).await);
    not_taken(&bob.ask(5).await);
    // Alice has a list of her own.
    made(&post(alice, &[("filetype", "text/plain")]).await);
    not_taken(&post(alice, &[("filetype", "image/png")]).await);
    // Sessions are files as well.
    let session = async |ask: serde_json::Value| {
        let post = server.request("POST", "/uploads/initialize");
        bob.own(post).body(ask.to_string()).send().await
    };
    not_taken(&session(json!({"filename": "a.png", "size": 5})).await);
    let png = json!({"filetype": "image/png"});
    not_taken(&session(json!({"filename": "a.exe", "size": 5, "metadata": png})).await);
    let good = session(json!({"filename": "a.png", "size": 5, "metadata": png})).await;
    assert_eq!(good.status, 201, "{good:?}");
    // A part is no file; what is made of parts is.
    let part = bob.part(b"hello").await;
    let denied = [
        ("Upload-Length", "5"),
        ("Upload-Concat", "partial"),
        ("Upload-Metadata", "filetype dGV4dC9odG1s"),
    ];
    not_taken(&bob.post(&denied).await);
    not_taken(&bob.join(&[&part]).await);
    let concat = format!("final;{part}");
    let final_of = [
        ("Upload-Concat", &concat[..]),
        ("Upload-Metadata", "filetype aW1hZ2UvcG5n"),
    ];
    made(&bob.post(&final_of).await);
}

#[tokio::test]
async fn names_may_be_bounded_by_their_extensions() {
    let server = start_with(|config| {
        config.limits.allow_extensions = ".png, jpg".parse().expect("extensions");
    })
    .await;
    let post = async |name: &str| {
        let post = server.tus("POST", "/files/").header("Upload-Length", 1);
        let named = metadata(&[("filename", name)]);
        post.header("Upload-Metadata", named).send().await
    };
    made(&post("a.PNG").await);
    made(&post("a.b.jpg").await);
    for name in ["a", "a.gif", "a.jpg.sh", ".png", ""] {
        not_taken(&post(name).await);
    }
}

#[tokio::test]
async fn the_operator_sees_use_by_user() {
    let (server, _dir) = serve(
        "quota = \"5000\"\nbyte_rate = \"1MiB\"\nuploads_per_hour = 7",
        |config| {
            config.limits.quota = 1000;
            config.limits.quota_total = 9000;
            config.limits.max_request_rate = 50;
            config.limits.max_open_uploads_total = 20;
            config.limits.max_uploads_per_hour_total = 1000;
            config.limits.max_byte_rate_total = 5_000_000;
        },
    )
    .await;
    let (alice, bob) = (alice(&server), bob(&server));
    let path = alice.create(3000).await;
    alice.send(&path, 0, &[7; 1000]).await;
    let done = bob.create(4).await;
    bob.send(&done, 0, b"done").await;
    let told = told(&server).await;
    let line = |user: &str| {
        let users = told["users"].as_array().expect("users");
        users
            .iter()
            .find(|line| line["user_id"] == *user)
            .expect("a line")
            .clone()
    };
    let (hers, his) = (line("alice"), line("bob"));
    for (name, value) in [
        ("reserved_bytes", 3000),
        ("open_uploads", 1),
        ("stored_bytes", 1000),
        ("uploads", 1),
    ] {
        assert_eq!(hers[name], value, "{name}: {hers}");
    }
    for (name, value) in [
        ("reserved_bytes", 4),
        ("open_uploads", 0),
        ("stored_bytes", 4),
    ] {
        assert_eq!(his[name], value, "{name}: {his}");
    }
    let limits = &hers["limits"];
    assert_eq!(
        (&limits["quota"], &limits["byte_rate"]),
        (&json!(5000), &json!(1 << 20))
    );
    assert_eq!(
        (&limits["uploads_per_hour"], &limits["request_rate"]),
        (&json!(7), &json!(50))
    );
    assert_eq!(
        (&his["limits"]["quota"], &his["limits"]["byte_rate"]),
        (&json!(1000), &json!(null))
    );
    assert_eq!(
        told["total"],
        json!({
            "reserved_bytes": 3004,
            "open_uploads": 1,
            "quota": 9000,
            "limits": {
                "open_uploads": 20,
                "uploads_per_hour": 1000,
                "request_rate": null,
                "byte_rate": 5_000_000,
            },
        })
    );
    // For the operator alone.
    let get = alice
        .own(server.request("GET", "/admin/users"))
        .send()
        .await;
    assert_eq!(get.status, 401);
}

#[test]
fn options_that_make_no_sense_end_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    for (options, why) in [
        (&["--quota", "1G"][..], "--quota: without --auth"),
        (&["--quota-total", "much"], "--quota-total"),
        (
            &["--max-byte-rate", "100"],
            "--max-byte-rate: at least 1024",
        ),
        (
            &["--max-byte-rate-total", "1023"],
            "--max-byte-rate-total: at least 1024",
        ),
        (
            &["--min-size", "2K", "--max-size", "1K"],
            "--min-size: at most --max-size",
        ),
        (&["--max-request-rate", "-1"], "--max-request-rate"),
        (&["--max-open-uploads", "x"], "--max-open-uploads"),
        (
            &["--max-connections-per-address", "5", "--behind-proxy"],
            "--max-connections-per-address: behind a proxy",
        ),
        (&["--allow-types", "png"], "a media type such as"),
        (&["--deny-types", "*"], "a media type such as"),
        (&["--allow-extensions", "tar.gz"], "an extension such as"),
        (&["--deny-extensions", "a/b"], "an extension such as"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
        command
            .args(["--port", "0", "--upload-dir"])
            .arg(dir.path().join("data"));
        let ended = command.args(options).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(why), "{options:?}: {said}");
    }
}
