//! Those who take their time with what they are sent. (Those who take it with what they send: `survival::slow`.)

use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::support::{Process, bytes, until};

/// Descriptors that the process has open.
fn open_files(process: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{process}/fd"));
    open.expect("the process is there").count()
}

/// A download that nobody reads holds a connection and a file, and no longer than a silence may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_that_nobody_reads_are_ended() {
    const READERS: usize = 50;
    let dir = tempfile::tempdir().expect("a directory");
    let server = Process::start(dir.path(), &["--network-timeout", "1s"]);
    let client = *server;
    // More than the sockets' buffers take.
    let path = client.whole(&bytes(1, 16 << 20)).await;
    let before = open_files(server.pid());
    let memory = server.memory();
    let mut silent = Vec::new();
    for _ in 0..READERS {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let mut stream = socket.connect(client.addr).await.expect("a connection");
        let get = format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n");
        stream.write_all(get.as_bytes()).await.expect("it is sent");
        silent.push(stream);
    }
    until("all are served", || async {
        open_files(server.pid()) >= before + READERS
    })
    .await;
    let more = server.memory().saturating_sub(memory);
    assert!(more < (READERS as u64) << 20, "{more} bytes");
    until("none is any more", || async {
        open_files(server.pid()) <= before + 2
    })
    .await;
    // One who reads is served all along, and whole.
    assert_eq!(client.get(&path).await.body.len(), 16 << 20);
    drop(silent);
}
