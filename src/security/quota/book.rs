//! The ledger's pages: what each record weighs, who carries a part's weight, and what is held.

use std::collections::{BTreeMap, HashMap};

use super::{Bounds, Excess, New, Use};
use crate::upload::{Failure, Kind, Record, Status, UploadId, UserId};

/// How an account changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) bytes: i128,
    pub(super) open: i64,
}

/// What a record weighs by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    bytes: u64,
    open: bool,
    pub(super) role: Role,
    /// Whether it is there at all, and no tombstone.
    there: bool,
}

/// What a final is to its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// It waits for them: they carry its weight.
    Waits,
    /// It has their bytes.
    Has,
    /// Nothing.
    #[default]
    None,
}

impl Weight {
    pub(super) fn of(record: Option<&Record>) -> Self {
        let Some(record) = record else {
            return Self::default();
        };
        let bytes = record.length.unwrap_or(record.offset);
        let there = Self {
            bytes,
            open: record.status == Status::Active,
            role: match (record.kind, record.length) {
                (Kind::Final, None) => Role::Waits,
                (Kind::Final, Some(_)) => Role::Has,
                _ => Role::None,
            },
            there: true,
        };
        match record.status {
            Status::Active
            | Status::Scanning
            | Status::Assembling
            | Status::Completed
            | Status::Failed(Failure::DiskFault | Failure::FileHash) => there,
            Status::Failed(
                Failure::BlobLost
                | Failure::PartGone
                | Failure::TooLarge
                | Failure::TooSmall
                | Failure::TypeMismatch
                | Failure::Malware
                | Failure::Unscanned,
            ) => Self {
                there: true,
                ..Self::default()
            },
            Status::Cancelled | Status::Expired => Self::default(),
        }
    }

    /// Of a final, without what its parts carry.
    fn of_final(self) -> i128 {
        match self.role {
            Role::Has => i128::from(self.bytes),
            Role::Waits | Role::None => 0,
        }
    }
}

/// A part, and how often it is named.
#[derive(Debug, Default)]
pub(super) struct Part {
    owner: Option<UserId>,
    pub(super) bytes: u64,
    /// By finals that wait.
    pub(super) waiting: u64,
    /// By finals that have its bytes.
    pub(super) joined: u64,
    /// Those that name it, whatever became of them.
    finals: Vec<UploadId>,
}

impl Part {
    pub(super) fn factor(&self) -> u64 {
        match (self.waiting, self.joined) {
            (0, 0) => 1,
            (waiting, _) => waiting,
        }
    }

    /// How often finals of this role name it.
    fn named(&mut self, role: Role) -> Option<&mut u64> {
        match role {
            Role::Waits => Some(&mut self.waiting),
            Role::Has => Some(&mut self.joined),
            Role::None => None,
        }
    }

    fn charge(&self) -> i128 {
        i128::from(self.bytes) * i128::from(self.factor())
    }
}

/// What is held for an upload whose record does not tell it yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    owner: Option<UserId>,
    bytes: i128,
    open: i64,
    /// Of a final: what it is to its parts already.
    role: Role,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) users: BTreeMap<Option<UserId>, Use>,
    pub(super) total: Use,
    /// Every part that is there; no chunks.
    pub(super) parts: HashMap<UploadId, Part>,
    /// Of finals, those of their parts that are there, and how often each.
    pub(super) finals: HashMap<UploadId, Vec<(UploadId, u64)>>,
    pub(super) held: HashMap<UploadId, Held>,
    pub(super) counting: bool,
}

/// Each id once, and how often it stands there.
fn counted(ids: &[UploadId]) -> Vec<(UploadId, u64)> {
    let mut counts: HashMap<&UploadId, u64> = HashMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    let owned = |(id, times): (&UploadId, u64)| (id.clone(), times);
    counts.into_iter().map(owned).collect()
}

impl Book {
    fn used(&self, owner: Option<&UserId>) -> Use {
        let key = owner.cloned();
        self.users.get(&key).copied().unwrap_or_default()
    }

