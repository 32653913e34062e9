//! The source keeps the order that its documentation tells: use goes one way.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules, lowest first. A module may use those of lower layers, and itself.
const LAYERS: &[&[&str]] = &[
    &["upload", "units"],
    &["clock", "meter", "pace"],
    &["protocol"],
    &["blob", "state", "lock", "progress"],
    &["security", "hooks"],
    &["error", "config"],
    &["engine", "logging", "answer"],
    &["tus", "session", "watch", "admin", "web"],
    &["server"],
];

/// Crates of the wire, and the only places that may name them: a module, or a file of one.
const WIRE: &[(&str, &[&str])] = &[
    ("hyper", &["server", "watch/ws.rs"]),
    ("hyper_rustls", &["hooks/http.rs"]),
    (
        "hyper_util",
        &["server", "watch/ws.rs", "hooks/bounded.rs", "hooks/http.rs"],
    ),
    ("redis", &["hooks/redis.rs"]),
    ("rustls", &["hooks/http.rs", "security/tls.rs"]),
    ("tokio_tungstenite", &["watch/ws.rs"]),
    ("tokio_rustls", &["server", "security/tls.rs"]),
    ("tower", &["server", "hooks/http.rs"]),
    (
        "http",
        &[
            "server",
            "tus",
            "watch",
            "admin",
            "session",
            "web",
            "answer",
            "protocol",
            "security",
            "hooks",
            "engine/append.rs",
            "engine/commit.rs",
            "engine/ingest.rs",
        ],
    ),
    (
        "http_body",
        &[
            "server",
            "tus",
            "watch",
            "admin",
            "session",
            "engine/append.rs",
            "engine/ingest.rs",
            "engine/session/chunk.rs",
            "engine/session/repeat.rs",
            "hooks/http.rs",
        ],
    ),
    (
        "http_body_util",
        &[
            "hooks/http.rs",
            "server",
            "tus",
            "session",
            "answer",
            "admin",
            "watch",
            "web",
            "engine/ingest.rs",
            "engine/session/repeat.rs",
            "engine/session/tests.rs",
        ],
    ),
    ("sled", &["state"]),
];

/// Files longer than this have two concerns.
const LONGEST: usize = 500;

struct Source {
    /// Below src/, as `engine/append.rs`.
    name: String,
    text: String,
}

impl Source {
    /// `engine` of `engine.rs` and of `engine/append.rs`.
    fn module(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The code without comments, a line each; tests in the file included, since they build on the same layers.
    fn code(&self) -> impl Iterator<Item = &str> {
        let bare = |line: &'_ str| !line.trim_start().starts_with("//");
        self.text.lines().filter(move |line| bare(line))
    }

    /// What follows each `start` that is no part of a longer path or name, as far as it is a name.
    fn names_after(&self, start: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for line in self.code() {
            for (at, _) in line.match_indices(start) {
                let before = line[..at].chars().next_back();
                if before.is_some_and(|c| is_name(c) || c == ':') {
                    continue;
                }
                let rest = &line[at + start.len()..];
                // A group names several: `crate::{error, blob::Blob}`.
                let group = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                let parts = group.map_or(rest, |(group, _)| group);
                let parts = parts
                    .split(", ")
                    .take(if group.is_some() { usize::MAX } else { 1 });
                names.extend(parts.map(|part| part.chars().take_while(|c| is_name(*c)).collect()));
            }
        }
        names
    }

    fn uses_crate(&self, name: &str) -> bool {
        let path = format!("{name}::");
        let whole = format!("use {name};");
        self.code().any(|line| {
            line.trim() == whole
                || line.match_indices(&path).any(|(at, _)| {
                    !line[..at]
                        .chars()
                        .next_back()
                        .is_some_and(|c| is_name(c) || c == ':')
                })
        })
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .expect("below src")
                    .display()
                    .to_string();
                let text = fs::read_to_string(&path).expect("a source");
                found.push(Source { name, text });
            }
        }
    }
    assert!(found.len() > 50, "the sources are found");
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn use_goes_one_way() {
    for source in sources() {
        let own = source.module();
        if ["lib", "main"].contains(&own) {
            continue; // they know everything, and nothing knows them
        }
        let Some(at) = layer(own) else {
            panic!(
                "src/{}: the module {own} has no layer: give it one here and in the documentation",
                source.name
            )
        };
        for used in source.names_after("crate::") {
            let lower = used == own || layer(&used).is_some_and(|used| used < at);
            assert!(
                lower,
                "src/{}: {own} uses {used}, which is not below it",
                source.name
            );
        }
    }
}

#[test]
fn the_wire_stays_where_it_belongs() {
    for source in sources() {
        for (name, places) in WIRE {
            let may = places
                .iter()
                .any(|place| *place == source.module() || *place == source.name);
            assert!(
                may || !source.uses_crate(name),
                "src/{} uses {name}",
                source.name
            );
        }
    }
}

