//! The SHA-256 of complete uploads, where it is wanted: worked out on the way in as long as the bytes of a plain upload come one
//! after the other, and by reading them, in small steps and behind everybody else, where they did not. What was worked out
//! of an unfinished upload is stored with its offset, and goes on after a restart.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::ingest::Ingest;
use super::read::where_it_lies;
use super::table::Entry;
use super::{Inner, More, load};
use crate::blob::{Blob, BlobError};
use crate::error::Reject;
use crate::protocol::sha256::{Hasher, Sum};
use crate::state::{Detail, Promise};
use crate::upload::{Kind, Priority, Record, UploadId};

/// Bytes read between two looks at the world.
const STEP: u64 = 4 << 20;
/// What was lost of a hash on the way in, by a crash or a newcomer, is read again at once if it is no more than this.
const GAP: u64 = 16 << 20;

/// What is known of the hash of an upload.
#[derive(Clone)]
pub(crate) enum Digested {
    /// Of its first bytes, so many of them.
    Begun(u64, Hasher),
    /// Of all.
    Whole(Sum),
}

/// The same, as it is stored.
#[derive(Serialize, Deserialize)]
enum Stored {
    /// After so many power cuts: after another one the bytes may be others.
    Begun(u32, u64, Vec<u8>),
    Whole(Sum),
}

impl Digested {
    fn to_detail(&self, power_cuts: u32) -> (Detail, Option<Vec<u8>>) {
        let stored = match self {
            Self::Begun(at, hasher) => Stored::Begun(power_cuts, *at, hasher.save()),
            Self::Whole(sum) => Stored::Whole(*sum),
        };
        (Detail::Digest, Some(load::encode(&stored)))
    }

    fn from_bytes(bytes: &[u8], power_cuts: u32) -> Option<Self> {
        match postcard::from_bytes(bytes).ok()? {
            Stored::Begun(cuts, at, state) if cuts == power_cuts => {
                Some(Self::Begun(at, Hasher::restore(&state)?))
            }
            Stored::Begun(..) => None,
            Stored::Whole(sum) => Some(Self::Whole(sum)),
        }
    }
}

/// A complete upload that is read for its hash, and how far.
struct Reading {
    at: u64,
    length: u64,
    hasher: Hasher,
}

impl Reading {
    fn of(entry: &Entry) -> Self {
        let length = entry.record().offset;
        let begun = entry.image().digest.as_deref().cloned();
        let (at, hasher) = match begun {
            Some(Digested::Begun(at, hasher)) if at <= length => (at, hasher),
            _ => (0, Hasher::default()),
        };
        Self { at, length, hasher }
    }
}

impl Entry {
    /// The hash of a complete upload, if it is known.
    pub(super) fn known_sum(&self) -> Option<Sum> {
        let image = self.image();
        match image.digest.as_deref() {
            Some(Digested::Whole(sum)) => Some(*sum),
            // A session is complete only if it has the one that was named for it.
            _ => image.session.as_ref()?.facts.file_hash,
        }
    }
}

impl Inner {
    /// What the state store has of it.
    pub(super) async fn load_digest(
        &self,
        id: &UploadId,
        record: &Record,
    ) -> Result<Option<Box<Digested>>, Reject> {
        if !self.options.hooks.digest || record.kind == Kind::Partial {
            return Ok(None);
        }
        let stored = self.state.detail(id, Detail::Digest).await?;
        let found = stored.and_then(|bytes| Digested::from_bytes(&bytes, self.options.power_cuts));
        Ok(found.map(Box::new))
    }

    /// Where a body begins, and the hash of what comes before it, to go on with.
    pub(super) async fn hash_before(&self, entry: &Entry, base: u64) -> Option<(u64, Hasher)> {
        if !self.options.hooks.digest || entry.record().kind != Kind::Plain {
            return None;
        }
        let begun = entry.image().digest.as_deref().cloned();
        let (at, hasher) = match begun {
            Some(Digested::Begun(at, hasher)) => (at, hasher),
            Some(Digested::Whole(_)) => return None,
            None => (0, Hasher::default()),
        };
        if at > base || base - at > GAP {
            return None;
        }
        let hash = self.hash(entry, at..base, hasher, Hasher::update).await;
        let hash = hash
            .inspect_err(|error| warn!(id = %entry.id, %error, "an upload is hashed at its end"));
        Some((base, hash.ok()?))
    }

    /// What is known of the hash once a body counts up to `end`.
    pub(super) fn hash_after(ingest: &mut Ingest<'_>, end: u64) -> Option<Box<Digested>> {
        let (at, hasher) = ingest.whole.take()?;
        (at == end).then(|| Box::new(Digested::Begun(end, hasher)))
    }

