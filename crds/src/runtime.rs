//! How the pods of a revision run. Part of the revision: an edit here is a rollout.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules;

/// Runtime image, resources and limits of the pods that serve a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Runtime {
    /// Image of router and engine, by digest. Empty: the operator's default at creation time, then pinned.
    #[schemars(schema_with = "rules::image_digest_or_empty")]
    pub image: String,
    /// Resources of the engine, which holds the model; the router's are fixed.
    pub resources: Resources,
    /// Requests that an engine works on at the same time.
    #[schemars(range(min = 1, max = 1024))]
    pub max_concurrent_requests: u32,
    /// Requests that wait for an engine; one more is answered 429.
    #[schemars(range(min = 0, max = 65536))]
    pub max_queued_requests: u32,
    /// Seconds after which a request is answered 504.
    #[schemars(range(min = 1, max = 3600))]
    pub max_request_seconds: u32,
    /// Service account of the pods, in this namespace. It gets no API token. Empty: `default`.
    #[schemars(schema_with = "rules::service_account")]
    pub service_account_name: String,
    /// Names of Secrets in this namespace with registry credentials.
    #[schemars(schema_with = "rules::secret_names")]
    pub image_pull_secrets: Vec<String>,
    /// Environment of the engine container.
    #[schemars(length(max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// Labels and annotations added to the pods.
    pub pod_metadata: PodMetadata,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            image: String::new(),
            resources: Resources::default(),
            max_concurrent_requests: 8,
            max_queued_requests: 32,
            max_request_seconds: 120,
            service_account_name: String::new(),
            image_pull_secrets: Vec::new(),
            env: Vec::new(),
            pod_metadata: PodMetadata::default(),
        }
    }
}

/// Resources of the engine container; the router always has 50m and 64Mi.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.limits) || !has(self.requests) || !isQuantity(self.limits.memory) || !isQuantity(self.requests.memory) || quantity(self.limits.memory).compareTo(quantity(self.requests.memory)) == 0",
     "message": "limits.memory must equal requests.memory (a candidate may only hurt itself): set both to the same quantity or leave limits.memory out"},
    {"rule": "!has(self.limits) || !has(self.requests) || !isQuantity(self.limits.cpu) || !isQuantity(self.requests.cpu) || quantity(self.limits.cpu).compareTo(quantity(self.requests.cpu)) >= 0",
     "message": "limits.cpu is below requests.cpu: raise limits.cpu or leave it out"}
]))]
pub struct Resources {
    /// What the scheduler reserves.
    pub requests: Requests,
    /// What the kernel enforces.
    pub limits: Limits,
}

/// What the scheduler reserves for the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Requests {
    /// Kubernetes quantity. The engine runs `max(1, ceil(cpu))` threads, in both arms.
    #[schemars(schema_with = "rules::quantity")]
    pub cpu: String,
    /// Kubernetes quantity; it is the memory limit too.
    #[schemars(schema_with = "rules::quantity")]
    pub memory: String,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            cpu: "250m".to_owned(),
            memory: "1Gi".to_owned(),
        }
    }
}

/// What the kernel enforces on the engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Kubernetes quantity. Empty: no CPU limit.
    #[schemars(schema_with = "rules::quantity_or_empty")]
    pub cpu: String,
    /// Kubernetes quantity, equal to `requests.memory`. Empty: `requests.memory`.
    #[schemars(schema_with = "rules::quantity_or_empty")]
    pub memory: String,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(schema_with = "rules::env_name")]
    pub name: String,
    /// Its value, taken as it is.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// Labels and annotations added to the pods. Ours win.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// Labels of the pods.
    #[schemars(schema_with = "rules::pod_labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    #[schemars(schema_with = "rules::pod_annotations")]
    pub annotations: BTreeMap<String, String>,
}
