//! Through a socket, with the bytes written out.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::{Fault, Flaw, Reference};

/// A connection to a server, or to none when it does not answer in time.
struct Talk(TcpStream);

impl Talk {
    fn with(reference: &Reference) -> Self {
        let stream = TcpStream::connect(reference.address).expect("a connection");
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).expect("a timeout");
        Self(stream)
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("to be heard");
    }

    /// Until what was heard has `end`.
    fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        let mut byte = [0];
        while !heard.ends_with(end.as_bytes()) {
            let count = self.0.read(&mut byte).expect("an answer");
            assert!(
                count == 1,
                "closed after {:?}",
                String::from_utf8_lossy(&heard)
            );
            heard.push(byte[0]);
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Until the connection ends.
    fn hear_out(&mut self) -> String {
        let mut heard = Vec::new();
        self.0.read_to_end(&mut heard).expect("the end");
        String::from_utf8_lossy(&heard).into_owned()
    }
}

/// A request with what all have, on a connection of its own; the whole answer.
fn ask(reference: &Reference, request: &str, fields: &str, body: &str) -> String {
    let mut talk = Talk::with(reference);
    talk.say(format!(
        "{request} HTTP/1.1\r\nHost: {}\r\nTus-Resumable: 1.0.0\r\nConnection: close\r\n{fields}\r\n{body}",
        reference.address
    ));
    talk.hear_out()
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or_default()
}

fn field<'s>(answer: &'s str, name: &str) -> Option<&'s str> {
    let head = answer.split("\r\n\r\n").next()?;
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// Creates an upload, and gives its path.
fn create(reference: &Reference, fields: &str) -> String {
    let answer = ask(
        reference,
        "POST /files/",
        &format!("Content-Length: 0\r\n{fields}"),
        "",
    );
    assert_eq!(status(&answer), 201, "{answer}");
    let location = field(&answer, "Location").expect("a location");
    let at = location.find("/files/").expect("a path");
    location[at..].to_owned()
}

fn patch(reference: &Reference, path: &str, offset: u64, fields: &str, body: &str) -> u16 {
    let fields = format!(
        "Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\nContent-Length: {}\r\n{fields}",
        body.len()
    );
    status(&ask(reference, &format!("PATCH {path}"), &fields, body))
}

fn head(reference: &Reference, path: &str) -> String {
    ask(reference, &format!("HEAD {path}"), "", "")
}

fn offset(reference: &Reference, path: &str) -> String {
    field(&head(reference, path), "Upload-Offset")
        .unwrap_or("none")
        .to_owned()
}

fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it never happened"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn right() -> Reference {
    Reference::start(None).expect("a server")
}

fn wrong(flaw: Flaw) -> Reference {
    Reference::start(Some(Fault::Flaw(flaw))).expect("a server")
}

#[test]
fn an_upload_from_creation_to_termination() {
    let reference = right();
    let path = create(
        &reference,
        "Upload-Length: 11\r\nUpload-Metadata: name dGVzdA==,flag ,x\r\n",
    );
    assert_eq!(patch(&reference, &path, 0, "", "hello "), 204);
    assert_eq!(patch(&reference, &path, 0, "", "hello "), 409);
    assert_eq!(patch(&reference, &path, 6, "", "world, and more"), 413);
    let told = head(&reference, &path);
    assert_eq!(field(&told, "Upload-Offset"), Some("6"));
    assert_eq!(
        field(&told, "Upload-Metadata"),
        Some("name dGVzdA==,flag ,x")
    );
    assert!(field(&told, "Upload-Expires").is_some_and(|date| date.ends_with(" GMT")));
    assert_eq!(patch(&reference, &path, 6, "", "world"), 204);
    assert_eq!(patch(&reference, &path, 11, "", ""), 204);
    let got = ask(&reference, &format!("GET {path}"), "", "");
    assert!(got.ends_with("\r\n\r\nhello world"), "{got}");
    assert_eq!(
        status(&ask(&reference, &format!("DELETE {path}"), "", "")),
        204
    );
    assert_eq!(status(&head(&reference, &path)), 404);
}

