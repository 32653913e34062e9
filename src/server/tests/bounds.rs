//! What is bounded: heads, bodies after a refusal, connections, sockets.

use super::*;

#[tokio::test]
async fn a_head_that_does_not_come_ends_its_connection() {
    let config = Config {
        header_timeout: Duration::from_millis(150),
        ..Config::for_test()
    };
    let (running, _hand) = serve(config).await;
    for beginning in [
        "",
        "G",
        "PRI * HT",
        "GET /healthz HTTP/1.1\r\nHost",
        "POST /count HTTP/1.1\r\nHost: t\r\n",
    ] {
        let began = Instant::now();
        let mut socket = connect(&running).await;
        socket.write_all(beginning.as_bytes()).await.unwrap();
        let closed = tokio::time::timeout(LONG, to_close(socket)).await;
        assert!(closed.is_ok(), "{beginning:?} is still waited for");
        assert!(
            began.elapsed() >= Duration::from_millis(100),
            "{beginning:?}"
        );
    }
    // Idle after an answer.
    let mut socket = connect(&running).await;
    socket
        .write_all(b"GET /id HTTP/1.1\r\nHost: t\r\nX-Request-ID: i\r\n\r\n")
        .await
        .unwrap();
    assert!(to_end(&mut socket).await.ends_with("\r\n\r\ni"));
}

#[tokio::test]
async fn an_early_refusal_is_seen_by_a_client_that_still_sends() {
    let (running, _hand) = serve(Config::for_test()).await;
    // A body that fits is read to its end, and the connection goes on.
    let mut socket = connect(&running).await;
    socket
        .write_all(b"PATCH /no HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\n\r\n")
        .await
        .unwrap();
    socket.write_all(&vec![7; 200_000]).await.unwrap();
    until(&mut socket, "refused").await;
    socket
        .write_all(b"GET /id HTTP/1.1\r\nHost: t\r\nX-Request-ID: on\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(to_end(&mut socket).await.ends_with("\r\n\r\non"));
    // Of one that does not, the client sends until it is stopped, and only then reads.
    let mut socket = connect(&running).await;
    socket
        .write_all(b"PATCH /no HTTP/1.1\r\nHost: t\r\nContent-Length: 999999999\r\n\r\n")
        .await
        .unwrap();
    let mut sent = 0;
    while let Ok(n) =
        tokio::time::timeout(Duration::from_millis(200), socket.write(&[7; 8192])).await
    {
        sent += n.unwrap();
    }
    assert!(sent > 256 * 1024, "{sent}");
    until(&mut socket, "refused").await;
}

#[tokio::test]
async fn a_refused_body_behind_expect_is_not_asked_for() {
    let (running, _hand) = serve(Config::for_test()).await;
    let head = |path: &str| {
        format!(
            "PATCH {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let refused = raw(&running, head("/no").as_bytes()).await; // and the connection ends: what would come next is unknown
    assert!(
        refused.starts_with("HTTP/1.1 413 ") && !refused.contains("100 Continue"),
        "{refused}"
    );
    let mut socket = connect(&running).await;
    socket.write_all(head("/count").as_bytes()).await.unwrap();
    assert_eq!(
        until(&mut socket, "\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    socket.write_all(b"hello").await.unwrap();
    until(&mut socket, "\r\n\r\n5").await;
}

#[tokio::test]
async fn a_client_may_close_its_side_and_wait() {
    let (running, hand) = serve(Config::for_test()).await;
    let mut socket = connect(&running).await;
    socket
        .write_all(b"GET /wait HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    socket.shutdown().await.unwrap();
    let hand = hand.waiting(1).await;
    hand.go.add_permits(1);
    assert!(to_end(&mut socket).await.ends_with("waited"));
}

#[tokio::test]
async fn more_connections_than_the_limit_wait() {
    let config = Config {
        max_connections: 1,
        ..Config::for_test()
    };
    let (running, _hand) = serve(config).await;
    let request = b"GET /id HTTP/1.1\r\nHost: t\r\nX-Request-ID: x\r\n\r\n";
    let mut first = connect(&running).await;
    first.write_all(request).await.unwrap();
    until(&mut first, "\r\n\r\nx").await;
    let mut second = connect(&running).await; // in the backlog
    second.write_all(request).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "served beside the first: {early:?}");
    drop(first);
    until(&mut second, "\r\n\r\nx").await;
}

#[tokio::test]
async fn a_unix_socket_is_as_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("highwater.sock");
    let config = Config {
        unix_sock: Some(path.clone()),
        ..Config::for_test()
    };
    let (running, _hand) = serve(config.clone()).await;
    assert_eq!(
        (running.addr(), running.url()),
        (None, format!("http://unix:{}:/files/", path.display()))
    );
    for (request, end) in [
        (
            "POST /count HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
            "\r\n\r\n5",
        ),
        ("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n", "\r\n\r\nok\n"),
    ] {
        let mut socket = UnixStream::connect(&path).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        assert!(to_end(&mut socket).await.ends_with(end));
    }
    let second = start(config)
        .await
        .expect_err("the socket is taken")
        .to_string();
    assert!(
        second.contains("highwater.sock") && second.contains("another server"),
        "{second}"
    );
    running.stop();
    ended(running).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_port_in_use_is_told_in_a_line() {
    let (running, _hand) = serve(Config::for_test()).await;
    let config = Config {
        port: running.addr().unwrap().port(),
        ..Config::for_test()
    };
    let error = start(config)
        .await
        .expect_err("the port is taken")
        .to_string();
    assert!(
        error.starts_with("cannot listen on 127.0.0.1:") && !error.contains('\n'),
        "{error}"
    );
    assert_eq!(
        running.url(),
        format!("http://{}/files/", running.addr().unwrap())
    );
    let dir = tempfile::tempdir().unwrap();
    let v6 = Config {
        host: "[::1]".into(),
        upload_dir: dir.path().into(),
        ..Config::for_test()
    };
    assert!(start(v6).await.unwrap().url().starts_with("http://[::1]:"));
}

/// Reads to the connection's end, orderly or not.
async fn to_close(mut socket: TcpStream) {
    let _ = socket.read_to_end(&mut Vec::new()).await;
}
