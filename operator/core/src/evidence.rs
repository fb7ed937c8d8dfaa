//! What is kept of a rollout's evidence over restarts of the operator: the content of the ConfigMap `<model>-evidence`.

use serde::{Deserialize, Serialize};
use smallfleet_analysis::{Counts, Evidence};

/// Totals of closed epochs and results of evaluations. Open epochs are sent again by their routers, so nothing counts twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EvidenceStore {
    /// The rollout that everything but `evaluations` belongs to.
    pub rollout: String,
    /// Ids of the epochs that are in `evidence.closed`.
    pub closed_ids: Vec<u64>,
    /// Closed totals, restart snapshots and peaks.
    pub evidence: Evidence,
    /// Time with at least one granted route with traffic, over the whole rollout.
    pub exposed_milliseconds: u64,
    /// All step deadlines together at the start: how often the late-onset mixture restarts is fixed by it.
    pub planned_exposed_seconds: u64,
    /// Totals where the re-freeze window of the thresholds in use began.
    pub window: Counts,
    /// Evaluation results, cached over rollouts; at most [`EVALUATIONS_MAX`], oldest first.
    pub evaluations: Vec<EvaluationResult>,
}

/// Evaluation results kept: 32 of 20,000 examples are 110 KB, well within a ConfigMap.
pub const EVALUATIONS_MAX: usize = 32;

/// How one revision did on one dataset on one class of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EvaluationResult {
    pub revision: String,
    pub dataset_digest: String,
    pub node_class: String,
    pub examples: u32,
    /// Base64, one bit per example in order, most significant first: 1 where the answer was right.
    pub right: String,
}
