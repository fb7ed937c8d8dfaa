//! What the schema cannot say about a spec, and what matters too much to leave to the schema alone.
//!
//! A refusal names the field and what to write instead; what served goes on serving.

mod names;
mod placement;
mod rollout;

use std::collections::BTreeSet;

use smallfleet_crds::{Runtime, SmallModelSpec};

use crate::quantity;
use crate::revision::ResolveError;

/// Why a spec is not followed. The text names the field and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSpec(String);

impl From<ResolveError> for InvalidSpec {
    fn from(error: ResolveError) -> Self {
        Self(error.to_string())
    }
}

type Checked = Result<(), InvalidSpec>;

/// Refuses unless `holds`.
fn require(holds: bool, message: impl FnOnce() -> String) -> Checked {
    if holds {
        return Ok(());
    }
    Err(InvalidSpec(message()))
}

/// Refuses when a key stands twice in a list.
fn unique<'a>(field: &str, keys: impl IntoIterator<Item = &'a str>) -> Checked {
    let mut seen = BTreeSet::new();
    keys.into_iter().try_for_each(|key| {
        require(seen.insert(key), || {
            format!("{field}: {key:?} stands there twice: write it once")
        })
    })
}

/// Checks all that is not the revision's own (`Revision::resolve` reads its quantities).
pub(crate) fn spec(spec: &SmallModelSpec) -> Checked {
    let digest = |image: &str| {
        image
            .split_once("@sha256:")
            .is_some_and(|(_, hex)| !hex.is_empty())
    };
    require(digest(&spec.model.image), || {
        "spec.model.image: name the image by digest, registry/name@sha256:...".to_owned()
    })?;
    runtime(&spec.runtime)?;
    placement::check(&spec.placement)?;
    rollout::check(&spec.rollout)?;
    rollout::fits_task(&spec.rollout, spec.task)?;
    overrides(spec)
}

fn runtime(runtime: &Runtime) -> Checked {
    let env = "spec.runtime.env";
    unique(
        env,
        runtime.env.iter().map(|variable| variable.name.as_str()),
    )?;
    for variable in &runtime.env {
        require(!variable.name.starts_with("SMALLFLEET_"), || {
            format!(
                "{env}: {} is the operator's own: choose another name",
                variable.name
            )
        })?;
    }
    let metadata = &runtime.pod_metadata;
    names::keys("spec.runtime.podMetadata.labels", metadata.labels.keys())?;
    names::keys(
        "spec.runtime.podMetadata.annotations",
        metadata.annotations.keys(),
    )?;
    for (key, value) in &metadata.labels {
        require(names::is_label_value(value), || {
            format!("spec.runtime.podMetadata.labels: {value:?} of {key} is no label value")
        })?;
    }
    limits(runtime)
}

fn limits(runtime: &Runtime) -> Checked {
    let field = |name: &str| format!("spec.runtime.resources.{name}");
    let (requests, limits) = (&runtime.resources.requests, &runtime.resources.limits);
    let parsed = |name: &str, result: Result<u64, quantity::QuantityError>| {
        result.map_err(|error| InvalidSpec(format!("{}: {error}", field(name))))
    };
    if !limits.memory.is_empty() {
        let limit = parsed("limits.memory", quantity::memory_bytes(&limits.memory))?;
        let request = parsed("requests.memory", quantity::memory_bytes(&requests.memory))?;
        require(limit == request, || {
            format!(
                "{}: {} is not requests.memory ({}): leave it out or write the same",
                field("limits.memory"),
                limits.memory,
                requests.memory
            )
        })?;
    }
    if !limits.cpu.is_empty() {
        let limit = parsed("limits.cpu", quantity::cpu_milli(&limits.cpu))?;
        let request = parsed("requests.cpu", quantity::cpu_milli(&requests.cpu))?;
        require(limit >= request, || {
            format!(
                "{}: {} is below requests.cpu: raise it or leave it out",
                field("limits.cpu"),
                limits.cpu
            )
        })?;
    }
    Ok(())
}

fn overrides(spec: &SmallModelSpec) -> Checked {
    let overrides = &spec.feature_flag.overrides;
    let field = "spec.featureFlag.overrides";
    unique(field, overrides.iter().map(|one| one.name.as_str()))?;
    for one in overrides {
        require(names::is_clients_header(&one.header), || {
            format!(
                "{field}: {:?} of {} is no header of a client's request: write a lower-case name that is neither x-smallfleet-... nor the connection's",
                one.header, one.name
            )
        })?;
        require(!one.values.is_empty(), || {
            format!("{field}: {} has no values: write at least one", one.name)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
