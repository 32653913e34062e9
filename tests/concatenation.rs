//! Concatenation: parts by every kind of reference, finished or not, joined without a copy, assembled in the background.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Server, bytes, file_of, id, start, start_with, until};

fn file(server: &Server, path: &str) -> PathBuf {
    file_of(&server.data(), path)
}

async fn assembled(server: &Server, path: &str) {
    until("the final is one file", || async {
        file(server, path).exists()
            && !server
                .stored_files()
                .iter()
                .any(|f| f.starts_with("segments/") && f.contains(id(path)))
    })
    .await;
}

#[tokio::test]
async fn parts_become_one_upload() {
    let server = start().await;
    let (a, b) = (bytes(1, 70_000), bytes(2, 30_000));
    let parts = [server.part(&a).await, server.part(&b).await];
    assert_eq!(
        server.head(&parts[0]).await.header("Upload-Concat"),
        Some("partial")
    );
    let whole = [a, b].concat();
    let absolute = |path: &str| format!("http://{}{path}", server.addr);
    for named in [
        parts.clone(),
        parts.clone().map(|path| absolute(&path)),
        parts.clone().map(|path| id(&path).to_owned()),
        parts.clone().map(|path| format!("./{}", id(&path))),
    ] {
        let concat = format!("final;{}", named.join(" "));
        let reply = server
            .tus("POST", "/files/")
            .header("Upload-Concat", &concat)
            .header("Upload-Metadata", "filename eA==")
            .send()
            .await;
        assert_eq!(
            (reply.status, reply.number("Upload-Offset")),
            (201, Some(100_000)),
            "{concat} {reply:?}"
        );
        let path = reply.location_path();
        let head = server.head(&path).await;
        assert_eq!(
            (head.number("Upload-Offset"), head.number("Upload-Length")),
            (Some(100_000), Some(100_000))
        );
        assert_eq!(head.header("Upload-Concat"), Some(concat.as_str()));
        assert_eq!(head.header("Upload-Metadata"), Some("filename eA=="));
        assert_eq!(server.get(&path).await.body, whole);
        let refused = server.patch(&path, 100_000, "").send().await;
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (403, "final-is-fixed")
        );
        assembled(&server, &path).await;
        assert_eq!(std::fs::read(file(&server, &path)).unwrap(), whole);
        assert_eq!(server.get(&path).await.body, whole);
    }
}

#[tokio::test]
async fn a_part_twice_in_two_finals_and_parts_of_no_bytes() {
    let server = start().await;
    let data = bytes(3, 1000);
    let (part, empty) = (server.part(&data).await, server.part(b"").await);
    let first = server
        .join(&[part.clone(), empty.clone(), part.clone()])
        .await
        .location_path();
    let second = server
        .join(std::slice::from_ref(&part))
        .await
        .location_path();
    let nothing = server
        .join(&[empty.clone(), empty.clone()])
        .await
        .location_path();
    for (path, want) in [
        (&first, [data.clone(), data.clone()].concat()),
        (&second, data.clone()),
        (&nothing, Vec::new()),
    ] {
        assert_eq!(server.get(path).await.body, want);
        until("assembled", || async { file(&server, path).exists() }).await;
        assert_eq!(server.get(path).await.body, want);
    }
    // Parts stay usable, and finals do not need them.
    assert_eq!(server.head(&part).await.number("Upload-Offset"), Some(1000));
    assert_eq!(server.delete(&first).await.status, 204);
    assert_eq!(server.join(std::slice::from_ref(&part)).await.status, 201);
    assert_eq!(server.delete(&part).await.status, 204);
    assert_eq!(server.get(&second).await.body, data);
}

#[tokio::test]
async fn disk_use_returns_to_once() {
    let server = start().await;
    let parts = [
        server.part(&bytes(4, 2 << 20)).await,
        server.part(&bytes(5, 2 << 20)).await,
    ];
    let whole = server.join(&parts).await.location_path();
    assembled(&server, &whole).await;
    // The parts' own files are gone: their bytes are read in the final's.
    until("the parts' files go", || async {
        parts.iter().all(|part| !file(&server, part).exists())
    })
    .await;
    assert_eq!(server.get(&parts[1]).await.body, bytes(5, 2 << 20));
    assert_eq!(server.delete(&whole).await.status, 204);
    assert_eq!(
        server.get(&parts[0]).await.body,
        bytes(4, 2 << 20),
        "a part outlives the final that holds its bytes"
    );
    for part in &parts {
        assert_eq!(server.delete(part).await.status, 204);
    }
    server.nothing_is_left().await;
}

