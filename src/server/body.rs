//! The bodies that cross the seam between hyper and the application.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;

pub(super) use crate::answer::ResponseBody;

/// The most that is read of a body after its request was answered.
const LINGER_BYTES: usize = 256 * 1024;
/// How long a refused client has to read its answer before the connection is closed on the rest of its body.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// A request's body. Dropped before its end, by an early refusal, it lingers: a connection that is closed while bytes
/// still come in is reset, and a reset throws away the answer that the client has not read yet.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// `None` once it has ended or failed.
    incoming: Option<Incoming>,
    /// What came last, to be given out at the next poll: HTTP/2 only.
    held: Option<Frame<Bytes>>,
    linger: Linger,
}

/// Whether the rest of a dropped body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linger {
    /// HTTP/2 resets one stream, after its answer: no connection is in danger.
    Never,
    /// Behind `Expect: 100-continue` only once it was polled, since polling asks the client to send.
    OncePolled,
    /// HTTP/1: the client sends whether it is read or not.
    Always,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, linger: Linger) -> Self {
        Self {
            incoming: Some(incoming),
            held: None,
            linger,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.linger == Linger::OncePolled {
            self.linger = Linger::Always;
        }
        if let Some(frame) = self.held.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(incoming) = self.incoming.as_mut() else {
            return Poll::Ready(None);
        };
        match ready!(Pin::new(incoming).poll_frame(cx)) {
            // Taking a frame wakes the connection, which is then this worker's next task and no other's. It runs first:
            // should the frame's write hang, the connection's other streams must not hang with it.
            Some(Ok(frame)) if self.linger == Linger::Never => {
                self.held = Some(frame);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            end => {
                self.incoming = None;
                Poll::Ready(end)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let rest = self.incoming.take().filter(|body| !body.is_end_stream());
        if let (Some(rest), Linger::Always, Ok(runtime)) =
            (rest, self.linger, Handle::try_current())
        {
            runtime.spawn(tokio::time::timeout(LINGER_TIME, linger(rest)));
        }
    }
}

/// Reads some, then holds the body unread: the client is stopped by its full window, finds its answer, and goes.
async fn linger(mut body: Incoming) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return std::future::pending().await;
        }
    }
}
