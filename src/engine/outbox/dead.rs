//! Letters that nobody took: listed, and sent again when an operator asks.

use std::ops::Bound;

use tracing::error;

use super::super::{Engine, Inner, load, now};
use super::{Letter, letter, locked};
use crate::error::Reject;
use crate::hooks::{Event, shown};
use crate::state::Promise;
use crate::upload::{Millis, UploadId};

/// The most letters that are kept of those that nobody took; jobs all of them.
const DEAD: usize = 10_000;

/// A letter that its receiver did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number.
    pub number: u64,
    /// What it tells.
    pub event: Event,
    /// The same whenever it is sent.
    pub event_id: String,
    /// Of which upload.
    pub upload: UploadId,
    /// To whom.
    pub to: String,
    /// When it was given up.
    pub at: Millis,
    /// The last failure.
    pub why: String,
}

impl DeadLetter {
    pub(super) fn of(number: u64, letter: &Letter, (at, why): (Millis, String)) -> Self {
        Self {
            number,
            event: letter.call.event,
            event_id: letter.call.id.clone(),
            upload: letter.upload.clone(),
            to: if letter.to.starts_with("http") {
                // An earlier version named the whole address.
                shown(&letter.to)
            } else {
                letter.to.clone()
            },
            at,
            why,
        }
    }
}

impl Engine {
    /// Letters on their way, and letters that nobody took.
    #[must_use]
    pub fn letters(&self) -> (usize, usize) {
        self.inner.outbox.count()
    }

    /// Whether there is anybody to whom letters go.
    #[must_use]
    pub fn has_receivers(&self) -> bool {
        !self.inner.options.hooks.is_empty()
    }

    /// Letters that their receivers did not take, the oldest first: so many after this number, and whether there are more.
    #[must_use]
    pub fn dead_letters(&self, after: Option<u64>, limit: usize) -> (Vec<DeadLetter>, bool) {
        let dead = locked(&self.inner.outbox.dead);
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = dead.range((after, Bound::Unbounded));
        let page = rest.by_ref().take(limit).map(|(_, letter)| letter.clone());
        let page = page.collect();
        (page, rest.next().is_some())
    }

    /// Sends a letter again that nobody took.
    ///
    /// # Errors
    /// `NotFound` if there is no such letter, or its receiver is not configured any more; what storage says.
    pub async fn resend(&self, number: u64) -> Result<(), Reject> {
        let inner = self.inner.clone();
        self.inner
            .run(async move { inner.resend(number).await })
            .await
    }
}

impl Inner {
    /// A job is nothing that is forgotten: nobody else knows of it.
    pub(super) async fn forget_oldest(&self) {
        let oldest = {
            let mut dead = locked(&self.outbox.dead);
            let over = dead.len() > DEAD;
            let mut told = dead.iter().filter(|(_, letter)| letter.event != Event::Job);
            let oldest = told.next().filter(|_| over).map(|(number, _)| *number);
            oldest
                .and_then(|number| dead.remove(&number))
                .map(|letter| letter.number)
        };
        if let Some(number) = oldest {
            error!(
                number,
                "too many letters that no hook took: the oldest is gone"
            );
            self.rewrite(number, None).await;
        }
    }

    async fn resend(self: &std::sync::Arc<Self>, number: u64) -> Result<(), Reject> {
        let bytes = self.state.letter(number).await?.ok_or(Reject::NotFound)?;
        let mut letter = letter(number, &bytes).ok_or(Reject::NotFound)?;
        let at = self
            .options
            .hooks
            .heir(&letter.to)
            .ok_or(Reject::NotFound)?;
        if locked(&self.outbox.dead).remove(&number).is_none() {
            return Err(Reject::NotFound);
        }
        letter.dead = None;
        letter.since = now();
        let letters = vec![(number, Some(load::encode(&letter)))];
        self.commit_with(Vec::new(), letters, Promise::Flushed)
            .await?;
        self.put_into_lane((at, letter.upload), number);
        Ok(())
    }
}
