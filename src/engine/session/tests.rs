//! What of sessions is hard to bring about from outside: a state store that lost a record, a disk that lost bytes, and a
//! finalize that is asked to give way.

use bytes::Bytes;
use http_body_util::Full;

use super::super::tests::{Machine, stop, until};
use super::*;
use crate::blob::BlobError;
use crate::engine::{Append, Engine};
use crate::security::auth::Who;
use crate::state::{Change, Promise, StateStore};
use crate::upload::{Failure, Status};

const CHUNK: u64 = 64 << 10;

/// A session of two chunks, and its token.
async fn session(engine: &Engine, file_hash: Option<Sum>) -> (OwnedSession, String) {
    let new = NewSession {
        filename: "f".into(),
        size: 2 * CHUNK,
        chunk_size: Some(CHUNK),
        file_hash,
        verify: false,
        priority: Priority::Normal,
        metadata: Bytes::new(),
        by: None,
        id: None,
        path: None,
    };
    engine.create_session(new).await.expect("a session")
}

async fn send(engine: &Engine, owned: &OwnedSession, n: u32) -> Result<Chunked, Reject> {
    let chunk = ChunkBody {
        length: Some(CHUNK),
        sum: None,
        waiting: 1,
        far_end: None,
        pace: None,
    };
    let bytes = vec![7; usize::try_from(CHUNK).expect("a length")];
    engine
        .chunk(owned, n, chunk, Full::new(Bytes::from(bytes)))
        .await
}

#[test]
fn what_was_stored_before_there_were_rates_is_read() {
    let id: UploadId = "s".parse().unwrap();
    let facts = Facts {
        filename: "f".into(),
        chunk_size: CHUNK,
        parallel: 4,
        verify: true,
        priority: Priority::High,
        file_hash: None,
        token: Sum::of(b"t"),
        rates: None,
    };
    let stored = (
        ("f", CHUNK, 4_u32, true),
        (Priority::High, None::<Sum>, Sum::of(b"t")),
    );
    let stored = postcard::to_stdvec(&stored).unwrap();
    assert_eq!(super::super::load::encode(&facts), stored);
    assert_eq!(Facts::decode(&id, &stored).unwrap(), facts);
    let rates = OwnRates {
        requests: Some(0),
        bytes: Some(1 << 20),
    };
    let facts = Facts {
        rates: Some(rates),
        ..facts
    };
    let stored = super::super::load::encode(&facts);
    assert_eq!(Facts::decode(&id, &stored).unwrap(), facts);
    let text = serde_json::to_vec(&facts).unwrap();
    assert_eq!(serde_json::from_slice::<Facts>(&text).unwrap(), facts);
}

#[tokio::test]
async fn chunks_stay_whose_session_is_made_anew() {
    let machine = Machine::default();
    let (engine, _) = machine.start(0, false).await;
    let (owned, token) = session(&engine, None).await;
    send(&engine, &owned, 1).await.expect("a chunk");
    let (id, chunk) = (
        owned.id().clone(),
        owned.session.chunk_id(1).expect("a name"),
    );
    drop(owned);
    stop(engine).await;
    let lost = Change::record(&id, Some(machine.record(&id).await), None);
    let committed = machine.state.commit(vec![lost], Promise::Queued).await;
    committed.expect("lost");

    let (engine, _) = machine.start(0, false).await;
    let record = machine.record(&chunk).await;
    assert!(!engine.inner.is_left_chunk(&chunk, &record).await);
    let owned = engine
        .session(&id, &Who::anybody([token.as_str()]))
        .await
        .expect("it is there");
    let left = engine.resume(&owned).await.expect("it is there");
    assert_eq!(left.missing, [2]);
    stop(engine).await;
    machine.record(&chunk).await;
}

#[tokio::test]
async fn bytes_that_the_disk_lost_fail_the_session() {
    let machine = Machine::default();
    let (engine, _) = machine.start(0, false).await;
    let (owned, _) = session(&engine, None).await;
    for n in [1, 2] {
        send(&engine, &owned, n).await.expect("a chunk");
    }
    let chunk = owned.session.chunk_id(1).expect("a name");
    let entry = engine.inner.entry(&chunk).await.expect("it is there");
    engine.inner.faulted(&entry, &BlobError::Lost).await;
    // At once, though somebody holds the session.
    let finalized = engine.finalize(&owned).await;
    assert!(matches!(finalized, Err(Reject::BlobLost)), "{finalized:?}");
    let again = send(&engine, &owned, 2).await;
    assert!(matches!(again, Err(Reject::BlobLost)), "{again:?}");
    until("it is recorded", async || {
        machine.record(owned.id()).await.status == Status::Failed(Failure::DiskFault)
    })
    .await;
}

