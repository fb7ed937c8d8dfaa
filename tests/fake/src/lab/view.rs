//! Reading objects as JSON.

use std::collections::{BTreeMap, BTreeSet};

use std::fmt::Write as _;

use serde_json::{Value, json};
use smallfleet_crds::names;

use super::{Behavior, Lab, MODEL, NAMESPACE};
use crate::server::{Key, kinds};

/// A label; empty where there is none.
pub fn label<'v>(object: &'v Value, key: &str) -> &'v str {
    object["metadata"]["labels"][key]
        .as_str()
        .unwrap_or_default()
}

/// Uid of an object.
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Uid of an object's controller.
pub fn controller(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let controller = owners.iter().find(|owner| owner["controller"] == true)?;
    controller["uid"].as_str()
}

/// The condition Ready is True.
pub fn is_ready(object: &Value) -> bool {
    let all = object["status"]["conditions"].as_array();
    let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    all.is_some_and(|all| all.iter().any(ready))
}

/// A pod of the DaemonSet.
pub fn is_stable(pod: &Value) -> bool {
    label(pod, names::LABEL_ROLE) == names::role::STABLE
}

/// The same status, not Ready.
pub fn unready(status: &Value) -> Value {
    let mut status = status.clone();
    let all = status["conditions"].as_array_mut();
    let ready = all
        .into_iter()
        .flatten()
        .filter(|one| one["type"] == "Ready");
    ready.for_each(|one| one["status"] = json!("False"));
    status
}

/// Node that a pod is bound to, or that its affinity names.
pub fn node_of(pod: &Value) -> String {
    let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let affinity = || {
        let terms = pod.pointer(terms)?.as_array()?;
        let mut fields = terms
            .iter()
            .filter_map(|term| term["matchFields"].as_array())
            .flatten();
        let named = fields.rfind(|field| field["key"] == "metadata.name")?;
        named["values"][0].as_str()
    };
    let bound = pod["spec"]["nodeName"].as_str();
    bound.or_else(affinity).unwrap_or_default().to_owned()
}

/// How the revision of a pod behaves.
pub fn behavior_of(behaviors: &BTreeMap<String, Behavior>, pod: &Value) -> Behavior {
    behaviors
        .get(label(pod, names::LABEL_REVISION))
        .copied()
        .unwrap_or_default()
}

impl Lab {
    /// The DaemonSet; null where there is none.
    #[must_use]
    pub fn daemon_set(&self) -> Value {
        let key = Key::new(kinds::named("DaemonSet"), NAMESPACE, MODEL);
        let found = self.server.look(|store| store.get(&key).cloned());
        found.map_or(Value::Null, |object| object.as_ref().clone())
    }

    /// Revision in the DaemonSet's template.
    #[must_use]
    pub fn template(&self) -> String {
        label(
            &self.daemon_set()["spec"]["template"],
            names::LABEL_REVISION,
        )
        .to_owned()
    }

    /// Revisions of all Ready stable pods.
    #[must_use]
    pub fn serving(&self) -> BTreeSet<String> {
        let revision = |pod: &Value| label(pod, names::LABEL_REVISION).to_owned();
        self.of_serving(revision)
    }

    /// Nodes with a Ready stable pod.
    #[must_use]
    pub fn serving_nodes(&self) -> BTreeSet<String> {
        self.of_serving(node_of)
    }

    fn of_serving(&self, what: impl Fn(&Value) -> String) -> BTreeSet<String> {
        self.server.look(|store| {
            let pods = store.list(kinds::named("Pod"), Some(NAMESPACE));
            let serving = pods.filter(|(_, pod)| is_ready(pod) && is_stable(pod));
            serving.map(|(_, pod)| what(pod)).collect()
        })
    }

    /// Uid and node of every pod of this role.
    #[must_use]
    pub fn pods(&self, role: &str) -> Vec<(String, String)> {
        self.server.look(|store| {
            let all = store.list(kinds::named("Pod"), Some(NAMESPACE));
            let of_role = all.filter(|(_, pod)| label(pod, names::LABEL_ROLE) == role);
            of_role
                .map(|(_, pod)| (uid(pod).to_owned(), node_of(pod)))
                .collect()
        })
    }

    /// How many times the first operator has asked for a pod.
    #[must_use]
    pub fn creations(&self) -> usize {
        let writes = self.operators[0].connection.writes();
        let creations = writes.iter().filter(|write| write.ends_with("/pods"));
        creations.count()
    }

    /// Verdicts that the ControllerRevisions carry, by revision.
    #[must_use]
    pub fn verdicts(&self) -> BTreeMap<String, String> {
        self.server.look(|store| {
            let objects = store.list(kinds::named("ControllerRevision"), Some(NAMESPACE));
            let labels = objects.map(|(_, object)| {
                let of = |key| label(object, key).to_owned();
                (of(names::LABEL_REVISION), of(names::LABEL_VERDICT))
            });
            labels.collect()
        })
    }

    /// What somebody wants to know when a test fails.
    pub(super) fn describe(&self) -> String {
        let (mut text, status) = (String::new(), self.status());
        let _ = writeln!(
            text,
            "{} s: {}, stable {}",
            self.started.elapsed().as_secs(),
            status.phase,
            self.stable()
        );
        if let Some(rollout) = &status.rollout {
            let _ = writeln!(
                text,
                "rollout {} of {}: {:?}, step {}, sequence {}, {} permille, exposed {} s, wave {:?}, paused {:?}, blocked {:?}, refusal {:?}",
                rollout.id,
                rollout.to,
                rollout.state,
                rollout.step,
                rollout.sequence,
                rollout.candidate_traffic_permille,
                rollout.exposed_seconds,
                rollout.wave,
                rollout.paused,
                rollout.blocked,
                rollout.refusal,
            );
        }
        self.server.look(|store| {
            for (key, pod) in store.list(kinds::named("Pod"), Some(NAMESPACE)) {
                let _ = writeln!(
                    text,
                    "pod {} {} {} {} ready {}",
                    key.name,
                    label(pod, names::LABEL_REVISION),
                    label(pod, names::LABEL_ROLLOUT),
                    node_of(pod),
                    is_ready(pod),
                );
            }
        });
        for router in self.routers.values() {
            let _ = writeln!(
                text,
                "router on {}: stream {}, {:?}",
                router.node,
                router.has_stream(),
                router.held.route()
            );
        }
        for operator in &self.operators {
            let (calls, writes) = (operator.connection.calls(), operator.connection.writes());
            let _ = writeln!(
                text,
                "operator {}: {calls:?} reads and writes: {writes:#?}",
                operator.epoch
            );
        }
        text
    }
}
