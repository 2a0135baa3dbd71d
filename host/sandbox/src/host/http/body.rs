//! Bodies that end at a limit.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::{Error, WasiBody};

/// A body that fails after so many bytes.
pub(super) struct Limited {
    inner: WasiBody,
    left: u64,
    /// What it fails with.
    error: Option<Error>,
}

impl Limited {
    pub(super) fn new<B>(body: B, most: u64, error: Error) -> Self
    where
        B: Body<Data = Bytes, Error = Error> + Send + 'static,
    {
        Self { inner: body.boxed_unsync(), left: most, error: Some(error) }
    }

    /// The same, which also fails at a deadline.
    pub(super) fn until(self, deadline: Instant, error: Error) -> Timed {
        Timed { inner: self, sleep: Box::pin(sleep_until(deadline)), error: Some(error) }
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => Poll::Ready(self.error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.error.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that fails at a deadline.
pub(super) struct Timed {
    inner: Limited,
    sleep: Pin<Box<Sleep>>,
    error: Option<Error>,
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.sleep.as_mut().poll(context));
        Poll::Ready(self.error.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.error.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
