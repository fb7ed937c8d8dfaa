//! The objects of a SmallModel, rendered from its ControllerRevision and live fields alone.
//!
//! An upgrade of the operator or the chart renders the same bytes for the same revision, so it never starts a rollout.

mod pod;
mod workload;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use smallfleet_crds::{SmallModel, names};

use crate::revision::short_hash;

pub use pod::{Evaluation, candidate, evaluation};
pub(crate) use workload::default_surge;
pub use workload::{SessionConfig, controller_revision, daemon_set, service, session_config};

/// Annotation with the hash of what we applied, so that an object that is as it should be is not written again.
pub const ANNOTATION_APPLIED: &str = "smallfleet.dev/applied";
/// rolloutID of a promotion that was taken back. Written by every way back, also where the template never changed: by it whatever
/// a leader planned while the promotion was on is older than the DaemonSet, and refused. No part of what is compared.
pub const ANNOTATION_REVERTED: &str = "smallfleet.dev/reverted";

/// Identity of the SmallModel that owns what is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub name: String,
    pub namespace: String,
    pub uid: String,
}

impl Owner {
    /// Owner of a model's objects. A model read from the API server has all three.
    #[must_use]
    pub fn of(model: &SmallModel) -> Self {
        let metadata = &model.metadata;
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        }
    }

    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{}/v1alpha1", names::GROUP),
            kind: "SmallModel".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    fn metadata(&self, name: String, labels: BTreeMap<String, String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        }
    }
}

/// Names of a model's objects.
pub mod name {
    use crate::revision::short_hash;

    #[must_use]
    pub fn session_config(model: &str) -> String {
        format!("{model}-session")
    }

    #[must_use]
    pub fn evidence(model: &str) -> String {
        format!("{model}-evidence")
    }

    #[must_use]
    pub fn revision(model: &str, hash: &str) -> String {
        format!("{model}-{hash}")
    }

    /// `<model>-<rollout6>-<node10>`: one a node and rollout, whoever creates it.
    #[must_use]
    pub fn candidate(model: &str, rollout: &str, node_uid: &str) -> String {
        let rollout: String = rollout.chars().take(6).collect();
        format!("{model}-{rollout}-{}", short_hash(node_uid.as_bytes(), 10))
    }

    /// One a revision, dataset and node.
    #[must_use]
    pub fn evaluation(model: &str, revision: &str, dataset_digest: &str, node_uid: &str) -> String {
        let place = short_hash(format!("{dataset_digest}/{node_uid}").as_bytes(), 8);
        format!(
            "{model}-{}-{place}",
            revision.chars().take(6).collect::<String>()
        )
    }
}

/// Sets the annotation with the hash of the object as it stands.
fn seal<T: serde::Serialize>(object: &mut T, metadata: fn(&mut T) -> &mut ObjectMeta) {
    let bytes =
        serde_json::to_vec(object).expect("an object of ours is plain data and always serializes");
    let hash = short_hash(&bytes, 16);
    metadata(object)
        .annotations
        .get_or_insert_default()
        .insert(ANNOTATION_APPLIED.to_owned(), hash);
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests;
