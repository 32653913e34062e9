//! Invariants 1 and 3 with the real binary, killed at every point that can be hit: what was acknowledged holds, and what was
//! told is there. Joins and assembly, and a damaged state store are below;
//! a mixed load is in `deaths`.

mod chosen;
mod damage;
mod joins;
mod sessions;

use std::path::PathBuf;
use std::process::Command;

use highwater::protocol::checksum::Algorithm;

use crate::support::{
    Client, Conn, Process, bytes, checksum, file_of, id, len_of, same, stored_files, until,
};

/// The mode that promises the least.
const PROCESS: &[&str] = &["--durability", "process"];

/// A data directory with a server that dies and comes back.
struct Mortal {
    dir: tempfile::TempDir,
    arguments: Vec<&'static str>,
    server: Option<Process>,
}

impl Mortal {
    fn new(arguments: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut this = Self {
            dir,
            arguments: arguments.to_vec(),
            server: None,
        };
        this.start();
        this
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn start(&mut self) {
        self.server = Some(Process::start(&self.data(), &self.arguments));
    }

    fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
    }

    /// `kill -9`, and a new server over what is left.
    fn reborn(&mut self) {
        self.kill();
        self.start();
    }

    /// That no record had to be made anew: what holds, holds by the state store.
    fn lost_no_record(&mut self) {
        let log = self.log();
        assert!(!log.contains("RECORD"), "{log}");
    }

    fn log(&mut self) -> String {
        self.server.as_mut().expect("it runs").log().join("\n")
    }
}

impl std::ops::Deref for Mortal {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.server.as_ref().expect("it runs")
    }
}

async fn declared(client: &Client) -> String {
    let reply = client
        .tus("POST", "/files/")
        .header("Upload-Defer-Length", 1);
    let reply = reply.send().await;
    assert_eq!(reply.status, 201);
    reply.location_path()
}

#[tokio::test]
async fn invariant_1_what_was_acknowledged_last_holds() {
    for durability in ["process", "complete", "every"] {
        let mut server = Mortal::new(&["--durability", durability]);
        let data = bytes(1, 1000);
        // Nothing follows an acknowledgement but the kill: nothing later can have carried it to the disk.
        let post = server.tus("POST", "/files/");
        let post = post
            .header("Upload-Length", 1000)
            .header("Upload-Metadata", "filename eA==");
        let path = post.send().await.location_path();
        server.reborn();
        let head = server.head(&path).await;
        server.lost_no_record();
        let told =
            ["Upload-Offset", "Upload-Length", "Upload-Metadata"].map(|name| head.header(name));
        assert_eq!(told, [Some("0"), Some("1000"), Some("filename eA==")]);

        let sent = server.patch(&path, 0, &data[..400]).send().await;
        assert_eq!(sent.status, 204);
        server.reborn();
        assert_eq!(server.offset(&path).await, 400);
        let sent = server.patch(&path, 400, &data[400..]).send().await;
        assert_eq!(sent.status, 204);
        server.reborn();
        same(&server.get(&path).await.body, &data);

        let deferred = [declared(&server).await, declared(&server).await];
        let sent = server.patch(&deferred[0], 0, &data[..10]);
        assert_eq!(sent.header("Upload-Length", 20).send().await.status, 204);
        let sent = server
            .patch(&deferred[1], 0, "")
            .header("Upload-Length", 30);
        assert_eq!(sent.send().await.status, 204);
        server.reborn();
        for (path, offset, length) in [(&deferred[0], "10", "20"), (&deferred[1], "0", "30")] {
            let head = server.head(path).await;
            let told = ["Upload-Offset", "Upload-Length", "Upload-Defer-Length"];
            let told = told.map(|name| head.header(name));
            assert_eq!(told, [Some(offset), Some(length), None]);
        }

        let with_body = server.tus("POST", "/files/").header("Upload-Length", 1000);
        let with_body = with_body.header("Content-Type", "application/offset+octet-stream");
        let with_body = with_body
            .body(data[..300].to_vec())
            .send()
            .await
            .location_path();
        server.reborn();
        assert_eq!(server.offset(&with_body).await, 300);

        for gone in [&deferred[1], &with_body, &path] {
            assert_eq!(server.delete(gone).await.status, 204);
            server.reborn();
            let refused = server.patch(gone, 0, "x").send().await;
            assert_eq!((server.head(gone).await.status, refused.status), (404, 404));
            until("its files are gone", || async {
                !stored_files(&server.data())
                    .iter()
                    .any(|file| file.contains(id(gone)))
            })
            .await;
        }
    }
}

#[tokio::test]
async fn invariant_1_a_join_that_was_acknowledged_holds() {
    for arguments in [
        PROCESS,
        &[],
        &["--durability", "process", "--assemble", "off"],
    ] {
        let mut server = Mortal::new(arguments);
        let (a, b) = (bytes(2, 70_000), bytes(3, 30_000));
        let parts = [server.part(&a).await, server.part(&b).await];
        let joined = server.join(&parts).await;
        let path = joined.location_path();
        server.reborn();
        let head = server.head(&path).await;
        assert_eq!(
            (joined.status, head.number("Upload-Offset")),
            (201, Some(100_000))
        );
        let named = format!("final;{} {}", parts[0], parts[1]);
        assert_eq!(head.header("Upload-Concat"), Some(named.as_str()));
        same(&server.get(&path).await.body, &[a.clone(), b].concat());

        // One that waits, for a part that is not begun.
        let last = server.partial(50_000).await;
        let waiting = server
            .join(&[parts[0].clone(), last.clone()])
            .await
            .location_path();
        server.reborn();
        let head = server.head(&waiting).await;
        assert_eq!((head.status, head.number("Upload-Offset")), (200, None));
        assert_eq!(server.get(&waiting).await.status, 409);
        let c = bytes(4, 50_000);
        assert_eq!(server.patch(&last, 0, &c[..]).send().await.status, 204);
        server.reborn();
        assert_eq!(server.offset(&waiting).await, 120_000);
        same(&server.get(&waiting).await.body, &[a, c].concat());
    }
}

