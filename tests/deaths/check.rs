//! After the server came back: what its clients were told, held against what it tells and serves now.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::load::{Asked, Load, Role, Upload, serial};
use crate::support::{Client, Reply, file_of, id, walk};

/// What must still hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Promise {
    /// What was told to be complete is there, whole.
    pub completions: bool,
    /// Every offset, creation, declared length and deletion that was told.
    pub everything: bool,
}

impl Promise {
    pub const ALL: Self = Self {
        completions: true,
        everything: true,
    };
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    pub uploads: usize,
    pub complete: usize,
    /// Promises that were held against what is there.
    pub promises: usize,
    /// Uploads, and bytes of them, that were told and not promised, and were taken back.
    pub taken_back: usize,
    pub bytes: u64,
    /// Creations that were never answered, and are there.
    pub untold: usize,
    /// What is wrong.
    pub wrong: Vec<String>,
}

impl Found {
    pub fn add(&mut self, other: Self) {
        self.uploads += other.uploads;
        self.complete += other.complete;
        self.promises += other.promises;
        self.taken_back += other.taken_back;
        self.bytes += other.bytes;
        self.untold += other.untold;
        self.wrong.extend(other.wrong);
    }

    fn took_back(&mut self, bytes: u64) {
        self.taken_back += 1;
        self.bytes += bytes;
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} uploads, {} complete; {} promises held against what is there, {} broken; taken back unpromised: {} uploads, {} KiB",
            self.uploads,
            self.complete,
            self.promises,
            self.wrong.len(),
            self.taken_back,
            self.bytes >> 10
        )
    }
}

/// What is held against what.
pub struct Check<'a> {
    pub load: &'a Load,
    pub client: Client,
    pub data: &'a Path,
    pub promise: Promise,
}

