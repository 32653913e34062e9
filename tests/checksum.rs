//! Checksums, in the head and in a trailer: a mismatch, or a cut, keeps nothing, and a retry works.

use crate::support::{Server, bytes, checksum as sum, file_of, len_of, start, until};
use highwater::protocol::checksum::Algorithm;

#[tokio::test]
async fn every_algorithm_in_the_head_and_in_a_trailer() {
    let server = start().await;
    let data = bytes(5, 100_000);
    for algorithm in Algorithm::ALL {
        let path = server.create(200_000).await;
        let right = sum(algorithm, &data);
        let wrong = sum(algorithm, &data[1..]);
        let head = |sum: &str| {
            server
                .patch(&path, 0, data.clone())
                .header("Upload-Checksum", sum)
        };
        let trailer = |at: u64, sum: &str| {
            server
                .patch(&path, at, data.clone())
                .header("Trailer", "Upload-Checksum")
                .trailer("Upload-Checksum", sum)
        };
        for request in [head(&wrong), head(&wrong).chunked(), trailer(0, &wrong)] {
            let reply = request.send().await;
            assert_eq!(
                (reply.status, reply.code.as_str()),
                (460, "checksum-mismatch"),
                "{right}"
            );
            assert_eq!(server.offset(&path).await, 0);
        }
        assert_eq!(
            head(&right).send().await.number("Upload-Offset"),
            Some(100_000),
            "{right}"
        );
        assert_eq!(trailer(100_000, &wrong).send().await.status, 460);
        assert_eq!(
            trailer(100_000, &right)
                .send()
                .await
                .number("Upload-Offset"),
            Some(200_000),
            "{right}"
        );
        assert_eq!(
            server.get(&path).await.body,
            [data.clone(), data.clone()].concat()
        );
    }
}

#[tokio::test]
async fn bad_sums_are_refused_before_the_body_is_read() {
    let server = start().await;
    let path = server.create(10).await;
    for (value, code) in [
        ("crc7 AAAA", "unknown-algorithm"),
        ("sha1", "bad-header"),
        ("sha1 ", "bad-header"),
        ("sha1 !!!!", "bad-header"),
        ("sha1 AAAA", "bad-header"),
        ("", "bad-header"),
    ] {
        let mut conn = server.connect().await;
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nExpect: 100-continue\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: 10\r\nUpload-Checksum: {value}\r\n\r\n"
        );
        conn.send(head.as_bytes()).await;
        let reply = conn.reply().await;
        assert_eq!((reply.status, reply.code.as_str()), (400, code), "{value}");
    }
    assert_eq!(server.offset(&path).await, 0);
    let unknown = server
        .patch(&path, 0, "0123456789")
        .trailer("Upload-Checksum", "crc7 AAAA")
        .send()
        .await;
    assert_eq!(
        (unknown.status, unknown.code.as_str()),
        (400, "unknown-algorithm")
    );
    assert_eq!(server.offset(&path).await, 0);
    assert_eq!(
        server.patch(&path, 0, "0123456789").send().await.status,
        204
    );
}

#[tokio::test]
async fn a_trailer_counts_whether_announced_or_not_and_an_announced_one_must_come() {
    let server = start().await;
    let data = bytes(6, 3000);
    let path = server.create(3000).await;
    let wrong = sum(Algorithm::Sha256, b"other");
    assert_eq!(
        server
            .patch(&path, 0, data.clone())
            .trailer("Upload-Checksum", &wrong)
            .send()
            .await
            .status,
        460
    );
    let none = server
        .patch(&path, 0, data.clone())
        .header("Trailer", "upload-checksum")
        .chunked()
        .send()
        .await;
    assert_eq!((none.status, none.code.as_str()), (400, "bad-header"));
    assert_eq!(server.offset(&path).await, 0);
    let right = sum(Algorithm::Sha256, &data);
    assert_eq!(
        server
            .patch(&path, 0, data.clone())
            .trailer("Upload-Checksum", &right)
            .send()
            .await
            .status,
        204
    );
    assert_eq!(server.get(&path).await.body, data);
}

