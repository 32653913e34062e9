//! Which request is for whom, versions, and OPTIONS, HEAD, GET and DELETE.

use std::thread;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::body::Body;
use super::request::{Request, digits};
use super::store::{Fate, Kind, Upload, Uploads};
use super::{
    BASE, Flaw, MAX_SIZE, Server, checksum, cors, creation, download, hostile, metadata, patch,
};

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,\
                          termination,concatenation,concatenation-unfinished";

const METHODS: [&str; 6] = ["OPTIONS", "POST", "HEAD", "GET", "PATCH", "DELETE"];

/// An answer, or the refusal that ended it early.
pub(super) type Reply = Result<Answer, Answer>;

/// What a target names.
#[derive(Debug, Clone, Copy)]
enum Target<'r> {
    Endpoint,
    Upload(&'r str),
}

/// Carries a request out.
pub(super) fn answer(server: &Server, request: &Request, body: &mut Body<'_, '_>) -> Answer {
    let method = request.effective(server);
    if let Some(answer) = hostile::answer(server, request) {
        return answer;
    }
    let target = match target(&request.path) {
        Some(target) => target,
        None if request.path == "*" => Target::Endpoint,
        None => return Answer::new(404),
    };
    let allowed: &[&str] = match target {
        Target::Endpoint => &["OPTIONS", "POST"],
        Target::Upload(_) => &["OPTIONS", "HEAD", "GET", "PATCH", "DELETE"],
    };
    if !METHODS.contains(&method.as_str()) {
        return Answer::new(501);
    }
    if !allowed.contains(&method.as_str()) {
        return Answer::new(405).with("Allow", allowed.join(", "));
    }
    let verdict = check_version(server, request, &method);
    if verdict.is_err() && !processes_anyway(server, request) {
        return verdict.err().unwrap_or(Answer::new(412));
    }
    let reply = match (target, method.as_str()) {
        (_, "OPTIONS") => Ok(options(server, request)),
        (Target::Endpoint, _) => creation::post(server, request, body),
        (Target::Upload(id), "HEAD") => head(server, request, id),
        (Target::Upload(id), "GET") => get(server, request, id),
        (Target::Upload(id), "DELETE") => delete(server, id),
        (Target::Upload(id), _) if spurns(server, body, id) => Err(Answer::new(403)),
        (Target::Upload(id), _) => patch::patch(server, request, body, id),
    };
    if let Target::Upload(id) = target {
        merge_trailers(server, body, id);
    }
    let answer = reply.unwrap_or_else(|refusal| refusal);
    match verdict {
        Ok(()) => answer,
        Err(refusal) => refusal,
    }
}

/// Flaws that refuse a `PATCH` which is right.
fn spurns(server: &Server, body: &Body<'_, '_>, id: &str) -> bool {
    let begun = || {
        let mut uploads = server.store.lock();
        uploads.find(id).is_ok_and(|upload| upload.offset() > 0)
    };
    (server.has(Flaw::BigPatchRefused) && body.length().is_some_and(|length| length > 1 << 20))
        || (server.has(Flaw::SecondPatchRefused) && begun())
}

fn merge_trailers(server: &Server, body: &Body<'_, '_>, id: &str) {
    let mut declared = body.trailers.all("Upload-Length");
    if server.has(Flaw::TrailerMerged)
        && let Some(length) = declared.next().and_then(digits)
        && let Ok(upload) = server.store.lock().find(id)
    {
        upload.length = Some(length);
    }
}

/// What every answer has, errors too. `request` is `None` where it could not be read.
pub(super) fn dress(server: &Server, request: Option<&Request>, mut answer: Answer) -> Answer {
    if answer.status == 0 {
        return answer;
    }
    answer.set("Tus-Resumable", VERSION);
    if answer.status == 412 {
        answer.set("Tus-Version", VERSION);
    }
    if let Some(request) = request {
        if request.effective(server) == "HEAD" {
            answer.set("Cache-Control", "no-store");
        }
        cors::dress(server, request, &mut answer);
    }
    answer
}

