//! Scheduler, DaemonSet controller and kubelets, one second at a time, straight on the store.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Value, json};
use smallfleet_crds::names;

use super::view::{behavior_of, is_ready, label, node_of, unready};
use super::{Behavior, Lab, NAMESPACE};
use crate::server::{Key, Store, kinds};

/// A pod's containers run this many seconds after its kubelet saw it.
const START_SECONDS: u64 = 2;
/// Label by which the DaemonSet controller tells pods of its present template.
const TEMPLATE: &str = "controller-revision-hash";

fn pods() -> kinds::KindIndex {
    kinds::named("Pod")
}

/// A Ready node; one that the affinity of the manifest with every field chooses.
pub(super) fn add_node(store: &mut Store, name: &str) {
    let uid = store.new_uid();
    let labels = json!({
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": "a",
        "example.com/cores": "8",
    });
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": uid, "labels": labels},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    store.put(&Key::new(kinds::named("Node"), "", name), node);
}

/// Pods of a snapshot have run for long.
pub(super) fn pods_of_old(store: &Store) -> BTreeMap<String, u64> {
    let uids = store
        .list(pods(), None)
        .map(|(_, pod)| pod["metadata"]["uid"].clone());
    uids.filter_map(|uid| Some((uid.as_str()?.to_owned(), 0)))
        .collect()
}

/// What a pod's containers say after it has been seen for so long.
fn live(pod: &Value, behavior: Behavior, alive: u64) -> Value {
    let evaluates = label(pod, names::LABEL_ROLE) == names::role::EVALUATION;
    let ready = !matches!(behavior, Behavior::Fails(_) | Behavior::NeverReady);
    let mut engine = json!({"name": "engine", "restartCount": 0, "state": {"running": {}}});
    let mut router = json!({"name": "router", "restartCount": 0, "state": {"running": {}}});
    let mut phase = "Running";
    if let Behavior::Fails(reason) = behavior {
        let message = json!({"reason": reason, "message": "as the test says"}).to_string();
        let end = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": message}});
        engine["restartCount"] = json!(alive / 10);
        engine["state"] = end.clone();
        if evaluates {
            (phase, router["state"]) = ("Failed", end);
        }
    } else if evaluates && ready {
        let end = json!({"exitCode": 0, "reason": "Completed", "message": report(behavior)});
        (phase, router["state"]) = ("Succeeded", json!({"terminated": end}));
    }
    let ready = ready && !evaluates;
    json!({
        "phase": phase,
        "podIP": pod["status"]["podIP"],
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": if ready { "True" } else { "False" }},
        ],
        "initContainerStatuses": [engine],
        "containerStatuses": [router],
    })
}

/// The last word of an evaluation: one bit an example.
fn report(behavior: Behavior) -> String {
    let right = if behavior == Behavior::Wrong {
        [0x55_u8; 125]
    } else {
        [0xff; 125]
    };
    let right = k8s_openapi::ByteString(right.to_vec());
    json!({"datasetDigest": "sha256:d", "nodeClass": "amd64-avx2", "examples": 1000, "right": right})
        .to_string()
}

impl Lab {
    /// A second of the cluster.
    pub(super) fn cluster(&mut self) {
        let now = self.started.elapsed().as_secs() + START_SECONDS + 1;
        let behaviors = self.behaviors.clone();
        let (seen, templates, full) = (&mut self.pods, &mut self.templates, self.full);
        self.server.change(|store| {
            end_deleted(store);
            schedule(store, full);
            run_daemon_sets(store, templates);
            let all: Vec<_> = store
                .list(pods(), None)
                .map(|(key, pod)| (key.clone(), pod.clone()))
                .collect();
            for (key, pod) in all {
                let uid = pod["metadata"]["uid"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let since = *seen.entry(uid).or_insert(now);
                run_pod(
                    store,
                    &key,
                    &pod,
                    behavior_of(&behaviors, &pod),
                    now - since,
                );
            }
        });
    }

    /// Changes a node, as its kubelet or an administrator does.
    pub fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let key = Key::new(kinds::named("Node"), "", name);
        self.server.change(|store| {
            let node = store
                .get(&key)
                .cloned()
                .expect("the test names a node that is there");
            let mut node = node.as_ref().clone();
            change(&mut node);
            store.put(&key, node);
        });
    }
}

fn end_deleted(store: &mut Store) {
    let ended: Vec<Key> = store
        .list(pods(), None)
        .filter(|(_, pod)| pod["metadata"]["deletionTimestamp"].is_string())
        .map(|(key, _)| key.clone())
        .collect();
    for key in ended {
        store.remove(&key);
    }
}

