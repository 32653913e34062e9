//! PATCH: what its head says, and how it is answered.

use super::answer::Answer;
use super::append::{Append, TYPE};
use super::body::Body;
use super::checksum::{NoSum, Sum};
use super::core::Reply;
use super::request::{Fields, Request, careless, digits};
use super::store::{Kind, Upload};
use super::{Flaw, Server};

/// Appends the body to an upload.
pub(super) fn patch(
    server: &Server,
    request: &Request,
    body: &mut Body<'_, '_>,
    id: &str,
) -> Reply {
    let (is_final, is_waiting, is_partial) = {
        let mut uploads = server.store.lock();
        let kind = &uploads.find_to_write(id)?.kind;
        let is_waiting = matches!(kind, Kind::Final { joined: false, .. });
        let is_final = matches!(kind, Kind::Final { .. });
        (is_final, is_waiting, *kind == Kind::Partial)
    };
    if is_final && !(is_waiting && server.has(Flaw::UnfinishedPatched)) {
        if server.has(Flaw::FinalPatchSpoilsParts) {
            spoil_parts(server, id);
        }
        return Err(refuse(server, body, id, 403, Flaw::FinalPatchStored));
    }
    let fields = &request.fields;
    if !is_bytes(server, fields.one("Content-Type")?) && !server.has(Flaw::TypeIgnored) {
        return Err(Answer::new(415));
    }
    let claimed = claimed(server, fields)?;
    let declared = declared(server, fields)?
        .filter(|_| body.length() != Some(0) || !server.has(Flaw::DeclaredWantsBytes));
    let sum = match sum(server, fields) {
        Ok(sum) => sum,
        Err(NoSum::Unknown) => {
            return Err(refuse(server, body, id, 400, Flaw::ChecksumUnknownStored));
        }
        Err(NoSum::Malformed) => return Err(Answer::new(400)),
    };
    let sum = sum.filter(|_| !is_partial || !server.has(Flaw::ChecksumPartialIgnored));
    if is_partial && server.has(Flaw::PartsOneByOne) && is_another_written(server, id) {
        return Err(Answer::new(423));
    }
    if body.length() == Some(0) && server.has(Flaw::EmptyPatchRefused) {
        return Err(Answer::new(400));
    }
    let mut append = Append::new(server, request, body, id, sum)?;
    append.declared = declared;
    if let Err(answer) = append.begin(body, claimed) {
        return Err(match answer.status {
            409 => refuse(server, body, id, 409, Flaw::MismatchStored),
            _ => answer,
        });
    }
    let offset = append.receive(body)?;
    let told = match offset {
        _ if server.has(Flaw::PatchTellsOld) => append.start,
        offset => offset + u64::from(server.has(Flaw::PatchTellsMore)),
    };
    let mut answer = Answer::new(204).with("Upload-Offset", told.to_string());
    if let Some(expires) = server.store.lock().expires(id) {
        answer.set("Upload-Expires", expires);
    }
    Ok(answer)
}

/// Whether another partial upload is being written.
fn is_another_written(server: &Server, id: &str) -> bool {
    let uploads = server.store.lock();
    uploads.map.iter().any(|(other, upload)| {
        other != id && upload.kind == Kind::Partial && upload.writer.is_some()
    })
}

/// Whether a content type is that of bytes for an upload, in capitals or not (RFC 9110, 8.3.1).
fn is_bytes(server: &Server, found: Option<&[u8]>) -> bool {
    let minds = server.has(Flaw::TypeMindsCase);
    found.is_some_and(|found| found == TYPE || (!minds && found.eq_ignore_ascii_case(TYPE)))
}

/// `Upload-Offset`.
fn claimed(server: &Server, fields: &Fields) -> Result<Option<u64>, Answer> {
    match fields.one("Upload-Offset")? {
        None if server.has(Flaw::OffsetMissingTaken) => Ok(None),
        None if server.has(Flaw::TrailerMerged) && fields.lists("Trailer", "Upload-Offset") => {
            Ok(None)
        }
        None => Err(Answer::new(400)),
        Some(text) => match digits(text) {
            None if server.has(Flaw::OffsetMalformedTaken) => Ok(Some(careless(text, 10))),
            None => Err(Answer::new(400)),
            Some(offset) if server.has(Flaw::OffsetWraps) => Ok(Some(offset & 0xffff_ffff)),
            offset => Ok(offset),
        },
    }
}

/// `Upload-Length`, which declares a length that was deferred.
fn declared(server: &Server, fields: &Fields) -> Result<Option<u64>, Answer> {
    match fields.one("Upload-Length")? {
        None => Ok(None),
        Some(text) => match digits(text) {
            None if server.has(Flaw::DeclaredMalformedTaken) => Ok(Some(careless(text, 10))),
            None => Err(Answer::new(400)),
            length => Ok(length),
        },
    }
}

/// `Upload-Checksum` in the head; twice is malformed.
pub(super) fn sum(server: &Server, fields: &Fields) -> Result<Option<Sum>, NoSum> {
    match fields.one("Upload-Checksum") {
        Ok(None) => Ok(None),
        Ok(Some(value)) => Sum::parse(server, value),
        Err(_) => Err(NoSum::Malformed),
    }
}

/// Refuses with `status`; where the server has `flaw`, the bytes are stored all the same.
fn refuse(server: &Server, body: &mut Body<'_, '_>, id: &str, status: u16, flaw: Flaw) -> Answer {
    if server.has(flaw) {
        while let Ok(Some(piece)) = body.next(&|| true) {
            if let Ok(upload) = server.store.lock().find(id) {
                upload.data.extend_from_slice(&piece);
                // A final upload's length is its bytes.
                upload.length = upload.length.filter(|_| !upload.is_final());
                upload.length = upload.length.or(upload.is_final().then(|| upload.offset()));
            }
        }
        server.store.lock().settle();
    }
    Answer::new(status)
}

fn spoil_parts(server: &Server, id: &str) {
    let mut uploads = server.store.lock();
    let Some(Upload {
        kind: Kind::Final { parts, .. },
        ..
    }) = uploads.map.get(id)
    else {
        return;
    };
    for part in parts.clone() {
        if let Some(part) = uploads.map.get_mut(&part) {
            part.data.pop();
        }
    }
}
