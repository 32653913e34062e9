//! The door for those who watch: `GET /progress` as a WebSocket, `GET /progress/events` as Server-Sent Events. What is sent is
//! described in [`crate::progress::event`].

mod follow;
mod sse;
mod ws;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use http::header::{ALLOW, CONNECTION, ORIGIN, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use tower::Service;

use self::follow::{Asked, Follower};
use crate::answer::{ResponseBody, empty};
use crate::engine::Engine;
use crate::error::Reject;
use crate::protocol::location::{Origin, Via};
use crate::security::admin::AdminDoor;
use crate::security::cors::Cors;
use crate::tus::problem;
use crate::upload::UploadId;

/// The paths of this door.
pub const PATH: &str = "/progress";
const EVENTS: &str = "/progress/events";

/// What the door needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which origins browsers may come from; `None`: only the server's own.
    pub cors: Option<Cors>,
    /// How requests come in, and under which name.
    pub via: Via,
    /// Who may follow all uploads.
    pub guard: AdminDoor,
    /// The most uploads that one connection follows by name.
    pub max_subscriptions: usize,
    /// A client of which nothing is heard for so long is gone.
    pub timeout: Duration,
}

/// The door as a service before another: what is not for it goes on. Clones share it.
#[derive(Debug, Clone)]
pub struct App<S> {
    door: Arc<Door>,
    next: S,
}

struct Door {
    engine: Engine,
    settings: Settings,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl<S> App<S> {
    /// A door to `engine`, before `next`.
    #[must_use]
    pub fn new(engine: Engine, settings: Settings, next: S) -> Self {
        Self {
            door: Arc::new(Door { engine, settings }),
            next,
        }
    }
}

type Answer = Result<Response<ResponseBody>, Infallible>;
type Boxed = Pin<Box<dyn Future<Output = Answer> + Send>>;

impl<B, S> Service<Request<B>> for App<S>
where
    B: Send + 'static,
    S: Service<Request<B>, Response = Response<ResponseBody>, Error = Infallible>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Either<Either<Boxed, Ready<Answer>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.next.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let events = match request.uri().path() {
            PATH => false,
            EVENTS => true,
            _ => return Either::Right(self.next.call(request)),
        };
        let door = self.door.clone();
        if request.method() == Method::OPTIONS {
            return Either::Left(Either::Right(ready(Ok(door.preflight(request.headers())))));
        }
        Either::Left(Either::Left(Box::pin(async move {
            let origin = request.headers().get(ORIGIN).cloned();
            let mut answer = match door.answer(request, events).await {
                Ok(answer) => answer,
                Err(reject) => refusal(&reject),
            };
            if let Some(cors) = &door.settings.cors {
                cors.headers(origin.as_ref(), false, answer.headers_mut());
            }
            Ok(answer)
        })))
    }
}

/// Whether a client that has these tokens may follow this upload. A session and its chunks want the session's token; every
/// other one may be followed by whoever knows its id, as it may be read.
async fn may_watch(engine: &Engine, id: &UploadId, tokens: &[String]) -> bool {
    if engine.permit(id, None).await.is_ok() {
        return true;
    }
    for token in tokens {
        if engine.permit(id, Some(token)).await.is_ok() {
            return true;
        }
    }
    false
}

impl Door {
    async fn answer<B: Send + 'static>(
        &self,
        mut request: Request<B>,
        events: bool,
    ) -> Result<Response<ResponseBody>, Reject> {
        if request.method() != Method::GET {
            return Err(Reject::MethodNotAllowed {
                allow: "GET, OPTIONS",
            });
        }
        let upgrade = (!events)
            .then(|| ws::Upgrade::of(&mut request))
            .transpose()?;
        let (head, _) = request.into_parts();
        self.check_origin(&head)?;
        let asked = Asked::of(&head)?;
        let visitor = self.settings.guard.watcher(&head);
        let follower = Follower::new(&self.engine, &self.settings, visitor, asked.tokens.clone());
        if asked.all() {
            // Before the upgrade, where it can still be refused with a status.
            follower.may_follow_all()?;
        }
        match upgrade {
            Some(upgrade) => Ok(upgrade.begin(follower, asked, self.settings.timeout)),
            None => sse::answer(&head, follower, asked).await,
        }
    }

    /// A browser sends `Origin` with every WebSocket, and lets any page open one: it is for the server to refuse.
    fn check_origin(&self, head: &Parts) -> Result<(), Reject> {
        let Some(origin) = head.headers.get(ORIGIN) else {
            return Ok(());
        };
        let allowed = self.settings.cors.as_ref();
        if allowed.is_some_and(|cors| cors.allows(origin)) || self.is_own(head, origin) {
            return Ok(());
        }
        Err(Reject::ForeignOrigin)
    }

    fn is_own(&self, head: &Parts, origin: &HeaderValue) -> bool {
        let own = Origin::of(&head.headers, &head.uri, &self.settings.via);
        origin.to_str().is_ok_and(|origin| own.is_origin(origin))
    }

    fn preflight(&self, headers: &HeaderMap) -> Response<ResponseBody> {
        let mut answer = empty(StatusCode::NO_CONTENT);
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, OPTIONS"));
        if let Some(cors) = &self.settings.cors {
            cors.headers(headers.get(ORIGIN), true, answer.headers_mut());
        }
        answer
    }
}

/// A refusal. 426 must say to what. Source: RFC 9110, 15.5.22; RFC 6455, 4.2.2.
fn refusal(reject: &Reject) -> Response<ResponseBody> {
    let mut answer = problem(reject);
    if matches!(reject, Reject::UpgradeRequired) && answer.version() == Version::HTTP_11 {
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    answer
}
