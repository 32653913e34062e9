//! Who may use `/admin` and `/metrics`: the holder of the admin token; where there is none, whoever sits at this machine.
//!
//! Without a token three things must hold, so that neither a proxy nor a page whose name was rebound to 127.0.0.1 opens the
//! door: the server listens on loopback TCP alone, nothing says that a proxy is before it, and the request's host is a name
//! of loopback. A Unix socket is not loopback here: what stands before one is a proxy, and asks for `localhost`. Where users
//! are told apart, that one is at this machine is no credential: but for `/metrics` there is nothing without the token.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use http::header::{FORWARDED, HOST, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::cors::Cors;
use crate::protocol::location::Via;
use crate::protocol::sha256::Sum;
use crate::protocol::{authority, bearer};

/// The shortest token that is taken: what can be guessed is none.
const SHORTEST: usize = 16;

/// The admin token, as its SHA-256: the token itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken {
    hash: Sum,
    /// What is wrong with it. Told by [`AdminToken::check`], since a parser's error would print the token.
    fault: Option<&'static str>,
}

impl AdminToken {
    fn of(text: &str) -> Self {
        let fault = if text.len() < SHORTEST {
            Some("a token has at least 16 characters")
        } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
            Some("a token is of visible ASCII characters, without blanks")
        } else {
            None
        };
        Self {
            hash: Sum::of(text.as_bytes()),
            fault,
        }
    }

    /// Whether it can be a token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        self.fault.map_or(Ok(()), Err)
    }
}

impl FromStr for AdminToken {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::of(text))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

/// What decides, beside the request.
#[derive(Debug, Clone, Default)]
pub struct AdminDoor {
    /// The credential.
    pub token: Option<AdminToken>,
    /// Whether the server listens on a TCP address of loopback.
    pub loopback: bool,
    /// Whether users are told apart.
    pub asks: bool,
    /// How requests come in, and under which name.
    pub via: Via,
}

/// What is there without a token at this machine, even where users are told apart.
pub const METRICS: &str = "/metrics";

/// What becomes of a request for the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Allowed,
    /// There is no such thing here.
    Hidden,
    /// The token is missing, or another one.
    Unauthorized,
    /// A change that a page of another origin asks for.
    ForeignOrigin,
}

/// Somebody at the door, as the head of a request tells: what tokens open to them is told by [`Visitor::judge`], since on a
/// WebSocket tokens may come later.
#[derive(Debug, Clone)]
pub struct Visitor {
    token: Option<AdminToken>,
    /// What it is but for the token.
    verdict: Verdict,
}

impl Visitor {
    /// Decides, where these tokens are shown.
    #[must_use]
    pub fn judge<'t>(&self, shown: impl IntoIterator<Item = &'t str>) -> Verdict {
        let is_right = |token: &AdminToken| shown.into_iter().any(|text| token.hash.is_of(text));
        if self.token.as_ref().is_none_or(is_right) {
            self.verdict
        } else {
            Verdict::Unauthorized
        }
    }
}

impl AdminDoor {
    /// Decides on the head alone.
    #[must_use]
    pub fn judge(&self, head: &Parts) -> Verdict {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let visitor = self.visitor(head, !reads);
        visitor.judge(bearer::token(&head.headers))
    }

    /// Who follows progress: a page of another origin may not even read, since no CORS keeps it from opening a WebSocket.
    #[must_use]
    pub fn watcher(&self, head: &Parts) -> Visitor {
        self.visitor(head, true)
    }

    fn visitor(&self, head: &Parts, own_origin_alone: bool) -> Visitor {
        let verdict = if self.is_hidden(&head.headers, &head.uri) {
            Verdict::Hidden
        } else if own_origin_alone && !Cors::admits(None, &self.via, head) {
            Verdict::ForeignOrigin
        } else {
            Verdict::Allowed
        };
        let token = self.token.clone();
        Visitor { token, verdict }
    }

    /// Whether there is no admin API for such a request, whatever it shows.
    #[must_use]
    pub fn is_hidden(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let is_open = !self.asks || uri.path() == METRICS;
        self.token.is_none() && !(is_open && self.is_at_this_machine(headers, uri))
    }

    /// Whether nobody has the admin API, since no token was given.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.asks && self.token.is_none()
    }

    fn is_at_this_machine(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        // A proxy that nobody told us of, but that tells of itself.
        let forwarded = |name: &http::HeaderName| {
            *name == FORWARDED || *name == VIA || name.as_str().starts_with("x-forwarded-")
        };
        let proxied = self.via.behind_proxy
            || self.via.public_url.is_some()
            || headers.keys().any(forwarded)
            || headers.contains_key("x-real-ip");
        let mut hosts = headers.get_all(HOST).iter().map(HeaderValue::to_str);
        let uri = uri.authority().map(|authority| Ok(authority.as_str()));
        let mut named = uri.into_iter().chain(hosts.by_ref()).peekable();
        self.loopback
            && !proxied
            && named.peek().is_some()
            && named.all(|host| host.is_ok_and(names_loopback))
    }
}