/// Binds pods to the node that their affinity names, unless there is no room.
fn schedule(store: &mut Store, full: bool) {
    let unbound: Vec<(Key, Arc<Value>)> = store
        .list(pods(), None)
        .filter(|(_, pod)| !pod["spec"]["nodeName"].is_string())
        .filter(|(_, pod)| !full || pod["status"]["conditions"].is_null())
        .map(|(key, pod)| (key.clone(), pod.clone()))
        .collect();
    for (key, pod) in unbound {
        let mut pod = pod.as_ref().clone();
        let node = node_of(&pod);
        if full {
            let scheduled = json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "insufficient memory",
            });
            pod["status"] = json!({"phase": "Pending", "conditions": [scheduled]});
            store.put(&key, pod);
        } else if store
            .get(&Key::new(kinds::named("Node"), "", &node))
            .is_some()
        {
            bind(&mut pod, &node);
            store.put(&key, pod);
        }
    }
}

fn bind(pod: &mut Value, node: &str) {
    pod["spec"]["nodeName"] = json!(node);
    let mut hasher = DefaultHasher::new();
    pod["metadata"]["uid"].as_str().hash(&mut hasher);
    let [.., third, fourth] = hasher.finish().to_be_bytes();
    pod["status"]["podIP"] = json!(format!("198.18.{third}.{fourth}"));
}

fn run_pod(store: &mut Store, key: &Key, pod: &Value, behavior: Behavior, alive: u64) {
    let node = Key::new(kinds::named("Node"), "", &node_of(pod));
    let node_ready = store.get(&node).is_some_and(|node| is_ready(node));
    let bound = pod["spec"]["nodeName"].is_string();
    let ended = ["Succeeded", "Failed"]
        .iter()
        .any(|phase| pod["status"]["phase"] == **phase);
    if !bound || ended || alive < START_SECONDS {
        return;
    }
    let status = if node_ready {
        live(pod, behavior, alive)
    } else {
        unready(&pod["status"])
    };
    put_status(store, key, pod, status);
}

/// Writes a status that differs.
fn put_status(store: &mut Store, key: &Key, object: &Value, status: Value) {
    if object["status"] != status {
        let mut next = object.clone();
        next["status"] = status;
        store.put(key, next);
    }
}

/// What one pass of the DaemonSet controller knows.
struct Pass<'a> {
    daemon_set: &'a Value,
    template: &'a str,
    /// Nodes that may get a second pod still.
    surge: usize,
    /// Nodes that may lose a Ready pod still.
    unavailable: usize,
}

fn run_daemon_sets(store: &mut Store, known: &mut Templates) {
    let all = store.list(kinds::named("DaemonSet"), Some(NAMESPACE));
    let all: Vec<_> = all
        .map(|(key, object)| (key.clone(), object.clone()))
        .collect();
    for (key, daemon_set) in all {
        let template = template_hash(&daemon_set, known.entry(key.name.clone()).or_default());
        run_daemon_set(store, &key, &daemon_set, &template);
    }
}

/// Rolls the template over the chosen nodes, as far as the update strategy lets it.
fn run_daemon_set(store: &mut Store, key: &Key, daemon_set: &Value, template: &str) {
    let nodes: Vec<Arc<Value>> = store
        .list(kinds::named("Node"), None)
        .map(|(_, node)| node.clone())
        .collect();
    let (nodes, others): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| chosen(daemon_set, node));
    for node in others {
        let (new, old) = pods_on(store, daemon_set, name_of(node), template);
        remove(store, &new);
        remove(store, &old);
    }
    let status = observed(store, daemon_set, &nodes, template);
    let mut pass = Pass::new(store, daemon_set, &nodes, template);
    nodes.iter().for_each(|node| pass.node(store, node));
    put_status(store, key, daemon_set, status);
}

/// Status of a DaemonSet.
fn observed(store: &Store, daemon_set: &Value, nodes: &[&Arc<Value>], template: &str) -> Value {
    let on = |node: &&&Arc<Value>| pods_on(store, daemon_set, name_of(node), template);
    let pods: Vec<_> = nodes.iter().map(|node| on(&node)).collect();
    let ready = pods
        .iter()
        .filter(|(new, old)| any_ready(new) || any_ready(old));
    let ready = ready.count();
    json!({
        "observedGeneration": daemon_set["metadata"]["generation"],
        "desiredNumberScheduled": nodes.len(),
        "numberReady": ready,
        "numberAvailable": ready,
        "updatedNumberScheduled": pods.iter().filter(|(new, _)| !new.is_empty()).count(),
    })
}

