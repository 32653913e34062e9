//! Every failure a client can see, and the one table that gives each its status and its stable code.

mod excess;
mod missing;

pub use self::excess::Excessive;
pub use self::missing::{Missing, ranges};

use crate::blob::BlobError::{self, Fixed, Io, Taken};
use crate::hooks::Answer;
use crate::protocol::HeaderError;
use crate::security::admin::Verdict;
use crate::security::auth;
use crate::security::names::BadName;
use crate::security::types::NotAllowed;
use crate::state::StateError;
use crate::upload::Failure;

/// A request that is refused, or ended without success.
#[derive(Debug, thiserror::Error)]
pub enum Reject {
    /// A header is missing, repeated or malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// `Upload-Checksum` (or its trailer) names an algorithm that is not on offer.
    #[error("the checksum algorithm is not one of Tus-Checksum-Algorithm")]
    UnknownAlgorithm,
    /// The length was declared before, with another value.
    #[error("the length of this upload was declared before and cannot change")]
    LengthKnown,
    /// The declared length is below the offset.
    #[error("the declared length is shorter than what is stored already")]
    LengthTooShort,
    /// A part of a final is no partial upload of this server.
    #[error("{0:?} in Upload-Concat is not a partial upload of this server")]
    BadPart(String),
    /// A final of more parts than one can have.
    #[error("Upload-Concat names {0} parts; {max} are the most", max = crate::protocol::concat::MAX_PARTS)]
    TooManyParts(usize),
    /// The body ended before its announced end, or broke its own framing.
    #[error("the body ended early; what arrived is kept, go on at Upload-Offset")]
    BodyCut {
        /// The committed offset.
        offset: u64,
    },
    /// A final takes no bytes.
    #[error("a final upload is made of its parts and takes no bytes")]
    FinalIsFixed,
    /// The extension or method is switched off.
    #[error("this server's operator has switched {0} off")]
    Disabled(&'static str),
    /// No such upload (or not the client's).
    #[error("there is no such upload; create a new one")]
    NotFound,
    /// A path that is nobody's.
    #[error("there is nothing at this path; look at the address")]
    NoSuchResource,
    /// No such method on this resource.
    #[error("this resource takes {allow}")]
    MethodNotAllowed {
        /// What it takes, as in `Allow`.
        allow: &'static str,
    },
    /// A method or transfer coding that the server does not know.
    #[error("this server does not know {0}")]
    Unknown(&'static str),
    /// The client's offset is not the upload's.
    #[error("the upload is at Upload-Offset {actual}; send HEAD and go on from there")]
    OffsetMismatch {
        /// The upload's offset.
        actual: u64,
    },
    /// A download of an upload that is not finished.
    #[error("the upload is not finished and cannot be downloaded yet")]
    NotFinished,
    /// The upload's time ran out.
    #[error("the upload has expired; create a new one")]
    Expired,
    /// The upload's bytes are gone from the disk.
    #[error("the stored bytes of this upload are lost; create a new one")]
    BlobLost,
    /// A part that the final waited for is gone.
    #[error("a part of this final upload was terminated or expired before it was joined")]
    PartGone,
    /// The parts came to more than an upload may have.
    #[error("the parts of this final upload are larger together than an upload may be")]
    PartsTooLarge,
    /// The parts came to less than an upload must have.
    #[error("the parts of this final upload are smaller together than an upload must be")]
    PartsTooSmall,
    /// A page of an origin that is not allowed here.
    #[error("pages of this origin may not ask for this here")]
    ForeignOrigin,
    /// A request for progress that cannot be understood, and why.
    #[error("the request for progress cannot be understood: {0}")]
    BadSubscription(&'static str),
    /// More uploads than one connection may follow.
    #[error("one connection follows at most {most} uploads; leave one, or open another connection")]
    TooManySubscriptions {
        /// The most.
        most: usize,
    },
    /// A request for a WebSocket that is no handshake of one.
    #[error("this is a WebSocket: ask for the upgrade over HTTP/1.1, or use /progress/events")]
    UpgradeRequired,
    /// `Tus-Resumable` is missing or not 1.0.0.
    #[error("send Tus-Resumable: 1.0.0")]
    UnsupportedVersion,
    /// The upload would be larger than uploads may be.
    #[error("an upload may have at most {limit} bytes here")]
    TooLarge {
        /// The most.
        limit: u64,
    },
    /// The upload would be smaller than uploads may be.
    #[error("an upload must have at least {least} bytes here")]
    TooSmall {
        /// The least.
        least: u64,
    },
    /// The body has more bytes than the upload has room for.
    #[error("the body is longer than the rest of the upload; nothing of it was kept")]
    Surplus,
    /// PATCH, or POST with a body, of another media type.
    #[error("send the bytes as Content-Type: application/offset+octet-stream")]
    MediaType,
    /// The range lies outside the upload.
    #[error("the range lies outside the upload's {length} bytes")]
    Range {
        /// The length of what was to be read.
        length: u64,
    },
    /// A file of a kind that is not taken here.
    #[error(transparent)]
    TypeNotAllowed(#[from] NotAllowed),
    /// More bytes than may be stored.
    #[error("{}", .0.words())]
    QuotaExceeded(Excessive),
    /// More uploads at a time than there may be.
    #[error("at most {most} uploads may be open at a time; finish some, or delete them")]
    TooManyOpen {
        /// The most.
        most: u64,
    },
    /// More uploads of all users at a time than there may be.
    #[error(
        "as many uploads are open as the server takes from all together; come again when some are finished"
    )]
    TooManyOpenInAll,
    /// Requests, or new uploads, come too fast.
    #[error("too much in too short a time; come again in {seconds} s")]
    RateLimited {
        /// Until it is allowed again.
        seconds: u64,
    },
    /// A precondition (`If-Match`, `If-Unmodified-Since`) does not hold.
    #[error("the upload is not the one that the request's condition names")]
    Precondition,
    /// Another request took the upload over.
    #[error("a newer request took this upload over; send HEAD to see where it stands")]
    TakenOver {
        /// The committed offset.
        offset: u64,
    },
    /// Another request holds the upload and did not let go in time.
    #[error("another request is still busy with this upload; try again")]
    Locked,
    /// The bytes do not have the checksum.
    #[error("the bytes do not match the checksum; nothing of them was kept, send them again")]
    ChecksumMismatch,
    /// The credential is missing, or is not one: the admin token, or a user's.
    #[error("this needs a valid token, as Authorization: Bearer")]
    Unauthorized,
    /// A parameter in a query that cannot be understood.
    #[error("{0} in the query: {1}")]
    Query(&'static str, &'static str),
    /// An upload that is complete cannot be cancelled.
    #[error("the upload is complete; DELETE it at its own URL if it is to go")]
    AlreadyComplete,
    /// It is a chunk, and ends with its session.
    #[error("this is a chunk of a session: cancel the session")]
    ChunkOfSession,
    /// The disk is so full that no new upload is begun.
    #[error(
        "the disk is nearly full: no upload is begun until there is space, and those that are open go on"
    )]
    DiskLow,
    /// The server stops.
    #[error("the server is going down; what arrived is kept, try again")]
    Shutdown {
        /// The committed offset.
        offset: u64,
    },
    /// The server stops, and nothing was begun.
    #[error("the server is going down; try again")]
    Stopping,
    /// No byte of the body came for too long.
    #[error("no byte came for too long; what arrived is kept, go on at Upload-Offset")]
    IdleBody {
        /// The committed offset.
        offset: u64,
    },
    /// Storage failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The disk was full in the middle of a body.
    #[error("the disk is full; what fitted is kept, go on at Upload-Offset once there is space")]
    OutOfSpace {
        /// The committed offset.
        offset: u64,
    },
    /// A session was asked for without its token.
    #[error("send the session's token as Authorization: Bearer <session_token>")]
    TokenRequired,
    /// A body that should be JSON of a certain form.
    #[error("the JSON cannot be taken: {0}")]
    BadJson(String),
    /// JSON of more bytes than any request needs.
    #[error("the request's JSON may have at most {limit} bytes")]
    JsonTooLarge {
        /// The most.
        limit: usize,
    },
    /// A session's chunk size is not allowed here.
    #[error("chunk_size must be from {least} to {most} bytes")]
    ChunkSize {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A session of more chunks than one can have.
    #[error("a session has at most {most} chunks; ask for a larger chunk_size")]
    TooManyChunks {
        /// The most.
        most: u64,
    },
    /// The session has no chunk of this number.
    #[error("chunks are numbered from 1 to {total}")]
    NoSuchChunk {
        /// The last one's number.
        total: u32,
    },
    /// A chunk without its hash, in a session that wants one.
    #[error(
        "send the chunk's SHA-256 as X-Chunk-SHA256, or make the session with \"verify\": false"
    )]
    HashRequired,
    /// A chunk's checksum by another algorithm.
    #[error("chunks are checked by SHA-256 alone")]
    NotSha256,
    /// A chunk's body is too short.
    #[error("this chunk has {size} bytes, and fewer came; nothing of them was kept")]
    ChunkTooShort {
        /// What it must have.
        size: u64,
    },
    /// A chunk's body is too long.
    #[error("this chunk has {size} bytes, and more came; nothing of them was kept")]
    ChunkTooLong {
        /// What it must have.
        size: u64,
    },
    /// A chunk's body was cut.
    #[error("the chunk ended early and nothing of it was kept; send it again")]
    ChunkCut,
    /// A body was silent for too long, and nothing of it is kept.
    #[error("no byte came for too long; nothing was kept, send it again")]
    IdleRequest,
    /// A chunk that is there, with other content.
    #[error("other bytes are stored of this chunk; DELETE the chunk's own URL to send it anew")]
    ChunkDiffers,
    /// Chunks are missing.
    #[error("{} of the session's chunks are missing", .0.count)]
    ChunksMissing(Box<Missing>),
    /// The first bytes are not what they are declared as, or of a type that is not taken here: what, and why.
    #[error("{0}; nothing of the upload is kept")]
    TypeMismatch(String),
    /// A scanner found malware.
    #[error("malware was found in this upload; it is refused")]
    MalwareFound,
    /// What could not be scanned, where that is refused.
    #[error("this upload could not be scanned for malware, and is refused")]
    Unscanned,
    /// A download of what was not scanned yet.
    #[error("the upload is not scanned for malware yet; a part never is but in its final upload")]
    ScanPending,
    /// A file's name that is not taken here.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// The whole file's hash is wrong.
    #[error("the file does not have the SHA-256 that was named; the session has failed")]
    FileHashMismatch,
    /// More chunks wait than may.
    #[error("too many chunks of this session wait already; send fewer at a time")]
    TooManyWaiting,
    /// A hook refuses.
    #[error("the operator's own rules do not allow this")]
    Hook {
        /// The answer's.
        status: u16,
        /// What was refused.
        code: &'static str,
        /// What else is to stand in the answer.
        answer: Box<Answer>,
    },
    /// A hook that had to be asked did not answer as it should.
    #[error("a hook failed: {0}")]
    HookFailed(String),
    /// A hook cannot be asked now, and without it nothing is told.
    #[error("what this server has to ask first does not answer; try again")]
    HookDown {
        /// HEAD is answered so that clients wait.
        head: bool,
    },
    /// The state store failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A defect of the server's own.
    #[error("the request ended in a panic")]
    Panicked,
}

