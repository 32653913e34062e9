//! A start after `kill -9` with 100,000 uploads on record.

use std::path::Path;
use std::time::{Duration, Instant};

use highwater::state::sled::SledState;
use highwater::state::{Change, Detail, Promise, StateStore};
use highwater::upload::{Kind, Record, UploadId};

use crate::support::process::{command, released};
use crate::support::{Conn, Process, bytes, figure, same};

const NAME: &str = "a start with 100,000 records";
const RECORDS: usize = 100_000;
/// What the release binary may take, from its start to its first answer. One without optimizations may take `SLOW`.
const FAST: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_secs(15);
/// The best of so many starts counts: other tests are running.
const STARTS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_after_a_kill_with_100_000_records_takes_under_a_second() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let data = dir.path().join("data");
    Process::start(&data, &[]).kill();
    let begun = Instant::now();
    let ids = fill(&data.join("state")).await;
    figure(
        NAME,
        format_args!("{RECORDS} records made in {:.1?}", begun.elapsed()),
    );
    let (binary, limit) = match released() {
        Some(binary) => (binary, FAST),
        None => (env!("CARGO_BIN_EXE_highwater").into(), SLOW),
    };
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let path = format!("/files/{}", ids[RECORDS / 2]);
        let (whole, conns) = load_and_kill(&binary, &data).await;
        let begun = Instant::now();
        let server = start(&binary, &data);
        let head = server.head(&path).await;
        times.push(begun.elapsed());
        assert_eq!(head.number("Upload-Length"), Some(1 << 20), "{head:?}");
        same(&server.get(&whole).await.body, &bytes(1, 100_000));
        drop(conns);
    }
    figure(
        NAME,
        format_args!("first answer after {times:.0?} with {}", binary.display()),
    );
    let best = times.iter().min().expect("starts");
    assert!(*best < limit, "{best:?} is over {limit:?}");
}

fn start(binary: &Path, data: &Path) -> Process {
    Process::spawn(command(binary, data)).expect("the server listens")
}

/// A server with bodies in its hands is killed; answers with an upload that is complete.
async fn load_and_kill(binary: &Path, data: &Path) -> (String, Vec<Conn>) {
    let server = start(binary, data);
    let whole = server.create(100_000).await;
    let sent = server.patch(&whole, 0, bytes(1, 100_000)).send().await;
    assert_eq!(sent.status, 204);
    let mut conns = Vec::new();
    for _ in 0..20 {
        let path = server.create(1 << 20).await;
        conns.push(server.hang(&path, 0, 1 << 20, &bytes(2, 50_000)).await);
    }
    server.kill();
    (whole, conns)
}

/// Records as creations leave them, without going over HTTP for each.
async fn fill(state: &Path) -> Vec<UploadId> {
    let opened = SledState::open(state).expect("the state database");
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_millis();
    let now = u64::try_from(now).expect("milliseconds");
    let mut ids = Vec::with_capacity(RECORDS);
    for _ in 0..RECORDS / 1000 {
        let mut changes = Vec::with_capacity(1000);
        for _ in 0..1000 {
            let id = UploadId::random();
            let mut record = Record::new(Kind::Plain, Some(1 << 20), now);
            record.expires = Some(now + 86_400_000);
            let mut change = Change::record(&id, None, Some(record));
            let metadata = b"filename aG9saWRheXMubXA0,filetype dmlkZW8vbXA0".to_vec();
            change.details.push((Detail::Metadata, Some(metadata)));
            changes.push(change);
            ids.push(id);
        }
        let stored = opened.state.commit(changes, Promise::Flushed).await;
        stored.expect("stored");
    }
    opened.state.close().await.expect("closed");
    ids
}
