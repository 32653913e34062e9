//! The program as people and build servers use it.

use std::process::{Command, Output};

use tus_conformance::reference::{Fault, Reference};

fn check(url: &str, options: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tus-conformance"));
    program.arg(url).args(options);
    program.output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_kept_must_is_0_and_a_broken_one_1_with_the_clause_and_the_exchange() {
    let good = Reference::start(None).expect("a port");
    let done = check(&good.url(), &["--only", "core.patch"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");

    let bad = Reference::start(Some(Fault::Status("PATCH", 409, 400))).expect("a port");
    let done = check(&bad.url(), &["--only", "core.patch"]);
    let told = text(&done.stdout);
    assert_eq!(done.status.code(), Some(1), "{told}");
    for expected in [
        "fail MUST   core.patch.offset-mismatch",
        "the Server MUST respond with the `409 Conflict` status",
        "       > PATCH /files/",
        "       < HTTP/1.1 400 ",
    ] {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
}

#[test]
fn what_cannot_be_checked_is_2() {
    let gone = {
        let reference = Reference::start(None).expect("a port");
        reference.url()
    };
    let done = check(&gone, &[]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    assert!(text(&done.stderr).contains("connecting"), "{done:?}");
    let done = check("https://127.0.0.1/files/", &[]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    let done = check(&gone, &["--only", "no.such.case"]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
}

#[test]
fn programs_get_json_and_build_servers_junit_and_nobody_the_credentials() {
    let fault = Fault::Status("PATCH", 409, 400);
    let reference = Reference::start(Some(fault)).expect("a port");
    let dir = std::env::temp_dir().join(format!("tus-conformance-{}", std::process::id()));
    let file = dir.with_extension("xml");
    let junit = file.to_str().expect("UTF-8");
    let done = check(
        &reference.url(),
        &[
            "--json",
            "--junit",
            junit,
            "--only",
            "core.patch",
            "--header",
            "Authorization: Bearer s3cret",
        ],
    );
    let xml = std::fs::read_to_string(&file).expect("it was written");
    std::fs::remove_file(&file).expect("it is there");
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let cases = told["cases"].as_array().expect("a list");
    assert_eq!(xml.matches("<testcase ").count(), cases.len());
    assert_eq!(xml.matches("<failure ").count(), 1, "{xml}");
    assert_eq!(told["counts"]["fail"], 1, "{told}");
    let failed = cases.iter().find(|case| case["verdict"] == "fail");
    assert_eq!(failed.expect("one")["id"], "core.patch.offset-mismatch");
    let all = text(&done.stdout) + &xml;
    assert!(all.contains("Authorization: ...") && !all.contains("s3cret"));
}

#[test]
fn the_list_pairs_cases_with_faults() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tus-conformance"));
    let done = program.arg("--list").output().expect("it runs");
    let told = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{told}");
    let pair = |line: &&str| line.contains("core.patch.offset-mismatch ");
    let line = told.lines().find(pair).expect("the case");
    assert!(line.ends_with("PATCH 400 instead of 409"), "{line}");
}
