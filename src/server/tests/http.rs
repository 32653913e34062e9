//! What requests get.

use super::*;

#[tokio::test]
async fn requests_follow_each_other_on_a_connection() {
    let (running, _hand) = serve(Config::for_test()).await;
    let mut socket = connect(&running).await;
    socket
        .write_all(b"POST /count HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello")
        .await
        .unwrap();
    until(&mut socket, "\r\n\r\n5").await;
    // Pipelined; /healthz is the server's own on a worker's connection too.
    let both = b"POST /count HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    socket.write_all(both).await.unwrap();
    let rest = to_end(&mut socket).await;
    assert_eq!(rest.matches("HTTP/1.1 200 OK").count(), 2, "{rest}");
    assert!(
        rest.contains("\r\n\r\n3HTTP/1.1") && rest.ends_with("\r\n\r\nok\n"),
        "{rest}"
    );
}

#[tokio::test]
async fn health_is_told_before_anything_else() {
    let config = Config {
        base_path: "/".parse().unwrap(),
        ..Config::for_test()
    };
    let (running, _hand) = serve(config).await;
    let get = raw(
        &running,
        b"GET /healthz HTTP/1.1\r\nHost: t\r\nX-Request-ID: mine\r\n\r\n",
    )
    .await;
    assert!(
        get.starts_with("HTTP/1.1 200 OK\r\n") && get.ends_with("\r\n\r\nok\n"),
        "{get}"
    );
    assert!(
        get.contains("connection: close\r\n") && get.contains("x-request-id: mine\r\n"),
        "{get}"
    );
    let head = raw(&running, b"HEAD /healthz HTTP/1.0\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.0 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let post = raw(
        &running,
        b"POST /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD\r\n"),
        "{post}"
    );
    let longer = raw(
        &running,
        b"GET /healthz/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(longer.starts_with("HTTP/1.1 413 "), "{longer}");
}

#[test]
fn health_is_told_while_every_worker_is_busy() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (running, hand) = runtime.block_on(serve(Config::for_test()));
    let ask = |path: &str| {
        let mut socket = std::net::TcpStream::connect(running.addr().unwrap()).unwrap();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        socket
    };
    let mut blocked = ask("/block");
    hand.waiting.recv().unwrap();
    let mut answer = String::new();
    ask("/healthz").read_to_string(&mut answer).unwrap(); // for ever, were it a worker's to answer
    assert!(answer.ends_with("ok\n"), "{answer}");
    hand.unblock.send(()).unwrap();
    answer.clear();
    blocked.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("blocked"), "{answer}");
}

#[tokio::test]
async fn heads_have_room_and_a_limit() {
    let (running, _hand) = serve(Config::for_test()).await;
    let with = |bytes: usize| {
        format!(
            "GET /head HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX: {}\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    assert!(
        raw(&running, with(128 * 1024).as_bytes())
            .await
            .ends_with("\r\n\r\n128")
    );
    // The rest of a head that is too long is not read: the client may find a reset after the answer.
    let mut socket = connect(&running).await;
    let _ = socket.write_all(with(600 * 1024).as_bytes()).await;
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 431");
    for broken in [
        "GET /\x01 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nBad Name: x\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answer = raw(&running, broken.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{broken:?}: {answer}");
    }
}

#[tokio::test]
async fn http2_is_spoken_by_prior_knowledge() {
    let (running, _hand) = serve(Config::for_test()).await;
    let mut send = http2(&running).await.unwrap();
    let request = |path: &str| Request::post(format!("http://t{path}"));
    let upload = request("/count").body(full(vec![7; 20 << 20])).unwrap(); // more than the windows
    let large = request("/head")
        .header("x", "x".repeat(128 * 1024))
        .body(full(""))
        .unwrap();
    let (upload, large) = tokio::join!(send.send_request(upload), send.clone().send_request(large));
    assert_eq!(text(upload.unwrap()).await, (20 << 20).to_string());
    assert_eq!(text(large.unwrap()).await, "128");
    let health = send
        .send_request(Request::get("http://t/healthz").body(full("")).unwrap())
        .await
        .unwrap();
    assert_eq!(text(health).await, "ok\n");
    // An early refusal resets its stream, after the answer, and no other.
    let refused = send
        .send_request(request("/no").body(full(vec![7; 20 << 20])).unwrap())
        .await
        .unwrap();
    assert_eq!(
        (refused.status().as_u16(), text(refused).await.as_str()),
        (413, "refused")
    );
    let after = send
        .send_request(request("/count").body(full("abc")).unwrap())
        .await
        .unwrap();
    assert_eq!(text(after).await, "3");
}

#[tokio::test]
async fn http2_can_be_switched_off() {
    let config = Config {
        enable_h2c: false,
        ..Config::for_test()
    };
    let (running, _hand) = serve(config).await;
    let asked = async {
        let mut send = http2(&running).await?;
        send.send_request(Request::get("http://t/id").body(full("")).unwrap())
            .await
    };
    assert!(asked.await.is_err());
}

#[tokio::test]
async fn each_answer_has_its_requests_id() {
    let (running, _hand) = serve(Config::for_test()).await;
    let taken = raw(
        &running,
        b"GET /id HTTP/1.1\r\nHost: t\r\nX-Request-ID: client-1\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        taken.contains("x-request-id: client-1\r\n") && taken.ends_with("\r\n\r\nclient-1"),
        "{taken}"
    );
    let made = raw(
        &running,
        b"GET /id HTTP/1.1\r\nHost: t\r\nX-Request-ID: not sane\r\nConnection: close\r\n\r\n",
    )
    .await;
    let id = made.rsplit("\r\n\r\n").next().unwrap();
    assert!(
        id.len() == 36 && made.contains(&format!("x-request-id: {id}\r\n")),
        "{made}"
    );
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_server_lives() {
    let (running, _hand) = serve(Config::for_test()).await;
    let mut socket = connect(&running).await;
    socket
        .write_all(b"GET /panic HTTP/1.1\r\nHost: t\r\nX-Request-ID: p\r\n\r\n")
        .await
        .unwrap();
    let answer = until(&mut socket, "}").await;
    assert!(
        answer.starts_with("HTTP/1.1 500 ") && answer.contains("x-request-id: p\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("content-type: application/problem+json")
            && answer.contains(r#""code":"internal""#)
    );
    socket
        .write_all(
            b"GET /id HTTP/1.1\r\nHost: t\r\nX-Request-ID: after\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    assert!(to_end(&mut socket).await.ends_with("after"));
}
