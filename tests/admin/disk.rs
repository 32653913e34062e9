//! The disk's levels: what turns yellow and red, and what goes on.

use super::told;
use crate::support::disk::Disk;
use crate::support::{Client, Process, until};

const MIB: u64 = 1 << 20;

async fn level_is(server: &Client, level: &str) {
    until(level, || async {
        let ready = server.get("/readyz").await;
        let body = ready.json();
        assert_eq!(ready.status == 200, body["ready"] == true);
        body["disk"] == level
    })
    .await;
}

#[tokio::test]
async fn yellow_warns_and_red_takes_no_new_uploads_until_there_is_space() {
    let disk = Disk::tmpfs(64);
    let data = disk.path().join("data");
    let mut server = Process::start(&data, &["--disk-warn", "50%", "--disk-stop", "16MiB"]);
    level_is(&server, "green").await;
    assert_eq!(
        told(&server, "/readyz").await["reasons"],
        serde_json::json!([])
    );
    let open = server.create(10).await;
    let mut parts = Vec::new();
    for length in [3, 4] {
        let part = server.tus("POST", "/files/");
        let part = part.header("Upload-Length", length);
        let part = part.header("Upload-Concat", "partial");
        parts.push(part.send().await.location_path());
    }

    let filler = disk.fill_but(26 * MIB);
    level_is(&server, "yellow").await;
    let ready = told(&server, "/readyz").await;
    assert_eq!(ready["warnings"], serde_json::json!(["disk-yellow"]));
    assert_eq!(server.delete(&server.create(10).await).await.status, 204);

    let more = disk.path().join("more");
    std::fs::write(&more, vec![1; 18 << 20]).expect("it fits");
    level_is(&server, "red").await;
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(String::from_utf8_lossy(&ready.body).contains("disk-red"));
    let create = || server.tus("POST", "/files/").header("Upload-Length", 5);
    let refused = create().send().await;
    assert_eq!((refused.status, &refused.code[..]), (507, "disk-low"));
    assert!(refused.header("Retry-After").is_some());
    let stream = "application/offset+octet-stream";
    let refused = create()
        .header("Content-Type", stream)
        .body("hello")
        .send()
        .await;
    assert_eq!((refused.status, &refused.code[..]), (507, "disk-low"));
    let ask = serde_json::json!({"filename": "f", "size": 5});
    let refused = server.initialize(&ask).await;
    assert_eq!((refused.status, &refused.code[..]), (507, "disk-low"));
    // What is open goes on, and everything else as well; a final adds nothing to its parts.
    assert_eq!(server.join(&parts).await.status, 201);
    assert_eq!(
        server.patch(&open, 0, "0123456789").send().await.status,
        204
    );
    assert_eq!(server.get(&open).await.body, b"0123456789");
    let storage = told(&server, "/admin/uploads/storage").await;
    assert_eq!(storage["disk"]["level"], "red");
    assert!(storage["disk"]["free_bytes"].as_u64() < Some(16 * MIB));
    let now = super::metrics::scrape(&server).await;
    assert!((now.of("highwater_disk_level") - 2.0).abs() < 0.1);

    std::fs::remove_file(&more).expect("removed");
    level_is(&server, "yellow").await;
    assert_eq!(create().send().await.status, 201);
    drop(filler);
    level_is(&server, "green").await;
    server.wait_for_line("enough space");
    let lines = server.log();
    for (text, times) in [("NEARLY FULL", 1), ("getting full", 2), ("enough space", 1)] {
        let told = lines.iter().filter(|line| line.contains(text)).count();
        assert_eq!(told, times, "{text}: {lines:#?}");
    }
}
