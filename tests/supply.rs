//! What is linked is what `.deny.toml` allows: licences, sources and bans, also where there is no cargo-deny. Known faults are
//! its alone to find: `cargo deny check advisories`.

use std::process::Command;

use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The crates that are linked here, or in a test, as cargo tells of them: those are there, or the tests were not built.
fn packages() -> Vec<Value> {
    let done = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let told: Value = serde_json::from_slice(&done.stdout).expect("its metadata");
    told["packages"].as_array().expect("packages").clone()
}

/// The texts of a list in the configuration; of a list of tables, their `crate`.
fn listed(table: &str, list: &str) -> Vec<String> {
    let text = include_str!("../.deny.toml");
    let whole: toml::Table = text.parse().expect(".deny.toml");
    let list = whole[table][list].as_array().expect("a list");
    let text = |value: &toml::Value| {
        value
            .get("crate")
            .unwrap_or(value)
            .as_str()
            .map(str::to_owned)
    };
    list.iter().filter_map(text).collect()
}

/// The parts of a licence expression between `word`s that are in no parentheses.
fn split<'e>(expression: &'e str, word: &str) -> Vec<&'e str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in expression.char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 && at >= begin && expression[at..].starts_with(word) {
            parts.push(&expression[begin..at]);
            begin = at + word.len();
        }
    }
    parts.push(&expression[begin..]);
    parts
}

/// Whether one may choose licences of `allowed` alone. Source: SPDX 2.3, annex D; and `/`, as it was written before.
fn may_link(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.trim();
    let slashes = split(expression, "/");
    let ors = slashes.into_iter().flat_map(|part| split(part, " OR "));
    let ors: Vec<_> = ors.collect();
    if ors.len() > 1 {
        return ors.into_iter().any(|one| may_link(one, allowed));
    }
    let ands = split(expression, " AND ");
    if ands.len() > 1 {
        return ands.into_iter().all(|one| may_link(one, allowed));
    }
    match expression
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(within) => may_link(within, allowed),
        None => allowed.iter().any(|one| one == expression),
    }
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    let allowed = ["MIT", "ISC"].map(str::to_owned);
    for (expression, may) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/ISC", true),
        ("GPL-3.0 AND MIT", false),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("(ISC OR GPL-3.0) AND GPL-2.0", false),
        ("GPL-3.0 OR ISC AND MIT", true),
        ("MIT WITH a-twist", false),
        ("", false),
    ] {
        assert_eq!(may_link(expression, &allowed), may, "{expression}");
    }
}

#[test]
fn what_is_linked_is_allowed() {
    let (allowed, banned) = (listed("licenses", "allow"), listed("bans", "deny"));
    assert!(allowed.len() > 3 && banned.len() > 1);
    let packages = packages();
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages {
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        let (name, licence) = (text("name"), text("license"));
        assert!(may_link(&licence, &allowed), "{name}: {licence:?}");
        assert!(!banned.contains(&name), "{name} is banned");
        let source = text("source");
        assert!(source.is_empty() || source == REGISTRY, "{name}: {source}");
    }
}
