//! Views of nodes, workloads and stores.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};
use smallfleet_core::evidence::EvidenceStore;
use smallfleet_core::render::{ANNOTATION_APPLIED, ANNOTATION_REVERTED};
use smallfleet_core::revision::{RevisionObject, Verdict};
use smallfleet_core::world::{AppliedView, DaemonSetView, EvidenceView, NodeView};
use smallfleet_crds::SmallModel;
use smallfleet_crds::names::{LABEL_REVISION, LABEL_VERDICT};

use crate::caches::controller_uid;

/// Key of the evidence ConfigMap.
pub const EVIDENCE_KEY: &str = "evidence.json";

/// What a plan sees of a node.
#[must_use]
pub fn node_view(node: &Node) -> NodeView {
    let spec = node.spec.clone().unwrap_or_default();
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let is = |kind: &str| {
        conditions.is_some_and(|all| {
            all.iter()
                .any(|condition| condition.type_ == kind && condition.status == "True")
        })
    };
    NodeView {
        name: node.name_any(),
        uid: node.uid().unwrap_or_default(),
        ready: is("Ready"),
        unschedulable: spec.unschedulable.unwrap_or(false),
        pressure: is("MemoryPressure") || is("DiskPressure") || is("PIDPressure"),
        labels: node.labels().clone(),
        taints: spec.taints.unwrap_or_default(),
        arch: node
            .labels()
            .get("kubernetes.io/arch")
            .cloned()
            .unwrap_or_default(),
    }
}

/// ControllerRevisions whose controller is this SmallModel; unreadable ones are left out and logged.
pub(super) fn revisions(
    objects: &[Arc<ControllerRevision>],
    model: &SmallModel,
) -> Vec<RevisionObject> {
    let ours = objects
        .iter()
        .filter(|object| controller_uid(object.as_ref()) == model.uid());
    let mut revisions: Vec<RevisionObject> = ours.filter_map(|object| revision(object)).collect();
    revisions.sort_by_key(|revision| revision.number);
    revisions
}

fn revision(object: &ControllerRevision) -> Option<RevisionObject> {
    let data = object.data.as_ref()?.0.clone();
    let revision = serde_json::from_value(data)
        .inspect_err(|error| tracing::error!(name = object.name_any(), %error, "a ControllerRevision of ours is unreadable"))
        .ok()?;
    Some(RevisionObject {
        name: object.name_any(),
        uid: object.uid()?,
        number: object.revision,
        hash: object.labels().get(LABEL_REVISION)?.clone(),
        revision,
        verdict: object
            .labels()
            .get(LABEL_VERDICT)
            .and_then(|label| Verdict::from_label(label)),
    })
}

pub(super) fn daemon_set(object: &DaemonSet) -> DaemonSetView {
    let status = object.status.clone().unwrap_or_default();
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    DaemonSetView {
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        reverted: annotation(object, ANNOTATION_REVERTED),
        revision: template_revision(object),
        applied_hash: applied_hash(object),
        generation: object.metadata.generation.unwrap_or(0),
        observed_generation: status.observed_generation.unwrap_or(0),
        desired: count(status.desired_number_scheduled),
        ready: count(status.number_ready),
        updated: count(status.updated_number_scheduled.unwrap_or(0)),
        available: count(status.number_available.unwrap_or(0)),
        takes_away_first: takes_away_first(object),
        deleting: object.metadata.deletion_timestamp.is_some(),
    }
}

fn template_revision(object: &DaemonSet) -> String {
    let template = object
        .spec
        .as_ref()
        .and_then(|spec| spec.template.metadata.as_ref());
    let labels = template.and_then(|metadata| metadata.labels.as_ref());
    labels
        .and_then(|labels| labels.get(LABEL_REVISION))
        .cloned()
        .unwrap_or_default()
}

fn takes_away_first(object: &DaemonSet) -> bool {
    let strategy = object
        .spec
        .as_ref()
        .and_then(|spec| spec.update_strategy.as_ref());
    let unavailable =
        strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_unavailable.as_ref());
    match unavailable {
        None | Some(IntOrString::Int(0)) => false,
        Some(IntOrString::String(share)) => share != "0%",
        Some(IntOrString::Int(_)) => true,
    }
}

fn applied_hash<K: Resource>(object: &K) -> String {
    annotation(object, ANNOTATION_APPLIED)
}

fn annotation<K: Resource>(object: &K, name: &str) -> String {
    object.annotations().get(name).cloned().unwrap_or_default()
}

pub(super) fn applied<K: Resource>(object: &K) -> AppliedView {
    AppliedView {
        uid: object.uid().unwrap_or_default(),
        applied_hash: applied_hash(object),
    }
}

pub(super) fn evidence(object: &ConfigMap) -> EvidenceView {
    let text = object.data.as_ref().and_then(|data| data.get(EVIDENCE_KEY));
    let store: Option<EvidenceStore> = text.and_then(|text| {
        serde_json::from_str(text)
            .inspect_err(|error| tracing::error!(name = object.name_any(), %error, "the evidence is unreadable and counts as lost"))
            .ok()
    });
    EvidenceView {
        resource_version: object.resource_version().unwrap_or_default(),
        store,
    }
}
