//! The same over HTTP/2, whose frames carry what HTTP/1.1 could not say: written by hand, since no client would.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::http2::{Http2, bytes_of};
use crate::support::{Client, Process, start};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A number of HPACK's in the lowest seven bits. Source: RFC 7541, 5.1.
fn number(mut n: usize) -> Vec<u8> {
    if n < 127 {
        return vec![u8::try_from(n).expect("seven bits")];
    }
    let mut out = vec![127];
    n -= 127;
    while n >= 128 {
        out.push(u8::try_from(n % 128 + 128).expect("eight bits"));
        n /= 128;
    }
    out.push(u8::try_from(n).expect("seven bits"));
    out
}

/// Fields as they are, without an index.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.extend(number(text.len()));
            out.extend(text.bytes());
        }
    }
    out
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With an answer.
    Answered,
    /// The stream was reset.
    Reset,
    /// The connection was closed, with a reason or without.
    Closed,
}

async fn connect(client: &Client) -> TcpStream {
    let mut socket = TcpStream::connect(client.addr).await.expect("a connection");
    let preface = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, b""),
    ];
    socket
        .write_all(&preface.concat())
        .await
        .expect("it is sent");
    socket
}

/// Reads until the server has said how stream 1 ends, or has closed.
async fn end(socket: &mut TcpStream) -> End {
    let read = async {
        loop {
            let mut head = [0; 9];
            if socket.read_exact(&mut head).await.is_err() {
                return End::Closed;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("a length")];
            if socket.read_exact(&mut payload).await.is_err() {
                return End::Closed;
            }
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], stream) {
                (HEADERS, 1) => return End::Answered,
                (RST_STREAM, 1) => return End::Reset,
                (GOAWAY, _) => return End::Closed,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, read).await.expect("an end in time")
}

/// A request for `path`, with what a PATCH at 0 says besides.
fn patch(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "PATCH"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "t"),
        ("tus-resumable", "1.0.0"),
        ("upload-offset", "0"),
        ("content-type", "application/offset+octet-stream"),
    ]
}

/// Sends five bytes with these fields. How it ends, and the upload's offset then.
async fn attack(client: &Client, change: impl Fn(&mut Vec<(&str, &str)>)) -> (End, u64) {
    let path = client.create(100).await;
    let mut fields = patch(&path);
    change(&mut fields);
    let mut socket = connect(client).await;
    let bytes = [
        frame(HEADERS, END_HEADERS, 1, &block(&fields)),
        frame(DATA, END_STREAM, 1, b"hello"),
    ];
    let _ = socket.write_all(&bytes.concat()).await;
    (end(&mut socket).await, client.offset(&path).await)
}

#[tokio::test]
async fn lengths_and_fields_of_a_connection_are_no_way_around() {
    let server = start().await;
    let taken = attack(&server, |_| {}).await;
    assert_eq!(taken, (End::Answered, 5));
    for fields in [
        &[("content-length", "3")][..],
        &[("content-length", "9")],
        &[("content-length", "0")],
        &[("content-length", "+5")],
        &[("content-length", "5, 5")],
        &[("content-length", "5"), ("content-length", "6")],
        &[("transfer-encoding", "chunked")],
        &[("connection", "close")],
        &[("upgrade", "websocket")],
        &[("te", "chunked")],
        &[("Content-Length", "5")],
        &[("x", "y\r\ncontent-length: 5")],
        &[("x", "y\0")],
        &[("x\r\ny", "z")],
        &[("x y", "z")],
        &[("", "z")],
        &[(":path", "/files/other")],
        &[(":status", "200")],
        &[(":unknown", "x")],
    ] {
        let (end, offset) = attack(&server, |all| all.extend(fields)).await;
        assert_ne!(end, End::Answered, "{fields:?}");
        assert_eq!(offset, 0, "{fields:?}");
    }
    // A head that is no request.
    for (name, value) in [
        (":path", ""),
        (":path", "files/x"),
        (":path", "/files/x HTTP/1.1\r\nHost: u"),
        (":path", "/files/\u{0}"),
        (":method", "PATCH /x"),
        (":method", ""),
        (":authority", "u@t/x"),
        (":authority", "t\r\nx: y"),
    ] {
        let change = |all: &mut Vec<(&str, &str)>| {
            for field in all.iter_mut().filter(|field| field.0 == name) {
                field.1 = if value == "/files/\u{0}" {
                    "/files/\0"
                } else {
                    value
                };
            }
        };
        let (_, offset) = attack(&server, change).await;
        assert_eq!(offset, 0, "{name} {value:?}");
    }
    for missing in [":method", ":path", ":scheme"] {
        let (end, offset) = attack(&server, |all| all.retain(|(name, _)| *name != missing)).await;
        assert!(end != End::Answered && offset == 0, "{missing}");
    }
}

