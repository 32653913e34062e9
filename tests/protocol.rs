//! tus 1.0 core: OPTIONS, HEAD, PATCH, the version, the method override.

use crate::support::{bytes, start, start_with};

const STREAM: &str = "application/offset+octet-stream";

#[tokio::test]
async fn options_tells_what_the_configuration_can_do() {
    let server = start().await;
    for path in ["/files/", "/files", "/files/x"] {
        let reply = server.request("OPTIONS", path).send().await;
        assert_eq!(reply.status, 204);
        assert_eq!(reply.header("Tus-Resumable"), Some("1.0.0"));
        assert_eq!(reply.header("Tus-Version"), Some("1.0.0"));
        assert_eq!(reply.number("Tus-Max-Size"), Some(1 << 30));
        assert_eq!(
            reply.header("Tus-Checksum-Algorithm"),
            Some("sha1,sha256,sha512,md5,crc32c")
        );
        let mut extensions: Vec<_> = reply.header("Tus-Extension").unwrap().split(',').collect();
        extensions.sort_unstable();
        assert_eq!(
            extensions,
            [
                "checksum",
                "checksum-trailer",
                "concatenation",
                "concatenation-unfinished",
                "creation",
                "creation-defer-length",
                "creation-with-upload",
                "expiration",
                "termination"
            ]
        );
    }
    let bare = start_with(|config| {
        config.disable_termination = true;
        config.disable_concatenation = true;
        config.expire_after = std::time::Duration::ZERO;
        config.max_size = 0;
    })
    .await;
    let reply = bare.request("OPTIONS", "/files/").send().await;
    assert_eq!(
        reply.header("Tus-Extension"),
        Some("creation,creation-with-upload,creation-defer-length,checksum,checksum-trailer")
    );
    assert_eq!(reply.header("Tus-Max-Size"), None);
    let part = bare
        .tus("POST", "/files/")
        .header("Upload-Length", 1)
        .header("Upload-Concat", "partial")
        .send()
        .await;
    assert_eq!((part.status, part.code.as_str()), (403, "disabled"));
    let path = bare.create(1).await;
    let reply = bare.delete(&path).await;
    assert_eq!(
        (reply.status, reply.header("Allow")),
        (405, Some("OPTIONS, HEAD, PATCH, GET"))
    );
}

#[tokio::test]
async fn an_upload_in_pieces() {
    let server = start().await;
    let data = bytes(1, 1000);
    let path = server.create(1000).await;
    assert_eq!(server.offset(&path).await, 0);
    let reply = server.patch(&path, 0, &data[..400]).send().await;
    assert_eq!(
        (reply.status, reply.number("Upload-Offset")),
        (204, Some(400))
    );
    assert_eq!(reply.header("Tus-Resumable"), Some("1.0.0"));
    let head = server.head(&path).await;
    assert_eq!(head.header("Cache-Control"), Some("no-store"));
    assert_eq!(
        (head.number("Upload-Offset"), head.number("Upload-Length")),
        (Some(400), Some(1000))
    );
    for wrong in [0, 399, 401, 1000] {
        let reply = server.patch(&path, wrong, &data[..10]).send().await;
        assert_eq!(
            (
                reply.status,
                reply.code.as_str(),
                reply.number("Upload-Offset")
            ),
            (409, "offset-mismatch", Some(400))
        );
    }
    let reply = server.patch(&path, 400, &data[400..]).send().await;
    assert_eq!(
        (reply.status, reply.number("Upload-Offset")),
        (204, Some(1000))
    );
    assert_eq!(server.get(&path).await.body, data);
    // A client that lost the answer asks again: nothing to add, nothing wrong.
    let again = server.patch(&path, 1000, "").send().await;
    assert_eq!(
        (again.status, again.number("Upload-Offset")),
        (204, Some(1000))
    );
    let more = server.patch(&path, 1000, "x").send().await;
    assert_eq!((more.status, more.code.as_str()), (413, "surplus"));
}

