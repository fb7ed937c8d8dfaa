//! A model as it lies in its folder: read, checked and made ready to load, before ONNX Runtime sees a byte of it.
//!
//! The folder is other people's data. Every file is bounded in size, named by a plain name, and resolved to a regular file
//! inside the folder.

mod external_data;
mod manifest;
mod probes;

use std::io::BufReader;
use std::path::{Path, PathBuf};

use crate::config::Task;
use crate::state::{Failure, FailureReason};

pub use external_data::GraphError;
pub use manifest::{ClassifierManifest, GeneratorManifest, Manifest, Padding, Sampling};
pub use probes::{ClassifierProbe, GeneratorProbe};

const MANIFEST_FILE: &str = "model.json";
const PROBES_FILE: &str = "probes.json";
const MAX_JSON_SIZE_BYTES: u64 = 1 << 20;
const MAX_TOKENIZER_SIZE_BYTES: u64 = 64 << 20;
const MAX_TEMPLATE_SIZE_BYTES: u64 = 256 << 10;

/// A checked model folder. Only [`Artifact::open`] makes one.
#[derive(Debug)]
pub enum Artifact {
    Classifier(Checked<ClassifierManifest, ClassifierProbe>),
    Generator {
        checked: Checked<GeneratorManifest, GeneratorProbe>,
        /// Content of the chat template.
        chat_template: String,
    },
}

/// What every task's folder has.
#[derive(Debug)]
pub struct Checked<M, P> {
    pub manifest: M,
    /// Content of tokenizer.json.
    pub tokenizer: Vec<u8>,
    /// At least one.
    pub probes: Vec<P>,
    /// Regular file inside the folder, without external data.
    pub graph: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("{} has no {MANIFEST_FILE}: check that spec.model.image is a model image, with {MANIFEST_FILE} in its root", dir.display())]
    NoManifest { dir: PathBuf },
    #[error(
        "cannot read {file}: {source}; make it a readable regular file in the root of the model image"
    )]
    Read {
        file: String,
        source: std::io::Error,
    },
    #[error("{file} is {size_bytes} bytes long; at most {limit_bytes} are allowed")]
    TooLarge {
        file: String,
        size_bytes: u64,
        limit_bytes: u64,
    },
    #[error(
        "{file} leads out of the model folder; copy the file into the image instead of linking to it"
    )]
    Outside { file: String },
    #[error("{file} is wrong: {problem}")]
    Content { file: &'static str, problem: String },
    #[error("{file} is wrong: {problem}")]
    Template { file: String, problem: String },
    #[error(
        "the model is made for {model}, but spec.task is {asked}; change spec.task or spec.model.image"
    )]
    WrongTask { model: Task, asked: Task },
    #[error(
        "this runtime serves TextClassification and TextGeneration only, not {task}; use a runtime image that serves it"
    )]
    UnsupportedTask { task: Task },
    #[error("{file}: {source}")]
    Graph { file: String, source: GraphError },
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        let reason = match &error {
            ArtifactError::NoManifest { .. } => FailureReason::NoModel,
            ArtifactError::WrongTask { .. } | ArtifactError::UnsupportedTask { .. } => {
                FailureReason::WrongTask
            }
            // A graph that is not ONNX is what ONNX Runtime would have refused; it only did not get to see it.
            ArtifactError::Graph {
                source: GraphError::Malformed(_),
                ..
            } => FailureReason::LoadFailed,
            _ => FailureReason::InvalidModel,
        };
        Self {
            reason,
            message: error.to_string(),
        }
    }
}

impl Artifact {
    /// Reads and checks the folder of a model for `asked`.
    pub fn open(dir: &Path, asked: Task) -> Result<Self, ArtifactError> {
        let folder = Folder::open(dir)?;
        let manifest = Manifest::parse(&folder.manifest()?, asked)?;
        let (name, task, schema_version, license) = match &manifest {
            Manifest::Classifier(it) => (&it.name, it.task, it.schema_version, &it.license),
            Manifest::Generator(it) => (&it.name, it.task, it.schema_version, &it.license),
        };
        tracing::info!(name, %task, schema_version, license, "a model folder");
        match manifest {
            Manifest::Classifier(manifest) => classifier(&folder, manifest),
            Manifest::Generator(manifest) => generator(&folder, manifest),
        }
    }
}

