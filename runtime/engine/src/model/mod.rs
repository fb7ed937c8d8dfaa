//! A loaded model: text in, probabilities or text out.

mod classifier;
mod confidence;
mod generator;
mod onnx;
mod text;

use crate::state::{Failure, FailureReason};

pub use classifier::{Classifier, MAX_BATCH_TEXTS, Prediction};
pub use generator::{
    Generation, Generator, Message, Prompt, PromptError, Role, Settings, Step, StopText, TextStream,
};
pub use text::{TextEncoder, Tokens};

/// Why a model cannot be loaded or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "ONNX Runtime is not there: {0}; set ORT_DYLIB_PATH to libonnxruntime.so of version 1.31 or later"
    )]
    Runtime(String),
    #[error("ONNX Runtime refuses the graph: {0}")]
    Load(String),
    #[error("the graph is not a text classifier: {0}")]
    Signature(String),
    #[error("the graph is not a decoder: {0}")]
    Decoder(String),
    #[error("the chat template is wrong: {0}")]
    Template(String),
    #[error(
        "{available_mib} MiB of memory are left for keys and values, which is not enough for {tokens} tokens of context; raise spec.runtime.resources.requests.memory"
    )]
    NoMemory { available_mib: usize, tokens: usize },
    #[error("the tokenizer is wrong: {0}")]
    Tokenizer(String),
    #[error("the graph fails on {texts} texts of {tokens} tokens: {message}")]
    Run {
        texts: usize,
        tokens: usize,
        message: String,
    },
    #[error("the model answers with numbers that are not finite")]
    NotFinite,
    #[error("golden probe {number} ({input:?}): expected {expected}, got {got}")]
    Probe {
        number: usize,
        input: String,
        expected: String,
        got: String,
    },
}

impl From<ModelError> for Failure {
    /// The failure of a model that is being started.
    fn from(error: ModelError) -> Self {
        let reason = match &error {
            ModelError::Runtime(_)
            | ModelError::Load(_)
            | ModelError::Run { .. }
            | ModelError::NoMemory { .. } => FailureReason::LoadFailed,
            ModelError::Signature(_)
            | ModelError::Decoder(_)
            | ModelError::Template(_)
            | ModelError::Tokenizer(_) => FailureReason::InvalidModel,
            ModelError::NotFinite | ModelError::Probe { .. } => FailureReason::ProbeFailed,
        };
        Self {
            reason,
            message: error.to_string(),
        }
    }
}
