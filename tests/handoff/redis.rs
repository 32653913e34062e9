//! Jobs in the streams of a real Redis, which goes down and comes again.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Value as Reply;
use serde_json::Value;

use super::{outbox, text, upload};
use crate::support::{Process, figure, id, rounds, start_with, until};

/// A Redis of our own, which keeps what it acknowledged; killed when dropped.
pub(super) struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// On a free port.
    pub(super) fn start(dir: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        Self::on(port, dir)
    }

    pub(super) fn on(port: u16, dir: &Path) -> Self {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server runs: apt-get install redis-server");
        let redis = Self { child, port };
        let begun = Instant::now();
        while redis.try_ask(&["PING"]).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "Redis does not answer"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        redis
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn try_ask(&self, words: &[&str]) -> redis::RedisResult<Reply> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut connection)
    }

    pub(super) fn ask(&self, words: &[&str]) -> Reply {
        self.try_ask(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The jobs in a stream, each with its key.
    fn jobs(&self, stream: &str) -> Vec<(String, Value)> {
        type Entries = Vec<(String, BTreeMap<String, String>)>;
        let found = self.ask(&["XRANGE", stream, "-", "+"]);
        let found: Entries = redis::from_redis_value(found).expect("entries");
        let job = |(_, fields): (String, BTreeMap<String, String>)| {
            let job: Value = serde_json::from_str(&fields["job"]).expect("JSON");
            (fields["key"].clone(), job)
        };
        found.into_iter().map(job).collect()
    }

    /// Ends it as a loss of power does.
    fn kill(mut self) -> u16 {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.port
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn each_priority_has_its_stream() {
    let dir = tempfile::tempdir().expect("a directory");
    let redis = Redis::start(dir.path());
    let server = start_with(|config| {
        config.handoff.handoff_redis = redis.url();
        config.handoff.handoff_redis_prefix = "work".into();
    })
    .await;
    for priority in ["high", "normal", "low", "high"] {
        upload(&server, b"hello", &[("priority", priority)]).await;
    }
    until("the outbox is empty", || async {
        outbox(&server).await["waiting"] == 0
    })
    .await;
    for (stream, count) in [("high", 2), ("normal", 1), ("low", 1)] {
        let jobs = redis.jobs(&format!("work:{stream}"));
        assert_eq!(jobs.len(), count, "{stream}");
        for (key, job) in jobs {
            assert_eq!((text(&job, "priority"), text(&job, "key")), (stream, &*key));
            assert_eq!(
                std::fs::read(text(&job, "path")).expect("its file"),
                b"hello"
            );
        }
    }
}

/// Every job in the streams: how many entries, and by upload its keys.
fn all(redis: &Redis) -> (usize, BTreeMap<String, Vec<String>>) {
    let (mut entries, mut found) = (0, BTreeMap::<_, Vec<_>>::new());
    for stream in ["high", "normal", "low"] {
        for (key, job) in redis.jobs(&format!("highwater:jobs:{stream}")) {
            entries += 1;
            let keys = found.entry(text(&job, "id").to_owned()).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    (entries, found)
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_again_gets_every_job() {
    for _ in 0..rounds(1, 10) {
        let dir = tempfile::tempdir().expect("a directory");
        let (own, data) = (dir.path().join("redis"), dir.path().join("data"));
        std::fs::create_dir(&own).expect("a directory");
        let redis = Redis::start(&own);
        let url = redis.url();
        let arguments = ["--handoff-redis", &url, "--hooks-http-backoff", "10ms"];
        let server = Process::start(&data, &arguments);
        let mut uploads = Vec::new();
        for n in 0..40_u8 {
            uploads.push(
                upload(
                    &server,
                    &[n; 100],
                    &[("priority", ["low", "high"][usize::from(n % 2)])],
                )
                .await,
            );
        }
        until("some are in their streams", || async {
            all(&redis).0 >= 10
        })
        .await;
        // In the middle of it, as far as it has not come to its end.
        let port = redis.kill();
        for n in 0..10_u8 {
            uploads.push(upload(&server, &[n; 100], &[]).await);
        }
        until("some wait", || async {
            outbox(&server).await["waiting"].as_u64() >= Some(10)
        })
        .await;
        // The server as well: what waits is found after its start.
        server.kill();
        let server = Process::start(&data, &arguments);
        uploads.push(upload(&server, b"last", &[]).await);
        let redis = Redis::on(port, &own);
        until("the outbox is empty", || async {
            outbox(&server).await["waiting"] == 0
        })
        .await;
        let (entries, found) = all(&redis);
        assert_eq!(found.len(), uploads.len());
        for path in &uploads {
            let keys = found.get(id(path)).expect("its job");
            assert_eq!(keys.len(), 1, "one key: {keys:?}");
        }
        figure(
            "a_redis_that_is_killed_and_comes_again_gets_every_job",
            format_args!("{} uploads, {entries} entries", uploads.len()),
        );
    }
}

#[tokio::test]
async fn a_password_is_needed_and_shown_to_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let redis = Redis::start(dir.path());
    redis.ask(&["CONFIG", "SET", "requirepass", "hunter2"]);
    let start = |password: &'static str| {
        let url = format!("redis://:{password}@127.0.0.1:{}", redis.port);
        start_with(|config| {
            config.handoff.handoff_redis = url;
            config.hooks.hooks_retry_for = Duration::ZERO;
        })
    };
    let server = start("wrong").await;
    server.whole(b"hello").await;
    until("it is given up", || async {
        outbox(&server).await["failed"] == 1
    })
    .await;
    let letter = &outbox(&server).await["letters"][0];
    assert_eq!(text(letter, "to"), "hand-off to redis");
    assert!(!letter.to_string().contains("wrong@"), "{letter}");
    let server = start("hunter2").await;
    server.whole(b"hello").await;
    until("it is taken", || async {
        outbox(&server).await["waiting"] == 0
    })
    .await;
    assert_eq!(outbox(&server).await["failed"], 0);
}
