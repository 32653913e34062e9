//! POST: creation, with or without a length, and with the first bytes or without.

use super::answer::Answer;
use super::append::{self, Append, TYPE};
use super::body::Body;
use super::concat::{self, Asked};
use super::core::Reply;
use super::request::{Fields, Request, careless, digits};
use super::store::{Kind, Upload, Uploads};
use super::{BASE, Flaw, MAX_SIZE, Server, metadata, patch};

/// Creates an upload.
pub(super) fn post(server: &Server, request: &Request, body: &mut Body<'_, '_>) -> Reply {
    let fields = &request.fields;
    let kind = match concat::asked(server, request)? {
        Asked::Final(urls) => return concat::create(server, request, &urls),
        Asked::Partial => Kind::Partial,
        Asked::Plain => Kind::Plain,
    };
    let length = length(server, fields)?;
    check_size(server, length)?;
    let length = match length {
        Some(0) if server.has(Flaw::EmptyRefused) => return Err(Answer::new(400)),
        Some(length) if server.has(Flaw::LengthTruncated) => Some(length & 0xffff),
        length => length,
    };
    let metadata = metadata::received(server, fields)?;
    let brings = body.length() != Some(0);
    let found = fields.one("Content-Type")?;
    let is_right = found.is_some_and(|found| found.eq_ignore_ascii_case(TYPE));
    if brings && !is_right && !server.has(Flaw::BodyTypeIgnored) {
        return Err(Answer::new(415));
    }
    if brings && length.is_none() && server.has(Flaw::DeferredBodyRefused) {
        return Err(Answer::new(400));
    }
    let room = length.unwrap_or(MAX_SIZE);
    let overflows = body.length().is_some_and(|length| length > room);
    if overflows && !append::takes_surplus(server, length, true) {
        return Err(Answer::new(413));
    }
    let sum = patch::sum(server, fields).map_err(|_| Answer::new(400))?;
    let partial = kind == Kind::Partial;
    let upload = Upload {
        kind,
        length,
        deferred: length.is_none(),
        metadata,
        concat: fields.one("Upload-Concat")?.map(<[u8]>::to_vec),
        ..Upload::default()
    };
    let id = server.store.lock().create(upload);
    if brings {
        let mut append = Append::at_creation(server, request, body, &id, sum)?;
        let received = append.receive(body);
        let mut uploads = server.store.lock();
        match received {
            Ok(offset) => {
                let is_part = length != Some(offset);
                if server.has(Flaw::BodyDropped)
                    || (partial && server.has(Flaw::PartialBodyDropped))
                    || (is_part && server.has(Flaw::BodyPartDropped))
                {
                    let upload = uploads.find(&id)?;
                    upload.phantom = upload.offset();
                    upload.data.clear();
                }
            }
            // The client is gone: what it brought is kept, under a name that it never heard.
            Err(answer) if answer.status == 0 => return Err(answer),
            Err(answer) => {
                uploads.map.remove(&id);
                return Err(answer);
            }
        }
    }
    Ok(created(server, request, &mut server.store.lock(), &id))
}

/// The answer to a creation. `Upload-Offset` stands in each, since some clients want it without having sent bytes.
pub(super) fn created(
    server: &Server,
    request: &Request,
    uploads: &mut Uploads,
    id: &str,
) -> Answer {
    let upload = &uploads.map[id];
    let offset = match upload.offset() {
        _ if server.has(Flaw::BodyUntold) => 0,
        offset => offset,
    };
    let mut answer = Answer::new(201);
    if !upload.is_final() || uploads.is_complete(upload) {
        answer.set("Upload-Offset", offset.to_string());
    }
    if let Some(expires) = uploads.expires(id) {
        answer.set("Upload-Expires", expires);
    }
    let mut name = id;
    if let Some(raw) = &uploads.map[id].metadata {
        if server.has(Flaw::LocationUseless)
            && metadata::filename(raw).is_some_and(|name| !name.is_empty())
        {
            name = "unknown";
        } else if server.has(Flaw::LocationShared) {
            name = uploads.like(id);
        }
    }
    answer.with("Location", format!("http://{}{BASE}{name}", request.host()))
}

/// The length that the head tells; `None` where it is deferred.
fn length(server: &Server, fields: &Fields) -> Result<Option<u64>, Answer> {
    let length = match fields.one("Upload-Length")? {
        None => None,
        Some(text) => match digits(text) {
            None if server.has(Flaw::LengthWraps) && text.iter().all(u8::is_ascii_digit) => {
                let wrap =
                    |n: u64, digit: &u8| n.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                Some(text.iter().fold(0, wrap))
            }
            None if server.has(Flaw::LengthMalformedTaken) => Some(careless(text, 10)),
            None => return Err(Answer::new(400)),
            length => length,
        },
    };
    let is_deferred = match fields.one("Upload-Defer-Length")? {
        None => false,
        Some(_) if server.has(Flaw::DeferRefused) => return Err(Answer::new(400)),
        Some(b"1") => true,
        Some(_) if server.has(Flaw::DeferOtherTaken) => true,
        Some(_) => return Err(Answer::new(400)),
    };
    match (length, is_deferred) {
        (Some(_), true) if server.has(Flaw::LengthTwiceTaken) => Ok(None),
        (Some(_), true) => Err(Answer::new(400)),
        (None, false) if !server.has(Flaw::LengthMissingTaken) => Err(Answer::new(400)),
        (length, _) => Ok(length),
    }
}

fn check_size(server: &Server, length: Option<u64>) -> Result<(), Answer> {
    let is_past = match length {
        Some(MAX_SIZE) => server.has(Flaw::MaxRefusedExactly),
        Some(length) => length > MAX_SIZE && !server.has(Flaw::MaxIgnored),
        None => false,
    };
    if is_past {
        Err(Answer::new(413))
    } else {
        Ok(())
    }
}
