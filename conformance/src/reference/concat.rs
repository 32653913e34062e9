//! Concatenation: partial uploads, and the final ones that join them.

use super::answer::Answer;
use super::core::Reply;
use super::request::Request;
use super::store::{Fate, Kind, Upload, Uploads};
use super::{BASE, Flaw, MAX_SIZE, Server, creation, metadata};

/// What `Upload-Concat` asks for.
#[derive(Debug)]
pub(super) enum Asked {
    Plain,
    Partial,
    /// With the parts as the client named them.
    Final(Vec<String>),
}

/// Reads `Upload-Concat`.
pub(super) fn asked(server: &Server, request: &Request) -> Result<Asked, Answer> {
    let Some(value) = request.fields.one("Upload-Concat")? else {
        return Ok(Asked::Plain);
    };
    let mut value = String::from_utf8_lossy(value).into_owned();
    if value == "partial" && !server.has(Flaw::ConcatPartialRefused) {
        return Ok(Asked::Partial);
    }
    if server.has(Flaw::ConcatDecoded) {
        value = value.replace("%20", " ");
    }
    if server.has(Flaw::ConcatCarelessTaken) && !value.starts_with("final;") {
        value = value.replacen([':', ',', ' '], ";", 1);
    }
    match value.strip_prefix("final;") {
        Some(parts) if !parts.trim().is_empty() => Ok(Asked::Final(
            parts.trim().split(' ').map(str::to_owned).collect(),
        )),
        _ if server.has(Flaw::ConcatMalformedTaken) => Ok(Asked::Plain),
        _ => Err(Answer::new(400)),
    }
}

/// Creates a final upload of the parts that stand at `urls`.
pub(super) fn create(server: &Server, request: &Request, urls: &[String]) -> Reply {
    let has_length =
        request.fields.has("Upload-Length") || request.fields.has("Upload-Defer-Length");
    if has_length && !server.has(Flaw::ConcatLengthTaken) {
        return Err(Answer::new(400));
    }
    let own = metadata::received(server, &request.fields)?;
    let mut upload = Upload {
        metadata: own.filter(|_| !server.has(Flaw::FinalMetadataDropped)),
        concat: request.fields.one("Upload-Concat")?.map(<[u8]>::to_vec),
        ..Upload::default()
    };
    let mut uploads = server.store.lock();
    let mut parts = Vec::new();
    for url in urls {
        match part(server, request, &mut uploads, url) {
            Some(id) => parts.push(id),
            None if server.has(Flaw::ConcatUnknownTaken) => {}
            None if server.has(Flaw::ConcatDeletedTaken) && is_deleted(&uploads, url) => {}
            None => {
                if server.has(Flaw::ConcatRefusedEats) {
                    for part in &parts {
                        uploads.map.remove(part);
                    }
                }
                return Err(Answer::new(400));
            }
        }
    }
    refuse_parts(server, &uploads, &parts)?;
    if uploads.sum(&parts).is_some_and(|sum| sum > MAX_SIZE) && !server.has(Flaw::ConcatPastMax) {
        return Err(Answer::new(413));
    }
    rearrange(server, &mut uploads, &mut parts);
    if server.has(Flaw::ConcatMetadataInherited) && upload.metadata.is_none() {
        upload.metadata = parts
            .iter()
            .find_map(|part| uploads.map[part].metadata.clone());
    }
    upload.kind = Kind::Final {
        parts,
        joined: false,
    };
    let id = uploads.create(upload);
    if is_joined_at_once(&uploads, &id) {
        uploads.join(&id);
    }
    let mut answer = creation::created(server, request, &mut uploads, &id);
    if server.has(Flaw::FinalNotCreated) {
        answer.status = 200;
    }
    Ok(answer)
}

/// What flaws make of the list of parts.
fn rearrange(server: &Server, uploads: &mut Uploads, parts: &mut [String]) {
    if server.has(Flaw::ConcatByCreation) {
        parts.sort_by_key(|part| uploads.map[part].number);
    }
    if server.has(Flaw::ConcatByCompletion) {
        parts.sort_by_key(|part| uploads.map[part].touched);
    }
    if server.has(Flaw::ConcatTakesParts) {
        for other in uploads.map.values_mut() {
            if matches!(&other.kind, Kind::Final { parts: its, .. } if its.iter().any(|part| parts.contains(part)))
            {
                other.data.clear();
            }
        }
    }
}

fn is_deleted(uploads: &Uploads, url: &str) -> bool {
    let id = url.rsplit('/').next().unwrap_or(url);
    let upload = uploads.map.get(id);
    upload.is_some_and(|upload| upload.fate == Fate::Deleted)
}

/// The id of the partial upload at `url`, which is absolute, or relative to the endpoint.
fn part(server: &Server, request: &Request, uploads: &mut Uploads, url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some(_) if server.has(Flaw::ConcatAbsoluteRefused) => return None,
        Some((scheme, rest)) => {
            let (host, _) = rest.split_once('/')?;
            let mut name = host;
            if server.has(Flaw::ConcatUserinfoTaken) {
                name = name.rsplit('@').next().unwrap_or(name);
            }
            let is_here =
                matches!(scheme, "http" | "https") && name.eq_ignore_ascii_case(&request.host());
            // A user is no part of a host's name.
            let is_foreign = server.has(Flaw::ConcatForeignTaken) && !host.contains('@');
            if !is_here && !is_foreign {
                return None;
            }
            &rest[host.len()..]
        }
        None if server.has(Flaw::ConcatPathRefused) => return None,
        None if server.has(Flaw::ConcatNameRefused) && !url.starts_with('/') => return None,
        None => url,
    };
    let id = if path.starts_with('/') {
        path.strip_prefix(BASE)?
    } else {
        path
    };
    let upload = uploads.find(id).ok()?;
    let is_part = upload.kind == Kind::Partial || server.has(Flaw::ConcatWholeTaken);
    is_part.then(|| id.to_owned())
}

/// Refusals that only flaws make.
fn refuse_parts(server: &Server, uploads: &Uploads, parts: &[String]) -> Result<(), Answer> {
    let is_used = |id: &String| {
        uploads
            .map
            .values()
            .any(|other| matches!(&other.kind, Kind::Final { parts, .. } if parts.contains(id)))
    };
    let is_repeated = (1..parts.len()).any(|at| parts[..at].contains(&parts[at]));
    let is_unfinished = parts
        .iter()
        .any(|part| !uploads.is_complete(&uploads.map[part]));
    let refuses = (parts.len() > 4 && server.has(Flaw::ConcatFew))
        || (is_used_any(parts, is_used) && server.has(Flaw::ConcatUsedRefused))
        || (is_repeated && server.has(Flaw::ConcatTwiceRefused))
        || (is_unfinished && server.has(Flaw::UnfinishedRefused));
    if refuses {
        Err(Answer::new(400))
    } else {
        Ok(())
    }
}

fn is_used_any(parts: &[String], is_used: impl Fn(&String) -> bool) -> bool {
    parts.iter().any(is_used)
}

/// Whether all parts are complete by now; `UnfinishedForever` joins these only.
fn is_joined_at_once(uploads: &Uploads, id: &str) -> bool {
    match &uploads.map[id].kind {
        Kind::Final { parts, .. } => parts
            .iter()
            .all(|part| uploads.is_complete(&uploads.map[part])),
        _ => false,
    }
}