#[tokio::test]
async fn of_an_empty_body() {
    let server = start().await;
    let path = server.create(4).await;
    let right = sum(Algorithm::Md5, b"");
    assert_eq!(
        server
            .patch(&path, 0, "")
            .header("Upload-Checksum", &right)
            .send()
            .await
            .status,
        204
    );
    let wrong = sum(Algorithm::Md5, b"x");
    assert_eq!(
        server
            .patch(&path, 0, "")
            .header("Upload-Checksum", &wrong)
            .send()
            .await
            .status,
        460
    );
}

/// Sends the head of a checked PATCH and half of its body, and goes away.
async fn cut(server: &Server, path: &str, offset: u64, head: &str) {
    let mut conn = server.connect().await;
    let request = format!(
        "PATCH {path} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
         Content-Type: application/offset+octet-stream\r\n{head}\r\n\r\n"
    );
    conn.send(request.as_bytes()).await;
    conn.send(b"3e8\r\n").await;
    conn.send(&[7; 1000]).await;
    conn.send(b"\r\n").await;
    let file = file_of(&server.data(), path);
    until("the bytes are on the disk", || async {
        len_of(&file) > offset
    })
    .await;
    assert_eq!(
        server.offset(path).await,
        offset,
        "nothing of it is told while it runs"
    );
}

#[tokio::test]
async fn invariant_3_a_cut_body_under_a_checksum_keeps_nothing() {
    let server = start().await;
    let path = server.create(5000).await;
    assert_eq!(
        server.patch(&path, 0, vec![1; 100]).send().await.status,
        204
    );
    let checked = format!(
        "Transfer-Encoding: chunked\r\nUpload-Checksum: {}",
        sum(Algorithm::Sha1, b"?")
    );
    let announced = "Transfer-Encoding: chunked\r\nTrailer: Upload-Checksum";
    for head in [checked.as_str(), announced] {
        cut(&server, &path, 100, head).await;
        until("the cut is noticed and undone", || async {
            len_of(&file_of(&server.data(), &path)) == 100
        })
        .await;
        assert_eq!(server.offset(&path).await, 100);
    }
    // Without a checksum in sight the same cut keeps what arrived.
    cut(&server, &path, 100, "Transfer-Encoding: chunked").await;
    until("the cut is noticed", || async {
        server.offset(&path).await == 1100
    })
    .await;
    let rest = vec![9; 3900];
    let reply = server
        .patch(&path, 1100, rest.clone())
        .header("Upload-Checksum", sum(Algorithm::Sha1, &rest))
        .send()
        .await;
    assert_eq!(reply.number("Upload-Offset"), Some(5000));
    assert_eq!(
        server.get(&path).await.body,
        [vec![1; 100], vec![7; 1000], rest].concat()
    );
}

#[tokio::test]
async fn of_a_creation_without_bytes() {
    let server = start().await;
    let stream = "application/offset+octet-stream";
    let post = || server.tus("POST", "/files/").header("Upload-Length", 4);
    for (request, status, code) in [
        (
            post().header("Upload-Checksum", "foo bar"),
            400,
            "unknown-algorithm",
        ),
        (
            post()
                .header("Content-Type", stream)
                .header("Upload-Checksum", sum(Algorithm::Md5, b"x"))
                .body(""),
            460,
            "checksum-mismatch",
        ),
        (
            post()
                .header("Content-Type", stream)
                .header("Upload-Checksum", sum(Algorithm::Md5, b""))
                .body(""),
            201,
            "",
        ),
    ] {
        let reply = request.send().await;
        assert_eq!((reply.status, reply.code.as_str()), (status, code));
    }
    let kept = server.stored_files();
    assert_eq!(kept.len(), 1, "a refused creation leaves nothing: {kept:?}");
}
