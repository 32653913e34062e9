//! Whose a request is: each door has its paths.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use crate::admin::Admin;
use crate::{session, tus};

/// Every door that is open.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) admin: Admin,
    /// `None`: switched off.
    pub(super) sessions: Option<session::App>,
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
        if Admin::has(request.uri().path()) {
            return self.admin.call(request);
        }
        match &mut self.sessions {
            Some(sessions) if sessions.takes(request.uri().path()) => sessions.call(request),
            _ => self.tus.call(request),
        }
    }
}
