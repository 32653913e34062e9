//! What clients should not do, pages of other origins, the end of the server.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::stream::Events;
use super::watcher::{HANDSHAKE, Watcher, ask};
use crate::support::{Process, id, start, start_with};

#[tokio::test]
async fn a_session_is_followed_with_its_token_alone() {
    let server = start().await;
    let session = server.session_of(b"hello").await;
    for query in [
        format!("?upload={}", session.id),
        format!("?upload={}&token=x", session.id),
    ] {
        let mut watcher = Watcher::open(&server, &query).await;
        assert_eq!(watcher.next().await["code"], "not-found", "{query}");
    }
    let query = format!("?upload={}&token={}", session.id, session.token);
    let mut watcher = Watcher::open(&server, &query).await;
    let first = watcher.next().await;
    assert_eq!(
        (&first["event"], &first["total_bytes"]),
        (&json!("snapshot"), &json!(5))
    );
}

#[tokio::test]
async fn what_is_not_there_is_answered_alike_and_the_connection_goes_on() {
    let server = start().await;
    let path = server.create(3).await;
    let unknown = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
    let query = format!("?upload={unknown}&upload=..%2F..%2Fetc%2Fpasswd&other=x");
    let mut watcher = Watcher::open(&server, &query).await;
    let mut one = watcher.next().await;
    let mut two = watcher.next().await;
    assert_eq!(
        (&one["event"], &one["code"]),
        (&json!("error"), &json!("not-found"))
    );
    assert_eq!(one["upload_id"], unknown);
    assert_eq!(two["upload_id"], "../../etc/passwd");
    for field in ["upload_id", "time"] {
        one[field].take();
        two[field].take();
    }
    assert_eq!(one, two);
    for garbage in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "\u{0}",
        r#"{"subscribe":"x"}"#,
        r#"{"subscribe":[1]}"#,
        r#"{"since":{"x":-1}}"#,
        r#"{"since":{"x":18446744073709551616}}"#,
        r#"{"shout":["x"]}"#,
    ] {
        watcher
            .socket
            .send(Message::text(garbage))
            .await
            .expect("it is sent");
        let error = watcher.next().await;
        assert_eq!(
            (&error["event"], &error["code"]),
            (&json!("error"), &json!("bad-subscription")),
            "{garbage}"
        );
    }
    watcher.subscribe(&path).await;
    assert_eq!(watcher.next().await["event"], "snapshot");
}

#[tokio::test]
async fn a_connection_follows_so_many_and_no_more() {
    let server = start_with(|config| config.max_subscriptions = 2).await;
    let [one, two, three] = [
        server.create(3).await,
        server.create(3).await,
        server.create(3).await,
    ];
    let (mut watcher, _) = Watcher::of(&server, &one).await;
    watcher.subscribe(&two).await;
    assert_eq!(watcher.next().await["event"], "snapshot");
    watcher.subscribe(&three).await;
    assert_eq!(watcher.next().await["code"], "too-many-subscriptions");
    watcher.subscribe(&one).await;
    assert_eq!(
        watcher.next().await["event"],
        "snapshot",
        "it is one of them"
    );
    watcher.send(&json!({ "unsubscribe": [id(&one)] })).await;
    watcher.subscribe(&three).await;
    assert_eq!(watcher.next().await["upload_id"], id(&three));
}

