//! DaemonSet controller and kubelets, one second at a time.

use std::time::Duration;

use serde_json::json;
use smallfleet_core::world::{ContainerView, PodPhase, PodView, Role, Terminated};

use super::{Behavior, Lab, SECOND};

impl Lab {
    pub(super) fn kubernetes(&mut self) {
        self.kubelets_end_pods();
        self.daemon_set_controller();
        let now = self.now;
        for index in 0..self.pods.len() {
            let behavior = self.behavior_of(&self.pods[index]);
            let node_ready = self
                .nodes
                .iter()
                .any(|node| node.name == self.pods[index].node && node.ready);
            let alive = Duration::from_millis(now).saturating_sub(self.pods[index].age);
            let report = self.report(&self.pods[index], &behavior);
            let pod = &mut self.pods[index];
            if !node_ready {
                pod.ready = false;
            } else if pod.unschedulable.is_none()
                && pod.disruption.is_none()
                && pod.phase != PodPhase::Failed
                && alive >= Duration::from_secs(2)
            {
                live(pod, &behavior, report, alive);
            }
        }
        self.forget_routers();
    }

    /// A pod that was deleted is gone once its kubelet has ended it, which that of a silent node does not.
    fn kubelets_end_pods(&mut self) {
        let silent = self.silent_nodes();
        self.pods
            .retain(|pod| !pod.deleting || silent.contains(&pod.node));
    }

    fn silent_nodes(&self) -> Vec<String> {
        let silent = self.nodes.iter().filter(|node| !node.ready);
        silent.map(|node| node.name.clone()).collect()
    }

    /// A new pod beside the old one, which goes when the new one is ready, on as many nodes at a time as the surge allows. An old pod
    /// that is not ready is replaced at once, and counts until the new one is.
    fn daemon_set_controller(&mut self) {
        let Some(live) = self.daemon_set.clone() else {
            self.pods.retain(|pod| pod.role != Role::Stable);
            return;
        };
        let chosen: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        self.pods.retain(|pod| chosen.contains(&pod.node));
        let silent = self.silent_nodes();
        let half_done = |node: &&String| {
            let stable = |pod: &&PodView| pod.role == Role::Stable && pod.node == **node;
            let of_node: Vec<_> = self.pods.iter().filter(stable).collect();
            let is_new = |pod: &PodView| pod.revision == live.revision;
            let waits = of_node.iter().any(|pod| is_new(pod) && !pod.ready);
            waits && of_node.iter().any(|pod| !is_new(pod))
        };
        let mut surging = chosen.iter().filter(half_done).count();
        for node in &chosen {
            let stable = |pod: &&PodView| pod.role == Role::Stable && pod.node == *node;
            let new = self
                .pods
                .iter()
                .find(|pod| stable(pod) && pod.revision == live.revision)
                .cloned();
            let old = self
                .pods
                .iter()
                .find(|pod| stable(pod) && pod.revision != live.revision)
                .cloned();
            match (new, old) {
                (Some(new), Some(old)) if new.ready => self.pods.retain(|pod| pod.uid != old.uid),
                (Some(_), _) => {}
                (None, old) if old.is_none() || surging < self.surge || silent.contains(node) => {
                    surging += usize::from(old.is_some());
                    let uid = self.unique("stable");
                    self.pods.push(self.new_pod(
                        format!("intent-{uid}"),
                        uid,
                        Role::Stable,
                        &live.revision,
                        "",
                        node,
                    ));
                }
                (None, _) => {}
            }
        }
        let stale = |pod: &&PodView| pod.role == Role::Stable && pod.revision == live.revision;
        let updated = u32::try_from(self.pods.iter().filter(stale).count()).unwrap();
        if let Some(view) = &mut self.daemon_set {
            view.observed_generation = view.generation;
            view.desired = u32::try_from(chosen.len()).unwrap();
            view.updated = updated;
        }
    }

    fn report(&self, pod: &PodView, behavior: &Behavior) -> String {
        let class = self.class_of(&pod.node);
        let right = if *behavior == Behavior::Wrong {
            [0x55_u8; 125]
        } else {
            [0xff; 125]
        };
        let text: k8s_openapi::ByteString = k8s_openapi::ByteString(right.to_vec());
        json!({"datasetDigest": "sha256:d", "nodeClass": class, "examples": 1000, "right": text})
            .to_string()
    }

