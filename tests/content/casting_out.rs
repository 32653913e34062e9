//! What becomes of malware, and of what a scanner that is down cannot look at.

use std::time::Duration;

use highwater::config::{ScanInfected, ScanUnavailable};

use super::fake_clamd::{FakeClamd, Mood};
use super::scanning::{LONG, SHORT, bad, both_are_aside, is, scanning, send, send_malware};
use crate::support::{Server, bytes, file_of, id, until};

#[tokio::test]
async fn a_scanner_that_is_down_is_asked_for_one_upload_at_a_time() {
    for policy in [ScanUnavailable::Pass, ScanUnavailable::Refuse] {
        let clamd = FakeClamd::start(Mood::Dies).await;
        let server = scanning(&clamd, SHORT, |config| {
            config.content.scan_unavailable = policy;
        })
        .await;
        let status = if policy == ScanUnavailable::Pass {
            200
        } else {
            422
        };
        let ends = async |path: &str| {
            until("the policy has its way", || async {
                server.get(path).await.status == status
            })
            .await;
        };
        let body = bytes(1, 1000);
        ends(&send(&server, &body).await.0).await;
        assert_eq!(clamd.scans(), 4);
        ends(&send(&server, &body).await.0).await;
        assert_eq!(clamd.scans(), 5, "it is known to be down");
        clamd.set(Mood::Hangs);
        let (probe, _) = send(&server, &bad(1000)).await;
        is(&server.get(&probe).await, 409, "scan-pending");
        until("it is asked for that one", || async { clamd.scans() == 6 }).await;
        for _ in 0..8 {
            ends(&send(&server, &body).await.0).await;
        }
        assert_eq!(clamd.scans(), 6, "asked for one alone");
        clamd.set(Mood::Well);
        until("that one has its verdict", || async {
            server.get(&probe).await.code == "malware-found"
        })
        .await;
        let (path, _) = send(&server, &bad(1000)).await;
        until("the next is scanned as ever", || async {
            server.get(&path).await.code == "malware-found"
        })
        .await;
    }
}

#[tokio::test]
async fn a_scanner_that_has_no_verdict_for_some_bytes_is_not_down() {
    let clamd = FakeClamd::start(Mood::Fails).await;
    let server = scanning(&clamd, LONG, |config| {
        config.content.scan_unavailable = ScanUnavailable::Pass;
    })
    .await;
    for scans in [4, 8] {
        assert_eq!(send(&server, &bytes(1, 1000)).await.1.status, 204);
        assert_eq!(clamd.scans(), scans);
    }
}

#[tokio::test]
async fn malware_that_cannot_be_set_aside_is_set_aside_later() {
    let clamd = FakeClamd::start(Mood::Well).await;
    let mut server = scanning(&clamd, LONG, |config| {
        config.content.scan_infected = ScanInfected::Quarantine;
    })
    .await;
    let aside = server.data().join("quarantine");
    for restart in [false, true] {
        // Nothing can be put there.
        std::fs::write(&aside, "").expect("a file");
        let body = bad(9000);
        let (path, parts) = send_malware(&server, &body).await;
        let left = |path: &str| {
            let files = server.stored_files();
            files.iter().any(|file| file.contains(id(path)))
        };
        assert!(left(&path) && left(&parts[0]), "it is all that is left");
        is(&server.get(&path).await, 422, "malware-found");
        if restart {
            server.restart().await;
        }
        std::fs::remove_file(&aside).expect("the file goes");
        until(
            "both are set aside, and nothing is left of them",
            || async { server.stored_files().is_empty() },
        )
        .await;
        both_are_aside(&aside, &body);
        std::fs::remove_dir_all(&aside).expect("the operator empties it");
    }
}

