//! The far end of a connection that nothing is read of: whether it has closed is looked for only while somebody asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// The far end of a connection: who waits asks of it, and who has the socket looks and answers.
#[derive(Debug)]
pub struct FarEnd {
    asked: AtomicBool,
    /// The most bytes that are still to be taken of what it sent.
    left: AtomicU64,
}

impl Default for FarEnd {
    fn default() -> Self {
        Self {
            asked: AtomicBool::new(false),
            left: AtomicU64::new(u64::MAX),
        }
    }
}

impl FarEnd {
    /// Whether somebody asks, which is answered by a look.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::AcqRel)
    }

    /// It has closed, and no more than so many of its bytes are still to be taken.
    pub fn has_closed(&self, left: u64) {
        self.left.store(left, Ordering::Release);
    }

    /// Resolves when it has closed before it sent a body of `size` bytes to its end. One that sent all of it may wait for the
    /// answer with its own side closed.
    pub(super) async fn gone_before(&self, size: u64) {
        while self.left.load(Ordering::Acquire) >= size {
            // Looked at as soon as the task that asks has nothing else to do, which is the connection's own.
            self.asked.store(true, Ordering::Release);
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_gone_with_too_little_left() {
        let far = Arc::<FarEnd>::default();
        assert!(!far.is_asked(), "nobody waits");
        let asker = far.clone();
        let asking = tokio::spawn(async move { asker.gone_before(10).await });
        sleep(LOOK / 2).await;
        assert!(far.is_asked() && !far.is_asked());
        far.has_closed(10);
        sleep(LOOK).await;
        assert!(
            far.is_asked() && !asking.is_finished(),
            "all of it may be there"
        );
        far.has_closed(9);
        asking.await.expect("no panic");
        assert!(!far.is_asked());
    }
}
