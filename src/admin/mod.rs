//! The door for operators: `/admin`, `/metrics` and `/readyz`. Who may come in is decided by [`crate::security::admin`];
//! what is there is told by the engine; answers carry no CORS headers, so that no other site's page can read them.

mod answer;
mod exposition;
mod hooks;
mod list;
mod metrics;
mod overview;
mod query;
mod rest;
mod users;

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Request, Response};

use crate::answer::{ResponseBody, problem};
use crate::engine::Engine;
use crate::error::Reject;
use crate::security::admin::{AdminDoor, METRICS, Verdict};
use crate::security::auth::Unauthorized;
use crate::security::gate::Gate;
use crate::upload::{UploadId, words};

/// The door; clones share it.
#[derive(Clone)]
pub struct Admin {
    door: Arc<Door>,
}

struct Door {
    engine: Engine,
    guard: AdminDoor,
    gate: Arc<Gate>,
}

/// What a path of this door names.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Ready,
    Metrics,
    Active,
    Overview,
    Storage,
    Users,
    Upload(UploadId),
    Cancel(UploadId),
    Cleanup,
    Hooks,
    Resend(u64),
    Nothing,
}

const UPLOADS: &str = "/admin/uploads/";
const READ: &str = "GET, HEAD";
const CHANGE: &str = "POST";

impl Target {
    fn of(path: &str) -> Self {
        match path {
            "/readyz" => return Self::Ready,
            METRICS => return Self::Metrics,
            "/admin/cleanup" => return Self::Cleanup,
            "/admin/users" => return Self::Users,
            "/admin/hooks" => return Self::Hooks,
            _ => {}
        }
        if let Some(rest) = path.strip_prefix("/admin/hooks/") {
            let number = rest.strip_suffix("/retry").map(str::parse);
            return match number {
                Some(Ok(number)) => Self::Resend(number),
                _ => Self::Nothing,
            };
        }
        match path.strip_prefix(UPLOADS) {
            Some(words::ACTIVE) => Self::Active,
            Some(words::METRICS) => Self::Overview,
            Some(words::STORAGE) => Self::Storage,
            Some(rest) => match rest.strip_suffix(words::CANCEL) {
                Some(id) => id.parse().map_or(Self::Nothing, Self::Cancel),
                None => rest.parse().map_or(Self::Nothing, Self::Upload),
            },
            None => Self::Nothing,
        }
    }

    fn allow(&self) -> &'static str {
        match self {
            Self::Cancel(_) | Self::Cleanup | Self::Resend(_) => CHANGE,
            _ => READ,
        }
    }
}

impl Admin {
    /// A door to `engine`; users come in by `gate`.
    #[must_use]
    pub fn new(engine: Engine, guard: AdminDoor, gate: Arc<Gate>) -> Self {
        let door = Door {
            engine,
            guard,
            gate,
        };
        Self {
            door: Arc::new(door),
        }
    }

    /// Whether a path is this door's, whatever it finds there.
    #[must_use]
    pub fn has(path: &str) -> bool {
        matches!(path, "/readyz" | "/metrics" | "/admin") || path.starts_with("/admin/")
    }

    /// The answer to a request.
    pub async fn answer<B: Send>(&self, request: Request<B>) -> Response<ResponseBody> {
        // No request here has a body that means anything: it is dropped unread, at the end.
        let (head, _body) = request.into_parts();
        let head_only = head.method == Method::HEAD;
        let answer = self.door.dispatch(&head).await;
        let answer = answer.unwrap_or_else(|reject| problem(&reject, false));
        answer::finished(answer, head_only)
    }
}

impl Door {
    /// A wrong token counts by the address, as one of a user does.
    fn guarded(&self, head: &Parts) -> Result<(), Reject> {
        let verdict = self.guard.judge(head);
        if verdict == Verdict::Unauthorized {
            self.gate.let_in(head, false, Err(Unauthorized))?;
        }
        verdict.check()
    }

    async fn dispatch(&self, head: &Parts) -> Result<Response<ResponseBody>, Reject> {
        let target = Target::of(head.uri.path());
        if target != Target::Ready {
            self.guarded(head)?;
        }
        let allow = target.allow();
        let fits = match head.method {
            Method::GET | Method::HEAD => allow == READ,
            Method::POST => allow == CHANGE,
            _ => false,
        };
        if !fits && target != Target::Nothing {
            return Err(Reject::MethodNotAllowed { allow });
        }
        let query = head.uri.query().unwrap_or_default();
        match target {
            Target::Ready => Ok(rest::ready(&self.engine)),
            Target::Metrics => Ok(metrics::answer(&self.engine)),
            Target::Active => list::answer(&self.engine, query).await,
            Target::Overview => Ok(overview::answer(&self.engine)),
            Target::Storage => rest::storage(&self.engine).await,
            Target::Users => users::answer(self, query).await,
            Target::Upload(id) => rest::upload(&self.engine, &id).await,
            Target::Cancel(id) => rest::cancel(&self.engine, &id).await,
            Target::Hooks => hooks::list(&self.engine, query),
            Target::Resend(number) => hooks::resend(&self.engine, number).await,
            Target::Cleanup => rest::cleanup(&self.engine).await,
            // A name that no upload can have is that of one that there is not.
            Target::Nothing if head.uri.path().starts_with(UPLOADS) => Err(Reject::NotFound),
            Target::Nothing => Err(Reject::NoSuchResource),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_they_name() {
        let id = |id: &str| id.parse().unwrap();
        for (path, target) in [
            ("/readyz", Target::Ready),
            ("/metrics", Target::Metrics),
            ("/metrics/", Target::Nothing),
            ("/admin/uploads/active", Target::Active),
            ("/admin/uploads/storage", Target::Storage),
            ("/admin/uploads/metrics", Target::Overview),
            ("/admin/users", Target::Users),
            ("/admin/users/", Target::Nothing),
            ("/admin/uploads/a/b", Target::Upload(id("a/b"))),
            ("/admin/uploads/a/b/cancel", Target::Cancel(id("a/b"))),
            ("/admin/uploads/../x", Target::Nothing),
            ("/admin/uploads/%61", Target::Nothing),
            ("/admin/uploads//cancel", Target::Nothing),
            ("/admin/uploads/", Target::Nothing),
            ("/admin/cleanup", Target::Cleanup),
            ("/admin/hooks", Target::Hooks),
            ("/admin/hooks/7/retry", Target::Resend(7)),
            ("/admin/hooks/x/retry", Target::Nothing),
            ("/admin/hooks/7", Target::Nothing),
            ("/admin", Target::Nothing),
        ] {
            assert_eq!(Target::of(path), target, "{path}");
        }
        assert!(Admin::has("/admin") && Admin::has("/admin/x") && !Admin::has("/administer"));
    }
}
