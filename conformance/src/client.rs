//! What a case works with: a client of the one server, that writes down what it sent and what came back.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::case::{Outcome, Stop, ensure};
use crate::target::Url;
use crate::wire::{Conn, PATIENCE, Request, Response, WireError};

/// What an upload's bytes are sent as.
pub const OFFSET_STREAM: &str = "application/offset+octet-stream";

/// Where a page is that uploads, for CORS.
pub const ORIGIN: &str = "https://app.example";

/// What is known of the server before the first case.
#[derive(Debug, Clone)]
pub struct Server {
    /// The creation URL.
    pub url: Url,
    /// Fields for every request, such as `Authorization`.
    pub fields: Vec<(String, String)>,
    /// `Tus-Extension`.
    pub extensions: Vec<String>,
    /// `Tus-Max-Size`.
    pub max_size: Option<u64>,
    /// `Tus-Checksum-Algorithm`.
    pub algorithms: Vec<String>,
    /// Whether GET of a complete upload gives its bytes.
    pub downloads: bool,
    /// Whether it says anything of CORS to a page at [`ORIGIN`].
    pub cors: bool,
    /// When the run has to be over.
    pub end: Instant,
}

impl Server {
    /// Whether it announced an extension.
    #[must_use]
    pub fn offers(&self, extension: &str) -> bool {
        self.extensions.iter().any(|name| name == extension)
    }
}

/// A request and what came of it, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Exchange {
    /// Head, and how much of a body.
    pub sent: String,
    /// Head and beginning of the body, or why there is none.
    pub received: String,
}

/// A case's client. Every upload that it made is terminated when it goes, where the server can do that.
#[derive(Debug)]
pub struct Client<'s> {
    /// The server.
    pub server: &'s Server,
    exchanges: RefCell<Vec<Exchange>>,
    made: RefCell<Vec<Url>>,
    /// Connections that were answered on. They are open until the case is over: a server whose answer is read may still be at
    /// it, and one is known that dies of a client that leaves too soon after GET.
    used: RefCell<Vec<Conn>>,
}

impl<'s> Client<'s> {
    /// Nothing sent yet.
    #[must_use]
    pub fn new(server: &'s Server) -> Self {
        Self {
            server,
            exchanges: RefCell::default(),
            made: RefCell::default(),
            used: RefCell::default(),
        }
    }

