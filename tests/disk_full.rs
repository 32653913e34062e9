//! A full disk: what fits is kept, nothing else suffers, and all goes on once there is space.

use std::os::unix::fs::MetadataExt;

use crate::support::disk::Disk;
use crate::support::{Process, bytes, file_of, stored_files, until};

const MIB: usize = 1 << 20;

/// What fits of a PATCH is kept and told, others are not harmed, and with space all goes on.
async fn what_fits_is_kept(disk: &Disk) {
    let data = disk.path().join("data");
    let mut server = Process::start(&data, &[]);
    let ballast = server.whole(&bytes(1, 8 * MIB)).await;
    let other = server.create(2 * MIB as u64).await;
    let mut in_hand = server.hang(&other, 0, 2 * MIB as u64, &bytes(2, MIB)).await;
    let filler = disk.fill_but(3 * MIB as u64);

    let body = bytes(3, 8 * MIB);
    let path = server.create(body.len() as u64).await;
    let refused = server.patch(&path, 0, &body[..]).send().await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (507, "out-of-space"),
        "{refused:?}"
    );
    let line = server.wait_for_line("out-of-space");
    assert!(line.contains("WARN") && line.contains(&path), "{line}");
    let offset = refused.number("Upload-Offset").expect("an offset");
    let kept = usize::try_from(offset).expect("a size");
    assert!((MIB..body.len()).contains(&kept), "{kept} bytes kept");
    assert_eq!(server.offset(&path).await, offset);
    let stored = std::fs::read(file_of(&data, &path)).expect("its file");
    assert!(stored[..] == body[..kept], "the kept bytes");
    // Once more, with nothing that fits: the offset stands.
    let again = server.patch(&path, offset, &body[kept..]).send().await;
    assert_eq!(again.status, 507, "{again:?}");
    let offset = again.number("Upload-Offset").expect("an offset");
    let kept = usize::try_from(offset).expect("a size");
    assert_eq!(server.offset(&path).await, offset);
    // The others are as they were.
    assert_eq!(server.offset(&other).await, MIB as u64);
    assert!(server.get(&ballast).await.body == bytes(1, 8 * MIB));

    assert_eq!(server.delete(&ballast).await.status, 204);
    assert_eq!(server.head(&ballast).await.status, 404);
    in_hand.send(&bytes(2, 2 * MIB)[MIB..]).await;
    assert_eq!(in_hand.reply().await.status, 204);
    let rest = server.patch(&path, offset, &body[kept..]).send().await;
    assert_eq!(rest.status, 204, "{rest:?}");
    assert!(server.get(&path).await.body == body, "the bytes");
    assert!(server.get(&other).await.body == bytes(2, 2 * MIB));
    drop(filler);
}

#[tokio::test]
async fn what_fits_on_ext4_is_kept_and_the_rest_comes_later() {
    what_fits_is_kept(&Disk::ext4(48)).await;
}

#[tokio::test]
async fn what_fits_on_tmpfs_is_kept_and_the_rest_comes_later() {
    what_fits_is_kept(&Disk::tmpfs(48)).await;
}

#[tokio::test]
async fn a_creation_without_space_leaves_nothing() {
    let disk = Disk::ext4(32);
    let data = disk.path().join("data");
    let mut server = Process::start(&data, &[]);
    let before = server.create(MIB as u64).await;
    let files = stored_files(&data);
    let filler = disk.fill_but(0);
    for _ in 0..1000 {
        let refused = server
            .tus("POST", "/files/")
            .header("Upload-Length", 5)
            .header("Upload-Metadata", "filename aGVsbG8=")
            .send()
            .await;
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (507, "out-of-space"),
            "{refused:?}"
        );
        assert!(refused.header("Location").is_none());
    }
    assert_eq!(stored_files(&data), files);
    assert_eq!(server.offset(&before).await, 0);
    drop(filler);
    server.whole(b"hello").await;
    assert!(server.terminate().0);
    let server = Process::start(&data, &[]);
    assert_eq!(server.offset(&before).await, 0);
    let (now, then) = (stored_files(&data).len(), files.len());
    assert_eq!(now, then + 2, "the new upload's two files and no other");
}

#[tokio::test]
async fn space_reserved_for_idle_uploads_is_given_back_to_those_who_need_it() {
    let disk = Disk::ext4(96);
    let data = disk.path().join("data");
    let server = Process::start(&data, &[]);
    let mut idle = Vec::new();
    for seed in 0..5 {
        let body = bytes(seed, 40 * MIB);
        let path = server.create(body.len() as u64).await;
        // A request reserves as much again as the upload has by its first write: from 4 MiB on 3.5 MiB are left of it, however
        // the network cuts the bytes. All of it is more than the upload below needs and what the state database keeps for
        // itself, 8 MiB, which it takes from that if the disk was full when it had to.
        let (kept, begun) = (4 * MIB, 4 * MIB + MIB / 2);
        let first = server.patch(&path, 0, &body[..kept]).send().await;
        assert_eq!(first.status, 204, "{first:?}");
        let left = (body.len() - kept) as u64;
        let conn = server
            .hang(&path, kept as u64, left, &body[kept..begun])
            .await;
        let meta = std::fs::metadata(file_of(&data, &path)).expect("its file");
        assert!(
            meta.blocks() * 512 > (begun + MIB) as u64,
            "{} are reserved",
            meta.blocks() * 512
        );
        idle.push((path, begun, conn));
    }
    let _filler = disk.fill_but(0);
    // Neither a sidecar nor its directory fits, unless something is given back.
    let path = server.create(5 * MIB as u64).await;
    let body = bytes(9, 5 * MIB);
    let reply = server.patch(&path, 0, &body[..]).send().await;
    assert_eq!(reply.status, 204, "{reply:?}");
    assert!(server.get(&path).await.body == body);
    for (path, begun, mut conn) in idle {
        assert_eq!(server.offset(&path).await, begun as u64);
        conn.send(b"more").await;
        until("what still fits is written", || async {
            server.offset(&path).await == begun as u64 + 4
        })
        .await;
    }
}

#[tokio::test]
async fn a_final_without_space_stays_a_list_until_there_is_some() {
    let disk = Disk::ext4(160);
    let data = disk.path().join("data");
    let mut server = Process::start(&data, &[]);
    let ballast = server.whole(&bytes(1, 16 * MIB)).await;
    let (first, second) = (bytes(2, 6 * MIB), bytes(3, 5 * MIB));
    let parts = [server.part(&first).await, server.part(&second).await];
    // 64 MiB are left to uploads, and not assembled into.
    let _filler = disk.fill_but(66 * MIB as u64);
    let joined = server.join(&parts).await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let path = joined.location_path();
    let body = [first, second].concat();
    server.wait_for_line("no space to assemble");
    assert!(server.get(&path).await.body == body, "read from its parts");
    assert!(!file_of(&data, &path).exists());
    assert_eq!(server.offset(&path).await, body.len() as u64);

    assert_eq!(server.delete(&ballast).await.status, 204);
    server.wait_for_line("upload assembled");
    assert!(std::fs::read(file_of(&data, &path)).expect("its file") == body);
    assert!(server.get(&path).await.body == body);
    assert!(server.get(&parts[1]).await.body == bytes(3, 5 * MIB));
    let warned = server
        .log()
        .iter()
        .filter(|line| line.contains("no space to assemble"));
    assert_eq!(warned.count(), 1);
}
