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
    /// A pod of the DaemonSet, which serves the promoted revision.
    pub const STABLE: &str = "stable";
    /// A pod of the operator's own beside a stable one, with the revision on trial.
    pub const CANDIDATE: &str = "candidate";
    /// A pod that answers the labelled set once and ends.
    pub const EVALUATION: &str = "evaluation";
}

/// Names of the containers of every runtime pod.
pub mod container {
    /// Takes requests, tosses the coin, counts.
    pub const ROUTER: &str = "router";
    /// Holds the model: a native sidecar, so it stops after the router.
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
    /// Spec can be followed: it is valid, and what it names was not found to be wrong.
    pub const ACCEPTED: &str = "Accepted";
    /// At least one node serves.
    pub const AVAILABLE: &str = "Available";
    /// What spec asks for serves on all Ready nodes.
    pub const READY: &str = "Ready";
    /// Only while true: the operator is on its way to Ready, or waits for its environment or a person.
    pub const RECONCILING: &str = "Reconciling";
    /// Only while true: without an edit, a command or a repair it does not become Ready.
    pub const STALLED: &str = "Stalled";
    /// Only while true: the rollout raises nothing; the reason says what it waits for.
    pub const PAUSED: &str = "Paused";
    /// Only while true: the rollout went on with a bound that is wider than the margin.
    pub const EVIDENCE_LIMITED: &str = "EvidenceLimited";
}

/// Response headers that state facts about an answer.
pub mod header {
    /// Hash of the revision whose engine answered; absent where the router answered itself.
    pub const REVISION: &str = "x-smallfleet-revision";
    /// `stable` or `candidate`.
    pub const ARM: &str = "x-smallfleet-arm";
    /// `true` where the other arm failed and this one answered instead.
    pub const FALLBACK: &str = "x-smallfleet-fallback";
    /// Node of the router that answered.
    pub const NODE: &str = "x-smallfleet-node";
    /// How sure the model is of its answer.
    pub const CONFIDENCE: &str = "x-smallfleet-confidence";
    /// A text was longer than the model takes and was cut.
    pub const TRUNCATED: &str = "x-smallfleet-truncated";
}
