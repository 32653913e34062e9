//! `--filename-policy`: names that could deceive, at every door.

use highwater::config::FilenamePolicy;
use serde_json::json;

use crate::support::metadata;
use crate::support::{Reply, Server, start_with};

const EVIL: &str = "invoice\u{202e}.pdf.exe";

async fn with(policy: FilenamePolicy) -> Server {
    start_with(|config| config.content.filename_policy = policy).await
}

async fn create(server: &Server, name: &str) -> Reply {
    let post = server.tus("POST", "/files/").header("Upload-Length", 1);
    post.described(&[("name", name), ("k", "v")]).send().await
}

#[tokio::test]
async fn names_are_kept_as_they_are() {
    let server = with(FilenamePolicy::Keep).await;
    let path = create(&server, EVIL).await.location_path();
    let told = metadata(&[("name", EVIL), ("k", "v")]);
    let head = server.head(&path).await;
    assert_eq!(head.header("Upload-Metadata"), Some(told.as_str()));
}

#[tokio::test]
async fn names_are_cleaned_and_told_so() {
    let server = with(FilenamePolicy::Clean).await;
    for (name, cleaned) in [(EVIL, "invoice__pdf.exe"), ("a b.txt", "a b.txt")] {
        let path = create(&server, name).await.location_path();
        let told = metadata(&[("name", cleaned), ("k", "v")]);
        let head = server.head(&path).await;
        assert_eq!(head.header("Upload-Metadata"), Some(told.as_str()));
    }
    let session = server.session(&json!({"filename": EVIL, "size": 1})).await;
    assert_eq!(session.info["original_filename"], "invoice__pdf.exe");
}

#[tokio::test]
async fn names_are_refused_and_nothing_is_made() {
    let server = with(FilenamePolicy::Refuse).await;
    let reply = create(&server, EVIL).await;
    assert_eq!((reply.status, reply.code.as_str()), (400, "bad-name"));
    let reply = server
        .initialize(&json!({"filename": "../a", "size": 1}))
        .await;
    assert_eq!((reply.status, reply.code.as_str()), (400, "bad-name"));
    let part = server.part(b"a").await;
    let before = server.stored_files();
    let join = server
        .tus("POST", "/files/")
        .described(&[("filename", EVIL)]);
    let reply = join
        .header("Upload-Concat", format!("final;{part}"))
        .send()
        .await;
    assert_eq!((reply.status, reply.code.as_str()), (400, "bad-name"));
    assert_eq!(server.stored_files(), before);
    for bad in ["invoice.pdf..exe", "invoice.pdf. .exe", "a\u{3164}.pdf"] {
        let reply = create(&server, bad).await;
        assert_eq!((reply.status, reply.code.as_str()), (400, "bad-name"));
    }
    for good in ["invoice.pdf", "می\u{200c}دانم.pdf"] {
        assert_eq!(create(&server, good).await.status, 201);
    }
}