#[test]
fn no_file_has_two_concerns() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= LONGEST, "src/{} has {lines} lines", source.name);
    }
}

/// A mutant whose place is gone shows nothing, and is found out only when all of them are run.
#[test]
fn each_mutant_has_its_place() {
    let done = std::process::Command::new("python3")
        .args(["tests/mutants", "--check"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("python3: apt-get install -y python3");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}");
}

/// The manifests of every crate here, and the sources beside them, but what is built or fetched.
fn crates() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut manifests, mut sources) = (Vec::new(), Vec::new());
    let mut dirs = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let passed = ["target", "node_modules"]
                .iter()
                .any(|other| name == *other);
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !passed && !name.as_encoded_bytes().starts_with(b".") {
                    dirs.push(path);
                }
            } else if name == "Cargo.toml" {
                manifests.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                sources.push(path);
            }
        }
    }
    (manifests, sources)
}

/// `forbid` cannot be taken back by an attribute, and holds for each target of a crate: its tests, programs and examples.
#[test]
fn nothing_is_unsafe() {
    let (manifests, sources) = crates();
    assert!(
        manifests.len() >= 3 && sources.len() > 300,
        "they are found"
    );
    let forbidden = |lints: Option<&toml::Value>| {
        let level = lints.and_then(|lints| lints.get("rust")?.get("unsafe_code"));
        level.and_then(toml::Value::as_str) == Some("forbid")
    };
    for path in manifests {
        let text = fs::read_to_string(&path).expect("a manifest");
        let manifest: toml::Value = toml::from_str(&text).expect("TOML");
        let lints = manifest.get("lints");
        let inherits = lints.and_then(|lints| lints.get("workspace"));
        let inherits = inherits.and_then(toml::Value::as_bool) == Some(true);
        let workspace = manifest.get("workspace");
        if manifest.get("package").is_some() {
            assert!(inherits || forbidden(lints), "{}", path.display());
        }
        if let Some(workspace) = workspace.filter(|workspace| workspace.get("members").is_some()) {
            assert!(forbidden(workspace.get("lints")), "{}", path.display());
        }
    }
    // Nor is there a word of it where nothing is compiled by these.
    for path in sources {
        let text = fs::read_to_string(&path).expect("a source");
        let mut words = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let word = concat!("un", "safe ");
        assert!(!words.any(|line| line.contains(word)), "{}", path.display());
    }
}

/// The packages of a lock file.
fn locked(text: &str) -> Vec<toml::Table> {
    let lock: toml::Table = text.parse().expect("a lock file");
    let all = lock["package"].as_array().expect("packages");
    let tables = all
        .iter()
        .map(|one| one.as_table().expect("a table").clone());
    tables.collect()
}

/// The fuzz targets are a workspace of their own, and would be built with what this one has long left.
#[test]
fn the_fuzz_targets_are_built_of_the_same() {
    let ours = locked(include_str!("../Cargo.lock"));
    let theirs = locked(include_str!("fuzz/Cargo.lock"));
    let same = |one: &toml::Table, other: &toml::Table, keys: &[&str]| {
        keys.iter().all(|key| one.get(*key) == other.get(*key))
    };
    let mut alone = Vec::new();
    for package in &theirs {
        if !ours.iter().any(|our| same(our, package, &["name"])) {
            alone.push(package["name"].as_str().expect("a name"));
        } else if package["name"].as_str() != Some("highwater") {
            let keys = ["name", "version", "source", "checksum"];
            let known = ours.iter().any(|our| same(our, package, &keys));
            assert!(known, "tests/fuzz/Cargo.lock has another {package:?}");
        }
    }
    assert_eq!(alone, ["arbitrary", "highwater-fuzz", "libfuzzer-sys"]);
    // What the server depends on, by name alone where there is one version of it.
    let server = |packages: &[toml::Table]| {
        let named = |one: &&toml::Table| one["name"].as_str() == Some("highwater");
        let server = packages.iter().find(named).expect("the server");
        let all = server["dependencies"].as_array().expect("names");
        let names = all.iter().filter_map(|one| one.as_str()?.split(' ').next());
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().expect("it is TOML");
    let table = |name: &str| manifest[name].as_table().expect("a table").keys();
    let linked: BTreeSet<_> = table("dependencies").cloned().collect();
    let tests = table("dev-dependencies").filter(|name| !linked.contains(*name));
    let (mut wanted, tests) = (server(&ours), tests.cloned().collect::<Vec<_>>());
    wanted.retain(|name| !tests.contains(name));
    assert_eq!(server(&theirs), wanted, "tests/fuzz/Cargo.lock is stale");
}