/// Reads, the sidecar and the sync: nothing of a finalize is given up for an error that passes.
#[tokio::test]
async fn a_finalize_is_patient_with_storage() {
    let machine = Machine::default();
    let (engine, _) = machine.start(0, false).await;
    let whole = vec![7; usize::try_from(2 * CHUNK).expect("a length")];
    for named in [None, Some(Sum::of(&whole))] {
        let (owned, _) = session(&engine, named).await;
        for n in [2, 1] {
            send(&engine, &owned, n).await.expect("a chunk");
        }
        machine.blobs.failing.store(2, Ordering::SeqCst);
        let finalized = engine.finalize(&owned).await;
        assert!(finalized.is_ok(), "{finalized:?}");
        assert_eq!(machine.blobs.failing.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn a_finalize_that_reads_gives_way() {
    let machine = Machine::default();
    let (engine, _) = machine.start(0, false).await;
    let (owned, _) = session(&engine, Some(Sum::of(b"other"))).await;
    for n in [2, 1] {
        send(&engine, &owned, n).await.expect("a chunk");
    }
    let inner = &engine.inner;
    let guard = inner.hold(owned.id(), false).await.expect("the lock");
    let ends = async {
        let asked = inner.hold(owned.id(), true).await;
        asked.expect("the lock, once the other has given way");
    };
    let finalizes = async {
        guard.asked_to_yield().await;
        let judged = inner
            .sum_of_file(&owned.entry, &owned.session, guard.as_ref())
            .await;
        assert!(matches!(judged, Err(Reject::Locked)));
        drop(guard);
    };
    tokio::join!(ends, finalizes);
    // Whoever comes next goes on.
    let finalized = engine.finalize(&owned).await;
    assert!(
        matches!(finalized, Err(Reject::FileHashMismatch)),
        "{finalized:?}"
    );
}

/// By an operator, as by its owner: no tombstone stands in the way of its being sent anew.
#[tokio::test]
async fn a_chunk_that_its_owner_takes_back_is_missing_again() {
    let machine = Machine::default();
    let (engine, _) = machine.start(0, false).await;
    let (owned, _) = session(&engine, None).await;
    let chunk = owned.session.chunk_id(1).expect("a name");
    let append = Append {
        claimed: 0,
        declared: None,
        body_length: Some(3),
        checksum: None,
        trailer_announced: false,
        by: None,
        pace: None,
    };
    let body = Full::new(Bytes::from_static(b"abc"));
    engine.append(&chunk, append, body).await.expect("a begin");
    let left = engine.resume(&owned).await.expect("it is there");
    assert_eq!(left.partial, [(1, 3, chunk.clone())]);
    engine.terminate(&chunk).await.expect("its owner may");
    let left = engine.resume(&owned).await.expect("it is there");
    assert_eq!((left.missing, left.partial), (vec![1, 2], vec![]));
    send(&engine, &owned, 1).await.expect("it is sent anew");
    let refused = engine.cancel(&chunk).await;
    assert!(
        matches!(refused, Err(Reject::ChunkOfSession)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nobody_may_use_what_cannot_be_read() {
    let machine = Machine::default();
    let (engine, _) = machine.start(0, false).await;
    let (owned, token) = session(&engine, None).await;
    let id = owned.id().clone();
    drop(owned);
    engine.inner.table.forget(&id);
    machine.state.unreadable.store(true, Ordering::SeqCst);
    let (nobody, owner) = (Who::anybody(None), Who::anybody([token.as_str()]));
    for who in [&nobody, &owner] {
        let permitted = engine.permit(&id, who).await;
        assert!(matches!(permitted, Err(Reject::State(_))), "{permitted:?}");
    }
    machine.state.unreadable.store(false, Ordering::SeqCst);
    let permitted = engine.permit(&id, &nobody).await;
    assert!(matches!(permitted, Err(Reject::NotFound)), "{permitted:?}");
    let permitted = engine.permit(&id, &owner).await;
    assert!(permitted.is_ok(), "{permitted:?}");
}
