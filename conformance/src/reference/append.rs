//! The one loop through which bytes come in, of PATCH and of creation.

use super::answer::Answer;
use super::body::Body;
use super::checksum::{NoSum, Sum};
use super::request::{Request, Trouble};
use super::store::Upload;
use super::{Flaw, MAX_SIZE, Server};

/// The content type of bytes for an upload.
pub(super) const TYPE: &[u8] = b"application/offset+octet-stream";

/// Whether the server takes more bytes than an upload of `length`, or of none yet, may have.
pub(super) fn takes_surplus(server: &Server, length: Option<u64>, creating: bool) -> bool {
    match length {
        None => server.has(Flaw::DeferredPastMax),
        Some(_) => {
            server.has(Flaw::SurplusTaken) || (creating && server.has(Flaw::BodySurplusTaken))
        }
    }
}

/// Bytes on their way into an upload.
pub(super) struct Append<'a> {
    server: &'a Server,
    id: &'a str,
    /// Says in the upload who may write.
    number: u64,
    pub(super) start: u64,
    sum: Option<Sum>,
    /// A checksum is announced for the trailer.
    announced: bool,
    /// Nothing counts before the end; the bytes wait here.
    staged: Option<Vec<u8>>,
    /// The length that the request declares.
    pub(super) declared: Option<u64>,
    creating: bool,
}

impl<'a> Append<'a> {
    pub(super) fn new(
        server: &'a Server,
        request: &Request,
        body: &Body<'_, '_>,
        id: &'a str,
        sum: Option<Sum>,
    ) -> Result<Self, Answer> {
        let announced =
            body.length().is_none() && request.fields.lists("Trailer", "Upload-Checksum");
        if announced && server.has(Flaw::TrailerRefused) {
            return Err(Answer::new(400));
        }
        let announced =
            announced && !server.has(Flaw::TrailerIgnored) && !server.has(Flaw::ChecksumIgnored);
        let waits = (sum.is_some() || announced) && !server.has(Flaw::ChecksumLive);
        let staged = (waits || server.has(Flaw::SeveralWin)).then(Vec::new);
        Ok(Self {
            server,
            id,
            number: server.number(),
            start: 0,
            sum,
            announced,
            staged,
            declared: None,
            creating: false,
        })
    }

    /// The bytes that come with a creation.
    pub(super) fn at_creation(
        server: &'a Server,
        request: &Request,
        body: &Body<'_, '_>,
        id: &'a str,
        sum: Option<Sum>,
    ) -> Result<Self, Answer> {
        let mut append = Self::new(server, request, body, id, sum)?;
        append.creating = true;
        append.begin(body, Some(0))?;
        Ok(append)
    }

    /// Checks what the head says against the upload, and becomes the one who writes.
    pub(super) fn begin(
        &mut self,
        body: &Body<'_, '_>,
        claimed: Option<u64>,
    ) -> Result<(), Answer> {
        let server = self.server;
        let mut uploads = server.store.lock();
        uploads.touch(self.id);
        let upload = uploads.find_to_write(self.id)?;
        if server.has(Flaw::DeclaredRefusedKept) {
            upload.length = upload.length.or(self.declared);
        }
        let claimed = claimed.unwrap_or(upload.offset());
        if claimed != upload.offset() {
            return Err(Answer::new(409));
        }
        if upload.writer.is_some() && server.has(Flaw::TakeoverRefused) {
            return Err(Answer::new(423));
        }
        self.check_declared(upload)?;
        let unknown = upload.length.is_none() && self.declared.is_none() && !self.creating;
        let bare = self.sum.is_none() && !self.announced;
        if (unknown && body.length() != Some(0) && server.has(Flaw::DeferredBytesRefused))
            || (upload.had_sum && bare && server.has(Flaw::ChecksumWantedOn))
            || (!upload.seen && upload.metadata.is_some() && server.has(Flaw::NewWantsHead))
        {
            return Err(Answer::new(400));
        }
        upload.had_sum |= !bare;
        let overflows = body
            .length()
            .is_some_and(|length| length > self.room(upload));
        let length = self.declared.or(upload.length);
        if overflows && !takes_surplus(server, length, self.creating) {
            return Err(Answer::new(413));
        }
        if self.staged.is_none() {
            self.declare(upload);
        }
        self.start = upload.offset();
        upload.writer = Some(self.number);
        Ok(())
    }

