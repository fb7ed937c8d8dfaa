//! How a new revision replaces the old one.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::Analysis;
use crate::percent::Percent;
use crate::schema::rules;

/// Steps, deadlines and analysis of a rollout. The defaults are a safe canary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.steps) || !has(self.stepDeadlineSeconds) || self.steps.all(step, step.minExposureSeconds <= self.stepDeadlineSeconds)",
     "message": "a step must be able to end before its deadline: lower minExposureSeconds or raise stepDeadlineSeconds"}
]))]
pub struct Rollout {
    /// Nothing is raised while true; evidence goes on and rollback stays armed.
    pub paused: bool,
    /// How the fleet rolls once the candidate has won. Neither field: `maxSurge: 5%`.
    pub update: Update,
    /// How many nodes run the candidate, and for how long at least. The wave grows from step to step and never shrinks.
    #[schemars(length(min = 1, max = 5))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Step>,
    /// Seconds within which a candidate must be ready.
    #[schemars(range(min = 10, max = 86400))]
    pub candidate_ready_seconds: u32,
    /// Seconds of exposed time within which a step must come to a verdict.
    #[schemars(range(min = 10, max = 604_800))]
    pub step_deadline_seconds: u32,
    /// What happens to a step that no evidence decided by its deadline. PromoteIfBounded goes on when a slow-down of x1.5 and
    /// 5 points more errors are excluded, else it pauses.
    pub on_inconclusive: OnInconclusive,
    /// Revisions kept beside the stable one, for a fast way back.
    #[schemars(range(min = 1, max = 50))]
    pub revision_history_limit: u32,
    /// How the candidate is judged.
    pub analysis: Analysis,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            paused: false,
            update: Update::default(),
            steps: default_steps(),
            candidate_ready_seconds: 600,
            step_deadline_seconds: 7200,
            on_inconclusive: OnInconclusive::default(),
            revision_history_limit: 5,
            analysis: Analysis::default(),
        }
    }
}

/// One node for two minutes, then a quarter of the fleet for five.
fn default_steps() -> Vec<Step> {
    let step = |name: &str, nodes, min_exposure_seconds| Step {
        name: name.to_owned(),
        nodes,
        candidate_traffic: default_candidate_traffic(),
        min_exposure_seconds,
        approval: Approval::default(),
    };
    vec![
        step("one", IntOrString::Int(1), 120),
        step("quarter", IntOrString::String("25%".to_owned()), 300),
    ]
}

/// How the DaemonSet rolls after the verdict. Exactly one of both; neither is `maxSurge: 5%`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.maxSurge) && has(self.maxUnavailable))",
     "message": "set maxSurge or maxUnavailable, not both"}
]))]
pub struct Update {
    /// Nodes that may run an old and a new pod at the same time: no node is without.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::nodes")]
    pub max_surge: Option<IntOrString>,
    /// Nodes that may be without a pod: for nodes with no room for two.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::nodes")]
    pub max_unavailable: Option<IntOrString>,
}

/// One step: so many nodes run a candidate for at least so long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the step, unique in the list: it appears in status and events.
    #[schemars(schema_with = "rules::name")]
    pub name: String,
    /// Nodes of the wave: a count, or a share of the Ready nodes such as `25%` (at least one). A wave never
    /// shrinks: order the steps by size. Where counts and shares mix, one that comes to fewer nodes keeps those of the step before.
    #[schemars(schema_with = "rules::nodes")]
    pub nodes: IntOrString,
    /// Share of a wave node's requests that the candidate answers.
    #[serde(default = "default_candidate_traffic")]
    #[schemars(schema_with = "rules::traffic")]
    pub candidate_traffic: Percent,
    /// Least seconds of exposed time before the step may end.
    #[schemars(range(min = 1, max = 604_800))]
    pub min_exposure_seconds: u32,
    /// Required: the step ends only after `kubectl smallfleet promote`, once its evidence is there.
    #[serde(default)]
    pub approval: Approval,
}

/// 50 %: every unit tells as much as it can.
fn default_candidate_traffic() -> Percent {
    Percent::whole(50)
}

/// Whether a person must agree before the step ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    #[default]
    NotRequired,
    /// `kubectl smallfleet promote` ends the step once its evidence is there.
    Required,
}

/// What happens to a step that no evidence decided within its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnInconclusive {
    /// Go on if a slow-down of x1.5 and 5 points more errors are excluded; else pause.
    #[default]
    PromoteIfBounded,
    Pause,
    RollBack,
}
