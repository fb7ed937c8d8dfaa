//! How the pods of a revision run. Part of the revision: an edit here is a rollout.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Runtime image, resources and limits of the pods that serve a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Runtime {
    /// Image of router and engine. Empty: the operator's default at creation time, then pinned.
    #[schemars(length(max = 512))]
    pub image: String,
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
    #[schemars(length(max = 253))]
    pub service_account_name: String,
    /// Names of Secrets in this namespace with registry credentials.
    #[schemars(length(max = 10))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub image_pull_secrets: Vec<String>,
    /// Environment of the engine container.
    #[schemars(length(max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
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
    {"rule": "!has(self.limits) || !has(self.limits.memory) || self.limits.memory == '' || !has(self.requests) || self.limits.memory == self.requests.memory",
     "message": "limits.memory must equal requests.memory (a candidate may only hurt itself): set both to the same quantity or leave limits.memory out"}
]))]
pub struct Resources {
    pub requests: Requests,
    pub limits: Limits,
}

/// What the scheduler reserves for the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Requests {
    /// Kubernetes quantity. The engine runs `max(1, ceil(cpu))` threads, in both arms.
    #[schemars(length(min = 1, max = 32))]
    pub cpu: String,
    /// Kubernetes quantity; it is the memory limit too.
    #[schemars(length(min = 1, max = 32))]
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
    #[schemars(length(max = 32))]
    pub cpu: String,
    /// Kubernetes quantity, equal to `requests.memory`. Empty: `requests.memory`.
    #[schemars(length(max = 32))]
    pub memory: String,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!self.name.startsWith('SMALLFLEET_')",
     "message": "names that begin with SMALLFLEET_ are the operator's own: choose another"}
]))]
pub struct EnvVar {
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub name: String,
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// Labels and annotations added to the pods. Ours win.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}
