//! What a plan sees: one SmallModel and everything around it, read at one moment.
//!
//! Plain values. The operator fills them from its caches, its session hub and its clocks; tests write them down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use smallfleet_analysis::Counts;
use smallfleet_crds::SmallModel;
use smallfleet_crds::status::Refused;

use crate::evidence::EvidenceStore;
use crate::revision::RevisionObject;

/// Everything that a plan for one SmallModel depends on.
#[derive(Clone, Debug)]
pub struct World {
    /// As last read; `status` is what was persisted, by us or by an earlier leader.
    pub model: SmallModel,
    pub defaults: Defaults,
    pub revisions: Vec<RevisionObject>,
    pub daemon_set: Slot<DaemonSetView>,
    pub service: Slot<AppliedView>,
    pub session_config: Slot<AppliedView>,
    pub evidence: Slot<EvidenceView>,
    /// Pods whose controller is this SmallModel or its DaemonSet.
    pub pods: Vec<PodView>,
    pub nodes: Vec<NodeView>,
    /// An object of another owner stands where we were about to create one: its kind, name and owner.
    pub stranger: Option<String>,
    /// Nodes that hold a candidate or evaluation pod of another SmallModel.
    pub foreign_candidates: BTreeSet<String>,
    /// Candidate and evaluation pods of the present rollout that the API server refused to create, by node.
    pub refused_pods: BTreeMap<String, RefusedPod>,
    pub sessions: Sessions,
    pub leader: Leader,
    pub clock: Clock,
    /// The last cut of this leader; its reason may not have been written down.
    pub own_cut: Option<OwnCut>,
    /// Fresh random bits; the plan uses them for a new rolloutID only.
    pub random: u128,
}

/// A rollout whose routes this leader cut, and the refusal that it was for, if it was for one.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnCut {
    pub rollout: String,
    pub refusal: Option<Refused>,
}

impl OwnCut {
    /// What is remembered after another cut: of two of one rollout the one with a refusal.
    #[must_use]
    pub fn after(self, before: Option<Self>) -> Self {
        let before = before.filter(|before| before.rollout == self.rollout);
        match before {
            Some(before) if self.refusal.is_none() => before,
            _ => self,
        }
    }
}

/// An object under a name that we use.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Slot<T> {
    #[default]
    Absent,
    Ours(T),
    /// Its controller is not our SmallModel's uid: never touched. The text names the object and its owner.
    Foreign(String),
}

/// A creation that the API server refused: quota, LimitRange, PodSecurity, a ServiceAccount that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPod {
    pub message: String,
    /// Since it was last tried.
    pub since: Duration,
}

/// Settings of this operator, from its chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Runtime image for revisions that name none and have no predecessor.
    pub runtime_image: String,
    pub stable_priority_class: String,
    pub candidate_priority_class: String,
    /// `host:port` of the session Service.
    pub session_address: String,
    /// PEM of one or two CAs of the session.
    pub session_ca: String,
}

/// The stable DaemonSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DaemonSetView {
    pub uid: String,
    /// For the write that follows: a DaemonSet that changed meanwhile is a conflict.
    pub resource_version: String,
    /// rolloutID of the last promotion that was taken back, see `render::ANNOTATION_REVERTED`.
    pub reverted: String,
    /// Revision label of the template.
    pub revision: String,
    /// Annotation with the hash of everything that we applied, see `render::applied_hash`.
    pub applied_hash: String,
    pub generation: i64,
    pub observed_generation: i64,
    pub desired: u32,
    pub ready: u32,
    pub updated: u32,
    pub available: u32,
    /// The live update strategy takes a pod away before it starts the new one (`maxUnavailable` is not 0).
    pub takes_away_first: bool,
    pub deleting: bool,
}

/// An object of ours that is only compared by what we applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppliedView {
    pub uid: String,
    pub applied_hash: String,
}

/// The evidence ConfigMap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvidenceView {
    pub resource_version: String,
    /// `None`: unreadable, treated as lost.
    pub store: Option<EvidenceStore>,
}

/// Role of one of our pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Stable,
    Candidate,
    Evaluation,
}

/// One pod of this SmallModel.
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    pub name: String,
    pub uid: String,
    pub role: Role,
    pub revision: String,
    /// rolloutID label; empty for stable pods.
    pub rollout: String,
    /// Node that it is bound to or, not bound yet, that its affinity names.
    pub node: String,
    pub ready: bool,
    pub deleting: bool,
    pub phase: PodPhase,
    /// `PodScheduled=False` with reason Unschedulable: the message.
    pub unschedulable: Option<String>,
    /// Since this leader first saw it, by its own clock: for patience with what does not start.
    pub age: Duration,
    pub ip: String,
    /// Evicted, Preempted, NodeLost, ... : `status.reason` or the DisruptionTarget condition's reason.
    pub disruption: Option<String>,
    pub containers: Vec<ContainerView>,
}

