//! What is charged to whom: every change of a record is told to the ledger here, and what is to be stored is held there first.

use std::time::Duration;

use super::recovery::Recovered;
use super::walk::is_chunk;
use super::{Inner, load, millis, now};
use crate::error::Reject;
use crate::security::quota::{self, Bounds, Excess, Hold, New, Role};
use crate::security::rate::HOUR;
use crate::security::types::Declared;
use crate::security::user::User;
use crate::state::{Change, Detail};
use crate::upload::{Kind, Millis, Record, UploadId, UserId};

/// By how much a clock may have been set back between a part's creation and its final's.
const CLOCK: Millis = 24 * 3_600_000;

/// A change of a record that changes what is charged.
pub(super) struct Charge {
    id: UploadId,
    before: Option<Record>,
    after: Option<Record>,
    made: Made,
}

/// What is new.
enum Made {
    Whole,
    Chunk,
    Final(Vec<UploadId>),
}

impl Made {
    fn told(&self) -> New<'_> {
        match self {
            Self::Whole => New::Whole,
            Self::Chunk => New::Chunk,
            Self::Final(parts) => New::Final(parts),
        }
    }

    /// Of a record with these details.
    fn of<'d>(id: &UploadId, kind: Kind, detail: impl Fn(Detail) -> Option<&'d [u8]>) -> Self {
        match kind {
            Kind::Plain => Self::Whole,
            Kind::Partial => match detail(Detail::Segments) {
                Some(segments) if is_chunk(id, segments) => Self::Chunk,
                _ => Self::Whole,
            },
            Kind::Final => match detail(Detail::Parts).map(|list| load::decode(id, list)) {
                Some(Ok(parts)) => Self::Final(parts),
                _ => Self::Whole,
            },
        }
    }
}

/// Those changes that change what is charged; of most there are none.
pub(super) fn charges(changes: &[Change]) -> Vec<Charge> {
    let moves = |change: &&Change| quota::moves(change.expect.as_ref(), change.record.as_ref());
    let charge = |change: &Change| {
        let detail = |wanted| {
            let found = change.details.iter().find(|(detail, _)| *detail == wanted);
            found.and_then(|(_, value)| value.as_deref())
        };
        let made = match (&change.expect, &change.record) {
            (None, Some(record)) => Made::of(&change.id, record.kind, detail),
            _ => Made::Whole,
        };
        Charge {
            id: change.id.clone(),
            before: change.expect.clone(),
            after: change.record.clone(),
            made,
        }
    };
    changes.iter().filter(moves).map(charge).collect()
}

/// An append to an upload of unknown length: what comes is charged as it comes.
pub(super) struct AsItComes {
    pub(super) hold: Hold,
    pub(super) owner: Option<UserId>,
    pub(super) bounds: Bounds,
}

impl AsItComes {
    /// How many of so many bytes there is room for, and what stands against the rest.
    pub(super) fn take(&self, wanted: u64) -> (u64, Option<Excess>) {
        self.hold.take(self.owner.as_ref(), wanted, self.bounds)
    }
}

impl Inner {
    /// What was charged is so in the ledger.
    pub(super) fn charged(&self, charges: &[Charge]) {
        for charge in charges {
            let (before, after) = (charge.before.as_ref(), charge.after.as_ref());
            self.ledger
                .changed(&charge.id, before, after, charge.made.told());
        }
    }

    /// What bounds a user's reservations.
    pub(super) fn bounds(&self, by: Option<&User>) -> Bounds {
        let all = self.options.bounds;
        by.map_or(all, |user| all.of_user(&user.limits))
    }

    /// Holds what a new upload will need, until its record says so.
    pub(super) fn reserve(
        &self,
        id: &UploadId,
        by: Option<&User>,
        need: (u64, bool),
    ) -> Result<Hold, Reject> {
        let owner = by.map(|user| &user.id);
        let held = self.ledger.hold(id, owner, need, self.bounds(by));
        held.map_err(|excess| Reject::excess(excess, owner.is_some(), None))
    }

    /// The same for a final.
    pub(super) fn reserve_final(
        &self,
        id: &UploadId,
        by: Option<&User>,
        need: (&[UploadId], bool),
    ) -> Result<Hold, Reject> {
        let owner = by.map(|user| &user.id);
        let held = self.ledger.hold_final(id, owner, need, self.bounds(by));
        held.map_err(|excess| Reject::excess(excess, owner.is_some(), None))
    }

