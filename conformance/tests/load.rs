//! Every scenario of `tus-load`, in a small form, against Highwater: a load generator that fails quietly measures nothing.

use std::collections::HashMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tus_conformance::reference::Reference;

const LOAD: &str = env!("CARGO_BIN_EXE_tus-load");

/// A running server, in a directory of its own; both go with this.
struct Server {
    child: Child,
    directory: PathBuf,
    command: Vec<String>,
    port: u16,
}

impl Server {
    fn start(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("load-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let port = {
            let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
            probe.local_addr().expect("an address").port()
        };
        let data = directory.to_str().expect("UTF-8");
        let program = built().to_str().expect("UTF-8").to_owned();
        let port_text = port.to_string();
        let options = ["--host", "127.0.0.1", "--port", &port_text];
        let more = ["--upload-dir", data, "--durability", "process"];
        let options = options.into_iter().chain(more).map(str::to_owned);
        let command: Vec<String> = std::iter::once(program).chain(options).collect();
        let child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let server = Self {
            child,
            directory,
            command,
            port,
        };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "it listens");
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// A scenario; its figures. All that was stored is compared.
    fn load(&self, scenario: &[&str]) -> HashMap<String, f64> {
        let mut load = Command::new(LOAD);
        load.args(["--url", &format!("http://127.0.0.1:{}/files/", self.port)])
            .args(["--pid", &self.child.id().to_string()])
            .args(["--data", self.directory.to_str().expect("UTF-8")])
            .args(["--verify", "--limit", "60", "--settle", "0"]);
        if ["kill", "growth"].contains(&scenario[0]) {
            for argument in &self.command {
                load.args(["--restart", argument]);
            }
        }
        figures(&load.args(scenario).output().expect("it runs"), scenario)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Highwater's program, built if it is not there or old.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

fn build() -> PathBuf {
    let done = Command::new(env!("CARGO"))
        .args([
            "build",
            "--locked",
            "--package",
            "highwater",
            "--bin",
            "highwater",
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo");
    assert!(done.status.success(), "{done:?}");
    let beside = Path::new(LOAD).parent().expect("a directory");
    beside.join("highwater")
}

fn figures(done: &Output, scenario: &[&str]) -> HashMap<String, f64> {
    assert!(done.status.success(), "{scenario:?}: {done:?}");
    let text = String::from_utf8_lossy(&done.stdout);
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once('=').expect("name=value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// What a scenario is called with, a figure it must give, and within which bounds.
type Expected = (&'static str, &'static str, std::ops::RangeInclusive<f64>);

const MANY: f64 = 1e12;

fn all_as_expected(server: &Server, expected: &[Expected]) {
    for (scenario, name, bounds) in expected {
        let words: Vec<&str> = scenario.split(' ').collect();
        let figures = server.load(&words);
        let figure = figures.get(*name);
        assert!(
            figure.is_some_and(|figure| bounds.contains(figure)),
            "{scenario}: {name} is {figure:?} of {figures:?}"
        );
    }
}

#[test]
fn each_scenario_does_what_it_says() {
    let server = Server::start("all");
    all_as_expected(
        &server,
        &[
            ("s1 --mib 4", "bytes", 4_194_304.0..=4_194_304.0),
            ("s2 --mib 4", "ms_p99", 0.0..=60_000.0),
            ("join --parts 4 --kib 256", "final_ms", 0.0..=60_000.0),
            ("join --parts 100 --kib 1", "bytes", 102_400.0..=102_400.0),
            ("crowd --uploads 8 --mib 1", "uploads", 8.0..=8.0),
            (
                "small --files 64 --connections 8",
                "uploads_per_s",
                1.0..=MANY,
            ),
            (
                "heads --connections 4 --time 100",
                "heads_per_s_each",
                1.0..=MANY,
            ),
            (
                "trickle --uploads 20 --pieces 2 --pause 20",
                "bytes",
                61_440.0..=61_440.0,
            ),
            ("checked --mib 2", "false_sum_refused", 1.0..=1.0),
            (
                "checked --mib 2 --algorithm sha256",
                "false_sum_status",
                460.0..=460.0,
            ),
            ("flat --patches 640", "rss_kib_end", 1.0..=MANY),
            ("many --mib 20", "mib_per_s_100", 0.1..=MANY),
            ("mixed --uploads 20 --connections 4", "uploads", 20.0..=20.0),
            (
                "idle --uploads 4",
                "rss_growth_kib_per_upload",
                -MANY..=MANY,
            ),
            ("parked --uploads 4", "uploads", 4.0..=4.0),
            ("busy --uploads 4 --mib 1", "uploads", 4.0..=4.0),
        ],
    );
}

#[test]
fn each_scenario_that_needs_more_than_tus_does_what_it_says() {
    let server = Server::start("more");
    all_as_expected(
        &server,
        &[
            (
                "downloads --mib 8 --readers 2",
                "download_mib_per_s",
                0.1..=MANY,
            ),
            // Each watcher is told at least how it stands at first, and of the end.
            ("watched --mib 2 --watchers 5", "events", 10.0..=MANY),
            ("h2 --mib 4", "uploads", 1.0..=1.0),
            ("h2 --mib 4 --step 4", "bytes", 4_194_304.0..=4_194_304.0),
            (
                "session --mib 2 --chunk-kib 256",
                "chunks_per_min",
                1.0..=MANY,
            ),
            (
                "session --mib 2 --chunk-kib 256 --file-hash",
                "finalize_ms",
                0.0..=60_000.0,
            ),
            (
                "session --mib 1 --chunk-kib 64 --unverified --sessions 4",
                "uploads",
                4.0..=4.0,
            ),
            // A connection through which 8 MiB go at 20 MiB/s, and four for them.
            ("slow --mib 8", "mib_per_s", 1.0..=20.0),
            ("slow --mib 8 --how parts", "mib_per_s", 1.0..=80.0),
            ("slow --mib 8 --how session", "mib_per_s", 1.0..=80.0),
        ],
    );
}

#[test]
fn a_killed_server_is_started_again_and_asked() {
    let server = Server::start("kill");
    let figures = server.load(&["kill", "--uploads", "40", "--mib", "1"]);
    assert!(figures["kept_percent"] >= 100.0, "{figures:?}");
    assert!(figures["stored_lost"] <= 0.0, "{figures:?}");
    assert!(figures["head_ms"] > 0.0, "{figures:?}");
    drop(server);

    let server = Server::start("growth");
    let figures = server.load(&[
        "growth",
        "--few",
        "10",
        "--many",
        "100",
        "--batches",
        "1",
        "--rest",
        "0",
    ]);
    assert!(figures["restart_ms"] > 0.0, "{figures:?}");
    assert!(figures.contains_key("cpu_growth"), "{figures:?}");
}

#[test]
fn any_server_will_do_and_nothing_but_loopback() {
    let reference = Reference::start(None).expect("a port");
    let run = |url: &str, scenario: &[&str]| {
        let mut load = Command::new(LOAD);
        let load = load.args(["--url", url, "--verify", "--settle", "0"]);
        load.args(scenario).output().expect("it runs")
    };
    let scenario = ["s2", "--mib", "2"];
    let figures = figures(&run(&reference.url(), &scenario), &scenario);
    assert!(figures["uploads"] >= 1.0, "{figures:?}");
    assert!(!figures.contains_key("server_cpu_s"), "{figures:?}");
    let done = run("http://10.0.0.1/files/", &scenario);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let done = run(&reference.url(), &["kill"]);
    assert_eq!(done.status.code(), Some(1), "no process to kill: {done:?}");
}