impl Check<'_> {
    /// Looks at every upload there is; from then on the load knows what is there.
    pub async fn all(&self) -> Found {
        let mut found = Found::default();
        self.meet_untold(&mut found).await;
        let uploads = self.load.uploads().clone();
        let mut stay = Vec::new();
        for upload in uploads {
            if upload.path().is_none() {
                continue;
            }
            found.uploads += 1;
            found.complete += usize::from(upload.is_complete());
            match self.one(&upload, &mut found).await {
                Ok(true) => stay.push(upload),
                Ok(false) => {}
                Err(wrong) => {
                    let (role, facts) = (upload.role, upload.facts().clone());
                    found.wrong.push(format!("{wrong}: {role:?} {facts:?}"));
                }
            }
        }
        // A final that waits for a part that is lost.
        let serials: HashSet<_> = stay.iter().map(|upload| upload.serial).collect();
        stay.retain(|upload| {
            upload.is_complete() || upload.parts.iter().all(|one| serials.contains(&one.serial))
        });
        *self.load.uploads() = stay;
        found
    }

    /// Creations that were never answered are found by their sidecars, and are told apart by their metadata. So are uploads
    /// that were gone and are there again, as they may be after a power cut.
    async fn meet_untold(&self, found: &mut Found) {
        let mut names = Vec::new();
        walk(&self.data.join("info"), &mut |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            names.push(format!("/files/{}", name.trim_end_matches(".json")));
        });
        let uploads = self.load.uploads().clone();
        let known: HashSet<_> = uploads.iter().filter_map(|upload| upload.path()).collect();
        for path in names.into_iter().filter(|path| !known.contains(path)) {
            let head = self.client.head(&path).await;
            if head.status != 200 {
                continue;
            }
            let number = head.header("Upload-Metadata").and_then(serial);
            let Some(upload) = number.and_then(|number| self.load.by_serial(number)) else {
                let wrong = format!("nobody has created {path}: {head:?}");
                found.wrong.push(wrong);
                continue;
            };
            found.untold += 1;
            let mut facts = upload.facts();
            if facts.path.is_some() {
                (facts.told, facts.checked, facts.created) = (0, None, false);
                self.load.uploads().push(upload.clone());
            }
            facts.path = Some(path);
        }
    }

    /// Whether it is there. An error says what is wrong.
    async fn one(&self, upload: &Arc<Upload>, found: &mut Found) -> Result<bool, String> {
        let before = upload.facts().clone();
        let path = before.path.as_deref().unwrap_or_default();
        let head = self.client.head(path).await;
        let complete = upload.is_complete();
        let promised = self.promise.everything || (complete && self.promise.completions);
        if before.gone == Asked::Told {
            found.promises += usize::from(self.promise.everything);
            if head.status == 404 {
                return Ok(false);
            }
            if self.promise.everything {
                return Err(format!("terminated, but {head:?}"));
            }
        }
        match head.status {
            200 => {}
            404 if before.gone != Asked::No || !before.created => return Ok(false),
            404 | 410 if !promised => {
                found.took_back(before.told);
                return Ok(false);
            }
            // Its deletion was under way.
            410 if before.gone != Asked::No => return Ok(false),
            _ => return Err(format!("{head:?}")),
        }
        upload.facts().gone = Asked::No;
        self.length(upload, &head, found)?;
        found.promises += usize::from(promised);
        let Some(offset) = head.number("Upload-Offset") else {
            return self.waiting(upload, &head, promised).await;
        };
        if offset < before.told {
            if promised {
                return Err(format!("told {}, and now {head:?}", before.told));
            }
            found.took_back(before.told - offset);
        }
        if let Some(end) = before.checked
            && offset > before.told
            && offset != end
        {
            return Err(format!("unverified bytes count: {head:?}"));
        }
        Self::now_known(upload, offset);
        self.bytes(upload, path, offset).await.map(|()| true)
    }

    fn now_known(upload: &Upload, offset: u64) {
        let mut facts = upload.facts();
        (facts.told, facts.checked, facts.created) = (offset, None, true);
    }

    /// What HEAD tells of the length, and as what it was created.
    fn length(&self, upload: &Upload, head: &Reply, found: &mut Found) -> Result<(), String> {
        let told = upload.facts().declared;
        let length = head.number("Upload-Length");
        let waits = upload.role == Role::Final && head.header("Upload-Offset").is_none();
        if length.is_some_and(|length| length != upload.length()) {
            return Err(format!("not its length: {head:?}"));
        }
        let metadata = head.header("Upload-Metadata").and_then(serial);
        if metadata != Some(upload.serial) {
            return Err(format!("not its metadata: {head:?}"));
        }
        found.promises += usize::from(told == Asked::Told && self.promise.everything);
        match (length, told) {
            (None, Asked::Told) if self.promise.everything && !waits => {
                Err(format!("its length was declared: {head:?}"))
            }
            (Some(_), Asked::No) => Err(format!("its length was not declared: {head:?}")),
            (length, _) => {
                if !waits {
                    upload.facts().declared = length.map_or(Asked::No, |_| Asked::Told);
                }
                Ok(())
            }
        }
    }

    /// A final without an offset: nothing of it is there, and one of its parts is not complete.
    async fn waiting(&self, upload: &Upload, head: &Reply, promised: bool) -> Result<bool, String> {
        let path = upload.path().unwrap_or_default();
        if upload.role != Role::Final || (upload.is_complete() && promised) {
            return Err(format!("no offset: {head:?}"));
        }
        upload.facts().told = 0;
        upload.facts().created = true;
        let got = self.client.get(&path).await;
        if got.status == 409 {
            return Ok(true);
        }
        // Its last part was found complete just now, or is found lost.
        let whole = got.status == 200 && self.is_right(upload, &got.body);
        if whole || (!promised && got.status == 410) {
            return Ok(whole);
        }
        Err(format!("half a final: {head:?} {}", got.status))
    }

    /// What is told is there, and right.
    async fn bytes(&self, upload: &Upload, path: &str, offset: u64) -> Result<(), String> {
        let stored = if upload.facts().declared == Asked::Told && offset == upload.length() {
            let got = self.client.get(path).await;
            if got.status != 200 {
                return Err(format!("complete, but {got:?}"));
            }
            got.body
        } else if upload.role == Role::Final {
            return Err(format!("half a final: {offset}"));
        } else {
            let file = std::fs::read(file_of(self.data, path)).unwrap_or_default();
            if file.len() as u64 != offset {
                return Err(format!("{offset} told, {} stored", file.len()));
            }
            file
        };
        if stored.len() as u64 != offset || !self.is_right(upload, &stored) {
            let right = self.load.bytes(upload, 0..upload.length());
            let same = stored
                .iter()
                .zip(&right)
                .take_while(|(a, b)| a == b)
                .count();
            let zeros = stored[same..].iter().all(|byte| *byte == 0);
            let what = if zeros { "zeros" } else { "other bytes" };
            return Err(format!("{what} from {same} on in {offset} of {}", id(path)));
        }
        Ok(())
    }

    fn is_right(&self, upload: &Upload, bytes: &[u8]) -> bool {
        let length = bytes.len() as u64;
        length <= upload.length() && self.load.bytes(upload, 0..length) == bytes
    }
}
