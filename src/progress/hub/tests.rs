use std::cell::Cell;
use std::sync::atomic::AtomicU64;

use serde_json::Value;

use super::*;
use crate::progress::Disk;
use crate::progress::topic::{CHUNKS_EVERY, KEPT, mean, whole};
use crate::upload::{Failure, Status};

const PAUSE: Duration = Duration::from_secs(5);

fn id(text: &str) -> UploadId {
    text.parse().unwrap()
}

fn at(offset: u64) -> Facts {
    Facts {
        status: Status::Active,
        offset,
        length: Some(1000),
        chunks: None,
        parts: None,
        silent: Some(Duration::ZERO),
    }
}

fn ended(status: Status) -> Facts {
    Facts {
        status,
        silent: None,
        ..at(1000)
    }
}

fn failed(n: u64) -> What {
    What::ChunkFailed {
        chunk: Some(n),
        code: "x",
    }
}

/// Everything that there is to be read now.
fn read(mailbox: &mut Mailbox) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some(told) = mailbox.try_next() {
        all.extend(told.iter().map(|one| {
            let value: Value = serde_json::from_str(&one.json).unwrap();
            let number = one.at.as_ref().map(|(_, number)| *number);
            assert_eq!(number, value["sequence"].as_u64());
            value
        }));
    }
    all
}

fn names(all: &[Value]) -> Vec<&str> {
    all.iter()
        .map(|one| one["event"].as_str().unwrap())
        .collect()
}

fn number(value: &Value) -> u64 {
    value["sequence"].as_u64().unwrap()
}

#[test]
fn nobody_watches_and_nothing_is_looked_at() {
    let hub = Hub::new(PAUSE);
    let never = || unreachable!("nobody wants to know");
    hub.emit(&id("a"), What::Created, never);
    // Somebody watches another one.
    let mut mailbox = hub.mailbox();
    mailbox.subscribe(&id("b"), None, || at(0));
    hub.emit(&id("a"), What::Created, never);
    assert_eq!(names(&read(&mut mailbox)), ["snapshot"]);
}

#[test]
fn a_snapshot_comes_first_then_events_in_order_and_the_last_one_last() {
    let hub = Hub::new(PAUSE);
    let mut mailbox = hub.mailbox();
    let a = id("a");
    mailbox.subscribe(&a, None, || at(10));
    hub.emit(&a, failed(1), || at(10));
    // The snapshot knows of it already, and it is not told twice.
    let first = read(&mut mailbox);
    assert_eq!(names(&first), ["snapshot"]);
    for n in 2..200 {
        hub.emit(&a, failed(n), || at(10 + n));
        hub.sample(|_| Some(at(10 + n)));
    }
    hub.emit(&a, What::Completed, || ended(Status::Completed));
    hub.sample(|_| Some(ended(Status::Completed)));
    let all = read(&mut mailbox);
    for (before, one) in (number(&first[0])..).zip(&all) {
        assert_eq!(number(one), before + 1);
    }
    assert_eq!((all.len(), names(&all)[198]), (199, "upload_completed"));
    assert_eq!(all[198]["status"], "completed");
}

#[test]
fn progress_is_the_newest_and_never_comes_after_the_end() {
    let hub = Hub::new(PAUSE);
    let mut mailbox = hub.mailbox();
    let a = id("a");
    mailbox.subscribe(&a, None, || at(0));
    read(&mut mailbox);
    for n in 1..=500 {
        hub.sample(|_| Some(at(n)));
    }
    let all = read(&mut mailbox);
    assert_eq!(names(&all), ["progress"]);
    assert_eq!(all[0]["bytes_transferred"], 500);
    // One that looked earlier takes nothing back.
    hub.emit(&a, failed(1), || at(400));
    hub.sample(|_| Some(at(501)));
    hub.emit(&a, What::Cancelled, || at(501));
    let all = read(&mut mailbox);
    assert_eq!(names(&all), ["chunk_failed", "upload_cancelled"]);
    assert_eq!(all[0]["bytes_transferred"], 500);
    assert_eq!(all[1]["status"], "cancelled");
}

#[test]
fn one_that_does_not_read_costs_a_constant_and_hears_of_the_end() {
    let hub = Hub::new(PAUSE);
    let (mut lazy, mut keen) = (hub.mailbox(), hub.mailbox());
    let a = id("a");
    lazy.subscribe(&a, None, || at(0));
    keen.subscribe(&a, None, || at(0));
    read(&mut lazy);
    for n in 0..100_000 {
        hub.emit(&a, failed(n), || at(1));
        if n % 200 == 0 {
            read(&mut keen);
        }
    }
    let kept = hub.topics().by_id[&a].state().kept.len();
    assert_eq!(kept, KEPT);
    let lost = Status::Failed(Failure::PartGone);
    hub.emit(&a, What::Failed { code: "part-gone" }, || ended(lost));
    let all = read(&mut lazy);
    assert_eq!(names(&all), ["snapshot"]);
    assert_eq!(
        (&all[0]["status"], &all[0]["code"]),
        (&"failed".into(), &"part-gone".into())
    );
    assert_eq!(names(&read(&mut keen)).last(), Some(&"upload_failed"));
}

