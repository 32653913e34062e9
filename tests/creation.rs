//! Creation: lengths, metadata, Location, the first bytes with it; deferred lengths; zero bytes.

use crate::support::{bytes, id, start, start_with};
use highwater::upload::UploadId;

const STREAM: &str = "application/offset+octet-stream";

#[tokio::test]
async fn a_creation_names_its_url_as_the_client_sees_it() {
    let server = start().await;
    for path in ["/files/", "/files"] {
        let reply = server
            .tus("POST", path)
            .header("Upload-Length", 5)
            .send()
            .await;
        assert_eq!(
            (reply.status, reply.number("Upload-Offset")),
            (201, Some(0))
        );
        let location = reply.header("Location").unwrap();
        let start = format!("http://{}/files/", server.addr);
        let name = location
            .strip_prefix(&start)
            .expect("absolute, with the client's host and port");
        assert!(name.parse::<UploadId>().is_ok());
        assert!(reply.header("Upload-Expires").unwrap().ends_with(" GMT"));
        assert_eq!(server.offset(&reply.location_path()).await, 0);
    }
    let named = server
        .tus("POST", "/files/")
        .without("Host")
        .header("Host", "up.example:81")
        .header("Upload-Length", 1);
    assert!(
        named
            .send()
            .await
            .header("Location")
            .unwrap()
            .starts_with("http://up.example:81/files/")
    );
    let proxied = server
        .tus("POST", "/files/")
        .header("X-Forwarded-Host", "evil")
        .header("Upload-Length", 1);
    assert!(
        !proxied
            .send()
            .await
            .header("Location")
            .unwrap()
            .contains("evil"),
        "no proxy is trusted by default"
    );
}

#[tokio::test]
async fn behind_a_proxy_and_under_a_fixed_url() {
    let proxied = start_with(|config| config.behind_proxy = true).await;
    let reply = proxied
        .tus("POST", "/files/")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "example.org")
        .header("X-Forwarded-Prefix", "/app")
        .header("Upload-Length", 1)
        .send()
        .await;
    assert!(
        reply
            .header("Location")
            .unwrap()
            .starts_with("https://example.org/app/files/")
    );
    let reply = proxied
        .tus("POST", "/files/")
        .header(
            "Forwarded",
            "for=1.2.3.4;proto=https;host=\"a.example:8443\"",
        )
        .header("Upload-Length", 1)
        .send()
        .await;
    assert!(
        reply
            .header("Location")
            .unwrap()
            .starts_with("https://a.example:8443/files/")
    );
    let fixed =
        start_with(|config| config.public_url = Some("https://up.example/x".parse().unwrap()))
            .await;
    let reply = fixed
        .tus("POST", "/files/")
        .header("Upload-Length", 1)
        .send()
        .await;
    assert!(
        reply
            .header("Location")
            .unwrap()
            .starts_with("https://up.example/x/files/")
    );
}