#[tokio::test]
async fn frames_that_are_none_end_the_connection_with_a_code() {
    let server = start().await;
    let path = server.create(3).await;
    let big = "x".repeat((16 << 10) + 1);
    for (message, code) in [
        (Message::binary(vec![1, 2, 3]), 1003),
        (Message::text(big), 1009),
        (Message::Close(None), 1005),
    ] {
        let (mut watcher, _) = Watcher::of(&server, &path).await;
        let close = matches!(message, Message::Close(_));
        watcher.socket.send(message).await.expect("it is sent");
        if close {
            // Answered, and the end.
            while let Some(Ok(frame)) = watcher.socket.next().await {
                assert!(
                    matches!(frame, Message::Close(_) | Message::Ping(_)),
                    "{frame:?}"
                );
            }
        } else {
            assert_eq!(watcher.closed().await, code);
        }
    }
    // Unmasked; of a kind that there is not; text that is not UTF-8.
    let masked_text: &[u8] = &[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe];
    for (raw, code) in [
        (&b"\x81\x02hi"[..], 1002),
        (&[0x8f, 0x80, 0, 0, 0, 0][..], 1002),
        (masked_text, 1007),
        (&[0xff; 4096][..], 1002),
    ] {
        let (mut watcher, _) = Watcher::of(&server, &path).await;
        watcher
            .socket
            .get_mut()
            .write_all(raw)
            .await
            .expect("it is sent");
        assert_eq!(watcher.closed().await, code, "{raw:?}");
    }
    assert_eq!(server.patch(&path, 0, "abc").send().await.status, 204);
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    let server = start().await;
    for (name, value, status, code) in [
        ("Upgrade", "h2c", 426, "upgrade-required"),
        ("Connection", "keep-alive", 426, "upgrade-required"),
        ("Sec-WebSocket-Version", "8", 426, "upgrade-required"),
        ("Sec-WebSocket-Key", "c2hvcnQ=", 400, "bad-header"),
    ] {
        let mut headers = HANDSHAKE;
        for header in &mut headers {
            if header.0 == name {
                header.1 = value;
            }
        }
        let (_, reply) = ask(server.addr, "/progress", &headers).await;
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (status, code),
            "{name}"
        );
        if status == 426 {
            assert_eq!(reply.header("Sec-WebSocket-Version"), Some("13"));
            assert_eq!(reply.header("Upgrade"), Some("websocket"));
        }
    }
    let reply = server.get("/progress").await;
    assert_eq!(
        (reply.status, reply.code.as_str()),
        (426, "upgrade-required")
    );
    let reply = server.request("POST", "/progress").send().await;
    assert_eq!(
        (reply.status, reply.header("Allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    let reply = server.get("/progress?upload=%ff").await;
    assert_eq!(reply.status, 426);
    let (_, reply) = ask(server.addr, "/progress?upload=%ff", &HANDSHAKE).await;
    assert_eq!(
        (reply.status, reply.code.as_str()),
        (400, "bad-subscription")
    );
}

#[tokio::test]
async fn pages_of_other_origins_are_held_against_the_cors_list() {
    let listed =
        start_with(|config| config.cors_allow_origin = r"https://app\.example".into()).await;
    let none = start_with(|config| config.disable_cors = true).await;
    for (server, origin, status) in [
        (&listed, "https://app.example".to_owned(), 101),
        (&listed, "https://app.example.evil".to_owned(), 403),
        (&listed, "null".to_owned(), 403),
        (&listed, format!("http://{}", listed.addr), 101),
        (&none, "https://app.example".to_owned(), 403),
        (&none, format!("http://{}", none.addr), 101),
    ] {
        let mut headers = HANDSHAKE.to_vec();
        headers.push(("Origin", &origin));
        let (_, reply) = ask(server.addr, "/progress", &headers).await;
        assert_eq!(reply.status, status, "{origin}");
        let events = server
            .request("GET", "/progress/events")
            .header("Origin", &origin);
        let events = events.send().await;
        let expected = if status == 101 {
            "bad-subscription"
        } else {
            "foreign-origin"
        };
        assert_eq!(events.code, expected, "{origin}");
    }
}

#[tokio::test]
async fn one_that_answers_no_ping_is_gone() {
    let server = start_with(|config| {
        config.progress_timeout = Duration::from_millis(300);
        config.max_connections = 2;
    })
    .await;
    let path = server.create(3).await;
    // It reads nothing, so that nothing answers the pings.
    let (mut silent, _) = Watcher::of(&server, &path).await;
    let (mut lively, _) = Watcher::of(&server, &path).await;
    // Both connections are taken until one of them is gone: a WebSocket is a connection still.
    let waiting = tokio::spawn({
        let (client, path) = (*server, path.clone());
        async move { client.patch(&path, 0, "abc").send().await.status }
    });
    lively.until("upload_completed").await;
    assert_eq!(waiting.await.expect("an answer"), 204);
    // Pings, and a close with 1008.
    let mut raw = Vec::new();
    let read = silent.socket.get_mut().read_to_end(&mut raw).await;
    read.expect("the connection ends");
    let close = raw.windows(4).find(|four| four[0] == 0x88);
    assert_eq!(close.expect("a close")[2..], 1008_u16.to_be_bytes());
}

#[tokio::test]
async fn the_end_of_the_server_is_told_and_not_held_up() {
    let mut server = start_with(|config| config.shutdown_timeout = Duration::from_secs(20)).await;
    let path = server.create(3).await;
    let (mut reads, _) = Watcher::of(&server, &path).await;
    let (_never_reads, _) = Watcher::of(&server, &path).await;
    let began = std::time::Instant::now();
    let told = tokio::spawn(async move { reads.closed().await });
    server.stop().await;
    assert_eq!(told.await.expect("a code"), 1001);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn tokens_never_reach_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let levels = "trace,tungstenite=trace,tungstenite::protocol=trace,hyper=trace";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_highwater"));
    command
        .args(["--port", "0", "--log-level", levels, "--upload-dir"])
        .arg(dir.path())
        .env("HIGHWATER_ADMIN_TOKEN", "SECRET-of-the-administrator");
    let mut server = Process::spawn(command).expect("it starts");
    let path = server.create(3).await;
    let query = format!("?upload={}&token=SECRET-one", id(&path));
    let mut watcher = Watcher::open(&server, &query).await;
    watcher.next().await;
    watcher
        .send(&json!({ "subscribe": [id(&path)], "token": "SECRET-two" }))
        .await;
    watcher.next().await;
    // The administrator's, wherever it can stand; and wrong ones.
    let admin = "SECRET-of-the-administrator";
    for token in ["SECRET-wrong", admin] {
        let asking = json!({ "subscribe": ["*"], "token": token });
        watcher.send(&asking).await;
        let query = format!("?upload=*&token={token}");
        let (_, reply) = ask(server.addr, &format!("/progress{query}"), &HANDSHAKE).await;
        assert_eq!(reply.status, if token == admin { 101 } else { 401 });
    }
    assert_eq!(watcher.next().await["code"], "unauthorized");
    assert_eq!(watcher.next().await["event"], "snapshot");
    let bearer = format!("Bearer {admin}");
    Events::open(&server, "?upload=*", &[("Authorization", &bearer)]).await;
    drop(watcher);
    let mut events =
        Events::open(&server, &query, &[("Authorization", "Bearer SECRET-three")]).await;
    events.next().await;
    let refused = server.get("/progress/events?token=SECRET-four").await;
    assert_eq!(refused.status, 400);
    server.wait_for_line("/progress/events");
    let (well, _) = server.terminate();
    assert!(well);
    let log = server.log();
    assert!(
        log.iter().any(|line| line.contains("/progress")),
        "it is a log"
    );
    for line in log {
        assert!(!line.contains("SECRET"), "{line}");
    }
}