fn target(path: &str) -> Option<Target<'_>> {
    if path == BASE.trim_end_matches('/') {
        return Some(Target::Endpoint);
    }
    match path.strip_prefix(BASE)? {
        "" => Some(Target::Endpoint),
        id if id.contains('/') => None,
        id => Some(Target::Upload(id)),
    }
}

/// 412 for a version that is missing or not supported.
fn check_version(server: &Server, request: &Request, method: &str) -> Result<(), Answer> {
    let mut versions = request.fields.all("Tus-Resumable").peekable();
    let is_missing = versions.peek().is_none();
    let is_good = versions.all(|version| version == VERSION.as_bytes());
    let refuses = match method {
        _ if server.has(Flaw::VersionIgnored) => false,
        "OPTIONS" if is_missing => server.has(Flaw::OptionsWantsVersion),
        "OPTIONS" => !is_good && server.has(Flaw::OptionsMindsVersion),
        "HEAD" => !is_good,
        "GET" => false,
        _ if is_missing => !server.has(Flaw::VersionMissingTaken),
        _ => !is_good,
    };
    if refuses {
        Err(Answer::new(412))
    } else {
        Ok(())
    }
}

fn processes_anyway(server: &Server, request: &Request) -> bool {
    server.has(Flaw::UnsupportedProcessed) && request.fields.has("Tus-Resumable")
}

fn options(server: &Server, request: &Request) -> Answer {
    let answer = Answer::new(204)
        .with("Tus-Version", VERSION)
        .with("Tus-Extension", EXTENSIONS)
        .with("Tus-Max-Size", MAX_SIZE.to_string())
        .with("Tus-Checksum-Algorithm", checksum::NAMES);
    cors::preflight(server, request, answer)
}

fn head(server: &Server, request: &Request, id: &str) -> Reply {
    let patience = Instant::now() + Duration::from_secs(6);
    while server.has(Flaw::HeadWaits)
        && server.store.lock().find(id)?.writer.is_some()
        && Instant::now() < patience
    {
        thread::sleep(Duration::from_millis(20));
    }
    let mut uploads = server.store.lock();
    uploads.find(id)?.seen = true;
    let expires = uploads.expires(id);
    let upload = &uploads.map[id];
    let ranged = server.has(Flaw::RangeAtHead) && request.fields.has("Range");
    let mut answer = Answer::new(if ranged { 206 } else { 200 });
    if let Some(length) = known_length(server, &uploads, upload) {
        answer.set("Upload-Length", length.to_string());
    }
    if upload.deferred && (upload.length.is_none() || server.has(Flaw::DeferStays)) {
        answer.set("Upload-Defer-Length", "1");
    }
    let untold = match upload.kind {
        Kind::Plain => false,
        Kind::Partial => server.has(Flaw::PartialOffsetUntold),
        Kind::Final { .. } => server.has(Flaw::FinalOffsetUntold),
    } || (server.has(Flaw::HeadCompleteUntold) && uploads.is_complete(upload));
    if (!upload.is_final() || uploads.is_complete(upload)) && !untold {
        answer.set("Upload-Offset", told_offset(server, upload).to_string());
    } else if server.has(Flaw::UnfinishedClaimed) {
        let claimed = known_length(server, &uploads, upload)
            .unwrap_or(0)
            .to_string();
        answer.set("Upload-Length", claimed.clone());
        answer.set("Upload-Offset", claimed);
    }
    if let Some(raw) = &upload.metadata {
        answer.set("Upload-Metadata", metadata::told(server, raw));
        if server.has(Flaw::MetadataSmuggled) {
            let name = metadata::filename(raw).unwrap_or_default();
            answer.set(
                "Content-Disposition",
                [&b"inline; filename="[..], &name].concat(),
            );
        }
    } else if server.has(Flaw::MetadataEmptyTold) {
        answer.set("Upload-Metadata", "");
    }
    if let Some(raw) = &upload.concat {
        answer.set("Upload-Concat", told_concat(server, raw));
    } else if server.has(Flaw::PlainToldPartial) {
        answer.set("Upload-Concat", "partial");
    }
    if let Some(expires) = expires {
        answer.set("Upload-Expires", expires);
    }
    Ok(answer)
}

