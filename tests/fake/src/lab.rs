//! A cluster in which everything but the operator is simulated, one second at a time, on tokio's paused clock.
//!
//! The operator is the real one: its caches, hub, observer, applier and controller talk to the fake API server over a connection on
//! which things go wrong. Nothing here waits for a wall clock, and the API server's own clock stands still, years away.

mod cluster;
mod counting;
mod mailbox;
mod monitor;
mod operator;
mod router;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use smallfleet_core::revision::Revision;
use smallfleet_core::world::Defaults;
use smallfleet_crds::SmallModel;
use smallfleet_crds::names::{LABEL_ROLE, role};
use smallfleet_crds::status::{RolloutState, RolloutStatus, SmallModelStatus};
use tokio::time::Instant;

use crate::server::{Connection, FakeServer, Fault, Key, Refusal, Store, kinds};

pub use monitor::Monitor;
pub use operator::Operator;
pub use router::Router;

pub const NAMESPACE: &str = "shop";
pub const MODEL: &str = "intent";
const RUNTIME: &str = "runtime@sha256:1";
/// The API server's clock: no decision may compare it with another.
const CLOCK: &str = "2040-02-03T04:05:06Z";
/// A leader that is cut off stops by itself before its Lease is free.
const OLD_LEADER_SECONDS: u64 = 10;
/// A little longer than the operator's own, so that it never depends on chance which of two comes first.
const SECOND: Duration = Duration::from_millis(1007);
/// Seconds without a write after which a model counts as at rest.
const REST_SECONDS: u64 = 15;

/// How a revision behaves wherever it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behavior {
    #[default]
    Good,
    /// Every answer is late.
    Slow,
    /// Its engine fails with this reason, again and again.
    Fails(&'static str),
    /// Wrong on the labelled set.
    Wrong,
    /// It gets a quarter of what the coin gives it.
    Shunned,
    NeverReady,
}

/// A cluster at rest, from which any number of runs begin.
#[derive(Clone, Debug)]
pub struct Resting {
    pub store: Store,
    pub behaviors: BTreeMap<String, Behavior>,
    pub epoch: u64,
}

/// The cluster, and what is known of it.
pub struct Lab {
    pub server: FakeServer,
    pub monitor: Arc<Mutex<Monitor>>,
    /// One for every SmallModel.
    monitors: BTreeMap<String, Arc<Mutex<Monitor>>>,
    pub operators: Vec<Operator>,
    pub routers: BTreeMap<String, Router>,
    pub behaviors: BTreeMap<String, Behavior>,
    pub defaults: Defaults,
    /// Runs of requests per router, arm and second.
    pub rate: u64,
    /// No candidate finds room.
    pub full: bool,
    user: Client,
    epoch: u64,
    started: Instant,
    /// When each pod was first seen by its kubelet, seconds.
    pods: BTreeMap<String, u64>,
    templates: cluster::Templates,
    serial: u64,
    /// When the older of two leaders ends.
    ends_old: Option<Instant>,
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.describe())
    }
}

#[must_use]
pub fn image(tag: &str) -> String {
    format!("registry/m@sha256:{tag}")
}

fn defaults() -> Defaults {
    Defaults {
        runtime_image: RUNTIME.to_owned(),
        stable_priority_class: "smallfleet-stable".to_owned(),
        candidate_priority_class: "smallfleet-candidate".to_owned(),
        session_address: "smallfleet-operator.system.svc:9443".to_owned(),
        session_ca: "PEM".to_owned(),
    }
}

/// Key of the SmallModel.
#[must_use]
pub fn model_key() -> Key {
    key_of(MODEL)
}

fn key_of(model: &str) -> Key {
    Key::new(kinds::named("SmallModel"), NAMESPACE, model)
}

impl Lab {
    /// Nodes `n0`, `n1`, ... and a SmallModel of revision 1 that nobody has looked at yet.
    pub fn new(nodes: usize) -> Self {
        Self::of_models(nodes, &[MODEL])
    }

    /// Several such SmallModels on the same nodes; [`MODEL`] is one of them.
    pub fn of_models(nodes: usize, models: &[&str]) -> Self {
        let mut store = Store::default();
        for index in 0..nodes {
            cluster::add_node(&mut store, &format!("n{index}"));
        }
        for model in models {
            add_model(&mut store, model);
        }
        Self::from_snapshot(&Resting {
            store,
            behaviors: BTreeMap::new(),
            epoch: 0,
        })
    }

