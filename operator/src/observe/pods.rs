//! Views of pods.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use smallfleet_core::world::{ContainerView, PodPhase, PodView, Slot, Terminated, World};
use smallfleet_crds::names::{LABEL_REVISION, LABEL_ROLLOUT, container};
use tokio::time::Instant;

use super::Memory;
use crate::caches::{Caches, controller_uid, role_of};
use crate::session::ModelKey;

/// Pods whose controller is the SmallModel or its DaemonSet.
pub(super) fn views(
    caches: &Caches,
    key: &ModelKey,
    world: &World,
    memory: &mut Memory,
) -> Vec<PodView> {
    let model = world.model.uid();
    let daemon_set = match &world.daemon_set {
        Slot::Ours(view) => Some(view.uid.clone()),
        Slot::Absent | Slot::Foreign(_) => None,
    };
    let ours = |pod: &Pod| {
        let controller = controller_uid(pod);
        controller.is_some() && (controller == model || controller == daemon_set)
    };
    let (pods, now) = (Caches::of_model(&caches.pods, key), Instant::now());
    let mut views: Vec<PodView> = pods
        .iter()
        .filter(|pod| ours(pod))
        .map(|pod| view(pod, memory.age(&pod.uid().unwrap_or_default(), now)))
        .collect();
    memory.keep_pods(&views.iter().map(|view| view.uid.clone()).collect());
    views.sort_by(|left, right| left.name.cmp(&right.name));
    views
}

fn view(pod: &Pod, age: Duration) -> PodView {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let label = |key: &str| pod.labels().get(key).cloned().unwrap_or_default();
    let disrupted = condition("DisruptionTarget").filter(|condition| condition.status == "True");
    let unschedulable = condition("PodScheduled").filter(|condition| {
        condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable")
    });
    PodView {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        role: role_of(pod),
        revision: label(LABEL_REVISION),
        rollout: label(LABEL_ROLLOUT),
        node: node_of(pod),
        ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        phase: phase(status.phase.as_deref()),
        unschedulable: unschedulable.map(|condition| condition.message.clone().unwrap_or_default()),
        age,
        ip: status.pod_ip.unwrap_or_default(),
        disruption: status
            .reason
            .or_else(|| disrupted.and_then(|condition| condition.reason.clone())),
        containers: status
            .init_container_statuses
            .iter()
            .flatten()
            .chain(status.container_statuses.iter().flatten())
            .filter(|status| [container::ENGINE, container::ROUTER].contains(&status.name.as_str()))
            .map(container_view)
            .collect(),
    }
}

fn phase(text: Option<&str>) -> PodPhase {
    match text {
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        _ => PodPhase::Pending,
    }
}

/// Node that a pod is bound to or, not bound yet, that its affinity names.
#[must_use]
pub fn node_of(pod: &Pod) -> String {
    let Some(spec) = &pod.spec else {
        return String::new();
    };
    spec.node_name
        .clone()
        .or_else(|| wanted_node(spec))
        .unwrap_or_default()
}

fn wanted_node(spec: &k8s_openapi::api::core::v1::PodSpec) -> Option<String> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let selector = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let fields = selector
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    fields
        .filter(|field| field.key == "metadata.name")
        .find_map(|field| field.values.as_ref()?.first().cloned())
}

fn container_view(status: &ContainerStatus) -> ContainerView {
    let state = status.state.clone().unwrap_or_default();
    let last = status.last_state.clone().unwrap_or_default();
    let ended = state.terminated.or(last.terminated);
    ContainerView {
        name: status.name.clone(),
        restarts: u32::try_from(status.restart_count).unwrap_or(0),
        running: state.running.is_some(),
        waiting: state.waiting.map(|waiting| {
            (
                waiting.reason.unwrap_or_default(),
                waiting.message.unwrap_or_default(),
            )
        }),
        terminated: ended.map(|ended| Terminated {
            exit_code: ended.exit_code,
            reason: ended.reason.unwrap_or_default(),
            message: ended.message.unwrap_or_default(),
        }),
    }
}
