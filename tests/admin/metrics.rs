//! `GET /metrics`: the format, and that each number is right.

use std::collections::BTreeMap;

use super::{json, told};
use crate::support::session::CHUNK;
use crate::support::{Client, bytes, start, start_with, until};

/// Samples by name with labels, as written; families by name with their type.
pub(super) struct Scrape {
    pub(super) samples: BTreeMap<String, f64>,
    pub(super) families: BTreeMap<String, String>,
}

fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Labels of `a="b",c="d"`; escapes are undone.
fn labels(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("a label's value");
        assert!(is_name(name) && !name.contains(':'), "{name}");
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        let end = loop {
            match chars.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => match chars.next().expect("an escape").1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    c => panic!("no escape: {c}"),
                },
                (_, c) => value.push(c),
            }
        };
        found.push((name.to_owned(), value));
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    found
}

/// Reads text of the format 0.0.4, and holds it to its grammar and to the rules for histograms.
fn parse(text: &str) -> Scrape {
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::<String, String>::new());
    let mut family = (String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a text");
            assert!(is_name(name) && !help.is_empty(), "{line}");
            name.clone_into(&mut family.0);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name, family.0, "HELP and TYPE go together");
            assert!(kind != "counter" || name.ends_with("_total"), "{line}");
            let again = families.insert(name.to_owned(), kind.to_owned());
            assert_eq!(again, None, "{name} once");
            kind.clone_into(&mut family.1);
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let (name, inside) = match sample.split_once('{') {
                Some((name, rest)) => (name, rest.strip_suffix('}').expect("a brace")),
                None => (sample, ""),
            };
            let mut with = labels(inside);
            let base = if family.1 == "histogram" {
                ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
            } else {
                Some(name)
            };
            assert_eq!(base, Some(&family.0[..]), "{line}");
            with.sort();
            let unique = with.windows(2).all(|two| two[0].0 != two[1].0);
            assert!(unique && is_name(name), "{line}");
            let value: f64 = value.parse().expect("a number");
            assert!(value >= 0.0, "{line}");
            assert_eq!(
                samples.insert(sample.to_owned(), value),
                None,
                "{sample} once"
            );
        }
    }
    let scrape = Scrape { samples, families };
    scrape.check_histograms(text);
    scrape
}

impl Scrape {
    fn check_histograms(&self, text: &str) {
        let histograms = self
            .families
            .iter()
            .filter(|(_, kind)| *kind == "histogram");
        for (name, _) in histograms {
            let start = format!("{name}_bucket{{le=\"");
            let buckets = text.lines().filter_map(|line| line.strip_prefix(&start));
            let buckets: Vec<(f64, f64)> = buckets
                .map(|line| {
                    let (bound, count) = line.split_once("\"} ").expect("a bucket");
                    let bound = bound.replace("+Inf", "inf");
                    (
                        bound.parse().expect("a bound"),
                        count.parse().expect("a count"),
                    )
                })
                .collect();
            let rising = |two: &[(f64, f64)]| two[0].0 < two[1].0 && two[0].1 <= two[1].1;
            assert!(
                buckets.len() > 5 && buckets.windows(2).all(rising),
                "{name}: {buckets:?}"
            );
            let last = buckets.last().expect("a bucket");
            assert!(last.0.is_infinite(), "{name}");
            assert!(
                (last.1 - self.of(&format!("{name}_count"))).abs() < 0.5,
                "{name}"
            );
            assert!(self.samples.contains_key(&format!("{name}_sum")), "{name}");
        }
    }

    /// The value of a sample; of one that is not there, nothing was counted.
    pub(super) fn of(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or(0.0)
    }

    #[track_caller]
    fn is(&self, sample: &str, expected: u32) {
        let found = self.of(sample);
        assert!(
            (found - f64::from(expected)).abs() < 1e-9,
            "{sample} {found}, not {expected}"
        );
    }
}

pub(super) async fn scrape(client: &Client) -> Scrape {
    let reply = client.get("/metrics").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let media = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(reply.header("Content-Type"), Some(media));
    parse(&String::from_utf8(reply.body).expect("UTF-8"))
}

