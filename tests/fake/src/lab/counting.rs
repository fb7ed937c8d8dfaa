//! What a router counts: both arms alike, a candidate that is late with everything, or one that gets too little.

use std::collections::BTreeMap;

use smallfleet_protocol::v1;
use smallfleet_runtime_core::route::Grant;

use super::Behavior;

/// Units per arm that are sampled before thresholds are frozen.
const BURN_IN: u64 = 50;
/// Stable's events beyond each threshold, permille, from the median up.
const BEYOND: [u64; 6] = [500, 250, 100, 50, 10, 5];

/// Counters of one router process.
#[derive(Debug, Default)]
pub(super) struct Counting {
    process: u64,
    rollout: String,
    epochs: BTreeMap<u64, v1::Epoch>,
    /// Epochs so far: no id is used again.
    begun: u64,
    sample: Option<v1::BurnIn>,
    /// The candidate answered at the last look.
    ready: bool,
}

impl Counting {
    pub(super) fn new(process: u64) -> Self {
        Self {
            process,
            ..Self::default()
        }
    }

    /// A second without a unit.
    pub(super) fn pause(&mut self) {
        self.ready = false;
        self.close();
    }

    fn close(&mut self) {
        for epoch in self.epochs.values_mut().filter(|epoch| !epoch.closed) {
            epoch.closed = true;
            epoch.sequence += 1;
        }
    }

    /// A second of requests, half to each arm.
    pub(super) fn count(&mut self, rollout: &str, grant: &Grant, behavior: Behavior, rate: u64) {
        self.ready = true;
        if self.rollout != rollout {
            self.close();
            rollout.clone_into(&mut self.rollout);
            self.sample = None;
        }
        let units = rate / 2;
        let Some(freeze) = &grant.freeze else {
            return self.burn_in(behavior);
        };
        let permille = u64::from(grant.permille);
        let cell = (u64::from(freeze.index), permille);
        let open = self.epochs.values().find(|epoch| {
            let same = (
                u64::from(epoch.freeze),
                u64::from(epoch.candidate_traffic_permille),
            );
            !epoch.closed && epoch.rollout_id == rollout && same == cell
        });
        let id = open.map(|epoch| epoch.id);
        if id.is_none() {
            self.close();
        }
        let id = id.unwrap_or_else(|| {
            self.begun += 1;
            (self.process << 32) + self.begun
        });
        let epoch = self.epochs.entry(id).or_insert_with(|| v1::Epoch {
            id,
            rollout_id: rollout.to_owned(),
            candidate_traffic_permille: grant.permille.into(),
            freeze: freeze.index,
            ..v1::Epoch::default()
        });
        epoch.sequence += 1;
        add(
            epoch,
            units,
            &freeze.rhos_permille,
            freeze.thresholds_us.len(),
            behavior,
        );
    }

    fn burn_in(&mut self, behavior: Behavior) {
        let late = if behavior == Behavior::Slow { 3 } else { 1 };
        let latencies = |factor: u64| (0..BURN_IN).map(move |unit| (unit * 2 + 1) * 1000 * factor);
        let units = u32::try_from(BURN_IN).unwrap_or(u32::MAX);
        self.sample = Some(v1::BurnIn {
            rollout_id: self.rollout.clone(),
            stable_units: units,
            candidate_units: units,
            latencies_microseconds: latencies(1).chain(latencies(late)).collect(),
        });
    }

    /// The report of this second; `None` where there is nothing to tell.
    pub(super) fn report(&self) -> Option<v1::Report> {
        (!self.rollout.is_empty()).then(|| v1::Report {
            epochs: self.epochs.values().cloned().collect(),
            burn_in: self.sample.clone(),
            candidate: Some(v1::CandidateHealth {
                rollout_id: self.rollout.clone(),
                ready: self.ready,
                message: String::new(),
            }),
        })
    }

    /// The operator keeps these from now on.
    pub(super) fn stored(&mut self, ids: &[u64]) {
        self.epochs
            .retain(|id, epoch| !epoch.closed || !ids.contains(id));
    }
}

fn add(epoch: &mut v1::Epoch, units: u64, rhos: &[u32], thresholds: usize, behavior: Behavior) {
    let of_candidate = match behavior {
        Behavior::Shunned => units / 4,
        _ => units,
    };
    let latency = epoch.latency.get_or_insert_default();
    latency.stable.resize(thresholds, 0);
    latency.candidate.resize(thresholds * rhos.len(), 0);
    latency.stable_units += units;
    latency.candidate_units += of_candidate;
    for (index, beyond) in latency.stable.iter_mut().enumerate() {
        let permille = BEYOND.get(index).unwrap_or(&1);
        let events = of_candidate * permille / 1000;
        *beyond += units * permille / 1000;
        for (at, rho) in rhos.iter().enumerate() {
            latency.candidate[index * rhos.len() + at] += match (behavior, *rho <= 1000) {
                (Behavior::Slow, _) => of_candidate,
                (_, true) => events,
                (_, false) => events / 2,
            };
        }
    }
    let errors = epoch.errors.get_or_insert_default();
    errors.stable_units += units;
    errors.candidate_units += of_candidate;
}
