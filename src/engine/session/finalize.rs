//! The end that a session is made for: all chunks are there, and the file is what it should be. Nothing is copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::about::About;
use super::super::table::Entry;
use super::super::{Engine, Inner, now, retry};
use super::{OwnedSession, Session};
use crate::error::{Missing, Reject};
use crate::lock::Guard;
use crate::progress::What;
use crate::upload::{Failure, Status};

impl Engine {
    /// Makes a session complete. Again, and it gives the same answer.
    ///
    /// # Errors
    /// `ChunksMissing`; `FileHashMismatch`, `MalwareFound`, `Unscanned`, and the session has failed; as [`Engine::look`].
    pub async fn finalize(&self, owned: &OwnedSession) -> Result<(), Reject> {
        let (inner, id) = (self.inner.clone(), owned.id().clone());
        self.inner
            .run(async move {
                let entry = inner.usable(&id).await?;
                if !entry.record().is_complete() {
                    let guard = inner.hold(&id, false).await?;
                    let entry = inner.usable(&id).await?;
                    inner.finalize(&entry, guard.as_ref()).await?;
                }
                inner.await_verdict(&id).await
            })
            .await
    }
}

impl Inner {
    /// Under the session's lock.
    async fn finalize(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        guard: &dyn Guard,
    ) -> Result<(), Reject> {
        let session = entry.session().ok_or(Reject::NotFound)?;
        if entry.record().is_complete() {
            return Ok(());
        }
        let missing = session.missing();
        if !missing.is_empty() {
            return Err(Reject::ChunksMissing(Box::new(Missing::of(&missing))));
        }
        let assembling = Flag::up(&session.finalizing);
        self.tell(entry, What::AssemblyStarted);
        let made = self.make_whole(entry, &session, guard).await;
        drop(assembling);
        if let Err(reject) = &made
            && entry.record().status == Status::Active
        {
            // It is as it was before.
            let code = Some(reject.wire().1);
            self.tell(entry, What::Paused { code });
        }
        made
    }

    /// Every chunk is there: looks at the whole, and records that it is complete.
    async fn make_whole(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        session: &Session,
        guard: &dyn Guard,
    ) -> Result<(), Reject> {
        let judged = self.judge(entry, session, guard).await;
        if let Err(Reject::FileHashMismatch) = judged {
            self.fail(entry, Failure::FileHash, Vec::new()).await;
        }
        judged?;
        if session.facts.file_hash.is_some() {
            self.tell(entry, What::Validated);
        }
        let mut about = About::of(&entry.id, &entry.image());
        about.whole = true;
        // Before the record: should the state store lose it, the sidecar knows that the file's length can be believed.
        let about = about.to_bytes();
        let amend = || self.blobs.amend(&entry.id, &about);
        retry::patiently(&entry.id, retry::may_pass, amend).await?;
        let next = entry.record().advance(session.size, now())?;
        self.complete(entry, next).await?;
        let (inner, id) = (self.clone(), entry.id.clone());
        self.tasks
            .spawn(async move { inner.forget_chunks(&id).await });
        Ok(())
    }

    async fn judge(
        &self,
        entry: &Entry,
        session: &Session,
        guard: &dyn Guard,
    ) -> Result<(), Reject> {
        match session.facts.file_hash {
            Some(named) if self.sum_of_file(entry, session, guard).await? != named => {
                Err(Reject::FileHashMismatch)
            }
            _ => Ok(()),
        }
    }

    /// Whether chunks of it are kept, and may be looked at.
    pub(super) fn keeps_chunks(status: Status) -> bool {
        matches!(status, Status::Active | Status::Failed(Failure::FileHash))
    }
}

/// Up for as long as this lives.
struct Flag<'a>(&'a AtomicBool);

impl<'a> Flag<'a> {
    fn up(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Release);
        Self(flag)
    }
}

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
