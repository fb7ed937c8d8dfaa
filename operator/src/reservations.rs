//! Nodes that this process has just put a candidate or evaluation pod on.
//!
//! At most one such pod stands on a node over all SmallModels (I9). Models are reconciled at the same time, and the cache shows a
//! new pod only soon: until then its node is reserved here. Two leaders are kept apart by the Lease.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use crate::session::ModelKey;

/// Longer than any cache lags.
const HELD: Duration = Duration::from_secs(10);

/// Clones share the reservations.
#[derive(Clone, Debug, Default)]
pub struct Reservations(Arc<Mutex<HashMap<String, (ModelKey, Instant)>>>);

impl Reservations {
    /// Reserves a node, or keeps it reserved; false when another model has it.
    #[must_use]
    pub fn take(&self, node: &str, model: &ModelKey) -> bool {
        let mut held = self.held(Instant::now());
        let free = held.get(node).is_none_or(|(holder, _)| holder == model);
        if free {
            held.insert(node.to_owned(), (model.clone(), Instant::now()));
        }
        free
    }

    /// Nodes that other models reserved.
    #[must_use]
    pub fn of_others(&self, model: &ModelKey) -> Vec<String> {
        let held = self.held(Instant::now());
        let others = held.iter().filter(|(_, (holder, _))| holder != model);
        others.map(|(node, _)| node.clone()).collect()
    }

    /// Those that are still in force.
    fn held(&self, now: Instant) -> MutexGuard<'_, HashMap<String, (ModelKey, Instant)>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, since)| now.saturating_duration_since(*since) < HELD);
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> ModelKey {
        ("shop".to_owned(), name.to_owned())
    }

    #[test]
    fn two_models_never_create_a_candidate_on_one_node_at_once() {
        let (intent, search) = (model("intent"), model("search"));
        let reservations = Reservations::default();
        assert!(reservations.clone().take("n1", &intent));
        assert!(reservations.take("n1", &intent), "it is its own");
        assert!(!reservations.take("n1", &search));
        assert!(reservations.take("n2", &search));
        assert_eq!(reservations.of_others(&search), ["n1"]);
    }

    #[test]
    fn a_reservation_ends_by_itself() {
        let reservations = Reservations::default();
        assert!(reservations.take("n1", &model("intent")));
        drop(reservations.held(Instant::now() + HELD));
        assert!(reservations.take("n1", &model("search")));
    }
}