    /// Goes on from a snapshot: with new router processes, and without an operator.
    #[must_use]
    pub fn from_snapshot(resting: &Resting) -> Self {
        operator::same_bits_again(resting.epoch);
        let server = FakeServer::new(resting.store.clone(), || CLOCK.to_owned());
        let monitors = monitor::of_all(&resting.store);
        let witnesses = monitors.clone();
        server.witness(move |written| {
            for witness in witnesses.values() {
                monitor::lock(witness).wrote(written);
            }
        });
        let user = server.client(&Connection::new("user", Fault::None));
        Self {
            monitor: monitors[MODEL].clone(),
            monitors,
            operators: Vec::new(),
            routers: BTreeMap::new(),
            behaviors: resting.behaviors.clone(),
            defaults: defaults(),
            rate: 20_000,
            full: false,
            user,
            epoch: resting.epoch,
            started: Instant::now(),
            pods: cluster::pods_of_old(&resting.store),
            templates: BTreeMap::new(),
            serial: 0,
            ends_old: None,
            server,
        }
    }

    /// Installed and at rest, with an operator.
    pub async fn at_rest(nodes: usize) -> Self {
        let mut lab = Self::new(nodes);
        lab.start_operator(Fault::None);
        lab.until(60, "Stable", |status| status.phase == "Stable")
            .await;
        lab.rest().await;
        lab
    }

    #[must_use]
    pub fn snapshot(&self) -> Resting {
        Resting {
            store: self.server.snapshot(),
            behaviors: self.behaviors.clone(),
            epoch: self.epoch,
        }
    }

    /// Another operator process becomes leader.
    pub fn start_operator(&mut self, fault: Fault) {
        self.epoch += 1;
        let operator = Operator::start(&self.server, self.epoch, fault, &self.defaults);
        self.operators.push(operator);
    }

    /// One second of everything.
    pub async fn second(&mut self) {
        tokio::time::sleep(SECOND).await;
        self.replace_operators();
        self.cluster();
        self.sessions();
        self.check();
    }