    pub fn class_of(&self, node: &str) -> String {
        self.classes
            .get(node)
            .cloned()
            .unwrap_or_else(|| "amd64-avx2".to_owned())
    }

    /// Routers of pods that are gone: their open epochs end at the last report.
    fn forget_routers(&mut self) {
        let pods = &self.pods;
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.routers)
            .into_iter()
            .partition(|(uid, _)| pods.iter().any(|pod| pod.uid == *uid));
        self.routers = kept.into_iter().collect();
        for (_, router) in gone {
            self.close_epoch(&router);
        }
    }

    pub fn node(&mut self, name: &str) -> &mut smallfleet_core::world::NodeView {
        self.nodes
            .iter_mut()
            .find(|node| node.name == name)
            .unwrap()
    }

    pub fn pods_of(&self, role: Role) -> Vec<&PodView> {
        self.pods.iter().filter(|pod| pod.role == role).collect()
    }

    /// Pods of this role vanish as after a node's crash or an eviction.
    pub fn kill(&mut self, role: Role, node: &str) {
        self.pods
            .retain(|pod| !(pod.role == role && pod.node == node));
    }

    /// The kubelet ends the pods of this role; their objects stay.
    pub fn evict(&mut self, role: Role, node: &str) {
        let pods = self.pods.iter_mut();
        for pod in pods.filter(|pod| pod.role == role && pod.node == node) {
            pod.phase = PodPhase::Failed;
            pod.disruption = Some("Evicted".to_owned());
            pod.ready = false;
        }
    }

    pub fn later(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
    }
}

fn container(name: &str) -> ContainerView {
    ContainerView {
        name: name.to_owned(),
        restarts: 0,
        running: true,
        waiting: None,
        terminated: None,
    }
}

/// What a pod shows after it has been alive for so long.
fn live(pod: &mut PodView, behavior: &Behavior, report: String, alive: Duration) {
    // Images are pulled before a pod starts: one that is gone from the registry by now takes nothing from it.
    let pulled = pod.phase == PodPhase::Running && matches!(behavior, Behavior::NoImage(_));
    let behavior = if pulled { &Behavior::Good } else { behavior };
    let (mut engine, mut router) = (container("engine"), container("router"));
    pod.phase = PodPhase::Running;
    pod.ready = matches!(behavior, Behavior::Good | Behavior::Slow | Behavior::Wrong);
    match behavior {
        Behavior::NoImage(message) => {
            engine.running = false;
            engine.waiting = Some(("ErrImagePull".to_owned(), (*message).to_owned()));
            pod.phase = PodPhase::Pending;
        }
        Behavior::NotCreated(reason) => {
            engine.running = false;
            engine.waiting = Some(((*reason).to_owned(), "as the test says".to_owned()));
            pod.phase = PodPhase::Pending;
        }
        Behavior::Crashes => {
            engine.running = false;
            engine.restarts = u32::try_from(alive.as_secs() / 10).unwrap();
            engine.terminated = Some(Terminated {
                exit_code: 139,
                reason: "Error".to_owned(),
                message: String::new(),
            });
        }
        Behavior::Fails(reason) => {
            engine.running = false;
            engine.restarts = u32::try_from(alive.as_secs() / 10).unwrap();
            let typed = json!({"reason": reason, "message": "as the test says"}).to_string();
            engine.terminated = Some(Terminated {
                exit_code: 1,
                reason: if *reason == "OOMKilled" {
                    "OOMKilled"
                } else {
                    "Error"
                }
                .to_owned(),
                message: typed,
            });
        }
        _ if pod.role == Role::Evaluation && pod.ready => {
            pod.ready = false;
            pod.phase = PodPhase::Succeeded;
            router.running = false;
            router.terminated = Some(Terminated {
                exit_code: 0,
                reason: "Completed".to_owned(),
                message: report,
            });
        }
        _ => {}
    }
    if pod.role == Role::Evaluation
        && let Behavior::Fails(reason) = behavior
    {
        pod.phase = PodPhase::Failed;
        router.running = false;
        router.terminated = Some(Terminated {
            exit_code: 1,
            reason: "Error".to_owned(),
            message: json!({"reason": reason, "message": "as the test says"}).to_string(),
        });
    }
    pod.containers = vec![engine, router];
}
