//! What users have on the server, and what they may have: the ledger of bytes and of open uploads. Pure accounting, derived
//! from the records alone, so that it is exact after a crash.
//!
//! An upload weighs its length; while that is not known, the bytes that are stored of it. What has ended, or lost its bytes,
//! weighs nothing. A byte is charged once:
//!
//! - a chunk weighs nothing: its session has the whole file's length reserved;
//! - a part of a final weighs nothing once the final is there. A final that waits has no weight of its own yet: each of its
//!   parts weighs as often as waiting finals name it;
//! - when the last final of a part is gone, the part weighs for itself again.
//!
//! What is about to be stored is held first, under the id of its upload, and the record that comes of it takes the place of
//! what was held in the same moment: of any number of creations at the same time none goes past a bound, and none is refused
//! that fits.

mod book;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::book::Role;
use self::book::{Book, Part, Weight};
use super::user::Limits;
use crate::upload::{Record, UploadId, UserId};

/// What bounds a reservation; `None`: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one user.
    pub quota: Option<u64>,
    /// Bytes of all users.
    pub total: Option<u64>,
    /// Open uploads of one user; where nobody is asked who he is, of all.
    pub open: Option<u64>,
    /// Open uploads of all users.
    pub open_total: Option<u64>,
}

impl Bounds {
    /// The same for a user of whom something is said.
    #[must_use]
    pub fn of_user(self, limits: &Limits) -> Self {
        Self {
            quota: limits.quota.or(self.quota),
            open: limits.open_uploads.or(self.open),
            ..self
        }
    }

    fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// A reservation that is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// For the user's bytes.
    Quota {
        /// What the user has.
        used: u64,
        /// What the user may have.
        allowed: u64,
    },
    /// For the bytes of all.
    Total {
        /// What all have.
        used: u64,
        /// What they may have.
        allowed: u64,
    },
    /// For the user's open uploads.
    Open {
        /// The most.
        most: u64,
    },
    /// For the open uploads of all.
    OpenTotal {
        /// The most.
        most: u64,
    },
}

/// What somebody has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Bytes that are stored or reserved.
    pub bytes: u128,
    /// Uploads that are not complete.
    pub open: u64,
}

impl Use {
    /// The bytes, as far as 64 bits tell them.
    #[must_use]
    pub fn told(self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(u64::MAX)
    }

    fn add(&mut self, bytes: i128, open: i64) {
        self.bytes = self.bytes.saturating_add_signed(bytes);
        self.open = self.open.saturating_add_signed(open);
    }
}

/// What is new with an upload whose record is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum New<'a> {
    /// An upload for itself.
    Whole,
    /// A chunk of a session.
    Chunk,
    /// A final of these parts.
    Final(&'a [UploadId]),
}

/// Whether a change of a record changes what is charged. Most do not: of an upload whose length is known the offset alone
/// moves, and that takes no lock here.
#[must_use]
pub fn moves(before: Option<&Record>, after: Option<&Record>) -> bool {
    Weight::of(before) != Weight::of(after)
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Book>);

/// Something held, until this is dropped.
#[derive(Debug)]
pub struct Hold {
    ledger: Arc<Ledger>,
    id: Option<UploadId>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.ledger.book().let_go(id);
        }
    }
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds(self: &Arc<Self>, id: Option<&UploadId>) -> Hold {
        Hold {
            ledger: self.clone(),
            id: id.cloned(),
        }
    }

    /// Holds bytes, and a place among the open uploads, for an upload that is to be made, or to grow.
    ///
    /// # Errors
    /// If that is too much; nothing is held then.
    pub fn hold(
        self: &Arc<Self>,
        id: &UploadId,
        owner: Option<&UserId>,
        (bytes, opens): (u64, bool),
        bounds: Bounds,
    ) -> Result<Hold, Excess> {
        if bounds.is_none() {
            return Ok(self.holds(None));
        }
        let mut book = self.book();
        let factor = book.parts.get(id).map_or(1, Part::factor);
        let bytes = i128::from(bytes) * i128::from(factor);
        book.hold(id, owner, bytes, opens, bounds)?;
        Ok(self.holds(Some(id)))
    }

    /// The same for a final of these parts, which may have to wait for them: of a part that no final names yet, the weight
    /// passes to it.
    ///
    /// # Errors
    /// As [`Ledger::hold`].
    pub fn hold_final(
        self: &Arc<Self>,
        id: &UploadId,
        owner: Option<&UserId>,
        need: (&[UploadId], bool),
        bounds: Bounds,
    ) -> Result<Hold, Excess> {
        if bounds.is_none() {
            return Ok(self.holds(None));
        }
        self.book().hold_final(id, owner, need, bounds)?;
        Ok(self.holds(Some(id)))
    }

    /// Nothing yet, for an upload that takes what it needs as its bytes come.
    #[must_use]
    pub fn hold_nothing(self: &Arc<Self>, id: &UploadId) -> Hold {
        self.holds(Some(id))
    }

    /// A record was made, or changed, or is gone.
    pub fn changed(
        &self,
        id: &UploadId,
        before: Option<&Record>,
        after: Option<&Record>,
        new: New<'_>,
    ) {
        let mut book = self.book();
        if book.counting {
            book.change(id, before, after, new);
        }
    }

    /// A record that was there at the start, of anything but a chunk.
    ///
    /// Answers what a final is to its parts.
    pub fn found(&self, id: &UploadId, record: &Record) -> Role {
        self.book().change(id, None, Some(record), New::Whole);
        Weight::of(Some(record)).role
    }

    /// What a final that was there at the start is made of, once all parts are known.
    pub fn found_parts(&self, id: &UploadId, role: Role, parts: &[UploadId]) {
        self.book().found_parts(id, role, parts);
    }

    /// From now on changes count.
    pub fn begin(&self) {
        self.book().counting = true;
    }

    /// What every user has, nobody's first; and all together.
    #[must_use]
    pub fn uses(&self) -> (BTreeMap<Option<UserId>, Use>, Use) {
        let book = self.book();
        (book.users.clone(), book.total)
    }

    /// What all have together.
    #[must_use]
    pub fn total(&self) -> Use {
        self.book().total
    }
}

impl Hold {
    /// Holds as much of `wanted` bytes more as there is room for. Answers how many, and what stands against the others.
    pub fn take(
        &self,
        owner: Option<&UserId>,
        wanted: u64,
        bounds: Bounds,
    ) -> (u64, Option<Excess>) {
        let Some(id) = self.id.as_ref().filter(|_| !bounds.is_none()) else {
            return (wanted, None);
        };
        let mut book = self.ledger.book();
        let factor = book.parts.get(id).map_or(1, Part::factor);
        let charge = |bytes: u64| i128::from(bytes) * i128::from(factor);
        match book.hold(id, owner, charge(wanted), false, bounds) {
            Ok(()) => (wanted, None),
            Err(excess) => {
                let room = book.room(owner, bounds) / u128::from(factor);
                let granted = u64::try_from(room).unwrap_or(u64::MAX).min(wanted);
                let held = book.hold(id, owner, charge(granted), false, bounds);
                let granted = if held.is_ok() { granted } else { 0 };
                // What is told is what is used with these.
                let rest = book.hold(id, owner, charge(wanted - granted), false, bounds);
                (granted, Some(rest.err().unwrap_or(excess)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
