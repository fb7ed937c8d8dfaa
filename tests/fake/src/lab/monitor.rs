//! What must hold at every write and in every second: I1 to I11 of `rollout.md`.

mod evidence;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use smallfleet_crds::names::{LABEL_MODEL, LABEL_REVISION, LABEL_ROLE, LABEL_ROLLOUT, role};
use smallfleet_crds::status::{RolloutState, RolloutStatus, SmallModelStatus};
use smallfleet_protocol::timing::ROUTE_LEASE;
use tokio::time::Instant;

use super::mailbox::Mailbox;
use super::view::{controller, is_ready, is_stable, label, node_of, uid};
use super::{Lab, NAMESPACE, cluster, key_of};
use crate::server::kinds::{self, KINDS};
use crate::server::{Key, Store, Written};

/// Time for a route to end after status says that it has: the lease, and a second to be noticed.
const ROUTE_ENDS_SECONDS: u64 = ROUTE_LEASE.as_secs() + 2;

/// Watches every write, every route and every second.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Name of the SmallModel.
    model: String,
    pub status: SmallModelStatus,
    pub operator_writes: usize,
    /// By node: rolloutID and revision that its router may send to.
    pub routing: BTreeMap<String, (String, String)>,
    /// By node: who leads the stream of its router, and what is on its way to it.
    pub(super) mailboxes: BTreeMap<String, (String, Mailbox)>,
    /// Exposure that status has ever allowed, and the revision that it was for.
    allowed: BTreeMap<routes::Exposure, String>,
    /// When the exposure of a rollout ended for good: in status, or at a router.
    cut: BTreeMap<String, Instant>,
    /// When status first allowed exposure, by rolloutID.
    raised: BTreeMap<String, Instant>,
    /// By node: epoch of the newest leader that its router took a route from.
    leaders: BTreeMap<String, u64>,
    /// Node and rolloutID of every candidate of the last second, by its address.
    candidates: BTreeMap<String, (String, String)>,
    /// What the routers have reported, by epoch.
    reported: BTreeMap<u64, evidence::Reported>,
    /// Nodes with a Ready stable pod, and those that lost theirs.
    served: BTreeSet<String>,
    without: BTreeSet<String>,
    /// Seconds for which a router has held a route of a rollout that status has closed.
    overdue: BTreeMap<String, u64>,
    violations: Vec<String>,
}

pub(super) fn lock(monitor: &Mutex<Monitor>) -> MutexGuard<'_, Monitor> {
    monitor.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A monitor of every SmallModel, by name.
pub(super) fn of_all(store: &Store) -> BTreeMap<String, Arc<Mutex<Monitor>>> {
    let models = store.list(kinds::named("SmallModel"), Some(NAMESPACE));
    let monitor = |name: &String| Arc::new(Mutex::new(Monitor::new(name, store)));
    models
        .map(|(key, _)| (key.name.clone(), monitor(&key.name)))
        .collect()
}

