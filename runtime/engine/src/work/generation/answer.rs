//! One answer at work: from its first chunk of the prompt to its last token.

use std::time::Instant;

use tokio::sync::mpsc;

use super::{Event, Finish, Usage};
use crate::model::{Generation, StopText, TextStream};

/// An answer at work.
pub(super) struct AnswerAtWork {
    pub(super) generation: Generation,
    pub(super) stream: TextStream,
    pub(super) stop: StopText,
    pub(super) usage: Usage,
    pub(super) max_tokens: usize,
    pub(super) queued_at: Instant,
    pub(super) deadline: Instant,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) spoke: bool,
}

/// Whether an answer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoesOn,
    Ended,
}

impl AnswerAtWork {
    /// Tokens that memory was taken for.
    pub(super) fn reserved(&self) -> usize {
        self.usage.prompt_tokens + self.max_tokens
    }

    /// Shows the text that a token completed.
    pub(super) fn token(&mut self, text: &str) -> Next {
        self.usage.completion_tokens += 1;
        let stopped = self.stop.push(text);
        self.say(stopped.text);
        if stopped.stopped {
            self.done(Finish::Stop)
        } else if self.usage.completion_tokens >= self.max_tokens {
            self.end(Finish::Length)
        } else {
            Next::GoesOn
        }
    }

    /// The model sampled an end token.
    pub(super) fn ended(&mut self) -> Next {
        self.usage.completion_tokens += 1;
        self.end(Finish::Stop)
    }

    fn end(&mut self, finish: Finish) -> Next {
        let held = self.stop.finish();
        self.say(held);
        self.done(finish)
    }

    fn done(&mut self, finish: Finish) -> Next {
        self.tell(Event::Done(finish, self.usage));
        Next::Ended
    }

    fn say(&mut self, text: String) {
        if !text.is_empty() {
            self.spoke = true;
            self.tell(Event::Text(text));
        }
    }

    /// There is room for every event of an answer; a client that left needs none.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.try_send(event);
    }
}