#[test]
fn who_comes_back_gets_what_was_missed_or_a_snapshot() {
    let hub = Hub::new(PAUSE);
    let a = id("a");
    let mut mailbox = hub.mailbox();
    mailbox.subscribe(&a, None, || at(5));
    let base = number(&read(&mut mailbox)[0]);
    drop(mailbox);
    for n in 0..256 {
        hub.emit(&a, failed(n), || at(5));
    }
    let back = |since| {
        let mut mailbox = hub.mailbox();
        mailbox.subscribe(&a, Some(since), || at(5));
        let all = read(&mut mailbox);
        (
            all.iter()
                .filter(|one| one["event"] == "chunk_failed")
                .count(),
            all,
        )
    };
    let (missed, all) = back(base);
    assert_eq!((missed, names(&all).last()), (256, Some(&"progress")));
    let (missed, _) = back(base + 200);
    assert_eq!(missed, 56);
    assert_eq!(names(&back(base + 256).1), ["progress"]);
    for since in [0, base - 1, base + 257, u64::MAX] {
        assert_eq!(names(&back(since).1), ["snapshot"], "{since}");
    }
    hub.emit(&a, failed(256), || at(5));
    let mut mailbox = hub.mailbox();
    mailbox.subscribe(&a, Some(base), || at(5));
    assert_eq!(names(&read(&mut mailbox)), ["snapshot"], "256 are kept");
}

#[test]
fn numbers_never_go_back_and_what_nobody_follows_is_forgotten() {
    let hub = Hub::new(PAUSE);
    let a = id("a");
    let mut mailbox = hub.mailbox();
    mailbox.subscribe(&a, None, || at(0));
    // Further than the clock.
    hub.topics().by_id[&a].state().sequence += 1 << 40;
    hub.emit(&a, failed(1), || at(0));
    let last = number(&read(&mut mailbox)[0]);
    drop(mailbox);
    hub.rest();
    assert!(!hub.is_quiet(), "it stays for those who come back");
    hub.forget_after(Duration::ZERO);
    assert!(hub.is_quiet());
    let mut mailbox = hub.mailbox();
    mailbox.subscribe(&a, Some(last), || at(0));
    let first = read(&mut mailbox);
    assert_eq!(names(&first), ["snapshot"]);
    assert!(number(&first[0]) > last);
    // One that is followed stays, and one that was left twice is not counted twice.
    hub.forget_after(Duration::ZERO);
    assert!(!hub.is_quiet());
    mailbox.unsubscribe(&a);
    mailbox.unsubscribe(&a);
    drop(mailbox);
    assert_eq!(hub.subscribers.load(Ordering::Acquire), 0);
}

#[test]
fn stored_bytes_are_told_ten_times_a_second_and_all_of_them() {
    let hub = Hub::new(PAUSE);
    let a = id("a");
    let mut mailbox = hub.mailbox();
    mailbox.subscribe(&a, None, || at(0));
    read(&mut mailbox);
    let began = Instant::now();
    let stored = |start, end| What::Stored {
        chunk: None,
        start,
        end,
    };
    for n in 0..1000 {
        hub.emit(&a, stored(n, n + 1), || at(n + 1));
    }
    hub.emit(&a, What::Completed, || ended(Status::Completed));
    let most = 2 + began.elapsed().as_millis() / CHUNKS_EVERY.as_millis();
    let all = read(&mut mailbox);
    let (last, chunks) = all.split_last().unwrap();
    assert_eq!(last["event"], "upload_completed");
    assert!(chunks.len() as u128 <= most, "{} in {most}", chunks.len());
    let mut next = 0;
    for chunk in chunks {
        assert_eq!(chunk["event"], "chunk_uploaded");
        assert_eq!(chunk["range"][0], next);
        next = chunk["range"][1].as_u64().unwrap() + 1;
    }
    assert_eq!(next, 1000);
}

