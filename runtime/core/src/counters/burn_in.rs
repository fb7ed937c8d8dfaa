use std::collections::BTreeMap;
use std::time::Duration;

use super::{BOOKING_GRACE, Outcome, micros};
use crate::{Arm, PerArm};

/// The first units of this process and rollout, in coin order, until both arms had `limit` of them: never counted. The
/// first `limit` per arm are sampled until thresholds are frozen.
///
/// Counting starts for both arms at once. Were it to start per arm, the counted units would keep the imbalance of those
/// that are left out, and the sample-ratio check would see a mismatch on many short-lived routers where none is.
#[derive(Debug)]
pub(super) struct BurnIn {
    limit: u32,
    /// Units per arm that took a place.
    taken: PerArm<u32>,
    next: u64,
    /// By place, hence in coin order; dropped when thresholds arrive.
    units: BTreeMap<u64, Unit>,
    sampling: bool,
}

#[derive(Debug)]
struct Unit {
    arm: Arm,
    coin: Duration,
    latency_us: Option<u64>,
}

/// What the operator freezes thresholds from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The rollout.
    pub rollout_id: String,
    /// Ended units per arm.
    pub units: PerArm<u32>,
    /// Their latencies in coin order, microseconds; the largest value for a unit without a good answer.
    pub latencies_us: Vec<u64>,
}

impl Default for BurnIn {
    fn default() -> Self {
        Self {
            limit: 0,
            taken: PerArm::default(),
            next: 0,
            units: BTreeMap::new(),
            sampling: true,
        }
    }
}

impl BurnIn {
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    pub(super) fn end_sample(&mut self) {
        self.sampling = false;
        self.units.clear();
    }

    /// `None` when the burn-in is over; `Some(None)` when the unit belongs to it but not to the sample.
    pub(super) fn take(&mut self, arm: Arm, coin: Duration) -> Option<Option<u64>> {
        if self.taken.stable >= self.limit && self.taken.candidate >= self.limit {
            return None;
        }
        let taken = self.taken.get_mut(arm);
        if *taken >= self.limit {
            return Some(None);
        }
        *taken += 1;
        if !self.sampling {
            return Some(None);
        }
        let unit = self.next;
        self.next += 1;
        self.units.insert(
            unit,
            Unit {
                arm,
                coin,
                latency_us: None,
            },
        );
        Some(Some(unit))
    }

    pub(super) fn resolve(&mut self, unit: u64, outcome: Outcome) {
        if let Some(unit) = self.units.get_mut(&unit) {
            let latency = match outcome {
                Outcome::Good(latency) => micros(latency),
                Outcome::Bad => u64::MAX,
            };
            unit.latency_us.get_or_insert(latency);
        }
    }

    pub(super) fn mature(&mut self, now: Duration, maturity: Duration) {
        for unit in self.units.values_mut() {
            if now
                > unit
                    .coin
                    .saturating_add(maturity)
                    .saturating_add(BOOKING_GRACE)
            {
                unit.latency_us.get_or_insert(u64::MAX);
            }
        }
    }

    /// Open units leave their places to later ones.
    pub(super) fn void_open(&mut self) {
        for unit in self.units.values().filter(|unit| unit.latency_us.is_none()) {
            let taken = self.taken.get_mut(unit.arm);
            *taken = taken.saturating_sub(1);
        }
        self.units.retain(|_, unit| unit.latency_us.is_some());
    }

    pub(super) fn open_units(&self) -> usize {
        self.units
            .values()
            .filter(|unit| unit.latency_us.is_none())
            .count()
    }

    pub(super) fn sample(&self, rollout_id: &str) -> Option<Sample> {
        if !self.sampling {
            return None;
        }
        let mut sample = Sample {
            rollout_id: rollout_id.to_owned(),
            units: PerArm::default(),
            latencies_us: Vec::with_capacity(self.units.len()),
        };
        for unit in self.units.values() {
            if let Some(latency) = unit.latency_us {
                *sample.units.get_mut(unit.arm) += 1;
                sample.latencies_us.push(latency);
            }
        }
        Some(sample)
    }
}
