//! `model.json` of a text generator.

use std::num::NonZeroUsize;

use serde::Deserialize;

use super::{check_file_name, check_not_empty};
use crate::config::Task;

/// Longest context of a small model that a node without a GPU can be asked for.
const MAX_CONTEXT_TOKENS: usize = 32_768;
const MAX_END_TOKENS: usize = 8;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratorManifest {
    pub schema_version: u32,
    pub task: Task,
    pub name: String,
    pub graph: String,
    pub tokenizer: String,
    /// File with the chat template (Jinja).
    pub chat_template: String,
    /// Most tokens of prompt and answer together.
    pub context_tokens: NonZeroUsize,
    /// Tokens that end an answer, by their text in the tokenizer.
    pub end_tokens: Vec<String>,
    /// `bos_token` of the template; empty where it uses none.
    #[serde(default)]
    pub begin_token: String,
    /// How answers are sampled where a request does not say.
    pub sampling: Sampling,
    pub license: String,
}

/// Recommendation of the model's maker.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sampling {
    /// 0 takes the most probable token each time.
    pub temperature: f32,
    /// Share of the probability that is sampled from, the most probable tokens first.
    pub top_p: f32,
}

impl GeneratorManifest {
    pub(super) fn check(&self) -> Result<(), String> {
        check_not_empty("name", &self.name)?;
        check_not_empty("license", &self.license)?;
        check_file_name("graph", &self.graph)?;
        check_file_name("tokenizer", &self.tokenizer)?;
        check_file_name("chatTemplate", &self.chat_template)?;
        if !(2..=MAX_CONTEXT_TOKENS).contains(&self.context_tokens.get()) {
            return Err(format!(
                "contextTokens is {}; 2 to {MAX_CONTEXT_TOKENS} are allowed",
                self.context_tokens
            ));
        }
        if self.end_tokens.is_empty() || self.end_tokens.len() > MAX_END_TOKENS {
            return Err(format!(
                "endTokens has {} entries; 1 to {MAX_END_TOKENS} are allowed",
                self.end_tokens.len()
            ));
        }
        self.sampling.check()
    }
}

impl Sampling {
    fn check(self) -> Result<(), String> {
        if !(0.0..=2.0).contains(&self.temperature) {
            return Err(format!(
                "sampling.temperature is {}; it must be between 0 and 2",
                self.temperature
            ));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(format!(
                "sampling.topP is {}; it must be above 0 and at most 1",
                self.top_p
            ));
        }
        Ok(())
    }
}