impl Monitor {
    fn new(name: &str, store: &Store) -> Self {
        let model = store.get(&key_of(name));
        Self {
            model: name.to_owned(),
            status: model.map(|model| status(model)).unwrap_or_default(),
            ..Self::default()
        }
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(what());
        }
    }

    /// What did not hold so far.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// At every write over a connection.
    pub(super) fn wrote(&mut self, written: &Written<'_>) {
        if !written.by.starts_with("operator") {
            return;
        }
        self.operator_writes += 1;
        let kind = KINDS[written.key.kind].kind;
        if self.is_of_another(kind, written) {
            return;
        }
        match (kind, written.after) {
            ("SmallModel", Some(after)) => {
                self.must(written.status, || {
                    format!("I6: spec is written by {}", written.by)
                });
                self.persisted(written.by, after);
            }
            ("Event", _) => {}
            (_, after) => {
                let model = written
                    .store
                    .get(&key_of(&self.model))
                    .map(|model| uid(model));
                let owned = [written.before, after]
                    .into_iter()
                    .flatten()
                    .all(|object| controller(object) == model);
                self.must(owned, || {
                    format!("I6: {kind} {} is not ours", written.key.name)
                });
                self.object(kind, written);
            }
        }
    }

    /// Another SmallModel's monitor sees to it.
    fn is_of_another(&self, kind: &str, written: &Written<'_>) -> bool {
        let object = written.after.or(written.before);
        let model = match kind {
            "SmallModel" => written.key.name.as_str(),
            _ => object.map_or("", |object| label(object, LABEL_MODEL)),
        };
        model != self.model && written.store.get(&key_of(model)).is_some()
    }

    fn object(&mut self, kind: &str, written: &Written<'_>) {
        match (kind, written.before, written.after) {
            ("Pod", None, Some(pod)) => self.created(pod, written.store),
            ("Pod", Some(_), Some(pod)) => {
                let ends = pod["metadata"]["deletionTimestamp"].is_string();
                self.must(ends, || "a pod is changed".to_owned());
                self.deleted(pod);
            }
            ("Pod", Some(pod), None) => self.deleted(pod),
            ("DaemonSet", _, Some(daemon_set)) => self.template(daemon_set),
            ("ConfigMap", _, Some(config_map)) => self.stored(config_map),
            ("DaemonSet", Some(_), None) => {
                self.must(false, || "I1: the DaemonSet is deleted".to_owned())
            }
            ("ControllerRevision", Some(revision), None) => {
                let hash = label(revision, LABEL_REVISION).to_owned();
                let stable = self
                    .status
                    .stable
                    .as_ref()
                    .is_some_and(|stable| stable.revision == hash);
                self.must(!stable, || {
                    "the stable revision's object is deleted".to_owned()
                });
            }
            _ => {}
        }
    }

    /// I4: a cut is never undone within its id, and sequences rise. I5: nothing refused has traffic.
    fn persisted(&mut self, by: &str, model: &Value) {
        let (before, now) = (std::mem::take(&mut self.status), status(model));
        if let Some(id) = open_id(&before) {
            self.lowered(by, &id, &now);
            if open_id(&now).as_ref() != Some(&id) {
                self.ends(&id);
            }
        }
        if let Some(rollout) = &now.rollout {
            let permille = rollout.candidate_traffic_permille;
            let same = before
                .rollout
                .as_ref()
                .filter(|before| before.id == rollout.id);
            if let Some(before) = same {
                let (old, new) = (before.sequence, rollout.sequence);
                self.must(new >= old, || format!("I4: sequence {old} became {new}"));
                let raised = permille > before.candidate_traffic_permille;
                let cut = self.cut.contains_key(&rollout.id);
                self.must(!raised || !cut, || "I4: a cut rollout is raised".to_owned());
                let closed = !is_open(before.state) && is_open(rollout.state);
                self.must(!closed, || {
                    format!("I4: {:?} became {:?}", before.state, rollout.state)
                });
            }
            let refused = now
                .refused
                .iter()
                .any(|refused| refused.revision == rollout.to);
            self.must(!refused || permille == 0, || {
                "I5: traffic for a refused revision".to_owned()
            });
            self.exposed(rollout);
            if !is_open(rollout.state) {
                self.ends(&rollout.id);
            }
            let exposure = (rollout.id.clone(), rollout.sequence, permille);
            self.allowed.insert(exposure, rollout.to.clone());
        }
        self.status = now;
    }

    /// I8: no second of exposure counts twice.
    fn exposed(&mut self, rollout: &RolloutStatus) {
        let now = Instant::now();
        if rollout.candidate_traffic_permille > 0 {
            self.raised.entry(rollout.id.clone()).or_insert(now);
        }
        let raised = self.raised.get(&rollout.id);
        let most = raised.map_or(0, |raised| raised.elapsed().as_secs() + 1);
        let counted = rollout.exposed_seconds;
        self.must(counted <= most, || {
            format!("I8: {counted} s of exposure within {most} s")
        });
    }

    /// I9: for what status names, one a node over all SmallModels. I5: never a refused revision.
    fn created(&mut self, pod: &Value, store: &Store) {
        let (rollout, node) = (label(pod, LABEL_ROLLOUT).to_owned(), node_of(pod));
        let current = self.status.rollout.clone().unwrap_or_default();
        self.must(current.id == rollout, || {
            format!(
                "I9: a pod of rollout {rollout:?}, and status names {:?}",
                current.id
            )
        });
        let trials = store.list(kinds::named("Pod"), None).filter(|(_, other)| {
            label(other, LABEL_ROLE) != role::STABLE && node_of(other) == node
        });
        let trials = trials.count();
        self.must(trials == 1, || format!("I9: {trials} trial pods on {node}"));
        if label(pod, LABEL_ROLE) == role::CANDIDATE {
            let revision = label(pod, LABEL_REVISION).to_owned();
            let refused = self
                .status
                .refused
                .iter()
                .any(|refused| refused.revision == revision);
            self.must(!refused, || {
                "I5: a candidate of a refused revision".to_owned()
            });
            let in_wave = current.wave.contains(&node);
            self.must(in_wave, || {
                format!("I9: {node} is not in the persisted wave")
            });
        }
    }

    /// A candidate goes only when nothing is sent to it any more; stable pods are the DaemonSet's.
    fn deleted(&mut self, pod: &Value) {
        let (kind, node) = (label(pod, LABEL_ROLE).to_owned(), node_of(pod));
        self.must(kind != role::STABLE, || {
            "I1: a stable pod is deleted".to_owned()
        });
        let routed = self
            .routing
            .get(&node)
            .is_some_and(|(id, _)| *id == label(pod, LABEL_ROLLOUT));
        self.must(kind != role::CANDIDATE || !routed, || {
            format!("the candidate on {node} is deleted while it is routed to")
        });
    }

    /// I11: the template is only ever the promoted revision.
    fn template(&mut self, daemon_set: &Value) {
        let revision =
            daemon_set["spec"]["template"]["metadata"]["labels"][LABEL_REVISION].as_str();
        let revision = revision.unwrap_or_default().to_owned();
        let mut allowed: Vec<String> = self
            .status
            .stable
            .iter()
            .map(|stable| stable.revision.clone())
            .collect();
        if let Some(rollout) = &self.status.rollout {
            match rollout.state {
                RolloutState::Promoting => allowed.push(rollout.to.clone()),
                RolloutState::Reverting => allowed = vec![rollout.from.clone()],
                _ => {}
            }
        }
        let state = self.status.rollout.as_ref().map(|rollout| rollout.state);
        self.must(allowed.contains(&revision), || {
            format!("I11: the template becomes {revision} in {state:?}, and {allowed:?} may be")
        });
        let refused = self
            .status
            .refused
            .iter()
            .any(|refused| refused.revision == revision);
        self.must(!refused, || {
            "I5: the template becomes a refused revision".to_owned()
        });
    }

    fn ends(&mut self, rollout: &str) {
        let now = Instant::now();
        self.cut.entry(rollout.to_owned()).or_insert(now);
    }

    /// I2 and I5 over time: a route ends when its rollout does, at the latest with its lease.
    fn second(&mut self) {
        let open = open_id(&self.status);
        let over = |node: &&String| open.as_ref() != Some(&self.routing[*node].0);
        let overdue: Vec<String> = self.routing.keys().filter(over).cloned().collect();
        self.overdue.retain(|node, _| overdue.contains(node));
        for node in overdue {
            let seconds = self.overdue.entry(node.clone()).or_default();
            *seconds += 1;
            let seconds = *seconds;
            self.must(seconds <= ROUTE_ENDS_SECONDS, || {
                format!("I2: the router on {node} has a route {seconds} s after its rollout ended")
            });
        }
    }

    /// Every second of the cluster.
    fn nodes(&mut self, store: &Store) {
        let pods: Vec<_> = store
            .list(kinds::named("Pod"), Some(NAMESPACE))
            .filter(|(_, pod)| label(pod, LABEL_MODEL) == self.model)
            .map(|(_, pod)| pod.clone())
            .collect();
        let serving = pods.iter().filter(|pod| is_stable(pod) && is_ready(pod));
        let serving: Vec<_> = serving
            .map(|pod| (node_of(pod), label(pod, LABEL_REVISION)))
            .collect();
        self.revisions(&serving);
        self.serve(serving.into_iter().map(|(node, _)| node).collect(), store);
        let candidates = pods
            .iter()
            .filter(|pod| label(pod, LABEL_ROLE) == role::CANDIDATE);
        self.candidates = candidates
            .map(|pod| {
                let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
                let of = (node_of(pod), label(pod, LABEL_ROLLOUT).to_owned());
                (ip.to_owned(), of)
            })
            .collect();
        let candidate = |node: &&String| self.candidates.values().any(|(on, _)| on == *node);
        let routed = self.routing.keys();
        let alone: Vec<String> = routed.filter(|node| !candidate(node)).cloned().collect();
        self.must(alone.is_empty(), || {
            format!("I11: routes without a candidate on {alone:?}")
        });
    }

    /// I1: who served goes on serving, but for as many as the DaemonSet may take away at a time.
    fn serve(&mut self, serving: BTreeSet<String>, store: &Store) {
        let ready = |node: &String| {
            let key = Key::new(kinds::named("Node"), "", node);
            store.get(&key).is_some_and(|found| is_ready(found))
        };
        let lost = self.served.difference(&serving).filter(|node| ready(node));
        let lost: Vec<String> = lost.cloned().collect();
        let is_without = |node: &String| ready(node) && !serving.contains(node);
        self.without.retain(is_without);
        self.without.extend(lost.iter().cloned());
        let daemon_set = store.get(&Key::new(kinds::named("DaemonSet"), NAMESPACE, &self.model));
        let most = daemon_set.map_or(0, |daemon_set| {
            let nodes = serving.len() + self.without.len();
            cluster::budget(daemon_set, "maxUnavailable", nodes)
        });
        let without = self.without.clone();
        self.must(lost.is_empty() || without.len() <= most, || {
            format!(
                "I1: {without:?} had a Ready stable pod and have none, and {most} may be without"
            )
        });
        self.served = serving;
    }

    /// I11: a Ready stable pod is of the promoted revision, or of one of the two between which the fleet rolls.
    fn revisions(&mut self, serving: &[(String, &str)]) {
        let stable = self.status.stable.iter();
        let mut allowed: BTreeSet<String> = stable.map(|stable| stable.revision.clone()).collect();
        if let Some(rollout) = &self.status.rollout
            && matches!(
                rollout.state,
                RolloutState::Promoting | RolloutState::Reverting
            )
        {
            allowed.extend([rollout.from.clone(), rollout.to.clone()]);
        }
        for (node, revision) in serving {
            self.must(allowed.contains(*revision), || {
                format!("I11: {node} serves {revision}, and {allowed:?} may be")
            });
        }
    }

    /// Nodes that the test itself takes from the fleet need not serve any more.
    pub fn release(&mut self, node: &str) {
        self.served.remove(node);
        self.without.remove(node);
    }
}

/// The rollout that may have traffic.
fn open_id(status: &SmallModelStatus) -> Option<String> {
    let open = status
        .rollout
        .as_ref()
        .filter(|rollout| is_open(rollout.state));
    open.map(|rollout| rollout.id.clone())
}

fn status(model: &Value) -> SmallModelStatus {
    let status = model.get("status").cloned();
    status.map_or_else(SmallModelStatus::default, |status| {
        serde_json::from_value(status).expect("the operator writes what it can read")
    })
}

const fn is_open(state: RolloutState) -> bool {
    matches!(
        state,
        RolloutState::Gating
            | RolloutState::Preparing
            | RolloutState::Analyzing
            | RolloutState::Inconclusive
    )
}

impl Lab {
    /// What holds in every second.
    pub(super) fn check(&mut self) {
        let mut violations = Vec::new();
        for monitor in self.monitors.values() {
            let mut monitor = lock(monitor);
            self.server.look(|store| monitor.nodes(store));
            monitor.second();
            violations.extend_from_slice(monitor.violations());
        }
        assert!(violations.is_empty(), "{}\n{self:?}", violations.join("\n"));
    }
}

#[cfg(test)]
mod tests;