    /// What was sent and what came back so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.borrow().clone()
    }

    /// A request with `Host`, `Tus-Resumable` and what the command line adds.
    #[must_use]
    pub fn request(&self, method: &str, url: &Url) -> Request {
        let mut request = Request::new(method, &url.path)
            .field("Host", &url.authority)
            .field("Tus-Resumable", "1.0.0");
        for (name, value) in &self.server.fields {
            request = request.field(name, value);
        }
        request
    }

    /// A POST to the creation URL for `length` bytes.
    #[must_use]
    pub fn post(&self, length: u64) -> Request {
        self.bare_post().field("Upload-Length", length)
    }

    /// A POST to the creation URL that says nothing of an upload.
    #[must_use]
    pub fn bare_post(&self) -> Request {
        self.request("POST", &self.server.url).body("")
    }

    /// OPTIONS of the creation URL as the spec wants it: without a version.
    #[must_use]
    pub fn options(&self) -> Request {
        self.request("OPTIONS", &self.server.url)
            .without("Tus-Resumable")
    }

    /// HEAD of an upload.
    #[must_use]
    pub fn head(&self, upload: &Url) -> Request {
        self.request("HEAD", upload)
    }

    /// A PATCH at `offset`; its body is still to be given.
    #[must_use]
    pub fn patch(&self, upload: &Url, offset: u64) -> Request {
        self.request("PATCH", upload)
            .field("Content-Type", OFFSET_STREAM)
            .field("Upload-Offset", offset)
    }

    /// Sends over a connection of its own.
    ///
    /// # Errors
    /// Any of [`WireError`].
    pub fn send(&self, request: &Request) -> Result<Response, WireError> {
        let mut talk = self.open()?;
        let answer = talk.exchange(request);
        self.used.borrow_mut().push(talk.conn);
        answer
    }

    /// A connection to the server.
    ///
    /// # Errors
    /// `Connect`.
    pub fn open(&self) -> Result<Talk<'_>, WireError> {
        Ok(Talk {
            conn: Conn::open(&self.server.url)?,
            server: self.server,
            exchanges: &self.exchanges,
            made: &self.made,
        })
    }

    /// Makes an upload of `length` bytes, as a step towards what the case is about.
    ///
    /// # Errors
    /// `Skip`, since the clause is not about that.
    pub fn create(&self, length: u64) -> Result<Url, Stop> {
        self.create_by(&self.post(length))
    }

    /// Makes an upload by a request of the case's own.
    ///
    /// # Errors
    /// `Skip`.
    pub fn create_by(&self, request: &Request) -> Result<Url, Stop> {
        let answer = self.step(request, 201)?;
        self.location(&answer)
            .map_err(|why| Stop::Skip(format!("no upload to try it with: {why}")))
    }

    /// Makes an upload of `bytes` that is complete.
    ///
    /// # Errors
    /// `Skip`.
    pub fn create_complete(&self, bytes: &[u8]) -> Result<Url, Stop> {
        let upload = self.create(bytes.len() as u64)?;
        self.append(&upload, 0, bytes)?;
        Ok(upload)
    }

    /// Appends, as a step towards what the case is about.
    ///
    /// # Errors
    /// `Skip`.
    pub fn append(&self, upload: &Url, offset: u64, bytes: &[u8]) -> Outcome {
        self.step(&self.patch(upload, offset).body(bytes), 204)
            .map(drop)
    }

    /// A request that has to be answered by `status` before the clause can be tried.
    ///
    /// # Errors
    /// `Skip`.
    pub fn step(&self, request: &Request, status: u16) -> Result<Response, Stop> {
        match self.send(request) {
            Ok(answer) if answer.status == status => Ok(answer),
            Ok(answer) => Err(Stop::Skip(format!(
                "cannot get there: {} answered by {} instead of {status}",
                request.method(),
                answer.status
            ))),
            Err(error) => Err(Stop::Skip(format!(
                "cannot get there: {}: {error}",
                request.method()
            ))),
        }
    }

    /// Where an answer's `Location` leads.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn location(&self, answer: &Response) -> Result<Url, String> {
        let location = answer
            .get("Location")
            .ok_or("no single Location in the answer")?;
        self.server.url.resolve(location)
    }

    /// `Upload-Offset` of an upload, by HEAD.
    ///
    /// # Errors
    /// `Broken`, if the upload is not there; `Skip`, if only the field is not.
    pub fn offset(&self, upload: &Url) -> Result<u64, Stop> {
        let answer = self.send(&self.head(upload))?;
        let why = format!(
            "HEAD answered by {} without a valid Upload-Offset",
            answer.status
        );
        // A right answer without it is for the cases about HEAD.
        answer.number("Upload-Offset").ok_or(match answer.status {
            200 | 204 => Stop::Skip(why),
            _ => Stop::Broken(why),
        })
    }

    /// That an upload's offset is this.
    ///
    /// # Errors
    /// `Broken`.
    pub fn ensure_offset(&self, upload: &Url, expected: u64) -> Outcome {
        let found = self.offset(upload)?;
        ensure(
            found == expected,
            format!("Upload-Offset is {found} instead of {expected}"),
        )
    }

    /// That a complete upload has these bytes, where the server gives them out.
    ///
    /// # Errors
    /// `Broken`.
    pub fn ensure_bytes(&self, upload: &Url, expected: &[u8]) -> Outcome {
        if !self.server.downloads {
            return Ok(());
        }
        let answer = self.send(&self.request("GET", upload))?;
        ensure(
            answer.status == 200,
            format!(
                "GET of the complete upload answered by {} instead of 200",
                answer.status
            ),
        )?;
        let differ = answer.body.iter().zip(expected).position(|(a, b)| a != b);
        ensure(
            answer.body == expected,
            format!(
                "{} bytes instead of {} are stored, other ones from {differ:?} on",
                answer.body.len(),
                expected.len(),
            ),
        )
    }

    /// Waits until `done`, asking often; `Broken` with `what` when it never is.
    ///
    /// # Errors
    /// `Broken`, or what `done` gives.
    pub fn until(
        &self,
        what: &str,
        patience: Duration,
        mut done: impl FnMut() -> Result<bool, Stop>,
    ) -> Outcome {
        let late = self.server.end.min(Instant::now() + patience);
        while !done()? {
            ensure(
                Instant::now() < late,
                format!("not within {patience:?}: {what}"),
            )?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Terminates what the case made. An upload that is left over is no failure.
    pub fn clean_up(&self) {
        if self.server.offers("termination") {
            for upload in self.made.take() {
                let delete = self.request("DELETE", &upload).body("").to_bytes();
                if let Ok(mut conn) = Conn::open(&self.server.url) {
                    let _ = conn.write(&delete);
                    let _ = conn.answer("DELETE", Duration::from_secs(1));
                }
            }
        }
        self.used.take();
    }
}

/// A connection, whose requests and answers are written down.
#[derive(Debug)]
pub struct Talk<'c> {
    conn: Conn,
    server: &'c Server,
    exchanges: &'c RefCell<Vec<Exchange>>,
    made: &'c RefCell<Vec<Url>>,
}