    /// Source: tus 1.0.0, Creation, POST: "Once set the length MUST NOT be changed."
    fn check_declared(&self, upload: &Upload) -> Result<(), Answer> {
        let server = self.server;
        let Some(declared) = self.declared else {
            return Ok(());
        };
        let status = match upload.length {
            Some(length) if length == declared => return Ok(()),
            Some(_) if upload.deferred && server.has(Flaw::DeclaredChanges) => return Ok(()),
            Some(_) if !upload.deferred && server.has(Flaw::LengthChanges) => return Ok(()),
            None if declared > MAX_SIZE && !server.has(Flaw::DeclaredPastMax) => 413,
            None if declared >= upload.offset() => return Ok(()),
            None if server.has(Flaw::DeclaredTooShort) => return Ok(()),
            _ => 400,
        };
        Err(Answer::new(status))
    }

    fn declare(&self, upload: &mut Upload) {
        if self.declared.is_some() && !self.server.has(Flaw::DeclaredIgnored) {
            upload.length = self.declared;
        }
    }

    /// How many bytes the upload may still take.
    fn room(&self, upload: &Upload) -> u64 {
        let known = self.declared.or(upload.length);
        let length = known.filter(|_| !upload.is_final()).unwrap_or(MAX_SIZE);
        let waiting = self.staged.as_ref().map_or(0, |bytes| bytes.len() as u64);
        // Of several that win, each has the room that it found.
        let mut offset = upload.offset();
        if self.server.has(Flaw::SeveralWin) {
            offset = self.start.min(offset);
        }
        length.saturating_sub(offset + waiting)
    }

    /// Takes the body in, and tells the new offset.
    pub(super) fn receive(&mut self, body: &mut Body<'_, '_>) -> Result<u64, Answer> {
        let (server, id, number) = (self.server, self.id, self.number);
        let several = server.has(Flaw::SeveralWin);
        let wanted = || {
            let mut uploads = server.store.lock();
            uploads
                .find_to_write(id)
                .is_ok_and(|upload| several || upload.writer == Some(number))
        };
        let refusal = loop {
            match body.next(&wanted) {
                Ok(Some(piece)) => match self.take(&piece) {
                    Ok(()) => {}
                    Err(refusal) => break refusal,
                },
                Ok(None) => return self.finish(body),
                Err(Trouble::Unwanted) => return Err(self.taken_over()),
                Err(Trouble::Gone) => break Answer::none(),
                Err(Trouble::Bad(status)) => break Answer::new(status),
            }
        };
        self.cut(body);
        Err(refusal.closing())
    }

    /// Takes a piece in: what was received counts at once, unless it has to wait for a verdict.
    fn take(&mut self, piece: &[u8]) -> Result<(), Answer> {
        let server = self.server;
        let mut uploads = server.store.lock();
        let upload = uploads.find_to_write(self.id)?;
        if upload.writer != Some(self.number) && !server.has(Flaw::SeveralWin) {
            drop(uploads);
            return Err(self.taken_over());
        }
        let room = self.room(upload);
        let length = self.declared.or(upload.length);
        let is_refused = piece.len() as u64 > room && !takes_surplus(server, length, self.creating);
        let fitting = if is_refused {
            &piece[..usize::try_from(room).unwrap_or(usize::MAX)]
        } else {
            piece
        };
        if let Some(staged) = &mut self.staged {
            staged.extend_from_slice(fitting);
        } else {
            upload.data.extend_from_slice(fitting);
        }
        uploads.touch(self.id);
        if is_refused {
            Err(Answer::new(413))
        } else {
            Ok(())
        }
    }

