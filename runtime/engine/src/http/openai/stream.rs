//! Server-sent events: one a piece of text, `[DONE]` at the end of a complete answer and never else.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::Head;
use super::generate::{Begun, gone, good};
use crate::http::error::OpenAiError;
use crate::work::{Event, Turn};

pub fn response(begun: Begun, max_request: Duration) -> Response {
    let Begun {
        head,
        first,
        rest,
        turn,
    } = begun;
    let events = Events {
        // The first bytes hold the first text: who times them times the first token.
        before: head.role().map(|role| data(&role)).unwrap_or_default(),
        max_request_seconds: max_request.as_secs(),
        head,
        first: Some(first),
        open: Some((rest, turn)),
    };
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Body of a streamed answer. Dropping it tells the engine thread to stop.
struct Events {
    head: Head,
    before: String,
    first: Option<Event>,
    max_request_seconds: u64,
    /// `None` after the last event.
    open: Option<(mpsc::Receiver<Event>, Turn)>,
}

fn data(body: &Value) -> String {
    format!("data: {body}\n\n")
}

impl Events {
    /// What is sent for an event; `None`: the thread ended.
    fn render(&mut self, event: Option<Event>) -> String {
        let mut sent = std::mem::take(&mut self.before);
        let event = event
            .ok_or_else(gone)
            .and_then(|event| good(self.max_request_seconds, event));
        match event {
            Ok(Event::Text(text)) => sent += &data(&self.head.piece(&text)),
            Ok(Event::Done(finish, usage)) => {
                self.open = None;
                sent += &data(&self.head.end(finish));
                if let Some(usage) = self.head.usage(usage) {
                    sent += &data(&usage);
                }
                sent += "data: [DONE]\n\n";
            }
            Ok(Event::Refused(_) | Event::Failed(_) | Event::Late) => self.open = None,
            Err(error) => {
                self.open = None;
                sent += "event: error\n";
                sent += &data(&OpenAiError(error).body());
            }
        }
        sent
    }
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let Some((rest, _)) = &mut this.open else {
            return Poll::Ready(None);
        };
        let event = match this.first.take() {
            Some(first) => Some(first),
            None => match rest.poll_recv(context) {
                Poll::Ready(event) => event,
                Poll::Pending => return Poll::Pending,
            },
        };
        let sent = this.render(event);
        Poll::Ready(Some(Ok(Frame::data(sent.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }
}
