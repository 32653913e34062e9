//! `--scan` with the real clamd, of Debian's package clamav-daemon, and a signature of our own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use highwater::config::ScanUnavailable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::{Server, bytes, start_with, until};

/// A process of its own; ended when dropped.
struct Clamd {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Drop for Clamd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The test string of the antivirus makers. In one piece it would make every scanner shout at this file.
fn eicar() -> Vec<u8> {
    let halves = [
        "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STAND",
        "ARD-ANTIVIRUS-TEST-FILE!$H+H*",
    ];
    halves.concat().into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const OWN: &[u8] = b"a signature of our own, which stands anywhere";

impl Clamd {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let signatures = format!(
            "Highwater.Eicar:0:0:{}\nHighwater.Own:0:*:{}\n",
            hex(&eicar()),
            hex(OWN)
        );
        std::fs::write(at("test.ndb"), signatures).expect("it is written");
        // clamd cannot be asked which port it took.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let config = format!(
            "TCPSocket {port}\nTCPAddr 127.0.0.1\nLocalSocket {}\nDatabaseDirectory {}\nTemporaryDirectory {}\nForeground yes\nStreamMaxLength 1M\n\
             LogFile {}\n",
            at("clamd.ctl").display(),
            dir.path().display(),
            dir.path().display(),
            at("clamd.log").display(),
        );
        std::fs::write(at("clamd.conf"), config).expect("it is written");
        let program = ["/usr/sbin/clamd", "/usr/local/sbin/clamd"];
        let program = program.into_iter().find(|path| Path::new(path).exists());
        let child = Command::new(program.unwrap_or("clamd"))
            .arg("--config-file")
            .arg(at("clamd.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("clamd runs: apt-get install -y clamav-daemon");
        let clamd = Self { child, dir, port };
        until("clamd answers", || clamd.answers()).await;
        clamd
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("clamd.ctl")
    }

    async fn answers(&self) -> bool {
        let Ok(mut socket) = UnixStream::connect(self.socket()).await else {
            return false;
        };
        let mut answer = Vec::new();
        socket.write_all(b"zPING\0").await.is_ok()
            && socket.read_to_end(&mut answer).await.is_ok()
            && answer == b"PONG\0"
    }
}

async fn scanned_by(address: &str) -> Server {
    start_with(|config| {
        config.content.scan = Some(address.parse().expect("an address"));
        config.content.scan_wait = Duration::from_secs(20);
        config.content.scan_max_bytes = Some(4 << 20);
        config.content.scan_unavailable = ScanUnavailable::Refuse;
    })
    .await
}

/// What is clean passes, and nothing else.
async fn finds(server: &Server) {
    let mut hidden = bytes(1, 700_000);
    hidden[400_000..400_000 + OWN.len()].copy_from_slice(OWN);
    for (body, status, code) in [
        (bytes(1, 700_000), 204, ""),
        (eicar(), 422, "malware-found"),
        (hidden, 422, "malware-found"),
        // More than its StreamMaxLength.
        (bytes(1, 3 << 20), 422, "unscanned"),
        (b"clean again".to_vec(), 204, ""),
    ] {
        let path = server.create(body.len() as u64).await;
        let reply = server.patch(&path, 0, &body[..]).send().await;
        let length = body.len();
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (status, code),
            "{length} bytes"
        );
        let get = server.get(&path).await;
        assert_eq!(get.status, if status == 204 { 200 } else { 422 });
    }
}

#[tokio::test]
async fn the_real_clamd_finds_what_it_should() {
    let mut clamd = Clamd::start().await;
    let addresses = [
        format!("clamd:unix:{}", clamd.socket().display()),
        format!("clamd:tcp://127.0.0.1:{}", clamd.port),
    ];
    let mut servers = Vec::new();
    for address in addresses {
        let server = scanned_by(&address).await;
        finds(&server).await;
        servers.push(server);
    }
    // Once it is gone, nothing passes.
    clamd.child.kill().expect("it is there");
    clamd.child.wait().expect("it ends");
    for server in servers {
        let path = server.create(1).await;
        assert_eq!(server.patch(&path, 0, "a").send().await.status, 422);
    }
}
