//! A revision: the resolved, hashed part of a spec, and the ControllerRevision that keeps it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use smallfleet_crds::{Model, Resources, Runtime, SmallModelSpec, Task};

use crate::quantity::{self, QuantityError};

/// Version of the rendering. Raised when the same revision would render other pods; old versions stay renderable.
pub const RENDERER_VERSION: u32 = 1;

/// Characters of a revision's hash in names and labels.
pub const HASH_LENGTH: usize = 10;

/// Everything that the pods of a revision are rendered from. Every default is resolved, quantities are canonical.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revision {
    pub renderer_version: u32,
    pub task: Task,
    pub model: Model,
    /// `image` is never empty here.
    pub runtime: Runtime,
}

/// Why a spec is no revision. The text names the field and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("spec.runtime.{field}: {source}")]
    Quantity {
        field: &'static str,
        source: QuantityError,
    },
    #[error("spec.runtime.resources.requests.memory must be more than 0")]
    NoMemory,
    #[error(
        "spec.runtime.image is empty and this operator has no default runtime image: set spec.runtime.image or the chart's value runtime.image"
    )]
    NoRuntimeImage,
}

impl Revision {
    /// Resolves the revision part of a spec. `pinned_image` stands in for an empty runtime image: that of the predecessor, else the
    /// operator's default.
    ///
    /// # Errors
    /// When a quantity is unusable or no runtime image is known.
    pub fn resolve(spec: &SmallModelSpec, pinned_image: &str) -> Result<Self, ResolveError> {
        let mut runtime = spec.runtime.clone();
        if runtime.image.is_empty() {
            pinned_image.clone_into(&mut runtime.image);
        }
        if runtime.image.is_empty() {
            return Err(ResolveError::NoRuntimeImage);
        }
        if runtime.service_account_name.is_empty() {
            "default".clone_into(&mut runtime.service_account_name);
        }
        runtime.image_pull_secrets.sort();
        canonicalize(&mut runtime.resources)?;
        Ok(Self {
            renderer_version: RENDERER_VERSION,
            task: spec.task,
            model: spec.model.clone(),
            runtime,
        })
    }

    /// First 10 hex characters of the SHA-256 of the canonical JSON.
    #[must_use]
    pub fn hash(&self) -> String {
        let canonical =
            serde_json::to_vec(self).expect("a revision is plain data and always serializes");
        short_hash(&canonical, HASH_LENGTH)
    }

    /// Digest of the model image, `sha256:...`.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.model
            .image
            .split_once('@')
            .map_or("", |(_, digest)| digest)
    }

    /// Threads of the engine: `max(1, ceil(CPU request))`, the same in both arms.
    #[must_use]
    pub fn threads(&self) -> u64 {
        let milli = quantity::cpu_milli(&self.runtime.resources.requests.cpu).unwrap_or(1000);
        milli.div_ceil(1000).max(1)
    }
}

/// First `length` hex characters of the SHA-256 of some bytes.
#[must_use]
pub fn short_hash(bytes: &[u8], length: usize) -> String {
    let mut text: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    text.truncate(length);
    text
}

fn canonicalize(resources: &mut Resources) -> Result<(), ResolveError> {
    let in_field = |field| move |source| ResolveError::Quantity { field, source };
    let requests = &mut resources.requests;
    let cpu = quantity::cpu_milli(&requests.cpu).map_err(in_field("resources.requests.cpu"))?;
    requests.cpu = quantity::canonical_cpu(cpu);
    let memory =
        quantity::memory_bytes(&requests.memory).map_err(in_field("resources.requests.memory"))?;
    if memory == 0 {
        return Err(ResolveError::NoMemory);
    }
    requests.memory = quantity::canonical_memory(memory);
    resources.limits.memory.clone_from(&requests.memory);
    if !resources.limits.cpu.is_empty() {
        let limit =
            quantity::cpu_milli(&resources.limits.cpu).map_err(in_field("resources.limits.cpu"))?;
        resources.limits.cpu = quantity::canonical_cpu(limit);
    }
    Ok(())
}

/// Verdict on a revision, kept as a label so that a lost status can be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stable,
    Refused,
    Superseded,
}

impl Verdict {
    /// Value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Refused => "refused",
            Self::Superseded => "superseded",
        }
    }

    /// Reads the label; `None` for a text that is none of ours.
    #[must_use]
    pub fn from_label(text: &str) -> Option<Self> {
        [Self::Stable, Self::Refused, Self::Superseded]
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
    }
}

/// A ControllerRevision of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionObject {
    /// `<model>-<hash10>`.
    pub name: String,
    pub uid: String,
    /// Order of creation, `ControllerRevision.revision`.
    pub number: i64,
    pub hash: String,
    pub revision: Revision,
    pub verdict: Option<Verdict>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> SmallModelSpec {
        serde_json::from_value(json).unwrap()
    }

    fn with_memory(memory: &str) -> SmallModelSpec {
        spec(serde_json::json!({
            "task": "TextClassification",
            "model": {"image": "registry/m@sha256:0"},
            "runtime": {"resources": {"requests": {"cpu": "0.5", "memory": memory}}},
        }))
    }

    #[test]
    fn equal_quantities_are_one_revision() {
        let hash = |memory| {
            Revision::resolve(&with_memory(memory), "image")
                .unwrap()
                .hash()
        };
        assert_eq!(hash("1Gi"), hash("1024Mi"));
        assert_ne!(hash("1Gi"), hash("1025Mi"));
    }

    #[test]
    fn live_fields_are_no_part_of_a_revision() {
        let mut live = with_memory("1Gi");
        live.service.port = 8080;
        live.rollout.paused = true;
        live.placement
            .node_selector
            .insert("a".to_owned(), "b".to_owned());
        let hash = |spec| Revision::resolve(spec, "image").unwrap().hash();
        assert_eq!(hash(&live), hash(&with_memory("1Gi")));
    }

    #[test]
    fn the_hash_of_release_0_1_stays() {
        let revision = Revision::resolve(&with_memory("1Gi"), "runtime@sha256:1").unwrap();
        assert_eq!(revision.hash(), "9c8c69f5d9");
        assert_eq!(revision.threads(), 1);
    }

    #[test]
    fn a_bad_quantity_names_its_field() {
        let error = Revision::resolve(&with_memory("1GB"), "image")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("spec.runtime.resources.requests.memory"),
            "{error}"
        );
        assert!(Revision::resolve(&with_memory("1Gi"), "").is_err());
    }
}
