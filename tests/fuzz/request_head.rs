//! Target `request_head`: bytes as the head of an HTTP/1.1 request, with whatever follows, to a real server through a socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use highwater::config::{Config, Durability};
use highwater::protocol::base_path::{BasePath, Target as Named};
use highwater::protocol::checksum::{self, UploadChecksum};
use highwater::protocol::concat::{ConcatHeader, UploadConcat};
use highwater::protocol::length::{self, UploadLength};
use highwater::protocol::location::{Origin, Via, resolve};
use highwater::protocol::metadata::UploadMetadata;
use highwater::protocol::offset::UploadOffset;
use highwater::protocol::range::{Requested, requested};
use highwater::protocol::{conditional, media, method, version};
use highwater::server::{self, Running};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tokio::runtime::Runtime;

use super::wire::{Answer, answers, talk};

/// The names of the server's threads; a panic in one of them is a failure wherever it is caught.
const THREADS: &str = "fuzzed";

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A server, and what is done to it.
pub(crate) struct Target {
    running: Option<Running>,
    runtime: Runtime,
    dir: tempfile::TempDir,
    /// How often each status came back from what was sent.
    seen: Mutex<BTreeMap<u16, usize>>,
}

impl Target {
    /// Starts a server in this process.
    pub(crate) fn start() -> Self {
        count_panics();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(THREADS)
            .enable_all()
            .build()
            .expect("a runtime");
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config {
            upload_dir: dir.path().join("data"),
            durability: Durability::Process,
            max_size: 1 << 20,
            network_timeout: Duration::from_secs(2),
            header_timeout: Duration::from_secs(2),
            behind_proxy: true,
            ..Config::for_test()
        };
        let running = runtime.block_on(server::start(config)).expect("it starts");
        Self {
            running: Some(running),
            runtime,
            dir,
            seen: Mutex::default(),
        }
    }

    /// Sends `bytes`: the server answers well-formed or not at all, closes, does not panic, and keeps nothing but what it
    /// says that it keeps.
    ///
    /// In `bytes`, `@o` stands for the id of an upload that is open, `@f` for one that is finished, `@p` for a finished part,
    /// `@s` for the id of a session, `@t` for its token.
    pub(crate) fn run(&self, bytes: &[u8]) {
        typed(bytes);
        let mut ends = Vec::new();
        let sent = self.filled(bytes, &mut ends);
        let came = self.talk(&sent);
        // What goes over to HTTP/2 is answered in its frames.
        if !sent.starts_with(b"PRI * HTTP/2.0") {
            let bodiless = sent
                .windows(4)
                .any(|four| four.eq_ignore_ascii_case(b"HEAD"));
            let answers = answers(&came, bodiless);
            ends.extend(answers.iter().filter_map(Answer::end));
            let mut seen = self.seen.lock().expect("no panic");
            for answer in answers {
                *seen.entry(answer.status).or_default() += 1;
            }
        }
        for end in &ends {
            let gone = self.ask(end.as_bytes(), b"");
            // A request among the bytes may have ended it.
            assert!(matches!(gone.status, 204 | 404), "{end}: {gone:?}");
        }
        self.nothing_is_left();
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "no thread panicked");
    }

    /// How often each status came back so far.
    pub(crate) fn seen(&self) -> BTreeMap<u16, usize> {
        self.seen.lock().expect("no panic").clone()
    }

    fn talk(&self, bytes: &[u8]) -> Vec<u8> {
        let addr = self.running.as_ref().and_then(Running::addr);
        talk(addr.expect("an address"), bytes)
    }

    /// One good request, whose head begins with `head`, and its one answer.
    pub(crate) fn ask(&self, head: &[u8], body: &[u8]) -> Answer {
        let length = body.len();
        let rest = format!("Host: t\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let came = self.talk(&[head, rest.as_bytes(), body].concat());
        let mut answers = answers(&came, head.starts_with(b"HEAD"));
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    /// `bytes` with uploads and a session in the places of their signs; how each is ended goes to `ends`.
    fn filled(&self, bytes: &[u8], ends: &mut Vec<String>) -> Vec<u8> {
        let kinds = [
            (*b"@o", "Upload-Defer-Length: 1"),
            (
                *b"@f",
                "Upload-Length: 3\r\nUpload-Metadata: filename YS50eHQ=,filetype dGV4dC9wbGFpbg==",
            ),
            (*b"@p", "Upload-Length: 3\r\nUpload-Concat: partial"),
        ];
        let mut filled = bytes.to_vec();
        for (sign, headers) in kinds {
            if has(&filled, sign) {
                let head = format!(
                    "POST /files/ HTTP/1.1\r\nTus-Resumable: 1.0.0\r\n{headers}\r\n\
                     Content-Type: application/offset+octet-stream\r\n"
                );
                let made = self.ask(head.as_bytes(), b"abc");
                let path = made.location().expect("an upload");
                put(&mut filled, sign, &path["/files/".len()..]);
                ends.extend(made.end());
            }
        }
        if has(&filled, *b"@s") || has(&filled, *b"@t") {
            let head = b"POST /uploads/initialize HTTP/1.1\r\n";
            let made = self.ask(head, br#"{"filename":"a","size":3}"#);
            let (id, token) = made.session().expect("a session");
            put(&mut filled, *b"@s", &id);
            put(&mut filled, *b"@t", &token);
            ends.extend(made.end());
        }
        filled
    }

    /// Waits until no file of an upload is left: an upload whose connection is gone ends on its own.
    fn nothing_is_left(&self) {
        let begin = Instant::now();
        loop {
            let mut left = Vec::new();
            for tree in ["files", "info", "segments", "sessions"] {
                files(&self.dir.path().join("data").join(tree), &mut left);
            }
            if left.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "nobody was told of {left:?}"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            self.runtime.block_on(running.wait());
        }
    }
}

fn has(bytes: &[u8], sign: [u8; 2]) -> bool {
    bytes.windows(2).any(|two| two == sign)
}

/// Puts `text` in every place of `sign`.
fn put(bytes: &mut Vec<u8>, sign: [u8; 2], text: &str) {
    while let Some(at) = bytes.windows(2).position(|two| two == sign) {
        bytes.splice(at..at + 2, text.bytes());
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), found),
            _ => found.push(entry.path()),
        }
    }
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current()
                .name()
                .is_some_and(|name| name.starts_with(THREADS))
            {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(panic);
        }));
    });
}

