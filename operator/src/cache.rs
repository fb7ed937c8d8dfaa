//! What the operator knows of the cluster: one watch a kind, kept as plain maps by SmallModel.

pub mod index;
pub mod nodes;
pub mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use smallfleet_crds::SmallModel;

use crate::key::ModelKey;
use index::Index;
use nodes::Nodes;

/// All caches. Each is behind its own lock, which is held for look-ups only.
#[derive(Debug)]
pub struct Caches {
    models: Mutex<Index<SmallModel>>,
    daemon_sets: Mutex<Index<DaemonSet>>,
    revisions: Mutex<Index<ControllerRevision>>,
    pods: Mutex<Index<Pod>>,
    services: Mutex<Index<Service>>,
    config_maps: Mutex<Index<ConfigMap>>,
    nodes: Mutex<Nodes>,
    claims: Mutex<Claims>,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            models: Mutex::new(Index::new(ModelKey::of_model)),
            daemon_sets: Mutex::new(Index::new(ModelKey::of_member)),
            revisions: Mutex::new(Index::new(ModelKey::of_member)),
            pods: Mutex::new(Index::new(ModelKey::of_member)),
            services: Mutex::new(Index::new(ModelKey::of_member)),
            config_maps: Mutex::new(Index::new(ModelKey::of_member)),
            nodes: Mutex::default(),
            claims: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while a map was held leaves it as it was before or after one event; the next event corrects it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Caches {
    pub fn models(&self) -> MutexGuard<'_, Index<SmallModel>> {
        lock(&self.models)
    }

    pub fn daemon_sets(&self) -> MutexGuard<'_, Index<DaemonSet>> {
        lock(&self.daemon_sets)
    }

    pub fn revisions(&self) -> MutexGuard<'_, Index<ControllerRevision>> {
        lock(&self.revisions)
    }

    pub fn pods(&self) -> MutexGuard<'_, Index<Pod>> {
        lock(&self.pods)
    }

    pub fn services(&self) -> MutexGuard<'_, Index<Service>> {
        lock(&self.services)
    }

    pub fn config_maps(&self) -> MutexGuard<'_, Index<ConfigMap>> {
        lock(&self.config_maps)
    }

    pub fn nodes(&self) -> MutexGuard<'_, Nodes> {
        lock(&self.nodes)
    }

    /// Nodes that were promised to a candidate whose pod is not in the cache yet.
    pub fn claims(&self) -> MutexGuard<'_, Claims> {
        lock(&self.claims)
    }

    /// Every kind was listed.
    #[must_use]
    pub fn synced(&self) -> bool {
        self.models().synced()
            && self.daemon_sets().synced()
            && self.revisions().synced()
            && self.pods().synced()
            && self.services().synced()
            && self.config_maps().synced()
            && self.nodes().synced()
    }
}

/// At most one candidate a node over all SmallModels: whoever creates one says so first, because the cache shows it later.
#[derive(Debug, Default)]
pub struct Claims {
    by_node: HashMap<String, ModelKey>,
}

impl Claims {
    /// Claims a node; false when another model has it.
    pub fn claim(&mut self, node: &str, model: &ModelKey) -> bool {
        match self.by_node.get(node) {
            Some(holder) => holder == model,
            None => {
                self.by_node.insert(node.to_owned(), model.clone());
                true
            }
        }
    }

    /// Ends the claims of a model: its pods are in the cache, or were not created.
    pub fn release(&mut self, model: &ModelKey) {
        self.by_node.retain(|_, holder| holder != model);
    }

    /// Nodes that are claimed by others.
    #[must_use]
    pub fn of_others(&self, model: &ModelKey) -> BTreeSet<String> {
        let others = self.by_node.iter().filter(|(_, holder)| *holder != model);
        others.map(|(node, _)| node.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_claimed_by_one_model_at_a_time() {
        let (a, b) = (ModelKey::new("n", "a"), ModelKey::new("n", "b"));
        let mut claims = Claims::default();
        assert!(claims.claim("node-1", &a));
        assert!(claims.claim("node-1", &a));
        assert!(!claims.claim("node-1", &b));
        assert!(claims.of_others(&b).contains("node-1"));
        assert!(claims.of_others(&a).is_empty());
        claims.release(&a);
        assert!(claims.claim("node-1", &b));
    }
}
