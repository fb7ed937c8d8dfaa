//! `model.json`: what the model is. The format is a contract with whoever packs models; unknown fields are refused, since a
//! field that is accepted and ignored would be a promise nobody keeps.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use serde::Deserialize;

use super::{ArtifactError, MANIFEST_FILE};
use crate::config::Task;

const SCHEMA_VERSION: u32 = 1;
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
pub struct Manifest {
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

/// The fields that decide how the others are to be read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    schema_version: u32,
    task: Task,
}

impl Manifest {
    /// Parses and checks the file. Schema and task come first: a file of another schema or task has other fields.
    pub fn parse(bytes: &[u8], asked: Task) -> Result<Self, ArtifactError> {
        let header: Header = from_json(bytes)?;
        if header.schema_version != SCHEMA_VERSION {
            return Err(wrong(format!(
                "schemaVersion is {}, but this runtime reads {SCHEMA_VERSION}; pack the model again or use another runtime image",
                header.schema_version
            )));
        }
        if header.task != asked {
            return Err(ArtifactError::WrongTask {
                model: header.task,
                asked,
            });
        }
        if header.task != Task::TextClassification {
            return Err(ArtifactError::UnsupportedTask { task: header.task });
        }
        let manifest: Self = from_json(bytes)?;
        manifest.check().map_err(wrong)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        for (field, value) in [("name", &self.name), ("license", &self.license)] {
            if value.trim().is_empty() {
                return Err(format!("{field} is empty"));
            }
        }
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

fn check_file_name(field: &str, name: &str) -> Result<(), String> {
    let plain = !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\'])
        && !name.contains(char::is_control);
    if plain {
        Ok(())
    } else {
        Err(format!(
            "{field} is {name:?}; it must be the plain name of a file beside {MANIFEST_FILE}"
        ))
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

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ArtifactError> {
    serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))
}

fn wrong(problem: String) -> ArtifactError {
    ArtifactError::Content {
        file: MANIFEST_FILE,
        problem,
    }
}
