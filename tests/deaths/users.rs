//! What each user of a mixed load does until the server is gone. Every answer must be the right one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use highwater::protocol::checksum::Algorithm;
use tokio::io::AsyncWriteExt;

use super::load::{Asked, Flight, Kind, Load, Role, Upload, metadata};
use crate::support::client::Request;
use crate::support::{Client, Conn, Dice, Reply, checksum, same};

/// The longest upload.
const LONGEST: u64 = 600 << 10;
/// Bytes that leave at once.
const PIECE: usize = 16 << 10;
/// Finished uploads that a user keeps.
const KEPT: usize = 8;

/// One user.
pub struct User {
    number: usize,
    job: Kind,
    dice: Dice,
    load: Arc<Load>,
    client: Client,
}

/// Which bytes a request carries.
#[derive(Clone, Copy)]
struct Body {
    at: u64,
    size: u64,
}

const NONE: Body = Body { at: 0, size: 0 };

impl User {
    pub fn new(number: usize, job: Kind, dice: Dice, load: Arc<Load>, client: Client) -> Self {
        Self {
            number,
            job,
            dice,
            load,
            client,
        }
    }

    pub async fn live(mut self) {
        while self.act().await.is_some() {}
    }

    /// `None` once the server is gone; so everywhere below.
    async fn act(&mut self) -> Option<()> {
        self.tidy().await?;
        match self.job {
            Kind::Reading => self.read().await,
            Kind::Terminating => self.terminate().await,
            Kind::Joining => self.join_complete().await,
            Kind::Waiting => self.join_before().await,
            kind => {
                let upload = match self.unfinished().into_iter().next() {
                    Some(upload) => upload,
                    None => self.create(Role::Alone, kind).await?,
                };
                self.fill(&upload, kind).await
            }
        }
    }

    /// One more of the same, to do something beside.
    fn twin(&mut self) -> Self {
        let dice = Dice::new(self.dice.below(1 << 40));
        Self::new(self.number, self.job, dice, self.load.clone(), self.client)
    }

    fn mine(&self, which: impl Fn(&Upload) -> bool) -> Vec<Arc<Upload>> {
        let uploads = self.load.uploads();
        let mine = uploads.iter().filter(|upload| {
            upload.owner == self.number && upload.is_there() && upload.path().is_some()
        });
        mine.filter(|upload| which(upload)).cloned().collect()
    }

    /// What a crash has interrupted.
    fn unfinished(&self) -> Vec<Arc<Upload>> {
        self.mine(|upload| upload.role != Role::Final && !upload.is_complete())
    }

    async fn create(&mut self, role: Role, kind: Kind) -> Option<Arc<Upload>> {
        let longest = if role == Role::Part {
            LONGEST / 4
        } else {
            LONGEST
        };
        let length = self.dice.below(longest) + 1;
        let from = self.dice.below(self.load.source.len() as u64 - length);
        let from = usize::try_from(from).ok()?;
        let content = from..from + usize::try_from(length).ok()?;
        let deferred = kind == Kind::Deferred;
        let upload = self
            .load
            .plan(self.number, role, vec![content], Vec::new(), deferred);
        let mut post = self.post(&upload);
        post = if deferred {
            post.header("Upload-Defer-Length", 1)
        } else {
            post.header("Upload-Length", length)
        };
        if role == Role::Part {
            post = post.header("Upload-Concat", "partial");
        }
        let mut body = NONE;
        if kind == Kind::WithCreation {
            body.size = self.dice.below(length) + 1;
            post = post.header("Content-Type", "application/offset+octet-stream");
            post = post.body(self.load.bytes(&upload, 0..body.size));
        }
        let reply = self.send(kind, &upload, post, body).await?;
        self.expect(&reply, 201)?;
        let mut facts = upload.facts();
        facts.path = Some(reply.location_path());
        facts.created = true;
        facts.told = body.size;
        drop(facts);
        Some(upload)
    }

    fn post(&self, upload: &Upload) -> Request {
        let post = self.client.tus("POST", "/files/");
        post.header("Upload-Metadata", metadata(upload.serial))
    }

