//! Hooks that are asked before something happens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::receiver::{Call, Receiver, Said};
use super::{at, calling, calling_with};
use crate::support::{file_of, id, until};

/// What the receiver does that tusd publishes as its example of HTTP hooks: it wants a file name, gives the upload a name of
/// its own, and keeps of the metadata what it likes. Its answers carry keys that tusd does not know.
fn as_tusds_example(call: &Call) -> Said {
    let mut said = json!({ "HTTPResponse": { "Headers": {} } });
    if call.event() == "pre-create" {
        match call.upload()["MetaData"].get("filename") {
            None => {
                said["RejectUpload"] = true.into();
                said["HTTPResponse"]["StatusCode"] = 400.into();
                said["HTTPResponse"]["Body"] = "no filename provided".into();
                said["HTTPResponse"]["Headers"]["X-Some-Header"] = "yes".into();
            }
            Some(name) => {
                let metadata = json!({ "filename": name, "creation_time": "Mon Nov 23 2026" });
                said["ChangeFileInfo"] = json!({ "ID": "prefix-1b4e28ba", "MetaData": metadata });
            }
        }
    }
    Said::Json(said)
}

#[tokio::test]
async fn a_receiver_written_for_tusd_works() {
    let receiver = Receiver::start(as_tusds_example).await;
    let server = calling(&receiver, "").await;
    let post = || server.tus("POST", "/files/").header("Upload-Length", 5);
    let refused = post().send().await;
    assert_eq!(
        (refused.status, &refused.body[..]),
        (400, &b"no filename provided"[..])
    );
    assert_eq!(refused.header("X-Some-Header"), None);
    assert_eq!(refused.header("Tus-Resumable"), Some("1.0.0"));
    assert!(server.stored_files().is_empty(), "nothing is begun");
    let metadata = "filename d29ybGQudHh0,secret eA==";
    let created = post().header("Upload-Metadata", metadata).send().await;
    assert_eq!(created.status, 201, "{created:?}");
    let path = created.location_path();
    assert_eq!(path, "/files/prefix-1b4e28ba");
    let head = server.head(&path).await;
    let told = head.header("Upload-Metadata").expect("metadata");
    let time = STANDARD.encode("Mon Nov 23 2026");
    assert!(
        told.contains("filename d29ybGQudHh0") && told.contains(&time),
        "{told}"
    );
    assert!(!told.contains("secret"), "{told}");
    assert_eq!(server.patch(&path, 0, *b"hello").send().await.status, 204);

    let asked = &receiver.of("pre-create")[1];
    let mut shape = asked.json.clone();
    let request = shape["Event"]["HTTPRequest"].take();
    assert!(shape["Sequence"].is_u64() && shape["EventID"].is_string());
    let upload = json!({
        "ID": "", "Size": 5, "SizeIsDeferred": false, "Offset": 0,
        "MetaData": { "filename": "world.txt", "secret": "x" },
        "IsPartial": false, "IsFinal": false, "PartialUploads": null, "Storage": null,
    });
    assert_eq!(shape["Event"]["Upload"], upload);
    assert_eq!(
        (&request["Method"], &request["URI"]),
        (&json!("POST"), &json!("/files/"))
    );
    let peer = request["RemoteAddr"].as_str().expect("an address");
    assert!(
        peer.starts_with("127.0.0.1:") && !peer.ends_with(":0"),
        "{peer}"
    );
    assert_eq!(request["Header"]["Upload-Metadata"], json!([metadata]));
    assert_eq!(request["Header"]["Host"], json!([server.addr.to_string()]));

    let created = receiver.waits_for("post-create", 1).await;
    assert_eq!(created.id(), "prefix-1b4e28ba");
    let done = receiver.waits_for("post-finish", 1).await;
    assert_eq!(
        (done.id(), &done.upload()["Offset"]),
        ("prefix-1b4e28ba", &json!(5))
    );
    assert_eq!(at(&done.json, "Event.HTTPRequest.Method"), "PATCH");
    let stored = at(&done.json, "Event.Upload.Storage.Path");
    let stored = stored.as_str().expect("a path");
    assert_eq!(std::fs::read(stored).expect("the file"), b"hello");
    assert_eq!(std::path::Path::new(stored), file_of(&server.data(), &path));
}