    /// Bytes that may be charged still.
    pub(super) fn room(&self, owner: Option<&UserId>, bounds: Bounds) -> u128 {
        let left = |most: Option<u64>, used: Use| {
            most.map_or(u128::MAX, |most| {
                u128::from(most).saturating_sub(used.bytes)
            })
        };
        let quota = bounds.quota.filter(|_| owner.is_some());
        left(quota, self.used(owner)).min(left(bounds.total, self.total))
    }

    pub(super) fn hold(
        &mut self,
        id: &UploadId,
        owner: Option<&UserId>,
        bytes: i128,
        opens: bool,
        bounds: Bounds,
    ) -> Result<(), Excess> {
        let used = self.used(owner);
        let past = |most: u64, used: Use| {
            bytes > 0 && used.bytes.saturating_add_signed(bytes) > u128::from(most)
        };
        // Nobody is no user: what he has is bounded with the rest.
        if let Some(allowed) = bounds
            .quota
            .filter(|most| owner.is_some() && past(*most, used))
        {
            let used = used.told();
            return Err(Excess::Quota { used, allowed });
        }
        if let Some(allowed) = bounds.total.filter(|most| past(*most, self.total)) {
            let used = self.total.told();
            return Err(Excess::Total { used, allowed });
        }
        if let Some(most) = bounds.open.filter(|most| opens && used.open >= *most) {
            return Err(Excess::Open { most });
        }
        let open = self.total.open;
        if let Some(most) = bounds.open_total.filter(|most| opens && open >= *most) {
            return Err(Excess::OpenTotal { most });
        }
        let open = i64::from(opens);
        let held = self.held.entry(id.clone()).or_default();
        held.owner = owner.cloned();
        held.bytes += bytes;
        held.open += open;
        self.add(owner, Delta { bytes, open });
        Ok(())
    }

    pub(super) fn let_go(&mut self, id: &UploadId) {
        if let Some(held) = self.held.remove(id) {
            let (bytes, open) = (-held.bytes, -held.open);
            self.add(held.owner.as_ref(), Delta { bytes, open });
            if held.role != Role::None {
                self.play(id, held.role, Role::None);
                self.forget_final(id);
            }
        }
    }

    /// Holds what a final of these parts needs. It takes its role to them at once: of two finals at the same time only one can
    /// have a part's own weight.
    pub(super) fn hold_final(
        &mut self,
        id: &UploadId,
        owner: Option<&UserId>,
        (parts, waits): (&[UploadId], bool),
        bounds: Bounds,
    ) -> Result<(), Excess> {
        let more = counted(parts).into_iter().map(|(part, times)| {
            let Some(part) = self.parts.get(&part) else {
                return 0;
            };
            let own = u64::from(part.waiting == 0 && part.joined == 0);
            i128::from(part.bytes) * i128::from(times - own)
        });
        let more = more.sum();
        self.hold(id, owner, more, waits, bounds)?;
        let role = if waits { Role::Waits } else { Role::Has };
        self.name_parts(id, parts);
        let passed = self.play(id, Role::None, role);
        if let Some(held) = self.held.get_mut(id) {
            held.role = role;
            held.bytes -= passed;
        }
        self.add(
            owner,
            Delta {
                bytes: -passed,
                open: 0,
            },
        );
        Ok(())
    }

    fn add(&mut self, owner: Option<&UserId>, by: Delta) {
        if by == Delta::default() {
            return;
        }
        let key = owner.cloned();
        let of_user = self.users.entry(key).or_default();
        of_user.add(by.bytes, by.open);
        if *of_user == Use::default() {
            self.users.remove(&owner.cloned());
        }
        self.total.add(by.bytes, by.open);
    }

