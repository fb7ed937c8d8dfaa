//! Identity of a SmallModel in queues, caches and sessions.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use smallfleet_crds::names;

/// Namespace and name of a SmallModel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelKey {
    pub namespace: String,
    pub name: String,
}

impl ModelKey {
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Key of the SmallModel that this is the metadata of.
    #[must_use]
    pub fn of_model(metadata: &ObjectMeta) -> Option<Self> {
        Some(Self {
            namespace: metadata.namespace.clone()?,
            name: metadata.name.clone()?,
        })
    }

    /// Key of the SmallModel that an object of ours names in its label.
    #[must_use]
    pub fn of_member(metadata: &ObjectMeta) -> Option<Self> {
        Some(Self {
            namespace: metadata.namespace.clone()?,
            name: metadata.labels.as_ref()?.get(names::LABEL_MODEL)?.clone(),
        })
    }
}

impl fmt::Display for ModelKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}