#[test]
fn sums_in_the_head_and_in_the_trailer() {
    let reference = right();
    let path = create(&reference, "Upload-Length: 22\r\n");
    let good = "Upload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=\r\n";
    assert_eq!(patch(&reference, &path, 0, good, "hello World"), 460);
    assert_eq!(
        patch(
            &reference,
            &path,
            0,
            "Upload-Checksum: sha3 AAAA\r\n",
            "hello world"
        ),
        400
    );
    assert_eq!(offset(&reference, &path), "0");
    assert_eq!(patch(&reference, &path, 0, good, "hello world"), 204);
    let fields = "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 11\r\n\
                  Transfer-Encoding: chunked\r\nTrailer: Upload-Checksum\r\n";
    for (text, expected, after) in [("hellO", 460, "11"), ("hello", 204, "22")] {
        let body = format!("5;x=y\r\n{text}\r\n6\r\n world\r\n0\r\n{good}\r\n");
        let answer = ask(&reference, &format!("PATCH {path}"), fields, &body);
        assert_eq!(status(&answer), expected, "{answer}");
        assert_eq!(offset(&reference, &path), after);
    }
}

#[test]
fn finals_before_and_after_their_parts() {
    let reference = right();
    let parts: Vec<String> = (0..2)
        .map(|_| create(&reference, "Upload-Concat: partial\r\nUpload-Length: 3\r\n"))
        .collect();
    let concat = format!("final;{} {} {}", parts[1], parts[0], parts[1]);
    let path = create(&reference, &format!("Upload-Concat: {concat}\r\n"));
    let told = head(&reference, &path);
    assert_eq!(
        (field(&told, "Upload-Offset"), field(&told, "Upload-Length")),
        (None, Some("9"))
    );
    assert_eq!(patch(&reference, &parts[0], 0, "", "abc"), 204);
    assert_eq!(patch(&reference, &parts[1], 0, "", "def"), 204);
    let told = head(&reference, &path);
    assert_eq!(field(&told, "Upload-Offset"), Some("9"));
    assert_eq!(field(&told, "Upload-Concat"), Some(concat.as_str()));
    assert!(ask(&reference, &format!("GET {path}"), "", "").ends_with("\r\n\r\ndefabcdef"));
    assert_eq!(patch(&reference, &path, 9, "", "x"), 403);
}

#[test]
fn unfinished_uploads_expire_and_finished_ones_do_not() {
    let reference = right();
    let path = create(&reference, "Upload-Length: 3\r\n");
    let done = create(&reference, "Upload-Length: 0\r\n");
    until(|| status(&head(&reference, &path)) == 410);
    assert_eq!(patch(&reference, &path, 0, "", "abc"), 410);
    assert_eq!(status(&head(&reference, &done)), 200);
}

#[test]
fn a_hung_patch_counts_and_gives_way() {
    let reference = right();
    let path = create(&reference, "Upload-Length: 8\r\n");
    let hang = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 8\r\n\r\nabc"
    );
    let mut hung = Talk::with(&reference);
    hung.say(&hang);
    until(|| offset(&reference, &path) == "3");
    assert_eq!(patch(&reference, &path, 0, "", "x"), 409);
    assert_eq!(patch(&reference, &path, 3, "", "de"), 204);
    assert_eq!(status(&hung.hear_out()), 423);
    let mut cut = Talk::with(&reference);
    cut.say(
        hang.replace("Offset: 0", "Offset: 5")
            .replace("Length: 8", "Length: 3")
            .replace("abc", "f"),
    );
    until(|| offset(&reference, &path) == "6");
    cut.0.shutdown(Shutdown::Write).expect("a cut");
    assert_eq!(cut.hear_out(), "");
    assert_eq!(patch(&reference, &path, 6, "", "gh"), 204);
}

#[test]
fn the_bytes_of_a_chunk_count_before_its_end() {
    let reference = right();
    let path = create(&reference, "Upload-Length: 8\r\n");
    let mut hung = Talk::with(&reference);
    hung.say(format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc"
    ));
    until(|| offset(&reference, &path) == "3");
    hung.say("XX");
    assert_eq!(status(&hung.hear_out()), 400);
    assert_eq!(offset(&reference, &path), "3");
}

#[test]
fn stopped_servers_leave_no_threads() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let reference = right();
        let path = create(&reference, "Upload-Length: 8\r\n");
        // One is in the middle of a body, and one has said nothing; neither closes its side.
        let mut hung = Talk::with(&reference);
        hung.say(format!(
            "PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: 8\r\n\r\nabc"
        ));
        clients.extend([hung, Talk::with(&reference)]);
    }
    // The other tests have some of their own, never as many as these would be.
    until(|| threads() < 100);
}