impl PodView {
    /// Its containers have ended and will not start again: evicted, for instance.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, PodPhase::Failed | PodPhase::Succeeded)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// A container (or sidecar) of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerView {
    /// `router` or `engine`.
    pub name: String,
    pub restarts: u32,
    /// `state.running` is there.
    pub running: bool,
    /// Reason and message of `state.waiting`: ErrImagePull, CrashLoopBackOff, CreateContainerError, ...
    pub waiting: Option<(String, String)>,
    /// The running state's or the last one's end.
    pub terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terminated {
    pub exit_code: i32,
    /// OOMKilled, Error, Completed, ...
    pub reason: String,
    /// Termination message.
    pub message: String,
}

/// One node of the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    pub name: String,
    pub uid: String,
    pub ready: bool,
    pub unschedulable: bool,
    /// Memory, disk or PID pressure.
    pub pressure: bool,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// `kubernetes.io/arch`.
    pub arch: String,
}

/// What the session hub of this leader knows about the model's routers.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    /// By pod uid.
    pub routers: BTreeMap<String, RouterView>,
    /// The rollout that `open`, `closed`, `burn_in` and `exposed` belong to; a plan for another one ignores them.
    pub rollout: String,
    /// rolloutIDs that this leader cut, or that a router reported as its last cut.
    pub cut: BTreeSet<String>,
    /// Sum of the open epochs of the current rolloutID.
    pub open: Counts,
    /// Epochs of the current rolloutID that ended and are not in the evidence store yet.
    pub closed: Vec<ClosedEpoch>,
    pub burn_in: BurnIn,
    /// Time with at least one acknowledged grant of the current rolloutID: what was stored when this leader began, and what it saw.
    pub exposed: Duration,
}

/// One router that this leader heard.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterView {
    pub pod_uid: String,
    pub node: String,
    pub role: Role,
    pub revision: String,
    /// Random, per router process: a new one after a restart.
    pub instance: String,
    pub engine: EngineState,
    pub engine_instance: String,
    pub fingerprint: String,
    pub address: String,
    pub node_class: String,
    /// Typed reason and message of the engine's failure.
    pub failure: Option<(String, String)>,
    pub restarts: u32,
    /// A stream is open now.
    pub stream: bool,
    /// Since it last said anything.
    pub silent: Duration,
    /// Last acknowledgement.
    pub ack: Option<Ack>,
    /// It may still send requests to a candidate: granted, and neither acknowledged a cut or withdrawal nor past its lease.
    pub may_route: bool,
    /// It held a grant of the current rolloutID and came back as another process.
    pub restarted_with_route: bool,
    /// What it says of the candidate's readiness.
    pub candidate_ready: Option<bool>,
    pub candidate_message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    Starting,
    Ready,
    Failed,
    Unresponsive,
}

/// What a router confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub rollout: String,
    pub sequence: u64,
    pub kind: RouteKind,
    /// Requests at the candidate that are still being answered.
    pub candidate_in_flight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    Grant,
    Withdraw,
    Cut,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClosedEpoch {
    pub id: u64,
    pub counts: Counts,
}

/// Pooled latencies of the wave's burn-in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BurnIn {
    pub stable_units: u64,
    pub candidate_units: u64,
    /// Microseconds; `u64::MAX` where there was no good answer.
    pub latencies_microseconds: Vec<u64>,
}

/// This replica as leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Transitions of the Lease: rises with every change of leader.
    pub epoch: u64,
    /// Has not yet heard enough of the wave's routers since it became leader: grants nothing, decides nothing forward.
    pub resuming: bool,
}

/// Times, all measured on this leader's monotonic clock but `now`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Wall clock, only ever written into status for people.
    pub now: Timestamp,
    /// Since this leader first saw the model with its present [`clock_key`].
    pub in_state: Duration,
    /// For how long this leader has seen no Ready stable pod anywhere, see [`crate::health`]; zero while there is one.
    pub nothing_serves_for: Duration,
    /// For how long this leader has seen a candidate with traffic that does not answer, see [`crate::health`].
    pub candidate_missing_for: Duration,
    /// Since this leader last wrote numbers into status or the evidence store of this model.
    pub since_numbers: Duration,
}

/// What [`Clock::in_state`] is counted from: it starts again whenever this text changes for a model.
#[must_use]
pub fn clock_key(model: &SmallModel) -> String {
    let status = model.status.as_ref();
    match status.and_then(|status| status.rollout.as_ref()) {
        Some(rollout) => format!("{}/{:?}/{}", rollout.id, rollout.state, rollout.step),
        None => status
            .and_then(|status| status.stable.as_ref())
            .map(|stable| stable.revision.clone())
            .unwrap_or_default(),
    }
}
