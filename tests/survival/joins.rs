//! The model of a final that is made while others write and delete its parts.
//!
//! 1. It is refused (400 `bad-part`) only if a part's deletion had begun, and must be if one was over.
//! 2. One that tells its offset at once had all bytes of its parts, and tells their sum.
//! 3. Whoever reads it reads its parts' bytes in their order, whatever became of the parts since; once it could be read, it
//!    can be read.
//! 4. At the end one that waits is complete if its parts are, has failed (410 `part-gone`) if a part was deleted before the
//!    last byte, and waits otherwise.

use super::history::{Content, History, When};
use crate::support::{Client, Reply};

/// A request for a final, and what was seen of it.
#[derive(Debug)]
pub(super) struct Joined {
    /// Which of the round's uploads, in this order.
    parts: Vec<usize>,
    when: When,
    status: u16,
    code: String,
    /// Of the answer to its creation.
    offset: Option<u64>,
    pub(super) path: Option<String>,
    looks: Vec<Look>,
    /// HEAD at the end: `Upload-Offset`, if it was well.
    end: Option<u64>,
}

#[derive(Debug)]
struct Look {
    status: u16,
    code: String,
    body: Content,
    when: When,
}

type Verdict = Result<(), String>;

impl Joined {
    pub(super) fn new(parts: Vec<usize>, when: When, created: &Reply) -> Self {
        Self {
            parts,
            when,
            status: created.status,
            code: created.code.clone(),
            offset: created.number("Upload-Offset"),
            path: (created.status == 201).then(|| created.location_path()),
            looks: Vec::new(),
            end: None,
        }
    }

    /// Notes what a download of it brought.
    pub(super) fn looked(&mut self, reply: &Reply, when: When) {
        self.looks.push(Look {
            status: reply.status,
            code: reply.code.clone(),
            body: Content(reply.body.clone()),
            when,
        });
    }

    /// Notes what there is when nobody asks any more.
    pub(super) async fn look_at_the_end(&mut self, server: &Client) {
        if let Some(path) = self.path.clone() {
            self.end = server.head(&path).await.number("Upload-Offset");
            let end = When {
                asked: u64::MAX,
                answered: u64::MAX,
            };
            self.looked(&server.get(&path).await, end);
        }
    }

    /// Holds it to the model, with the histories of the round's uploads.
    pub(super) fn check(&self, histories: &[History], lengths: &[u64]) -> Verdict {
        let parts: Vec<_> = self.parts.iter().map(|n| &histories[*n]).collect();
        let length: u64 = self.parts.iter().map(|n| lengths[*n]).sum();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.bytes()).collect();
        let whole = bytes.len() as u64 == length;
        let deletions: Vec<_> = parts.iter().filter_map(|part| part.deletion()).collect();
        self.check_creation(&deletions)?;
        if self.path.is_none() {
            return Ok(());
        }
        if let Some(offset) = self.offset {
            let all = parts.iter().flat_map(|part| part.moves());
            let early = all.filter(|moved| self.when.before(moved.when)).count();
            if !whole || early > 0 || offset != length {
                return Err(format!("final 2: {early} requests came after it"));
            }
        }
        self.check_looks(&bytes, whole)?;
        let end = self.looks.last().ok_or("nobody looked")?;
        let legal = match (end.status, end.code.as_str()) {
            (200, _) => whole && self.end == Some(length),
            (410, "part-gone") => !deletions.is_empty() && self.offset.is_none(),
            (409, "not-finished") => !whole && deletions.is_empty() && self.end.is_none(),
            _ => false,
        };
        legal
            .then_some(())
            .ok_or_else(|| format!("final 4: at the end {end:?}, {} deletions", deletions.len()))
    }

    fn check_creation(&self, deletions: &[When]) -> Verdict {
        let over = deletions.iter().any(|deletion| deletion.before(self.when));
        let begun = deletions
            .iter()
            .any(|deletion| !self.when.before(*deletion));
        let legal = match (self.status, self.code.as_str()) {
            (201, _) => !over,
            (400, "bad-part") => begun,
            _ => false,
        };
        legal
            .then_some(())
            .ok_or_else(|| format!("final 1: deletions {deletions:?}"))
    }

    fn check_looks(&self, bytes: &[u8], whole: bool) -> Verdict {
        let mut complete_since = self.offset.map(|_| self.when);
        for look in &self.looks {
            let after = complete_since.is_some_and(|since| since.before(look.when));
            if after && look.status != 200 {
                return Err(format!("final 3: it was complete, then {look:?}"));
            }
            if look.status == 200 {
                if !whole || look.body.0 != bytes {
                    return Err(format!("final 3: other bytes in {look:?}"));
                }
                complete_since.get_or_insert(look.when);
            }
        }
        Ok(())
    }
}
