//! The tus 1.0 door: a request's head becomes typed headers, a use case of the engine, and an answer.

mod create;
mod download;
mod head;
mod options;
mod patch;
mod respond;
mod terminate;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;

pub use self::respond::{BoxError, ResponseBody};

use crate::engine::Engine;
use crate::error::Reject;
use crate::protocol::base_path::{BasePath, Target};
use crate::protocol::location::{Origin, Via};
use crate::protocol::method::{self, TusMethod};
use crate::protocol::version;
use crate::security::cors::Cors;
use crate::security::gate::Gate;
use crate::upload::UploadId;

/// `Allow` of the collection.
const COLLECTION: &str = "OPTIONS, POST";

/// What the door needs to know.
pub struct Settings {
    /// Where the uploads are.
    pub base_path: BasePath,
    /// How requests come in, and under which name.
    pub via: Via,
    /// `None`: no CORS headers at all.
    pub cors: Option<Cors>,
    /// Who asks.
    pub gate: Arc<Gate>,
    /// GET of finished uploads.
    pub download: bool,
    /// DELETE.
    pub termination: bool,
    /// `Upload-Concat`.
    pub concatenation: bool,
}

/// The door; clones share it.
#[derive(Clone)]
pub struct App {
    door: Arc<Door>,
}

pub(crate) struct Door {
    engine: Engine,
    settings: Settings,
    /// `Tus-Extension`, as this configuration has it.
    extensions: HeaderValue,
}

impl App {
    /// A door to `engine`.
    #[must_use]
    pub fn new(engine: Engine, settings: Settings) -> Self {
        let extensions = options::extensions(&engine, &settings);
        Self {
            door: Arc::new(Door {
                engine,
                settings,
                extensions,
            }),
        }
    }

    /// The answer to a request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let (head, body) = request.into_parts();
        let method = method::effective(&head.method, &head.headers);
        let result = match method {
            Some(method) => self.door.dispatch(method, &head, body).await,
            None => Err(self.door.unknown_method(head.uri.path())),
        };
        let without_body = head.method == Method::HEAD || method == Some(TusMethod::Head);
        let mut response = result.unwrap_or_else(|reject| respond::problem(&reject, without_body));
        if let Some(cors) = &self.door.settings.cors {
            let preflight = method == Some(TusMethod::Options);
            cors.headers(
                head.headers.get(header::ORIGIN),
                preflight,
                response.headers_mut(),
            );
        }
        response
    }
}

/// A failure as an answer, for what fails around the door.
#[must_use]
pub fn problem(reject: &Reject) -> Response<ResponseBody> {
    respond::problem(reject, false)
}

impl Door {
    async fn dispatch<B>(
        &self,
        method: TusMethod,
        head: &Parts,
        body: B,
    ) -> Result<Response<ResponseBody>, Reject>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let target = self
            .settings
            .base_path
            .route(head.uri.path())
            .ok_or(Reject::NoSuchResource)?;
        let changes = matches!(
            method,
            TusMethod::Post | TusMethod::Patch | TusMethod::Delete
        );
        if changes || method == TusMethod::Head {
            version::check(&head.headers, changes).map_err(|_| Reject::UnsupportedVersion)?;
        }
        if method == TusMethod::Options {
            return Ok(options::answer(self)); // a browser's preflight bears no credential
        }
        // Other credentials a page has only if it was given them.
        let ambient = self.settings.gate.auth().is_ambient();
        if ambient && !Cors::admits(self.settings.cors.as_ref(), &self.settings.via, head) {
            return Err(Reject::ForeignOrigin);
        }
        let is_head = method == TusMethod::Head;
        let mut by = self.settings.gate.enter(head, is_head)?;
        let id = match &target {
            Target::Upload(id) => Some(id),
            Target::Collection | Target::Garbage => None,
        };
        // Who it is comes first, and hooks after it: what is nobody's credential costs no call of theirs.
        match id {
            Some(id) => {
                let owner = self.engine.permit(id, &by.who).await;
                by.has_opened(owner, Clone::clone)?;
            }
            None => {
                by.creator()?;
            }
        }
        self.engine.may_access(is_head, id).await?;
        match (method, target) {
            (TusMethod::Options, _) => Ok(options::answer(self)),
            (TusMethod::Post, Target::Collection) => create::answer(self, head, &by, body).await,
            (_, Target::Collection) => Err(Reject::MethodNotAllowed { allow: COLLECTION }),
            (TusMethod::Head, Target::Upload(id)) => head::answer(self, &id).await,
            (TusMethod::Patch, Target::Upload(id)) => {
                patch::answer(self, &id, head, &by, body).await
            }
            (TusMethod::Delete, Target::Upload(id)) if self.settings.termination => {
                terminate::answer(self, &id).await
            }
            (TusMethod::Get, Target::Upload(id)) if self.settings.download => {
                download::answer(self, &id, head).await
            }
            (TusMethod::Post | TusMethod::Delete | TusMethod::Get, Target::Upload(_)) => {
                Err(Reject::MethodNotAllowed {
                    allow: self.allow_upload(),
                })
            }
            (_, Target::Garbage) => Err(Reject::NotFound),
        }
    }

    fn unknown_method(&self, path: &str) -> Reject {
        match self.settings.base_path.route(path) {
            Some(Target::Collection) => Reject::MethodNotAllowed { allow: COLLECTION },
            Some(Target::Upload(_)) => Reject::MethodNotAllowed {
                allow: self.allow_upload(),
            },
            Some(Target::Garbage) => Reject::NotFound,
            None => Reject::NoSuchResource,
        }
    }

    /// `Allow` of an upload. POST is there for `X-HTTP-Method-Override` only, and is not named.
    fn allow_upload(&self) -> &'static str {
        match (self.settings.download, self.settings.termination) {
            (true, true) => "OPTIONS, HEAD, PATCH, GET, DELETE",
            (true, false) => "OPTIONS, HEAD, PATCH, GET",
            (false, true) => "OPTIONS, HEAD, PATCH, DELETE",
            (false, false) => "OPTIONS, HEAD, PATCH",
        }
    }

    /// The URL of an upload, as this client must see it.
    fn location(&self, origin: &Origin, id: &UploadId) -> String {
        origin.location(self.settings.base_path.as_str(), id)
    }

    /// This server as the client sees it.
    fn origin(&self, head: &Parts) -> Origin {
        Origin::of(&head.headers, &head.uri, &self.settings.via)
    }
}
