#![doc = include_str!("EVENTS.md")]

use std::sync::Arc;

use serde::Serialize;

use crate::protocol::expires::rfc3339_millis;
use crate::upload::{Millis, Status, UploadId};

/// Bytes of a chunk, for uploads whose chunks have no size of their own.
const CHUNK: u64 = 1 << 20;
/// Code points of a client's text that an error repeats.
const ECHO: usize = 200;

/// What happened to an upload. `progress`, `snapshot`, `resync` and `error` are not here: they tell how something is, and take
/// no sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is there.
    Created,
    /// Bytes are stored for good: first and one past the last, and the chunk's number where chunks have numbers.
    Stored {
        /// From 1.
        chunk: Option<u64>,
        /// Position of the first byte.
        start: u64,
        /// Position after the last byte.
        end: u64,
    },
    /// Bytes were refused after they came, with the code of the HTTP answer.
    ChunkFailed {
        /// From 1, where chunks have numbers.
        chunk: Option<u64>,
        /// As in the answer.
        code: &'static str,
    },
    /// A checksum that the client gave was right.
    Validated,
    /// Every byte is there, and is being put into one file.
    AssemblyStarted,
    /// Nothing is left to do.
    Completed,
    /// It is of no use any more.
    Failed {
        /// As the answers to requests for it have it from now on.
        code: &'static str,
    },
    /// Terminated.
    Cancelled,
    /// Its time ran out.
    Expired,
    /// No byte comes: with the code of the answer where a body ended early, without one where it is only silent.
    Paused {
        /// As in the answer.
        code: Option<&'static str>,
    },
    /// Bytes come again.
    Resumed,
    /// Every byte is there, and is looked through for malware.
    ScanStarted,
    /// That is done; the event that follows tells what became of the upload.
    ScanFinished {
        /// `clean`, `infected`, or `unscanned` for what could not be looked through.
        verdict: &'static str,
    },
    /// It was handed on: whoever works on it next has its job.
    JobCreated,
    /// It could not be handed on.
    JobFailed {
        /// Why.
        code: &'static str,
    },
}

impl What {
    /// `event` on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created => "upload_created",
            Self::Stored { .. } => "chunk_uploaded",
            Self::ChunkFailed { .. } => "chunk_failed",
            Self::Validated => "validation_complete",
            Self::AssemblyStarted => "assembly_started",
            Self::Completed => "upload_completed",
            Self::Failed { .. } => "upload_failed",
            Self::Cancelled => "upload_cancelled",
            Self::Expired => "upload_expired",
            Self::Paused { .. } => "upload_paused",
            Self::Resumed => "upload_resumed",
            Self::ScanStarted => "scan_started",
            Self::ScanFinished { .. } => "scan_finished",
            Self::JobCreated => "job_created",
            Self::JobFailed { .. } => "job_failed",
        }
    }
}

/// An upload as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Where in its life.
    pub status: Status,
    /// Bytes that are safe, as HEAD tells them; of a final that waits, its parts' together.
    pub offset: u64,
    /// In bytes, where it is known.
    pub length: Option<u64>,
    /// Chunks that are missing, and all of them, where chunks have a size of their own; else the length is divided.
    pub chunks: Option<(u64, u64)>,
    /// Of a final that waits for its parts.
    pub parts: Option<Arc<[Part]>>,
    /// For how long the body that comes now has been silent; `None` if none comes.
    pub silent: Option<std::time::Duration>,
}

/// A part of a final that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Which.
    pub upload_id: UploadId,
    /// Bytes that are safe.
    pub bytes_transferred: u64,
    /// In bytes, where it is known.
    pub total_bytes: Option<u64>,
}

/// The figures that every message has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    pub(super) status: Status,
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
    pub(super) chunks: Option<(u64, u64)>,
    /// Bytes a second.
    pub(super) rate: u64,
}

/// What happened, when, and how the upload was then.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) time: Millis,
    pub(super) what: What,
    pub(super) figures: Figures,
}

/// A message, as JSON has it.
#[derive(Serialize)]
struct Wire<'a> {
    event: &'static str,
    upload_id: &'a UploadId,
    time: String,
    sequence: u64,
    status: &'static str,
    bytes_transferred: u64,
    total_bytes: Option<u64>,
    chunks_remaining: Option<u64>,
    total_chunks: Option<u64>,
    rate_bytes_per_second: u64,
    estimated_time_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[u64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<&'a [Part]>,
}

#[derive(Serialize)]
struct Problem<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_id: Option<&'a str>,
    time: String,
    code: &'a str,
    detail: &'a str,
}