    async fn fill(&mut self, upload: &Arc<Upload>, kind: Kind) -> Option<()> {
        while !upload.is_complete() {
            self.step(upload, kind).await?;
        }
        self.load.completes();
        Some(())
    }

    /// One PATCH.
    async fn step(&mut self, upload: &Arc<Upload>, kind: Kind) -> Option<()> {
        let at = upload.told();
        let left = upload.length() - at;
        let size = (self.dice.below(256 << 10) + 1).min(left);
        let bytes = self.load.bytes(upload, at..at + size);
        let body = Body { at, size };
        match kind {
            Kind::CheckedByHeader | Kind::CheckedByTrailer => {
                return self.checked(upload, kind, body, bytes).await;
            }
            Kind::Plain if size > 1 && self.dice.below(8) == 0 => {
                return self.half(upload, body, bytes).await;
            }
            _ => {}
        }
        let mut patch = self.client.patch(&upload.path()?, at, bytes);
        if kind == Kind::Chunked {
            patch = patch.chunked();
        }
        let declares =
            upload.facts().declared != Asked::Told && (left == 0 || self.dice.below(3) == 0);
        if declares {
            patch = patch.header("Upload-Length", upload.length());
            upload.facts().declared = Asked::Perhaps;
        }
        let reply = self.send(kind, upload, patch, body).await?;
        self.expect(&reply, 204)?;
        assert_eq!(reply.number("Upload-Offset"), Some(at + size), "{reply:?}");
        if declares {
            upload.facts().declared = Asked::Told;
        }
        upload.tell(at + size);
        Some(())
    }

    /// A PATCH under a checksum; now and then its bytes are spoilt on the way.
    async fn checked(
        &mut self,
        upload: &Arc<Upload>,
        kind: Kind,
        body: Body,
        mut bytes: Vec<u8>,
    ) -> Option<()> {
        let algorithms = [Algorithm::Crc32c, Algorithm::Md5, Algorithm::Sha1];
        let which = self.dice.index(algorithms.len());
        let sum = checksum(algorithms[which], &bytes);
        let spoilt = self.dice.below(6) == 0;
        if spoilt {
            let last = bytes.last_mut()?;
            *last = !*last;
        }
        let end = body.at + if spoilt { 0 } else { body.size };
        upload.facts().checked = Some(end);
        let patch = self.client.patch(&upload.path()?, body.at, bytes);
        let patch = if kind == Kind::CheckedByHeader {
            patch.header("Upload-Checksum", sum)
        } else {
            let patch = patch.header("Trailer", "Upload-Checksum");
            patch.trailer("Upload-Checksum", sum)
        };
        let reply = self.send(kind, upload, patch, body).await?;
        self.expect(&reply, if spoilt { 460 } else { 204 })?;
        upload.facts().checked = None;
        upload.tell(end);
        Some(())
    }

    /// A plain PATCH that ends after half of its body.
    async fn half(&mut self, upload: &Arc<Upload>, body: Body, bytes: Vec<u8>) -> Option<()> {
        let patch = self.client.patch(&upload.path()?, body.at, bytes);
        let request = patch.to_bytes();
        let some = request.len() - usize::try_from(body.size / 2).ok()?;
        let (mut conn, flight) = self
            .begin(Kind::Plain, upload, (&request[..some], false), body)
            .await?;
        conn.stream.shutdown().await.ok()?;
        let reply = conn.try_reply("PATCH").await?;
        self.landed(&flight);
        self.expect(&reply, 400)?;
        upload.tell(reply.number("Upload-Offset")?);
        Some(())
    }

    /// Parts at the same time, then their final; often one over parts of before as well, so that there are many.
    async fn join_complete(&mut self) -> Option<()> {
        self.fill_all(self.unfinished(), Kind::Parallel).await?;
        let old = self.mine(|upload| upload.role == Role::Part && upload.is_complete());
        let mut parts = self.parts(3).await?;
        self.fill_all(parts.clone(), Kind::Parallel).await?;
        if self.dice.below(2) == 0 {
            parts.extend(old.into_iter().take(20));
        }
        let whole = self.join(&parts, Kind::Joining).await?;
        whole.tell(whole.length());
        Some(())
    }