#[tokio::test]
async fn a_name_that_is_taken_or_leads_elsewhere_is_no_name() {
    let receiver = Receiver::agreeable().await;
    let server = calling(&receiver, "pre-create").await;
    let name = |name: &str| {
        let said = json!({ "ChangeFileInfo": { "ID": name } });
        receiver.says(move |_| Said::Json(said.clone()));
    };
    name("users/7/first");
    let path = server.whole(b"first").await;
    assert_eq!(path, "/files/users/7/first");
    // Again, and the one that has it is none the worse.
    for _ in 0..2 {
        let post = server.tus("POST", "/files/").header("Upload-Length", 9);
        let reply = post.send().await;
        assert_eq!((reply.status, &*reply.code), (500, "hook-failed"));
    }
    assert_eq!(server.get(&path).await.body, b"first");
    // Nor is one that has ended given away again.
    assert_eq!(server.delete(&path).await.status, 204);
    let before = server.stored_files();
    for bad in [
        "users/7/first",
        "../up",
        "/etc/passwd",
        "a/../b",
        "a b",
        "%2e%2e",
        "x/",
        // What the admin API has below its uploads.
        "active",
        "metrics",
        "storage",
        "x/cancel",
    ] {
        name(bad);
        for length in ["Upload-Length", "Upload-Defer-Length"] {
            let post = server.tus("POST", "/files/").header(length, 1);
            let reply = post.send().await;
            assert_eq!((reply.status, &*reply.code), (500, "hook-failed"), "{bad}");
        }
    }
    assert_eq!(server.stored_files(), before);
}

#[tokio::test]
async fn two_creations_of_one_name_make_one_upload() {
    let receiver = Receiver::agreeable().await;
    let server = calling(&receiver, "pre-create").await;
    receiver.says(|_| Said::Json(json!({ "ChangeFileInfo": { "ID": "the-one" } })));
    let post = || {
        server
            .tus("POST", "/files/")
            .header("Upload-Length", 3)
            .send()
    };
    let replies = futures_util::future::join_all((0..8).map(|_| post())).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 1, "{replies:?}");
    let path = "/files/the-one";
    assert_eq!(server.patch(path, 0, *b"abc").send().await.status, 204);
    assert_eq!(server.get(path).await.body, b"abc");
}

#[tokio::test]
async fn a_chunk_of_a_session_is_not_anybodys_name() {
    let receiver = Receiver::agreeable().await;
    let server = calling(&receiver, "pre-create").await;
    let body = json!({ "filename": "f", "size": 3 }).to_string();
    let post = server.request("POST", "/uploads/initialize").body(body);
    let session: Value = serde_json::from_slice(&post.send().await.body).expect("JSON");
    let session = session["session_id"].as_str();
    let name = format!("{}/1", session.expect("an id"));
    receiver.says(move |_| Said::Json(json!({ "ChangeFileInfo": { "ID": name } })));
    let post = server.tus("POST", "/files/").header("Upload-Length", 1);
    assert_eq!(post.send().await.code, "hook-failed");
}