/// A proxy may have let the one host pass, and the request be meant for the other.
#[tokio::test]
async fn a_host_beside_another_authority() {
    let server = start().await;
    for (hosts, taken) in [
        (&["t"][..], true),
        (&["T:80"], true),
        (&["u"], false),
        (&["t:81"], false),
        (&["t", "u"], false),
        (&["u", "t"], false),
        (&["t, u"], false),
        (&["t@u"], false),
        (&[""], false),
    ] {
        let add =
            |all: &mut Vec<(&str, &str)>| all.extend(hosts.iter().map(|host| ("host", *host)));
        let (end, offset) = attack(&server, add).await;
        assert_eq!(
            (end, offset),
            (End::Answered, if taken { 5 } else { 0 }),
            "{hosts:?}"
        );
    }
    // Without an authority it is the host that is asked for, and one alone.
    for (hosts, offset) in [(&["u"][..], 5), (&["t", "u"], 0), (&["a b"], 0)] {
        let change = |all: &mut Vec<(&str, &str)>| {
            all.retain(|(name, _)| *name != ":authority");
            all.extend(hosts.iter().map(|host| ("host", *host)));
        };
        assert_eq!(attack(&server, change).await.1, offset, "{hosts:?}");
    }
    let mut client = Http2::connect(&server).await;
    let length = ("Upload-Length", "5");
    let answer = client.create("/files/", &[length, ("Host", "u")]).await;
    assert_eq!(answer.status(), 400);
    let body = bytes_of(answer).await;
    assert!(String::from_utf8_lossy(&body).contains("\"bad-header\""));
    let answer = client
        .create("/files/", &[length, ("Host", &server.addr.to_string())])
        .await;
    assert_eq!(answer.status(), 201);
}

#[tokio::test]
async fn trailers_change_nothing_of_the_head() {
    let server = start().await;
    let path = server.create(100).await;
    let mut socket = connect(&server).await;
    let trailers = [
        ("content-length", "99"),
        ("upload-offset", "50"),
        ("upload-length", "5"),
        ("authorization", "Bearer x"),
        ("x-http-method-override", "DELETE"),
    ];
    let bytes = [
        frame(HEADERS, END_HEADERS, 1, &block(&patch(&path))),
        frame(DATA, PADDED, 1, b"\x03hello\0\0\0"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&trailers)),
    ];
    socket.write_all(&bytes.concat()).await.expect("it is sent");
    assert_eq!(end(&mut socket).await, End::Answered);
    let head = server.head(&path).await;
    let told = ["Upload-Offset", "Upload-Length"].map(|name| head.number(name));
    assert_eq!(told, [Some(5), Some(100)]);
}

/// Sends `bytes` again and again, up to so many times: whether the server closed on them.
async fn flood(socket: &mut TcpStream, times: u32, bytes: impl Fn(u32) -> Vec<u8>) -> bool {
    for n in 0..times {
        match timeout(PATIENCE, socket.write_all(&bytes(n))).await {
            Ok(Ok(())) => {}
            // Nobody reads any more: that is as good.
            Ok(Err(_)) | Err(_) => return true,
        }
    }
    false
}

/// Frames without an end: a head that goes on for ever, one that grows out of a few bytes, streams that are begun and reset,
/// bodies of empty frames, and questions. Memory stays, and others are served meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_an_end_cost_their_own_connection() {
    const MORE: u64 = 16 << 20;
    let dir = tempfile::tempdir().expect("a directory");
    let server = Process::start(dir.path(), &["--enable-h2c"]);
    let path = server.whole(b"hello").await;
    let before = server.memory();
    let client = *server;
    let get = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/files/never"),
        (":authority", "t"),
    ];
    let open = frame(HEADERS, 0, 1, &block(&get));

    let mut socket = connect(&client).await;
    socket.write_all(&open).await.expect("it is sent");
    let empty = |_| frame(CONTINUATION, 0, 1, b"");
    assert!(
        flood(&mut socket, 100_000, empty).await,
        "empty continuations"
    );

    let mut socket = connect(&client).await;
    socket.write_all(&open).await.expect("it is sent");
    let long = "x".repeat(8000);
    let grow = |n| frame(CONTINUATION, 0, 1, &block(&[(&format!("x-{n}"), &long)]));
    assert!(flood(&mut socket, 10_000, grow).await, "continuations");

    // A field of 3,900 bytes in the table, named again by a byte each.
    let mut bomb = block(&get);
    bomb.extend([0x40, 1, b'x']);
    bomb.extend(number(3900));
    bomb.extend([b'x'; 3900]);
    bomb.extend([0xbe; 8000]);
    let mut socket = connect(&client).await;
    let bomb = frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    socket.write_all(&bomb).await.expect("it is sent");
    assert_ne!(
        end(&mut socket).await,
        End::Answered,
        "a head that unpacks to 31 MB"
    );

    let mut socket = connect(&client).await;
    let reset = |n| {
        let stream = 2 * n + 1;
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get));
        [head, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    assert!(flood(&mut socket, 100_000, reset).await, "resets");

    let upload = client.create(100).await;
    let mut socket = connect(&client).await;
    let head = frame(HEADERS, END_HEADERS, 1, &block(&patch(&upload)));
    socket.write_all(&head).await.expect("it is sent");
    let nothing = frame(DATA, 0, 1, b"").repeat(100);
    assert!(
        flood(&mut socket, 10_000, |_| nothing.clone()).await,
        "empty data"
    );
    assert_eq!(client.offset(&upload).await, 0);

    // Questions are answered, to whoever reads; whoever does not is not read any more either.
    for question in [frame(PING, 0, 0, b"eight by"), frame(SETTINGS, 0, 0, b"")] {
        let mut socket = connect(&client).await;
        let many = question.repeat(1000);
        let sending = timeout(std::time::Duration::from_secs(1), async {
            while socket.write_all(&many).await.is_ok() {}
        });
        let _ = sending.await;
        assert_eq!(client.get(&path).await.body, b"hello");
    }
    let after = server.memory();
    assert!(after < before + MORE, "{before} before, {after} after");
}
