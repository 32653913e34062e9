//! GET: finished uploads only, ranges, conditions, and headers made of what a client said.

use crate::support::{Server, bytes, file_of, start, start_with};

async fn upload(server: &Server, metadata: &[(&str, &[u8])], data: &[u8]) -> String {
    let reply = server
        .tus("POST", "/files/")
        .header("Upload-Length", data.len())
        .described(metadata)
        .header("Content-Type", "application/offset+octet-stream")
        .body(data)
        .send()
        .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.location_path()
}

#[tokio::test]
async fn only_what_is_finished() {
    let server = start().await;
    let path = server.create(10).await;
    let reply = server.get(&path).await;
    assert_eq!((reply.status, reply.code.as_str()), (409, "not-finished"));
    assert_eq!(server.get("/files/nothing").await.status, 404);
    assert_eq!(server.get("/files/").await.status, 405);
    let closed = start_with(|config| config.disable_download = true).await;
    let path = upload(&closed, &[], b"x").await;
    let reply = closed.get(&path).await;
    assert_eq!(
        (reply.status, reply.header("Allow")),
        (405, Some("OPTIONS, HEAD, PATCH, DELETE"))
    );
}

#[tokio::test]
async fn ranges_and_conditions() {
    let server = start().await;
    let data = bytes(1, 1_000_000);
    let path = upload(&server, &[], &data).await;
    let whole = server.get(&path).await;
    assert_eq!(
        (whole.status, whole.number("Content-Length")),
        (200, Some(1_000_000))
    );
    assert_eq!(whole.header("Accept-Ranges"), Some("bytes"));
    assert!(whole.body == data);
    let etag = whole.header("ETag").unwrap().to_owned();
    let modified = whole.header("Last-Modified").unwrap().to_owned();
    for (range, want) in [
        ("bytes=0-0", 0..1),
        ("bytes=999999-", 999_999..1_000_000),
        ("bytes=-5", 999_995..1_000_000),
        ("bytes=300000-700000", 300_000..700_001),
        ("bytes=10-99999999", 10..1_000_000),
    ] {
        let reply = server
            .request("GET", &path)
            .header("Range", range)
            .send()
            .await;
        assert_eq!(reply.status, 206, "{range}");
        let told = format!("bytes {}-{}/1000000", want.start, want.end - 1);
        assert_eq!(reply.header("Content-Range"), Some(told.as_str()));
        assert!(reply.body == data[want], "{range}");
    }
    let reply = server
        .request("GET", &path)
        .header("Range", "bytes=1000000-")
        .send()
        .await;
    assert_eq!(
        (reply.status, reply.header("Content-Range")),
        (416, Some("bytes */1000000"))
    );
    let get = || server.request("GET", &path);
    for (request, status) in [
        (get().header("Range", "bytes=5-1"), 200),
        (get().header("Range", "lines=1-2"), 200),
        (get().header("If-None-Match", &etag), 304),
        (get().header("If-None-Match", "\"other\""), 200),
        (get().header("If-Modified-Since", &modified), 304),
        (get().header("If-Match", "\"other\""), 412),
        (get().header("If-Match", &etag), 200),
        (
            get().header("Range", "bytes=0-1").header("If-Range", &etag),
            206,
        ),
        (
            get()
                .header("Range", "bytes=0-1")
                .header("If-Range", "\"other\""),
            200,
        ),
    ] {
        let wire = String::from_utf8_lossy(&request.to_bytes()).into_owned();
        assert_eq!(request.send().await.status, status, "{wire}");
    }
}

#[tokio::test]
async fn what_a_client_said_of_the_bytes() {
    let server = start().await;
    let none = upload(&server, &[], b"x").await;
    let reply = server.get(&none).await;
    assert_eq!(
        reply.header("Content-Type"),
        Some("application/octet-stream")
    );
    assert!(
        reply
            .header("Content-Disposition")
            .unwrap()
            .starts_with("attachment")
    );
    assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"));
    for (kind, name, inline) in [
        ("image/png", "größe é 文.png", true),
        ("video/mp4", "a.mp4", true),
        ("text/html", "a.html", false),
        ("image/svg+xml", "a.svg", false),
        ("application/javascript", "a.js", false),
    ] {
        let path = upload(
            &server,
            &[("filetype", kind.as_bytes()), ("filename", name.as_bytes())],
            b"x",
        )
        .await;
        let reply = server.get(&path).await;
        assert_eq!(reply.header("Content-Type"), Some(kind));
        let disposition = reply.header("Content-Disposition").unwrap();
        assert_eq!(
            disposition.starts_with("inline"),
            inline,
            "{kind}: {disposition}"
        );
        if !name.is_ascii() {
            assert!(
                disposition.contains("filename*=UTF-8''gr%C3%B6%C3%9Fe"),
                "{disposition}"
            );
        }
    }
    let odd = [
        ("filetype", &b"x\r\nSet-Cookie: a"[..]),
        ("filename", b"\xff\"\r\n../../etc/passwd"),
    ];
    let reply = server.get(&upload(&server, &odd, b"x").await).await;
    assert_eq!((reply.status, reply.header("Set-Cookie")), (200, None));
    assert_eq!(
        reply.header("Content-Type"),
        Some("application/octet-stream")
    );
    assert!(!reply.header("Content-Disposition").unwrap().contains('/'));
}

#[tokio::test]
async fn bytes_that_are_gone_are_told_and_the_others_go_on() {
    let server = start().await;
    let (lost, short, fine) = (
        upload(&server, &[], b"lost").await,
        upload(&server, &[], b"short").await,
        upload(&server, &[], b"fine").await,
    );
    std::fs::remove_file(file_of(&server.data(), &lost)).unwrap();
    std::fs::write(file_of(&server.data(), &short), b"sho").unwrap();
    for path in [&lost, &short] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.code.as_str()), (410, "blob-lost"));
        assert_eq!(server.head(path).await.status, 410);
    }
    assert_eq!(server.get(&fine).await.body, b"fine");
    let open = server.create(10).await;
    assert_eq!(server.patch(&open, 0, "12345").send().await.status, 204);
    let mut server = server;
    server.stop().await;
    std::fs::write(file_of(&server.data(), &open), b"12").unwrap();
    server.restart().await;
    let reply = server.patch(&open, 5, "67890").send().await;
    assert_eq!((reply.status, reply.code.as_str()), (410, "blob-lost"));
    assert_eq!(server.get(&fine).await.body, b"fine");
}
