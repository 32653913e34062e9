//! Stored and reserved bytes: exact through every turn of an upload's life, a restart and a `kill -9` included.

use std::time::Duration;

use serde_json::json;

use super::{ADMIN, User, alice, bob, made, metric, over_quota, serve, told, used, users};
use crate::support::{Process, Session, bytes, until};

#[tokio::test]
async fn a_length_is_reserved_at_creation_and_given_back() {
    let (server, _dir) = serve("", |config| config.limits.quota = 1000).await;
    let (alice, bob) = (alice(&server), bob(&server));
    let first = alice.create(700).await;
    assert_eq!(used(&server, "alice").await, (700, 1));
    over_quota(&alice.ask(301).await, 700, 1000);
    let second = alice.create(300).await;
    // Every user has one of his own.
    bob.create(1000).await;
    over_quota(&alice.ask(1).await, 1000, 1000);
    alice.create(0).await;
    alice.send(&first, 0, &bytes(1, 700)).await;
    assert_eq!(used(&server, "alice").await, (1000, 1));
    alice.delete(&second).await;
    assert_eq!(used(&server, "alice").await, (700, 0));
    alice.delete(&first).await;
    assert_eq!(used(&server, "alice").await, (0, 0));
    assert_eq!(metric(&server, "highwater_reserved_bytes").await, 1000);
    alice.create(1000).await;
}

#[tokio::test]
async fn what_expires_is_given_back() {
    let (server, _dir) = serve("", |config| {
        config.limits.quota = 10;
        config.expire_after = Duration::from_millis(300);
    })
    .await;
    let alice = alice(&server);
    alice.create(10).await;
    assert_eq!(alice.ask(1).await.status, 403);
    until("it has expired", || async {
        used(&server, "alice").await == (0, 0)
    })
    .await;
    alice.create(10).await;
}

#[tokio::test]
async fn a_refused_or_failed_creation_leaves_nothing_reserved() {
    let (server, _dir) = serve("max_size = \"500\"", |config| config.limits.quota = 1000).await;
    let alice = alice(&server);
    assert_eq!(alice.ask(501).await.status, 413);
    // Its body is not what its checksum says: the upload goes.
    let post = alice
        .tus("POST", "/files/")
        .header("Upload-Length", 400)
        .header("Content-Type", "application/offset+octet-stream")
        .header(
            "Upload-Checksum",
            crate::support::checksum(highwater::protocol::checksum::Algorithm::Sha1, b"other"),
        )
        .body(bytes(1, 400));
    assert_eq!(post.send().await.status, 460);
    assert_eq!(used(&server, "alice").await, (0, 0));
    // A user's own limit holds for a length that is declared later, too.
    let path = alice.deferred().await;
    let late = alice
        .patch(&path, 0, "x")
        .header("Upload-Length", 501)
        .send()
        .await;
    assert_eq!(late.status, 413, "{late:?}");
    assert_eq!(
        alice.patch(&path, 0, bytes(1, 501)).send().await.status,
        413
    );
}

#[tokio::test]
async fn a_deferred_length_is_charged_as_it_arrives_and_cut_at_the_quota() {
    let (server, _dir) = serve("", |config| config.limits.quota = 1000).await;
    let alice = alice(&server);
    let other = alice.create(400).await;
    let path = alice.deferred().await;
    assert_eq!(used(&server, "alice").await, (400, 2));
    let data = bytes(1, 700);
    alice.send(&path, 0, &data[..100]).await;
    assert_eq!(used(&server, "alice").await, (500, 2));
    let cut = alice.patch(&path, 100, &data[100..]).send().await;
    over_quota(&cut, 1000, 1000);
    assert_eq!(cut.number("Upload-Offset"), Some(600));
    assert_eq!(alice.offset(&path).await, 600);
    assert_eq!(used(&server, "alice").await, (1000, 2));
    // Not a byte more, and nothing lost; with room it goes on.
    over_quota(
        &alice.patch(&path, 600, &data[600..]).send().await,
        1000,
        1000,
    );
    let declared = alice
        .patch(&path, 600, "")
        .header("Upload-Length", 700)
        .send()
        .await;
    over_quota(&declared, 1000, 1000);
    assert_eq!(alice.offset(&path).await, 600);
    alice.delete(&other).await;
    assert_eq!(used(&server, "alice").await, (600, 1));
    let declared = alice
        .patch(&path, 600, &data[600..])
        .header("Upload-Length", 700);
    assert_eq!(declared.send().await.status, 204);
    assert_eq!(used(&server, "alice").await, (700, 0));
    let get = alice.tus("GET", &path).send().await;
    assert!(get.body == data);
}

