//! What all users may do together: open uploads, uploads an hour, requests and bytes a second.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::races::{hundred, went_through};
use super::rates::{too_fast, until_refused};
use super::{ADMIN, User, alice, bob, made, serve, told};
use crate::support::{Process, Session, bytes, figure, start_with, until};

/// `POST /uploads/initialize` for one byte.
async fn initialize(user: User) -> crate::support::Reply {
    let post = user.client.request("POST", "/uploads/initialize");
    let ask = json!({ "filename": "f", "size": 1 }).to_string();
    user.own(post.body(ask)).send().await
}

#[tokio::test]
async fn uploads_an_hour_of_all_are_one_count() {
    let (server, _dir) = serve("uploads_per_hour = 2", |config| {
        config.limits.max_uploads_per_hour_total = 3;
    })
    .await;
    let (alice, bob) = (alice(&server), bob(&server));
    let first = alice.create(1).await;
    assert_eq!(initialize(alice).await.status, 201);
    // What her own limit refuses, or what is never made, takes nothing from Bob.
    too_fast(&alice.ask(1).await, 3600);
    assert_eq!(bob.ask(1 << 40).await.status, 413);
    bob.create(1).await;
    too_fast(&bob.ask(1).await, 3600);
    too_fast(&initialize(bob).await, 3600);
    alice.delete(&first).await;
    too_fast(&bob.ask(1).await, 3600);
}

#[tokio::test]
async fn uploads_an_hour_are_known_after_a_restart() {
    let (mut server, _dir) = serve("uploads_per_hour = 5", |config| {
        config.limits.max_uploads_per_hour_total = 7;
        config.expire_after = Duration::from_millis(300);
        config.keep_partials = false;
    })
    .await;
    let user = alice(&server);
    let gone = user.create(5).await;
    user.delete(&gone).await;
    let (a, b) = (user.part(b"a").await, user.part(b"b").await);
    assert_eq!(user.join(&[&a, &b]).await.status, 201, "it begins nothing");
    assert_eq!(initialize(user).await.status, 201);
    bob(&server).create(1).await;
    until("what is left has expired", || async {
        let all = server.request("GET", "/admin/uploads/active");
        let all = all.header("Authorization", format!("Bearer {ADMIN}"));
        all.send().await.json()["matching"] == 0
    })
    .await;
    server.restart().await;
    let (user, other) = (alice(&server), bob(&server));
    user.create(1).await;
    too_fast(&user.ask(1).await, 3600);
    other.create(1).await;
    too_fast(&other.ask(1).await, 3600);
    // Another limit, and again all of them count, whichever was there when they were begun.
    server
        .change(|config| {
            config.limits.max_uploads_per_hour_total = 0;
            config.limits.max_uploads_per_hour = 3;
        })
        .await;
    too_fast(&alice(&server).ask(1).await, 3600);
    let other = bob(&server);
    other.create(1).await;
    too_fast(&other.ask(1).await, 3600);
}

#[tokio::test]
async fn without_users_a_restart_forgets_addresses_but_not_their_sum() {
    let mut server = start_with(|config| {
        config.limits.max_uploads_per_hour = 2;
        config.limits.max_uploads_per_hour_total = 3;
    })
    .await;
    let ask = |server: &crate::support::Server| {
        let post = server.tus("POST", "/files/");
        post.header("Upload-Length", 1).send()
    };
    made(&ask(&server).await);
    made(&ask(&server).await);
    too_fast(&ask(&server).await, 3600);
    server.restart().await;
    made(&ask(&server).await);
    too_fast(&ask(&server).await, 3600);
}