    /// What an append needs beyond what is charged for its upload: nothing where the length was known before; all that is
    /// missing of one that is declared with it; and else what comes.
    pub(super) fn reserve_rest(
        &self,
        id: &UploadId,
        by: Option<&User>,
        (before, after): (&Record, &Record),
    ) -> Result<(Option<Hold>, Option<AsItComes>), Reject> {
        let bounds = self.bounds(by);
        let owner = before.owner.as_ref();
        match (before.length, after.length) {
            (Some(_), _) => Ok((None, None)),
            (None, Some(length)) => {
                let rest = length.saturating_sub(before.offset);
                let held = self.ledger.hold(id, owner, (rest, false), bounds);
                let told = |excess| Reject::excess(excess, owner.is_some(), None);
                Ok((Some(held.map_err(told)?), None))
            }
            (None, None) => {
                let as_it_comes = AsItComes {
                    hold: self.ledger.hold_nothing(id),
                    owner: owner.cloned(),
                    bounds,
                };
                Ok((None, Some(as_it_comes)))
            }
        }
    }

    /// Whether what the metadata declares is taken; a part of a final need not declare anything.
    pub(super) fn judge_type(
        &self,
        metadata: Option<&[u8]>,
        by: Option<&User>,
        part: bool,
    ) -> Result<(), Reject> {
        let own = by.and_then(|user| user.limits.types.as_deref());
        let types = &self.options.types;
        if own.is_none() && types.takes_all() {
            return Ok(());
        }
        let declared = Declared::by(metadata);
        Ok(types.of_user(own).judge(&declared, part)?)
    }

    /// An upload that the walk at the start has seen, which shows no chunks.
    pub(super) fn found(&self, found: &mut Found, id: UploadId, record: &Record) {
        found.begun(&id, record);
        if record.is_tombstone() {
            return;
        }
        found.owned += usize::from(record.owner.is_some());
        let role = self.ledger.found(&id, record);
        match record.kind {
            Kind::Plain => {}
            Kind::Partial => found.oldest_part = found.oldest_part.min(record.created),
            Kind::Final => found.finals.push((id, record.created, role)),
        }
    }

    /// What the walk left open: which finals were begun as sessions, and which name which parts.
    pub(super) async fn open_ledger(
        &self,
        found: Found,
        told: &mut Recovered,
    ) -> Result<(), Reject> {
        told.owned = found.owned;
        let mut begun = found.begun;
        for (id, owner, created) in found.young_finals {
            if self.state.detail(&id, Detail::Session).await?.is_some() {
                begun.push((owner, created));
            }
        }
        begun.sort_unstable_by_key(|(_, created)| *created);
        let ago = |created| Duration::from_millis(found.now.saturating_sub(created));
        let begun = begun.into_iter();
        told.begun = begun.map(|(by, at)| (by, ago(at))).collect();
        for (id, created, role) in found.finals {
            // A part is there before its final: one that is older than all that are there has none of them.
            if created.saturating_add(CLOCK) < found.oldest_part {
                continue;
            }
            let parts = self.state.detail(&id, Detail::Parts).await?;
            // A list that is damaged is told when its final is loaded.
            if let Some(Ok(parts)) = parts.map(|parts| load::decode::<Vec<_>>(&id, &parts)) {
                self.ledger.found_parts(&id, role, &parts);
            }
        }
        self.ledger.begin();
        Ok(())
    }
}

/// What is looked at once the walk at the start has seen all records.
pub(super) struct Found {
    now: Millis,
    finals: Vec<(UploadId, Millis, Role)>,
    oldest_part: Millis,
    /// By whom, and when, uploads were begun within the last hour. One that was ended within it has a tombstone still.
    begun: Vec<(Option<UserId>, Millis)>,
    /// Finals of that time: sessions were begun, and what was joined was not.
    young_finals: Vec<(UploadId, Option<UserId>, Millis)>,
    owned: usize,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            now: now(),
            finals: Vec::new(),
            oldest_part: Millis::MAX,
            begun: Vec::new(),
            young_finals: Vec::new(),
            owned: 0,
        }
    }
}

impl Found {
    fn begun(&mut self, id: &UploadId, record: &Record) {
        if record.created.saturating_add(millis(HOUR)) <= self.now {
            return;
        }
        let (owner, created) = (record.owner.clone(), record.created);
        match record.kind {
            Kind::Plain | Kind::Partial => self.begun.push((owner, created)),
            Kind::Final => self.young_finals.push((id.clone(), owner, created)),
        }
    }
}
