//! Which door a request goes to: the server's own paths first, then those under the base path.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::body::{RequestBody, ResponseBody};
use crate::admin::Admin;
use crate::tus;

/// Every door of the server.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) tus: tus::App,
    pub(super) admin: Admin,
}

impl Service<Request<RequestBody>> for Doors {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        if Admin::has(request.uri().path()) {
            self.admin.call(request)
        } else {
            self.tus.call(request)
        }
    }
}
