//! Complete uploads are handed on: each is a job, which lies in the outbox until its receivers have it.

use std::sync::Arc;

use tracing::info;

use super::Inner;
use super::outbox::Letter;
use super::table::Entry;
use crate::error::Reject;
use crate::hooks::job::{Job, Range};
use crate::hooks::wire::Storage;
use crate::hooks::{Call, Event};
use crate::progress::What;
use crate::protocol::expires::rfc3339_millis;
use crate::security::sniff;
use crate::security::types::Declared;
use crate::upload::{Kind, Priority, Record};

impl Inner {
    /// What happens besides the hooks when an upload is complete. A part is no work of its own, its final is.
    pub(super) fn on_completion(entry: &Entry, after: &Record) -> Vec<Event> {
        let mut events = Vec::new();
        if after.kind != Kind::Partial {
            if entry.known_sum().is_none() {
                events.push(Event::Digest);
            }
            events.push(Event::Job);
        }
        events
    }

    /// What is told of an event that is no hook's.
    pub(super) fn own_call(&self, event: Event, entry: &Entry, record: &Record) -> Call {
        let call = self.job(entry, record).call();
        Call { event, ..call }
    }

    fn job(&self, entry: &Entry, record: &Record) -> Job {
        let told = self.told(entry, record);
        let metadata = told.metadata();
        let (mut path, mut segments) = (None, None);
        match told.storage {
            Storage::None => {}
            Storage::File(file) => path = Some(file),
            Storage::Segments(list) => {
                let range = |(path, start, length)| Range {
                    path,
                    start,
                    length,
                };
                segments = Some(list.into_iter().map(range).collect());
            }
        }
        let session = entry.session().map(|session| session.facts.priority);
        let named = metadata.get("priority").and_then(|text| text.parse().ok());
        let url = self.options.hooks.url.as_ref();
        Job {
            id: entry.id.clone(),
            key: key(entry, record),
            // A session that says nothing of it is a normal one, and its metadata may say more.
            priority: session
                .filter(|priority| *priority != Priority::default())
                .or(named)
                .unwrap_or_default(),
            path,
            segments,
            url: url.map(|base| format!("{base}{}", entry.id)),
            size: record.offset,
            sha256: entry.known_sum().filter(|_| self.options.hooks.digest),
            declared_type: Declared::by(told.metadata.as_deref()).media,
            detected_type: None,
            owner: told.owner,
            metadata,
            created: rfc3339_millis(record.created),
            completed: rfc3339_millis(super::now()),
        }
    }

    /// What must be done before a letter waits for its turn, and how urgent it is; `None`: it is not to go any more. Nothing of
    /// the upload is looked at without need: after a long time without a receiver there are many letters.
    pub(super) async fn make_ready(
        self: &Arc<Self>,
        number: u64,
        letter: &mut Letter,
    ) -> Result<Option<Priority>, Reject> {
        self.after_pre_finish(letter).await?;
        if !matches!(letter.call.event, Event::Job | Event::Digest) {
            return Ok(Some(Priority::default()));
        }
        let mut job = job_of(letter)?;
        if self.options.hooks.digest && job.sha256.is_none() {
            let Some(entry) = self.still_there(letter, &job).await? else {
                return Ok(None);
            };
            job.sha256 = Some(self.digest(&entry, job.priority, number).await?);
            letter.call.body = job.to_json();
        }
        Ok(Some(job.priority))
    }

    /// When it is a job's turn: where its upload is now, and of which type. Whether it is to go.
    pub(super) async fn fill_in(self: &Arc<Self>, letter: &mut Letter) -> Result<bool, Reject> {
        if letter.call.event != Event::Job {
            return Ok(true);
        }
        let mut job = job_of(letter)?;
        let Some(entry) = self.still_there(letter, &job).await? else {
            return Ok(false);
        };
        let now = self.job(&entry, &entry.record());
        (job.path, job.segments, job.url) = (now.path, now.segments, now.url);
        job.detected_type = self.detected(&entry).await?;
        letter.call.body = job.to_json();
        Ok(true)
    }

    /// The upload of a job, unless it has ended, or another one has its id.
    async fn still_there(
        self: &Arc<Self>,
        letter: &Letter,
        job: &Job,
    ) -> Result<Option<Arc<Entry>>, Reject> {
        let found = self.usable(&letter.upload).await;
        let gone = |reject: &Reject| matches!(reject.wire().0, 404 | 410);
        let entry = match found {
            Ok(entry) => Some(entry),
            Err(reject) if gone(&reject) => None,
            Err(reject) => return Err(reject),
        };
        let entry = entry.filter(|entry| {
            let record = entry.record();
            record.is_complete() && job.key == key(entry, &record)
        });
        if entry.is_none() {
            info!(id = %letter.upload, to = letter.to, "an upload has ended before it was handed on");
        }
        Ok(entry)
    }

    /// The type that an upload's first bytes are of.
    async fn detected(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<Option<String>, Reject> {
        let end = entry.record().offset.min(sniff::HEAD as u64);
        let head = self.pieces(entry, 0, end).await?.concat();
        Ok(sniff::detect(&head).map(str::to_owned))
    }

    /// Those who follow an upload are told what became of its job.
    pub(super) async fn tell_job(self: &Arc<Self>, letter: &Letter, what: What) {
        if letter.call.event == Event::Job
            && !self.hub.is_quiet()
            && let Ok(entry) = self.entry(&letter.upload).await
        {
            self.tell(&entry, what);
        }
    }
}

/// By which a receiver knows a job.
fn key(entry: &Entry, record: &Record) -> String {
    format!("{}:{}", entry.id, record.created)
}

fn job_of(letter: &Letter) -> Result<Job, Reject> {
    Job::of(&letter.call).map_err(|fault| Reject::HookFailed(fault.0))
}
