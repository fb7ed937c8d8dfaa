//! What the operator says about a SmallModel. At rest it holds facts only; log values are strings with two decimals.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Status of a SmallModel. Routes of routers are a pure function of `rollout`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SmallModelStatus {
    /// Generation of spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Available, Ready; Reconciling, Stalled, Paused and EvidenceLimited only while true.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// One word for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Texts of the printer columns.
    pub display: Display,
    /// The promoted revision, which every node without a candidate serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionRef>,
    /// The revision that spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<RevisionRef>,
    /// Counts of nodes.
    pub nodes: NodeCounts,
    /// At most 10 nodes that are not as they should be.
    pub worst_nodes: Vec<WorstNode>,
    /// The rollout in progress, or the one that ended refused while spec still asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// The evidence of the rollout in progress, or of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisStatus>,
    /// Revisions that are never served until someone retries them; at most 5, newest first.
    pub refused: Vec<Refused>,
    /// How the last rollout ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rollout: Option<LastRollout>,
    /// Answer to the last command.
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
    /// Hash of the candidate revision, while there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub candidate: String,
    /// `1/2 one`: step, of steps, and its name.
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

/// Counts of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCounts {
    /// Nodes that should serve.
    pub desired: u32,
    /// Nodes that serve.
    pub ready: u32,
    /// Nodes that hold a candidate.
    pub wave: u32,
    /// Nodes whose stable pod is of the promoted revision.
    pub updated: u32,
    /// Nodes that should serve and do not.
    pub unavailable: u32,
    /// Nodes that this rollout no longer uses.
    pub excluded: u32,
}

/// A node that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorstNode {
    /// Name of the node.
    pub node: String,
    /// What is wrong with it.
    pub reason: String,
}

/// State of a rollout.
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

impl RolloutState {
    /// In a step: its candidates start or are asked. Not before the first, nor after the verdict; a cut in it can only mean
    /// that the rollout is over.
    #[must_use]
    pub const fn is_in_step(self) -> bool {
        matches!(self, Self::Preparing | Self::Analyzing | Self::Inconclusive)
    }
}

/// A rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// Random; the coin's salt. In status before anything else of the rollout exists.
    pub id: String,
    /// Stable revision's hash.
    pub from: String,
    /// Candidate revision's hash.
    pub to: String,
    /// State of the rollout.
    pub state: RolloutState,
    /// Raised with every change of a route; a router refuses a lower one.
    pub sequence: u64,
    /// Index of the current step, from 0.
    pub step: u32,
    /// The coin's share on wave nodes, permille; 0 while nothing is granted.
    pub candidate_traffic_permille: u32,
    /// Nodes that hold a candidate, by rank: names. At most the wave of the step.
    pub wave: Vec<String>,
    /// Nodes of the wave whose routers may send requests to the candidate. Set when traffic is raised: a candidate that gets ready
    /// is given none by that alone.
    pub granted: Vec<String>,
    /// Nodes that this rollout no longer uses, with the reason; at most 20 are kept.
    pub excluded: Vec<WorstNode>,
    /// Seconds with at least one granted route with traffic, of the whole rollout.
    pub exposed_seconds: u64,
    /// The same, of the current step.
    pub step_exposed_seconds: u64,
    /// When the current step's candidates were first asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_since: Option<Time>,
    /// What the verdict depends on, as it was at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    /// Why nothing is raised at the moment; rollback stays armed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// What of its environment the rollout waits for; it goes on by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Steps that a person approved (indices).
    pub approved: Vec<u32>,
    /// Why it is rolled back or reverted, from the moment that this is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refused>,
    /// The bound in words, where the evidence sufficed for no more: condition EvidenceLimited.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub evidence_limited: String,
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
    /// Version of the statistics.
    pub analysis_version: u32,
    /// Version of the coin.
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
    /// One threshold a percentile.
    pub thresholds_microseconds: Vec<u64>,
    /// Units, both arms pooled, that the thresholds were taken from.
    pub units: u64,
}

/// Why a rollout is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PauseReason {
    User,
    Approval,
    Inconclusive,
    SampleRatio,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    /// User, Approval, Inconclusive or SampleRatio.
    pub reason: PauseReason,
    /// When it began.
    pub since: Time,
}

/// A rollout that waits for its environment, for instance `ImagePull`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// CamelCase, such as `ImagePull` or `Unschedulable`.
    pub reason: String,
    /// In words, with what to do.
    pub message: String,
    /// Nodes that hold it up; at most 10.
    pub nodes: Vec<String>,
}

/// The evidence and what follows from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisStatus {
    /// `Collecting`, `RollBack`, `Promote` or `Inconclusive`.
    pub verdict: String,
    /// One entry an objective.
    pub objectives: Vec<ObjectiveStatus>,
}

/// The evidence of one objective.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectiveStatus {
    /// Name of the objective.
    pub name: String,
    /// Bad events that were counted. Of latency: requests slower than the percentile of stable's that shows most harm, or than p95
    /// while none shows any.
    pub events: ArmCounts,
    /// Units that were counted.
    pub units: ArmCounts,
    /// Evidence of harm (natural logarithm).
    pub log_e: String,
    /// Evidence of harm at which the rollout is rolled back.
    pub threshold: String,
    /// Evidence that the candidate is better than its margin.
    pub log_p: String,
    /// What it is the smaller of, where there are two margins: `typical 4.10, tail 1.20 of 3.00`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub margins: String,
    /// The bound in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
    /// Seconds until a verdict, at the rate of requests so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
}

/// A count of each arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ArmCounts {
    /// Of the stable revision.
    pub stable: u64,
    /// Of the candidate.
    pub candidate: u64,
}

/// A revision that is never served until someone retries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Refused {
    /// Hash of the revision.
    pub revision: String,
    /// CamelCase: `LatencyRegression`, `ErrorRegression`, `GateFailed`, `CandidateFault`, `Aborted`, ...
    pub reason: String,
    /// Name of the objective that it harmed, if it was one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub objective: String,
    /// In words, with figures.
    pub effect: String,
    /// Units of the candidate that were counted as evidence; without those of its burn-in.
    pub exposed_units: u64,
    /// When that was decided, before the routes were cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<MicroTime>,
}

/// A rollout that ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LastRollout {
    /// Its rolloutID.
    pub id: String,
    /// `Promoted`, `RolledBack`, `Superseded` or `Cancelled`.
    pub outcome: String,
    /// Of a promotion with limited evidence: the bound in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub evidence_limited: String,
    /// In words, with figures.
    pub summary: String,
}

/// Answer to a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LastCommand {
    /// The command's nonce, by which its sender finds the answer.
    pub nonce: String,
    /// `promote`, `promote-full`, `abort` or `retry`.
    pub verb: String,
    /// `Done`, or why not.
    pub result: String,
}