#[test]
fn continue_is_sent_for_wanted_bodies_only() {
    let reference = right();
    let path = create(&reference, "Upload-Length: 5\r\n");
    for (offset, expected) in [(1, "HTTP/1.1 409"), (0, "HTTP/1.1 100 Continue\r\n\r\n")] {
        let mut talk = Talk::with(&reference);
        talk.say(format!(
            "PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ));
        assert_eq!(talk.hear(expected), expected);
        if offset == 0 {
            talk.say("hello");
            assert_eq!(status(&talk.hear("\r\n\r\n")), 204);
        }
    }
}

#[test]
fn connections_stay_in_order() {
    let reference = right();
    let path = create(&reference, "Upload-Length: 5\r\n");
    let mut talk = Talk::with(&reference);
    let refused = "PATCH /files/unknown HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nContent-Length: 5\r\n\r\nGET /";
    let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n");
    let absolute = head.replace("HEAD ", "HEAD http://x");
    talk.say(format!(
        "{refused}{head}\r\n\r\n{absolute}Connection: close\r\n\r\n"
    ));
    let heard = talk.hear_out();
    let statuses: Vec<&str> = heard
        .matches("HTTP/1.1 200")
        .chain(heard.matches("HTTP/1.1 404"))
        .collect();
    assert_eq!(statuses.len(), 3, "{heard}");
    assert!(heard.starts_with("HTTP/1.1 404"), "{heard}");
    assert_eq!(heard.matches("Connection: close").count(), 1);
}

#[test]
fn heads_are_read_strictly() {
    let reference = right();
    let table = [
        (
            "POST /files/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST /files/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            "POST /files/ HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
            400,
        ),
        (
            "POST /files/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        ("OPTIONS /files/ HTTP/1.1\r\n\r\n", 400),
        (
            "OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
            400,
        ),
        (
            "OPTIONS /files/ HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            400,
        ),
        ("OPTIONS /files/ HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("OPTIONS /files/ HTTP/1.1\nHost: x\n\n", 400),
        ("\x16\x03\x01", 400),
        ("hello\r\n", 400),
        ("OPTIONS /files/ HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (
            "BREW /files/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            501,
        ),
        (
            "OPTIONS /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            404,
        ),
        ("OPTIONS /files/ HTTP/1.0\r\n\r\n", 204),
        (
            "\r\nOPTIONS * HTTP/1.1\r\nHost: x\r\nTus-Resumable: 0.1\r\nConnection: close\r\n\r\n",
            204,
        ),
        (
            "HEAD /files/x HTTP/1.1\r\nHost: x\r\nTus-Resumable: 0.1\r\nConnection: close\r\n\r\n",
            412,
        ),
    ];
    for (request, expected) in table {
        let mut talk = Talk::with(&reference);
        talk.say(request);
        let answer = talk.hear_out();
        assert_eq!(status(&answer), expected, "{request:?}: {answer}");
        assert_eq!(field(&answer, "Tus-Resumable"), Some("1.0.0"));
    }
}

#[test]
fn answers_are_rewritten_by_faults() {
    let table = [
        (Fault::Without("HEAD", 404, "Cache-Control"), 404, None),
        (Fault::Status("HEAD", 404, 500), 500, Some("no-store")),
        (
            Fault::Field("*", 0, "Cache-Control", "public"),
            404,
            Some("public"),
        ),
        (
            Fault::Without("GET", 404, "Cache-Control"),
            404,
            Some("no-store"),
        ),
    ];
    for (fault, expected, cache) in table {
        let reference = Reference::start(Some(fault)).expect("a server");
        let answer = head(&reference, "/files/x");
        assert_eq!(
            (status(&answer), field(&answer, "Cache-Control")),
            (expected, cache),
            "{fault}"
        );
    }
}

#[test]
fn every_flaw_leaves_a_server_that_answers_and_stops() {
    for flaw in Flaw::ALL {
        let reference = wrong(*flaw);
        let mut talk = Talk::with(&reference);
        talk.say("OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n");
        assert!(talk.hear("\r\n\r\n").starts_with("HTTP/1."), "{flaw:?}");
        // The connection is still open: stopping is to close it.
        drop(reference);
        talk.hear_out();
    }
}
