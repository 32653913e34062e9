//! `examples/deploy/`: the very files, but for ports and paths, with the programs that they are for.

mod proxy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::proxy::{Proxy, exchange};
use crate::support::{Process, bytes, same, until};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/deploy")
        .join(name)
}

const TUS: &str = "Tus-Resumable: 1.0.0\r\n";
const OPERATOR: &str = "an-operators-token-of-some-length";
/// What clients say of themselves, in vain.
const SPOOFED: &str = "Forwarded: host=evil.test;proto=http\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: http\r\n\
    X-Forwarded-Prefix: /evil\r\nX-Forwarded-For: 10.1.2.3\r\nX-Forwarded-User: root\r\n";

/// A server behind a proxy, and the proxy.
fn behind(proxy: impl FnOnce(&Path, u16) -> Proxy) -> (Process, Proxy, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let flags = ["--behind-proxy", "--admin-token", OPERATOR];
    let server = Process::start(&dir.path().join("data"), &flags);
    let proxy = proxy(dir.path(), server.addr.port());
    (server, proxy, dir)
}

async fn all(proxy: impl FnOnce(&Path, u16) -> Proxy) {
    let (server, proxy, _dir) = behind(proxy);
    proxy.listens().await;
    an_upload_goes_on_after_a_cut(&server, &proxy).await;
    a_session_comes_in_parallel(&proxy).await;
    progress_comes_at_once(&proxy).await;
    for path in ["/admin/uploads/active", "/metrics"] {
        let bearer = format!("Authorization: Bearer {OPERATOR}\r\n");
        let hidden = proxy.ask("GET", path, &bearer, b"").await;
        let direct = server
            .request("GET", path)
            .header("Authorization", format!("Bearer {OPERATOR}"));
        assert_eq!(
            (hidden.status, direct.send().await.status),
            (404, 200),
            "{path}"
        );
    }
    curl_speaks_http_2(&proxy);
}

/// Bytes reach the server before the request's end, and what it has when the client goes is what it keeps.
async fn an_upload_goes_on_after_a_cut(server: &Process, proxy: &Proxy) {
    let data = bytes(7, 5 << 20);
    let (half, rest) = data.split_at(2 << 20);
    let create = format!("{TUS}{SPOOFED}Upload-Length: {}\r\n", data.len());
    let created = proxy.ask("POST", "/files/", &create, b"").await;
    assert_eq!(created.status, 201, "{created:?}");
    let location = created.header("Location").expect("a Location").to_owned();
    let origin = format!("https://localhost:{}", proxy.port);
    let path = location
        .strip_prefix(&origin)
        .expect("the proxy's name")
        .to_owned();
    assert!(path.starts_with("/files/"), "{location}");

    let patch = |offset: usize, length: usize| {
        format!(
            "PATCH {path} HTTP/1.1\r\nHost: localhost:{}\r\n{TUS}Upload-Offset: {offset}\r\nContent-Length: {length}\r\n\
             Content-Type: application/offset+octet-stream\r\n\r\n",
            proxy.port
        )
    };
    let mut stream = proxy.connect().await;
    stream
        .write_all(patch(0, data.len()).as_bytes())
        .await
        .expect("it is sent");
    stream.write_all(half).await.expect("it is sent");
    stream.flush().await.expect("it is sent");
    // Asked without the proxy.
    until("all that was sent has arrived", || async {
        server.offset(&path).await == half.len() as u64
    })
    .await;
    drop(stream);
    let head = proxy.ask("HEAD", &path, TUS, b"").await;
    assert_eq!(
        (head.status, head.number("Upload-Offset")),
        (200, Some(half.len() as u64))
    );
    until("the rest is taken", || async {
        let mut stream = proxy.connect().await;
        let mut request = patch(half.len(), rest.len()).into_bytes();
        request.extend_from_slice(rest);
        // 423 while the server has not seen yet that the other is gone.
        matches!(exchange(&mut stream, "PATCH", &request).await.status, 204)
    })
    .await;
    same(&proxy.ask("GET", &path, "", b"").await.body, &data);
}

async fn a_session_comes_in_parallel(proxy: &Proxy) {
    let data = bytes(8, (3 << 20) + 5);
    let asked = format!(
        r#"{{"filename":"a","size":{},"chunk_size":1048576,"verify":false}}"#,
        data.len()
    );
    let made = proxy
        .ask("POST", "/uploads/initialize", "", asked.as_bytes())
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let made: Value = serde_json::from_slice(&made.body).expect("JSON");
    let text = |key: &str| made[key].as_str().expect("a text").to_owned();
    let bearer = format!("Authorization: Bearer {}\r\n", text("session_token"));
    let at = format!("/uploads/{}", text("session_id"));
    let chunk = |n: usize, part: &'_ [u8]| {
        let (path, part) = (format!("{at}/chunks/{n}"), part.to_vec());
        let bearer = bearer.clone();
        async move { proxy.ask("POST", &path, &bearer, &part).await.status }
    };
    let parts: Vec<&[u8]> = data.chunks(1 << 20).collect();
    let statuses = tokio::join!(
        chunk(4, parts[3]),
        chunk(2, parts[1]),
        chunk(1, parts[0]),
        chunk(3, parts[2])
    );
    assert_eq!(statuses, (201, 201, 201, 201));
    let done = proxy
        .ask("POST", &format!("{at}/finalize"), &bearer, b"")
        .await;
    assert_eq!(done.status, 200, "{done:?}");
    same(
        &proxy
            .ask("GET", &text("upload_url"), &bearer, b"")
            .await
            .body,
        &data,
    );
}

