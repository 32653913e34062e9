//! A receiver behind HTTP: each call is a POST of JSON, signed where there is a secret.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use tower::util::MapResponse;
use tracing::debug;

use super::bounded::Bounded;
use super::{Call, Event, Fault, MOST, Way, shown};
use crate::clock;
use crate::protocol::sha256::Sum;

/// `t=<unix seconds>,v1=<hex of HMAC-SHA256 over "<unix seconds>.<body>">`.
pub const SIGNATURE: &str = "x-highwater-signature";
/// The event's id.
pub const EVENT_ID: &str = "x-highwater-event-id";
/// The event's place among its upload's.
pub const SEQUENCE: &str = "x-highwater-sequence";

/// What is a connection's own, and not the client's to say.
const NEVER_FORWARDED: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// How calls are made.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// What calls are signed with.
    pub secret: Option<String>,
    /// How often a call that somebody waits for is tried again.
    pub retry: u32,
    /// The pause before.
    pub backoff: Duration,
    /// The longest that a call takes, tries and pauses together.
    pub timeout: Duration,
}

/// A connection as it is made, encrypted or not.
type Made = MaybeHttpsStream<TokioIo<TcpStream>>;
/// The same, as calls are made on it: tokio's traits, bounded, and hyper's again.
type Bound = TokioIo<Bounded<TokioIo<Made>>>;
type Connector = MapResponse<HttpsConnector<HttpConnector>, fn(Made) -> Bound>;

fn bounded(made: Made) -> Bound {
    TokioIo::new(Bounded::new(TokioIo::new(made)))
}

/// Calls one address.
pub struct HttpWay {
    to: Uri,
    options: HttpOptions,
    client: Client<Connector, Full<Bytes>>,
}

/// Why a try failed.
enum Failed {
    /// Another may not.
    Passing(Fault),
    /// The receiver has made up its mind.
    ForGood(Fault),
}

impl HttpWay {
    /// To `to`, which begins with `http://` or `https://`.
    ///
    /// # Errors
    /// If it does not, or the system has no certificates to trust.
    pub fn new(to: &str, options: HttpOptions) -> Result<Self, String> {
        // Nothing of what may be secret in it is said; of what is no URL it is not known where that ends.
        let uri: Uri = to.parse().map_err(|_| "an address is no URL")?;
        // A port that is no number would be passed over; in its place stands what is before a misplaced slash.
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        let port = uri.port().map(|port| format!(":{port}"));
        let place = uri.host().unwrap_or_default().to_owned() + &port.unwrap_or_default();
        if authority.rsplit('@').next() != Some(&*place) {
            return Err("an address is no URL".into());
        }
        let scheme = uri.scheme_str().unwrap_or_default();
        if !matches!(scheme, "http" | "https") || uri.host().is_none_or(str::is_empty) {
            return Err(format!(
                "an address must begin with http:// or https:// and a host; {:?} does not",
                shown(to)
            ));
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(options.timeout));
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(scheme == "https")?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector.map_response(bounded as fn(Made) -> Bound));
        Ok(Self {
            to: uri,
            options,
            client,
        })
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request = Request::post(self.to.clone())
            .body(Full::from(call.body.clone()))
            .map_err(Fault::of)?;
        let headers = request.headers_mut();
        for (name, value) in &call.forward {
            let name: HeaderName = name.parse().map_err(Fault::of)?;
            if !NEVER_FORWARDED.contains(&name) {
                headers.append(name, HeaderValue::from_str(value).map_err(Fault::of)?);
            }
        }
        // In the place of whatever was forwarded under these names.
        let text = |text: &str| HeaderValue::from_str(text).map_err(Fault::of);
        let agent = concat!("highwater/", env!("CARGO_PKG_VERSION"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(EVENT_ID, text(&call.id)?);
        headers.insert(SEQUENCE, call.sequence.into());
        headers.remove(SIGNATURE);
        if let Some(secret) = &self.options.secret {
            let signature = signature(secret, clock::now() / 1000, &call.body);
            headers.insert(SIGNATURE, text(&signature)?);
        }
        Ok(request)
    }

    async fn once(&self, call: &Call) -> Result<Vec<u8>, Failed> {
        let request = self.request(call).map_err(Failed::ForGood)?;
        let passing = |why: String| Failed::Passing(Fault(why));
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| passing(chain(&error)))?;
        let status = answer.status();
        if status.is_success() && call.event == Event::Job {
            // It is taken, whatever else is said.
            return Ok(Vec::new());
        }
        let body = Limited::new(answer.into_body(), MOST);
        let read = read(body).await;
        if !status.is_success() {
            let said = read.unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let said: String = said.trim().chars().take(200).collect();
            let why = Fault(format!("it answered {status}: {said}"));
            let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(if again {
                Failed::Passing(why)
            } else {
                Failed::ForGood(why)
            });
        }
        read.map_err(Failed::ForGood)
    }

    async fn tries(&self, call: &Call, more: u32) -> Result<Vec<u8>, Fault> {
        let mut left = more;
        loop {
            match self.once(call).await {
                Ok(reply) => return Ok(reply),
                Err(Failed::Passing(why)) if left > 0 => {
                    debug!(%why, event = %call.event, "a hook is called again");
                    left -= 1;
                    sleep(self.options.backoff).await;
                }
                Err(Failed::Passing(why) | Failed::ForGood(why)) => return Err(why),
            }
        }
    }
}

#[async_trait]
impl Way for HttpWay {
    async fn bring(&self, call: &Call, waited_for: bool) -> Result<Vec<u8>, Fault> {
        let more = if waited_for { self.options.retry } else { 0 };
        let limit = self.options.timeout;
        timeout(limit, self.tries(call, more))
            .await
            .unwrap_or_else(|_| Err(Fault(format!("no answer within {limit:?}"))))
    }
}

/// What TLS needs: the certificates that the system trusts, if it is to be spoken.
fn tls(needed: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if needed {
        let trusting = builder.with_native_roots();
        trusting.map_err(|error| format!("no certificates to trust: {error}"))?
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}

async fn read<B>(mut body: B) -> Result<Vec<u8>, Fault>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault(format!("the reply: {error}")))?;
        if let Some(data) = frame.data_ref() {
            all.extend_from_slice(data);
        }
    }
    Ok(all)
}

/// An error with what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// What a receiver that knows the secret can check.
#[must_use]
pub fn signature(secret: &str, seconds: u64, body: &[u8]) -> String {
    let stamp = seconds.to_string();
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(stamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let sum = Sum(mac.finalize().into_bytes().into());
    format!("t={stamp},v1={sum}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_others_reckon() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let expected =
            "t=1700000000,v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
        assert_eq!(signature("secret", 1_700_000_000, br#"{"a":1}"#), expected);
    }
}
