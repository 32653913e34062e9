//! A client that speaks HTTP/2 by prior knowledge, many requests on one connection.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::request::Builder;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Client;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One connection.
pub struct Http2 {
    origin: String,
    sender: SendRequest<Body>,
}

/// The sending end of a body; dropped, it ends the body.
pub struct Pieces(mpsc::Sender<Bytes>);

impl Pieces {
    pub async fn send(&self, bytes: &[u8]) {
        for piece in bytes.chunks(64 << 10) {
            let piece = Bytes::copy_from_slice(piece);
            self.0.send(piece).await.expect("the body is wanted");
        }
    }
}

impl Http2 {
    pub async fn connect(client: &Client) -> Self {
        let socket = TcpStream::connect(client.addr).await.expect("a connection");
        let handshake = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(400 << 10) // of an answer to HEAD that names a thousand parts
            .handshake(TokioIo::new(socket));
        let (sender, connection) = handshake.await.expect("HTTP/2");
        tokio::spawn(connection);
        Self {
            origin: format!("http://{}", client.addr),
            sender,
        }
    }

    /// A body that is sent piece by piece.
    pub fn body() -> (Pieces, Body) {
        let (send, receive) = mpsc::channel::<Bytes>(64);
        let frames = stream::unfold(receive, async |mut receive| {
            let piece = receive.recv().await?;
            Some((Ok(Frame::data(piece)), receive))
        });
        (Pieces(send), StreamBody::new(frames).boxed_unsync())
    }

    fn request(&self, method: &str, path: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .header("Tus-Resumable", "1.0.0")
    }

    fn send(
        &mut self,
        builder: Builder,
        body: Body,
    ) -> impl Future<Output = Response<Incoming>> + use<> {
        let request = builder.body(body).expect("a request");
        let answer = self.sender.send_request(request);
        async move { answer.await.expect("an answer") }
    }

    /// Asks for a creation with these headers.
    pub async fn create(&mut self, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
        let mut builder = self.request("POST", path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        self.send(builder, Empty::new().boxed_unsync()).await
    }

    /// Sends a body of `length` bytes to an upload; the answer may be waited for elsewhere.
    pub fn patch(
        &mut self,
        path: &str,
        offset: u64,
        length: usize,
        body: Body,
    ) -> impl Future<Output = Response<Incoming>> + use<> {
        let builder = self
            .request("PATCH", path)
            .header("Upload-Offset", offset)
            .header("Content-Length", length)
            .header("Content-Type", "application/offset+octet-stream");
        self.send(builder, body)
    }

    pub async fn ask(&mut self, method: &str, path: &str) -> Response<Incoming> {
        let builder = self.request(method, path);
        self.send(builder, Empty::new().boxed_unsync()).await
    }
}

/// The path of `Location`.
pub fn path_of(answer: &Response<Incoming>) -> String {
    let location = answer.headers()["location"].to_str().expect("text");
    let (_, rest) = location.split_once("://").expect("an absolute Location");
    rest[rest.find('/').expect("a path")..].to_owned()
}

/// The whole body of an answer.
pub async fn bytes_of(mut answer: Response<Incoming>) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(frame) = answer.frame().await {
        let frame = frame.expect("a frame");
        body.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    body
}
