//! The body of an answer: streamed as it comes, counted at its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use smallfleet_runtime_core::Arm;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::engine::Lent;
use crate::metrics::Metrics;
use crate::plane::{AtCandidate, Unit};

/// An engine's answer whose head has arrived, and all that its arm lends for it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Response<Incoming>,
    pub(super) lent: Lent,
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) at_candidate: Option<AtCandidate>,
}

/// Body of every answer of the front.
#[derive(Debug)]
pub enum AnswerBody {
    /// The router's own.
    Whole(Full<Bytes>),
    /// An engine's.
    Stream(Box<Streaming>),
}

/// Why an answer ends in the middle; the client sees the connection break.
#[derive(Debug, thiserror::Error)]
pub enum BrokenAnswer {
    /// It took too long.
    #[error("the answer was not complete at the deadline")]
    Deadline,
    /// The engine broke it off.
    #[error("the engine broke off its answer: {0}")]
    Engine(#[from] hyper::Error),
}

/// An engine's body on its way to the client.
#[derive(Debug)]
pub struct Streaming {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
    /// Taken at the end; dropped with this when the client cancels, and then the unit ends badly.
    open: Option<Open>,
}

/// What an answer holds until its last byte.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) arm: Arm,
    pub(super) unit: Option<Unit>,
    pub(super) since: Instant,
    pub(super) good: bool,
    pub(super) lent: Lent,
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) at_candidate: Option<AtCandidate>,
    pub(super) metrics: Arc<Metrics>,
}

impl Open {
    fn complete(self) {
        self.metrics.answered(self.arm, self.since.elapsed());
        if self.good
            && let Some(unit) = self.unit
        {
            unit.good();
        }
        self.lent.give_back();
        drop((self.slot, self.at_candidate));
    }
}

impl Streaming {
    pub(super) fn new(body: Incoming, deadline: Instant, open: Open) -> Self {
        let mut streaming = Self {
            body,
            deadline: Box::pin(sleep_until(deadline)),
            open: Some(open),
        };
        streaming.complete_at_end();
        streaming
    }

    fn complete_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(open) = self.open.take()
        {
            open.complete();
        }
    }

    fn break_off(&mut self, error: BrokenAnswer) -> BrokenAnswer {
        if let Some(open) = self.open.take() {
            open.metrics.broken(open.arm);
        }
        error
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        if self.open.is_none() {
            return Poll::Ready(None);
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(self.break_off(BrokenAnswer::Deadline))));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => {
                self.complete_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(self.break_off(error.into())))),
            None => {
                if let Some(open) = self.open.take() {
                    open.complete();
                }
                Poll::Ready(None)
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenAnswer;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Self::Stream(body) => body.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(body) => body.open.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(body) => body.body.size_hint(),
        }
    }
}
