//! Many at a time: of a hundred creations as many go through as there is room for, not one more and not one less.

use serde_json::json;
use tokio::task::JoinSet;

use super::{User, alice, over_quota, serve, used};
use crate::support::{bytes, until};

/// The statuses of a hundred requests at the same time.
pub(super) async fn hundred<F>(ask: impl Fn(u64) -> F) -> Vec<u16>
where
    F: Future<Output = u16> + Send + 'static,
{
    let mut asking = JoinSet::new();
    for n in 0..100 {
        asking.spawn(ask(n));
    }
    let mut statuses = asking.join_all().await;
    statuses.sort_unstable();
    statuses
}

#[track_caller]
pub(super) fn went_through(statuses: &[u16], good: (u16, usize), refused: u16) {
    let count = |status| statuses.iter().filter(|of| **of == status).count();
    assert_eq!(
        (count(good.0), count(refused)),
        (good.1, 100 - good.1),
        "{statuses:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_creations_at_once_fill_the_quota_exactly() {
    let (mut server, _dir) = serve("", |config| config.limits.quota = 3700).await;
    let user = alice(&server);
    let create = |_| async move { user.ask(100).await.status };
    went_through(&hundred(create).await, (201, 37), 403);
    assert_eq!(used(&server, "alice").await, (3700, 37));
    server.restart().await;
    over_quota(&alice(&server).ask(1).await, 3700, 3700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_sessions_at_once_fill_the_quota_exactly() {
    let (server, _dir) = serve("", |config| config.limits.quota = 3700).await;
    let user = alice(&server);
    let initialize = |_| async move {
        let post = user.client.request("POST", "/uploads/initialize");
        let ask = json!({ "filename": "f", "size": 100 });
        user.own(post.body(ask.to_string())).send().await.status
    };
    went_through(&hundred(initialize).await, (201, 37), 403);
    assert_eq!(used(&server, "alice").await, (3700, 37));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_creations_at_once_open_no_more_than_may_be_open() {
    let (server, _dir) = serve("open_uploads = 9", |config| {
        config.limits.max_open_uploads = 5;
    })
    .await;
    let user = alice(&server);
    let create = |_| async move { user.ask(100).await.status };
    went_through(&hundred(create).await, (201, 9), 429);
    assert_eq!(used(&server, "alice").await, (900, 9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_joins_of_one_part_are_each_charged() {
    let (server, _dir) = serve("", |config| {
        config.limits.quota = 1000;
        config.assemble = false;
    })
    .await;
    let user = alice(&server);
    let part = user.part(&bytes(1, 100)).await;
    let join = |_| {
        let part = part.clone();
        async move { user.join(&[&part]).await.status }
    };
    // The first takes the part's own bytes over.
    went_through(&hundred(join).await, (201, 10), 403);
    assert_eq!(used(&server, "alice").await, (1000, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bodies_of_unknown_length_at_once_stop_at_the_quota_together() {
    const QUOTA: u64 = 1_000_003;
    let (server, _dir) = serve("", |config| config.limits.quota = QUOTA).await;
    let user = alice(&server);
    let mut sending = JoinSet::new();
    for n in 0..10 {
        sending.spawn(async move { sent(user, n).await });
    }
    let offsets = sending.join_all().await;
    assert_eq!(offsets.iter().sum::<u64>(), QUOTA, "{offsets:?}");
    until("nothing is held any more", || async {
        used(&server, "alice").await == (QUOTA, 10)
    })
    .await;
}

/// Sends 300,000 bytes to an upload of unknown length. Where it ends.
async fn sent(user: User, seed: u64) -> u64 {
    let path = user.deferred().await;
    let reply = user.patch(&path, 0, bytes(seed, 300_000)).send().await;
    let offset = user.offset(&path).await;
    match reply.status {
        204 => assert_eq!(offset, 300_000),
        403 => assert_eq!(reply.number("Upload-Offset"), Some(offset)),
        other => panic!("{other}: {reply:?}"),
    }
    offset
}
