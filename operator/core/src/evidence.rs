//! What is kept of a rollout's evidence over restarts of the operator: the content of the ConfigMap `<model>-evidence`.

use serde::{Deserialize, Serialize};
use smallfleet_analysis::Counts;

/// Totals of closed epochs and results of evaluations. Open epochs are sent again by their routers, so nothing counts twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EvidenceStore {
    /// The rollout that the counts belong to.
    pub rollout: String,
    /// Ids of the epochs in `closed`.
    pub closed_ids: Vec<u64>,
    pub closed: Counts,
    /// Cumulative counts (open and closed) at each restart of the late-onset mixture.
    pub restarts: Vec<Counts>,
    /// Exposed seconds and units at the last restart.
    pub last_restart_exposed_seconds: u64,
    /// Largest natural logarithm of the combined e-value at any look.
    pub peak_log_e: f64,
    /// Exposed milliseconds: whole rollout and current step.
    pub exposed_milliseconds: u64,
    pub step_exposed_milliseconds: u64,
    /// Evaluation results, cached over rollouts.
    pub evaluations: Vec<EvaluationResult>,
}

/// How one revision did on one dataset on one class of nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EvaluationResult {
    pub revision: String,
    pub dataset_digest: String,
    pub node_class: String,
    pub examples: u32,
    /// Base64, one bit per example in order, most significant first: 1 where the answer was right.
    pub right: String,
}