    /// The body is whole: the verdict, and what follows from it.
    fn finish(&mut self, body: &Body<'_, '_>) -> Result<u64, Answer> {
        let server = self.server;
        let verdict = self.verdict(body);
        let mut uploads = server.store.lock();
        let upload = uploads.find_to_write(self.id)?;
        if upload.writer != Some(self.number) && !server.has(Flaw::SeveralWin) {
            drop(uploads);
            return Err(self.taken_over());
        }
        upload.writer = None;
        match &verdict {
            Ok(()) => self.commit(upload),
            Err((_, flaw)) if server.has(*flaw) => self.commit(upload),
            Err((460, _)) if server.has(Flaw::ChecksumMismatchRewinds) => upload.truncate(0),
            Err(_) => upload.truncate(self.start),
        }
        let offset = upload.offset();
        if server.has(Flaw::ChecksumGoodDropped) && self.sum.is_some() {
            upload.truncate(self.start);
        }
        uploads.touch(self.id);
        uploads.settle();
        match verdict {
            Ok(()) => Ok(offset),
            Err((status, _)) => Err(Answer::new(status)),
        }
    }

    /// What waited for the verdict counts now.
    fn commit(&mut self, upload: &mut Upload) {
        if let Some(staged) = self.staged.take() {
            if self.server.has(Flaw::SeveralWin) {
                upload.truncate(self.start);
            }
            upload.data.extend_from_slice(&staged);
        }
        self.declare(upload);
        if upload.is_final() {
            upload.length = Some(upload.offset());
        }
    }

    /// Whether the bytes have their sums; if not, the status, and the flaw that keeps them nevertheless.
    fn verdict(&self, body: &Body<'_, '_>) -> Result<(), (u16, Flaw)> {
        let server = self.server;
        let bytes = self.bytes();
        if bytes.is_empty() && server.has(Flaw::ChecksumEmptyIgnored) {
            return Ok(());
        }
        if let Some(sum) = &self.sum
            && !sum.fits(server, &bytes)
        {
            return Err((460, Flaw::ChecksumMismatchStored));
        }
        if server.has(Flaw::TrailerIgnored) {
            return Ok(());
        }
        let Ok(trailer) = body.trailers.one("Upload-Checksum") else {
            return Err((400, Flaw::ChecksumMalformedTaken));
        };
        let Some(trailer) = trailer else {
            // Announced, and it did not come.
            return if self.announced {
                Err((400, Flaw::ChecksumMalformedTaken))
            } else {
                Ok(())
            };
        };
        match Sum::parse(server, trailer) {
            Ok(Some(sum)) if !sum.fits(server, &bytes) => Err((460, Flaw::TrailerMismatchStored)),
            Ok(_) => Ok(()),
            Err(NoSum::Unknown) => Err((400, Flaw::TrailerUnknownStored)),
            Err(NoSum::Malformed) => Err((400, Flaw::ChecksumMalformedTaken)),
        }
    }

    /// The bytes that the sums are of: this request's.
    fn bytes(&self) -> Vec<u8> {
        let mut uploads = self.server.store.lock();
        let Ok(upload) = uploads.find_to_write(self.id) else {
            return Vec::new();
        };
        let start = usize::try_from(self.start).unwrap_or(usize::MAX);
        let before = upload.data.get(..start).unwrap_or_default();
        let after = upload.data.get(start..).unwrap_or_default();
        let own = self.staged.as_deref().unwrap_or(after);
        if self.server.has(Flaw::ChecksumOfUpload) {
            [before, own].concat()
        } else {
            own.to_vec()
        }
    }

    /// The body ended early: what came is kept, but not under a checksum.
    fn cut(&mut self, body: &Body<'_, '_>) {
        let server = self.server;
        let mut uploads = server.store.lock();
        let Ok(upload) = uploads.find_to_write(self.id) else {
            return;
        };
        if upload.writer != Some(self.number) {
            return;
        }
        upload.writer = None;
        let under_sum = self.sum.is_some() || self.announced;
        if self.staged.is_some() && (!under_sum || server.has(Flaw::ChecksumCutKept)) {
            self.commit(upload);
        }
        if server.has(Flaw::CutLost) || (under_sum && !server.has(Flaw::ChecksumCutKept)) {
            upload.truncate(self.start);
        }
        if server.has(Flaw::CutCounted) {
            let claimed = self.start + body.length().unwrap_or(0);
            upload.phantom += claimed.saturating_sub(upload.offset());
        }
        uploads.touch(self.id);
        uploads.settle();
    }

    /// What the one hears who may no longer write: another PATCH does, or the upload is no more.
    fn taken_over(&self) -> Answer {
        match self.server.store.lock().find(self.id) {
            Ok(_) => Answer::new(423).closing(),
            Err(refusal) => refusal.closing(),
        }
    }
}
