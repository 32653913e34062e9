use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::upload::Failure;

/// Each example of the documentation, by the name of its event.
fn examples() -> BTreeMap<String, String> {
    let text = include_str!("../EVENTS.md");
    let blocks = text.split("```json\n").skip(1);
    let mut found = BTreeMap::new();
    for block in blocks {
        let example = block.split("\n```").next().unwrap().to_owned();
        let value: Value = serde_json::from_str(&example).unwrap();
        let name = value["event"].as_str().unwrap().to_owned();
        assert!(found.insert(name, example).is_none(), "once each");
    }
    found
}

const JANUARY: Millis = 1_767_225_600_000;
const NUMBER: u64 = 1_767_225_600_000_000;

fn figures(status: Status) -> Figures {
    Figures {
        status,
        offset: 1_572_864,
        length: Some(3_145_728),
        chunks: None,
        rate: 524_288,
    }
}

/// One of each kind, with the status that comes with it. A new kind does not compile without a line here.
fn kinds() -> Vec<(What, Status)> {
    let follows = |what: &What| match what {
        What::Created => What::Stored {
            chunk: Some(2),
            start: 1 << 20,
            end: 2 << 20,
        },
        What::Stored { .. } => What::ChunkFailed {
            chunk: Some(2),
            code: "checksum-mismatch",
        },
        What::ChunkFailed { .. } => What::Validated,
        What::Validated => What::AssemblyStarted,
        What::AssemblyStarted => What::Completed,
        What::Completed => What::Failed { code: "part-gone" },
        What::Failed { .. } => What::Cancelled,
        What::Cancelled => What::Expired,
        What::Expired => What::Paused {
            code: Some("body-cut"),
        },
        What::Paused { .. } => What::Resumed,
        What::Resumed => What::ScanStarted,
        What::ScanStarted => What::ScanFinished { verdict: "clean" },
        What::ScanFinished { .. } => What::JobCreated,
        What::JobCreated => What::JobFailed {
            code: "handoff-failed",
        },
        What::JobFailed { .. } => What::Created,
    };
    let status = |what: &What| match what {
        What::AssemblyStarted => Status::Assembling,
        What::Completed | What::JobCreated | What::JobFailed { .. } => Status::Completed,
        What::ScanStarted | What::ScanFinished { .. } => Status::Scanning,
        What::Failed { .. } => Status::Failed(Failure::PartGone),
        What::Cancelled => Status::Cancelled,
        What::Expired => Status::Expired,
        _ => Status::Active,
    };
    let mut all = vec![(What::Created, Status::Active)];
    loop {
        let next = follows(&all[all.len() - 1].0);
        if next == What::Created {
            return all;
        }
        all.push((next, status(&next)));
    }
}

#[test]
fn every_example_is_what_is_written_and_every_kind_has_one() {
    let id: UploadId = "7c1b".parse().unwrap();
    let part = Part {
        upload_id: "0d2e".parse().unwrap(),
        bytes_transferred: 1_572_864,
        total_bytes: Some(3_145_728),
    };
    let parts = Some(std::slice::from_ref(&part));
    let active = figures(Status::Active);
    let stand = Stand {
        paused: false,
        parts,
        code: None,
    };
    let mut written = vec![
        snapshot(&id, JANUARY, NUMBER, &active, &stand),
        progress(&id, JANUARY, NUMBER, &active, parts),
        resync(JANUARY),
        disk_level(JANUARY, "yellow", 5_368_709_120, 107_374_182_400),
        error(
            Some("7c1b"),
            JANUARY,
            "not-found",
            "there is no such upload; create a new one",
        ),
    ];
    written.extend(kinds().into_iter().map(|(what, status)| {
        let event = Event {
            time: JANUARY,
            what,
            figures: figures(status),
        };
        event.to_json(&id, NUMBER + 1)
    }));
    let mut examples = examples();
    for json in written {
        let value: Value = serde_json::from_str(&json).unwrap();
        let name = value["event"].as_str().unwrap();
        let example = examples.remove(name);
        assert_eq!(example.as_deref(), Some(json.as_str()), "of {name}");
    }
    assert!(examples.is_empty(), "examples of no kind: {examples:?}");
}

#[test]
fn what_cannot_be_told_is_null() {
    let unknown = Figures {
        length: None,
        ..figures(Status::Active)
    };
    assert_eq!((divided(&unknown), left(&unknown)), (None, None));
    let still = Figures {
        rate: 0,
        ..figures(Status::Active)
    };
    assert_eq!((divided(&still), left(&still)), (Some((2, 3)), None));
    let whole = Figures {
        offset: 3_145_727,
        length: Some(3_145_727),
        ..still
    };
    assert_eq!((divided(&whole), left(&whole)), (Some((0, 3)), Some(0.0)));
}

#[test]
fn an_error_repeats_little_of_what_it_is_about() {
    let long = "é".repeat(500);
    let value: Value = serde_json::from_str(&error(Some(&long), 0, "not-found", "")).unwrap();
    assert_eq!(value["upload_id"].as_str().unwrap().chars().count(), ECHO);
    let value: Value = serde_json::from_str(&error(None, 0, "bad-subscription", "")).unwrap();
    assert!(value.get("upload_id").is_none());
}
