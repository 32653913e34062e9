//! The uploads, in memory, and when they expire.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard};

use super::answer::Answer;
use super::{Flaw, MAX_SIZE, date, lock};

/// Seconds that an unfinished upload lives on after the last thing that happened to it, rounded up to a whole second of the
/// clock: just what `Upload-Expires` says.
const LIFE: u64 = 3;

/// All uploads behind one lock.
#[derive(Debug)]
pub(super) struct Store(Mutex<Uploads>);

impl Store {
    pub(super) fn new(flaw: Option<Flaw>) -> Self {
        Self(Mutex::new(Uploads {
            flaw,
            map: HashMap::new(),
            names: RandomState::new(),
            created: 0,
            touches: 0,
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Uploads> {
        lock(&self.0)
    }
}

#[derive(Debug)]
pub(super) struct Uploads {
    flaw: Option<Flaw>,
    pub(super) map: HashMap<String, Upload>,
    names: RandomState,
    created: u64,
    touches: u64,
}

#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) kind: Kind,
    pub(super) data: Vec<u8>,
    /// Bytes that a flaw counts though they are not there.
    pub(super) phantom: u64,
    pub(super) length: Option<u64>,
    /// It was created without a length.
    pub(super) deferred: bool,
    /// `Upload-Metadata` as received.
    pub(super) metadata: Option<Vec<u8>>,
    /// `Upload-Concat` as received.
    pub(super) concat: Option<Vec<u8>>,
    /// The number of the PATCH that may write; it is replaced by one that takes over.
    pub(super) writer: Option<u64>,
    /// There was a PATCH with a checksum.
    pub(super) had_sum: bool,
    /// There was a HEAD.
    pub(super) seen: bool,
    /// In seconds since 1970.
    pub(super) expires: u64,
    pub(super) fate: Fate,
    /// Its place in the order of creation.
    pub(super) number: u64,
    /// Its place in the order of what was last written or created.
    pub(super) touched: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Plain,
    Partial,
    Final {
        parts: Vec<String>,
        joined: bool,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Alive,
    /// 404 from now on.
    Deleted,
    /// 410 from now on: it expired, or is a final upload that can no longer be joined.
    Gone,
}

impl Upload {
    pub(super) fn offset(&self) -> u64 {
        self.data.len() as u64 + self.phantom
    }

    pub(super) fn truncate(&mut self, offset: u64) {
        self.data
            .truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        self.phantom = 0;
    }

    pub(super) fn is_final(&self) -> bool {
        matches!(self.kind, Kind::Final { .. })
    }
}

impl Uploads {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Keeps a new upload; its name cannot be guessed from another's.
    pub(super) fn create(&mut self, mut upload: Upload) -> String {
        self.created += 1;
        upload.number = self.created;
        let id = format!("{:016x}{}", self.names.hash_one(self.created), self.created);
        self.map.insert(id.clone(), upload);
        self.touch(&id);
        self.settle();
        id
    }

    /// The first upload with the same metadata; an id ends in the number of its creation.
    pub(super) fn like<'u>(&'u self, id: &'u str) -> &'u str {
        let metadata = &self.map[id].metadata;
        let same = self.map.iter().filter(|(_, one)| one.metadata == *metadata);
        same.map(|(id, _)| id.as_str())
            .min_by_key(|id| (id.len(), &id[16..]))
            .unwrap_or(id)
    }

    /// The upload, or 404 or 410.
    pub(super) fn find(&mut self, id: &str) -> Result<&mut Upload, Answer> {
        self.expire(id);
        let upload = self.map.get_mut(id).ok_or(Answer::new(404))?;
        match upload.fate {
            Fate::Alive => Ok(upload),
            Fate::Deleted => Err(Answer::new(404)),
            Fate::Gone => Err(Answer::new(410)),
        }
    }

    /// As `find`, with the flaws of those who look at less before a PATCH.
    pub(super) fn find_to_write(&mut self, id: &str) -> Result<&mut Upload, Answer> {
        self.expire(id);
        let blind = match self.map.get(id).map(|upload| upload.fate) {
            Some(Fate::Deleted) => self.has(Flaw::DeletedPatched),
            Some(Fate::Gone) => self.has(Flaw::ExpiredPatched),
            Some(Fate::Alive) | None => false,
        };
        if blind {
            self.map.get_mut(id).ok_or(Answer::new(404))
        } else {
            self.find(id)
        }
    }

    pub(super) fn is_complete(&self, upload: &Upload) -> bool {
        match upload.kind {
            Kind::Final { joined, .. } => joined,
            _ if upload.length == Some(0) && self.has(Flaw::EmptyNeverComplete) => false,
            _ => upload.length == Some(upload.offset()),
        }
    }

    /// When the upload expires; finished ones do not.
    pub(super) fn expires(&self, id: &str) -> Option<String> {
        let upload = self.map.get(id)?;
        (!self.is_complete(upload)).then(|| date::imf(upload.expires))
    }

    fn expire(&mut self, id: &str) {
        let Some(upload) = self.map.get(id) else {
            return;
        };
        let early = if self.has(Flaw::ExpiresEarly) { 2 } else { 0 };
        let due = date::now() >= (upload.expires - early) * 1000;
        let may = !self.is_complete(upload) || self.has(Flaw::FinishedExpires);
        // What is being written does not expire, however slowly.
        let idle = upload.writer.is_none() && upload.fate == Fate::Alive;
        let keeps = self.has(Flaw::ExpiredPatched);
        if due
            && may
            && idle
            && !self.has(Flaw::ExpiredServed)
            && let Some(upload) = self.map.get_mut(id)
        {
            upload.fate = Fate::Gone;
            if !keeps {
                upload.data = Vec::new();
            }
        }
    }

    /// Something happened to an upload: it lives on, and so do final uploads that wait for it, and their parts.
    pub(super) fn touch(&mut self, id: &str) {
        let expires = date::now().div_ceil(1000) + LIFE;
        self.touches += 1;
        if let Some(upload) = self.map.get_mut(id) {
            upload.touched = self.touches;
        }
        let mut all = vec![id.to_owned()];
        for (name, upload) in &self.map {
            if let Kind::Final {
                parts,
                joined: false,
            } = &upload.kind
                && (name == id || parts.iter().any(|part| part == id))
            {
                all.push(name.clone());
                all.extend(parts.iter().cloned());
            }
        }
        for id in all {
            if let Some(upload) = self.map.get_mut(&id) {
                upload.expires = expires;
            }
        }
    }

    /// The length of a final upload, once all its parts have theirs.
    pub(super) fn sum(&self, parts: &[String]) -> Option<u64> {
        parts.iter().try_fold(0_u64, |sum, part| {
            Some(sum.saturating_add(self.map.get(part)?.length?))
        })
    }

    /// Joins the final uploads whose parts are complete, and gives up those that can no longer be joined.
    pub(super) fn settle(&mut self) {
        if self.has(Flaw::UnfinishedForever) {
            return;
        }
        let waiting: Vec<String> = self
            .map
            .iter()
            .filter(|(_, upload)| matches!(upload.kind, Kind::Final { joined: false, .. }))
            .map(|(id, _)| id.clone())
            .collect();
        for id in waiting {
            self.join(&id);
        }
    }

    /// Joins a final upload if it can be.
    pub(super) fn join(&mut self, id: &str) {
        let Some(Upload {
            kind: Kind::Final { parts, .. },
            ..
        }) = self.map.get(id)
        else {
            return;
        };
        let mut data = Vec::new();
        let mut lost =
            self.sum(parts).is_some_and(|sum| sum > MAX_SIZE) && !self.has(Flaw::ConcatPastMax);
        let mut done = true;
        for part in parts {
            match self.map.get(part) {
                Some(part) if part.fate == Fate::Alive => {
                    done &= self.is_complete(part);
                    data.extend_from_slice(&part.data);
                }
                _ if self.has(Flaw::UnfinishedWithoutDeleted) => {}
                _ => lost = true,
            }
        }
        if let Some(upload) = self.map.get_mut(id) {
            if lost {
                upload.fate = Fate::Gone;
            } else if done && let Kind::Final { joined, .. } = &mut upload.kind {
                *joined = true;
                upload.length = Some(data.len() as u64);
                upload.data = data;
            }
        }
    }
}