#[tokio::test]
async fn termination_can_be_refused() {
    let receiver = Receiver::agreeable().await;
    let server = calling(&receiver, "pre-terminate,post-terminate").await;
    let path = server.whole(b"stays").await;
    receiver.says(|_| Said::Json(json!({ "RejectTermination": true })));
    let reply = server.delete(&path).await;
    assert_eq!((reply.status, &*reply.code), (400, "termination-rejected"));
    receiver.says(|_| {
        let answer = json!({ "StatusCode": 409, "Body": "in use", "Header": { "X-Why": "use" } });
        Said::Json(json!({ "RejectTermination": true, "HTTPResponse": answer }))
    });
    let reply = server.delete(&path).await;
    assert_eq!((reply.status, &reply.body[..]), (409, &b"in use"[..]));
    assert_eq!(reply.header("X-Why"), Some("use"));
    assert_eq!(server.get(&path).await.body, b"stays");
    receiver.says(|_| Said::fine());
    assert_eq!(server.delete(&path).await.status, 204);
    assert_eq!(
        receiver.waits_for("post-terminate", 1).await.id(),
        id(&path)
    );
    assert_eq!(receiver.of("pre-terminate").len(), 3);
}

#[tokio::test]
async fn access_is_asked_for_each_request_and_a_silence_is_no_leave() {
    let receiver = Receiver::agreeable().await;
    let server = calling_with(&receiver, "pre-access", |config| {
        config.hooks.hooks_http_retry = 0;
    })
    .await;
    let path = server.whole(b"seen").await;
    assert_eq!(server.get(&path).await.status, 200);
    let asked = receiver.calls();
    assert_eq!(asked.len(), 3);
    let methods = asked
        .iter()
        .map(|call| at(&call.json, "Event.HTTPRequest.Method"));
    assert_eq!(methods.collect::<Vec<_>>(), ["POST", "PATCH", "GET"]);
    assert_eq!(asked[2].id(), id(&path));
    receiver.says(|call| {
        let read = at(&call.json, "Event.HTTPRequest.Method") == "GET";
        Said::Json(json!({ "RejectAccess": read }))
    });
    assert_eq!(server.get(&path).await.code, "access-rejected");
    assert_eq!(server.head(&path).await.status, 200);
    receiver.says(|_| Said::Status(500));
    let head = server.head(&path).await;
    assert_eq!((head.status, head.header("Retry-After")), (423, Some("1")));
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        let reply = server.tus(method, &path).send().await;
        assert_eq!((reply.status, &*reply.code), (503, "hook-down"), "{method}");
    }
    let session = server.request("POST", "/uploads/initialize").body("{}");
    assert_eq!(session.send().await.code, "hook-down");
    assert_eq!(
        server
            .request("GET", "/progress/events")
            .send()
            .await
            .status,
        503
    );
    // A preflight has no credential, and health is for everybody.
    assert_eq!(
        server.request("OPTIONS", "/files/").send().await.status,
        204
    );
    assert_eq!(server.request("GET", "/healthz").send().await.status, 200);
}

#[tokio::test]
async fn a_running_upload_is_told_of_and_can_be_stopped() {
    let receiver = Receiver::agreeable().await;
    let server = calling(&receiver, "post-receive,post-terminate").await;
    let path = server.create(1000).await;
    let mut conn = server.hang(&path, 0, 1000, &[1; 100]).await;
    let told = receiver.waits_for("post-receive", 1).await;
    assert_eq!(
        (told.id(), &told.upload()["Offset"]),
        (id(&path), &json!(100))
    );
    assert_eq!(at(&told.json, "Event.HTTPRequest.Method"), "PATCH");
    receiver.says(|call| {
        let answer = json!({ "StatusCode": 402, "Body": "{}", "Header": { "X-Why": "enough" } });
        let stop = call.event() == "post-receive";
        Said::Json(json!({ "StopUpload": stop, "HTTPResponse": answer }))
    });
    conn.send(&[1; 100]).await;
    let reply = conn.reply().await;
    assert_eq!((reply.status, reply.header("X-Why")), (402, Some("enough")));
    until("the upload is gone", || async {
        server.head(&path).await.status == 404
    })
    .await;
    receiver.waits_for("post-terminate", 1).await;
    assert!(
        server
            .stored_files()
            .iter()
            .all(|file| !file.starts_with("files/"))
    );
}
