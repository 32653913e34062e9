//! A new session, and whose it is.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tracing::error;

use super::super::table::Image;
use super::super::{Engine, Inner, now};
use super::{Facts, MAX_CHUNKS, OwnedSession, Priority, Session};
use crate::error::Reject;
use crate::protocol::sha256::Sum;
use crate::upload::{Kind, Record, UploadId};

/// A session to create.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// What the client calls the file; never a path here.
    pub filename: String,
    /// Its bytes.
    pub size: u64,
    /// Bytes of a chunk; `None`: as the server likes it.
    pub chunk_size: Option<u64>,
    /// The whole file's SHA-256, to be checked at the end.
    pub file_hash: Option<Sum>,
    /// Whether each chunk must come with its own.
    pub verify: bool,
    /// How urgent.
    pub priority: Priority,
    /// As `Upload-Metadata`, the file's name included.
    pub metadata: Bytes,
}

impl Engine {
    /// A new session, and its token, which is told only here.
    ///
    /// # Errors
    /// `DiskLow`, `TooLarge`, `ChunkSize`, `TooManyChunks`, or what storage says; nothing is left behind then.
    pub async fn create_session(&self, new: NewSession) -> Result<(OwnedSession, String), Reject> {
        let inner = self.inner.clone();
        self.inner
            .run(async move { inner.create_session(new).await })
            .await
    }

    /// The session, whatever its state, if the token is its own.
    ///
    /// # Errors
    /// `NotFound`, whether there is no such session or the token is another's.
    pub async fn session(&self, id: &UploadId, token: &str) -> Result<OwnedSession, Reject> {
        let entry = self.inner.entry(id).await?;
        let session = entry.session().filter(|session| session.admits(token));
        let session = session.ok_or(Reject::NotFound)?;
        Ok(OwnedSession { session, entry })
    }

    /// Whether whoever shows these tokens may use an upload: a session and its chunks are their owner's alone. That an upload is
    /// not there is told by whatever is done with it.
    ///
    /// # Errors
    /// `NotFound`, as if there were no such upload; what storage says.
    pub async fn permit<'t>(
        &self,
        id: &UploadId,
        tokens: impl IntoIterator<Item = &'t str>,
    ) -> Result<(), Reject> {
        let entry = match self.inner.entry(id).await {
            Ok(entry) => entry,
            Err(Reject::NotFound) => return Ok(()),
            // Whose it is cannot be told now.
            Err(reject) => return Err(reject),
        };
        let session = match (entry.session(), entry.chunk()) {
            (None, Some(chunk)) => self.inner.entry(&chunk.session).await?.session(),
            (session, _) => session,
        };
        let Some(session) = session else {
            return Ok(());
        };
        let mut tokens = tokens.into_iter();
        let admitted = tokens.any(|token| session.admits(token));
        admitted.then_some(()).ok_or(Reject::NotFound)
    }
}

impl Inner {
    async fn create_session(
        self: Arc<Self>,
        new: NewSession,
    ) -> Result<(OwnedSession, String), Reject> {
        self.levels.admits()?;
        let chunk_size = self.chunk_size(&new)?;
        let token = token()?;
        let facts = Facts {
            filename: new.filename,
            chunk_size,
            parallel: self.options.sessions.parallel,
            verify: new.verify,
            priority: new.priority,
            file_hash: new.file_hash,
            token: Sum::of(token.as_bytes()),
        };
        let id = UploadId::random();
        // Its files are no orphans while there is no record yet.
        let _held = self.locks.try_lock(&id);
        let record = Record::new(Kind::Final, Some(new.size), now());
        let mut image = Image::new(&id, record);
        image.metadata = Some(new.metadata);
        image.session = Some(Arc::new(Session::new(&id, facts, new.size)));
        self.introduce(id.clone(), image, Vec::new()).await?;
        let entry = self.entry(&id).await?;
        let session = entry.session().ok_or(Reject::NotFound)?;
        self.note_state(&entry).await;
        Ok((OwnedSession { session, entry }, token))
    }

    fn chunk_size(&self, new: &NewSession) -> Result<u64, Reject> {
        let options = &self.options;
        let limit = options.max_size;
        if new.size > limit {
            return Err(Reject::TooLarge { limit });
        }
        let (least, most) = (options.sessions.chunk_min, options.sessions.chunk_max);
        let size = match new.chunk_size {
            Some(size) if (least..=most).contains(&size) => size,
            Some(_) => return Err(Reject::ChunkSize { least, most }),
            // A file for which the usual size would make too many of them gets larger ones.
            None => {
                let usual = options.sessions.chunk_size;
                let needed = new.size.div_ceil(MAX_CHUNKS);
                let larger = needed.next_multiple_of(64 << 10).min(most);
                if needed <= usual { usual } else { larger }
            }
        };
        if new.size.div_ceil(size) > MAX_CHUNKS {
            return Err(Reject::TooManyChunks { most: MAX_CHUNKS });
        }
        Ok(size)
    }
}

/// 32 bytes that nobody can guess.
fn token() -> Result<String, Reject> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| {
        error!(%error, "the system gives no random bytes");
        Reject::Panicked
    })?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}
