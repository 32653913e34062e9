//! A session's directory, for people to look at: `metadata.json`, written once, and `progress.json`, rewritten when the
//! session's state changes, for chunks at most once a second. Nothing is ever read back from them, and a failure to write them
//! is no failure of the session.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tracing::warn;

use super::super::table::Entry;
use super::super::{Inner, now};
use super::look::view;
use super::{Notes, Session, SessionView};
use crate::error::ranges;
use crate::protocol::expires::rfc3339;
use crate::protocol::metadata::UploadMetadata;
use crate::state::StateError;
use crate::upload::UploadId;

/// How often a chunk rewrites its session's progress.
const EVERY: Duration = Duration::from_secs(1);

impl SessionView {
    /// The metadata as text, the file's name left out.
    #[must_use]
    pub fn metadata(&self) -> Vec<(String, String)> {
        let raw = self.metadata.as_deref().unwrap_or_default();
        let metadata = UploadMetadata::parse(raw);
        let pairs = metadata.iter().flat_map(UploadMetadata::pairs);
        pairs
            .filter(|(key, _)| *key != "filename")
            .map(|(key, value)| (key.to_owned(), String::from_utf8_lossy(&value).into_owned()))
            .collect()
    }
}

impl Inner {
    fn notes_of(&self, id: &UploadId) -> Option<PathBuf> {
        let notes = self.options.sessions.notes.as_ref()?;
        Some(notes.dir.join(id.as_str().replace('/', ",")))
    }

    /// Writes down how a session stands, where it is one.
    pub(in super::super) async fn note_state(&self, entry: &Entry) {
        let Some(session) = entry.session() else {
            return;
        };
        let id = entry.id.clone();
        // One that is just being loaded is in nobody's sight yet.
        let (Some(dir), Some(entry)) = (self.notes_of(&id), self.table.peek(&id)) else {
            return;
        };
        let Some(notes) = self.options.sessions.notes.clone() else {
            return;
        };
        let write = move || notes.write(&dir, &entry, &session);
        let written = tokio::task::spawn_blocking(write);
        if let Ok(Err(error)) = written.await {
            warn!(%id, %error, "a session's notes could not be written");
        }
    }

    /// The same after a chunk, once for all chunks of a while.
    pub(super) fn note_soon(self: &Arc<Self>, entry: &Arc<Entry>, session: &Arc<Session>) {
        if self.options.sessions.notes.is_none() || session.to_be_noted.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let (inner, entry, session) = (self.clone(), entry.clone(), session.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = inner.stop.cancelled() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            session.to_be_noted.store(false, Ordering::Release);
            inner.note_state(&entry).await;
        });
    }

    /// The notes of a session that has ended go.
    pub(in super::super) async fn remove_notes(&self, entry: &Arc<Entry>) {
        let (Some(dir), Some(session)) = (self.notes_of(&entry.id), entry.session()) else {
            return;
        };
        let removed = tokio::task::spawn_blocking(move || {
            let _writing = session
                .writing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            remove(&dir)
        });
        if let Ok(Err(error)) = removed.await {
            warn!(id = %entry.id, %error, "a session's notes are removed later");
        }
    }

    /// Removes the notes of sessions that are not there any more: what a crash left.
    pub(in super::super) async fn sweep_notes(&self) {
        let Some(Notes { dir, .. }) = self.options.sessions.notes.clone() else {
            return;
        };
        let listed = tokio::task::spawn_blocking(move || names(&dir)).await;
        for id in listed.unwrap_or_default() {
            // A session that is being made has its lock held until it is there.
            let Some(_guard) = self.locks.try_lock(&id) else {
                continue;
            };
            let gone = match self.state.get(&id).await {
                Ok(record) => record.is_none_or(|record| record.is_tombstone()),
                Err(StateError::Damaged(_) | StateError::Store(_) | StateError::Conflict) => false,
            };
            if let (true, Some(dir)) = (gone, self.notes_of(&id))
                && let Ok(Err(error)) = tokio::task::spawn_blocking(move || remove(&dir)).await
            {
                warn!(%id, %error, "a session's notes stay");
            }
        }
    }
}

/// Every directory that is named as a session.
fn names(all: &Path) -> Vec<UploadId> {
    let entries = std::fs::read_dir(all).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn remove(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Notes {
    /// Writes what is missing or has changed, one writer at a time, so that the newest state is the one that stays.
    fn write(&self, dir: &Path, entry: &Entry, session: &Session) -> io::Result<()> {
        let _writing = session
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if entry.record().is_tombstone() {
            return Ok(());
        }
        let view = view(entry, session);
        let metadata = dir.join("metadata.json");
        if !metadata.exists() {
            let mut made = DirBuilder::new();
            made.recursive(true).mode(self.dir_mode).create(dir)?;
            self.replace(&metadata, &about(&view))?;
        }
        self.replace(&dir.join("progress.json"), &progress(&view, session))
    }

    fn replace(&self, path: &Path, value: &Value) -> io::Result<()> {
        let draft = path.with_extension("json~");
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        options
            .mode(self.file_mode)
            .open(&draft)?
            .write_all(&text)?;
        std::fs::rename(&draft, path)
    }
}

fn about(view: &SessionView) -> Value {
    json!({
        "session_id": view.id.as_str(),
        "original_filename": view.filename,
        "size": view.size,
        "chunk_size": view.chunk_size,
        "total_chunks": view.total_chunks,
        "file_hash": view.file_hash,
        "verify": view.verify,
        "priority": view.priority,
        "metadata": view.metadata().into_iter().collect::<BTreeMap<_, _>>(),
        "created_at": rfc3339(view.created),
    })
}

fn progress(view: &SessionView, session: &Session) -> Value {
    let missing = if view.status == "completed" {
        Vec::new()
    } else {
        session.missing()
    };
    json!({
        "session_id": view.id.as_str(),
        "status": view.status,
        "bytes_transferred": view.bytes,
        "size": view.size,
        "uploaded_chunks": view.uploaded.len(),
        "total_chunks": view.total_chunks,
        "missing_ranges": ranges(&missing),
        "updated_at": rfc3339(now()),
    })
}
