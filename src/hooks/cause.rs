//! The request that something happens for. It goes along with the work as the log's span does: from a door into the task of
//! the use case, and not into what runs in the background.

use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::HOST;
use http::{Method, Request};
use serde_json::{Map, Value, json};

tokio::task_local! {
    static CAUSE: Option<Arc<Cause>>;
}

/// A request, as hooks are told of it. It is noted down for each request and told of few: so it is one copy of the bytes, which are
/// written as Go has them once somebody is told. A copy, since it may outlive the request, and would keep its connection's buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    method: Method,
    uri: String,
    peer: Option<SocketAddr>,
    /// Names and values, one after the other.
    text: Vec<u8>,
    /// Where in it each name ends, and its value.
    ends: Vec<(usize, usize)>,
}

impl Cause {
    /// Of a request.
    #[must_use]
    pub fn of<B>(request: &Request<B>, peer: Option<SocketAddr>) -> Self {
        let headers = request.headers();
        let authority = request.uri().authority();
        let host = authority.filter(|_| !headers.contains_key(HOST));
        let host = host.map(|authority| (HOST.as_str(), authority.as_str().as_bytes()));
        let all = || {
            let all = headers.iter();
            let all = all.map(|(name, value)| (name.as_str(), value.as_bytes()));
            all.chain(host)
        };
        let bytes = all().map(|(name, value)| name.len() + value.len());
        let mut text = Vec::with_capacity(bytes.sum());
        let mut ends = Vec::with_capacity(headers.len() + 1);
        for (name, value) in all() {
            text.extend_from_slice(name.as_bytes());
            let named = text.len();
            text.extend_from_slice(value);
            ends.push((named, text.len()));
        }
        let uri = request.uri().path_and_query();
        Self {
            method: request.method().clone(),
            uri: uri.map_or("/", |path| path.as_str()).into(),
            peer,
            text,
            ends,
        }
    }

    /// Names and values, each as often as it came.
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut from = 0;
        self.ends.iter().map(move |&(named, end)| {
            let start = std::mem::replace(&mut from, end);
            (&self.text[start..named], &self.text[named..end])
        })
    }

    /// The values of a header.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        let same = |(found, _): &(&[u8], _)| found.eq_ignore_ascii_case(name.as_bytes());
        let values = self.headers().filter(same);
        values.map(|(_, value)| String::from_utf8_lossy(value))
    }

    /// As tusd writes it; without a cause, with nothing in it.
    #[must_use]
    pub fn json(cause: Option<&Self>) -> Value {
        let Some(cause) = cause else {
            return json!({ "Method": "", "URI": "", "RemoteAddr": "", "Header": {} });
        };
        let mut headers = Map::new();
        for (name, value) in cause.headers() {
            let name = canonical(&String::from_utf8_lossy(name));
            let values = headers.entry(name).or_insert_with(|| json!([]));
            if let Value::Array(values) = values {
                values.push(String::from_utf8_lossy(value).into());
            }
        }
        json!({
            "Method": cause.method.as_str(),
            "URI": cause.uri,
            "RemoteAddr": cause.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            "Header": headers,
        })
    }
}

/// A header's name as Go's `CanonicalHeaderKey` has it: `Upload-Length`.
fn canonical(name: &str) -> String {
    let mut start = true;
    let letter = |c: char| {
        let big = std::mem::replace(&mut start, c == '-');
        if big { c.to_ascii_uppercase() } else { c }
    };
    name.chars().map(letter).collect()
}

/// What happens in `work` happens for this. Not an `async fn`: that would hold `work` twice, in every open request.
pub fn within<T>(
    cause: Option<Arc<Cause>>,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    CAUSE.scope(cause, work)
}

/// What this is done for, if it is for a request.
#[must_use]
pub fn current() -> Option<Arc<Cause>> {
    CAUSE.try_with(Clone::clone).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_as_go_has_it() {
        let request = Request::post("/files/?a=b")
            .header("host", "h:1")
            .header("x-a", "1")
            .header("x-a", "2")
            .header("upload-length", "5");
        let peer = "127.0.0.1:5".parse().unwrap();
        let cause = Cause::of(&request.body(()).unwrap(), Some(peer));
        let expected = json!({
            "Method": "POST", "URI": "/files/?a=b", "RemoteAddr": "127.0.0.1:5",
            "Header": { "Host": ["h:1"], "X-A": ["1", "2"], "Upload-Length": ["5"] },
        });
        assert_eq!(Cause::json(Some(&cause)), expected);
        assert_eq!(cause.header("X-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(cause.header("X").count(), 0);
    }

    #[test]
    fn of_http_2_the_authority_is_the_host_and_any_bytes_are_text() {
        let value = http::HeaderValue::from_bytes(b"\xe9\xff").unwrap();
        let request = Request::get("http://h:1/").header("x", value);
        let cause = Cause::of(&request.header("y", "").body(()).unwrap(), None);
        let expected = json!({
            "Method": "GET", "URI": "/", "RemoteAddr": "",
            "Header": { "X": ["\u{fffd}\u{fffd}"], "Y": [""], "Host": ["h:1"] },
        });
        assert_eq!(Cause::json(Some(&cause)), expected);
        assert_eq!(Cause::json(None)["Header"], json!({}));
    }
}