#[tokio::test]
async fn a_creation_with_its_bytes_is_cut_at_the_quota_and_stays() {
    let (server, _dir) = serve("", |config| config.limits.quota = 100).await;
    let alice = alice(&server);
    let post = |body: Vec<u8>, checksum: Option<String>| {
        let post = alice
            .tus("POST", "/files/")
            .header("Upload-Defer-Length", 1)
            .header("Content-Type", "application/offset+octet-stream");
        match checksum {
            Some(sum) => post.header("Upload-Checksum", sum).body(body),
            None => post.body(body),
        }
    };
    let reply = post(bytes(1, 150), None).send().await;
    over_quota(&reply, 100, 100);
    let path = reply.location_path();
    assert_eq!(reply.number("Upload-Offset"), Some(100));
    assert_eq!(alice.offset(&path).await, 100);
    alice.delete(&path).await;
    // Under a checksum nothing is kept, and nothing charged.
    let sum = crate::support::checksum(
        highwater::protocol::checksum::Algorithm::Sha1,
        &bytes(1, 150),
    );
    let reply = post(bytes(1, 150), Some(sum)).send().await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(reply.number("Upload-Offset"), Some(0));
    assert_eq!(used(&server, "alice").await.0, 0);
}

#[tokio::test]
async fn a_byte_is_charged_once_through_joins() {
    let (mut server, _dir) = serve("", |config| config.limits.quota = 1000).await;
    let user = alice(&server);
    let (a, b) = (
        user.part(&bytes(1, 300)).await,
        user.part(&bytes(2, 100)).await,
    );
    assert_eq!(used(&server, "alice").await, (400, 0));
    let joined = made(&user.join(&[&a, &b]).await);
    assert_eq!(
        used(&server, "alice").await,
        (400, 0),
        "the parts' bytes are the final's"
    );
    let twice = made(&user.join(&[&a, &a]).await);
    assert_eq!(used(&server, "alice").await, (1000, 0), "each time counts");
    over_quota(&user.join(&[&b]).await, 1000, 1000);
    let assembled = || async {
        let overview = server.request("GET", "/admin/uploads/active");
        let overview = overview.header("Authorization", format!("Bearer {ADMIN}"));
        overview.send().await.json()["matching"] == 0
    };
    until("both are one file", assembled).await;
    server.restart().await;
    let user = alice(&server);
    assert_eq!(
        used(&server, "alice").await,
        (1000, 0),
        "a start finds the same"
    );
    user.delete(&twice).await;
    assert_eq!(used(&server, "alice").await, (400, 0));
    user.delete(&a).await;
    assert_eq!(
        used(&server, "alice").await,
        (400, 0),
        "a's bytes are in the final still"
    );
    user.delete(&joined).await;
    assert_eq!(
        used(&server, "alice").await,
        (100, 0),
        "b is there for itself"
    );
    user.delete(&b).await;
    assert_eq!(used(&server, "alice").await, (0, 0));
}

#[tokio::test]
async fn a_final_that_waits_is_charged_for_with_its_parts() {
    let (server, _dir) = serve("", |config| {
        config.limits.quota = 1000;
        config.keep_partials = false;
    })
    .await;
    let alice = alice(&server);
    let partial = [("Upload-Length", "200"), ("Upload-Concat", "partial")];
    let a = made(&alice.post(&partial).await);
    let whole = made(&alice.join(&[&a, &a, &a]).await);
    assert_eq!(used(&server, "alice").await, (600, 2));
    let partial = [("Upload-Length", "400"), ("Upload-Concat", "partial")];
    let b = made(&alice.post(&partial).await);
    over_quota(&alice.join(&[&b, &b]).await, 1000, 1000);
    alice.delete(&b).await;
    alice.send(&a, 0, &bytes(1, 200)).await;
    until("it is joined", || async {
        alice.offset(&whole).await == 600
    })
    .await;
    assert_eq!(used(&server, "alice").await.0, 600);
    // The part goes, once it was joined.
    until("the part is gone", || async {
        alice.tus("HEAD", &a).send().await.status == 404
    })
    .await;
    assert_eq!(used(&server, "alice").await.0, 600);
    alice.delete(&whole).await;
    assert_eq!(used(&server, "alice").await, (0, 0));
}