    /// As it is stored with the offset.
    pub(super) fn hash_detail(
        &self,
        digested: Option<&Digested>,
    ) -> Option<(Detail, Option<Vec<u8>>)> {
        Some(digested?.to_detail(self.options.power_cuts))
    }

    /// An upload becomes complete with `length` bytes: what is to be stored of its hash, if that has come so far.
    pub(super) fn hash_of_complete(
        &self,
        entry: &Entry,
        length: u64,
    ) -> Option<(Detail, Option<Vec<u8>>)> {
        let mut image = entry.image();
        let Some(Digested::Begun(at, hasher)) = image.digest.as_deref() else {
            return None;
        };
        if *at != length {
            return None;
        }
        let whole = Digested::Whole(hasher.clone().finish());
        let detail = whole.to_detail(self.options.power_cuts);
        image.digest = Some(Box::new(whole));
        Some(detail)
    }

    /// The hash of a complete upload; read if need be, one upload at a time, the most urgent first.
    pub(super) async fn digest(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        priority: Priority,
        number: u64,
    ) -> Result<Sum, Reject> {
        if let Some(sum) = entry.known_sum() {
            return Ok(sum);
        }
        let mut turn = self.digesting.take(priority, number).await;
        let entry = self.usable(&entry.id).await?;
        if let Some(sum) = entry.known_sum() {
            return Ok(sum);
        }
        let began = Instant::now();
        let mut reading = Reading::of(&entry);
        while self.read_on(&entry, &mut reading).await? {
            if self.digesting.is_urged_by_more_than(priority) {
                drop(turn);
                turn = self.digesting.take(priority, number).await;
            }
        }
        let sum = reading.hasher.finish();
        let seconds = began.elapsed().as_secs_f64();
        debug!(id = %entry.id, length = entry.record().offset, seconds, "a complete upload was read for its hash");
        let _guard = self.hold(&entry.id, false).await?;
        let entry = self.usable(&entry.id).await?;
        let whole = Digested::Whole(sum);
        let more = More {
            details: vec![whole.to_detail(self.options.power_cuts)],
            ..More::default()
        };
        self.change(&entry, entry.record(), Promise::Queued, more)
            .await?;
        entry.image().digest = Some(Box::new(whole));
        Ok(sum)
    }

    /// One step of it; whether there is more.
    async fn read_on(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        reading: &mut Reading,
    ) -> Result<bool, Reject> {
        if reading.at >= reading.length {
            return Ok(false);
        }
        // Nobody needs the hash of what is gone.
        self.usable(&entry.id).await?;
        let began = Instant::now();
        let end = reading.length.min(reading.at + STEP);
        let pieces = self.pieces(entry, reading.at, end).await?;
        let mut hasher = std::mem::take(&mut reading.hasher);
        // Off the workers, which have requests to serve.
        let update = move || {
            for piece in &pieces {
                hasher.update(piece);
            }
            hasher
        };
        let hashed = tokio::task::spawn_blocking(update).await;
        reading.hasher = hashed.map_err(|_| Reject::Panicked)?;
        reading.at = end;
        if self.appending.load(Ordering::Relaxed) > 0 {
            // Uploads come first: a quarter of the time is enough for reading beside them.
            let pause =
                (began.elapsed() * 3).clamp(Duration::from_millis(2), Duration::from_secs(1));
            tokio::time::sleep(pause).await;
        }
        Ok(true)
    }

    /// Stored bytes. Files that were moved meanwhile are found where they are.
    pub(super) async fn pieces(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        at: u64,
        end: u64,
    ) -> Result<Vec<Bytes>, Reject> {
        if at == end {
            return Ok(Vec::new());
        }
        let _reading = entry.readers.clone();
        let read = |blob: Arc<Blob>| async move {
            let pieces = self.blobs.read(&blob, at..end).await?;
            pieces.try_collect().await
        };
        match where_it_lies(entry, read).await {
            Err(BlobError::Lost) => {
                self.found_lost(&entry.id).await?;
                Err(Reject::BlobLost)
            }
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_goes_on_after_a_restart_and_not_after_a_power_cut() {
        let mut hasher = Hasher::default();
        hasher.update(b"hel");
        let (_, stored) = Digested::Begun(3, hasher).to_detail(7);
        let stored = stored.unwrap();
        let Some(Digested::Begun(3, mut hasher)) = Digested::from_bytes(&stored, 7) else {
            panic!("it goes on");
        };
        hasher.update(b"lo");
        assert_eq!(hasher.finish(), Sum::of(b"hello"));
        assert!(Digested::from_bytes(&stored, 8).is_none());
        let (_, whole) = Digested::Whole(Sum::of(b"x")).to_detail(7);
        let whole = Digested::from_bytes(&whole.unwrap(), 8);
        assert!(matches!(whole, Some(Digested::Whole(sum)) if sum == Sum::of(b"x")));
        assert!(Digested::from_bytes(b"garbage", 7).is_none());
    }
}
