//! How a new revision replaces the old one.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::analysis::Analysis;
use crate::percent::Percent;

/// Steps, deadlines and analysis of a rollout. The defaults are a safe canary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Nothing is raised while true; evidence goes on and rollback stays armed.
    pub paused: bool,
    pub update: Update,
    /// The wave grows from step to step and never shrinks.
    #[schemars(length(min = 1, max = 5))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Step>,
    /// Seconds within which a candidate must be ready.
    #[schemars(range(min = 10, max = 86400))]
    pub candidate_ready_seconds: u32,
    /// Seconds of exposed time within which a step must come to a verdict.
    #[schemars(range(min = 10, max = 604_800))]
    pub step_deadline_seconds: u32,
    pub on_inconclusive: OnInconclusive,
    /// Revisions kept beside the stable one, for a fast way back.
    #[schemars(range(min = 1, max = 50))]
    pub revision_history_limit: u32,
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

/// One node for two minutes, then a quarter of the fleet for five (`analysis.md` 3).
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
    #[schemars(schema_with = "nodes_schema")]
    pub max_surge: Option<IntOrString>,
    /// Nodes that may be without a pod: for nodes with no room for two.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "nodes_schema")]
    pub max_unavailable: Option<IntOrString>,
}

/// One step: so many nodes run a candidate for at least so long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Nodes of the wave: a count, or a share of the Ready nodes such as `25%` (at least one).
    #[schemars(schema_with = "nodes_schema")]
    pub nodes: IntOrString,
    /// Share of a wave node's requests that the candidate answers.
    #[serde(default = "default_candidate_traffic")]
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self != '0%' && self != '100%'",
         "message": "use a share between 1% and 99%: at 0% or 100% there is nothing to compare with; 50% finds a difference fastest"}
    ]))]
    pub candidate_traffic: Percent,
    /// Least seconds of exposed time before the step may end.
    #[schemars(range(min = 1, max = 604_800))]
    pub min_exposure_seconds: u32,
    #[serde(default)]
    pub approval: Approval,
}

/// 50 %: every unit tells as much as it can (`analysis.md` 1).
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

fn nodes_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? (self >= 1 && self <= 100000) : self.matches('^([1-9][0-9]?|100)%$')",
            "message": "use a count from 1, or a share from \"1%\" to \"100%\""
        }]
    })
}
