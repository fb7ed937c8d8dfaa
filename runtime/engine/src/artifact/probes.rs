//! `probes.json`: golden probes, texts with the answer that the model's maker promises. An engine that does not keep the
//! promise on its own node never gets ready: it catches wrong tokenizers, wrong labels and kernels that compute differently.

use serde::Deserialize;

use super::{ArtifactError, PROBES_FILE};

const MAX_PROBES: usize = 64;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    pub input: String,
    pub label: String,
    /// Probability of `label`.
    pub probability: f32,
    /// Largest distance from `probability` that is still right; quantised kernels differ between kinds of CPU.
    pub tolerance: f32,
}

pub fn parse(bytes: &[u8], labels: &[String]) -> Result<Vec<Probe>, ArtifactError> {
    let wrong = |problem: String| ArtifactError::Content {
        file: PROBES_FILE,
        problem,
    };
    let probes: Vec<Probe> =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if probes.is_empty() || probes.len() > MAX_PROBES {
        return Err(wrong(format!(
            "it has {} probes; 1 to {MAX_PROBES} are allowed",
            probes.len()
        )));
    }
    for (index, probe) in probes.iter().enumerate() {
        check(probe, labels).map_err(|problem| wrong(format!("probe {}: {problem}", index + 1)))?;
    }
    Ok(probes)
}

fn check(probe: &Probe, labels: &[String]) -> Result<(), String> {
    if probe.input.trim().is_empty() {
        return Err("input is empty".into());
    }
    if !labels.contains(&probe.label) {
        return Err(format!(
            "label {:?} is not one of the model's labels",
            probe.label
        ));
    }
    for (field, value) in [
        ("probability", probe.probability),
        ("tolerance", probe.tolerance),
    ] {
        if !(0.0..=1.0).contains(&value) {
            return Err(format!("{field} is {value}; it must be between 0 and 1"));
        }
    }
    Ok(())
}