    /// The final comes before the bytes of its parts.
    async fn join_before(&mut self) -> Option<()> {
        self.fill_all(self.unfinished(), Kind::Waiting).await?;
        for whole in self.mine(|upload| upload.role == Role::Final && !upload.is_complete()) {
            self.see_complete(&whole).await?;
        }
        let parts = self.parts(3).await?;
        let whole = self.join(&parts, Kind::Waiting).await?;
        self.fill_all(parts, Kind::Waiting).await?;
        self.see_complete(&whole).await
    }

    async fn parts(&mut self, n: usize) -> Option<Vec<Arc<Upload>>> {
        let mut parts = Vec::new();
        for _ in 0..n {
            parts.push(self.create(Role::Part, Kind::Parallel).await?);
        }
        Some(parts)
    }

    async fn fill_all(&mut self, uploads: Vec<Arc<Upload>>, kind: Kind) -> Option<()> {
        let filling = uploads.into_iter().map(|upload| {
            let mut twin = self.twin();
            async move { twin.fill(&upload, kind).await }
        });
        let filling: Vec<_> = filling.collect();
        join_all(filling).await.into_iter().collect()
    }

    async fn join(&mut self, parts: &[Arc<Upload>], kind: Kind) -> Option<Arc<Upload>> {
        let content = parts.iter().flat_map(|part| part.content.clone());
        let whole = self.load.plan(
            self.number,
            Role::Final,
            content.collect(),
            parts.to_vec(),
            false,
        );
        let paths: Option<Vec<_>> = parts.iter().map(|part| part.path()).collect();
        let post = self.post(&whole);
        let post = post.header("Upload-Concat", format!("final;{}", paths?.join(" ")));
        let reply = self.send(kind, &whole, post, NONE).await?;
        self.expect(&reply, 201)?;
        let mut facts = whole.facts();
        facts.path = Some(reply.location_path());
        facts.created = true;
        drop(facts);
        Some(whole)
    }

    /// A final whose parts were all told to be complete is complete.
    async fn see_complete(&mut self, whole: &Arc<Upload>) -> Option<()> {
        let head = self.client.tus("HEAD", &whole.path()?);
        let reply = self.send(Kind::Waiting, whole, head, NONE).await?;
        self.expect(&reply, 200)?;
        let offset = reply.number("Upload-Offset");
        if offset.is_none() && self.load.cut.load(Ordering::SeqCst) {
            // The last part was safe when the power went, and the disk takes no links any more.
            return None;
        }
        assert_eq!(offset, Some(whole.length()), "{reply:?}");
        whole.tell(whole.length());
        Some(())
    }

    /// Something begun, and ended while it is under way or at rest.
    async fn terminate(&mut self) -> Option<()> {
        for left in self.unfinished() {
            self.delete(&left).await?;
        }
        let upload = self.create(Role::Alone, Kind::Terminating).await?;
        self.step(&upload, Kind::Terminating).await?;
        let (at, length) = (upload.told(), upload.length());
        if at == length || self.dice.below(2) == 0 {
            return self.delete(&upload).await;
        }
        let bytes = self.load.bytes(&upload, at..length);
        let request = self.client.patch(&upload.path()?, at, bytes).to_bytes();
        let body = Body {
            at,
            size: length - at,
        };
        let some = request.len() - usize::try_from(body.size.div_ceil(2)).ok()?;
        let begun = self.begin(Kind::Terminating, &upload, (&request[..some], false), body);
        let (_conn, flight) = begun.await?;
        self.delete(&upload).await?;
        self.landed(&flight);
        Some(())
    }

    async fn delete(&mut self, upload: &Arc<Upload>) -> Option<()> {
        upload.facts().gone = Asked::Perhaps;
        let delete = self.client.tus("DELETE", &upload.path()?);
        let reply = self.send(Kind::Terminating, upload, delete, NONE).await?;
        self.expect(&reply, 204)?;
        upload.facts().gone = Asked::Told;
        Some(())
    }

