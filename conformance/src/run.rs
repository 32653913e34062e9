//! Looks at a server, and tries every case on it, side by side.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::case::{Case, Level, Need, Stop};
use crate::client::{Client, Exchange, ORIGIN, Server};
use crate::target::Url;
use crate::wire::Conn;

/// A run ends in this time, whatever the server does.
const LIMIT: Duration = Duration::from_secs(55);
/// Cases at once: enough to wait for several at a time, few enough not to be a load.
const JOBS: usize = 12;

/// What a case says of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The clause is kept.
    Pass,
    /// A MUST is broken.
    Fail,
    /// A SHOULD is broken.
    Warn,
    /// Nothing can be said.
    Skip,
}

impl Verdict {
    /// As it is written in a report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Skip => "skip",
        }
    }
}

/// A case that was tried.
#[derive(Debug)]
pub struct Tried {
    /// Which.
    pub case: &'static Case,
    /// What came of it.
    pub verdict: Verdict,
    /// Why, unless it passed.
    pub why: String,
    /// What was sent and what came back.
    pub exchanges: Vec<Exchange>,
    /// How long it took.
    pub took: Duration,
}

/// Reads what the server says of itself, and whether it gives uploads back.
///
/// # Errors
/// Why it cannot be checked at all: no connection, no answer, no HTTP.
pub fn look_at(url: &Url, fields: &[(String, String)]) -> Result<Server, String> {
    let mut server = Server {
        url: url.clone(),
        fields: fields.to_vec(),
        extensions: Vec::new(),
        max_size: None,
        algorithms: Vec::new(),
        downloads: false,
        cors: false,
        end: Instant::now() + LIMIT,
    };
    let client = Client::new(&server);
    let options = client
        .request("OPTIONS", url)
        .without("Tus-Resumable")
        .body("");
    let answer = client
        .send(&options)
        .map_err(|error| format!("{url}: {error}"))?;
    let downloads = gives_back(&client);
    let cors = speaks_cors(&client);
    client.clean_up();
    server.extensions = answer.list("Tus-Extension");
    server.max_size = answer.number("Tus-Max-Size");
    server.algorithms = answer.list("Tus-Checksum-Algorithm");
    server.downloads = downloads;
    server.cors = cors;
    Ok(server)
}

fn gives_back(client: &Client<'_>) -> bool {
    let Ok(upload) = client.create_complete(b"hello") else {
        return false;
    };
    let answer = client.send(&client.request("GET", &upload));
    answer.is_ok_and(|answer| answer.status == 200 && answer.body == b"hello")
}

/// Whether a preflight or a creation from a page is answered with any field of CORS.
fn speaks_cors(client: &Client<'_>) -> bool {
    let preflight = client
        .options()
        .field("Access-Control-Request-Method", "POST");
    [preflight, client.post(0)].into_iter().any(|request| {
        let answer = client.send(&request.field("Origin", ORIGIN));
        let of_cors = |name: &str| name.to_ascii_lowercase().starts_with("access-control-");
        answer.is_ok_and(|answer| answer.fields.iter().any(|(name, _)| of_cors(name)))
    })
}

/// Tries `cases`; the answer has their order.
#[must_use]
pub fn run(server: &Server, cases: &[&'static Case]) -> Vec<Tried> {
    let (risky, mut order): (Vec<usize>, Vec<usize>) =
        (0..cases.len()).partition(|n| cases[*n].risky);
    order.sort_by_key(|n| !cases[*n].slow);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..JOBS.min(cases.len()) {
            scope.spawn(|| {
                while let Some(n) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tried = attempt(server, cases[*n]);
                    if let Ok(mut done) = done.lock() {
                        done.push((*n, tried));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    for n in risky {
        done.push((n, attempt(server, cases[n])));
    }
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, tried)| tried).collect()
}

fn attempt(server: &Server, case: &'static Case) -> Tried {
    let start = Instant::now();
    let client = Client::new(server);
    let (verdict, why) = judge(server, case, &client);
    let exchanges = client.exchanges();
    client.clean_up();
    Tried {
        case,
        verdict,
        why,
        exchanges,
        took: start.elapsed(),
    }
}

fn judge(server: &Server, case: &Case, client: &Client<'_>) -> (Verdict, String) {
    if let Some(missing) = case.needs.iter().find_map(|need| lacks(server, *need)) {
        return (Verdict::Skip, missing);
    }
    let over = || Instant::now() >= server.end;
    if over() {
        return (Verdict::Skip, "no time was left".to_owned());
    }
    if case.risky && !is_there(server) {
        return (Verdict::Skip, GONE.to_owned());
    }
    match (case.run)(client) {
        Ok(()) => (Verdict::Pass, String::new()),
        // One that runs alone has brought it down; of others nobody knows which.
        Err(_) if !case.risky && !is_there(server) => (Verdict::Skip, GONE.to_owned()),
        Err(Stop::Skip(why)) => (Verdict::Skip, why),
        Err(Stop::Broken(_)) if over() => (Verdict::Skip, "no time was left".to_owned()),
        Err(Stop::Broken(why)) => match case.level {
            Level::Must => (Verdict::Fail, why),
            Level::Should => (Verdict::Warn, why),
            Level::May => (Verdict::Skip, format!("optional, and not so here: {why}")),
        },
    }
}

/// Why a case says nothing of a server that has ended.
pub const GONE: &str = "the server cannot be reached any more";

/// Whether the server still takes connections.
#[must_use]
pub fn is_there(server: &Server) -> bool {
    Conn::open(&server.url).is_ok()
}

/// What a server does not offer, if it lacks it.
fn lacks(server: &Server, need: Need) -> Option<String> {
    let small = |size: u64| size <= 16 * 1024 * 1024;
    let (there, what) = match need {
        Need::Extension(name) => (server.offers(name), format!("{name} is not advertised")),
        Need::MaxSize => (
            server.max_size.is_some(),
            "no Tus-Max-Size is advertised".to_owned(),
        ),
        Need::SmallMaxSize => (
            server.max_size.is_some_and(small),
            "no Tus-Max-Size of at most 16 MiB is advertised".to_owned(),
        ),
        Need::Download => (
            server.downloads,
            "GET does not give a complete upload's bytes".to_owned(),
        ),
        Need::Cors => (server.cors, format!("nothing of CORS is said to {ORIGIN}")),
    };
    (!there).then_some(what)
}
