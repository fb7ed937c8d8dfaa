//! What a plan wants done: a list of actions in order. The operator carries them out one by one and stops at the first that fails;
//! the next plan starts from what was reached. That order is what makes crashes harmless (`rollout.md` 1, I3).

use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use smallfleet_analysis::LatencySignal;
use smallfleet_crds::status::SmallModelStatus;

use crate::evidence::EvidenceStore;
use crate::revision::Verdict;
use crate::world::{OwnCut, RouteKind};

/// Actions in order, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Look again after this long even if nothing changes. `None`: at rest.
    pub requeue: Option<Duration>,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// Before a new status: routers of the wave stop sending to the candidate. Remembered by the hub; never undone for this rolloutID.
    Cut(Box<OwnCut>),
    /// Write status with resourceVersion. Before it the hub publishes what it lowers, after success `routes` of it.
    PersistStatus(Box<SmallModelStatus>),
    /// Replace (or create) the evidence ConfigMap; after success the hub forgets the stored epochs.
    SaveEvidence {
        store: Box<EvidenceStore>,
        resource_version: Option<String>,
    },
    CreateRevision(Box<ControllerRevision>),
    LabelRevision {
        name: String,
        uid: String,
        verdict: Verdict,
    },
    DeleteRevision {
        name: String,
        uid: String,
    },
    ApplyDaemonSet(Box<DaemonSet>),
    ApplyService(Box<Service>),
    ApplySessionConfig(Box<ConfigMap>),
    CreatePod(Box<Pod>),
    DeletePod {
        name: String,
        uid: String,
    },
    Emit(Event),
}

/// An event of the SmallModel: one reason a transition, the next step in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

/// What the routers of one model are told: a pure function of the persisted status, the live flag and where the candidates are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    pub rollout: String,
    pub sequence: u64,
    /// False while the leader is resuming: the routers named here may open streams and are told withdrawals and cuts, but no grant
    /// is sent and no lease is extended.
    pub granting: bool,
    /// By pod uid of the stable router. A router that is not named gets no stream.
    pub by_router: std::collections::BTreeMap<String, Route>,
}

/// One router's route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub kind: RouteKind,
    pub candidate_traffic_permille: u32,
    /// `None` while the candidate on this node is not known: a withdraw, or what is not sent because the leader is resuming.
    pub candidate: Option<Endpoint>,
    pub overrides: Vec<smallfleet_crds::Override>,
    /// Index of the freeze, thresholds (microseconds), factors (permille). `None` during the burn-in.
    pub latency: Option<FrozenLatency>,
    /// What latency is: of the burn-in as of the counted units.
    pub signal: LatencySignal,
    pub burn_in_units: u32,
    pub errors_maturity_seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub revision: String,
    pub address: String,
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenLatency {
    pub freeze: u32,
    pub thresholds_microseconds: Vec<u64>,
    pub rhos_permille: Vec<u32>,
}
