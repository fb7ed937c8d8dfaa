//! `probes.json`: golden probes, texts with the answer that the model's maker promises. An engine that does not keep the
//! promise on its own node never gets ready: it catches wrong tokenizers, wrong labels and kernels that compute differently.

mod classifier;
mod generator;

use serde::de::DeserializeOwned;

use super::{ArtifactError, PROBES_FILE};

pub use classifier::ClassifierProbe;
pub use generator::GeneratorProbe;

const MAX_PROBES: usize = 64;

/// Parses the file; `check` says what is wrong with a probe.
pub fn parse<P: DeserializeOwned>(
    bytes: &[u8],
    check: impl Fn(&P) -> Result<(), String>,
) -> Result<Vec<P>, ArtifactError> {
    let wrong = |problem: String| ArtifactError::Content {
        file: PROBES_FILE,
        problem,
    };
    let probes: Vec<P> = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if probes.is_empty() || probes.len() > MAX_PROBES {
        return Err(wrong(format!(
            "it has {} probes; 1 to {MAX_PROBES} are allowed",
            probes.len()
        )));
    }
    for (index, probe) in probes.iter().enumerate() {
        check(probe).map_err(|problem| wrong(format!("probe {}: {problem}", index + 1)))?;
    }
    Ok(probes)
}
