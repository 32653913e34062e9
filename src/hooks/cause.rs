//! The request that something happens for. It goes along with the work as the log's span does: from a door into the task of
//! the use case, and not into what runs in the background.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use http::header::HOST;
use serde_json::{Map, Value, json};

tokio::task_local! {
    static CAUSE: Option<Arc<Cause>>;
}

/// A request, as hooks are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    method: String,
    uri: String,
    peer: Option<SocketAddr>,
    /// By name, each as often as it came; names as Go writes them.
    headers: Vec<(String, String)>,
}

impl Cause {
    /// Of a request.
    #[must_use]
    pub fn of<B>(request: &Request<B>, peer: Option<SocketAddr>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut headers: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (canonical(name.as_str()), text(value.as_bytes())))
            .collect();
        let uri = request.uri();
        if !request.headers().contains_key(HOST)
            && let Some(authority) = uri.authority()
        {
            headers.push(("Host".into(), authority.to_string()));
        }
        Self {
            method: request.method().to_string(),
            uri: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .into(),
            peer,
            headers,
        }
    }

    /// The values of a header.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = move |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| &**value)
    }

    /// As tusd writes it; without a cause, with nothing in it.
    #[must_use]
    pub fn json(cause: Option<&Self>) -> Value {
        let Some(cause) = cause else {
            return json!({ "Method": "", "URI": "", "RemoteAddr": "", "Header": {} });
        };
        let mut headers = Map::new();
        for (name, value) in &cause.headers {
            let values = headers.entry(name.clone()).or_insert_with(|| json!([]));
            if let Value::Array(values) = values {
                values.push(value.clone().into());
            }
        }
        json!({
            "Method": cause.method,
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
    }
}
