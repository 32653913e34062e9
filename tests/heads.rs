//! Large heads, large bodies, on HTTP/1 and HTTP/2; refusals from the head alone.

use std::fmt::Write as _;

use crate::support::http2::{Http2, bytes_of, path_of};
use crate::support::{Client, bytes, start, start_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_mebibytes_in_one_patch_of_http2() {
    let server = start().await;
    let mut http2 = Http2::connect(&server).await;
    let sent = bytes(1, 20 << 20);
    let length = sent.len().to_string();
    let created = http2.create("/files/", &[("Upload-Length", &length)]).await;
    assert_eq!(
        (created.status().as_u16(), created.version()),
        (201, http::Version::HTTP_2)
    );
    let path = path_of(&created);
    assert!(path.starts_with("/files/"), "{path}");
    let (pieces, body) = Http2::body();
    let patched = tokio::spawn(http2.patch(&path, 0, sent.len(), body));
    pieces.send(&sent).await;
    drop(pieces);
    let patched = patched.await.expect("no panic");
    assert_eq!(patched.status(), 204);
    let offset = patched.headers()["upload-offset"].to_str().expect("text");
    assert_eq!(offset, length);
    let got = http2.ask("GET", &path).await;
    assert_eq!(got.status(), 200);
    assert!(bytes_of(got).await == sent, "the bytes");
}

/// `Upload-Concat` of a thousand parts, whose absolute URLs come to 200 KiB.
fn thousand_parts(client: &Client, parts: &[String]) -> String {
    let mut value = String::from("final;");
    for n in 0..1000 {
        let _ = write!(value, "http://{}{} ", client.addr, parts[n % parts.len()]);
    }
    value.truncate(value.trim_end().len());
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_of_a_thousand_absolute_urls() {
    // A base path of some length, as behind a gateway: 200 bytes a URL.
    let base = format!("/{}/", ["tenants", &"t".repeat(128), "uploads"].join("/"));
    let server = start_with(|config| config.base_path = base.parse().expect("a base path")).await;
    let mut parts = Vec::new();
    for n in 0..4 {
        let created = server
            .tus("POST", &base)
            .header("Upload-Length", 3)
            .header("Upload-Concat", "partial")
            .send()
            .await;
        let path = created.location_path();
        assert_eq!(
            server
                .patch(&path, 0, format!("{n:03}"))
                .send()
                .await
                .status,
            204
        );
        parts.push(path);
    }
    let value = thousand_parts(&server, &parts);
    assert!(value.len() > 195 << 10, "{} bytes", value.len());
    let expected = "000001002003".repeat(250).into_bytes();

    let joined = server
        .tus("POST", &base)
        .header("Upload-Concat", &value)
        .send()
        .await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let path = joined.location_path();
    assert!(server.get(&path).await.body == expected, "over HTTP/1");

    let mut http2 = Http2::connect(&server).await;
    let joined = http2.create(&base, &[("Upload-Concat", &value)]).await;
    assert_eq!(joined.status(), 201);
    let path = path_of(&joined);
    assert!(server.get(&path).await.body == expected, "over HTTP/2");
    // And told again, byte for byte.
    let head = http2.ask("HEAD", &path).await;
    assert!(head.headers()["upload-concat"] == value.as_str());
    assert_eq!(
        server.head(&path).await.header("Upload-Concat"),
        Some(&value[..])
    );
}

#[tokio::test]
async fn too_large_is_told_from_the_head_alone() {
    let server = start_with(|config| config.max_size = 1000).await;
    // Whether a body is announced or not, and none of it was sent.
    for more in [
        "",
        "Content-Length: 1001\r\nContent-Type: application/offset+octet-stream\r\n",
        "Content-Length: 1001\r\nContent-Type: application/offset+octet-stream\r\nExpect: 100-continue\r\n",
    ] {
        let head = format!(
            "POST /files/ HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 1001\r\n{more}\r\n"
        );
        let reply = server.raw(head.as_bytes()).await;
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (413, "too-large"),
            "{more}: {reply:?}"
        );
    }
    let deferred = server.raw(
        b"POST /files/ HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Defer-Length: 1\r\n\
          Content-Type: application/offset+octet-stream\r\nContent-Length: 1001\r\n\r\n",
    );
    assert_eq!(deferred.await.status, 413);
    let mut http2 = Http2::connect(&server).await;
    let refused = http2.create("/files/", &[("Upload-Length", "1001")]).await;
    assert_eq!(refused.status(), 413);
    server.nothing_is_left().await;
}
