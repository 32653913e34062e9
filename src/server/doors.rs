//! Whose a request is: each door has its paths.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use crate::admin::Admin;
use crate::hooks::{Cause, cause};
use crate::security::auth::Peer;
use crate::web::Web;
use crate::{session, tus, watch};

/// Every door that is open.
#[derive(Clone)]
pub(super) struct Doors {
    /// `None`: switched off.
    pub(super) web: Option<Web>,
    /// Whether there are hooks, which are told for which request something happens.
    pub(super) hooked: bool,
    pub(super) watch: watch::App,
    pub(super) admin: Admin,
    pub(super) sessions: session::App,
    /// Whatever is no other's.
    pub(super) tus: tus::App,
}

impl<B> Service<Request<B>> for Doors
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let doors = self.clone();
        if !doors.hooked {
            return Box::pin(async move { Ok(doors.answer(request).await) });
        }
        let peer = match request.extensions().get() {
            Some(Peer::Address(address)) => Some(*address),
            Some(Peer::Local) | None => None,
        };
        let cause = Some(Arc::new(Cause::of(&request, peer)));
        let answer = async move { Ok(doors.answer(request).await) };
        Box::pin(cause::within(cause, answer))
    }
}

impl Doors {
    async fn answer<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        if let Some(page) = self.web.as_ref().and_then(|web| web.answer(&request)) {
            return page;
        }
        let path = request.uri().path();
        if watch::App::has(path) {
            return self.watch.answer(request).await;
        }
        if Admin::has(path) {
            return self.admin.answer(request).await;
        }
        if self.sessions.has(path) {
            return self.sessions.answer(request).await;
        }
        self.tus.answer(request).await
    }
}