    pub(super) fn change(
        &mut self,
        id: &UploadId,
        before: Option<&Record>,
        after: Option<&Record>,
        new: New<'_>,
    ) {
        let Some(any) = after.or(before) else { return };
        let (old, now) = (Weight::of(before), Weight::of(after));
        let open = i64::from(now.open) - i64::from(old.open);
        let (own, others) = match any.kind {
            Kind::Plain => (i128::from(now.bytes) - i128::from(old.bytes), 0),
            Kind::Partial => {
                if before.is_none() && now.there && new != New::Chunk {
                    let part = self.parts.entry(id.clone()).or_default();
                    part.owner.clone_from(&any.owner);
                } else if !self.parts.contains_key(id) {
                    return; // a chunk
                }
                let grown = self.weigh_part(id, |part| part.bytes = now.bytes);
                if !now.there {
                    self.forget_part(id);
                }
                (0, grown)
            }
            Kind::Final => {
                if let New::Final(parts) = new
                    && !self.finals.contains_key(id)
                {
                    self.name_parts(id, parts);
                }
                let held = self.held.get_mut(id).map(|held| &mut held.role);
                let role = held.map(std::mem::take).unwrap_or_default();
                let role = if before.is_none() { role } else { old.role };
                let own = now.of_final() - old.of_final();
                let passed = self.play(id, role, now.role);
                if !now.there {
                    self.forget_final(id);
                }
                (own, passed)
            }
        };
        self.add(any.owner.as_ref(), Delta { bytes: own, open });
        self.settle(id, own + others, open);
    }

    /// What was held for it is charged now.
    fn settle(&mut self, id: &UploadId, grown: i128, open: i64) {
        let Some(held) = self.held.get_mut(id) else {
            return;
        };
        let (bytes, open) = (grown.clamp(0, held.bytes), open.clamp(0, held.open));
        held.bytes -= bytes;
        held.open -= open;
        let owner = held.owner.clone();
        let (bytes, open) = (-bytes, -open);
        self.add(owner.as_ref(), Delta { bytes, open });
    }

    /// Changes a part, and its owner's account with it. Answers by how much.
    fn weigh_part(&mut self, id: &UploadId, change: impl FnOnce(&mut Part)) -> i128 {
        let Some(part) = self.parts.get_mut(id) else {
            return 0;
        };
        let before = part.charge();
        change(part);
        let bytes = part.charge() - before;
        let owner = part.owner.clone();
        self.add(owner.as_ref(), Delta { bytes, open: 0 });
        bytes
    }

    fn name_parts(&mut self, id: &UploadId, parts: &[UploadId]) {
        let there = counted(parts).into_iter();
        let there: Vec<_> = there
            .filter(|(part, _)| self.parts.contains_key(part))
            .collect();
        for (part, _) in &there {
            if let Some(part) = self.parts.get_mut(part) {
                part.finals.push(id.clone());
            }
        }
        if !there.is_empty() {
            self.finals.insert(id.clone(), there);
        }
    }

    pub(super) fn found_parts(&mut self, id: &UploadId, role: Role, parts: &[UploadId]) {
        self.name_parts(id, parts);
        self.play(id, Role::None, role);
    }

    /// A final's role to its parts changes. Answers by how much they weigh more.
    fn play(&mut self, id: &UploadId, old: Role, now: Role) -> i128 {
        if old == now {
            return 0;
        }
        let parts = self.finals.get(id).cloned().unwrap_or_default();
        let mut passed = 0;
        for (part, times) in parts {
            passed += self.weigh_part(&part, |part| {
                if let Some(named) = part.named(old) {
                    *named = named.saturating_sub(times);
                }
                if let Some(named) = part.named(now) {
                    *named += times;
                }
            });
        }
        passed
    }

    fn forget_part(&mut self, id: &UploadId) {
        let Some(part) = self.parts.remove(id) else {
            return;
        };
        for whole in &part.finals {
            let Some(parts) = self.finals.get_mut(whole) else {
                continue;
            };
            parts.retain(|(part, _)| part != id);
            if parts.is_empty() {
                self.finals.remove(whole);
            }
        }
    }

    fn forget_final(&mut self, id: &UploadId) {
        for (part, _) in self.finals.remove(id).unwrap_or_default() {
            if let Some(part) = self.parts.get_mut(&part) {
                part.finals.retain(|whole| whole != id);
            }
        }
    }
}
