//! Locks in this process's memory; an entry lives only while somebody holds it or waits for it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex as FairMutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::{Guard, Locker};
use crate::upload::UploadId;

/// Locks of this process.
#[derive(Default)]
pub struct MemoryLocker {
    held: Arc<Held>,
}

type Held = Mutex<HashMap<UploadId, Weak<Slot>>>;

/// One upload's lock: a fair mutex, and the wish that its present holder lets go.
#[derive(Default)]
struct Slot {
    turn: Arc<FairMutex<()>>,
    /// Cancelled to ask the holder; a new holder brings a new one, unless askers are waiting.
    wish: Mutex<Wish>,
}

#[derive(Default)]
struct Wish {
    asked: CancellationToken,
    askers: usize,
}

impl MemoryLocker {
    fn slot(&self, id: &UploadId) -> Arc<Slot> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = held.get(id).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Slot::default());
        held.insert(id.clone(), Arc::downgrade(&slot));
        slot
    }

    fn guard(&self, id: &UploadId, slot: Arc<Slot>, turn: OwnedMutexGuard<()>) -> Box<dyn Guard> {
        let asked = {
            let mut wish = slot.wish.lock().unwrap_or_else(PoisonError::into_inner);
            if wish.askers == 0 {
                wish.asked = CancellationToken::new();
            }
            wish.asked.clone()
        };
        Box::new(MemoryGuard {
            asked,
            id: id.clone(),
            held: self.held.clone(),
            turn: Some(turn),
            slot: Some(slot),
        })
    }
}

#[async_trait]
impl Locker for MemoryLocker {
    fn try_lock(&self, id: &UploadId) -> Option<Box<dyn Guard>> {
        let slot = self.slot(id);
        let turn = slot.turn.clone().try_lock_owned().ok()?;
        Some(self.guard(id, slot, turn))
    }

    async fn lock(&self, id: &UploadId, ask: bool, patience: Duration) -> Option<Box<dyn Guard>> {
        let slot = self.slot(id);
        let asking = ask.then(|| Asking::start(slot.clone()));
        let turn = tokio::time::timeout(patience, slot.turn.clone().lock_owned()).await;
        drop(asking);
        match turn {
            Ok(turn) => Some(self.guard(id, slot, turn)),
            Err(_) => {
                drop(slot);
                forget_unused(&self.held, id);
                None
            }
        }
    }
}

/// Somebody asks for as long as this lives: an asker that is cancelled stops asking.
struct Asking(Arc<Slot>);

impl Asking {
    fn start(slot: Arc<Slot>) -> Self {
        let mut wish = slot.wish.lock().unwrap_or_else(PoisonError::into_inner);
        wish.askers += 1;
        wish.asked.cancel();
        drop(wish);
        Self(slot)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0
            .wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .askers -= 1;
    }
}

struct MemoryGuard {
    asked: CancellationToken,
    id: UploadId,
    held: Arc<Held>,
    turn: Option<OwnedMutexGuard<()>>,
    slot: Option<Arc<Slot>>,
}

impl Guard for MemoryGuard {
    fn asked_to_yield(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.asked.clone().cancelled_owned())
    }
}

impl Drop for MemoryGuard {
    fn drop(&mut self) {
        self.turn = None;
        self.slot = None;
        forget_unused(&self.held, &self.id);
    }
}

/// Nothing stays of a lock that nobody holds or waits for.
fn forget_unused(held: &Held, id: &UploadId) {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    if held.get(id).is_some_and(|slot| slot.strong_count() == 0) {
        held.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(20);

    fn id() -> UploadId {
        "a".parse().unwrap()
    }

    #[tokio::test]
    async fn one_holder_and_nothing_left_behind() {
        let locker = MemoryLocker::default();
        let first = locker.try_lock(&id()).unwrap();
        assert!(locker.try_lock(&id()).is_none());
        assert!(locker.try_lock(&"b".parse().unwrap()).is_some());
        assert!(locker.lock(&id(), false, SOON).await.is_none());
        assert!(
            tokio::time::timeout(SOON, first.asked_to_yield())
                .await
                .is_err(),
            "nobody asked"
        );
        drop(first);
        assert!(locker.try_lock(&id()).is_some());
        assert!(locker.held.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_asker_is_heard_and_gets_the_lock_unasked() {
        let locker = Arc::new(MemoryLocker::default());
        let first = locker.try_lock(&id()).unwrap();
        let second = tokio::spawn({
            let locker = locker.clone();
            async move { locker.lock(&id(), true, LONG).await.unwrap() }
        });
        first.asked_to_yield().await;
        drop(first);
        let second = second.await.unwrap();
        assert!(
            tokio::time::timeout(SOON, second.asked_to_yield())
                .await
                .is_err(),
            "the asker holds it now"
        );
    }

    #[tokio::test]
    async fn who_gets_the_lock_before_an_asker_is_asked_too() {
        let locker = Arc::new(MemoryLocker::default());
        let first = locker.try_lock(&id()).unwrap();
        let wait = |ask| {
            let locker = locker.clone();
            tokio::spawn(async move { locker.lock(&id(), ask, LONG).await.unwrap() })
        };
        let second = wait(false);
        tokio::task::yield_now().await;
        let third = wait(true);
        first.asked_to_yield().await;
        drop(first);
        let second = second.await.unwrap();
        second.asked_to_yield().await;
        drop(second);
        third.await.unwrap();
    }
}
