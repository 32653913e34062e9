//! Power cuts under a mixed load: what each durability promises of them, and that nothing wrong is ever told or served.
//!
//! The data directory is an ext4 of its own, shut down in mid-load. That loses what the file system had not committed and
//! what the kernel had not written; what a disk itself would lose of what it was given is not part of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::check::{Check, Found, Promise};
use super::load::Load;
use crate::support::disk::Disk;
use crate::support::power::{Cut, start_on_boot};
use crate::support::{Dice, bytes, figure, file_of, id, rounds, same, seed, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_power_cuts_process_tells_nothing_wrong() {
    cuts("process", Promise::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_power_cuts_complete_has_what_was_complete() {
    let promise = Promise {
        completions: true,
        ..Promise::default()
    };
    cuts("complete", promise).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_power_cuts_every_has_everything() {
    cuts("every", Promise::ALL).await;
}

async fn cuts(mode: &str, promise: Promise) {
    let name = format!("power cuts, {mode}");
    let seed = seed(&name);
    let mut dice = Dice::new(seed);
    let disk = Disk::ext4(1024);
    let data = disk.path().join("data");
    let load = Load::new(seed);
    let arguments = ["--durability", mode];
    let mut found = Found::default();
    let count = rounds(5, 50);
    let mut server = start_on_boot(&disk, &data, "boot-0", &arguments);
    for cut in 1..=count {
        let power = Cut::prepare(&disk);
        let users = load.start(*server);
        until("some uploads are complete", || async {
            load.complete() >= 5
        })
        .await;
        tokio::time::sleep(Duration::from_millis(dice.below(500))).await;
        if dice.below(2) == 0 {
            // Somebody else's sync: of what came before it all is on the disk, of what came after it something.
            let mounted = std::fs::File::open(disk.path()).expect("the disk");
            rustix::fs::syncfs(&mounted).expect("synced");
            drop(mounted);
            tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
        }
        load.cut.store(true, Ordering::SeqCst);
        power.now(server);
        users.ended().await;
        disk.power_on();
        server = start_on_boot(&disk, &data, &format!("boot-{cut}"), &arguments);
        let boot = std::fs::read_to_string(data.join("boot")).expect("how the last one ended");
        let boot: serde_json::Value = serde_json::from_str(&boot).expect("JSON");
        assert_eq!(boot["power_cuts"], cut, "the cut was not seen: {boot}");
        let check = Check {
            load: &load,
            client: *server,
            data: &data,
            promise,
        };
        let now = check.all().await;
        println!("{name}: cut {cut}: {now}");
        if !now.wrong.is_empty() {
            println!("{}", server.log().join("\n"));
        }
        assert!(now.wrong.is_empty(), "{name}: cut {cut}: {:#?}", now.wrong);
        found.add(now);
    }
    figure(&name, format_args!("{count} cuts: {found}"));
    assert!(
        found.promises > 0 || mode == "process",
        "nothing was promised"
    );
    assert!(found.complete > count, "hardly anything was complete");
}

/// `process` syncs nothing on the way, and complete uploads a while later: also those that a killed server has left.
#[tokio::test]
async fn after_a_power_cut_process_has_what_was_complete_for_a_while() {
    let disk = Disk::ext4(1024);
    let data = disk.path().join("data");
    let arguments = ["--durability", "process", "--log-level", "debug"];
    let first = start_on_boot(&disk, &data, "one", &arguments);
    let old = [bytes(1, 300_000), bytes(2, 200_000)];
    let early = first.whole(&old[0]).await;
    first.kill();
    let mut server = start_on_boot(&disk, &data, "one", &arguments);
    let parts = [server.part(&old[0]).await, server.part(&old[1]).await];
    let joined = server.join(&parts).await.location_path();
    let late = server.whole(&old[1]).await;
    for path in [&early, &joined, &parts[0], &parts[1], &late] {
        server.wait_for_line(&format!(
            "synced a while after it was complete id={}",
            id(path)
        ));
    }
    let fresh = server.whole(&old[1]).await;
    // A creation is flushed, and what came before it with it.
    server.create(1).await;
    // All of it is written, as by somebody's sync, but for what only a sync of the upload makes known.
    rustix::fs::syncfs(std::fs::File::open(disk.path()).expect("the disk")).expect("synced");
    Cut::prepare(&disk).now(server);
    disk.power_on();
    let server = start_on_boot(&disk, &data, "two", &arguments);
    same(&server.get(&early).await.body, &old[0]);
    same(&server.get(&joined).await.body, &old.concat());
    same(&server.get(&parts[0]).await.body, &old[0]);
    same(&server.get(&parts[1]).await.body, &old[1]);
    same(&server.get(&late).await.body, &old[1]);
    for reply in [server.head(&fresh).await, server.get(&fresh).await] {
        assert_eq!(reply.status, 410, "{reply:?}");
    }
}

/// The link that a join made is on the disk, and what it was made for is not in the records: the part's bytes past what was
/// synced go, and the join's stay.
#[tokio::test]
async fn after_a_power_cut_a_part_goes_on_whose_file_a_lost_join_shares() {
    let disk = Disk::ext4(64);
    let data = disk.path().join("data");
    let whole = bytes(1, 100_000);
    let arguments = ["--durability", "process"];
    let server = start_on_boot(&disk, &data, "one", &arguments);
    let path = server.partial(100_000).await;
    assert_eq!(
        server.patch(&path, 0, &whole[..60_000]).send().await.status,
        204
    );
    server.kill();
    // Where the sweep for files that belong to nobody does not go.
    let link = disk.path().join("abcd~0");
    std::fs::hard_link(file_of(&data, &path), &link).expect("a link");
    let server = start_on_boot(&disk, &data, "two", &arguments);
    assert_eq!(server.head(&path).await.number("Upload-Offset"), Some(0));
    assert_eq!(server.patch(&path, 0, &whole[..]).send().await.status, 204);
    same(&server.get(&path).await.body, &whole);
    same(&std::fs::read(&link).expect("the link"), &whole[..60_000]);
}
