//! Invariant 7: a final exists whole or not at all, wherever the server dies between its parts and its one file.

use std::path::Path;
use std::time::Duration;

use super::{Mortal, PROCESS};
use crate::support::{Conn, bytes, file_of, id, len_of, same, stored_files, until};

/// A part whose bytes are all there when the server dies, though nobody was told so.
#[tokio::test]
async fn invariant_7_a_waiting_final_finds_its_last_part_complete_after_a_crash() {
    let mut server = Mortal::new(PROCESS);
    let (a, b) = (bytes(5, 1000), bytes(6, 2000));
    let first = server.part(&a).await;
    let last = server.partial(2000).await;
    let path = server.join(&[first, last.clone()]).await.location_path();
    // The end of the body never comes.
    let _conn = server
        .hang_untold(&server.data(), &last, "Transfer-Encoding: chunked", &b)
        .await;
    server.reborn();
    assert_eq!(server.offset(&last).await, 2000);
    until("the final is there", || async {
        server.head(&path).await.number("Upload-Offset") == Some(3000)
    })
    .await;
    same(&server.get(&path).await.body, &[a, b].concat());
}

/// Bytes in each of four parts of a big final.
const PART: usize = 16 << 20;

/// A big final, and its bytes; a PATCH that hangs elsewhere makes its assembly take its time.
async fn big_final(server: &Mortal, seed: u64) -> (Conn, Vec<String>, String, Vec<u8>) {
    let busy = server.create(1000).await;
    let conn = server.hang(&busy, 0, 1000, b"x").await;
    let mut parts = Vec::new();
    let mut whole = Vec::new();
    for n in 0..4 {
        let part = bytes(seed + n, PART);
        parts.push(server.part(&part).await);
        whole.extend(part);
    }
    let path = server.join(&parts).await.location_path();
    (conn, parts, path, whole)
}

#[tokio::test]
async fn invariant_7_a_final_is_whole_through_a_crash_in_its_assembly() {
    let mut server = Mortal::new(&["--network-timeout", "0"]);
    let (_conn, parts, path, whole) = big_final(&server, 20).await;
    let data = server.data();
    let shard = data.join("segments").join(&id(&path)[..2]);
    let draft = shard.join(format!("{}~draft", id(&path)));
    // In the middle of the copy, twice; then when the file is there and its parts are not adopted yet, or just now.
    let copied = |least: u64| len_of(&draft) >= least || file_of(&data, &path).exists();
    for step in [1, 2, 3] {
        let least = step * (16 << 20);
        until("assembly is on its way", || async {
            if step < 3 {
                copied(least)
            } else {
                file_of(&data, &path).exists()
            }
        })
        .await;
        server.reborn();
        let head = server.head(&path).await;
        assert_eq!(
            head.number("Upload-Offset"),
            Some(whole.len() as u64),
            "{head:?}"
        );
        same(&server.get(&path).await.body, &whole);
        for (part, bytes) in parts.iter().zip(whole.chunks(PART)) {
            same(&server.get(part).await.body, bytes);
        }
    }
    until("it is assembled after all", || async {
        let left = stored_files(&data);
        let of = |file: &&String| file.starts_with("segments/") && file.contains(id(&path));
        file_of(&data, &path).exists() && left.iter().find(of).is_none()
    })
    .await;
    same(&std::fs::read(file_of(&data, &path)).unwrap(), &whole);
    same(&server.get(&path).await.body, &whole);
    until("the parts lie in it", || async {
        parts.iter().all(|part| !file_of(&data, part).exists())
    })
    .await;
    for (part, bytes) in parts.iter().zip(whole.chunks(PART)) {
        same(&server.get(part).await.body, bytes);
    }
}

/// Every final that a data directory knows, by its sidecar.
fn finals(data: &Path) -> Vec<String> {
    let sidecars = stored_files(data)
        .into_iter()
        .filter(|file| file.starts_with("info/"));
    let is_final = |file: &String| {
        let text = std::fs::read(data.join(file)).unwrap_or_default();
        serde_json::from_slice(&text).is_ok_and(|about: serde_json::Value| about["kind"] == "Final")
    };
    let path = |file: String| format!("/files/{}", id(&file).trim_end_matches(".json"));
    sidecars.filter(is_final).map(path).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_7_a_join_cut_by_the_servers_death_is_whole_or_not_at_all() {
    let mut server = Mortal::new(PROCESS);
    let (a, b) = (bytes(30, 300_000), bytes(31, 200_000));
    let parts = [server.part(&a).await, server.part(&b).await];
    let whole = [a, b].concat();
    let mut known = 0;
    for round in 0..8u64 {
        // The answers to some come through, the last is on its way when the server dies.
        let joins = {
            let (client, parts) = (**server.server.as_ref().unwrap(), parts.clone());
            tokio::spawn(async move {
                let mut told = Vec::new();
                let concat = format!("final;{}", parts.join(" "));
                loop {
                    let post = client
                        .tus("POST", "/files/")
                        .header("Upload-Concat", &concat);
                    match post.try_send().await {
                        Some(reply) => told.push(reply.location_path()),
                        None => return told,
                    }
                }
            })
        };
        tokio::time::sleep(Duration::from_micros(round * 7919 % 40_000)).await;
        server.kill();
        let told = joins.await.unwrap();
        let there = finals(&server.data());
        server.start();
        for path in told.iter().chain(&there) {
            let reply = server.get(path).await;
            let never = reply.status == 404 && !told.contains(path);
            assert!(
                never || reply.body == whole,
                "round {round}: {path} {}",
                reply.status
            );
            known += usize::from(reply.status == 200);
            if never {
                until("what is left of it is swept", || async {
                    !stored_files(&server.data())
                        .iter()
                        .any(|file| file.contains(id(path)))
                })
                .await;
            }
        }
        for path in finals(&server.data()) {
            assert!(matches!(server.delete(&path).await.status, 204 | 404));
        }
    }
    println!("{known} finals were told or there");
}