#[tokio::test]
async fn each_number_is_right_after_known_requests() {
    let server = start().await;
    let before = scrape(&server).await;
    before.is("highwater_uploads_open", 0);
    before.is("highwater_received_bytes_total", 0);
    // A plain upload in two PATCHes; two parts joined; one terminated; one that stays; one refused.
    let whole = server.create(300).await;
    assert_eq!(
        server.patch(&whole, 0, bytes(1, 100)).send().await.status,
        204
    );
    assert_eq!(
        server.patch(&whole, 100, bytes(2, 200)).send().await.status,
        204
    );
    let parts = [server.part(b"hello ").await, server.part(b"world").await];
    assert_eq!(server.join(&parts).await.status, 201);
    let gone = server.create(10).await;
    assert_eq!(server.delete(&gone).await.status, 204);
    let open = server.create(10).await;
    assert_eq!(server.patch(&open, 5, b"x").send().await.status, 409);
    assert_eq!(server.head(&open).await.status, 200);
    assert_eq!(server.get("/files/unknown").await.status, 404);
    let now = scrape(&server).await;
    for (kind, created, completed, cancelled) in
        [("plain", 3, 1, 1), ("partial", 2, 2, 0), ("final", 1, 1, 0)]
    {
        now.is(
            &format!("highwater_uploads_created_total{{kind=\"{kind}\"}}"),
            created,
        );
        now.is(
            &format!("highwater_uploads_completed_total{{kind=\"{kind}\"}}"),
            completed,
        );
        now.is(
            &format!("highwater_uploads_cancelled_total{{kind=\"{kind}\"}}"),
            cancelled,
        );
    }
    now.is("highwater_uploads{kind=\"plain\",status=\"active\"}", 1);
    now.is("highwater_uploads{kind=\"plain\",status=\"completed\"}", 1);
    now.is("highwater_uploads{kind=\"plain\",status=\"cancelled\"}", 1);
    now.is(
        "highwater_uploads{kind=\"partial\",status=\"completed\"}",
        2,
    );
    now.is("highwater_received_bytes_total", 311);
    now.is("highwater_append_duration_seconds_count", 4);
    // 5 appends took their turn, one of them in vain, and a termination.
    now.is("highwater_lock_wait_seconds_count", 6);
    now.is("highwater_upload_duration_seconds_count", 4);
    for (method, status, count) in [
        ("POST", "2xx", 6),
        ("PATCH", "2xx", 4),
        ("PATCH", "4xx", 1),
        ("DELETE", "2xx", 1),
        ("HEAD", "2xx", 1),
        ("GET", "4xx", 1),
        ("GET", "2xx", 1),
    ] {
        let labels = format!("method=\"{method}\",status=\"{status}\"");
        now.is(&format!("highwater_http_requests_total{{{labels}}}"), count);
    }
    now.is("highwater_http_request_duration_seconds_count", 15);
    now.is("highwater_http_refused_total{code=\"offset-mismatch\"}", 1);
    now.is("highwater_http_refused_total{code=\"not-found\"}", 1);
    now.is("highwater_appends_running", 0);
    now.is("highwater_resumes_total", 0);
    now.is("highwater_blob_errors_total", 0);
    assert!(now.of("process_resident_memory_bytes") > 1e6);
    assert!(now.of("highwater_disk_free_bytes") <= now.of("highwater_disk_size_bytes"));
    until("the final is one file", || async {
        let now = scrape(&server).await;
        now.of("highwater_uploads_open") < 1.5
    })
    .await;
    scrape(&server)
        .await
        .is("highwater_uploads_completed_total{kind=\"final\"}", 1);
}

#[tokio::test]
async fn running_bodies_and_resumes_are_seen() {
    let mut server = start().await;
    let path = server.create(1000).await;
    let conn = server.hang(&path, 0, 1000, &bytes(1, 400)).await;
    let now = scrape(&server).await;
    now.is("highwater_appends_running", 1);
    now.is("highwater_received_bytes_total", 400);
    drop(conn);
    until("the body is cut", || async {
        scrape(&server).await.of("highwater_appends_running") < 0.5
    })
    .await;
    assert_eq!(
        server.patch(&path, 400, bytes(2, 100)).send().await.status,
        204
    );
    let now = scrape(&server).await;
    now.is("highwater_resumes_total", 1);
    now.is("highwater_received_bytes_total", 500);
    // One chunk after another resumes nothing; after a restart the next one does, and the gauges know what is there.
    assert_eq!(
        server.patch(&path, 500, bytes(2, 100)).send().await.status,
        204
    );
    scrape(&server).await.is("highwater_resumes_total", 1);
    server.restart().await;
    let now = scrape(&server).await;
    now.is("highwater_uploads_open", 1);
    now.is("highwater_uploads_created_total{kind=\"plain\"}", 0);
    assert_eq!(
        server.patch(&path, 600, bytes(2, 400)).send().await.status,
        204
    );
    let now = scrape(&server).await;
    now.is("highwater_resumes_total", 1);
    now.is("highwater_uploads_open", 0);
    now.is("highwater_uploads_completed_total{kind=\"plain\"}", 1);
}

