//! The door for those who watch: `GET /progress` as a WebSocket, `GET /progress/events` as Server-Sent Events. What is sent is
//! described in [`crate::progress::event`].

mod follow;
mod sse;
mod ws;

use std::sync::Arc;
use std::time::Duration;

use http::header::ORIGIN;
use http::{Method, Request, Response, StatusCode};

use self::follow::{Asked, Follower};
use crate::answer::{ResponseBody, empty, problem, set_text};
use crate::engine::Engine;
use crate::error::Reject;
use crate::protocol::location::Via;
use crate::security::admin::AdminDoor;
use crate::security::cors::Cors;
use crate::security::gate::Gate;

/// The paths of this door.
const PATH: &str = "/progress";
const EVENTS: &str = "/progress/events";
const ALLOW: &str = "GET, HEAD, OPTIONS";

/// What the door needs to know.
pub struct Settings {
    /// Which origins browsers may come from; `None`: only the server's own.
    pub cors: Option<Cors>,
    /// How requests come in, and under which name.
    pub via: Via,
    /// Who asks.
    pub gate: Arc<Gate>,
    /// Who may follow all uploads.
    pub guard: AdminDoor,
    /// The most uploads that one connection follows by name.
    pub max_subscriptions: usize,
    /// A client of which nothing is heard for so long is gone.
    pub timeout: Duration,
}

/// The door; clones share it.
#[derive(Clone)]
pub struct App {
    door: Arc<Door>,
}

struct Door {
    engine: Engine,
    settings: Settings,
}

impl App {
    /// A door to `engine`.
    #[must_use]
    pub fn new(engine: Engine, settings: Settings) -> Self {
        let door = Arc::new(Door { engine, settings });
        Self { door }
    }

    /// Whether a path is this door's.
    #[must_use]
    pub fn has(path: &str) -> bool {
        matches!(path, PATH | EVENTS)
    }

    /// The answer to a request.
    pub async fn answer<B: Send + 'static>(&self, request: Request<B>) -> Response<ResponseBody> {
        let origin = request.headers().get(ORIGIN).cloned();
        let preflight = request.method() == Method::OPTIONS;
        let head_only = request.method() == Method::HEAD;
        let answer = self.door.dispatch(request).await;
        let mut answer = answer.unwrap_or_else(|reject| problem(&reject, head_only));
        if head_only {
            // A stream of events would have no end.
            *answer.body_mut() = empty(answer.status()).into_body();
        }
        if let Some(cors) = &self.door.settings.cors {
            cors.headers(origin.as_ref(), preflight, answer.headers_mut());
        }
        answer
    }
}

impl Door {
    async fn dispatch<B: Send + 'static>(
        &self,
        mut request: Request<B>,
    ) -> Result<Response<ResponseBody>, Reject> {
        match *request.method() {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => {
                let mut answer = empty(StatusCode::NO_CONTENT);
                set_text(&mut answer, "Allow", ALLOW);
                return Ok(answer);
            }
            _ => return Err(Reject::MethodNotAllowed { allow: ALLOW }),
        }
        let upgrade = (request.uri().path() == PATH)
            .then(|| ws::Upgrade::of(&mut request))
            .transpose()?;
        let (head, _) = request.into_parts();
        // A browser sends `Origin` with every WebSocket, and lets any page open one: it is for the server to refuse.
        if !Cors::admits(self.settings.cors.as_ref(), &self.settings.via, &head) {
            return Err(Reject::ForeignOrigin);
        }
        let asked = Asked::of(&head)?;
        let mut follower =
            Follower::new(&self.engine, &self.settings, &head, asked.tokens.clone())?;
        // Before the upgrade, where it can still be refused with a status.
        if asked.all() {
            follower.may_follow_all()?;
        }
        follower.enter(&asked).await?;
        match upgrade {
            // A browser can show its token in a message alone: it is asked for with each subscription.
            Some(upgrade) => Ok(upgrade.begin(follower, asked, self.settings.timeout)),
            None => {
                if !asked.all() {
                    follower.who()?;
                }
                sse::answer(&head, follower, asked).await
            }
        }
    }
}
