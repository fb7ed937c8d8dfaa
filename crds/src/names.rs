//! Names on which the operator, the runtime, the chart and the command line agree.

/// API group of all our kinds.
pub const GROUP: &str = "smallfleet.dev";

/// Field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "smallfleet";

/// Label: name of the SmallModel that an object belongs to.
pub const LABEL_MODEL: &str = "smallfleet.dev/model";
/// Label: `stable`, `candidate` or `evaluation`.
pub const LABEL_ROLE: &str = "smallfleet.dev/role";
/// Label of the pods behind the Service: the SmallModel's name. Only the DaemonSet's template has it.
pub const LABEL_FRONT: &str = "smallfleet.dev/front";
/// Label: revision hash (10 characters) that a pod or ControllerRevision stands for.
pub const LABEL_REVISION: &str = "smallfleet.dev/revision";
/// Label: rolloutID that a candidate or evaluation pod belongs to.
pub const LABEL_ROLLOUT: &str = "smallfleet.dev/rollout";
/// Label of a ControllerRevision: `stable`, `refused` or `superseded`.
pub const LABEL_VERDICT: &str = "smallfleet.dev/verdict";

/// Annotation for commands: `<verb>/<rolloutID>/<nonce>`; answered in `status.lastCommand`.
pub const ANNOTATION_COMMAND: &str = "smallfleet.dev/command";
/// Annotation of the leader's Lease: `ip:port` of the leader's session server.
pub const ANNOTATION_SESSION_ADDRESS: &str = "smallfleet.dev/session-address";

/// Values of [`LABEL_ROLE`].
pub mod role {
    pub const STABLE: &str = "stable";
    pub const CANDIDATE: &str = "candidate";
    pub const EVALUATION: &str = "evaluation";
}

/// Names of the containers of every runtime pod.
pub mod container {
    pub const ROUTER: &str = "router";
    pub const ENGINE: &str = "engine";
}

/// Container ports; fixed, so that a manifest cannot make the arms differ.
pub mod port {
    /// Router, plain HTTP, the public protocol.
    pub const FRONT: u16 = 8080;
    /// Router, plain HTTP: `/healthz`, `/readyz`, `/metrics`.
    pub const ADMIN: u16 = 8081;
    /// Engine, TLS with its own key: the public protocol, `/healthz`, `/readyz`, `/metrics`.
    pub const ENGINE: u16 = 8443;
    /// Operator, TLS: the session.
    pub const SESSION: u16 = 9443;
    /// Operator, plain HTTP: `/healthz`, `/readyz`, `/metrics`.
    pub const OPERATOR_ADMIN: u16 = 8080;
}

/// Condition types of a SmallModel.
pub mod condition {
    pub const ACCEPTED: &str = "Accepted";
    pub const AVAILABLE: &str = "Available";
    pub const READY: &str = "Ready";
    pub const RECONCILING: &str = "Reconciling";
    pub const STALLED: &str = "Stalled";
    pub const PAUSED: &str = "Paused";
    pub const EVIDENCE_LIMITED: &str = "EvidenceLimited";
}

/// Response headers that state facts about an answer.
pub mod header {
    pub const REVISION: &str = "x-smallfleet-revision";
    pub const ARM: &str = "x-smallfleet-arm";
    pub const CONFIDENCE: &str = "x-smallfleet-confidence";
    pub const NODE: &str = "x-smallfleet-node";
}
