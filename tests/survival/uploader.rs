//! A plain tus client: it asks HEAD where it is after whatever went wrong, goes on from there, and knows nothing else.

use std::time::Duration;

use highwater::protocol::checksum::Algorithm;

use crate::support::client::Request;
use crate::support::{Client, Dice, Reply, checksum};

/// So often a client tries without getting any further; then it gives up.
const TRIES: u32 = 12;

/// How an upload is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Plain,
    /// The first bytes come with the creation.
    WithUpload,
    HeaderChecksum,
    TrailerChecksum,
    Chunked,
    DeferredLength,
    /// In parts, which are joined.
    Parallel,
}

impl Manner {
    pub(super) const ALL: [Self; 7] = [
        Self::Plain,
        Self::WithUpload,
        Self::HeaderChecksum,
        Self::TrailerChecksum,
        Self::Chunked,
        Self::DeferredLength,
        Self::Parallel,
    ];
}

/// The client, and what happened to it.
pub(super) struct Uploader {
    pub(super) client: Client,
    pub(super) dice: Dice,
    /// The largest PATCH.
    pub(super) largest: u64,
    /// Requests that had no answer, or one that asks to try again.
    pub(super) retries: u64,
    /// Uploads that it was told of.
    pub(super) created: usize,
}

impl Uploader {
    pub(super) fn new(client: Client, seed: u64, largest: u64) -> Self {
        Self {
            client,
            dice: Dice::new(seed),
            largest,
            retries: 0,
            created: 0,
        }
    }

    /// Uploads `data`; the upload's path, or why that could not be.
    pub(super) async fn upload(&mut self, manner: Manner, data: &[u8]) -> Result<String, String> {
        if manner == Manner::Parallel {
            return self.upload_parts(data).await;
        }
        let created = self.create(manner, data, None).await?;
        let path = created.location_path();
        let at = created.number("Upload-Offset").unwrap_or(0);
        self.send(&path, manner, data, at).await?;
        Ok(path)
    }

    async fn upload_parts(&mut self, data: &[u8]) -> Result<String, String> {
        let mut sending = Vec::new();
        for part in data.chunks(data.len() / 3 + 1) {
            let mut uploader = Self::new(self.client, self.dice.below(1 << 40), self.largest);
            let part = part.to_vec();
            sending.push(tokio::spawn(async move {
                let path = uploader.upload_part(&part).await;
                (uploader, path)
            }));
        }
        let mut parts = Vec::new();
        for part in sending {
            let (uploader, path) = part.await.map_err(|panic| panic.to_string())?;
            self.retries += uploader.retries;
            self.created += uploader.created;
            parts.push(path?);
        }
        let join = self.client.tus("POST", "/files/");
        let join = join.header("Upload-Concat", final_of(&parts));
        let joined = self.insist("the final", 201, || join.clone()).await;
        Ok(joined?.location_path())
    }

    async fn upload_part(&mut self, part: &[u8]) -> Result<String, String> {
        let manner = Manner::ALL[self.dice.index(Manner::ALL.len())];
        let created = self.create(manner, part, Some("partial")).await?;
        let path = created.location_path();
        let at = created.number("Upload-Offset").unwrap_or(0);
        self.send(&path, manner, part, at).await?;
        Ok(path)
    }

    async fn create(
        &mut self,
        manner: Manner,
        data: &[u8],
        concat: Option<&str>,
    ) -> Result<Reply, String> {
        let mut post = self.client.tus("POST", "/files/");
        if let Some(concat) = concat {
            post = post.header("Upload-Concat", concat);
        }
        post = match manner {
            Manner::DeferredLength => post.header("Upload-Defer-Length", 1),
            _ => post.header("Upload-Length", data.len()),
        };
        if manner == Manner::WithUpload {
            let first = self.size(data.len());
            post = post
                .header("Content-Type", "application/offset+octet-stream")
                .body(&data[..first]);
        }
        self.insist("the creation", 201, || post.clone()).await
    }

    /// How many of the `left` bytes go into the next request.
    fn size(&mut self, left: usize) -> usize {
        let size = 1 + self.dice.below(self.largest);
        usize::try_from(size).expect("small").min(left)
    }

    /// Asks until there is the answer that is wanted.
    async fn insist(
        &mut self,
        what: &str,
        wanted: u16,
        ask: impl Fn() -> Request,
    ) -> Result<Reply, String> {
        for _ in 0..TRIES {
            match ask().try_send().await {
                Some(reply) if reply.status == wanted => {
                    self.created += usize::from(wanted == 201);
                    return Ok(reply);
                }
                Some(reply) if !is_passing(&reply) => return Err(format!("{what}: {reply:?}")),
                _ => self.pause().await,
            }
        }
        Err(format!("{what}: no answer in {TRIES} tries"))
    }

    async fn pause(&mut self) {
        self.retries += 1;
        tokio::time::sleep(Duration::from_millis(self.dice.below(5))).await;
    }

    /// Sends the rest from `at` on, as far as the client knows.
    pub(super) async fn send(
        &mut self,
        path: &str,
        manner: Manner,
        data: &[u8],
        mut at: u64,
    ) -> Result<(), String> {
        let mut tries = 0;
        let length = data.len() as u64;
        while at < length {
            let reply = self.patch(path, manner, data, at).try_send().await;
            let before = at;
            match reply {
                Some(reply) if reply.status == 204 => {
                    at = reply.number("Upload-Offset").ok_or("no Upload-Offset")?;
                }
                Some(reply) if !is_passing(&reply) => return Err(format!("PATCH: {reply:?}")),
                _ => {
                    self.pause().await;
                    let client = self.client;
                    let head = self.insist("HEAD", 200, || client.tus("HEAD", path));
                    at = head
                        .await?
                        .number("Upload-Offset")
                        .ok_or("no Upload-Offset")?;
                }
            }
            if at < before || at > length {
                return Err(format!("at {before} it was told {at} of {length}"));
            }
            tries = if at > before { 0 } else { tries + 1 };
            if tries == TRIES {
                return Err(format!("{TRIES} tries at {at} of {length}"));
            }
        }
        Ok(())
    }

    fn patch(&mut self, path: &str, manner: Manner, data: &[u8], at: u64) -> Request {
        let rest = &data[usize::try_from(at).expect("small")..];
        let piece = &rest[..self.size(rest.len())];
        let patch = self.client.patch(path, at, piece);
        match manner {
            Manner::HeaderChecksum => {
                patch.header("Upload-Checksum", checksum(Algorithm::Sha1, piece))
            }
            Manner::TrailerChecksum => patch
                .header("Trailer", "Upload-Checksum")
                .trailer("Upload-Checksum", checksum(Algorithm::Crc32c, piece)),
            Manner::Chunked => patch.chunked(),
            Manner::DeferredLength if piece.len() == rest.len() => {
                patch.header("Upload-Length", data.len())
            }
            _ => patch,
        }
    }
}

/// `Upload-Concat` of these parts.
pub(super) fn final_of(parts: &[String]) -> String {
    format!("final;{}", parts.join(" "))
}

/// Whether a client is to try again.
fn is_passing(reply: &Reply) -> bool {
    matches!(reply.status, 409 | 423 | 503)
}
