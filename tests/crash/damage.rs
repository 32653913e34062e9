//! A state store that cannot be read any more: the uploads are rebuilt from what lies beside their bytes.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::{Mortal, PROCESS};
use crate::support::{bytes, file_of, len_of, same, stored_files, until};

fn overwrite(file: &Path, at: u64, len: usize) {
    let file = std::fs::File::options()
        .write(true)
        .open(file)
        .expect("a file");
    file.write_all_at(&bytes(99, len), at).expect("written");
}

#[tokio::test]
async fn uploads_outlive_a_damaged_state_store() {
    type Damage = (&'static str, fn(&Path));
    // With its directory gone, or its first page damaged, the database only says that it is empty.
    let damages: [Damage; 4] = [
        ("gone", |state| {
            std::fs::remove_dir_all(state).expect("removed");
        }),
        ("conf", |state| overwrite(&state.join("conf"), 0, 62)),
        ("the first page", |state| {
            overwrite(&state.join("db"), 20, 4096);
        }),
        ("all", |state| {
            let db = state.join("db");
            overwrite(&db, 0, usize::try_from(len_of(&db)).unwrap());
        }),
    ];
    let data = bytes(40, 5000);
    for (what, damage) in damages {
        let mut server = Mortal::new(&[]);
        let post = |concat: Option<&str>| {
            let post = server.tus("POST", "/files/").header("Upload-Length", 5000);
            let post = post.header("Upload-Metadata", "filename eA==");
            match concat {
                Some(concat) => post.header("Upload-Concat", concat),
                None => post,
            }
        };
        let whole = post(None).send().await.location_path();
        assert_eq!(server.patch(&whole, 0, &data[..]).send().await.status, 204);
        let half = post(Some("partial")).send().await.location_path();
        assert_eq!(
            server.patch(&half, 0, &data[..2000]).send().await.status,
            204
        );
        let gone = post(None).send().await.location_path();
        assert_eq!(
            server.patch(&gone, 0, &data[..2000]).send().await.status,
            204
        );
        assert_eq!(server.delete(&gone).await.status, 204);
        let part = server.part(&data).await;
        let joined = server
            .join(&[part.clone(), part.clone()])
            .await
            .location_path();
        let waiting = server
            .join(&[part.clone(), half.clone()])
            .await
            .location_path();
        until("the final is assembled", || async {
            file_of(&server.data(), &joined).exists() && !file_of(&server.data(), &part).exists()
        })
        .await;
        server.kill();
        damage(&server.data().join("state"));
        server.start();
        let log = server.log();
        assert!(log.contains("REBUILT"), "{what}: {log}");
        let head = server.head(&half).await;
        let told = [
            "Upload-Offset",
            "Upload-Length",
            "Upload-Metadata",
            "Upload-Concat",
        ];
        let told = told.map(|name| head.header(name));
        assert_eq!(
            told,
            [
                Some("2000"),
                Some("5000"),
                Some("filename eA=="),
                Some("partial")
            ]
        );
        same(&server.get(&whole).await.body, &data);
        same(
            &server.get(&joined).await.body,
            &[&data[..], &data[..]].concat(),
        );
        same(&server.get(&part).await.body, &data);
        assert_eq!(server.head(&gone).await.status, 404, "{what}");
        assert_eq!(
            server.patch(&half, 2000, &data[2000..]).send().await.status,
            204
        );
        until("the waiting final is joined", || async {
            server.get(&waiting).await.status == 200
        })
        .await;
        same(
            &server.get(&waiting).await.body,
            &[&data[..], &data[..]].concat(),
        );
    }
}

/// sled takes what follows a damaged page of its log for never written, and says nothing of it.
#[tokio::test]
async fn uploads_whose_records_were_lost_are_not_swept() {
    for kept in [100, 150] {
        let mut server = Mortal::new(PROCESS);
        let db = server.data().join("state/db");
        let mut paths = Vec::new();
        let mut at = 0;
        for n in 0..300 {
            if n == kept || n == 250 {
                // The database follows with all that came so far.
                let before = len_of(&db);
                server.create(100).await;
                until("it has grown", || async { len_of(&db) > before }).await;
                at = if n == kept { len_of(&db) } else { at };
            }
            let path = server.create(100).await;
            let sent = bytes(n, usize::try_from(n % 3).unwrap() * 50);
            assert_eq!(server.patch(&path, 0, sent).send().await.status, 204);
            paths.push(path);
        }
        for gone in paths.iter().step_by(10) {
            assert_eq!(server.delete(gone).await.status, 204);
        }
        server.kill();
        let before = stored_files(&server.data());
        assert!(len_of(&db) > at + 4096, "{}", len_of(&db));
        overwrite(&db, at, 4096);
        server.start();
        // Half of them are asked for at once, the others when the sweeper has seen them.
        for late in [false, true] {
            for (n, path) in (0..).zip(&paths) {
                // Of one that was deleted the tombstone may be lost; its bytes stay gone.
                if (n % 2 == 0) == late || n % 10 == 0 {
                    continue;
                }
                let head = server.head(path).await;
                let told = (head.status, head.number("Upload-Offset"));
                assert_eq!(told, (200, Some(n % 3 * 50)), "the {n}th, damage at {at}");
            }
            // Whoever came first, the sweeper or a request, has told of each in the log; or the start of all of them, where
            // what was damaged was needed to find any.
            let begun = std::time::Instant::now();
            let told = |log: &str| {
                log.contains("RECORDS REBUILT") || log.matches("A RECORD WAS LOST").count() >= 50
            };
            while !told(&server.log()) {
                assert!(begun.elapsed().as_secs() < 20, "{}", server.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert_eq!(stored_files(&server.data()), before);
        server.reborn();
        assert_eq!(server.offset(&paths[1]).await, 50);
    }
}
