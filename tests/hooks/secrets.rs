//! What may be secret in a receiver's address is shown nowhere.

use std::process::Command;

use super::receiver::{Receiver, Said};
use crate::support::{Process, until};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");

fn address(receiver: &Receiver) -> String {
    format!("http://user:sekrit@{}/hooks?token=sekrit", receiver.addr)
}

#[tokio::test]
async fn what_is_printed_of_options_is_without_it() {
    let receiver = Receiver::agreeable().await;
    let wrong = [
        "ftp://user:sekrit@host/?token=sekrit",
        "http://user:sekrit/@host:x/",
        "user:sekrit@host/",
    ];
    let wrong = wrong.map(|url| (vec![], url.to_owned(), false));
    let right = [vec!["--help"], vec!["--print-config"]];
    let right = right.map(|arguments| (arguments, address(&receiver), true));
    for (arguments, url, good) in right.into_iter().chain(wrong) {
        for name in ["HIGHWATER_HOOKS_HTTP", "HIGHWATER_HANDOFF_HTTP"] {
            let mut command = Command::new(BINARY);
            command.env_clear().env(name, &url).args(&arguments);
            let output = command.output().expect("it runs");
            assert_eq!(output.status.success(), good, "{output:?}");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).expect("text");
            assert!(!said.contains("sekrit"), "{url}: {said}");
            let option = name.trim_start_matches("HIGHWATER_").to_lowercase();
            assert!(said.contains(&option.replace('_', "-")), "{said}");
        }
    }
}

#[tokio::test]
async fn faults_are_logged_and_listed_without_it() {
    let receiver = Receiver::start(|call| match call.event() {
        "pre-create" => Said::fine(),
        _ => Said::Status(503),
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let url = address(&receiver);
    let more = "--hooks-enabled-events pre-create,post-create,pre-terminate \
        --hooks-http-retry 0 --hooks-http-backoff 20ms --hooks-retry-for 50ms --durability process";
    let mut arguments = vec!["--hooks-http", &*url];
    arguments.extend(more.split_ascii_whitespace());
    let mut server = Process::start(dir.path(), &arguments);
    let path = server.create(5).await;
    assert_eq!(server.delete(&path).await.status, 500);
    until("it is given up", || async {
        server.get("/admin/hooks").await.json()["failed"] == 1
    })
    .await;
    let listed = server.get("/admin/hooks").await.json();
    let shown = receiver.url();
    assert_eq!(listed["letters"][0]["to"], shown, "{listed}");
    assert!(!listed.to_string().contains("sekrit"), "{listed}");
    server.wait_for_line("A HOOK WAS NOT TOLD");
    server.wait_for_line("request failed");
    assert!(server.terminate().0);
    let log = server.log().join("\n");
    for level in ["WARN", "ERROR"] {
        let named = |line: &str| line.contains(level) && line.contains(&shown);
        assert!(log.lines().any(named), "{level}: {log}");
    }
    assert!(!log.contains("sekrit"), "{log}");
    // The letter finds its receiver after a start.
    let server = Process::start(dir.path(), &arguments);
    receiver.says(|_| Said::fine());
    let number = listed["letters"][0]["id"].as_str().expect("a number");
    let retry = format!("/admin/hooks/{number}/retry");
    assert_eq!(server.request("POST", &retry).send().await.status, 202);
    until("it is told", || async {
        let listed = server.get("/admin/hooks").await.json();
        listed["failed"] == 0 && listed["waiting"] == 0
    })
    .await;
}
