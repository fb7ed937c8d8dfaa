//! `SmallModel`: one resource that carries the whole wish, so that one YAML file in Git is the whole truth.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorTerm, Toleration};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rollout::Rollout;
use crate::runtime::Runtime;
use crate::schema::rules;
use crate::status::SmallModelStatus;

/// A small model that runs on every chosen node, and how a new revision of it replaces the old one.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "smallfleet.dev",
    version = "v1alpha1",
    kind = "SmallModel",
    plural = "smallmodels",
    shortname = "sm",
    category = "all",
    namespaced,
    status = "SmallModelStatus",
    derive = "PartialEq",
    doc = "A small model that runs on every chosen node, and how a new revision of it replaces the old one.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name becomes the name of a Service: use at most 40 characters a-z, 0-9 and '-', beginning with a letter and not ending with '-'"),
    validation = Rule::new("self.spec.task == 'TextGeneration' || !has(self.spec.rollout) || !has(self.spec.rollout.analysis) || !has(self.spec.rollout.analysis.objectives) || !self.spec.rollout.analysis.objectives.exists(o, has(o.latency) && has(o.latency.signal) && o.latency.signal == 'FirstToken')")
        .message("latency.signal FirstToken is for task TextGeneration, whose answers are streamed: write Total or leave signal out"),
    validation = Rule::new("self.spec.task != 'TextGeneration' || !has(self.spec.rollout) || !has(self.spec.rollout.analysis) || !has(self.spec.rollout.analysis.objectives) || !self.spec.rollout.analysis.objectives.exists(o, o.type == 'Accuracy')")
        .message("an objective of type Accuracy compares labels, which task TextGeneration has none of: remove it"),
    printcolumn(name = "Task", type_ = "string", json_path = ".spec.task"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.display.ready"),
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stable.revision"),
    printcolumn(name = "Candidate", type_ = "string", json_path = ".status.display.candidate"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.display.step"),
    printcolumn(name = "Evidence", type_ = "string", json_path = ".status.display.evidence"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct SmallModelSpec {
    // ---- revision: hashed, resolved, stored in a ControllerRevision; an edit is a rollout
    /// What the model does; the protocol follows from it. An edit is a rollout.
    pub task: Task,
    /// The model's files. An edit is a rollout.
    pub model: Model,
    /// How the pods run. An edit is a rollout.
    #[serde(default)]
    pub runtime: Runtime,
    // ---- live: an edit starts no rollout
    /// The nodes that serve the model. An edit rolls the fleet, but starts no rollout.
    #[serde(default)]
    pub placement: Placement,
    /// How applications reach the model: a Service of the SmallModel's name.
    #[serde(default)]
    pub service: Service,
    /// The flag behind which a new revision arrives.
    #[serde(default)]
    pub feature_flag: FeatureFlag,
    /// How a new revision replaces the old one. The defaults are a safe canary.
    #[serde(default)]
    pub rollout: Rollout,
}

/// What the model does; the protocol follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Task {
    /// A label for a text.
    TextClassification,
    /// A text for a text: chat and completions, streamed.
    TextGeneration,
}

/// The model's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// OCI image whose root holds `model.json`, the files it names and `probes.json`, by digest: `registry/name@sha256:...`.
    #[schemars(schema_with = "rules::image_digest")]
    pub image: String,
}

/// The nodes that serve the model. All fields empty: every node that its taints allow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// Labels that a node must have, all of them.
    #[schemars(schema_with = "rules::node_selector")]
    pub node_selector: BTreeMap<String, String>,
    /// Terms of a required node affinity; a node that fulfils one of them is chosen.
    #[schemars(schema_with = "rules::node_affinity")]
    pub required_node_affinity: Vec<NodeSelectorTerm>,
    /// Taints that the pods tolerate.
    #[schemars(schema_with = "rules::tolerations")]
    pub tolerations: Vec<Toleration>,
}

/// How applications reach the model: a Service of the SmallModel's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Which pod answers: PreferSameNode (another node's while the own has none), SameNodeOnly, PreferSameZone or Any.
    pub locality: Locality,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            port: 80,
            locality: Locality::default(),
        }
    }
}

/// Which pod answers a request that comes from some node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Locality {
    /// The node's own pod; another node's while it has none.
    #[default]
    PreferSameNode,
    /// The node's own pod; no answer while it has none.
    SameNodeOnly,
    /// A pod of the same zone; any other while it has none.
    PreferSameZone,
    /// Any pod.
    Any,
}

/// The flag behind which a new revision arrives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FeatureFlag {
    /// The kill switch. Disabled: no request reaches the candidate, overrides included; the rollout waits and keeps its evidence.
    pub state: FlagState,
    /// Requests that are sent to one arm whatever the coin says; the first that fits wins. They are not counted as evidence.
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub overrides: Vec<Override>,
}

/// The kill switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FlagState {
    #[default]
    Enabled,
    /// No request reaches the candidate, overrides included. The rollout waits and keeps its evidence.
    Disabled,
}

/// Sends requests with a header value to one arm while a candidate is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// Name of the override, unique in the list.
    #[schemars(schema_with = "rules::name")]
    pub name: String,
    /// Header name, lower case.
    #[schemars(schema_with = "rules::header_name")]
    pub header: String,
    /// Exact values, any of which fits.
    #[schemars(length(min = 1, max = 64), inner(length(max = 256)))]
    pub values: Vec<String>,
    /// The arm that answers.
    #[serde(default)]
    pub to: OverrideTarget,
}

/// The arm that an override forces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OverrideTarget {
    #[default]
    Candidate,
    Stable,
}