fn known_length(server: &Server, uploads: &Uploads, upload: &Upload) -> Option<u64> {
    let length = match &upload.kind {
        Kind::Final { joined: false, .. } if server.has(Flaw::UnfinishedUntold) => None,
        Kind::Final {
            parts,
            joined: false,
        } => {
            let deferred = |part: &String| uploads.map.get(part).is_some_and(|part| part.deferred);
            let known = !server.has(Flaw::DeferredSumUntold) || !parts.iter().any(deferred);
            uploads.sum(parts).filter(|_| known)
        }
        _ => upload.length,
    };
    if upload.is_final() && server.has(Flaw::ConcatLengthWrong) {
        return length.map(|length| length.saturating_sub(1));
    }
    length
}

fn told_offset(server: &Server, upload: &Upload) -> u64 {
    match upload.offset() {
        _ if server.has(Flaw::FinalOffsetZero) && upload.is_final() => 0,
        offset if server.has(Flaw::HeadWraps) => offset & 0xffff,
        offset => offset,
    }
}

/// Byte for byte as received.
fn told_concat(server: &Server, raw: &[u8]) -> Vec<u8> {
    if !server.has(Flaw::ConcatRewritten) {
        return raw.to_vec();
    }
    match raw {
        b"partial" => b"partial; ".to_vec(),
        _ => b"final".to_vec(),
    }
}

fn get(server: &Server, request: &Request, id: &str) -> Reply {
    let mut uploads = server.store.lock();
    if server.has(Flaw::DeletedServed)
        && let Some(upload) = uploads.map.get_mut(id)
        && upload.fate == Fate::Deleted
    {
        return Ok(download::content(server, request, &upload.data));
    }
    uploads.find(id)?;
    let upload = &uploads.map[id];
    if !uploads.is_complete(upload) {
        return Err(Answer::new(409));
    }
    let mut answer = download::content(server, request, &upload.data);
    if server.has(Flaw::FilenameAsItIs)
        && let Some(name) = upload.metadata.as_deref().and_then(metadata::filename)
    {
        let value = [&b"attachment; filename=\""[..], &name, b"\""].concat();
        answer.set("Content-Disposition", value);
    }
    Ok(answer)
}

fn delete(server: &Server, id: &str) -> Reply {
    let mut uploads = server.store.lock();
    uploads.find(id)?;
    let complete = uploads.is_complete(&uploads.map[id]);
    let upload = uploads.find(id)?;
    if upload.is_final()
        && ((complete && server.has(Flaw::DeleteFinalRefused))
            || (!complete && server.has(Flaw::UnfinishedUndeletable)))
    {
        return Err(Answer::new(403));
    }
    if (complete && server.has(Flaw::DeleteFinishedRefused))
        || (!complete && server.has(Flaw::DeleteUnfinishedRefused))
    {
        return Err(Answer::new(403));
    }
    if upload.writer.is_some() && server.has(Flaw::DeleteWaits) {
        return Err(Answer::new(423));
    }
    if server.has(Flaw::DeleteOnlySays) {
        return Ok(Answer::new(204));
    }
    upload.fate = Fate::Deleted;
    // A PATCH that is running finds that it may no longer write.
    upload.writer = None;
    if !server.has(Flaw::DeletedServed) && !server.has(Flaw::DeletedPatched) {
        upload.data = Vec::new();
    }
    if server.has(Flaw::FinalNeedsParts) {
        for other in uploads.map.values_mut() {
            if matches!(&other.kind, Kind::Final { parts, .. } if parts.iter().any(|part| part == id))
            {
                other.data.clear();
            }
        }
    }
    uploads.settle();
    Ok(Answer::new(204))
}