#[test]
fn a_pause_is_told_once_and_so_is_its_end() {
    let hub = Hub::new(Duration::ZERO);
    let a = id("a");
    let mut mailbox = hub.mailbox();
    mailbox.subscribe(&a, None, || at(10));
    read(&mut mailbox);
    let silent = || Facts {
        silent: None,
        ..at(10)
    };
    let cut = What::Paused {
        code: Some("body-cut"),
    };
    hub.emit(&a, What::Resumed, || at(10)); // it was not paused
    hub.sample(|_| Some(silent()));
    hub.sample(|_| Some(silent()));
    hub.emit(&a, cut, silent);
    hub.emit(&a, What::Resumed, || at(10));
    hub.emit(&a, cut, silent);
    let whole = || Facts {
        status: Status::Completed,
        ..silent()
    };
    hub.emit(&a, What::Completed, whole);
    hub.emit(&a, cut, whole);
    let all = read(&mut mailbox);
    let expected = [
        "upload_paused",
        "upload_resumed",
        "upload_paused",
        "upload_completed",
    ];
    assert_eq!(names(&all), expected);
    assert_eq!(
        (all[0].get("code"), &all[2]["code"]),
        (None, &"body-cut".into())
    );
    // Bytes that came and went between two looks end a pause, too.
    let b = id("b");
    mailbox.subscribe(&b, None, silent);
    read(&mut mailbox);
    let stored = What::Stored {
        chunk: None,
        start: 10,
        end: 11,
    };
    hub.emit(&b, stored, || Facts {
        silent: None,
        ..at(11)
    });
    assert_eq!(
        names(&read(&mut mailbox)),
        ["upload_resumed", "chunk_uploaded"]
    );
    mailbox.unsubscribe(&b);
    // Whoever comes while nothing is sent sees that.
    let c = id("c");
    mailbox.subscribe(&c, None, silent);
    assert_eq!(read(&mut mailbox)[0]["paused"], true);
}

#[test]
fn one_who_follows_all_sees_every_upload_and_is_told_what_it_missed() {
    let hub = Hub::new(PAUSE);
    let mut admin = hub.mailbox();
    admin.subscribe_all(vec![(id("running"), at(3))], || None);
    hub.emit(&id("new"), What::Created, || at(0));
    let all = read(&mut admin);
    assert_eq!(names(&all), ["snapshot", "upload_created"]);
    hub.emit(&id("new"), failed(1), || at(0));
    hub.sample(|_| Some(at(4)));
    let mut told = read(&mut admin);
    told.sort_by_key(|one| one["event"].as_str().unwrap().to_owned());
    assert_eq!(names(&told), ["chunk_failed", "progress", "progress"]);
    // Those that end are forgotten after a while, and it is told if their end was not read.
    hub.emit(&id("new"), What::Completed, || ended(Status::Completed));
    let seen = read(&mut admin);
    assert_eq!(names(&seen), ["upload_completed"]);
    hub.emit(&id("running"), What::Expired, || ended(Status::Expired));
    hub.forget_after(Duration::ZERO);
    assert!(hub.topics().by_id.is_empty());
    assert_eq!(names(&read(&mut admin)), ["resync"]);
    // What is no upload of its own is not told; the disk's level is, the newest one.
    hub.emit_by_name(&id("part"), What::Completed, || ended(Status::Completed));
    assert_eq!(read(&mut admin), [Value::Null; 0]);
    hub.tell_disk("yellow", 5, 10);
    hub.tell_disk("red", 1, 10);
    let told = read(&mut admin);
    assert_eq!(names(&told), ["disk_level"]);
    assert_eq!(
        (&told[0]["level"], &told[0]["free_bytes"]),
        (&"red".into(), &1.into())
    );
    let mut other = hub.mailbox();
    other.subscribe(&id("part"), None, || at(0));
    let snapshot = read(&mut other);
    hub.emit_by_name(&id("part"), What::Completed, || ended(Status::Completed));
    hub.tell_disk("green", 9, 10);
    let told = [snapshot, read(&mut other)].concat();
    assert_eq!(names(&told), ["snapshot", "upload_completed"]);
    drop(other);
    hub.forget_after(Duration::ZERO);
    drop(admin);
    assert!(hub.is_quiet());
}

#[test]
fn one_who_follows_all_and_never_reads_costs_as_much_as_what_is_lately() {
    let hub = Hub::new(PAUSE);
    let mut admin = hub.mailbox();
    admin.subscribe_all(Vec::new(), || None);
    let gone: Vec<_> = (0..1000)
        .map(|n| {
            let id = id(&format!("u{n}"));
            hub.emit(&id, What::Created, || at(0));
            hub.emit(&id, What::Completed, || ended(Status::Completed));
            let topic = Arc::downgrade(&hub.topics().by_id[&id]);
            hub.forget_after(Duration::ZERO);
            topic
        })
        .collect();
    assert!(gone.iter().all(|topic| topic.upgrade().is_none()));
    assert_eq!(names(&read(&mut admin)), ["resync"]);
}