/// The task of the model in a folder, for whoever does not ask for one.
pub fn task_of(dir: &Path) -> Result<Task, Failure> {
    let folder = Folder::open(dir)?;
    Ok(manifest::task(&folder.manifest()?)?)
}

fn classifier(folder: &Folder, manifest: ClassifierManifest) -> Result<Artifact, ArtifactError> {
    let probes = folder.read(PROBES_FILE, MAX_JSON_SIZE_BYTES)?;
    Ok(Artifact::Classifier(Checked {
        probes: probes::parse(&probes, |probe: &ClassifierProbe| {
            probe.check(&manifest.labels)
        })?,
        tokenizer: folder.read(&manifest.tokenizer, MAX_TOKENIZER_SIZE_BYTES)?,
        graph: folder.graph(&manifest.graph)?,
        manifest,
    }))
}

fn generator(folder: &Folder, manifest: GeneratorManifest) -> Result<Artifact, ArtifactError> {
    let probes = folder.read(PROBES_FILE, MAX_JSON_SIZE_BYTES)?;
    let template = folder.read(&manifest.chat_template, MAX_TEMPLATE_SIZE_BYTES)?;
    let chat_template = String::from_utf8(template).map_err(|error| ArtifactError::Template {
        file: manifest.chat_template.clone(),
        problem: error.to_string(),
    })?;
    Ok(Artifact::Generator {
        chat_template,
        checked: Checked {
            probes: probes::parse(&probes, GeneratorProbe::check)?,
            tokenizer: folder.read(&manifest.tokenizer, MAX_TOKENIZER_SIZE_BYTES)?,
            graph: folder.graph(&manifest.graph)?,
            manifest,
        },
    })
}

fn check_graph(file: &str, path: &Path) -> Result<(), ArtifactError> {
    let opened = std::fs::File::open(path).map_err(|source| ArtifactError::Read {
        file: file.into(),
        source,
    })?;
    external_data::check(BufReader::new(opened)).map_err(|source| ArtifactError::Graph {
        file: file.into(),
        source,
    })
}

/// A model folder by its canonical path.
struct Folder(PathBuf);

impl Folder {
    fn open(dir: &Path) -> Result<Self, ArtifactError> {
        match dir.canonicalize() {
            Ok(canonical) => Ok(Self(canonical)),
            Err(_) => Err(ArtifactError::NoManifest { dir: dir.into() }),
        }
    }

    fn manifest(&self) -> Result<Vec<u8>, ArtifactError> {
        self.read(MANIFEST_FILE, MAX_JSON_SIZE_BYTES)
            .map_err(|error| match error {
                ArtifactError::Read { source, .. }
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    ArtifactError::NoManifest {
                        dir: self.0.clone(),
                    }
                }
                other => other,
            })
    }

    /// Path of a graph without external data.
    fn graph(&self, file: &str) -> Result<PathBuf, ArtifactError> {
        let path = self.resolve(file)?;
        check_graph(file, &path)?;
        Ok(path)
    }

    /// Path of a regular file of the folder; links are followed only within it.
    fn resolve(&self, file: &str) -> Result<PathBuf, ArtifactError> {
        let read = |source| ArtifactError::Read {
            file: file.into(),
            source,
        };
        let path = self.0.join(file).canonicalize().map_err(read)?;
        if !path.starts_with(&self.0) {
            return Err(ArtifactError::Outside { file: file.into() });
        }
        if !path.is_file() {
            return Err(read(std::io::Error::other("it is not a regular file")));
        }
        Ok(path)
    }

    fn read(&self, file: &str, limit_bytes: u64) -> Result<Vec<u8>, ArtifactError> {
        let read = |source| ArtifactError::Read {
            file: file.into(),
            source,
        };
        let path = self.resolve(file)?;
        let size_bytes = path.metadata().map_err(read)?.len();
        if size_bytes > limit_bytes {
            return Err(ArtifactError::TooLarge {
                file: file.into(),
                size_bytes,
                limit_bytes,
            });
        }
        std::fs::read(path).map_err(read)
    }
}

#[cfg(test)]
mod tests;
