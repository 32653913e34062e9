//! Through real sockets, on a free port, with bytes written out.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

use super::body::ResponseBody;
use super::*;

/// An application for tests: what it does with a request stands in the path.
#[derive(Clone)]
struct Probe {
    /// Told each time that a request waits.
    waiting: mpsc::Sender<()>,
    /// A permit lets one waiting request go on.
    go: Arc<Semaphore>,
    /// `/block` blocks its worker until this is sent to.
    block: Arc<Mutex<mpsc::Receiver<()>>>,
}

struct Hand {
    waiting: mpsc::Receiver<()>,
    go: Arc<Semaphore>,
    unblock: mpsc::Sender<()>,
}

fn probe() -> (Probe, Hand) {
    let (waiting, is_waiting) = mpsc::channel();
    let (unblock, block) = mpsc::channel();
    let go = Arc::new(Semaphore::new(0));
    let block = Arc::new(Mutex::new(block));
    let probe = Probe {
        waiting,
        go: Arc::clone(&go),
        block,
    };
    (
        probe,
        Hand {
            waiting: is_waiting,
            go,
            unblock,
        },
    )
}

impl Probe {
    async fn call(
        self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let id = request.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let head: usize = request
            .headers()
            .iter()
            .map(|(k, v)| k.as_str().len() + v.len())
            .sum();
        let path = request.uri().path().to_owned();
        let text = match path.as_str() {
            "/id" => id,
            "/head" => (head / 1024).to_string(),
            "/count" => count(request.into_body()).await.to_string(),
            "/panic" => panic!("as asked"),
            "/wait" => {
                self.waiting.send(()).unwrap();
                self.go.acquire().await.unwrap().forget();
                "waited".to_owned()
            }
            "/block" => {
                self.waiting.send(()).unwrap();
                self.block.lock().unwrap().recv().unwrap();
                "blocked".to_owned()
            }
            _ => {
                let mut refused = Response::new(full("refused"));
                *refused.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                return Ok(refused);
            }
        };
        Ok(Response::new(full(text)))
    }
}

async fn count(mut body: RequestBody) -> usize {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    bytes
}

async fn serve(config: Config) -> (Running, Hand) {
    let (probe, hand) = probe();
    let app = tower::service_fn(move |request| probe.clone().call(request));
    let running = start_with(config.checked().unwrap(), app).await.unwrap();
    (running, hand)
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.addr().unwrap()).await.unwrap()
}

/// Sends these bytes and reads to the connection's end; they ask for it by `Connection: close`.
async fn raw(running: &Running, bytes: &[u8]) -> String {
    let mut socket = connect(running).await;
    socket.write_all(bytes).await.unwrap();
    to_end(&mut socket).await
}

async fn to_end(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads until the answer so far ends in this.
async fn until(socket: &mut TcpStream, end: &str) -> String {
    let mut answer = String::new();
    while !answer.ends_with(end) {
        let mut byte = [0];
        assert_eq!(
            socket.read(&mut byte).await.unwrap(),
            1,
            "ended after {answer:?}"
        );
        answer.push(char::from(byte[0]));
    }
    answer
}

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
        base_path: "/".into(),
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

async fn http2(
    running: &Running,
) -> hyper::Result<hyper::client::conn::http2::SendRequest<ResponseBody>> {
    let io = TokioIo::new(connect(running).await);
    let (send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    Ok(send)
}

async fn text(answer: Response<hyper::body::Incoming>) -> String {
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    String::from_utf8(bytes).unwrap()
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
        let _ = socket.read_to_end(&mut Vec::new()).await; // for ever without the timeout
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
        tokio::time::timeout(Duration::from_millis(200), socket.write(&[7; 65536])).await
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
    tokio::task::spawn_blocking(move || hand.waiting.recv())
        .await
        .unwrap()
        .unwrap();
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
    let hand = tokio::task::spawn_blocking(move || {
        (0..2).for_each(|_| hand.waiting.recv().unwrap());
        hand
    });
    let hand = hand.await.unwrap();
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
    running.wait().await;
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
    let hand = tokio::task::spawn_blocking(move || {
        (0..2).for_each(|_| hand.waiting.recv().unwrap());
        hand
    });
    let hand = hand.await.unwrap();
    running.stop();
    running.wait().await;
    assert_eq!(hand.go.available_permits(), 0);
    assert_eq!(to_end(&mut waiting).await, "");
    assert!(streaming.await.unwrap().is_err());
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
    running.wait().await;
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
    let v6 = Config {
        host: "[::1]".into(),
        ..Config::for_test()
    };
    assert!(start(v6).await.unwrap().url().starts_with("http://[::1]:"));
}
