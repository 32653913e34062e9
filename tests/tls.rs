//! TLS: what is spoken, with whom, and what becomes of a certificate that changes.

pub(crate) mod peer;

use std::process::Output;
use std::time::{Duration, Instant};

use highwater::config::Config;
use highwater::security::tls::TlsMode;
use highwater::server;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use self::peer::{Pair, ask, shown};
use crate::support::{Process, Server, bytes, start_with, until};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn start(change: impl FnOnce(&mut Config)) -> (Server, Pair, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let pair = Pair::make(dir.path(), "one");
    let server = start_with(|config| {
        config.tls.tls_certificate = Some(pair.certificate.clone());
        config.tls.tls_key = Some(pair.key.clone());
        change(config);
    })
    .await;
    (server, pair, dir)
}

/// What curl printed: the answer, and the version of HTTP.
fn printed(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let (answer, version) = text.rsplit_once('\n').expect("two lines");
    (answer.to_owned(), version.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_by_curl_over_each_version_of_http() {
    let (server, pair, dir) = start(|_| {}).await;
    let data = bytes(1, 3 << 20);
    let file = dir.path().join("file");
    std::fs::write(&file, &data).expect("it is written");
    let url = format!("https://localhost:{}/files/", server.addr.port());
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let length = format!("Upload-Length: {}", data.len());
        let tus = ["-H", "Tus-Resumable: 1.0.0"];
        let post = [flag, "-i", "-X", "POST", "-H", &length, &url];
        let (answer, spoken) = printed(&pair.curl(&[&tus[..], &post].concat()));
        assert_eq!(spoken, version, "{answer}");
        let location = answer.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location")
                .then_some(value.trim())
        });
        let location = location.expect("a Location").to_owned();
        assert!(location.starts_with(&url), "{location}");
        let body = format!("@{}", file.display());
        let patch = [
            flag,
            "-i",
            "-X",
            "PATCH",
            "-H",
            "Upload-Offset: 0",
            "-H",
            "Content-Type: application/offset+octet-stream",
            "--data-binary",
            &body,
            &location,
        ];
        let (answer, spoken) = printed(&pair.curl(&[&tus[..], &patch].concat()));
        assert!(answer.contains(" 204") && spoken == version, "{answer}");
        let back = dir.path().join("back");
        let back_name = back.display().to_string();
        let got = pair.curl(&[flag, "-o", &back_name, &location]);
        assert_eq!(printed(&got).1, version);
        assert!(std::fs::read(&back).expect("a file") == data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_speaks_its_versions() {
    let old = ["--tlsv1.2", "--tls-max", "1.2"];
    let weak = [
        "--tls-max",
        "1.2",
        "--ciphers",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ];
    let strong = [
        "--tls-max",
        "1.2",
        "--ciphers",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ];
    let new = ["--tlsv1.3"];
    let table: [(TlsMode, &[&str], bool); 11] = [
        (TlsMode::Tls12, &old, true),
        (TlsMode::Tls12, &new, true),
        (TlsMode::Tls12, &weak, true),
        (TlsMode::Tls13, &old, false),
        (TlsMode::Tls13, &new, true),
        (TlsMode::Tls13, &strong, false),
        (TlsMode::Tls12Strong, &old, true),
        (TlsMode::Tls12Strong, &new, false),
        (TlsMode::Tls12Strong, &weak, false),
        (TlsMode::Tls12Strong, &strong, true),
        (TlsMode::Tls12, &["--tls-max", "1.1"], false),
    ];
    for mode in [TlsMode::Tls12, TlsMode::Tls13, TlsMode::Tls12Strong] {
        let (server, pair, _dir) = start(|config| config.tls.tls_mode = mode).await;
        let url = format!("https://localhost:{}/healthz", server.addr.port());
        for (_, flags, works) in table.iter().filter(|(m, _, _)| *m == mode) {
            let output = pair.curl(&[flags, &[&url[..]][..]].concat());
            assert_eq!(
                output.status.success(),
                *works,
                "{mode:?} {flags:?}: {output:?}"
            );
            // 35: no handshake.
            assert_eq!(
                output.status.code() == Some(35),
                !works,
                "{mode:?} {flags:?}: {output:?}"
            );
        }
    }
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_or_closed() {
    let (server, _pair, _dir) = start(|_| {}).await;
    let addr = server.addr;
    let said = |bytes: &'static [u8]| async move {
        let mut socket = TcpStream::connect(addr).await.expect("a connection");
        socket.write_all(bytes).await.expect("it is sent");
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer).await; // or a reset
        answer
    };
    let answer = said(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.ends_with("the request was plain HTTP"),
        "{answer}"
    );
    for garbage in [&b"\x00\x01\x02\x03"[..], b"hello", b"\x80\x2e\x01\x00\x02"] {
        assert_eq!(said(garbage).await, "", "{garbage:?}");
    }
    // A record that is no hello gets TLS's own words for it.
    assert!(!said(b"\x16\x03\x01\x00\x05hello").await.contains("HTTP"));
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let brief = Duration::from_millis(300);
    let (server, pair, _dir) = start(|config| config.header_timeout = brief).await;
    for begun in [
        &b""[..],
        b"\x16",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut socket = TcpStream::connect(server.addr).await.expect("a connection");
        let began = Instant::now();
        socket.write_all(begun).await.expect("it is sent");
        let _ = socket.read_to_end(&mut Vec::new()).await;
        let took = began.elapsed();
        assert!(
            (brief / 2..Duration::from_secs(15)).contains(&took),
            "{begun:?}: {took:?}"
        );
    }
    let mut stream = pair.connect(server.addr, &[]).await;
    assert!(ask(&mut stream, HEALTH).await.ends_with("ok\n"));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let (mut server, pair, _dir) = start(|_| {}).await;
    let mut silent = TcpStream::connect(server.addr).await.expect("a connection");
    silent.write_all(b"\x16\x03").await.expect("it is sent");
    let mut stream = pair.connect(server.addr, &[b"http/1.1"]).await;
    assert!(ask(&mut stream, HEALTH).await.ends_with("ok\n"));
    let began = Instant::now();
    server.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_body_that_is_cut_under_tls_keeps_what_arrived() {
    let (server, pair, _dir) = start(|_| {}).await;
    let mut stream = pair.connect(server.addr, &[b"http/1.1"]).await;
    let created = ask(
        &mut stream,
        "POST /files/ HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 100\r\n\r\n",
    )
    .await;
    let location = created
        .lines()
        .find_map(|line| line.strip_prefix("location: "));
    let path = location
        .expect("a Location")
        .trim_start_matches("https://localhost")
        .to_owned();
    assert!(path.starts_with("/files/"), "{created}");
    let patch = format!(
        "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Length: 100\r\n\
         Content-Type: application/offset+octet-stream\r\n\r\nforty bytes of the hundred that were said"
    );
    stream
        .write_all(patch.as_bytes())
        .await
        .expect("it is sent");
    stream.flush().await.expect("it is sent");
    drop(stream); // without TLS's goodbye
    let head = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n\r\n");
    until("the bytes count", || async {
        let mut stream = pair.connect(server.addr, &[b"http/1.1"]).await;
        let answer = ask_head(&mut stream, &head).await;
        answer.contains("upload-offset: 41\r\n")
    })
    .await;
}

/// What is read of a connection is TLS's, and nothing is while a chunk waits for its turn.
#[tokio::test]
async fn a_client_that_goes_while_its_chunk_waits_is_noticed_under_tls() {
    let (server, pair, _dir) = start(|config| config.session_parallel_chunks = 1).await;
    let mut asker = pair.connect(server.addr, &[b"http/1.1"]).await;
    let size = 2 << 20;
    let asked = json!({"filename": "f", "size": size, "verify": false}).to_string();
    let asked = format!(
        "POST /uploads/initialize HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{asked}",
        asked.len()
    );
    let answer = ask(&mut asker, &asked).await;
    let (_, told) = answer.split_once("\r\n\r\n").expect("a body");
    let told: Value = serde_json::from_str(told).expect("JSON");
    let text = |name: &str| told[name].as_str().expect("a text");
    let begin = async |n: u8| {
        let mut stream = pair.connect(server.addr, &[b"http/1.1"]).await;
        let head = format!(
            "POST /uploads/{}/chunks/{n} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            text("session_id"),
            text("session_token"),
            size / 2
        );
        stream.write_all(head.as_bytes()).await.expect("it is sent");
        stream.write_all(&[7; 1000]).await.expect("it is sent");
        stream.flush().await.expect("it is sent");
        stream
    };
    let metrics = async |stream: &mut TlsStream<TcpStream>| {
        ask(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await
    };
    let mut holder = begin(1).await;
    until("it has the place", async || {
        let mut asker = pair.connect(server.addr, &[b"http/1.1"]).await;
        metrics(&mut asker)
            .await
            .contains("highwater_received_bytes_total 1000\n")
    })
    .await;
    drop(begin(2).await);
    let began = Instant::now();
    let mut sent = 1000;
    while !metrics(&mut asker).await.contains("code=\"body-cut\"} 1\n") {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it is not noticed"
        );
        // Who holds the place is not silent, and keeps it.
        holder.write_all(&[7]).await.expect("it is sent");
        holder.flush().await.expect("it is sent");
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = ask(&mut holder, &"\u{7}".repeat(size / 2 - sent)).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

/// As [`ask`], for an answer without a body.
async fn ask_head(stream: &mut TlsStream<TcpStream>, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut read = String::new();
    while !read.ends_with("\r\n\r\n") {
        read.push(char::from(stream.read_u8().await.expect("an answer")));
    }
    read
}

#[tokio::test]
async fn progress_is_a_websocket_over_tls() {
    let (server, pair, _dir) = start(|_| {}).await;
    let mut stream = pair.connect(server.addr, &[b"http/1.1"]).await;
    let request = "GET /progress?upload=3b2c1a90-0000-4000-8000-000000000000 HTTP/1.1\r\nHost: localhost\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://localhost\r\n\r\n";
    let answer = ask_head(&mut stream, request).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    // The upload is unknown: the first frame, a text, says so.
    assert_eq!(stream.read_u8().await.expect("a frame"), 0x81);
    let length = stream.read_u8().await.expect("its length");
    assert!(length > 0);
}

#[tokio::test]
async fn a_pair_that_is_none_is_refused_at_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two) = (Pair::make(dir.path(), "one"), Pair::make(dir.path(), "two"));
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "nothing in PEM\n").expect("it is written");
    let missing = dir.path().join("missing");
    let data = dir.path().join("data");
    for (certificate, key, why) in [
        (
            &one.certificate,
            &two.key,
            "the key is not the certificate's",
        ),
        (&empty, &one.key, "no certificate in PEM"),
        (&one.certificate, &empty, "no key in PEM"),
        (&one.certificate, &missing, "missing: No such file"),
    ] {
        let mut config = Config::for_test();
        config.upload_dir.clone_from(&data);
        config.tls.tls_certificate = Some(certificate.clone());
        config.tls.tls_key = Some(key.clone());
        let refused = server::start(config)
            .await
            .expect_err("a refusal")
            .to_string();
        assert!(
            refused.contains("--tls-") && refused.contains(why),
            "{refused}"
        );
    }
    assert!(!data.exists(), "nothing was touched");
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two) = (Pair::make(dir.path(), "one"), Pair::make(dir.path(), "two"));
    let used = Pair {
        certificate: dir.path().join("used.pem"),
        key: dir.path().join("used.key"),
    };
    let put = |pair: &Pair| {
        std::fs::copy(&pair.certificate, &used.certificate).expect("it is copied");
        std::fs::copy(&pair.key, &used.key).expect("it is copied");
    };
    put(&one);
    let paths = [&used.certificate, &used.key].map(|path| path.display().to_string());
    let data = dir.path().join("data");
    let mut server = Process::start(
        &data,
        &["--tls-certificate", &paths[0], "--tls-key", &paths[1]],
    );
    let hang_up = |server: &Process| {
        let pid = Pid::from_raw(server.pid().cast_signed()).expect("its id");
        kill_process(pid, Signal::HUP).expect("the process is there");
    };
    let mut old = one.connect(server.addr, &[]).await;
    assert_eq!(shown(&old), one.der());
    assert!(ask(&mut old, HEALTH).await.ends_with("ok\n"));
    // Asked to.
    put(&two);
    hang_up(&server);
    server.wait_for_line("certificate (--tls-certificate, --tls-key): read anew");
    let new = two.connect(server.addr, &[]).await;
    assert_eq!(shown(&new), two.der());
    assert!(
        ask(&mut old, HEALTH).await.ends_with("ok\n"),
        "what is open goes on"
    );
    // Half of a pair: the last good one stays.
    std::fs::copy(&one.key, &used.key).expect("it is copied");
    hang_up(&server);
    let told = server
        .wait_for_line("cannot be used as it is now")
        .to_owned();
    assert!(told.contains("the key is not the certificate's"), "{told}");
    let new = two.connect(server.addr, &[]).await;
    assert_eq!(shown(&new), two.der());
    // And without being asked.
    put(&one);
    until("the change is seen", || async {
        let socket = TcpStream::connect(server.addr).await.expect("a connection");
        one.shake(socket, &[]).await.is_ok()
    })
    .await;
    assert!(
        ask(&mut old, HEALTH).await.ends_with("ok\n"),
        "what is open goes on"
    );
}
