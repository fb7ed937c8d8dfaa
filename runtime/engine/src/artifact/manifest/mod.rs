//! `model.json`: what the model is. The format is a contract with whoever packs models; unknown fields are refused, since a
//! field that is accepted and ignored would be a promise nobody keeps.

mod classifier;
mod generator;

use serde::Deserialize;

use super::{ArtifactError, MANIFEST_FILE};
use crate::config::Task;

pub use classifier::{ClassifierManifest, Padding};
pub use generator::{GeneratorManifest, Sampling};

const SCHEMA_VERSION: u32 = 1;

/// A manifest by its task.
#[derive(Debug, Clone)]
pub enum Manifest {
    Classifier(ClassifierManifest),
    Generator(GeneratorManifest),
}

/// The fields that decide how the others are to be read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    schema_version: u32,
    task: Task,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let header: Self = from_json(bytes)?;
        if header.schema_version == SCHEMA_VERSION {
            return Ok(header);
        }
        Err(wrong(format!(
            "schemaVersion is {}, but this runtime reads {SCHEMA_VERSION}; pack the model again or use another runtime image",
            header.schema_version
        )))
    }
}

/// The task that the file names, whatever else it says.
pub fn task(bytes: &[u8]) -> Result<Task, ArtifactError> {
    Ok(Header::parse(bytes)?.task)
}

impl Manifest {
    /// Parses and checks the file. Schema and task come first: a file of another schema or task has other fields.
    pub fn parse(bytes: &[u8], asked: Task) -> Result<Self, ArtifactError> {
        let header = Header::parse(bytes)?;
        if header.task != asked {
            return Err(ArtifactError::WrongTask {
                model: header.task,
                asked,
            });
        }
        match header.task {
            Task::TextClassification => {
                let manifest: ClassifierManifest = from_json(bytes)?;
                manifest.check().map_err(wrong)?;
                Ok(Self::Classifier(manifest))
            }
            Task::TextGeneration => {
                let manifest: GeneratorManifest = from_json(bytes)?;
                manifest.check().map_err(wrong)?;
                Ok(Self::Generator(manifest))
            }
            task @ (Task::TokenClassification | Task::Embedding) => {
                Err(ArtifactError::UnsupportedTask { task })
            }
        }
    }
}

fn check_not_empty(field: &str, value: &str) -> Result<(), String> {
    if value.trim().is_empty() {
        Err(format!("{field} is empty"))
    } else {
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

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ArtifactError> {
    serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))
}

fn wrong(problem: String) -> ArtifactError {
    ArtifactError::Content {
        file: MANIFEST_FILE,
        problem,
    }
}
