//! Invariant 6: memory an open upload is a constant.

use std::time::Duration;

use crate::support::{Conn, Process};

/// Opens `count` uploads and lets them hang after `sent` bytes; what each costs.
async fn hung(server: &Process, count: u64, sent: &[u8]) -> (u64, Vec<Conn>) {
    let before = server.memory();
    let mut open = Vec::new();
    for _ in 0..count {
        let path = server.create(256 << 20).await;
        open.push(server.hang(&path, 0, 256 << 20, sent).await);
    }
    (server.memory().saturating_sub(before) / count, open)
}

/// The bounds are the design's, the measuring is generous.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_6_an_open_upload_costs_a_constant() {
    const BUSY: u64 = 16;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Process::start(&data, &["--network-timeout", "0"]);
    let piece = vec![7; 256 << 10];
    // Warm: what the first uploads of a process cost is not a matter of each.
    let _warm = hung(&server, 50, &piece).await;
    let (idle, _open) = hung(&server, 200, b"x").await;
    println!("an idle open upload: {} KiB", idle >> 10);
    assert!(idle < 64 << 10, "{idle} bytes for each idle upload");
    // One that was fast and stands still keeps the buffer that it was read through.
    let (stalled, _open) = hung(&server, 100, &piece).await;
    println!("a stalled upload: {} KiB", stalled >> 10);
    assert!(
        stalled < 512 << 10,
        "{stalled} bytes for each stalled upload"
    );
    // Between two PATCHes.
    let before = server.memory();
    for _ in 0..200 {
        let path = server.create(256 << 20).await;
        assert_eq!(server.patch(&path, 0, &piece[..]).send().await.status, 204);
    }
    let resting = server.memory().saturating_sub(before) / 200;
    println!("an upload between two PATCHes: {} KiB", resting >> 10);
    assert!(
        resting < 64 << 10,
        "{resting} bytes for each resting upload"
    );

    // Each busy one is far larger than what it may cost.
    let before = server.memory();
    let busy: Vec<_> = (0..BUSY)
        .map(|_| {
            let (client, piece) = (*server, piece.clone());
            tokio::spawn(async move {
                let size = 24 << 20;
                let path = client.create(size).await;
                let mut conn = client.connect().await;
                conn.begin_patch(&path, 0, size).await;
                for _ in 0..size / piece.len() as u64 {
                    conn.send(&piece).await;
                }
                assert_eq!(conn.reply().await.status, 204);
            })
        })
        .collect();
    let mut most = before;
    while !busy.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(server.memory());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for upload in busy {
        upload.await.unwrap();
    }
    let grown = most.saturating_sub(before) / BUSY;
    println!("a busy upload: {} KiB", grown >> 10);
    // A read buffer of hyper's (408 KiB) being filled, one on its way, one being written: on a busy machine all three. What
    // an upload costs on a quiet one is measured by the benchmark (0.7 MiB); here it must not grow with the upload.
    assert!(grown < 2 << 20, "{grown} bytes for each busy upload");
}
