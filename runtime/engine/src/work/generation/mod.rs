//! Generation: answers grow token by token, several at a time, each with its own keys and values.

mod answer;
mod budget;
mod worker;

use std::time::Instant;

use tokio::sync::mpsc;

use super::WorkError;
use crate::model::{Prompt, PromptError, Settings};

pub use budget::Budget;
pub use worker::Worker;

/// Tokens of an answer where a request does not say: memory is set aside for them when it begins.
const MAX_TOKENS_DEFAULT: usize = 512;

/// Where the jobs of a loaded generator go.
#[derive(Debug, Clone)]
pub struct GeneratorDesk {
    pub jobs: mpsc::Sender<GenerationJob>,
    /// No answer has more tokens.
    pub context_tokens: usize,
}

/// A request for an answer.
#[derive(Debug)]
pub struct GenerationJob {
    pub prompt: Prompt,
    /// `None`: as many as fit, up to a bound.
    pub max_tokens: Option<usize>,
    pub settings: Settings,
    pub stop: Vec<String>,
    pub queued_at: Instant,
    /// Checked before every step.
    pub deadline: Instant,
    /// Made by [`events_of`]; when its receiver is gone the work ends at the next step.
    pub events: mpsc::Sender<Event>,
}

/// A channel for the events of an answer, with room for all of them: the engine thread never waits for a client.
pub fn events_of(context_tokens: usize) -> (mpsc::Sender<Event>, mpsc::Receiver<Event>) {
    mpsc::channel(context_tokens + 2)
}

/// What happens to an answer, in this order: texts, then one of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Text(String),
    Done(Finish, Usage),
    /// Before any text: the request is not one that can be answered.
    Refused(Refusal),
    Failed(WorkError),
    Late,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By the model, or at a stop text.
    Stop,
    /// At the most tokens that were asked for.
    Length,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: usize,
    /// Sampled tokens, those of a stop text and of the end included.
    pub completion_tokens: usize,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Prompt(#[from] PromptError),
    #[error(
        "the prompt has {prompt} tokens and {wanted} are asked for, which is more than the {most} that fit into the model's context and this engine's memory; shorten the prompt or lower max_tokens"
    )]
    TooLong {
        prompt: usize,
        wanted: usize,
        most: usize,
    },
}
