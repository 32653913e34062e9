//! A new session, and whose it is.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tracing::error;

use super::super::table::{Entry, Image};
use super::super::{Engine, Inner, now};
use super::{Facts, MAX_CHUNKS, OwnedSession, Priority, Session};
use crate::blob::ChosenPath;
use crate::error::Reject;
use crate::protocol::sha256::Sum;
use crate::security::auth::Who;
use crate::security::user::{OwnRates, Owner, User};
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
    /// Who creates it; `None`: nobody is asked.
    pub by: Option<Arc<User>>,
    /// What it is to be called, without `/`; `None`: as nothing else is.
    pub id: Option<UploadId>,
    /// Where its file is to lie once it is complete; `None`: where its name has it.
    pub path: Option<ChosenPath>,
}

impl Engine {
    /// A new session, and its token, which is told only here.
    ///
    /// # Errors
    /// `DiskLow`, `TooLarge`, `TooSmall`, `TypeNotAllowed`, `QuotaExceeded`, `TooManyOpen`, `ChunkSize`, `TooManyChunks`, or what storage says; nothing is left behind then.
    pub async fn create_session(&self, new: NewSession) -> Result<(OwnedSession, String), Reject> {
        let inner = self.inner.clone();
        self.inner
            .run(async move { inner.create_session(new).await })
            .await
    }

    /// The session, whatever its state, if it is this one's: by its token, or its owner's credential.
    ///
    /// # Errors
    /// As [`Engine::permit`]; `NotFound` as well where there is no such session, or it is no session.
    pub async fn session(&self, id: &UploadId, who: &Who) -> Result<OwnedSession, Reject> {
        self.permit(id, who).await?;
        let entry = self.inner.entry(id).await?;
        let session = entry.session().ok_or(Reject::NotFound)?;
        Ok(OwnedSession { session, entry })
    }

    /// Whether an upload is this one's to use: everybody's own alone where users are told apart, and a session with its chunks
    /// by its token as well, which is asked for even where they are not. That there is no such upload is told here too: what
    /// is looked at later, as a malformed header, would tell the one from the other.
    ///
    /// Answers whose it is, where its token alone opens it.
    ///
    /// # Errors
    /// `NotFound` for what is another's as for what is not there; `Unauthorized` for whoever is no user and shows no token of it, whether
    /// there is such an upload or not; what storage says.
    pub async fn permit(&self, id: &UploadId, who: &Who) -> Result<Option<Owner>, Reject> {
        let (entry, key) = self.owned(id, who).await?;
        let session = entry.session().filter(|_| key.is_some());
        let owner = &entry.image().record.owner;
        Ok(session.and_then(|session| session.owner(owner.as_ref())))
    }

    /// The same, with the token of a session that opens it, where nothing else does.
    ///
    /// # Errors
    /// As [`Engine::permit`].
    pub async fn opened<'w>(&self, id: &UploadId, who: &'w Who) -> Result<Option<&'w str>, Reject> {
        Ok(self.owned(id, who).await?.1)
    }

    /// The upload, of a chunk its session, and the token that opens it, where nothing else does.
    async fn owned<'w>(
        &self,
        id: &UploadId,
        who: &'w Who,
    ) -> Result<(Arc<Entry>, Option<&'w str>), Reject> {
        let refused = || {
            if who.is_known() {
                Reject::NotFound
            } else {
                Reject::Unauthorized
            }
        };
        let found = async {
            let entry = self.inner.entry(id).await?;
            match entry.chunk() {
                // What a chunk belongs to is its session's.
                Some(chunk) => self.inner.entry(&chunk.session).await,
                None => Ok(entry),
            }
        };
        let entry = match found.await {
            Ok(entry) => entry,
            Err(Reject::NotFound) => return Err(refused()),
            // That it cannot be loaded is for its owner alone to know.
            Err(reject) => {
                let stored = self.inner.state.get(id).await;
                let foreign = matches!(&stored, Ok(record) if !who.owns(record.as_ref().and_then(|record| record.owner.as_ref())));
                return Err(if foreign { refused() } else { reject });
            }
        };
        let owns = who.owns(entry.image().record.owner.as_ref());
        let key = match entry.session() {
            Some(session) if !owns || who.user().is_none() => {
                let token = who.tokens().find(|token| session.admits(token));
                token.map(Some).ok_or_else(refused)
            }
            _ => owns.then_some(None).ok_or_else(refused),
        };
        Ok((entry, key?))
    }
}

impl Inner {
    async fn create_session(
        self: Arc<Self>,
        new: NewSession,
    ) -> Result<(OwnedSession, String), Reject> {
        self.levels.admits()?;
        let chunk_size = self.chunk_size(&new)?;
        let metadata = self.named_well(Some(new.metadata))?;
        let by = new.by.as_deref();
        self.judge_type(metadata.as_deref(), by, false)?;
        // Under the session's own name: its record takes the reservation's place.
        let (id, _held) = self.name_for(new.id).await?;
        let _reserved = self.reserve(&id, by, (new.size, true))?;
        let token = token()?;
        let facts = Facts {
            filename: self.options.content.names.name(new.filename),
            chunk_size,
            parallel: self.options.sessions.parallel,
            verify: new.verify,
            priority: new.priority,
            file_hash: new.file_hash,
            token: Sum::of(token.as_bytes()),
            rates: by
                .map(|user| user.limits.rates())
                .filter(|rates| *rates != OwnRates::default()),
        };
        let record = Record {
            owner: new.by.as_ref().map(|user| user.id.clone()),
            ..Record::new(Kind::Final, Some(new.size), now())
        };
        let mut image = Image::new(&id, record);
        image.metadata = metadata;
        image.session = Some(Arc::new(Session::new(&id, facts, new.size)));
        let claim = self.claim(&id, new.path.as_ref()).await?;
        image.path = new.path;
        self.introduce(id.clone(), image, Vec::new()).await?;
        claim.keep();
        let entry = self.entry(&id).await?;
        let session = entry.session().ok_or(Reject::NotFound)?;
        self.note_state(&entry).await;
        Ok((OwnedSession { session, entry }, token))
    }

    fn chunk_size(&self, new: &NewSession) -> Result<u64, Reject> {
        let options = &self.options;
        self.judge_size(Some(new.size), false, new.by.as_deref())?;
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
