//! What is around every request, outermost first: it is counted; it gets an id and a span; the server's own paths are answered,
//! and heads refused that no door is to see; and there is a net under panics.
//!
//! All of it looks at heads only, and no frame of a body is boxed.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use http::header::{CONNECTION, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use tower::{Service, ServiceExt};
use tracing::{Instrument, debug, error, error_span};
use uuid::Uuid;

use super::body::{Linger, RequestBody, ResponseBody};
use super::routes;
use crate::error::{Code, Reject};
use crate::meter::Meter;
use crate::protocol::{HeaderError, authority, one};
use crate::tus;

/// The application under the stack: it never fails, since a failure is an answer.
pub(super) trait App:
    Service<
        Request<RequestBody>,
        Response = Response<ResponseBody>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
}

impl<S> App for S where
    S: Service<
            Request<RequestBody>,
            Response = Response<ResponseBody>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + Send
        + 'static
{
}

/// An [`App`] as hyper's connections call it.
#[derive(Debug, Clone)]
pub(super) struct Stack<A> {
    pub(super) app: A,
    pub(super) meter: Arc<Meter>,
}

type Answer = Result<Response<ResponseBody>, Infallible>;

impl<A: App> hyper::service::Service<Request<Incoming>> for Stack<A> {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(counted(self.clone(), request))
    }
}

/// Counts a request with its answer.
async fn counted<A: App>(stack: Stack<A>, request: Request<Incoming>) -> Answer {
    let (method, began) = (request.method().clone(), Instant::now());
    let answer = identified(stack.app, request).await;
    let Ok(answered) = &answer else {
        return answer; // never: it is Infallible
    };
    let status = answered.status().as_u16();
    stack
        .meter
        .answered(method.as_str(), status, began.elapsed());
    if let Some(Code(code)) = answered.extensions().get() {
        stack.meter.refused.one(code);
    }
    answer
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its id: in the head that the application sees, in each line of its log, in its answer.
async fn identified<A: App>(app: A, mut request: Request<Incoming>) -> Answer {
    let id = request_id(request.headers());
    // Of the level of errors, so that it is there at every level of the log.
    let span = error_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = request.method().as_str(),
        path = request.uri().path(),
    );
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let mut answer = answered(app, request).instrument(span).await;
    answer.headers_mut().insert(X_REQUEST_ID, id);
    Ok(answer)
}

/// The client's, where it can stand in a log and a header; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b);
    let sane = |id: &&HeaderValue| (1..=128).contains(&id.len()) && id.as_bytes().iter().all(plain);
    match headers.get(X_REQUEST_ID).filter(sane) {
        Some(id) => id.clone(),
        None => made_up(),
    }
}

fn made_up() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
}

async fn answered<A: App>(app: A, request: Request<Incoming>) -> Response<ResponseBody> {
    if let Some(answer) = routes::fixed(request.method(), request.uri().path()) {
        return answer;
    }
    // From here on the body lingers where it is not read, so that a refusal is not lost in a reset.
    let linger = linger(&request);
    let request = request.map(|incoming| RequestBody::new(incoming, linger));
    if let Err(reject) = known(&request) {
        let mut refused = tus::problem(&reject);
        // Where the body ends is not sure to everybody on the way, nor is what follows it another request then.
        if request.headers().contains_key(TRANSFER_ENCODING) {
            let close = HeaderValue::from_static("close");
            refused.headers_mut().insert(CONNECTION, close);
        }
        return refused;
    }
    if let Err(error) = host(&request) {
        return tus::problem(&error.into());
    }
    // Whatever a panic left half done is its request's own: what requests share is behind locks that do not poison.
    match AssertUnwindSafe(app.oneshot(request)).catch_unwind().await {
        Ok(Ok(mut answer)) => {
            debug!(status = answer.status().as_u16(), "answered");
            if answer.status().as_u16() == 460 {
                // A status of tus's own, which hyper has no words for.
                answer
                    .extensions_mut()
                    .insert(ReasonPhrase::from_static(b"Checksum Mismatch"));
            }
            answer
        }
        Err(_) => {
            error!("the request ended in a panic");
            tus::problem(&Reject::Panicked)
        }
    }
}

/// That the request is of a method of HTTP's, and its body in no other transfer coding than `chunked`: hyper takes off the last
/// coding alone, and what is left would be stored in the code of the ones before. Source: RFC 9110, 9.1; RFC 9112, 6.1.
fn known<B>(request: &Request<B>) -> Result<(), Reject> {
    const METHODS: [Method; 9] = [
        Method::CONNECT,
        Method::DELETE,
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::POST,
        Method::PUT,
        Method::TRACE,
    ];
    if !METHODS.contains(request.method()) {
        return Err(Reject::Unknown("this method"));
    }
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if chunked(coding) => Ok(()),
        _ => Err(Reject::Unknown("this transfer coding")),
    }
}