    pub async fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second().await;
        }
    }

    /// Who is lost has a successor; beside one that only stalls there are two for a while.
    fn replace_operators(&mut self) {
        let now = Instant::now();
        let stalls = self.operators.len() == 1 && self.operators[0].connection.stalled();
        if stalls {
            self.ends_old = Some(now + Duration::from_secs(OLD_LEADER_SECONDS));
            self.start_operator(Fault::None);
        }
        if self.ends_old.is_some_and(|ends| now >= ends) {
            self.ends_old = None;
            self.operators[0].connection.cut();
        }
        let lost: Vec<usize> = (0..self.operators.len())
            .filter(|index| self.operators[*index].connection.is_dead())
            .collect();
        for index in lost.into_iter().rev() {
            // What it sent before its end is on its way and arrives.
            self.receive_all();
            self.operators.remove(index).end();
        }
        if self.operators.is_empty() && self.epoch > 0 {
            self.start_operator(Fault::None);
        }
    }

    /// Runs until status is as wanted.
    pub async fn until(
        &mut self,
        limit: u64,
        what: &str,
        holds: impl Fn(&SmallModelStatus) -> bool,
    ) {
        for _ in 0..limit {
            if holds(&self.status()) {
                return;
            }
            self.second().await;
        }
        assert!(
            holds(&self.status()),
            "no {what} within {limit} s: {self:?}"
        );
    }

    pub async fn until_state(&mut self, state: RolloutState) {
        self.until(300, &format!("{state:?}"), |status| {
            status
                .rollout
                .as_ref()
                .is_some_and(|rollout| rollout.state == state)
        })
        .await;
    }

    /// I10: writes end and streams close, and it stays so.
    pub async fn rest(&mut self) {
        let mut quiet = 0;
        for _ in 0..OLD_LEADER_SECONDS + 100 {
            let before = self.operator_writes();
            self.second().await;
            let open = self.routers.values().any(Router::has_stream);
            quiet = if self.operator_writes() == before && !open {
                quiet + 1
            } else {
                0
            };
            if quiet == REST_SECONDS {
                return self.no_trials();
            }
        }
        panic!("I10: no rest: {self:?}");
    }

    /// I9: no candidate or evaluation is left of any rollout.
    fn no_trials(&self) {
        let left = self.server.look(|store| {
            let pods = store.list(kinds::named("Pod"), None);
            let trials = pods.filter(|(_, pod)| view::label(pod, LABEL_ROLE) != role::STABLE);
            trials.map(|(key, _)| key.name.clone()).collect::<Vec<_>>()
        });
        assert!(left.is_empty(), "I9: {left:?} are left: {self:?}");
    }

    fn operator_writes(&self) -> usize {
        monitor::lock(&self.monitor).operator_writes
    }

    /// Edits spec at a pointer, as a user does.
    pub async fn edit(&mut self, pointer: &str, value: Value) {
        let mut patch = value;
        for name in pointer.rsplit('/').filter(|name| !name.is_empty()) {
            patch = json!({ name: patch });
        }
        self.patch(&json!({ "spec": patch })).await;
    }

    pub async fn ask_for(&mut self, tag: &str) {
        self.edit("/model/image", json!(image(tag))).await;
    }

    /// A merge patch of the SmallModel by its user.
    pub async fn patch(&mut self, patch: &Value) {
        self.patch_model(MODEL, patch).await;
    }

    /// The same, of one of several.
    pub async fn patch_model(&mut self, model: &str, patch: &Value) {
        let api: Api<SmallModel> = Api::namespaced(self.user.clone(), NAMESPACE);
        let params = PatchParams {
            field_manager: Some("user".to_owned()),
            ..PatchParams::default()
        };
        api.patch(model, &params, &Patch::Merge(patch))
            .await
            .expect("the user's connection is sound");
    }

    pub async fn command(&mut self, verb: &str) {
        self.serial += 1;
        let text = format!("{verb}/{}/{}", self.rollout().id, self.serial);
        let command = smallfleet_crds::names::ANNOTATION_COMMAND;
        self.patch(&json!({"metadata": {"annotations": {command: text}}}))
            .await;
    }

    /// From now on the API server refuses every candidate's pod with this, made from its name; or none any more.
    pub fn refuse_candidates(&self, refusal: Option<fn(&str) -> Refusal>) {
        self.server.admit(move |key, object| match refusal {
            Some(refusal) if view::label(object, LABEL_ROLE) == role::CANDIDATE => {
                Err(refusal(&key.name))
            }
            _ => Ok(()),
        });
    }

    pub fn behave(&mut self, tag: &str, behavior: Behavior) {
        let hash = self.hash(tag);
        self.behaviors.insert(hash, behavior);
    }

    #[must_use]
    pub fn model(&self) -> SmallModel {
        let model = self
            .server
            .look(|store| store.get(&model_key()).map(|model| model.as_ref().clone()));
        serde_json::from_value(model.expect("nobody deletes the model")).expect("it is one")
    }

    #[must_use]
    pub fn status(&self) -> SmallModelStatus {
        self.status_of(MODEL)
    }

    /// Status of one of several SmallModels.
    #[must_use]
    pub fn status_of(&self, model: &str) -> SmallModelStatus {
        monitor::lock(&self.monitors[model]).status.clone()
    }

    /// # Panics
    /// Without a rollout in status.
    #[must_use]
    pub fn rollout(&self) -> RolloutStatus {
        self.status().rollout.expect("a rollout in status")
    }

    #[must_use]
    pub fn stable(&self) -> String {
        self.status()
            .stable
            .map(|stable| stable.revision)
            .unwrap_or_default()
    }

    /// Hash of the revision with this tag, as it is resolved.
    #[must_use]
    pub fn hash(&self, tag: &str) -> String {
        let mut spec = self.model().spec;
        spec.model.image = image(tag);
        Revision::resolve(&spec, RUNTIME)
            .expect("it is a valid spec")
            .hash()
    }

    /// Condition types of status that are true.
    #[must_use]
    pub fn conditions(&self) -> BTreeSet<String> {
        let status = self.status();
        let held = status
            .conditions
            .into_iter()
            .filter(|condition| condition.status == "True");
        held.map(|condition| condition.type_).collect()
    }
}

fn add_model(store: &mut Store, name: &str) {
    let spec = json!({
        "task": "TextClassification",
        "model": {"image": image("1")},
        "rollout": {
            "candidateReadySeconds": 60,
            "stepDeadlineSeconds": 300,
            "steps": [
                {"name": "one", "nodes": 1, "minExposureSeconds": 3},
                {"name": "all", "nodes": "100%", "minExposureSeconds": 3},
            ],
        },
    });
    // As the real server stores it: with the defaults of the schema.
    let model = SmallModel::new(
        name,
        serde_json::from_value(spec).expect("it is a valid spec"),
    );
    let mut model = serde_json::to_value(model).expect("a SmallModel is plain data");
    model["metadata"] = json!({
        "name": name, "namespace": NAMESPACE, "uid": store.new_uid(), "generation": 1,
        "creationTimestamp": CLOCK,
    });
    store.put(&key_of(name), model);
}