#[tokio::test]
async fn uploads_an_hour_are_known_after_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ["--max-uploads-per-hour-total", "2"];
    let mut server = Process::start(dir.path(), &options);
    server.create(5).await;
    let begun = Instant::now();
    for _ in 0..2 {
        server.kill();
        server = Process::start(dir.path(), &options);
        let post = server.tus("POST", "/files/").header("Upload-Length", 5);
        let reply = post.send().await;
        if reply.status == 201 {
            continue;
        }
        too_fast(&reply, 3600);
        // It is an hour from the first one on, whatever was between.
        let wait = reply.number("Retry-After").unwrap_or(0);
        assert!(wait + begun.elapsed().as_secs() >= 3595, "{reply:?}");
        return;
    }
    panic!("a third one was begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_creations_at_once_begin_no_more_than_all_may() {
    let (mut server, _dir) = serve("", |config| {
        config.limits.max_uploads_per_hour_total = 37;
    })
    .await;
    let users = [alice(&server), bob(&server)];
    let create = |n: u64| {
        let user = users[usize::from(n.is_multiple_of(2))];
        async move {
            match n % 3 {
                0 => initialize(user).await.status,
                _ => user.ask(100).await.status,
            }
        }
    };
    went_through(&hundred(create).await, (201, 37), 429);
    server.restart().await;
    too_fast(&alice(&server).ask(1).await, 3600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_creations_at_once_open_no_more_than_all_may_have_open() {
    let (mut server, _dir) = serve("", |config| {
        config.limits.max_open_uploads_total = 37;
    })
    .await;
    let users = [alice(&server), bob(&server)];
    let create = |n: u64| {
        let user = users[usize::from(n.is_multiple_of(2))];
        async move { user.ask(100).await.status }
    };
    went_through(&hundred(create).await, (201, 37), 429);
    assert_eq!(told(&server).await["total"]["open_uploads"], 37);
    server.restart().await;
    let reply = alice(&server).ask(1).await;
    assert_eq!((reply.status, reply.code.as_str()), (429, "too-many-open"));
    assert!(reply.number("Retry-After").is_some());
    let words = reply.json()["detail"].to_string();
    assert!(!words.contains("37"), "what all have is not told: {words}");
}

#[tokio::test]
async fn an_open_upload_that_ends_makes_room_for_anybodys() {
    let (server, _dir) = serve("", |config| {
        config.limits.max_open_uploads_total = 2;
    })
    .await;
    let (alice, bob) = (alice(&server), bob(&server));
    let (first, second) = (alice.create(5).await, bob.create(5).await);
    assert_eq!(initialize(bob).await.status, 429);
    bob.create(0).await;
    alice.send(&first, 0, b"hello").await;
    assert_eq!(initialize(bob).await.status, 201);
    assert_eq!(alice.ask(5).await.status, 429);
    bob.delete(&second).await;
    alice.create(5).await;
}

#[tokio::test]
async fn requests_of_all_are_one_rate_that_only_users_use_up() {
    let (server, _dir) = serve("", |config| {
        config.limits.max_request_rate_total = 4;
    })
    .await;
    let (alice, bob) = (alice(&server), bob(&server));
    let post = server
        .request("POST", "/uploads/initialize")
        .body(r#"{"filename":"f","size":1}"#);
    let reply = alice.own(post).send().await;
    let info = reply.json();
    let text = |name: &str| info[name].as_str().expect("a text").to_owned();
    let session = Session {
        client: *server,
        id: text("session_id"),
        token: text("session_token"),
        info,
    };
    // Whoever is nobody's user is refused, and hinders nobody.
    for n in 0..60 {
        let stranger = match n % 3 {
            0 => server.tus("GET", "/files/x"),
            1 => server.request("GET", "/uploads/x/status"),
            _ => server.request("GET", "/progress/events?upload=x"),
        };
        let guess = "Bearer guessed-token-of-length";
        let guess = stranger.clone().header("Authorization", guess);
        assert_eq!(stranger.send().await.status, 401);
        if n % 3 < 2 {
            assert_ne!(guess.send().await.status, 429);
        }
    }
    assert_eq!(bob.tus("GET", "/files/x").send().await.status, 404);
    // The token of a session is no user's, but it is one that is let in.
    let requests = [
        alice.tus("GET", "/files/x"),
        bob.tus("GET", "/files/x"),
        session.request("GET", "/status"),
        session.tus("GET", ""),
    ];
    for request in requests {
        let (before, reply) = until_refused(request).await;
        too_fast(&reply, 1);
        assert!(before <= 6, "{before}");
    }
    for n in 0..50 {
        let head = match n % 3 {
            0 => alice.tus("HEAD", "/files/x"),
            1 => session.request("HEAD", "/status"),
            _ => session.tus("HEAD", ""),
        };
        let status = head.send().await.status;
        assert_eq!(status, if n % 3 == 0 { 404 } else { 200 });
    }
    until("requests are let in again", || async {
        bob.tus("GET", "/files/x").send().await.status == 404
    })
    .await;
}

/// Bytes a second of all.
const RATE: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bytes_of_all_come_in_at_one_rate_and_every_body_has_its_turn() {
    const LENGTH: usize = 8 << 20;
    const ENOUGH: u64 = 6 << 20;
    let (server, _dir) = serve("", |config| {
        config.limits.max_byte_rate_total = RATE;
        config.network_timeout = Duration::from_millis(400);
    })
    .await;
    let users = [alice(&server), bob(&server)];
    let (mut paths, mut requests) = (Vec::new(), Vec::new());
    for n in 0..6 {
        let user = users[n % 2];
        let path = user.create(LENGTH as u64).await;
        requests.push(user.patch(&path, 0, bytes(n as u64, LENGTH)));
        paths.push((user, path));
    }
    let began = Instant::now();
    let mut sending = JoinSet::new();
    for request in requests {
        sending.spawn(async move { request.send().await.status });
    }
    let offsets = || async {
        let mut offsets = Vec::new();
        for (user, path) in &paths {
            offsets.push(user.offset(path).await);
        }
        offsets
    };
    until("six seconds' worth came", || async {
        offsets().await.iter().sum::<u64>() >= ENOUGH
    })
    .await;
    let took = began.elapsed();
    let offsets = offsets().await;
    figure("six bodies", format!("{took:?} {offsets:?}"));
    // A second's worth comes at once, and what each body reads at a time before it waits.
    assert!(took >= Duration::from_secs(3), "{took:?}");
    let least = offsets.iter().min().copied().unwrap_or(0);
    assert!(least >= ENOUGH / 6 / 2, "one starves: {offsets:?}");
    assert!(sending.try_join_next().is_none(), "nothing fails");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bodies_of_one_user_take_turns_too() {
    const LENGTH: usize = 8 << 20;
    let (server, _dir) = serve("", |config| config.limits.max_byte_rate = RATE).await;
    let user = alice(&server);
    let mut paths = Vec::new();
    let mut sending = JoinSet::new();
    for n in 0..6 {
        let path = user.create(LENGTH as u64).await;
        let request = user.patch(&path, 0, bytes(n, LENGTH));
        paths.push(path);
        sending.spawn(async move { request.send().await.status });
    }
    until("each has come a way", || async {
        let mut least = u64::MAX;
        for path in &paths {
            least = least.min(user.offset(path).await);
        }
        least >= RATE / 2
    })
    .await;
    assert!(sending.try_join_next().is_none(), "nothing fails");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_long_body_has_its_share_beside_many_short_ones() {
    const PIECE: usize = 256 << 10;
    const WHOLE: usize = 8 << 20;
    let (server, _dir) = serve("", |config| config.limits.max_byte_rate_total = RATE).await;
    let (one, other) = (alice(&server), bob(&server));
    let long = one.create(WHOLE as u64).await;
    let request = one.patch(&long, 0, bytes(1, WHOLE));
    let mut sending = JoinSet::new();
    sending.spawn(async move { drop(request.send().await) });
    let mut paths = Vec::new();
    for n in 0..3 {
        let path = other.create(WHOLE as u64).await;
        paths.push(path.clone());
        let piece = bytes(n, PIECE);
        // On one connection, where the server reads more at a time than of a fresh one.
        let mut conn = server.connect().await;
        sending.spawn(async move {
            for at in (0..WHOLE).step_by(PIECE) {
                let request = other.patch(&path, at as u64, &piece[..]);
                conn.send(&request.to_bytes()).await;
                assert_eq!(conn.reply().await.status, 204);
            }
        });
    }
    until("the short ones had six seconds' worth", || async {
        let mut short = 0;
        for path in &paths {
            short += other.offset(path).await;
        }
        short >= 6 * RATE
    })
    .await;
    let least = one.offset(&long).await;
    figure("a long one beside short ones", format!("{least}"));
    assert!(
        least >= RATE,
        "a quarter of all would be two seconds' worth: {least}"
    );
}