/// Sends pieces until the connection breaks or all are out.
async fn pour(mut conn: Conn, data: Vec<u8>, chunked: bool) {
    use tokio::io::AsyncWriteExt;
    for piece in data.chunks(64 << 10) {
        let mut out = Vec::with_capacity(piece.len() + 16);
        if chunked {
            out.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        }
        out.extend_from_slice(piece);
        if chunked {
            out.extend_from_slice(b"\r\n");
        }
        if conn.stream.write_all(&out).await.is_err() {
            return;
        }
    }
    // The last byte never comes; the connection stays open until it is reset.
    let _ = conn.try_reply("PATCH").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_1_a_plain_patch_cut_by_the_servers_death_keeps_what_was_told() {
    const LENGTH: usize = 32 << 20;
    let data = bytes(7, LENGTH);
    let mut server = Mortal::new(PROCESS);
    let path = server.create(LENGTH as u64).await;
    let mut from = 0;
    for (round, chunked) in [(1u64, false), (2, true), (3, false)] {
        let file = file_of(&server.data(), &path);
        let goal = round * (8 << 20);
        let mut conn = server.connect().await;
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", LENGTH - from)
        };
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {from}\r\n\
             Content-Type: application/offset+octet-stream\r\n{framing}\r\n\r\n"
        );
        conn.send(head.as_bytes()).await;
        let pouring = tokio::spawn(pour(conn, data[from..LENGTH - 1].to_vec(), chunked));
        // What HEAD tells, and of a chunked body what is on the disk, while it runs on.
        let mut told = 0;
        while told < goal {
            let now = server.offset(&path).await;
            assert!(now >= told || chunked);
            told = if chunked { len_of(&file) } else { now };
        }
        server.kill();
        pouring.await.unwrap();
        server.start();
        let offset = server.offset(&path).await;
        println!("round {round}: told {told}, after the crash {offset}");
        assert!(offset >= told, "{offset} < {told}");
        from = usize::try_from(offset).unwrap();
        same(&std::fs::read(&file).unwrap(), &data[..from]);
    }
    let rest = server.patch(&path, from as u64, &data[from..]).send().await;
    assert_eq!(rest.status, 204);
    same(&server.get(&path).await.body, &data);
}

#[tokio::test]
async fn invariant_3_a_checked_patch_cut_by_the_servers_death_keeps_nothing() {
    for durability in ["process", "complete"] {
        let mut server = Mortal::new(&["--durability", durability]);
        let data = bytes(8, 50_000);
        let sum = |range: std::ops::Range<usize>| checksum(Algorithm::Sha256, &data[range]);
        for before in [0, 1000] {
            let path = server.create(50_000).await;
            if before > 0 {
                let first = server.patch(&path, 0, &data[..before]).send().await;
                assert_eq!(first.status, 204);
            }
            let file = file_of(&server.data(), &path);
            let checked = format!(
                "Content-Length: {}\r\nUpload-Checksum: {}",
                50_000 - before,
                sum(before..50_000)
            );
            let announced = "Transfer-Encoding: chunked\r\nTrailer: Upload-Checksum";
            for headers in [checked.as_str(), announced] {
                let part = &data[before..before + 20_000];
                let _conn = server
                    .hang_untold(&server.data(), &path, headers, part)
                    .await;
                server.reborn();
                assert_eq!(server.offset(&path).await, before as u64, "{headers}");
                assert_eq!(len_of(&file), before as u64, "{headers}");
            }
            // A retry works, and once it is acknowledged it stays.
            let at = before as u64;
            let retry = server.patch(&path, at, &data[before..30_000]);
            let retry = retry.header("Upload-Checksum", sum(before..30_000));
            assert_eq!(retry.send().await.status, 204);
            server.reborn();
            assert_eq!(server.offset(&path).await, 30_000);
            let trailed = server.patch(&path, 30_000, &data[30_000..40_000]);
            let trailed = trailed.header("Trailer", "Upload-Checksum");
            let trailed = trailed.trailer("Upload-Checksum", sum(30_000..40_000));
            assert_eq!(trailed.send().await.status, 204);
            // Plain bytes that follow checked ones count as they are told.
            let _conn = server
                .hang(&path, 40_000, 10_000, &data[40_000..45_000])
                .await;
            server.reborn();
            assert_eq!(server.offset(&path).await, 45_000);
            let rest = server.patch(&path, 45_000, &data[45_000..]).send().await;
            assert_eq!(rest.status, 204);
            same(&server.get(&path).await.body, &data);
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let mut server = Mortal::new(&[]);
    let path = server.create(10).await;
    let mut second = Command::new(env!("CARGO_BIN_EXE_highwater"));
    second
        .args(["--port", "0", "--upload-dir"])
        .arg(server.data());
    let refused = second.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let errors: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(
        errors.len() == 1 && errors[0].contains("in use by another process"),
        "{said}"
    );
    // The first one is not disturbed.
    assert_eq!(
        server.patch(&path, 0, "0123456789").send().await.status,
        204
    );
    server.reborn();
    same(&server.get(&path).await.body, b"0123456789");
}