#[tokio::test]
async fn what_was_set_aside_goes_when_its_time_is_over() {
    const DAY: Duration = Duration::from_hours(24);
    let clamd = FakeClamd::start(Mood::Well).await;
    let mut server = scanning(&clamd, LONG, |config| {
        config.content.scan_infected = ScanInfected::Quarantine;
    })
    .await;
    let aside = server.data().join("quarantine");
    let age = |name: &str, by: Duration| {
        let file = std::fs::File::open(aside.join(name)).expect("the file");
        let then = std::time::SystemTime::now() - by;
        file.set_modified(then).expect("it has a time");
    };
    let names = || {
        let all = std::fs::read_dir(&aside).expect("a directory").flatten();
        let mut names: Vec<_> = all.map(|one| one.file_name()).collect();
        names.sort();
        names
    };
    let cleanup = async |server: &Server| {
        let swept = server.request("POST", "/admin/cleanup").send().await;
        assert_eq!(swept.status, 200, "{swept:?}");
        let swept: serde_json::Value = serde_json::from_slice(&swept.body).expect("JSON");
        swept["freed_bytes"].as_u64().expect("a number")
    };
    let body = bad(9000);
    send_malware(&server, &body).await;
    let all = names();
    assert_eq!(all.len(), 2);
    let names_of: Vec<&str> = all.iter().filter_map(|name| name.to_str()).collect();
    // What people put beside it is theirs.
    std::fs::create_dir(aside.join("looked-at")).expect("a directory");
    std::os::unix::fs::symlink(names_of[0], aside.join("link")).expect("a link");
    for name in &names_of {
        age(name, 400 * DAY);
    }
    cleanup(&server).await;
    assert_eq!(names().len(), 4, "for ever, unless it is said");
    age(names_of[1], DAY);
    server
        .change(|config| config.content.scan_quarantine_for = 2 * DAY)
        .await;
    until("the old one is gone", || async { names().len() == 3 }).await;
    cleanup(&server).await;
    assert!(names().contains(&all[1]));
    age(names_of[1], 3 * DAY);
    assert_eq!(cleanup(&server).await, 9000);
    assert_eq!(names(), ["link", "looked-at"]);
}

/// Its time begins when it is set aside, and not when its bytes came.
#[tokio::test]
async fn what_waited_long_for_its_verdict_is_kept_as_long() {
    let clamd = FakeClamd::start(Mood::Hangs).await;
    let server = scanning(&clamd, SHORT, |config| {
        config.content.scan_infected = ScanInfected::Quarantine;
        config.content.scan_quarantine_for = Duration::from_hours(1);
    })
    .await;
    let (path, reply) = send(&server, &bad(9000)).await;
    assert_eq!(reply.status, 204);
    let file = std::fs::File::open(file_of(&server.data(), &path)).expect("the file");
    let then = std::time::SystemTime::now() - Duration::from_hours(2);
    file.set_modified(then).expect("it has a time");
    clamd.set(Mood::Well);
    let place = server.data().join("quarantine").join(id(&path));
    until("it is set aside", || async { place.exists() }).await;
    let swept = server.request("POST", "/admin/cleanup").send().await;
    assert_eq!(swept.status, 200, "{swept:?}");
    assert!(place.exists());
}

#[tokio::test]
async fn an_operator_removes_what_is_held() {
    let clamd = FakeClamd::start(Mood::Hangs).await;
    let server = scanning(&clamd, SHORT, |_| {}).await;
    let (path, _) = send(&server, &bytes(1, 1000)).await;
    let remove = format!("/admin/uploads/{}/cancel", id(&path));
    assert_eq!(server.request("POST", &remove).send().await.status, 200);
    assert_eq!(server.get(&path).await.status, 404);
    clamd.set(Mood::Well);
    let (path, _) = send(&server, &bytes(1, 1000)).await;
    until("it is complete", || async {
        server.get(&path).await.status == 200
    })
    .await;
    let remove = format!("/admin/uploads/{}/cancel", id(&path));
    let reply = server.request("POST", &remove).send().await;
    assert_eq!((reply.status, &*reply.code), (409, "already-complete"));
}