#[test]
fn a_mailbox_that_is_dropped_leaves_nothing() {
    let hub = Hub::new(PAUSE);
    let mut mailbox = hub.mailbox();
    for n in 0..10 {
        mailbox.subscribe(&id(&format!("u{n}")), None, || at(0));
    }
    let topics: Vec<_> = hub.topics().by_id.values().map(Arc::downgrade).collect();
    drop(mailbox);
    hub.forget_after(Duration::ZERO);
    assert!(topics.iter().all(|topic| topic.upgrade().is_none()));
    assert!(hub.is_quiet());
}

#[tokio::test]
async fn the_sampler_looks_only_while_somebody_watches() {
    let hub = Hub::new(PAUSE);
    let looked = Arc::new(AtomicU64::new(0));
    let task = tokio::spawn({
        let (hub, looked) = (hub.clone(), looked.clone());
        async move {
            hub.run(|_| Some(at(looked.fetch_add(1, Ordering::Relaxed) + 1)))
                .await;
        }
    });
    tokio::time::sleep(SAMPLE_EVERY * 3).await;
    assert_eq!(looked.load(Ordering::Relaxed), 0);
    let mut mailbox = hub.mailbox();
    mailbox.subscribe(&id("a"), None, || at(0));
    let mut events = 0;
    while events < 4 {
        events += mailbox.next().await.len();
    }
    assert!(looked.load(Ordering::Relaxed) >= 3);
    drop(mailbox);
    task.abort();
}

#[test]
fn a_rate_follows_what_comes() {
    let rate = Cell::new(0.0);
    let for_a_while = |bytes| {
        for _ in 0..200 {
            rate.set(mean(rate.get(), bytes, 0.05));
        }
        whole(rate.get())
    };
    let near = |rate: u64, to: u64| rate.abs_diff(to) <= to / 50;
    assert!(near(for_a_while(50_000), 1_000_000));
    assert!(near(for_a_while(100_000), 2_000_000));
    assert!(for_a_while(0) < 20_000);
}

/// Nobody had a topic for it: what makes one is told itself, to those who follow all.
#[test]
fn the_first_event_of_an_upload_is_told_to_those_who_follow_all() {
    let hub = Hub::new(PAUSE);
    let mut mailbox = hub.mailbox();
    mailbox.subscribe_all(Vec::new(), || None);
    for (name, what, status) in [
        ("upload_created", What::Created, Status::Active),
        ("upload_expired", What::Expired, Status::Expired),
        ("upload_cancelled", What::Cancelled, Status::Cancelled),
        ("upload_completed", What::Completed, Status::Completed),
    ] {
        let upload = id(name);
        hub.emit(&upload, what, || ended(status));
        hub.emit(&upload, failed(1), || ended(status));
        let all = read(&mut mailbox);
        assert_eq!(names(&all), [name, "chunk_failed"]);
        assert_eq!(number(&all[1]), number(&all[0]) + 1);
        assert_eq!(all[0]["status"], status.name());
    }
    // That bytes begin to come is no event: how it stands is told.
    hub.emit(&id("a"), What::Resumed, || at(0));
    assert_eq!(names(&read(&mut mailbox)), ["snapshot"]);
}

#[test]
fn one_who_follows_all_hears_how_the_disk_stands_and_may_stop() {
    let hub = Hub::new(PAUSE);
    let mut mailbox = hub.mailbox();
    let red = Disk {
        level: "red",
        free: 1,
        total: 2,
    };
    mailbox.subscribe(&id("named"), None, || at(0));
    mailbox.subscribe_all(Vec::new(), || Some(red));
    let told = mailbox.try_next().expect("the level").remove(0).json;
    assert!(told.contains(r#""event":"disk_level""#) && told.contains(r#""level":"red""#));
    hub.emit(&id("other"), What::Created, || at(0));
    mailbox.unsubscribe_all();
    hub.emit(&id("other"), What::Cancelled, || at(0));
    hub.emit(&id("new"), What::Created, || at(0));
    hub.tell_disk("green", 1, 2);
    hub.emit(&id("named"), failed(1), || at(0));
    let all = read(&mut mailbox);
    let ids: Vec<_> = all.iter().map(|one| one["upload_id"].clone()).collect();
    assert!(
        !ids.is_empty() && ids.iter().all(|id| id == "named"),
        "{all:?}"
    );
    // And once more.
    mailbox.subscribe_all(Vec::new(), || None);
    hub.emit(&id("new"), What::Created, || at(0));
    let told = read(&mut mailbox);
    assert_eq!(names(&told), ["snapshot", "snapshot", "upload_created"]);
    drop(mailbox);
    hub.forget_after(Duration::ZERO);
    assert!(hub.is_quiet(), "nothing is counted twice");
}
