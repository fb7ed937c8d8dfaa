//! What this leader remembers of one model between two looks. Times are of its monotonic clock, and new with every leader.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use smallfleet_core::Health;
use smallfleet_core::world::{Clock, OwnCut, RefusedPod, clock_key};
use smallfleet_crds::SmallModel;
use smallfleet_crds::names::LABEL_ROLLOUT;
use tokio::time::Instant;

use super::pods::node_of;
use crate::reservations::Reservations;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Of the whole process.
    pub reservations: Reservations,
    /// When numbers were last written into status or the evidence store.
    pub numbers: Option<Instant>,
    /// The last cut.
    pub cut: Option<OwnCut>,
    /// When the SmallModel that the last World was built from was asked for.
    pub asked: Option<Instant>,
    /// A creation ran into an object of another owner; it is looked for until it is gone.
    pub stranger: Option<Stranger>,
    /// Set once enough of the wave was heard; until then the leader is resuming this model.
    pub(super) resumed: bool,
    key: Option<(String, Instant)>,
    /// Since when nothing serves.
    unserved: Option<Instant>,
    /// Since when a candidate with traffic does not answer.
    candidate_missing: Option<Instant>,
    /// Pods that the API server refused to create, by node.
    refused_pods: BTreeMap<String, Refusal>,
    /// When each pod was first seen, by uid.
    first_seen: HashMap<String, Instant>,
}

/// An object of another owner under a name that we wanted to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stranger {
    Pod(String),
    Revision(String),
}

/// A creation that was refused.
#[derive(Clone, Debug)]
struct Refusal {
    rollout: String,
    message: String,
    at: Instant,
}

impl Memory {
    /// Nothing yet, but the reservations of the process.
    #[must_use]
    pub fn new(reservations: Reservations) -> Self {
        Self {
            reservations,
            ..Self::default()
        }
    }

    /// The API server refused a pod; the next plan is told.
    pub fn pod_refused(&mut self, pod: &Pod, message: String) {
        let refusal = Refusal {
            rollout: pod.labels().get(LABEL_ROLLOUT).cloned().unwrap_or_default(),
            message,
            at: Instant::now(),
        };
        self.refused_pods.insert(node_of(pod), refusal);
    }

    /// A pod was created where one may have been refused before.
    pub fn pod_created(&mut self, pod: &Pod) {
        self.refused_pods.remove(&node_of(pod));
    }

    /// Refusals of this rollout; those of another are forgotten.
    pub(super) fn refused_pods(&mut self, rollout: &str) -> BTreeMap<String, RefusedPod> {
        self.refused_pods
            .retain(|_, refusal| refusal.rollout == rollout);
        let view = |(node, refusal): (&String, &Refusal)| {
            let refused = RefusedPod {
                message: refusal.message.clone(),
                since: refusal.at.elapsed(),
            };
            (node.clone(), refused)
        };
        self.refused_pods.iter().map(view).collect()
    }

    /// How long this leader has seen the pod.
    pub(super) fn age(&mut self, uid: &str, now: Instant) -> Duration {
        let since = self.first_seen.entry(uid.to_owned()).or_insert(now);
        now.saturating_duration_since(*since)
    }

    /// Other pods than these are gone.
    pub(super) fn keep_pods(&mut self, uids: &BTreeSet<String>) {
        self.first_seen.retain(|uid, _| uids.contains(uid));
    }

    pub(super) fn in_state(&mut self, model: &SmallModel) -> Duration {
        let now = clock_key(model);
        match &self.key {
            Some((key, since)) if *key == now => since.elapsed(),
            _ => {
                self.key = Some((now, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// How long what is wrong has lasted.
    pub(super) fn time(&mut self, health: Health, clock: &mut Clock) {
        let (missing, now) = (health.candidate_is_missing, Instant::now());
        clock.nothing_serves_for = lasting(&mut self.unserved, health.nothing_serves, now);
        clock.candidate_missing_for = lasting(&mut self.candidate_missing, missing, now);
    }

    pub(super) fn since_numbers(&self) -> Duration {
        self.numbers.map_or(Duration::MAX, |at| at.elapsed())
    }
}

/// How long a condition has held without a break, as far as this leader saw it.
fn lasting(since: &mut Option<Instant>, holds: bool, now: Instant) -> Duration {
    *since = since.filter(|_| holds).or(holds.then_some(now));
    since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// I7: `creationTimestamp` is of the API server's clock.
    #[test]
    fn a_pod_is_as_old_as_this_leader_knows_it() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        assert_eq!(memory.age("a", start), Duration::ZERO);
        assert_eq!(memory.age("a", start + SECOND), SECOND);
        assert_eq!(memory.age("b", start + SECOND), Duration::ZERO);
        memory.keep_pods(&["b".to_owned()].into());
        let again = memory.age("a", start + SECOND * 2);
        assert_eq!(again, Duration::ZERO, "another life");
    }

    #[test]
    fn a_condition_lasts_from_its_last_beginning() {
        let (mut since, start) = (None, Instant::now());
        assert_eq!(lasting(&mut since, false, start), Duration::ZERO);
        assert_eq!(lasting(&mut since, true, start), Duration::ZERO);
        assert_eq!(lasting(&mut since, true, start + SECOND), SECOND);
        lasting(&mut since, false, start + SECOND * 2);
        let later = lasting(&mut since, true, start + SECOND * 3);
        assert_eq!(later, Duration::ZERO);
    }
}