#[derive(Serialize)]
struct Disk<'a> {
    event: &'static str,
    time: String,
    level: &'a str,
    free_bytes: u64,
    total_bytes: u64,
}

/// What a snapshot has beside the figures.
pub(super) struct Stand<'a> {
    pub(super) paused: bool,
    pub(super) parts: Option<&'a [Part]>,
    pub(super) code: Option<&'static str>,
}

impl Event {
    pub(super) fn to_json(&self, id: &UploadId, sequence: u64) -> String {
        let mut wire = wire(self.what.name(), id, self.time, sequence, &self.figures);
        match self.what {
            What::Stored { chunk, start, end } => {
                wire.chunk = chunk;
                wire.range = Some([start, end.saturating_sub(1)]);
            }
            What::ChunkFailed { chunk, code } => {
                wire.chunk = chunk;
                wire.code = Some(code);
            }
            What::Failed { code } | What::JobFailed { code } => wire.code = Some(code),
            What::Paused { code } => wire.code = code,
            What::ScanFinished { verdict } => wire.verdict = Some(verdict),
            _ => {}
        }
        text(&wire)
    }
}

/// How an upload stands: the first message of a subscription.
pub(super) fn snapshot(
    id: &UploadId,
    time: Millis,
    sequence: u64,
    figures: &Figures,
    stand: &Stand<'_>,
) -> String {
    text(&Wire {
        paused: Some(stand.paused),
        parts: stand.parts,
        code: stand.code,
        ..wire("snapshot", id, time, sequence, figures)
    })
}

/// How far it is, between two events.
pub(super) fn progress(
    id: &UploadId,
    time: Millis,
    sequence: u64,
    figures: &Figures,
    parts: Option<&[Part]>,
) -> String {
    text(&Wire {
        parts,
        ..wire("progress", id, time, sequence, figures)
    })
}

/// A request that is refused, with the code of the HTTP answer; `upload` is as the client wrote it.
#[must_use]
pub fn error(upload: Option<&str>, time: Millis, code: &str, detail: &str) -> String {
    let end = upload.and_then(|text| text.char_indices().nth(ECHO));
    let upload = upload.map(|text| end.map_or(text, |(end, _)| &text[..end]));
    text(&Problem {
        event: "error",
        upload_id: upload,
        time: rfc3339_millis(time),
        code,
        detail,
    })
}

/// To one who follows all uploads, and read nothing for so long that some of them are gone meanwhile.
pub(super) fn resync(time: Millis) -> String {
    text(&serde_json::json!({ "event": "resync", "time": rfc3339_millis(time) }))
}

/// To one who follows all uploads: the disk's level is another one now.
pub(super) fn disk_level(time: Millis, level: &str, free: u64, total: u64) -> String {
    text(&Disk {
        event: "disk_level",
        time: rfc3339_millis(time),
        level,
        free_bytes: free,
        total_bytes: total,
    })
}

fn text(message: &impl Serialize) -> String {
    // Strings and numbers always have a form in JSON.
    serde_json::to_string(message).unwrap_or_default()
}

fn wire<'a>(
    event: &'static str,
    id: &'a UploadId,
    time: Millis,
    sequence: u64,
    figures: &Figures,
) -> Wire<'a> {
    let chunks = figures.chunks.or_else(|| divided(figures));
    Wire {
        event,
        upload_id: id,
        time: rfc3339_millis(time),
        sequence,
        status: figures.status.name(),
        bytes_transferred: figures.offset,
        total_bytes: figures.length,
        chunks_remaining: chunks.map(|(remaining, _)| remaining),
        total_chunks: chunks.map(|(_, total)| total),
        rate_bytes_per_second: figures.rate,
        estimated_time_seconds: left(figures),
        chunk: None,
        range: None,
        code: None,
        verdict: None,
        paused: None,
        parts: None,
    }
}

fn divided(figures: &Figures) -> Option<(u64, u64)> {
    let length = figures.length?;
    let total = length.div_ceil(CHUNK);
    let done = if figures.offset >= length {
        total
    } else {
        figures.offset / CHUNK
    };
    Some((total - done, total))
}

/// Seconds to the last byte, to a tenth.
#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate: a double has more digits than it is good for"
)]
fn left(figures: &Figures) -> Option<f64> {
    let left = figures.length?.saturating_sub(figures.offset);
    match (left, figures.rate) {
        (0, _) => Some(0.0),
        (_, 0) => None,
        (left, rate) => Some((left as f64 / rate as f64 * 10.0).ceil() / 10.0),
    }
}

#[cfg(test)]
mod tests;
