//! How fast: requests, uploads an hour, bytes a second, connections.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use super::{ADMIN, alice, bob, serve, used};
use crate::support::client::Request;
use crate::support::http2::Http2;
use crate::support::{Conn, Reply, bytes, figure, start_with, until};

#[track_caller]
pub(crate) fn too_fast(reply: &Reply, most: u64) {
    assert_eq!(
        (reply.status, reply.code.as_str()),
        (429, "rate-limited"),
        "{reply:?}"
    );
    let wait = reply.number("Retry-After").expect("Retry-After");
    assert!((1..=most).contains(&wait), "{reply:?}");
}

/// Sends requests until one is refused. How many were not.
pub(crate) async fn until_refused(request: Request) -> (usize, Reply) {
    for n in 0..200 {
        let reply = request.clone().send().await;
        if reply.status == 429 {
            return (n, reply);
        }
    }
    panic!("none of 200 was refused");
}

#[tokio::test]
async fn requests_past_the_rate_are_429_and_head_never_is() {
    let (server, _dir) = serve("request_rate = 20", |config| {
        config.limits.max_request_rate = 5;
    })
    .await;
    let (alice, bob) = (alice(&server), bob(&server));
    let path = bob.create(10).await;
    let (before, reply) =
        until_refused(bob.tus("GET", &path).header("Origin", "https://a.example")).await;
    too_fast(&reply, 1);
    assert!(before >= 4, "a second's worth at once: {before}");
    let exposed = reply
        .header("Access-Control-Expose-Headers")
        .unwrap_or_default();
    assert!(exposed.contains("Retry-After"), "{reply:?}");
    // By whatever method, at every door, HEAD is free, and so is what browsers ask before.
    for n in 0..50 {
        let head = match n % 2 {
            0 => bob.tus("HEAD", &path),
            _ => bob
                .tus("POST", &path)
                .header("X-HTTP-Method-Override", "HEAD"),
        };
        assert_eq!(head.send().await.status, 200);
        let options = server.request("OPTIONS", "/files/").send().await;
        assert!(options.status < 300);
    }
    // The doors share one count.
    let mut refused = 0;
    for _ in 0..8 {
        let session = bob
            .own(server.request("GET", "/uploads/x/status"))
            .send()
            .await;
        // One that is let in has no end.
        let mut conn = server.connect().await;
        let follow = bob.own(server.request("GET", "/progress/events?upload=x"));
        conn.send(&follow.to_bytes()).await;
        let follow = conn.reply_to("HEAD").await;
        refused += usize::from(session.status == 429) + usize::from(follow.status == 429);
    }
    assert!(refused >= 4, "{refused}");
    // Another user has a count of her own, and a rate of her own.
    let (hers, _) = until_refused(alice.tus("GET", "/files/x")).await;
    assert!(hers >= 15, "{hers}");
    // It passes.
    until("requests are let in again", || async {
        bob.tus("GET", &path).send().await.status != 429
    })
    .await;
}

#[tokio::test]
async fn credentials_cannot_be_tried_at_any_rate() {
    let (server, _dir) = serve("", |config| config.limits.max_request_rate = 3).await;
    let guess = server
        .tus("GET", "/files/x")
        .header("Authorization", "Bearer guessed-token-of-length");
    let (before, reply) = until_refused(guess).await;
    too_fast(&reply, 1);
    assert!(before >= 3, "{before}");
    // A user from the same address is not hindered.
    alice(&server).create(1).await;
}

#[tokio::test]
async fn without_users_an_address_is_one() {
    let server = start_with(|config| {
        config.limits.max_request_rate = 3;
        config.behind_proxy = true;
    })
    .await;
    let get = |from: &str| {
        server
            .tus("GET", "/files/x")
            .header("X-Forwarded-For", from)
    };
    let (_, reply) = until_refused(get("192.0.2.1")).await;
    too_fast(&reply, 1);
    assert_eq!(get("192.0.2.2").send().await.status, 404);
    // What the client itself puts before it is not believed.
    let mut spoofed = 0;
    for n in 0..10 {
        let reply = get(&format!("198.51.100.{n}, 192.0.2.3")).send().await;
        spoofed += usize::from(reply.status == 429);
    }
    assert!(spoofed >= 4, "{spoofed}");
}