impl Talk<'_> {
    /// A request and its answer.
    ///
    /// # Errors
    /// Any of [`WireError`].
    pub fn exchange(&mut self, request: &Request) -> Result<Response, WireError> {
        let sent = self.write(&request.to_bytes());
        let answer = self.answer(request.method());
        match (sent, answer) {
            (Err(sent), Err(_)) => Err(sent),
            // A server may answer and close before the body is through: then its answer counts.
            (_, answer) => answer,
        }
    }

    /// Any bytes at all.
    ///
    /// # Errors
    /// `Send`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let sent = told(bytes, &self.server.fields);
        let mut exchanges = self.exchanges.borrow_mut();
        exchanges.push(Exchange {
            sent,
            received: String::new(),
        });
        self.conn.write(bytes)
    }

    /// The answer to `method`.
    ///
    /// # Errors
    /// `Late`, `Cut`, `Read`, `NotHttp`.
    pub fn answer(&mut self, method: &str) -> Result<Response, WireError> {
        self.answer_within(method, PATIENCE)
    }

    /// The answer to `method`, which has to come in time.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn answer_within(
        &mut self,
        method: &str,
        patience: Duration,
    ) -> Result<Response, WireError> {
        let answer = self.conn.answer(method, self.bounded(patience));
        self.note(&answer);
        if let Ok(answer) = &answer
            && answer.status == 201
            && let Some(location) = answer.get("Location")
            && let Ok(upload) = self.server.url.resolve(location)
        {
            self.made.borrow_mut().push(upload);
        }
        answer
    }

    /// The next head, be it of a 1xx or of a final answer.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn next_head(&mut self, patience: Duration) -> Result<Response, WireError> {
        let head = self.conn.next_head(self.bounded(patience));
        self.note(&head);
        head
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// `Send`.
    pub fn finish(&mut self) -> Result<(), WireError> {
        self.conn.finish()
    }

    /// Whether nothing arrives for so long.
    pub fn silent_for(&mut self, time: Duration) -> bool {
        self.conn.silent_for(self.bounded(time))
    }

    /// Whether the server ends the connection in time.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        self.conn.ends_within(self.bounded(patience))
    }

    fn bounded(&self, patience: Duration) -> Duration {
        patience.min(self.server.end.saturating_duration_since(Instant::now()))
    }

    fn note(&self, answer: &Result<Response, WireError>) {
        let received = match answer {
            Ok(answer) => format!("{}{}", answer.head_text(), told_body(&answer.body, 300)),
            Err(error) => format!("({error})"),
        };
        let mut exchanges = self.exchanges.borrow_mut();
        match exchanges.last_mut() {
            Some(last) if last.received.is_empty() => last.received = received,
            _ => exchanges.push(Exchange {
                sent: String::new(),
                received,
            }),
        }
    }
}

/// A request for people: its head in full but for what the command line added, which may be a secret, and its body by size.
fn told(bytes: &[u8], secret: &[(String, String)]) -> String {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
    let (head, body) = bytes.split_at(end.map_or(bytes.len(), |end| end + 4));
    let mut text = String::from_utf8_lossy(&head[..head.len().min(4096)]).replace("\r\n", "\n");
    for (name, value) in secret.iter().filter(|(_, value)| !value.is_empty()) {
        text = text.replace(&format!("{name}: {value}"), &format!("{name}: ..."));
    }
    text.push_str(&told_body(body, 60));
    text
}

fn told_body(body: &[u8], shown: usize) -> String {
    if body.is_empty() {
        return String::new();
    }
    let first = String::from_utf8_lossy(&body[..body.len().min(shown)]).into_owned();
    format!("[{} bytes: {first:?}]", body.len())
}