#[tokio::test]
async fn what_patch_refuses_from_the_head_alone() {
    let server = start().await;
    let path = server.create(10).await;
    let patch = || server.patch(&path, 0, "abc");
    for (request, status, code) in [
        (patch().without("Upload-Offset"), 400, "bad-header"),
        (patch().header("Upload-Offset", 0), 400, "bad-header"),
        (
            patch()
                .without("Upload-Offset")
                .header("Upload-Offset", "+0"),
            400,
            "bad-header",
        ),
        (
            patch()
                .without("Upload-Offset")
                .header("Upload-Offset", "-1"),
            400,
            "bad-header",
        ),
        (
            patch()
                .without("Upload-Offset")
                .header("Upload-Offset", "18446744073709551616"),
            400,
            "bad-header",
        ),
        (patch().without("Content-Type"), 415, "media-type"),
        (
            patch()
                .without("Content-Type")
                .header("Content-Type", "application/octet-stream"),
            415,
            "media-type",
        ),
        (server.patch(&path, 0, "01234567890"), 413, "surplus"),
        (server.patch("/files/unknown", 0, "a"), 404, "not-found"),
        (
            server.patch("/files/..%2f..%2fetc", 0, "a"),
            404,
            "not-found",
        ),
        (server.patch("/files/", 0, "a"), 405, "method-not-allowed"),
        (server.patch("/elsewhere", 0, "a"), 404, "no-such-resource"),
    ] {
        let wire = String::from_utf8_lossy(&request.to_bytes()).into_owned();
        let reply = request.send().await;
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (status, code),
            "{wire}"
        );
        assert!(
            reply.body.len() > 255,
            "tusgo panics on short bodies of failures"
        );
    }
    assert_eq!(server.offset(&path).await, 0);
}

#[tokio::test]
async fn the_version_is_checked_on_tus_methods() {
    let server = start().await;
    let path = server.create(10).await;
    for (method, path) in [
        ("POST", "/files/"),
        ("PATCH", path.as_str()),
        ("DELETE", path.as_str()),
        ("HEAD", path.as_str()),
    ] {
        let reply = server
            .request(method, path)
            .header("Tus-Resumable", "0.2.2")
            .header("Upload-Length", 1)
            .send()
            .await;
        assert_eq!(reply.status, 412, "{method}");
        assert_eq!(reply.header("Tus-Version"), Some("1.0.0"));
        let reply = server
            .request(method, path)
            .header("Upload-Length", 1)
            .send()
            .await;
        assert_eq!(
            reply.status,
            if method == "HEAD" { 200 } else { 412 },
            "{method} without a version"
        );
    }
    assert_eq!(
        server
            .request("OPTIONS", "/files/")
            .header("Tus-Resumable", "9")
            .send()
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn post_carries_any_method_and_nothing_else_does() {
    let server = start().await;
    let created = server
        .tus("POST", "/files/")
        .header("X-HTTP-Method-Override", "Post")
        .header("Upload-Length", 4)
        .send()
        .await;
    assert_eq!(created.status, 201);
    let path = created.location_path();
    let over = |method: &str| {
        server
            .tus("POST", &path)
            .header("x-http-method-override", method)
    };
    let reply = over("Patch")
        .header("Upload-Offset", 0)
        .header("Content-Type", STREAM)
        .body("data")
        .send()
        .await;
    assert_eq!(
        (reply.status, reply.number("Upload-Offset")),
        (204, Some(4))
    );
    let reply = over("hEAD").send().await;
    assert_eq!(
        (
            reply.status,
            reply.number("Upload-Offset"),
            reply.body.len()
        ),
        (200, Some(4), 0)
    );
    assert_eq!(over("GET").send().await.body, b"data");
    assert_eq!(over("BREW").send().await.status, 405);
    assert_eq!(server.head(&path).await.status, 200);
    assert_eq!(
        server
            .tus("HEAD", &path)
            .header("X-HTTP-Method-Override", "DELETE")
            .send()
            .await
            .status,
        200
    );
    assert_eq!(over("DELETE").send().await.status, 204);
    assert_eq!(server.head(&path).await.status, 404);
    let path = server.create(4).await;
    let plain = server.tus("POST", &path).send().await;
    assert_eq!((plain.status, plain.header("Allow").is_some()), (405, true));
    // What is not there is told before anything else: what comes later could tell it from another's.
    assert_eq!(server.tus("POST", "/files/x").send().await.status, 404);
}

#[tokio::test]
async fn a_chunked_body_and_one_that_waits_to_be_asked() {
    let server = start().await;
    let data = bytes(2, 100_000);
    let path = server.create(100_000).await;
    let reply = server
        .patch(&path, 0, &data[..60_000])
        .chunked()
        .send()
        .await;
    assert_eq!(
        (reply.status, reply.number("Upload-Offset")),
        (204, Some(60_000))
    );
    // Surplus of a chunked body shows only when it is there: nothing of that body counts.
    let reply = server
        .patch(&path, 60_000, vec![0; 40_001])
        .chunked()
        .send()
        .await;
    assert_eq!((reply.status, reply.code.as_str()), (413, "surplus"));
    assert_eq!(server.offset(&path).await, 60_000);

    let mut conn = server.connect().await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: t\r\nX-HTTP-Method-Override: PATCH\r\nTus-Resumable: 1.0.0\r\n\
         Upload-Offset: 60000\r\nContent-Type: {STREAM}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    );
    conn.send(head.as_bytes()).await;
    assert_eq!(conn.reply().await.status, 100);
    conn.send(format!("{:x}\r\n", 40_000).as_bytes()).await;
    conn.send(&data[60_000..]).await;
    conn.send(b"\r\n0\r\n\r\n").await;
    assert_eq!(conn.reply().await.status, 204);
    // The Java client's last request: empty, at the end, and it must be asked for its body all the same.
    conn.send(head.replace("60000", "100000").as_bytes()).await;
    assert_eq!(conn.reply().await.status, 100);
    conn.send(b"0\r\n\r\n").await;
    let last = conn.reply().await;
    assert_eq!(
        (last.status, last.number("Upload-Offset")),
        (204, Some(100_000))
    );
    assert_eq!(server.get(&path).await.body, data);
}

#[tokio::test]
async fn a_refusal_goes_out_before_the_body_is_asked_for() {
    let server = start().await;
    let path = server.create(10).await;
    let mut conn = server.connect().await;
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 5\r\nContent-Type: {STREAM}\r\n\
         Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    );
    conn.send(head.as_bytes()).await;
    assert_eq!(conn.reply().await.status, 409);
}