#[tokio::test]
async fn uploads_an_hour_are_counted_where_they_come_to_be() {
    let (server, _dir) = serve("uploads_per_hour = 3", |config| {
        config.limits.max_uploads_per_hour = 1;
    })
    .await;
    let (alice, bob) = (alice(&server), bob(&server));
    assert_eq!(
        alice.ask(1 << 40).await.status,
        413,
        "what is refused does not count"
    );
    let (a, b) = (alice.part(b"a").await, alice.part(b"b").await);
    let session = alice.own(server.request("POST", "/uploads/initialize"));
    let session = session.body(r#"{"filename":"f","size":1}"#);
    assert_eq!(session.clone().send().await.status, 201);
    too_fast(&session.send().await, 3600);
    too_fast(&alice.ask(1).await, 3600);
    // To join them is to begin nothing, and to delete one makes no room: it was begun.
    assert_eq!(alice.join(&[&a, &b]).await.status, 201);
    alice.delete(&a).await;
    too_fast(&alice.ask(1).await, 3600);
    bob.create(1).await;
    too_fast(&bob.ask(1).await, 3600);
}

#[tokio::test]
async fn open_uploads_make_room_when_they_are_complete_or_gone() {
    let (server, _dir) = serve("", |config| config.limits.max_open_uploads = 2).await;
    let alice = alice(&server);
    let (first, second) = (alice.create(5).await, alice.create(5).await);
    let reply = alice.ask(5).await;
    assert_eq!((reply.status, reply.code.as_str()), (429, "too-many-open"));
    assert!(reply.number("Retry-After").is_some());
    alice.create(0).await;
    alice.send(&first, 0, b"hello").await;
    alice.create(5).await;
    assert_eq!(alice.ask(5).await.status, 429);
    alice.delete(&second).await;
    alice.create(5).await;
    bob(&server).create(5).await;
}

/// Half a megabyte beyond a second's worth, at 256 KiB a second: two seconds at least.
const RATE: u64 = 256 << 10;
const LENGTH: usize = 3 * (256 << 10);
const LEAST: Duration = Duration::from_millis(1800);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bytes_past_the_rate_are_read_slower_and_nothing_fails() {
    let (server, _dir) = serve("", |config| {
        config.limits.max_byte_rate = RATE;
        // Far less than the whole takes: it is no silence of the client's.
        config.network_timeout = Duration::from_millis(400);
    })
    .await;
    let user = alice(&server);
    let data = bytes(1, LENGTH);
    let path = user.create(LENGTH as u64).await;
    let began = Instant::now();
    user.send(&path, 0, &data).await;
    // The last of its bytes are paid for by who comes next.
    let next = user.create(1).await;
    user.send(&next, 0, b"x").await;
    let took = began.elapsed();
    figure("one body", format!("{took:?}"));
    assert!(took >= LEAST, "{took:?}");
    assert!(user.tus("GET", &path).send().await.body == data);

    // In pieces of any size, and by all requests of a user together.
    let began = Instant::now();
    let paths = [
        user.create(LENGTH as u64 / 2).await,
        user.create(LENGTH as u64 / 2).await,
    ];
    let (one, two) = tokio::join!(
        in_pieces(user, &paths[0], &data[..LENGTH / 2], 5_000),
        in_pieces(user, &paths[1], &data[LENGTH / 2..], 100_000),
    );
    let took = began.elapsed();
    figure("two in pieces", format!("{took:?}"));
    assert!(took >= LEAST, "{took:?}");
    assert_eq!(one + two, LENGTH as u64);
    // Another user is not slowed down by it.
    let bob = bob(&server);
    let began = Instant::now();
    let path = bob.create(RATE / 2).await;
    bob.send(&path, 0, &data[..LENGTH / 6]).await;
    assert!(began.elapsed() < LEAST, "{:?}", began.elapsed());
}

async fn in_pieces(user: super::User, path: &str, data: &[u8], size: usize) -> u64 {
    let mut at = 0;
    for piece in data.chunks(size) {
        user.send(path, at, piece).await;
        at += piece.len() as u64;
    }
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chunks_of_sessions_and_http_2_are_slowed_down_as_well() {
    let server = start_with(|config| config.limits.max_byte_rate = RATE).await;
    let data = bytes(2, LENGTH);
    let ask = serde_json::json!({"filename": "f", "size": LENGTH, "chunk_size": RATE});
    let session = server.session(&ask).await;
    let began = Instant::now();
    for n in 1..=3 {
        assert_eq!(session.send(n, &data).await.status, 201);
    }
    // The last chunk's bytes are paid for by who comes next.
    assert_eq!(session.finalize().await.status, 200);
    assert_eq!(session.send(1, &data).await.status, 200, "a repetition");
    let took = began.elapsed();
    figure("chunks", format!("{took:?}"));
    assert!(took >= LEAST, "{took:?}");
    assert!(session.download().await.body == data);
    let server = start_with(|config| config.limits.max_byte_rate = RATE).await;
    let path = server.create(LENGTH as u64).await;
    let mut http2 = Http2::connect(&server).await;
    let (pieces, body) = Http2::body();
    let began = Instant::now();
    let answer = http2.patch(&path, 0, LENGTH, body);
    let send = async {
        pieces.send(&data).await;
        drop(pieces);
    };
    let (answer, ()) = tokio::join!(answer, send);
    let status = answer.status().as_u16();
    let took = began.elapsed();
    figure("HTTP/2", format!("{took:?}"));
    assert!(status == 204 && took >= LEAST, "{status} {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slowed_body_gives_way_and_ends_with_the_server() {
    let (mut server, _dir) = serve("", |config| config.limits.max_byte_rate = 1024).await;
    let user = alice(&server);
    let path = user.create(LENGTH as u64).await;
    let mut conn = server.connect().await;
    let begin = user.patch(&path, 0, bytes(1, LENGTH)).to_bytes();
    let sending = tokio::spawn(async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut conn.stream, &begin).await;
        conn
    });
    until("some of it came", || async { user.offset(&path).await > 0 }).await;
    // It is not silent, for all that: nobody takes it over with an offset that is not its own.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let other = user.patch(&path, 1, "x").send().await;
    assert_eq!(
        (other.status, other.code.as_str()),
        (409, "offset-mismatch")
    );
    assert_eq!(used(&server, "alice").await, (LENGTH as u64, 1));
    let began = Instant::now();
    user.delete(&path).await;
    let path = user.create(10).await;
    drop(sending.await);
    let mut conn = server.connect().await;
    conn.send(&user.patch(&path, 0, bytes(1, 10)).to_bytes())
        .await;
    server.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let (server, _dir) = serve("", |config| config.limits.max_connections_per_address = 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut conn = server.connect().await;
        conn.send(b"GET /healthzz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        assert_eq!(conn.reply().await.status, 404);
        held.push(conn);
    }
    let mut more = server.connect().await;
    let mut nothing = [0; 1];
    let read = tokio::time::timeout(Duration::from_secs(10), more.stream.read(&mut nothing)).await;
    let read = read.expect("it is closed at once");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop((more, held.pop()));
    until("there is room again", || async {
        let conn = Conn::try_open(server.addr).await;
        let Some(mut conn) = conn else { return false };
        let get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let sent = tokio::io::AsyncWriteExt::write_all(&mut conn.stream, get).await;
        sent.is_ok()
            && conn
                .try_reply("GET")
                .await
                .is_some_and(|reply| reply.status == 200)
    })
    .await;
    held.clear();
    // Until the last of them is forgotten, this one may be turned away itself.
    until("it is counted who was turned away", || async {
        let get = server.request("GET", "/metrics");
        let get = get.header("Authorization", format!("Bearer {ADMIN}"));
        let told = get.try_send().await;
        let text = told.map(|reply| String::from_utf8_lossy(&reply.body).into_owned());
        let name = "highwater_connections_turned_away_total ";
        let of = |text: &String| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.parse().ok())
        };
        text.as_ref()
            .and_then(of)
            .is_some_and(|count: u64| count >= 1)
    })
    .await;
}
