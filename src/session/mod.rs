//! The session door, `/uploads/`: JSON about a file that is sent in chunks of a known size. One file a request.

mod chunk;
mod finalize;
mod initialize;
mod json;
mod status;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;

use crate::answer::{self, ResponseBody};
use crate::engine::{Engine, OwnedSession};
use crate::error::Reject;
use crate::protocol::base_path::BasePath;
use crate::protocol::location::{Origin, Via};
use crate::security::cors::Cors;
use crate::security::gate::{Gate, Visitor};
use crate::upload::UploadId;

/// Where the door is.
const PATH: &str = "/uploads/";

/// What the door needs to know.
pub struct Settings {
    /// Without it every path of the API says so.
    pub enabled: bool,
    /// Where the uploads are.
    pub base_path: BasePath,
    /// How requests come in, and under which name.
    pub via: Via,
    /// `None`: no CORS headers at all.
    pub cors: Option<Cors>,
    /// Who asks.
    pub gate: Arc<Gate>,
    /// Whether a client may end a session for good.
    pub termination: bool,
    /// How long a JSON body may be silent.
    pub patience: Option<Duration>,
}

/// The door; clones share it.
#[derive(Clone)]
pub struct App {
    door: Arc<Door>,
}

pub(crate) struct Door {
    engine: Engine,
    settings: Settings,
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target<'p> {
    Initialize,
    Session(&'p str),
    Chunk(&'p str, &'p str),
    Status(&'p str),
    Resume(&'p str),
    Finalize(&'p str),
    Nothing,
}

impl Target<'_> {
    fn of(path: &str) -> Target<'_> {
        let segments: Vec<&str> = path.strip_prefix(PATH).unwrap_or("").split('/').collect();
        match segments[..] {
            ["initialize"] => Target::Initialize,
            [""] => Target::Nothing,
            [id] => Target::Session(id),
            [id, "status"] => Target::Status(id),
            [id, "resume"] => Target::Resume(id),
            [id, "finalize"] => Target::Finalize(id),
            [id, "chunks", n] => Target::Chunk(id, n),
            _ => Target::Nothing,
        }
    }

    /// `Allow`.
    fn allow(self) -> &'static str {
        match self {
            Self::Initialize | Self::Chunk(..) | Self::Finalize(_) => "OPTIONS, POST",
            Self::Session(_) => "OPTIONS, DELETE",
            Self::Status(_) | Self::Resume(_) => "OPTIONS, GET, HEAD",
            Self::Nothing => "OPTIONS",
        }
    }
}

impl App {
    /// A door to `engine`.
    #[must_use]
    pub fn new(engine: Engine, settings: Settings) -> Self {
        let door = Arc::new(Door { engine, settings });
        Self { door }
    }

    /// Whether a path is this door's. Where the tus uploads themselves lie under `/uploads/`, only what can be none of them, and
    /// where this API is switched off, nothing of theirs.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        if !path.starts_with(PATH) {
            return false;
        }
        let base = self.door.settings.base_path.as_str();
        if !self.door.settings.enabled {
            !path.starts_with(base)
        } else if base == PATH {
            !matches!(Target::of(path), Target::Session(_) | Target::Nothing)
        } else {
            !base.starts_with(PATH) || !path.starts_with(base)
        }
    }

    /// The answer to a request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let (head, body) = request.into_parts();
        let result = self.door.dispatch(&head, body).await;
        let without_body = head.method == Method::HEAD;
        let mut response = result.unwrap_or_else(|reject| answer::problem(&reject, without_body));
        if let Some(cors) = &self.door.settings.cors {
            cors.headers(
                head.headers.get(header::ORIGIN),
                head.method == Method::OPTIONS,
                response.headers_mut(),
            );
        }
        response
    }
}

impl Door {
    async fn dispatch<B>(&self, head: &Parts, body: B) -> Result<Response<ResponseBody>, Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let target = Target::of(head.uri.path());
        let settings = &self.settings;
        // Any page can POST text without asking first, and the browser would add what it has of a credential.
        if !Cors::admits(settings.cors.as_ref(), &settings.via, head) {
            return Err(Reject::ForeignOrigin);
        }
        match (&head.method, target) {
            (&Method::OPTIONS, _) if target != Target::Nothing => {
                let mut response = answer::empty(StatusCode::NO_CONTENT);
                answer::set_text(&mut response, "Allow", target.allow());
                Ok(response)
            }
            _ if !settings.enabled => Err(Reject::Disabled("the session API")),
            (_, Target::Nothing) => Err(Reject::NoSuchResource),
            (&Method::POST, Target::Initialize) => initialize::answer(self, head, body).await,
            (&Method::POST, Target::Chunk(id, n)) => chunk::answer(self, head, id, n, body).await,
            (&Method::GET | &Method::HEAD, Target::Status(id)) => {
                status::answer(self, head, id).await
            }
            (&Method::GET | &Method::HEAD, Target::Resume(id)) => {
                status::resume(self, head, id).await
            }
            (&Method::POST, Target::Finalize(id)) => finalize::answer(self, head, id).await,
            (&Method::DELETE, Target::Session(_)) if !settings.termination => {
                Err(Reject::Disabled("the termination of uploads"))
            }
            (&Method::DELETE, Target::Session(id)) => finalize::cancel(self, head, id).await,
            _ => Err(Reject::MethodNotAllowed {
                allow: target.allow(),
            }),
        }
    }

    /// The session, for whoever shows its token or is its owner. Without a credential nothing is looked up; with another's the
    /// answer is that of a session that there is not.
    async fn owned(&self, head: &Parts, id: &str) -> Result<OwnedSession, Reject> {
        self.visited(head, &mut self.settings.gate.enter(head, false)?, id)
            .await
    }

    /// The same, for one who was let in. Hooks are asked of no other session than the visitor's: what they say of another's id
    /// would tell that there is one.
    async fn visited(
        &self,
        head: &Parts,
        visitor: &mut Visitor<'_>,
        id: &str,
    ) -> Result<OwnedSession, Reject> {
        let who = &visitor.who;
        if who.user().is_none() && who.tokens().next().is_none() {
            return Err(Reject::TokenRequired);
        }
        let found = match id.parse() {
            Ok(id) => self.engine.session(&id, who).await,
            Err(_) => Err(Reject::NotFound),
        };
        let owned = visitor.has_opened(found, OwnedSession::owner)?;
        let is_head = head.method == Method::HEAD;
        self.engine.may_access(is_head, Some(owned.id())).await?;
        Ok(owned)
    }

    /// This server as the client sees it.
    fn origin(&self, head: &Parts) -> Origin {
        Origin::of(&head.headers, &head.uri, &self.settings.via)
    }

    /// The path at which tus knows an upload.
    fn upload_path(&self, head: &Parts, id: &UploadId) -> String {
        self.origin(head).path(self.settings.base_path.as_str(), id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, wanted) in [
            ("/uploads/initialize", Target::Initialize),
            ("/uploads/a", Target::Session("a")),
            ("/uploads/a/status", Target::Status("a")),
            ("/uploads/a/resume", Target::Resume("a")),
            ("/uploads/a/finalize", Target::Finalize("a")),
            ("/uploads/a/chunks/7", Target::Chunk("a", "7")),
            ("/uploads/", Target::Nothing),
            ("/uploads/a/", Target::Nothing),
            ("/uploads/a/chunks", Target::Nothing),
            ("/uploads/a/chunks/7/", Target::Nothing),
            ("/uploads/a/b", Target::Nothing),
        ] {
            assert_eq!(Target::of(path), wanted, "{path}");
        }
    }
}