/// A session is one upload, and its chunks' bytes, times and resumes are counted as those of a PATCH are.
#[tokio::test]
async fn a_session_and_its_chunks_are_counted() {
    let mut server = start().await;
    let data = bytes(3, 2 * CHUNK);
    let session = server.session_of(&data).await;
    assert_eq!(session.send(1, &data).await.status, 201);
    let conn = session.begin(2, session.part(2, &data), 1000).await;
    until("its bytes are seen", || async {
        let now = scrape(&server).await;
        now.of("highwater_received_bytes_total") > f64::from(64u32 << 10) + 999.5
    })
    .await;
    scrape(&server).await.is("highwater_appends_running", 1);
    drop(conn);
    until("it is cut", || async {
        scrape(&server).await.of("highwater_appends_running") < 0.5
    })
    .await;
    assert_eq!(session.send(2, &data).await.status, 201);
    let now = scrape(&server).await;
    now.is("highwater_received_bytes_total", 2 * (64 << 10) + 1000);
    now.is("highwater_append_duration_seconds_count", 3);
    now.is("highwater_resumes_total", 1);
    now.is("highwater_uploads_created_total{kind=\"partial\"}", 0);
    now.is("highwater_uploads_completed_total{kind=\"partial\"}", 0);
    now.is("highwater_upload_duration_seconds_count", 0);
    now.is(
        "highwater_uploads{kind=\"partial\",status=\"completed\"}",
        0,
    );
    now.is("highwater_uploads{kind=\"final\",status=\"active\"}", 1);
    let told = told(&server, "/admin/uploads/metrics").await;
    let rate = told["bytes_per_second"]["now"].as_f64();
    assert!(rate > Some(0.0), "{told}");
    assert_eq!(told["durations_seconds"]["chunk"]["count"], 3);
    // Nor are they counted by the next server, which finds them.
    server.restart().await;
    let now = scrape(&server).await;
    now.is(
        "highwater_uploads{kind=\"partial\",status=\"completed\"}",
        0,
    );
    let mut session = session;
    session.client.addr = server.addr;
    assert_eq!(session.finalize().await.status, 200);
    until("its chunks are gone", || async {
        session.tus("HEAD", "/1").send().await.status == 404
    })
    .await;
    let now = scrape(&server).await;
    now.is(
        "highwater_uploads{kind=\"partial\",status=\"completed\"}",
        0,
    );
    now.is("highwater_uploads_completed_total{kind=\"final\"}", 1);
}

#[tokio::test]
async fn the_overview_says_the_same_in_json() {
    let server = start_with(|config| config.max_size = 10_000_000).await;
    let reply = server.get("/admin/uploads/metrics").await;
    assert_eq!(json(&reply)["success_rate"], serde_json::Value::Null);
    for n in 0..3 {
        let path = server.create(5_000_000).await;
        assert_eq!(
            server
                .patch(&path, 0, bytes(n, 5_000_000))
                .send()
                .await
                .status,
            204
        );
    }
    let gone = server.create(10).await;
    assert_eq!(server.delete(&gone).await.status, 204);
    let now = told(&server, "/admin/uploads/metrics").await;
    assert_eq!(now["uploads"]["completed"], 3);
    assert_eq!(now["since_start"]["created"], 4);
    assert_eq!(now["since_start"]["received_bytes"], 15_000_000);
    assert_eq!(now["success_rate"], 0.75);
    assert_eq!(now["durations_seconds"]["chunk"]["count"], 3);
    let p50 = now["durations_seconds"]["chunk"]["p50"]
        .as_f64()
        .expect("a time");
    let p99 = now["durations_seconds"]["chunk"]["p99"]
        .as_f64()
        .expect("a time");
    assert!(0.0 < p50 && p50 <= p99, "{now}");
    for window in ["now", "1m", "5m", "15m"] {
        let rate = now["bytes_per_second"][window].as_f64().expect("a rate");
        assert!(rate > 0.0, "{window}: {now}");
    }
    assert!(now["memory_bytes"].as_u64() > Some(1_000_000));
}