/// HTTP/1.1 has one `Host`, and one that can be a host's name. On HTTP/2 it is left out, or says what `:authority` does: a proxy on the
/// way may have judged by the one, where we would go by the other. Source: RFC 9112, 3.2; RFC 9113, 8.3.1.
fn host<B>(request: &Request<B>) -> Result<(), HeaderError> {
    if !matches!(request.version(), Version::HTTP_11 | Version::HTTP_2) {
        return Ok(());
    }
    let host = match one(request.headers(), "Host")? {
        Some(host) => host.to_str().ok(),
        None if request.version() == Version::HTTP_2 => return Ok(()),
        None => return Err(HeaderError::Missing("Host")),
    };
    let fits = |host| match request.uri().authority() {
        Some(authority) if request.version() == Version::HTTP_2 => {
            authority::same(authority.as_str(), host)
        }
        _ => authority::is_valid(host),
    };
    host.is_some_and(fits)
        .then_some(())
        .ok_or(HeaderError::Malformed("Host"))
}

fn linger<B>(request: &Request<B>) -> Linger {
    match request.version() {
        Version::HTTP_2 => Linger::Never,
        _ if request.headers().contains_key(EXPECT) => Linger::OncePolled,
        _ => Linger::Always,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_id_is_taken_when_it_is_sane() {
        let id = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            request_id(&headers)
        };
        for sane in [
            "a",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "Root=1-5e.x:2/3+a_b@c",
            &"x".repeat(128),
        ] {
            assert_eq!(id(sane.as_bytes()), sane);
        }
        for other in [
            "",
            "two words",
            "a\"b",
            "a{b}",
            "\u{e9}",
            "a\tb",
            &"x".repeat(129),
        ] {
            let made = id(other.as_bytes());
            assert!(
                Uuid::try_parse(made.to_str().unwrap()).is_ok(),
                "{other}: {made:?}"
            );
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn methods_of_http_are_known_and_one_transfer_coding() {
        let request = |method: &str, codings: &[&str]| {
            let mut request = Request::builder().method(method);
            for coding in codings {
                request = request.header(TRANSFER_ENCODING, *coding);
            }
            known(&request.body(()).unwrap()).is_ok()
        };
        assert!(request("PUT", &[]) && request("POST", &["Chunked"]));
        assert!(!request("BREW", &[]) && !request("patch", &[]));
        assert!(!request("POST", &["gzip, chunked"]) && !request("POST", &["gzip", "chunked"]));
    }

    #[test]
    fn a_host_is_one_and_the_authoritys() {
        let taken = |version, uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().version(version).uri(uri);
            for name in hosts {
                request = request.header("host", *name);
            }
            host(&request.body(()).unwrap()).is_ok()
        };
        for (uri, hosts, one, two) in [
            ("/", &["t"][..], true, true),
            ("/", &[], false, true),
            ("/", &["t", "t"], false, false),
            ("/", &["t/u"], false, false),
            ("http://t/", &[], false, true),
            ("http://t/", &["T:80"], true, true),
            ("http://t:81/", &["t:81"], true, true),
            // In HTTP/1.1 the line decides, whatever `Host` says. Source: RFC 9112, 3.2.2.
            ("http://t/", &["u"], true, false),
            ("http://t:81/", &["t"], true, false),
            ("http://t/", &["t", "u"], false, false),
            ("http://t/", &[""], false, false),
        ] {
            assert_eq!(taken(Version::HTTP_11, uri, hosts), one, "{uri} {hosts:?}");
            assert_eq!(taken(Version::HTTP_2, uri, hosts), two, "{uri} {hosts:?}");
        }
        assert!(taken(Version::HTTP_10, "/", &[]));
    }

    #[test]
    fn a_body_that_was_not_asked_for_is_not_waited_for() {
        let plain = Request::patch("/").body(()).unwrap();
        let expecting = Request::patch("/")
            .header(EXPECT, "100-continue")
            .body(())
            .unwrap();
        let http2 = Request::patch("/")
            .version(Version::HTTP_2)
            .body(())
            .unwrap();
        let lingers = [&plain, &expecting, &http2].map(linger);
        assert_eq!(lingers, [Linger::Always, Linger::OncePolled, Linger::Never]);
    }
}
