//! The session API: a file in chunks, in any order.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::http::{AUTHORIZATION, Connection, Request};
use crate::pattern::Pattern;
use crate::site::Site;
use crate::tus::{Upload, expect};

/// What is asked of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) number: u64,
    pub(crate) size: u64,
    pub(crate) chunk: u64,
    /// Each chunk comes with its SHA-256.
    pub(crate) hashes: bool,
    /// And the whole has one.
    pub(crate) file_hash: bool,
}

/// A session, with the hashes of its chunks worked out: that is the client's work, and not measured.
pub(crate) struct Session {
    path: String,
    chunk: u64,
    sums: Vec<String>,
    /// The file that it becomes.
    pub(crate) file: Upload,
}

impl Session {
    pub(crate) fn begin(
        via: &mut Connection,
        site: &Site,
        wish: Wish,
        sums: &Sums,
    ) -> Result<Self, Failure> {
        const PATH: &str = "/uploads/initialize";
        let mut ask = json!({
            "filename": "load", "size": wish.size, "chunk_size": wish.chunk, "verify": wish.hashes,
        });
        if let Some(hash) = &sums.file {
            ask["file_hash"] = hash.as_str().into();
        }
        let body = ask.to_string();
        let request = Request {
            method: "POST",
            path: PATH,
            fields: &[("Content-Type", "application/json")],
            body_len: body.len() as u64,
        };
        let (head, body) = via.fetch(&request, body.as_bytes())?;
        expect("POST", PATH, &head, 201)?;
        let told: Value = serde_json::from_slice(&body)
            .map_err(|_| Failure::NotHttp("a session that is no JSON"))?;
        let text = |name: &str| {
            told[name]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| Failure::Wrong {
                    path: PATH.to_owned(),
                    what: format!("no {name} in {told}"),
                })
        };
        Ok(Self {
            path: format!("/uploads/{}", text("session_id")?),
            chunk: wish.chunk,
            sums: sums.chunks.clone(),
            file: Upload {
                path: site.target.resolve(&text("upload_url")?)?,
                number: wish.number,
                base: 0,
                length: wish.size,
                offset: wish.size,
                bearer: Some(format!("Bearer {}", text("session_token")?)),
            },
        })
    }

    pub(crate) fn chunks(&self) -> u64 {
        self.file.length.div_ceil(self.chunk)
    }

    /// Sends the chunk of that index, counted from 0.
    pub(crate) fn send(
        &self,
        via: &mut Connection,
        pattern: &Pattern,
        index: u64,
    ) -> Result<(), Failure> {
        let range = index * self.chunk..self.file.length.min((index + 1) * self.chunk);
        let sum = usize::try_from(index).ok().and_then(|n| self.sums.get(n));
        let path = format!("{}/chunks/{}", self.path, index + 1);
        let fields = [
            (AUTHORIZATION, self.bearer()),
            ("X-Chunk-SHA256", sum.map_or("", String::as_str)),
        ];
        let request = Request {
            method: "POST",
            path: &path,
            fields: &fields[..=usize::from(sum.is_some())],
            body_len: range.end - range.start,
        };
        let answer = via.exchange(&request, pattern.run(self.file.number, range))?;
        expect("POST", &path, &answer, 201)
    }

    pub(crate) fn finalize(&self, via: &mut Connection) -> Result<(), Failure> {
        let path = format!("{}/finalize", self.path);
        let request = Request {
            method: "POST",
            path: &path,
            fields: &[(AUTHORIZATION, self.bearer())],
            body_len: 0,
        };
        let answer = via.exchange(&request, std::iter::empty())?;
        expect("POST", &path, &answer, 200)
    }

    fn bearer(&self) -> &str {
        self.file.bearer.as_deref().unwrap_or_default()
    }
}

/// The hashes that a session goes with.
pub(crate) struct Sums {
    chunks: Vec<String>,
    file: Option<String>,
}

impl Sums {
    pub(crate) fn of(pattern: &Pattern, wish: Wish) -> Self {
        let sum = |range| hex(&pattern.sum::<sha2::Sha256>(wish.number, range));
        let count = if wish.hashes {
            wish.size.div_ceil(wish.chunk)
        } else {
            0
        };
        Self {
            chunks: (0..count)
                .map(|n| sum(n * wish.chunk..wish.size.min((n + 1) * wish.chunk)))
                .collect(),
            file: wish.file_hash.then(|| sum(0..wish.size)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
