//! A proxy as its example says, on a free port, with a certificate for localhost; and a client of it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::example;
use crate::support::{Reply, until};
use crate::tls::peer::Pair;

/// Killed when dropped.
pub(crate) struct Proxy {
    process: Child,
    pub(crate) pair: Pair,
    pub(crate) port: u16,
}

/// A port that was free a moment ago: the files of proxies name one.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// The example with some of its text replaced, each there.
fn with(name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(example(name)).expect("the example");
    for (from, to) in changes {
        assert!(text.contains(from), "{from} in {name}");
        text = text.replace(from, to);
    }
    text
}

fn run(command: &mut Command, package: &str) -> Child {
    let started = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    started
        .spawn()
        .unwrap_or_else(|error| panic!("{error}: of the Debian package {package}"))
}

impl Proxy {
    pub(crate) fn nginx(dir: &Path, backend: u16) -> Self {
        let (port, pair) = (free_port(), Pair::make(dir, "proxy"));
        let server = with(
            "nginx.conf",
            &[
                ("127.0.0.1:8080;", &format!("127.0.0.1:{backend};")),
                ("listen 443 ", &format!("listen 127.0.0.1:{port} ")),
                ("    listen [::]:443 ssl http2;\n", ""),
                ("uploads.example.org;", "localhost;"),
                (
                    "/etc/letsencrypt/live/uploads.example.org/fullchain.pem",
                    &pair.certificate.display().to_string(),
                ),
                (
                    "/etc/letsencrypt/live/uploads.example.org/privkey.pem",
                    &pair.key.display().to_string(),
                ),
            ],
        );
        fs::write(dir.join("highwater.conf"), server).expect("it is written");
        // What Debian's nginx.conf has around it.
        let whole = "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\nevents {}\nhttp {\n\
            access_log off;\nclient_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
            uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\ninclude highwater.conf;\n}\n";
        let main = dir.join("nginx.conf");
        fs::write(&main, whole).expect("it is written");
        let mut command = Command::new("nginx");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{path}:/usr/sbin"))
            .arg("-p")
            .arg(dir)
            .arg("-c")
            .arg(main);
        command.args(["-e", "stderr"]);
        let process = run(&mut command, "nginx-light");
        Self {
            process,
            pair,
            port,
        }
    }

    pub(crate) fn caddy(dir: &Path, backend: u16) -> Self {
        let (port, pair) = (free_port(), Pair::make(dir, "proxy"));
        let files = format!("{} {}", pair.certificate.display(), pair.key.display());
        let site = format!("https://localhost:{port} {{\n\ttls {files}\n");
        let server = with(
            "Caddyfile",
            &[
                (
                    "reverse_proxy 127.0.0.1:8080 ",
                    &format!("reverse_proxy 127.0.0.1:{backend} "),
                ),
                ("uploads.example.org {\n", &site),
            ],
        );
        // No port of its own for orders, none for redirections, and nothing kept.
        let options =
            "{\n\tadmin off\n\tauto_https disable_redirects\n\tlog {\n\t\tlevel ERROR\n\t}\n}\n";
        let path = dir.join("Caddyfile");
        fs::write(&path, format!("{options}{server}")).expect("it is written");
        let mut command = Command::new("caddy");
        command
            .env("XDG_DATA_HOME", dir)
            .env("XDG_CONFIG_HOME", dir)
            .env("HOME", dir);
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(path);
        let process = run(&mut command, "caddy");
        Self {
            process,
            pair,
            port,
        }
    }

    fn addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) async fn listens(&self) {
        until("the proxy listens", || async {
            TcpStream::connect(self.addr()).await.is_ok()
        })
        .await;
    }

    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        self.pair.connect(self.addr(), &[b"http/1.1"]).await
    }

    /// A request on a connection of its own; `headers` are whole lines.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let length = match method {
            "POST" | "PATCH" => format!("Content-Length: {}\r\n", body.len()),
            _ => String::new(),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\n{headers}{length}\r\n",
            self.port
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        exchange(&mut self.connect().await, method, &request).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a request and reads its answer, which names its length.
pub(crate) async fn exchange(
    stream: &mut TlsStream<TcpStream>,
    method: &str,
    request: &[u8],
) -> Reply {
    stream.write_all(request).await.expect("it is sent");
    stream.flush().await.expect("it is sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text");
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    let mut reply = Reply {
        status: status.expect("a status"),
        headers: lines.filter_map(header).collect(),
        body: Vec::new(),
        code: String::new(),
    };
    let length = reply.number("Content-Length").filter(|_| method != "HEAD");
    let length = usize::try_from(length.unwrap_or(0)).expect("a length");
    reply.body.resize(length, 0);
    stream.read_exact(&mut reply.body).await.expect("a body");
    reply
}