/// The typed headers of a head that is read naively: none panics, and what they find is in its bounds.
pub(crate) fn typed(bytes: &[u8]) {
    let mut lines = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    let mut first = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let (asked, uri) = (first.next(), first.next());
    let uri = uri
        .and_then(|uri| Uri::try_from(uri).ok())
        .unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()).take(100) {
        let at = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let value = line.get(at + 1..).unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(&line[..at]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    if let Some(asked) = asked.and_then(|asked| Method::from_bytes(asked).ok()) {
        let _ = method::effective(&asked, &headers);
    }
    let _ = (
        version::check(&headers, true),
        media::is_offset_stream(&headers),
    );
    let _ = checksum::trailer_announced(&headers);
    let largest = i64::MAX.unsigned_abs();
    let offset = UploadOffset::from_headers(&headers);
    assert!(offset.is_ok_and(|offset| offset.0 <= largest) || offset.is_err());
    assert!(length::declared(&headers).ok().flatten() <= Some(largest));
    let _ = UploadLength::from_headers(&headers);
    if let Ok(Some(checksum)) = UploadChecksum::from_headers(&headers) {
        assert_eq!(checksum.sum.len(), checksum.algorithm.sum_len());
    }
    if let Ok(Some(metadata)) = UploadMetadata::from_headers(&headers) {
        super::metadata::run(metadata.raw());
    }
    let _ = conditional::verdict(&headers, "\"a\"", 1_000_000_000_000);
    if let Requested::Part(part) = requested(&headers, 10, "\"a\"", 1_000_000_000_000) {
        assert!(part.start < part.end && part.end <= 10, "{part:?}");
    }
    urls(&headers, &uri);
}

fn urls(headers: &HeaderMap, uri: &Uri) {
    let base: BasePath = "/files/".parse().expect("a path");
    let via = Via {
        behind_proxy: true,
        ..Via::default()
    };
    let origin = Origin::of(headers, uri, &via);
    if let Some(Named::Upload(id)) = base.route(uri.path()) {
        harmless(id.as_str());
        let location = origin.location(base.as_str(), &id);
        assert!(
            location.bytes().all(|byte| byte.is_ascii_graphic()),
            "{location:?}"
        );
        assert_eq!(resolve(&location, &origin, base.as_str()), Ok(id));
    }
    if let Ok(Some(ConcatHeader {
        value: UploadConcat::Final(parts),
        ..
    })) = ConcatHeader::from_headers(headers)
    {
        for id in parts
            .iter()
            .filter_map(|part| resolve(part, &origin, base.as_str()).ok())
        {
            harmless(id.as_str());
        }
    }
}

/// Invariant 9: an id is nowhere but below its directory.
fn harmless(id: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    let up = id
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."));
    assert!(!up && id.bytes().all(plain) && id.len() <= 200, "{id:?}");
}
