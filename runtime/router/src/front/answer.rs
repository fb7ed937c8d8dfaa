//! The body of an answer: streamed as it comes, counted at its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use smallfleet_runtime_core::Arm;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::events::Events;
use crate::engine::Lent;
use crate::metrics::Metrics;
use crate::plane::{AtCandidate, Unit};

/// An engine's answer whose head has arrived, and all that its arm lends for it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Response<Begun>,
    pub(super) lent: Lent,
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) at_candidate: Option<AtCandidate>,
}

/// An engine's body of which the first bytes have come.
#[derive(Debug)]
pub(super) struct Begun {
    first: Option<Bytes>,
    rest: Incoming,
}

impl Begun {
    pub(super) async fn wait(mut rest: Incoming) -> Result<Self, hyper::Error> {
        let mut first = None;
        while let Some(frame) = rest.frame().await {
            // Trailers are no content.
            first = frame?.into_data().ok().filter(|data| !data.is_empty());
            if first.is_some() {
                break;
            }
        }
        Ok(Self { first, rest })
    }

    fn is_end(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.first.as_ref().map_or(0, Bytes::len) as u64;
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(held + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(held + upper);
        }
        hint
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }
}

/// Body of every answer of the front.
#[derive(Debug)]
pub enum AnswerBody {
    /// The router's own.
    Whole(Full<Bytes>),
    /// An engine's.
    Stream(Box<Streaming>),
}

/// Why an answer ends in the middle; the client sees the connection break, or an error event in a stream of events.
#[derive(Debug, thiserror::Error)]
pub enum BrokenAnswer {
    /// It took too long.
    #[error("the answer was not complete at the deadline")]
    Deadline,
    /// The engine broke it off.
    #[error("the engine broke off its answer: {0}")]
    Engine(#[from] hyper::Error),
}

impl BrokenAnswer {
    fn code(&self) -> &'static str {
        match self {
            Self::Deadline => "deadline_exceeded",
            Self::Engine(_) => "engine_broke_off",
        }
    }
}

/// An engine's body on its way to the client.
#[derive(Debug)]
pub struct Streaming {
    body: Begun,
    deadline: Pin<Box<Sleep>>,
    /// The first bytes were passed on.
    spoke: bool,
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
    /// Of an answer that is a stream of events.
    pub(super) events: Option<Events>,
    pub(super) lent: Lent,
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) at_candidate: Option<AtCandidate>,
    pub(super) metrics: Arc<Metrics>,
}

impl Open {
    /// These bytes are delivered; the first of a good answer are its first token.
    fn delivered(&mut self, data: &Bytes, first: bool) {
        if let Some(events) = &mut self.events {
            events.saw(data);
        }
        if first
            && self.good
            && let Some(unit) = &self.unit
        {
            unit.first_byte();
        }
    }

    fn complete(self) {
        self.metrics.answered(self.arm, self.since.elapsed());
        if self.good
            && self.events.is_none_or(|events| events.complete())
            && let Some(unit) = self.unit
        {
            unit.good();
        }
        self.lent.give_back();
        drop((self.slot, self.at_candidate));
    }
}

impl Streaming {
    pub(super) fn new(body: Begun, deadline: Instant, open: Open) -> Self {
        let mut streaming = Self {
            body,
            deadline: Box::pin(sleep_until(deadline)),
            spoke: false,
            open: Some(open),
        };
        streaming.complete_at_end();
        streaming
    }

    fn complete_at_end(&mut self) {
        if self.body.is_end()
            && let Some(open) = self.open.take()
        {
            open.complete();
        }
    }

    /// Ends the answer in the middle. A stream of events says so in its last one; its unit ends badly all the same.
    fn break_off(&mut self, error: BrokenAnswer) -> Result<Frame<Bytes>, BrokenAnswer> {
        let Some(open) = self.open.take() else {
            return Err(error);
        };
        open.metrics.broken(open.arm);
        match &open.events {
            Some(events) if self.body.rest.size_hint().exact().is_none() => {
                Ok(Frame::data(events.error(error.code(), &error.to_string())))
            }
            _ => Err(error),
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        if self.open.is_none() {
            return Poll::Ready(None);
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(self.break_off(BrokenAnswer::Deadline)));
        }
        match ready!(self.body.poll(context)) {
            Some(Ok(frame)) => {
                if let (Some(data), Some(open)) = (frame.data_ref(), &mut self.open) {
                    open.delivered(data, !self.spoke);
                    self.spoke = true;
                }
                self.complete_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(self.break_off(error.into()))),
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
            Self::Stream(body) if body.open.is_none() => SizeHint::with_exact(0),
            Self::Stream(body) => body.body.size_hint(),
        }
    }
}