#[tokio::test]
async fn bad_parts_are_refused_and_nothing_is_created() {
    let server = start_with(|config| config.max_size = 1000).await;
    let part = server.part(&bytes(6, 600)).await;
    let plain = server.create(1).await;
    let gone = server.part(b"x").await;
    assert_eq!(server.delete(&gone).await.status, 204);
    let before = server.stored_files();
    let foreign = format!("http://elsewhere.example{part}");
    for (parts, status, code) in [
        (vec![part.clone(), plain], 400, "bad-part"),
        (vec![part.clone(), gone], 400, "bad-part"),
        (vec!["/files/unknown".into()], 400, "bad-part"),
        (vec![foreign], 400, "bad-part"),
        (vec!["/files/../../etc/passwd".into()], 400, "bad-part"),
        (vec!["/files/%2e%2e%2fx".into()], 400, "bad-part"),
        (vec![part.clone(), part.clone()], 413, "too-large"),
        (vec![], 400, "bad-header"),
    ] {
        let reply = server.join(&parts).await;
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (status, code),
            "{parts:?}"
        );
    }
    let final_of = format!("final;{part}");
    let length = server
        .tus("POST", "/files/")
        .header("Upload-Concat", &final_of)
        .header("Upload-Length", 600)
        .send()
        .await;
    assert_eq!((length.status, length.code.as_str()), (400, "bad-header"));
    let nested = server
        .join(std::slice::from_ref(&part))
        .await
        .location_path();
    assembled(&server, &nested).await;
    let reply = server.join(std::slice::from_ref(&nested)).await;
    assert_eq!(
        (reply.status, reply.code.as_str()),
        (400, "bad-part"),
        "a final is no part"
    );
    assert_eq!(server.delete(&nested).await.status, 204);
    let count = |files: &[String]| files.iter().filter(|f| f.starts_with("info/")).count();
    assert_eq!(count(&server.stored_files()), count(&before));
}

#[tokio::test]
async fn a_final_waits_for_its_parts() {
    let server = start().await;
    let (a, b) = (server.partial(10).await, server.partial(5).await);
    let reply = server.join(&[a.clone(), b.clone()]).await;
    assert_eq!((reply.status, reply.header("Upload-Offset")), (201, None));
    let path = reply.location_path();
    let head = server.head(&path).await;
    assert_eq!(
        (
            head.status,
            head.header("Upload-Offset"),
            head.number("Upload-Length")
        ),
        (200, None, Some(15))
    );
    assert_eq!(server.get(&path).await.code, "not-finished");
    assert_eq!(server.patch(&path, 0, "x").send().await.status, 403);
    assert_eq!(server.patch(&b, 0, "world").send().await.status, 204);
    assert_eq!(server.patch(&a, 0, "hello").send().await.status, 204);
    assert_eq!(server.get(&path).await.code, "not-finished");
    assert_eq!(server.patch(&a, 5, "+++++").send().await.status, 204);
    let head = server.head(&path).await;
    assert_eq!(
        (head.number("Upload-Offset"), head.number("Upload-Length")),
        (Some(15), Some(15))
    );
    assert_eq!(server.get(&path).await.body, b"hello+++++world");
}

#[tokio::test]
async fn a_waiting_final_survives_a_restart_and_fails_when_a_part_goes() {
    let mut server = start().await;
    let (a, b) = (server.partial(4).await, server.partial(4).await);
    let first = server.join(&[a.clone(), b.clone()]).await.location_path();
    let second = server.join(&[b.clone(), b.clone()]).await.location_path();
    server.restart().await;
    assert_eq!(server.patch(&b, 0, "bbbb").send().await.status, 204);
    assert_eq!(server.get(&second).await.body, b"bbbbbbbb");
    assert_eq!(server.delete(&a).await.status, 204);
    let head = server.tus("GET", &first).send().await;
    assert_eq!((head.status, head.code.as_str()), (410, "part-gone"));
    assert_eq!(server.get(&second).await.body, b"bbbbbbbb");
}