impl<'a> Pass<'a> {
    fn new(store: &Store, daemon_set: &'a Value, nodes: &[&Arc<Value>], template: &'a str) -> Self {
        let on = |node: &&Arc<Value>| pods_on(store, daemon_set, name_of(node), template);
        let pods: Vec<_> = nodes.iter().map(on).collect();
        let surging = pods
            .iter()
            .filter(|(new, old)| !new.is_empty() && !old.is_empty());
        let without = pods
            .iter()
            .filter(|(new, old)| !any_ready(new) && !any_ready(old));
        let budget = |name, taken| budget(daemon_set, name, nodes.len()).saturating_sub(taken);
        Self {
            daemon_set,
            template,
            surge: budget("maxSurge", surging.count()),
            unavailable: budget("maxUnavailable", without.count()),
        }
    }

    fn node(&mut self, store: &mut Store, node: &Value) {
        let name = name_of(node);
        let (new, old) = pods_on(store, self.daemon_set, name, self.template);
        if any_ready(&new) {
            return remove(store, &old);
        }
        if !new.is_empty() {
            return;
        }
        let surges = budget(self.daemon_set, "maxSurge", 1) > 0;
        if old.is_empty() || (surges && (self.surge > 0 || !is_ready(node))) {
            self.surge = self.surge.saturating_sub(usize::from(!old.is_empty()));
            add_pod(store, self.daemon_set, name, self.template);
        } else if !surges && (self.unavailable > 0 || !any_ready(&old)) {
            self.unavailable = self
                .unavailable
                .saturating_sub(usize::from(any_ready(&old)));
            remove(store, &old);
        }
    }
}

/// A count of the update strategy, or a share of the nodes, rounded up.
pub(super) fn budget(daemon_set: &Value, name: &str, nodes: usize) -> usize {
    match &daemon_set["spec"]["updateStrategy"]["rollingUpdate"][name] {
        Value::String(share) => {
            let percent: usize = share.trim_end_matches('%').parse().unwrap_or_default();
            (nodes * percent).div_ceil(100)
        }
        count => count
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or_default(),
    }
}

fn any_ready(pods: &Found) -> bool {
    pods.iter().any(|(_, pod)| is_ready(pod))
}

fn remove(store: &mut Store, pods: &Found) {
    pods.iter().for_each(|(key, _)| drop(store.remove(key)));
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Generation of a DaemonSet and the hash of its template then.
type Template = Option<(Value, String)>;

/// Of every DaemonSet.
pub(super) type Templates = BTreeMap<String, Template>;

fn template_hash(daemon_set: &Value, known: &mut Template) -> String {
    let generation = &daemon_set["metadata"]["generation"];
    match known {
        Some((of, hash)) if of == generation => hash.clone(),
        _ => {
            let mut hasher = DefaultHasher::new();
            daemon_set["spec"]["template"].to_string().hash(&mut hasher);
            let hash = format!("{:08x}", hasher.finish() & 0xffff_ffff);
            *known = Some((generation.clone(), hash.clone()));
            hash
        }
    }
}

fn chosen(daemon_set: &Value, node: &Value) -> bool {
    let selector = daemon_set["spec"]["template"]["spec"]["nodeSelector"].as_object();
    let labels = &node["metadata"]["labels"];
    selector.is_none_or(|selector| {
        selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    })
}

type Found = Vec<(Key, Arc<Value>)>;

/// Pods of the DaemonSet on a node: of the present template, and others.
fn pods_on(store: &Store, daemon_set: &Value, node: &str, template: &str) -> (Found, Found) {
    let ours = store.list(pods(), Some(NAMESPACE)).filter(|(_, pod)| {
        pod["metadata"]["ownerReferences"][0]["uid"] == daemon_set["metadata"]["uid"]
            && node_of(pod) == node
    });
    ours.map(|(key, pod)| (key.clone(), pod.clone()))
        .partition(|(_, pod)| label(pod, TEMPLATE) == template)
}

fn add_pod(store: &mut Store, daemon_set: &Value, node: &str, template: &str) {
    let uid = store.new_uid();
    let owner = &daemon_set["metadata"];
    let name = format!("{}-{}", name_of(daemon_set), &uid[..8]);
    let mut pod = daemon_set["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    let metadata = &mut pod["metadata"];
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(NAMESPACE);
    metadata["uid"] = json!(uid);
    metadata["creationTimestamp"] = json!(super::CLOCK);
    metadata["labels"][TEMPLATE] = json!(template);
    metadata["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner["name"],
        "uid": owner["uid"], "controller": true,
    }]);
    pod["status"] = json!({"phase": "Pending"});
    bind(&mut pod, node);
    store.put(&Key::new(pods(), NAMESPACE, &name), pod);
}
