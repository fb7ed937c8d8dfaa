//! `model.json` of a text classifier.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use serde::Deserialize;

use super::{check_file_name, check_not_empty};
use crate::config::Task;

const MAX_LABELS: usize = 1000;
const MAX_LABEL_SIZE_BYTES: usize = 256;
/// Longest input of any encoder in use; attention's cost grows with the square.
const MAX_TOKENS: usize = 8192;

/// How texts are brought to the length the graph is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Padding {
    /// To the longest text of the batch.
    Longest,
    /// Every text to `maxTokens`: for graphs with a fixed sequence length.
    MaxLength,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassifierManifest {
    pub schema_version: u32,
    pub task: Task,
    pub name: String,
    pub graph: String,
    pub tokenizer: String,
    pub labels: Vec<String>,
    pub max_tokens: NonZeroUsize,
    pub padding: Padding,
    /// Divides the logits before softmax; fitted on held-out data so that probabilities are honest.
    pub temperature: f32,
    pub license: String,
}

impl ClassifierManifest {
    pub(super) fn check(&self) -> Result<(), String> {
        check_not_empty("name", &self.name)?;
        check_not_empty("license", &self.license)?;
        check_file_name("graph", &self.graph)?;
        check_file_name("tokenizer", &self.tokenizer)?;
        check_labels(&self.labels)?;
        if self.max_tokens.get() > MAX_TOKENS {
            return Err(format!(
                "maxTokens is {}; at most {MAX_TOKENS} are allowed",
                self.max_tokens
            ));
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(format!(
                "temperature is {}; it must be a positive number (1 changes nothing)",
                self.temperature
            ));
        }
        Ok(())
    }
}

fn check_labels(labels: &[String]) -> Result<(), String> {
    if labels.len() < 2 || labels.len() > MAX_LABELS {
        return Err(format!(
            "labels has {} entries; 2 to {MAX_LABELS} are allowed",
            labels.len()
        ));
    }
    let mut seen = HashSet::new();
    for label in labels {
        if label.trim().is_empty() || label.len() > MAX_LABEL_SIZE_BYTES {
            return Err(format!(
                "label {label:?} is empty or longer than {MAX_LABEL_SIZE_BYTES} bytes"
            ));
        }
        if !seen.insert(label) {
            return Err(format!("label {label:?} is there twice"));
        }
    }
    Ok(())
}