#[tokio::test]
async fn what_a_creation_refuses_leaves_nothing() {
    let server = start_with(|config| config.max_size = 100).await;
    let post = || server.tus("POST", "/files/");
    let length = |value: &str| post().header("Upload-Length", value);
    for (request, status, code) in [
        (post(), 400, "bad-header"),
        (length("+1"), 400, "bad-header"),
        (length("-1"), 400, "bad-header"),
        (length("1 0"), 400, "bad-header"),
        (length("0x10"), 400, "bad-header"),
        (length(""), 400, "bad-header"),
        (length("9223372036854775808"), 400, "bad-header"),
        (length("1").header("Upload-Length", 1), 400, "bad-header"),
        (
            length("1").header("Upload-Defer-Length", 1),
            400,
            "bad-header",
        ),
        (post().header("Upload-Defer-Length", 2), 400, "bad-header"),
        (length("101"), 413, "too-large"),
        (length("9223372036854775807"), 413, "too-large"),
        (
            length("1").header("Upload-Metadata", "a YQ==,a YQ=="),
            400,
            "bad-header",
        ),
        (
            length("1").header("Upload-Metadata", "a Y!Q="),
            400,
            "bad-header",
        ),
        (
            length("1").header("Upload-Metadata", "a YQ==,,b YQ=="),
            400,
            "bad-header",
        ),
        (
            length("1").header("Upload-Concat", "whole"),
            400,
            "bad-header",
        ),
        (
            length("3").header("Content-Type", STREAM).body("four"),
            413,
            "surplus",
        ),
        (
            length("3")
                .header("Content-Type", STREAM)
                .body("four")
                .chunked(),
            413,
            "surplus",
        ),
        (
            length("3").header("Content-Type", "text/plain").body("abc"),
            415,
            "media-type",
        ),
        (
            length("3")
                .header("Content-Type", STREAM)
                .header("Upload-Checksum", "crc7 AA==")
                .body("abc"),
            400,
            "unknown-algorithm",
        ),
        (
            length("3")
                .header("Content-Type", STREAM)
                .header("Upload-Checksum", "sha1 !!")
                .body("abc"),
            400,
            "bad-header",
        ),
        (
            length("3")
                .header("Content-Type", STREAM)
                .header("Upload-Checksum", "crc32c AAAAAA==")
                .body("abc"),
            460,
            "checksum-mismatch",
        ),
    ] {
        let wire = String::from_utf8_lossy(&request.to_bytes()).into_owned();
        let reply = request.send().await;
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (status, code),
            "{wire}"
        );
        assert_eq!(reply.header("Location"), None);
    }
    assert_eq!(server.stored_files(), [""; 0]);
}

#[tokio::test]
async fn metadata_comes_back_byte_for_byte() {
    let server = start().await;
    for metadata in [
        "filename w6kudHh0",
        "k1 ,k2 djI=",
        "k1,k2",
        "",
        "a-b._ /////w==,q",
        "a YQ==, b Yg==",
    ] {
        let created = server
            .tus("POST", "/files/")
            .header("Upload-Length", 1)
            .header("Upload-Metadata", metadata)
            .send()
            .await;
        assert_eq!(created.status, 201, "{metadata}");
        let head = server.head(&created.location_path()).await;
        assert_eq!(head.header("Upload-Metadata").unwrap_or_default(), metadata);
    }
    let long = format!("k {}", "YWJj".repeat(2000));
    let created = server
        .tus("POST", "/files/")
        .header("Upload-Length", 1)
        .header("Upload-Metadata", &long)
        .send()
        .await;
    assert_eq!(
        server
            .head(&created.location_path())
            .await
            .header("Upload-Metadata"),
        Some(long.as_str())
    );
}

#[tokio::test]
async fn with_the_first_bytes() {
    let server = start().await;
    let data = bytes(3, 5000);
    let post = |length: usize| {
        server
            .tus("POST", "/files/")
            .header("Upload-Length", length)
            .header("Content-Type", STREAM)
    };
    let some = post(5000).body(&data[..2000]).send().await;
    assert_eq!(
        (some.status, some.number("Upload-Offset")),
        (201, Some(2000))
    );
    let path = some.location_path();
    assert_eq!(
        server.patch(&path, 2000, &data[2000..]).send().await.status,
        204
    );
    assert_eq!(server.get(&path).await.body, data);
    let all = post(5000).body(data.clone()).chunked().send().await;
    assert_eq!((all.status, all.number("Upload-Offset")), (201, Some(5000)));
    assert_eq!(
        all.header("Upload-Expires"),
        None,
        "a finished upload does not expire"
    );
    let none = post(0).body("").send().await;
    assert_eq!((none.status, none.number("Upload-Offset")), (201, Some(0)));
}

#[tokio::test]
async fn an_upload_of_no_bytes_is_complete_at_once() {
    let server = start().await;
    let path = server.create(0).await;
    let head = server.head(&path).await;
    assert_eq!(
        (head.number("Upload-Offset"), head.number("Upload-Length")),
        (Some(0), Some(0))
    );
    let got = server.get(&path).await;
    assert_eq!((got.status, got.body.len()), (200, 0));
    assert!(
        server
            .stored_files()
            .contains(&format!("files/{}/{}", &id(&path)[..2], id(&path)))
    );
}

