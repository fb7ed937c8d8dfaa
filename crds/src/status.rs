//! What the operator says about a SmallModel. At rest it holds facts only; log values are strings with two decimals.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Status of a SmallModel (`rollout.md` 7). Routes of routers are a pure function of `rollout`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SmallModelStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// One word for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    pub display: Display,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<RevisionRef>,
    pub nodes: NodeCounts,
    /// At most 10 nodes that are not as they should be.
    pub worst_nodes: Vec<WorstNode>,
    /// The rollout in progress, or the one that ended refused while spec still asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisStatus>,
    /// At most 5, newest first.
    pub refused: Vec<Refused>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rollout: Option<LastRollout>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_command: Option<LastCommand>,
}

/// Texts of the printer columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Display {
    /// `3/3`: nodes that serve, of nodes that should.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ready: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub candidate: String,
    /// `1/2 one`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// `2.30/4.61`: evidence of harm against its threshold.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub evidence: String,
}

/// A revision and the model it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRef {
    /// Hash of the resolved revision, 10 characters.
    pub revision: String,
    /// Digest of the model image, `sha256:...`.
    pub digest: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCounts {
    pub desired: u32,
    pub ready: u32,
    /// Nodes that hold a candidate.
    pub wave: u32,
    /// Nodes whose stable pod is of the promoted revision.
    pub updated: u32,
    pub unavailable: u32,
    /// Nodes that this rollout no longer uses.
    pub excluded: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorstNode {
    pub node: String,
    pub reason: String,
}

/// State of a rollout (`rollout.md` 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutState {
    #[default]
    Gating,
    Preparing,
    Analyzing,
    Inconclusive,
    Promoting,
    Reverting,
    RollingBack,
    RolledBack,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// Random; the coin's salt. In status before anything else of the rollout exists.
    pub id: String,
    /// Stable revision's hash.
    pub from: String,
    /// Candidate revision's hash.
    pub to: String,
    pub state: RolloutState,
    /// Raised with every change of a route; a router refuses a lower one.
    pub sequence: u64,
    /// Index of the current step, from 0.
    pub step: u32,
    /// The coin's share on wave nodes, permille; 0 while nothing is granted.
    pub candidate_traffic_permille: u32,
    /// Nodes that hold a candidate, by rank: names. At most the wave of the step.
    pub wave: Vec<String>,
    /// Nodes that this rollout no longer uses, with the reason; at most 20 are kept.
    pub excluded: Vec<WorstNode>,
    /// Seconds with at least one granted route with traffic, whole rollout and current step.
    pub exposed_seconds: u64,
    pub step_exposed_seconds: u64,
    /// When the current step's candidates were first asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_since: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Steps that a person approved (indices).
    pub approved: Vec<u32>,
    /// Why it is rolled back or reverted, from the moment that this is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refused>,
    /// How a pass of the gate came about, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gate: String,
    /// Attributed faults of candidates so far: node and typed reason; at most 10.
    pub faults: Vec<WorstNode>,
}

/// What is frozen when a rollout begins, so that the same evidence gives the same verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Frozen {
    pub analysis_version: u32,
    pub coin_version: u32,
    /// `spec.rollout.analysis` at the start.
    pub analysis: crate::analysis::Analysis,
    /// `spec.rollout.steps` at the start.
    pub steps: Vec<crate::rollout::Step>,
    /// Requests of the runtime that maturity depends on: seconds.
    pub max_request_seconds: u32,
    /// Latency thresholds, one entry a freeze; the last is in use. Empty during the burn-in.
    pub latency: Vec<FrozenThresholds>,
}

/// Latency thresholds taken from one burn-in, microseconds, in the order of the analysis' percentiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FrozenThresholds {
    pub thresholds_microseconds: Vec<u64>,
    /// Units, both arms pooled, that the thresholds were taken from.
    pub units: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PauseReason {
    User,
    Approval,
    Inconclusive,
    Environment,
    SampleRatio,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    pub reason: PauseReason,
    pub since: Time,
}

/// A rollout that waits for its environment, for instance `ImagePull`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    pub reason: String,
    pub message: String,
    /// At most 10.
    pub nodes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisStatus {
    /// `Collecting`, `RollBack`, `Promote` or `Inconclusive`.
    pub verdict: String,
    pub objectives: Vec<ObjectiveStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectiveStatus {
    pub name: String,
    pub events: ArmCounts,
    pub units: ArmCounts,
    pub log_e: String,
    pub threshold: String,
    pub log_p: String,
    /// The bound in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ArmCounts {
    pub stable: u64,
    pub candidate: u64,
}

/// A revision that is never served until someone retries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Refused {
    pub revision: String,
    /// CamelCase: `LatencyRegression`, `ErrorRegression`, `GateFailed`, `CandidateFault`, `Aborted`, ...
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub objective: String,
    /// In words, with figures.
    pub effect: String,
    pub exposed_units: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LastRollout {
    pub id: String,
    /// `Promoted`, `RolledBack`, `Superseded` or `Cancelled`.
    pub outcome: String,
    pub summary: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LastCommand {
    pub nonce: String,
    pub verb: String,
    /// `Done`, or why not.
    pub result: String,
}
