//! The end.

use super::*;

#[tokio::test]
async fn a_stop_lets_running_requests_finish() {
    let (running, hand) = serve(Config::for_test()).await;
    let mut waiting = connect(&running).await;
    waiting
        .write_all(b"GET /wait HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    let mut h2 = http2(&running).await.unwrap();
    let streaming = tokio::spawn(async move {
        h2.send_request(Request::get("http://t/wait").body(full("")).unwrap())
            .await
    });
    let mut idle = connect(&running).await;
    idle.write_all(b"GET /id HTTP/1.1\r\nHost: t\r\nX-Request-ID: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut idle, "\r\n\r\nx").await;
    let mut fresh = connect(&running).await;
    let hand = hand.waiting(2).await;
    running.stop();
    assert_eq!(
        to_end(&mut idle).await,
        "",
        "an idle connection ends at once"
    );
    let _ = fresh.read_to_end(&mut Vec::new()).await; // so does one that has asked for nothing
    let addr = running.addr().unwrap();
    while TcpStream::connect(addr).await.is_ok() {} // the listening socket closes while requests run
    hand.go.add_permits(2);
    assert!(to_end(&mut waiting).await.ends_with("waited"));
    assert_eq!(text(streaming.await.unwrap().unwrap()).await, "waited");
    ended(running).await;
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_it_may() {
    let config = Config {
        shutdown_timeout: Duration::from_millis(100),
        ..Config::for_test()
    };
    let (running, hand) = serve(config).await;
    let mut waiting = connect(&running).await;
    waiting
        .write_all(b"GET /wait HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    let mut h2 = http2(&running).await.unwrap();
    let streaming = tokio::spawn(async move {
        h2.send_request(Request::get("http://t/wait").body(full("")).unwrap())
            .await
    });
    let hand = hand.waiting(2).await;
    running.stop();
    ended(running).await;
    assert_eq!(hand.go.available_permits(), 0);
    assert_eq!(to_end(&mut waiting).await, "");
    assert!(streaming.await.unwrap().is_err());
}