fn names_loopback(host: &str) -> bool {
    let names = ["127.0.0.1", "[::1]", "localhost"];
    authority::host(host).is_some_and(|host| names.iter().any(|n| n.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const TOKEN: &str = "correct-horse-battery";

    fn proxied() -> Via {
        Via {
            behind_proxy: true,
            ..Via::default()
        }
    }

    fn public() -> Via {
        Via {
            public_url: Some("https://up.example".parse().unwrap()),
            ..Via::default()
        }
    }

    fn judge(door: &AdminDoor, method: &str, uri: &str, headers: &[(&str, &str)]) -> Verdict {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        door.judge(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn without_a_token_only_this_machine_is_let_in() {
        let door = AdminDoor {
            loopback: true,
            ..AdminDoor::default()
        };
        let get = |headers: &[(&str, &str)]| judge(&door, "GET", "/metrics", headers);
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "localhost",
            "LocalHost:1",
            "[::1]:80",
            "[::1]",
        ] {
            assert_eq!(get(&[("host", host)]), Verdict::Allowed, "{host}");
        }
        for host in [
            "rebound.example",
            "127.0.0.1.nip.io",
            "localhost.example",
            "localhost.",
            "127.0.0.2",
            "127.1",
            "2130706433",
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "",
            "localhost@x",
        ] {
            assert_eq!(get(&[("host", host)]), Verdict::Hidden, "{host}");
        }
        assert_eq!(get(&[]), Verdict::Hidden, "no host at all");
        let two = [("host", "localhost"), ("host", "a.example")];
        assert_eq!(get(&two), Verdict::Hidden);
        let absolute = |uri| judge(&door, "GET", uri, &[("host", "localhost")]);
        assert_eq!(absolute("http://a.example/metrics"), Verdict::Hidden);
        assert_eq!(absolute("http://localhost/metrics"), Verdict::Allowed);
        for sign in ["forwarded", "via", "x-forwarded-for", "x-real-ip"] {
            let proxied = [("host", "localhost"), (sign, "for=1.2.3.4")];
            assert_eq!(get(&proxied), Verdict::Hidden, "{sign}");
        }
        let host = [("host", "localhost"), ("authorization", "Bearer x")];
        assert_eq!(get(&host), Verdict::Allowed, "a token is not asked for");
        let local = door.clone();
        for door in [
            AdminDoor {
                loopback: false,
                ..local.clone()
            },
            AdminDoor {
                via: proxied(),
                ..local.clone()
            },
            AdminDoor {
                via: public(),
                ..local
            },
        ] {
            let judged = judge(&door, "GET", "/metrics", &[("host", "localhost")]);
            assert_eq!(judged, Verdict::Hidden, "{door:?}");
        }
    }

    #[test]
    fn where_users_are_told_apart_this_machine_has_the_metrics_alone() {
        let door = AdminDoor {
            loopback: true,
            asks: true,
            ..AdminDoor::default()
        };
        let get = |host: &str, path: &str| judge(&door, "GET", path, &[("host", host)]);
        assert!(door.is_shut());
        assert_eq!(get("localhost", "/metrics"), Verdict::Allowed);
        assert_eq!(get("rebound.example", "/metrics"), Verdict::Hidden);
        for path in ["/admin", "/admin/users", "/metrics/", "/admin/metrics"] {
            assert_eq!(get("localhost", path), Verdict::Hidden, "{path}");
        }
        let request = Request::get("/progress?upload=*").header(HOST, "localhost");
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(door.watcher(&head).judge(None), Verdict::Hidden);
        let door = AdminDoor {
            token: Some(AdminToken::of(TOKEN)),
            ..door
        };
        let told = format!("Bearer {TOKEN}");
        let shown = [("host", "h"), ("authorization", &told[..])];
        assert!(!door.is_shut());
        assert_eq!(
            judge(&door, "GET", "/admin/users", &shown),
            Verdict::Allowed
        );
    }

    #[test]
    fn with_a_token_it_is_the_token_alone() {
        let door = AdminDoor {
            token: Some(AdminToken::of(TOKEN)),
            ..AdminDoor::default()
        };
        let get = |told: &str| judge(&door, "GET", "/metrics", &[("authorization", told)]);
        for right in ["Bearer", "bearer", "BEARER "] {
            assert_eq!(get(&format!("{right} {TOKEN}")), Verdict::Allowed);
        }
        let longer = format!("Bearer {TOKEN}x");
        let prefix = format!("Bearer {}", &TOKEN[1..]);
        let basic = format!("Basic {TOKEN}");
        for wrong in [
            "", "Bearer", "Bearer ", "Bearer x", TOKEN, &longer, &prefix, &basic,
        ] {
            assert_eq!(get(wrong), Verdict::Unauthorized, "{wrong:?}");
        }
        let local = judge(&door, "GET", "/metrics", &[("host", "localhost")]);
        assert_eq!(local, Verdict::Unauthorized);
        let right = format!("Bearer {TOKEN}");
        let twice = [("authorization", &right[..]), ("authorization", &right)];
        assert_eq!(judge(&door, "GET", "/", &twice), Verdict::Unauthorized);
    }

    #[test]
    fn changes_come_from_no_foreign_page() {
        let token = format!("Bearer {TOKEN}");
        let plain = AdminDoor {
            token: Some(AdminToken::of(TOKEN)),
            ..AdminDoor::default()
        };
        let proxied = AdminDoor {
            via: proxied(),
            ..plain.clone()
        };
        let public = AdminDoor {
            via: public(),
            ..plain.clone()
        };
        let local = AdminDoor {
            loopback: true,
            ..AdminDoor::default()
        };
        let post = |door: &AdminDoor, host: &str, origin: &str| {
            let headers = [
                ("authorization", &token[..]),
                ("host", host),
                ("origin", origin),
            ];
            judge(door, "POST", "/admin/cleanup", &headers)
        };
        for (door, host, origin, verdict) in [
            (&plain, "h:80", "http://h", Verdict::Allowed),
            (&plain, "h:8080", "http://h:8080", Verdict::Allowed),
            (&plain, "h:8080", "http://h:8081", Verdict::ForeignOrigin),
            (&plain, "h", "http://evil.example", Verdict::ForeignOrigin),
            (&plain, "h", "null", Verdict::ForeignOrigin),
            (&plain, "h", "", Verdict::ForeignOrigin),
            (&plain, "h", "http://h.evil.example", Verdict::ForeignOrigin),
            (&public, "h", "https://up.example", Verdict::Allowed),
            (&proxied, "h", "https://up.example", Verdict::ForeignOrigin),
            (
                &local,
                "localhost:1",
                "http://evil.example",
                Verdict::ForeignOrigin,
            ),
            (
                &local,
                "localhost:1",
                "http://localhost:1",
                Verdict::Allowed,
            ),
            (
                &local,
                "localhost:1",
                "http://localhost:2",
                Verdict::ForeignOrigin,
            ),
        ] {
            assert_eq!(post(door, host, origin), verdict, "{host} {origin}");
        }
        let none = [("authorization", &token[..]), ("host", "h")];
        assert_eq!(judge(&plain, "POST", "/", &none), Verdict::Allowed);
        let get = [("host", "localhost"), ("origin", "http://evil.example")];
        assert_eq!(judge(&local, "GET", "/", &get), Verdict::Allowed);
    }

    #[test]
    fn who_follows_comes_from_no_foreign_page_and_may_show_several_tokens() {
        let plain = AdminDoor {
            token: Some(AdminToken::of(TOKEN)),
            ..AdminDoor::default()
        };
        let local = AdminDoor {
            loopback: true,
            ..AdminDoor::default()
        };
        let judge = |door: &AdminDoor, host: &str, origin: Option<&str>, shown: &[&str]| {
            let mut request = Request::get("/progress?upload=*").header(HOST, host);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            door.watcher(&head).judge(shown.iter().copied())
        };
        let evil = Some("http://evil.example");
        for (door, host, origin, shown, verdict) in [
            (&plain, "h", None, &[TOKEN][..], Verdict::Allowed),
            (
                &plain,
                "h",
                Some("http://h"),
                &["x", TOKEN],
                Verdict::Allowed,
            ),
            (&plain, "h", evil, &[TOKEN], Verdict::ForeignOrigin),
            (&plain, "h", None, &[], Verdict::Unauthorized),
            (&plain, "localhost", None, &["x", ""], Verdict::Unauthorized),
            (&local, "localhost", None, &[], Verdict::Allowed),
            (&local, "localhost", None, &["x"], Verdict::Allowed),
            (&local, "localhost", evil, &[], Verdict::ForeignOrigin),
            (&local, "h", None, &["x"], Verdict::Hidden),
        ] {
            let judged = judge(door, host, origin, shown);
            assert_eq!(judged, verdict, "{host} {origin:?} {shown:?}");
        }
    }

    #[test]
    fn a_token_is_long_and_visible_and_is_not_shown() {
        for (text, good) in [
            (TOKEN, true),
            ("0123456789abcdef", true),
            ("0123456789abcde", false),
            ("0123456789 abcdef", false),
            ("0123456789abcd\u{e9}f", false),
            ("", false),
        ] {
            assert_eq!(AdminToken::of(text).check().is_ok(), good, "{text:?}");
        }
        assert_eq!(format!("{:?}", AdminToken::of(TOKEN)), "AdminToken(..)");
    }
}