#[tokio::test]
async fn a_session_has_its_file_reserved_and_its_chunks_cost_nothing_more() {
    let (mut server, _dir) = serve("", |config| config.limits.quota = 200_000).await;
    let data = bytes(3, 150_000);
    let ask = json!({"filename": "f", "size": data.len(), "chunk_size": 64 << 10});
    let user = alice(&server);
    let initialize = |user: User| {
        let post = user.client.request("POST", "/uploads/initialize");
        user.own(post).body(ask.to_string())
    };
    let reply = initialize(user).send().await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(used(&server, "alice").await, (150_000, 1));
    over_quota(&initialize(user).send().await, 150_000, 200_000);
    let info = reply.json();
    let text = |name: &str| info[name].as_str().expect("a text").to_owned();
    let (id, token) = (text("session_id"), text("session_token"));
    let mut session = Session {
        client: *server,
        id,
        token,
        info,
    };
    assert_eq!(session.send(1, &data).await.status, 201);
    assert_eq!(used(&server, "alice").await, (150_000, 1));
    server.restart().await;
    session.client = *server;
    assert_eq!(used(&server, "alice").await, (150_000, 1));
    let told = told(&server).await;
    assert_eq!(told["users"][0]["stored_bytes"], 64 << 10, "{told}");
    for n in 2..=3 {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    assert_eq!(session.finalize().await.status, 200);
    assert_eq!(used(&server, "alice").await, (150_000, 0));
    let user = alice(&server);
    user.delete(&format!("/files/{}", session.id)).await;
    assert_eq!(used(&server, "alice").await, (0, 0));
    let reply = initialize(user).send().await;
    let info = reply.json();
    let id = info["session_id"].as_str().expect("an id").to_owned();
    let cancel = user.client.request("DELETE", &format!("/uploads/{id}"));
    assert_eq!(user.own(cancel).send().await.status, 204);
    assert_eq!(used(&server, "alice").await, (0, 0));
}

#[tokio::test]
async fn the_ledger_is_exact_after_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = users(dir.path(), "").display().to_string();
    let data = dir.path().join("data");
    let options = [
        "--auth",
        "token",
        "--auth-file",
        &file,
        "--quota",
        "1000",
        "--admin-token",
        ADMIN,
    ];
    let server = Process::start(&data, &options);
    let user = alice(&server);
    let known = user.create(300).await;
    user.send(&known, 0, &bytes(1, 10)).await;
    let gone = user.create(100).await;
    user.delete(&gone).await;
    let (a, b) = (
        user.part(&bytes(1, 50)).await,
        user.part(&bytes(2, 50)).await,
    );
    made(&user.join(&[&a, &b, &b]).await);
    let deferred = user.deferred().await;
    // A body in the middle of its way: told bytes are charged, whatever the record says.
    let head = format!(
        "PATCH {deferred} HTTP/1.1\r\nHost: t\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 500\r\n\r\n",
        super::ALICE
    );
    let mut conn = server.connect().await;
    conn.send(head.as_bytes()).await;
    conn.send(&bytes(4, 200)).await;
    until("HEAD tells it", || async {
        user.offset(&deferred).await == 200
    })
    .await;
    assert_eq!(used(&server, "alice").await, (650, 2));
    server.kill();
    let server = Process::start(&data, &options);
    let user = alice(&server);
    assert_eq!(used(&server, "alice").await, (650, 2));
    over_quota(&user.ask(351).await, 650, 1000);
    user.create(350).await;
}

#[tokio::test]
async fn the_total_is_everybodys_and_not_told_to_users() {
    let (server, _dir) = serve("", |config| config.limits.quota_total = 1000).await;
    let (alice, bob) = (alice(&server), bob(&server));
    let first = alice.create(800).await;
    let reply = bob.ask(201).await;
    assert_eq!((reply.status, reply.code.as_str()), (403, "quota-exceeded"));
    assert!(
        reply.json().get("used").is_none(),
        "it would tell of Alice: {reply:?}"
    );
    bob.create(200).await;
    alice.delete(&first).await;
    bob.create(800).await;
    // Where nobody is asked, it is everybody's business.
    let server = crate::support::start_with(|config| config.limits.quota_total = 10).await;
    server.create(7).await;
    let reply = server
        .tus("POST", "/files/")
        .header("Upload-Length", 4)
        .send()
        .await;
    over_quota(&reply, 7, 10);
}