/// Whichever part goes, and whichever of the others are not complete yet: bytes for them would be sent in vain.
#[tokio::test]
async fn a_waiting_final_fails_as_soon_as_a_part_goes() {
    let server = start().await;
    for gone in 0..3 {
        let mut parts = Vec::new();
        for _ in 0..3 {
            parts.push(server.partial(4).await);
        }
        let path = server.join(&parts).await.location_path();
        assert_eq!(server.delete(&parts[gone]).await.status, 204);
        let got = server.get(&path).await;
        assert_eq!(
            (got.status, got.code.as_str()),
            (410, "part-gone"),
            "{gone}"
        );
    }
}

#[tokio::test]
async fn a_waiting_final_that_turns_out_too_large_fails() {
    let server = start_with(|config| config.max_size = 10).await;
    let open = server
        .tus("POST", "/files/")
        .header("Upload-Defer-Length", 1)
        .header("Upload-Concat", "partial");
    let part = open.send().await.location_path();
    let path = server
        .join(&[part.clone(), part.clone()])
        .await
        .location_path();
    assert_eq!(
        server
            .patch(&part, 0, "123456")
            .header("Upload-Length", 6)
            .send()
            .await
            .status,
        204
    );
    let head = server.get(&path).await;
    assert_eq!((head.status, head.code.as_str()), (410, "parts-too-large"));
}

#[tokio::test]
async fn parts_may_go_when_joined() {
    let server = start_with(|config| config.keep_partials = false).await;
    let parts = [server.part(b"one ").await, server.part(b"two").await];
    let path = server.join(&parts).await.location_path();
    for part in &parts {
        until("the part goes", || async {
            server.head(part).await.status == 404
        })
        .await;
    }
    assert_eq!(server.get(&path).await.body, b"one two");
}

#[tokio::test]
async fn without_assembly_the_segments_stay() {
    let mut server = start_with(|config| config.assemble = false).await;
    let data = bytes(8, 300_000);
    let parts = [
        server.part(&data[..100_000]).await,
        server.part(&data[100_000..]).await,
    ];
    let path = server.join(&parts).await.location_path();
    for part in &parts {
        assert_eq!(server.delete(part).await.status, 204);
    }
    server.restart().await;
    assert_eq!(server.get(&path).await.body, data);
    let range = server
        .request("GET", &path)
        .header("Range", "bytes=99999-100000")
        .send()
        .await;
    assert_eq!(
        (range.status, range.body.as_slice()),
        (206, &data[99_999..=100_000])
    );
    assert!(!file(&server, &path).exists());
    assert_eq!(server.delete(&path).await.status, 204);
    assert_eq!(server.stored_files(), [""; 0]);
}

/// Joining answers at once, whatever the size: nothing is copied before the answer.
#[tokio::test]
async fn a_join_copies_nothing() {
    let server = start_with(|config| {
        config.durability = highwater::config::Durability::Process;
        config.max_size = 0;
    })
    .await;
    let part = server.part(&bytes(9, 16 << 20)).await;
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = std::time::Instant::now();
        let reply = server.join(&vec![part.clone(); 100]).await;
        best = best.min(begun.elapsed());
        let path = reply.location_path();
        assert_eq!(
            server.head(&path).await.number("Upload-Offset"),
            Some(1600 << 20)
        );
        assert_eq!(server.delete(&path).await.status, 204);
    }
    // A copy of 1.6 GiB takes a second and more.
    assert!(best < Duration::from_millis(200), "{best:?}");
}

#[tokio::test]
async fn a_thousand_absolute_urls_fit_in_a_head() {
    let server = start().await;
    let part = format!("http://{}{}", server.addr, server.part(b"0123456789").await);
    let reply = server.join(&vec![part; 1000]).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(server.get(&reply.location_path()).await.body.len(), 10_000);
    let part = server.part(b"x").await;
    let short = id(&part).to_owned();
    let reply = server.join(&vec![short.clone(); 10_000]).await;
    assert_eq!(reply.status, 201, "{}", reply.code);
    let reply = server.join(&vec![short; 10_001]).await;
    assert_eq!((reply.status, reply.code.as_str()), (400, "too-many-parts"));
}