#[tokio::test]
async fn a_client_that_is_refused_early_sees_the_answer() {
    let server = start().await;
    let path = server.create(1 << 20).await;
    for _ in 0..10 {
        let reply = server.patch(&path, 7, vec![0; 200 << 10]).send().await;
        assert_eq!(reply.status, 409);
    }
}

#[tokio::test]
async fn keep_alive_and_pipelining_go_on_after_failures() {
    let server = start().await;
    let path = server.create(10).await;
    let mut conn = server.connect().await;
    let mut pipeline = Vec::new();
    pipeline.extend(server.patch(&path, 3, "abc").to_bytes());
    pipeline.extend(server.patch(&path, 0, "abc").to_bytes());
    pipeline.extend(server.tus("HEAD", &path).to_bytes());
    pipeline.extend(server.patch(&path, 3, "defghij").to_bytes());
    conn.send(&pipeline).await;
    for (method, status) in [
        ("PATCH", 409),
        ("PATCH", 204),
        ("HEAD", 200),
        ("PATCH", 204),
    ] {
        assert_eq!(conn.reply_to(method).await.status, status);
    }
}

#[tokio::test]
async fn a_host_is_named_once_and_can_be_one() {
    let server = start().await;
    let post = || server.tus("POST", "/files/").header("Upload-Length", 1);
    for request in [
        post().without("Host"),
        post().header("Host", "other"),
        post().without("Host").header("Host", "a b<>"),
    ] {
        let reply = request.send().await;
        assert_eq!((reply.status, reply.code.as_str()), (400, "bad-header"));
    }
    let old = b"POST /files/ HTTP/1.0\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 1\r\n\r\n";
    let reply = server.raw(old).await;
    assert_eq!(reply.status, 201);
    assert!(
        reply.header("Location").unwrap().starts_with("/files/"),
        "no host to name"
    );
}

#[tokio::test]
async fn a_method_that_is_not_for_a_resource_is_told_what_there_is() {
    let server = start().await;
    let path = server.create(1).await;
    for method in ["PUT", "TRACE"] {
        let reply = server.tus(method, "/files/").send().await;
        let told = (reply.status, reply.header("Allow"));
        assert_eq!(told, (405, Some("OPTIONS, POST")), "{method}");
        let reply = server.tus(method, &path).send().await;
        let told = (reply.status, reply.header("Allow"));
        assert_eq!(told, (405, Some("OPTIONS, HEAD, PATCH, GET, DELETE")));
        assert_eq!(server.tus(method, "/elsewhere").send().await.status, 404);
    }
    for method in ["BREW", "patch"] {
        let reply = server.tus(method, &path).send().await;
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (501, "not-implemented"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_body_in_a_transfer_coding_that_nobody_takes_off_is_not_stored() {
    let server = start().await;
    let path = server.create(100).await;
    for coding in ["gzip, chunked", "x-nobody-knows, chunked"] {
        let patch = server
            .tus("PATCH", &path)
            .header("Upload-Offset", 0)
            .header("Content-Type", "application/offset+octet-stream")
            .header("Transfer-Encoding", coding);
        let request = [patch.to_bytes(), b"5\r\nhello\r\n0\r\n\r\n".to_vec()].concat();
        let reply = server.raw(&request).await;
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (501, "not-implemented"),
            "{coding}"
        );
    }
    assert_eq!(server.offset(&path).await, 0);
}