    /// The oldest go, but no part that a final waits for.
    async fn tidy(&mut self) -> Option<()> {
        let done = self.mine(Upload::is_complete);
        if done.len() <= KEPT * if self.job == Kind::Joining { 3 } else { 1 } {
            return Some(());
        }
        let waiting = self.mine(|upload| upload.role == Role::Final && !upload.is_complete());
        let needed = |upload: &&Arc<Upload>| {
            let is = |part: &Arc<Upload>| Arc::ptr_eq(part, upload);
            waiting.iter().any(|whole| whole.parts.iter().any(is))
        };
        match done.iter().find(|upload| !needed(upload)) {
            Some(oldest) => self.delete(oldest).await,
            None => Some(()),
        }
    }

    /// Looks at somebody's upload: its offset has not fallen, and one that is complete has its bytes.
    async fn read(&mut self) -> Option<()> {
        let known: Vec<_> = {
            let uploads = self.load.uploads();
            let there = |upload: &&Arc<Upload>| upload.is_there() && upload.path().is_some();
            uploads.iter().filter(there).cloned().collect()
        };
        if known.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            return Some(());
        }
        let which = self.dice.index(known.len());
        let (upload, told) = (&known[which], known[which].told());
        if upload.is_complete() && self.dice.below(4) == 0 {
            let get = self.client.tus("GET", &upload.path()?);
            let reply = self.send(Kind::Reading, upload, get, NONE).await?;
            if upload.is_there() {
                self.expect(&reply, 200)?;
                same(&reply.body, &self.load.bytes(upload, 0..upload.length()));
            }
            return Some(());
        }
        let head = self.client.tus("HEAD", &upload.path()?);
        let reply = self.send(Kind::Reading, upload, head, NONE).await?;
        if upload.is_there() {
            self.expect(&reply, 200)?;
            let Some(offset) = reply.number("Upload-Offset") else {
                assert_eq!(upload.role, Role::Final, "{reply:?}");
                return Some(());
            };
            assert!(offset >= told, "{told} was told, and then {offset}");
            upload.tell(offset);
        }
        Some(())
    }

    async fn send(
        &mut self,
        kind: Kind,
        upload: &Arc<Upload>,
        request: Request,
        body: Body,
    ) -> Option<Reply> {
        let bytes = request.to_bytes();
        let (mut conn, flight) = self.begin(kind, upload, (&bytes, true), body).await?;
        let reply = conn.try_reply(request.method()).await?;
        self.landed(&flight);
        Some(reply)
    }

    /// Sends a request, the `whole` or the beginning of one, in pieces that take their time.
    async fn begin(
        &mut self,
        kind: Kind,
        upload: &Arc<Upload>,
        (request, whole): (&[u8], bool),
        body: Body,
    ) -> Option<(Conn, Arc<Flight>)> {
        let mut conn = Conn::try_open(self.client.addr).await?;
        let flight = Arc::new(Flight {
            kind,
            upload: upload.clone(),
            at: body.at,
            size: body.size,
            begun: Instant::now(),
            sent: OnceLock::new(),
        });
        self.load.flights().push(flight.clone());
        for piece in request.chunks(PIECE) {
            // A refusal may have come, and the answer is read below.
            if conn.stream.write_all(piece).await.is_err() {
                return Some((conn, flight));
            }
            if piece.len() == PIECE && self.dice.below(3) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if whole {
            flight.sent.set(Instant::now()).expect("sent once");
        }
        Some((conn, flight))
    }

    /// The answer came.
    fn landed(&self, flight: &Arc<Flight>) {
        let mut flights = self.load.flights();
        flights.retain(|other| !Arc::ptr_eq(other, flight));
    }

    /// After the cut of a power cut anything but a success may be answered.
    fn expect(&self, reply: &Reply, status: u16) -> Option<()> {
        if reply.status == status {
            return Some(());
        }
        assert!(
            self.load.cut.load(Ordering::SeqCst),
            "not {status}: {reply:?}"
        );
        None
    }
}