#[tokio::test]
async fn a_length_declared_later() {
    let server = start_with(|config| config.max_size = 1000).await;
    let data = bytes(4, 1000);
    let created = server
        .tus("POST", "/files/")
        .header("Upload-Defer-Length", 1)
        .send()
        .await;
    assert_eq!(
        (created.status, created.number("Upload-Offset")),
        (201, Some(0))
    );
    let path = created.location_path();
    let head = server.head(&path).await;
    assert_eq!(
        (
            head.header("Upload-Defer-Length"),
            head.header("Upload-Length")
        ),
        (Some("1"), None)
    );
    assert_eq!(
        server.patch(&path, 0, &data[..500]).send().await.status,
        204
    );
    // A limit holds for what is not declared, too.
    let reply = server.patch(&path, 500, vec![0; 501]).send().await;
    assert_eq!((reply.status, reply.code.as_str()), (413, "too-large"));
    let reply = server
        .patch(&path, 500, vec![0; 501])
        .chunked()
        .send()
        .await;
    assert_eq!((reply.status, reply.code.as_str()), (413, "too-large"));
    for (length, status, code) in [
        ("1001", 413, "too-large"),
        ("499", 400, "length-too-short"),
        ("-3", 400, "bad-header"),
    ] {
        let reply = server
            .patch(&path, 500, "")
            .header("Upload-Length", length)
            .send()
            .await;
        assert_eq!((reply.status, reply.code.as_str()), (status, code));
    }
    let reply = server
        .patch(&path, 500, &data[500..600])
        .header("Upload-Length", 1000)
        .send()
        .await;
    assert_eq!(
        (reply.status, reply.number("Upload-Offset")),
        (204, Some(600))
    );
    let head = server.head(&path).await;
    assert_eq!(
        (
            head.header("Upload-Defer-Length"),
            head.number("Upload-Length")
        ),
        (None, Some(1000))
    );
    let reply = server
        .patch(&path, 600, "")
        .header("Upload-Length", 999)
        .send()
        .await;
    assert_eq!((reply.status, reply.code.as_str()), (400, "length-known"));
    assert_eq!(
        server
            .patch(&path, 600, &data[600..])
            .header("Upload-Length", 1000)
            .send()
            .await
            .status,
        204
    );
    assert_eq!(server.get(&path).await.body, data);
}

#[tokio::test]
async fn an_empty_patch_can_tell_the_length() {
    let server = start().await;
    let created = server
        .tus("POST", "/files/")
        .header("Upload-Defer-Length", 1)
        .send()
        .await;
    let path = created.location_path();
    assert_eq!(server.patch(&path, 0, "abc").send().await.status, 204);
    assert_eq!(server.get(&path).await.code, "not-finished");
    let reply = server
        .patch(&path, 3, "")
        .header("Upload-Length", 3)
        .send()
        .await;
    assert_eq!(
        (reply.status, reply.number("Upload-Offset")),
        (204, Some(3))
    );
    assert_eq!(server.get(&path).await.body, b"abc");
}

#[tokio::test]
async fn the_largest_length_there_is() {
    let server = start_with(|config| config.max_size = 0).await;
    let path = server.create(i64::MAX as u64).await;
    assert_eq!(server.patch(&path, 0, "abc").send().await.status, 204);
    assert_eq!(
        server.head(&path).await.number("Upload-Length"),
        Some(i64::MAX as u64)
    );
}

#[tokio::test]
async fn a_broken_body_of_a_creation_is_not_taken_for_an_empty_one() {
    let server = start().await;
    let reply = server
        .raw(
            b"POST /files/ HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n\
              Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        )
        .await;
    assert_eq!((reply.status, reply.header("Location")), (415, None));
    assert!(server.stored_files().is_empty());
}
