//! A model of a cluster, small enough to be driven by a property test: an API server with resource versions, a DaemonSet
//! controller, kubelets, routers with leases, and an operator that can be lost after any action.

mod apply;
mod kubernetes;
mod routers;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use smallfleet_core::action::{Action, Event, Plan, Routes};
use smallfleet_core::evidence::EvidenceStore;
use smallfleet_core::revision::{Revision, RevisionObject};
use smallfleet_core::world::{
    AppliedView, ClosedEpoch, DaemonSetView, NodeView, OwnCut, PodView, Role,
};
use smallfleet_core::{lowered, plan, routes};
use smallfleet_crds::SmallModel;
use smallfleet_crds::status::{RolloutState, RolloutStatus, SmallModelStatus};

pub use apply::Outcome;
pub use routers::Router;

pub const SECOND: u64 = 1000;
pub const RUNTIME: &str = "runtime@sha256:1";

/// How a revision behaves wherever it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behavior {
    Good,
    /// Every answer is late.
    Slow,
    /// Its engine fails with this reason, and is restarted by the kubelet.
    Fails(&'static str),
    /// Its engine ends at once and says nothing, again and again.
    Crashes,
    /// Its image is waited for with this message.
    NoImage(&'static str),
    /// The kubelet cannot make its containers, for this reason.
    NotCreated(&'static str),
    NeverReady,
    /// Wrong on the labelled set.
    Wrong,
}

/// One operator process.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    pub epoch: u64,
    pub since: u64,
    pub cut: BTreeSet<String>,
    own_cut: Option<OwnCut>,
    pub published: Routes,
    key: String,
    key_since: u64,
    numbers_since: u64,
    unserved_since: Option<u64>,
    missing_since: Option<u64>,
    refused_pods: BTreeMap<String, u64>,
    exposed: u64,
}

#[derive(Debug)]
pub struct Lab {
    pub model: SmallModel,
    /// Resource version of the model's status.
    pub version: u64,
    pub revisions: Vec<RevisionObject>,
    pub daemon_set: Option<DaemonSetView>,
    /// Nodes that may run an old and a new stable pod at a time.
    surge: usize,
    pub service: Option<AppliedView>,
    pub session_config: Option<AppliedView>,
    pub evidence: Option<(EvidenceStore, u64)>,
    pub pods: Vec<PodView>,
    pub nodes: Vec<NodeView>,
    pub foreign_candidates: BTreeSet<String>,
    pub foreign_service: bool,
    pub stranger: Option<String>,
    /// The API server creates no pod here.
    pub quota_exceeded: bool,
    pub routers: BTreeMap<String, Router>,
    pub closed: Vec<ClosedEpoch>,
    pub behaviors: BTreeMap<String, Behavior>,
    /// Whatever the candidate, it fails here.
    pub broken_nodes: BTreeSet<String>,
    /// The stable router here does not reach the candidate.
    pub unreachable: BTreeSet<String>,
    pub hub: Hub,
    pub now: u64,
    pub events: Vec<Event>,
    /// Requests per router and second, both arms together.
    pub rate: u64,
    /// Units above the p95 threshold.
    pub tail_permille: u64,
    /// Node classes by node name; all `amd64-avx2` otherwise.
    pub classes: BTreeMap<String, String>,
    /// Every rollout that was ever cut at a router.
    pub ever_cut: BTreeSet<String>,
    /// Strict checks hold while one operator writes.
    pub strict: bool,
    serial: u64,
}

pub fn image(tag: &str) -> String {
    format!("registry/m@sha256:{tag}")
}

impl Lab {
    /// A fresh model on nodes `n0`, `n1`, ...: steps of five seconds on one node, then on half.
    pub fn new(nodes: usize) -> Self {
        let spec = json!({
            "task": "TextClassification",
            "model": {"image": image("1")},
            "rollout": {
                "candidateReadySeconds": 60,
                "stepDeadlineSeconds": 300,
                "steps": [
                    {"name": "one", "nodes": 1, "minExposureSeconds": 5},
                    {"name": "half", "nodes": "50%", "minExposureSeconds": 5},
                ],
            },
        });
        let mut model = SmallModel::new("intent", serde_json::from_value(spec).unwrap());
        model.metadata.namespace = Some("shop".to_owned());
        model.metadata.uid = Some("model-uid".to_owned());
        model.metadata.generation = Some(1);
        let node = |index: usize| NodeView {
            name: format!("n{index}"),
            uid: format!("node-uid-{index}"),
            ready: true,
            arch: "amd64".to_owned(),
            ..NodeView::default()
        };
        Self {
            model,
            version: 1,
            revisions: Vec::new(),
            daemon_set: None,
            surge: 1,
            service: None,
            session_config: None,
            evidence: None,
            pods: Vec::new(),
            nodes: (0..nodes).map(node).collect(),
            foreign_candidates: BTreeSet::new(),
            foreign_service: false,
            stranger: None,
            quota_exceeded: false,
            routers: BTreeMap::new(),
            closed: Vec::new(),
            behaviors: BTreeMap::new(),
            broken_nodes: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            hub: Hub {
                epoch: 1,
                ..Hub::default()
            },
            now: 100 * SECOND,
            events: Vec::new(),
            rate: 2000,
            tail_permille: 50,
            classes: BTreeMap::new(),
            ever_cut: BTreeSet::new(),
            strict: true,
            serial: 0,
        }
    }

    /// Installed and at rest.
    pub fn at_rest(nodes: usize) -> Self {
        let mut lab = Self::new(nodes);
        lab.run(30);
        assert_eq!(lab.status().phase, "Stable", "{:#?}", lab.status());
        lab.events.clear();
        lab
    }

    /// Edits spec by JSON merge at a pointer, as a user does.
    pub fn edit(&mut self, pointer: &str, value: Value) {
        let mut spec = serde_json::to_value(&self.model.spec).unwrap();
        *spec
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("no {pointer}")) = value;
        self.model.spec = serde_json::from_value(spec).unwrap();
        let generation = self.model.metadata.generation.get_or_insert(1);
        *generation += 1;
        self.version += 1;
    }

    pub fn ask_for(&mut self, tag: &str) {
        self.edit("/model/image", json!(image(tag)));
    }

    /// Hash of the revision with this tag, as it is resolved.
    pub fn hash(&self, tag: &str) -> String {
        let mut spec = self.model.spec.clone();
        spec.model.image = image(tag);
        Revision::resolve(&spec, RUNTIME).unwrap().hash()
    }

    pub fn behave(&mut self, tag: &str, behavior: Behavior) {
        let hash = self.hash(tag);
        self.behaviors.insert(hash, behavior);
    }

    pub fn behavior(&self, hash: &str) -> Behavior {
        self.behaviors.get(hash).cloned().unwrap_or(Behavior::Good)
    }

    pub fn behavior_of(&self, pod: &PodView) -> Behavior {
        if pod.role == Role::Candidate && self.broken_nodes.contains(&pod.node) {
            return Behavior::Fails("LoadFailed");
        }
        self.behavior(&pod.revision)
    }

    pub fn status(&self) -> SmallModelStatus {
        self.model.status.clone().unwrap_or_default()
    }

    pub fn rollout(&self) -> RolloutStatus {
        self.status()
            .rollout
            .unwrap_or_else(|| panic!("no rollout: {:#?}", self.status()))
    }

    pub fn state(&self) -> Option<RolloutState> {
        self.status().rollout.map(|rollout| rollout.state)
    }

    pub fn stable(&self) -> String {
        self.status()
            .stable
            .map(|stable| stable.revision)
            .unwrap_or_default()
    }

    pub fn condition(&self, r#type: &str) -> Option<(String, String, String)> {
        let status = self.status();
        let found = status.conditions.iter().find(|one| one.type_ == r#type)?;
        Some((
            found.status.clone(),
            found.reason.clone(),
            found.message.clone(),
        ))
    }

    pub fn is(&self, r#type: &str, status: &str) -> bool {
        self.condition(r#type)
            .is_some_and(|found| found.0 == status)
    }

    pub fn emitted(&self, reason: &str) -> bool {
        self.events.iter().any(|event| event.reason == reason)
    }

    pub fn command(&mut self, verb: &str) {
        let id = self
            .status()
            .rollout
            .map(|rollout| rollout.id)
            .unwrap_or_default();
        self.command_for(verb, &id);
    }

    pub fn command_for(&mut self, verb: &str, rollout: &str) {
        self.serial += 1;
        let text = format!("{verb}/{rollout}/{}", self.serial);
        let annotations = self.model.metadata.annotations.get_or_insert_default();
        annotations.insert(smallfleet_crds::names::ANNOTATION_COMMAND.to_owned(), text);
        self.version += 1;
    }

    /// Seconds of cluster, routers and operator.
    pub fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.tick();
            self.reconcile();
        }
    }

    /// Runs until it holds; panics with the status when it never does.
    pub fn run_until(&mut self, limit_seconds: u64, holds: impl Fn(&Self) -> bool) {
        for _ in 0..limit_seconds {
            if holds(self) {
                return;
            }
            self.run(1);
        }
        assert!(
            holds(self),
            "not within {limit_seconds} s: {:#?}\n{:#?}",
            self.status(),
            self.events
        );
    }

    pub fn run_until_state(&mut self, state: RolloutState) {
        self.run_until(400, |lab| lab.state() == Some(state));
    }

    /// One second passes everywhere but at the operator.
    pub fn tick(&mut self) {
        self.now += SECOND;
        self.kubernetes();
        self.serve();
    }

    /// One plan, carried out until the first failure.
    pub fn reconcile(&mut self) -> Plan {
        self.reconcile_until(usize::MAX)
    }

    /// The operator is lost after this many actions; its successor starts with nothing in memory.
    pub fn crash_after(&mut self, actions: usize) {
        self.reconcile_until(actions);
        self.new_leader();
    }

    pub fn new_leader(&mut self) {
        self.hub = Hub {
            epoch: self.hub.epoch + 1,
            since: self.now,
            key: String::new(),
            key_since: self.now,
            numbers_since: self.now,
            ..Hub::default()
        };
    }

    fn reconcile_until(&mut self, actions: usize) -> Plan {
        self.publish();
        let world = self.world();
        let plan = plan(&world);
        let is_save = |action: &&Action| matches!(action, Action::SaveEvidence { .. });
        assert!(
            plan.actions.iter().filter(is_save).count() <= 1,
            "the second one could only be a conflict"
        );
        self.execute(&plan, self.version, actions);
        plan
    }

    fn execute(&mut self, plan: &Plan, version: u64, actions: usize) {
        let mut version = version;
        for action in plan.actions.iter().take(actions) {
            if let Action::PersistStatus(status) = action
                && let Some(routes) = lowered(&self.world(), status)
            {
                self.deliver(routes);
            }
            match self.apply(action, &mut version) {
                Outcome::Done => {}
                Outcome::Conflict => break,
            }
            if matches!(action, Action::PersistStatus(_)) {
                self.publish();
            }
        }
    }

    /// What an operator planned a while ago on what it saw then.
    pub fn plan_now(&mut self) -> (Plan, u64) {
        (plan(&self.world()), self.version)
    }

    /// Carries out what was planned before something else happened.
    pub fn carry_out(&mut self, (plan, version): &(Plan, u64)) {
        self.execute(plan, *version, usize::MAX);
    }

    /// Another operator carries out an old plan. Its cuts and status writes are its own; the second status write fails.
    pub fn execute_stale(&mut self, planned: &(Plan, u64)) {
        let hub = self.hub.clone();
        self.carry_out(planned);
        self.hub = hub;
    }

    fn publish(&mut self) {
        let routes = routes(&self.world());
        self.deliver(routes);
    }

    fn unique(&mut self, what: &str) -> String {
        self.serial += 1;
        format!(
            "{:08x}-{what}",
            self.serial.wrapping_mul(0x9e37_79b1) & 0xffff_ffff
        )
    }
}
