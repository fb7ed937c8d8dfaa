//! What was sent to a router and is not read yet. The monitor looks into it, the router takes out of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallfleet_protocol::v1;
use smallfleet_protocol::v1::operator_message::Message;
use smallfleet_protocol::v1::route::Kind;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

/// Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Mailbox(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: Receiver<v1::OperatorMessage>,
    looked_at: VecDeque<v1::OperatorMessage>,
}

impl Mailbox {
    pub(super) fn new(stream: Receiver<v1::OperatorMessage>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            stream,
            looked_at: VecDeque::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message, as from the stream itself.
    pub(super) fn next(&self) -> Result<v1::OperatorMessage, TryRecvError> {
        let mut inner = self.lock();
        match inner.looked_at.pop_front() {
            Some(message) => Ok(message),
            None => inner.stream.try_recv(),
        }
    }

    /// A route of this rollout and such a kind is on its way.
    pub(super) fn holds(&self, rollout: &str, is_such: impl Fn(Kind) -> bool) -> bool {
        let mut inner = self.lock();
        while let Ok(message) = inner.stream.try_recv() {
            inner.looked_at.push_back(message);
        }
        inner
            .looked_at
            .iter()
            .any(|message| match &message.message {
                Some(Message::Route(route)) => is_such(route.kind()) && route.rollout_id == rollout,
                _ => false,
            })
    }
}