/// The code of a refusal, for whoever counts answers: an extension of the answer.
#[derive(Debug, Clone, Copy)]
pub struct Code(pub &'static str);

impl From<auth::Unauthorized> for Reject {
    fn from(_: auth::Unauthorized) -> Self {
        Self::Unauthorized
    }
}

impl Verdict {
    /// What a verdict is as an answer.
    ///
    /// # Errors
    /// `Unauthorized`, `ForeignOrigin`, or, for what is hidden, that of a path that is nobody's.
    pub const fn check(self) -> Result<(), Reject> {
        match self {
            Self::Allowed => Ok(()),
            Self::Hidden => Err(Reject::NoSuchResource),
            Self::Unauthorized => Err(Reject::Unauthorized),
            Self::ForeignOrigin => Err(Reject::ForeignOrigin),
        }
    }
}

impl Reject {
    /// Status and stable code. No `_` arm: a new failure does not compile until it has a status.
    #[must_use]
    pub const fn wire(&self) -> (u16, &'static str) {
        match self {
            Self::Header(_) => (400, "bad-header"),
            Self::UnknownAlgorithm | Self::NotSha256 => (400, "unknown-algorithm"),
            Self::LengthKnown => (400, "length-known"),
            Self::LengthTooShort => (400, "length-too-short"),
            Self::TooSmall { .. } => (400, "too-small"),
            Self::BadPart(_) => (400, "bad-part"),
            Self::TooManyParts(_) => (400, "too-many-parts"),
            Self::BadSubscription(_) => (400, "bad-subscription"),
            Self::Query(..) => (400, "bad-query"),
            Self::Unauthorized => (401, "unauthorized"),
            Self::BodyCut { .. } | Self::ChunkCut => (400, "body-cut"),
            Self::BadJson(_) => (400, "bad-json"),
            Self::ChunkSize { .. } => (400, "chunk-size"),
            Self::TooManyChunks { .. } => (400, "too-many-chunks"),
            Self::HashRequired => (400, "hash-required"),
            Self::BadName(_) => (400, "bad-name"),
            Self::ChunkTooShort { .. } => (400, "chunk-too-short"),
            Self::TokenRequired => (401, "token-required"),
            Self::FinalIsFixed => (403, "final-is-fixed"),
            Self::Disabled(_) => (403, "disabled"),
            Self::ForeignOrigin => (403, "foreign-origin"),
            Self::QuotaExceeded(_) => (403, "quota-exceeded"),
            Self::NotFound => (404, "not-found"),
            Self::NoSuchResource => (404, "no-such-resource"),
            Self::NoSuchChunk { .. } => (404, "no-such-chunk"),
            Self::MethodNotAllowed { .. } => (405, "method-not-allowed"),
            Self::OffsetMismatch { .. } => (409, "offset-mismatch"),
            Self::NotFinished => (409, "not-finished"),
            Self::ScanPending => (409, "scan-pending"),
            Self::AlreadyComplete => (409, "already-complete"),
            Self::ChunkOfSession => (409, "chunk-of-session"),
            Self::ChunkDiffers => (409, "chunk-differs"),
            Self::ChunksMissing(_) => (409, "chunks-missing"),
            Self::Expired => (410, "expired"),
            Self::BlobLost | Self::Blob(BlobError::Lost) => (410, Failure::BlobLost.code()),
            Self::PartGone => (410, Failure::PartGone.code()),
            Self::PartsTooLarge => (410, Failure::TooLarge.code()),
            Self::PartsTooSmall => (410, Failure::TooSmall.code()),
            Self::UnsupportedVersion => (412, "unsupported-version"),
            Self::Precondition => (412, "precondition-failed"),
            Self::TooLarge { .. } => (413, "too-large"),
            Self::Surplus => (413, "surplus"),
            Self::ChunkTooLong { .. } => (413, "chunk-too-long"),
            Self::JsonTooLarge { .. } => (413, "json-too-large"),
            Self::MediaType => (415, "media-type"),
            Self::TypeNotAllowed(_) => (415, "type-not-allowed"),
            Self::TypeMismatch(_) => (415, Failure::TypeMismatch.code()),
            Self::Range { .. } => (416, "range"),
            Self::FileHashMismatch => (422, Failure::FileHash.code()),
            Self::MalwareFound => (422, Failure::Malware.code()),
            Self::Unscanned => (422, Failure::Unscanned.code()),
            Self::TakenOver { .. } => (423, "taken-over"),
            Self::Locked => (423, "locked"),
            Self::UpgradeRequired => (426, "upgrade-required"),
            Self::TooManySubscriptions { .. } => (429, "too-many-subscriptions"),
            Self::TooManyWaiting => (429, "too-many-waiting"),
            Self::TooManyOpen { .. } | Self::TooManyOpenInAll => (429, "too-many-open"),
            Self::RateLimited { .. } => (429, "rate-limited"),
            Self::ChecksumMismatch => (460, "checksum-mismatch"),
            Self::Blob(Fixed | Taken { .. } | Io { .. }) => (500, "storage"),
            Self::Hook { status, code, .. } => (*status, *code),
            Self::HookFailed(_) => (500, "hook-failed"),
            Self::HookDown { head } => (if *head { 423 } else { 503 }, "hook-down"),
            Self::State(StateError::Damaged(_)) => (500, "record-damaged"),
            Self::State(StateError::Conflict | StateError::Store(_)) => (500, "state"),
            Self::Panicked => (500, "internal"),
            Self::Unknown(_) => (501, "not-implemented"),
            Self::Shutdown { .. } | Self::Stopping => (503, "shutting-down"),
            Self::IdleBody { .. } | Self::IdleRequest => (503, "idle-body"),
            Self::DiskLow => (507, "disk-low"),
            Self::Blob(BlobError::Full) | Self::OutOfSpace { .. } => (507, "out-of-space"),
        }
    }

    /// The failure in words that do not change from request to request.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self.wire().0 {
            _ if matches!(self, Self::Hook { .. }) => "Refused by the operator",
            400 => "The request cannot be understood",
            401 => "A token is required",
            403 => "Not allowed",
            404 => "Not found",
            405 => "Method not allowed",
            409 => "The upload is in another state",
            410 => "Gone",
            412 => "A precondition does not hold",
            413 => "Too large",
            415 => "Unsupported media type",
            416 => "Range not satisfiable",
            422 => "The content is refused",
            423 => "Locked",
            426 => "Upgrade required",
            429 => "Too many requests",
            460 => "Checksum mismatch",
            501 => "Not implemented",
            503 => "Try again soon",
            507 => "Out of space",
            _ => "The server failed",
        }
    }

    /// What to do about it, for a person. Failures of the server's own are told in its log, not to clients.
    #[must_use]
    pub fn detail(&self) -> String {
        match self.wire().0 {
            500 if !matches!(self, Self::Hook { .. }) => "this is no fault of the request; the server's log says more under this request's id".into(),
            _ => self.to_string(),
        }
    }

    /// The upload's offset, where the answer can tell it: so that a client goes on without asking.
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        match self {
            Self::OffsetMismatch { actual: offset }
            | Self::BodyCut { offset }
            | Self::TakenOver { offset }
            | Self::Shutdown { offset }
            | Self::IdleBody { offset }
            | Self::OutOfSpace { offset } => Some(*offset),
            Self::QuotaExceeded(excessive) => excessive.offset,
            _ => None,
        }
    }

    /// Seconds after which trying again makes sense, where it does.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::DiskLow | Self::TooManyOpen { .. } | Self::TooManyOpenInAll => Some(60),
            Self::RateLimited { seconds } => Some(*seconds),
            Self::Shutdown { .. } | Self::Stopping => Some(5),
            Self::IdleBody { .. }
            | Self::IdleRequest
            | Self::Locked
            | Self::TakenOver { .. }
            | Self::HookDown { .. }
            | Self::TooManyWaiting
            | Self::Hook {
                status: 423 | 429 | 503,
                ..
            } => Some(1),
            _ => None,
        }
    }
}
