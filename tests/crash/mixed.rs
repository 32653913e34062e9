//! Everything at once, killed at random, over and over.

use std::path::Path;
use std::time::Duration;

use highwater::protocol::checksum::Algorithm;
use tokio::io::AsyncWriteExt;

use super::Mortal;
use crate::support::{
    Client, Conn, Dice, Reply, bytes, checksum, figure, file_of, rounds, same, seed,
};

/// What a client knows of an upload.
struct Known {
    path: String,
    bytes: Vec<u8>,
    /// The highest offset that it was told.
    told: u64,
    /// Where a checked PATCH begins and ends whose answer did not come.
    open: Option<(u64, u64)>,
    gone: Gone,
}

#[derive(Debug, PartialEq)]
enum Gone {
    No,
    /// The answer did not come.
    Perhaps,
    Yes,
}

/// A client that does a bit of everything until its server dies, and remembers what it was told.
struct User {
    dice: Dice,
    uploads: Vec<Known>,
}

impl User {
    /// `None` once the server is gone.
    async fn act(&mut self, client: Client) -> Option<()> {
        let living = self
            .uploads
            .iter()
            .filter(|u| u.gone == Gone::No && u.told < u.bytes.len() as u64);
        if living.count() < 3 {
            let length = self.dice.below(1 << 20) + 1;
            let bytes = bytes(self.dice.below(1 << 40), usize::try_from(length).ok()?);
            let post = client
                .tus("POST", "/files/")
                .header("Upload-Length", length);
            let path = post.try_send().await?.location_path();
            let known = Known {
                path,
                bytes,
                told: 0,
                open: None,
                gone: Gone::No,
            };
            self.uploads.push(known);
            return Some(());
        }
        let which = usize::try_from(self.dice.below(self.uploads.len() as u64)).ok()?;
        let upload = &mut self.uploads[which];
        if upload.gone != Gone::No {
            return Some(());
        }
        let at = usize::try_from(upload.told).ok()?;
        let left = (upload.bytes.len() - at) as u64;
        let size = usize::try_from((self.dice.below(300_000) + 1).min(left)).ok()?;
        let body = upload.bytes[at..at + size].to_vec();
        let end = upload.told + size as u64;
        let sum = checksum(Algorithm::Sha1, &body);
        let patch = client.patch(&upload.path, upload.told, body);
        match self.dice.below(20) {
            0 => {
                upload.gone = Gone::Perhaps;
                let reply = client.tus("DELETE", &upload.path).try_send().await?;
                assert_eq!(reply.status, 204);
                upload.gone = Gone::Yes;
            }
            1..=3 => {
                let reply = client.tus("HEAD", &upload.path).try_send().await?;
                assert_eq!(reply.number("Upload-Offset"), Some(upload.told));
            }
            4 if left > 0 => {
                let wrong = patch.header("Upload-Checksum", checksum(Algorithm::Sha1, b"?"));
                upload.open = Some((upload.told, upload.told));
                assert_eq!(wrong.try_send().await?.status, 460);
                upload.open = None;
            }
            n @ 5..=9 if left > 0 => {
                let checked = match n {
                    5..=7 => patch.header("Upload-Checksum", sum),
                    _ => patch
                        .header("Trailer", "Upload-Checksum")
                        .trailer("Upload-Checksum", sum),
                };
                upload.open = Some((upload.told, end));
                upload.done(&checked.try_send().await?, end);
                upload.open = None;
            }
            10 => upload.done(&patch.chunked().try_send().await?, end),
            11 if size > 1 => {
                // Half of it, and no more.
                let request = patch.to_bytes();
                let mut conn = Conn::try_open(client.addr).await?;
                let half = &request[..request.len() - size / 2];
                conn.stream.write_all(half).await.ok()?;
                conn.stream.shutdown().await.ok()?;
                let reply = conn.try_reply("PATCH").await?;
                assert_eq!(reply.status, 400, "{reply:?}");
                upload.told = reply.number("Upload-Offset")?;
            }
            _ => upload.done(&patch.try_send().await?, end),
        }
        Some(())
    }

    /// After the server came back.
    async fn check(&mut self, client: &Client, data: &Path) {
        for upload in &mut self.uploads {
            let head = client.head(&upload.path).await;
            match (&upload.gone, head.status) {
                (Gone::Yes | Gone::Perhaps, 404) => {
                    upload.gone = Gone::Yes;
                    continue;
                }
                (Gone::No | Gone::Perhaps, 200) => upload.gone = Gone::No,
                _ => panic!("{:?} but {head:?}", upload.gone),
            }
            let offset = head.number("Upload-Offset").expect("an offset");
            assert!(
                offset >= upload.told,
                "{} was told {}: {offset}",
                upload.path,
                upload.told
            );
            if let Some((before, after)) = upload.open.take() {
                assert!(
                    offset == before || offset == after,
                    "{before} or {after}: {offset}"
                );
            }
            let stored = std::fs::read(file_of(data, &upload.path)).unwrap_or_default();
            let expected = &upload.bytes[..usize::try_from(offset).expect("small")];
            same(&stored, expected);
            upload.told = offset;
        }
    }
}

impl Known {
    fn done(&mut self, reply: &Reply, end: u64) {
        assert_eq!(
            (reply.status, reply.number("Upload-Offset")),
            (204, Some(end)),
            "{reply:?}"
        );
        self.told = end;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_1_deaths_under_a_mixed_load() {
    let seed = seed("a mixed load");
    let mut dice = Dice::new(seed);
    let modes = ["process", "complete", "every"];
    let mut server = Mortal::new(&[
        "--durability",
        modes[usize::try_from(dice.below(3)).unwrap()],
    ]);
    let user = |n: u64| User {
        dice: Dice::new(seed.wrapping_add(n)),
        uploads: Vec::new(),
    };
    let mut users: Vec<User> = (0..6).map(user).collect();
    for round in 0..rounds(10, 100) {
        let client = **server.server.as_ref().unwrap();
        let acting: Vec<_> = users
            .into_iter()
            .map(|mut user| {
                tokio::spawn(async move {
                    while user.act(client).await.is_some() {}
                    user
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20 + dice.below(300))).await;
        server.kill();
        users = Vec::new();
        for user in acting {
            users.push(user.await.unwrap());
        }
        server.start();
        let data = server.data();
        for user in &mut users {
            user.check(&server, &data).await;
        }
        let uploads: usize = users.iter().map(|user| user.uploads.len()).sum();
        figure(
            "a mixed load",
            format_args!("kill {round}: {uploads} uploads hold"),
        );
    }
    for upload in users.iter().flat_map(|user| &user.uploads) {
        if upload.gone == Gone::No {
            let rest = &upload.bytes[usize::try_from(upload.told).unwrap()..];
            let reply = server.patch(&upload.path, upload.told, rest).send().await;
            assert_eq!(reply.status, 204);
            same(&server.get(&upload.path).await.body, &upload.bytes);
        }
    }
}