/// A WebSocket, and the event stream, of an upload that has not ended.
async fn progress_comes_at_once(proxy: &Proxy) {
    let create = format!("{TUS}Upload-Length: 10\r\n");
    let created = proxy.ask("POST", "/files/", &create, b"").await;
    let location = created.header("Location").expect("a Location").to_owned();
    let id = location.rsplit('/').next().expect("an id");
    let host = format!(
        "Host: localhost:{0}\r\nOrigin: https://localhost:{0}\r\n",
        proxy.port
    );
    let mut socket = proxy.connect().await;
    let asked = format!(
        "GET /progress?upload={id} HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket
        .write_all(asked.as_bytes())
        .await
        .expect("it is sent");
    let said = read_to(&mut socket, "snapshot").await;
    assert!(said.starts_with("HTTP/1.1 101"), "{said}");
    let mut events = proxy.connect().await;
    let asked = format!("GET /progress/events?upload={id} HTTP/1.1\r\n{host}\r\n");
    events
        .write_all(asked.as_bytes())
        .await
        .expect("it is sent");
    let said = read_to(&mut events, "snapshot").await;
    assert!(
        said.starts_with("HTTP/1.1 200") && said.contains("text/event-stream"),
        "{said}"
    );
    // What comes next is told to both while they are open.
    let ended = proxy.ask("DELETE", &format!("/files/{id}"), TUS, b"").await;
    assert_eq!(ended.status, 204);
    read_to(&mut socket, "upload_cancelled").await;
    read_to(&mut events, "upload_cancelled").await;
}

/// What is read until `text` has come.
async fn read_to(stream: &mut (impl AsyncReadExt + Unpin), text: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&read).contains(text) {
            read.push(stream.read_u8().await.expect("more"));
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, reading)
        .await
        .expect("it comes in time");
    String::from_utf8_lossy(&read).into_owned()
}

fn curl_speaks_http_2(proxy: &Proxy) {
    let url = format!("https://localhost:{}/healthz", proxy.port);
    let output = proxy.pair.curl(&["--http2", &url]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "ok\n\n2",
        "{output:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx() {
    all(Proxy::nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_caddy() {
    all(Proxy::caddy).await;
}

#[test]
fn the_configuration_file_is_one() {
    let output = Command::new(env!("CARGO_BIN_EXE_highwater"))
        .env_clear()
        .arg("--print-config")
        .arg("--config")
        .arg(example("highwater.toml"))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for line in ["max-size = \"50GiB\" # file", "behind-proxy = true # file"] {
        assert!(text.lines().any(|l| l == line), "{text}");
    }
}

#[test]
fn systemd_takes_the_unit() {
    let dir = tempfile::tempdir().expect("a directory");
    let unit = fs::read_to_string(example("highwater.service")).expect("the unit");
    let installed = "/usr/local/bin/highwater";
    assert_eq!(unit.matches(&format!("ExecStart={installed} ")).count(), 1);
    let unit = unit.replace(installed, env!("CARGO_BIN_EXE_highwater"));
    let path = dir.path().join("highwater.service");
    fs::write(&path, unit).expect("it is written");
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .expect("systemd-analyze, of the Debian package systemd");
    // What it does not know it passes over, and says so.
    let said = String::from_utf8_lossy(&output.stderr);
    let about: Vec<_> = said
        .lines()
        .filter(|line| line.contains("highwater.service"))
        .collect();
    assert!(output.status.success() && about.is_empty(), "{output:?}");
}

/// No container engine here: what an engine would be given is there and enough, and so is what its last image has.
#[test]
fn the_image_has_what_it_needs() {
    let recipe = fs::read_to_string(example("Dockerfile")).expect("the Dockerfile");
    let (building, running) = recipe.split_once("\nFROM gcr.io/").expect("two images");
    assert!(running.starts_with("distroless/cc-debian12:nonroot\n"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lists = fs::read_to_string(root.join(".dockerignore")).expect("what it may see");
    let may_see: Vec<_> = lists.lines().collect();
    let context = tempfile::tempdir().expect("a directory");
    let mut copied = Vec::new();
    for line in building
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
    {
        let names: Vec<_> = line.split_whitespace().collect();
        let (_, names) = names.split_last().expect("sources and their place");
        copied.extend(names.iter().map(|name| (*name).to_owned()));
    }
    assert!(copied.len() > 3, "{copied:?}");
    for name in &copied {
        assert!(may_see.contains(&format!("!{name}").as_str()), "{name}");
        let copy = Command::new("cp")
            .arg("-a")
            .args([root.join(name), context.path().join(name)])
            .status();
        assert!(copy.expect("cp").success(), "{name}");
    }
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--no-deps",
            "--format-version",
            "1",
        ])
        .current_dir(context.path())
        .output()
        .expect("cargo");
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let linked = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_highwater"))
        .output()
        .expect("ldd");
    let linked = String::from_utf8(linked.stdout).expect("text");
    for line in linked.lines() {
        let library = line.split_whitespace().next().unwrap_or_default();
        let known = [
            "linux-vdso",
            "libc.",
            "libm.",
            "libgcc_s.",
            "/lib64/ld-linux",
        ];
        assert!(
            known.iter().any(|known| library.starts_with(known)),
            "{line}"
        );
    }
}
