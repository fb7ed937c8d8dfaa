//! Latency: how many units of each arm are slower than frozen thresholds.
//!
//! The thresholds come from the burn-in of both arms pooled; the candidate's units are counted above rho times the
//! threshold, so that "evidence of being slower at rho" is evidence of a slow-down beyond rho.

mod evidence;
mod frozen;

use serde::{Deserialize, Serialize};

pub use evidence::LatencyEvidence;
pub use frozen::{FrozenLatency, Window, WindowCheck, maturity_us};

use crate::constants::{PERCENTILE_WEIGHTS, REPORTED_RHOS};
use crate::ppm::Ppm;

/// A percentile of the burn-in at which a threshold is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Percentile {
    /// The median.
    P50,
    /// Three in four are faster.
    P75,
    /// Nine in ten are faster.
    P90,
    /// 95 in 100 are faster.
    P95,
    /// 99 in 100 are faster.
    P99,
    /// 995 in 1000 are faster.
    #[serde(rename = "P99.5")]
    P995,
}

impl Percentile {
    /// All of them, ascending: the order of thresholds and counts.
    pub const ALL: [Self; 6] = [
        Self::P50,
        Self::P75,
        Self::P90,
        Self::P95,
        Self::P99,
        Self::P995,
    ];

    /// Units out of 1000 that are not slower.
    #[must_use]
    pub fn permille(self) -> u64 {
        match self {
            Self::P50 => 500,
            Self::P75 => 750,
            Self::P90 => 900,
            Self::P95 => 950,
            Self::P99 => 990,
            Self::P995 => 995,
        }
    }
}

/// What is timed, from the coin on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LatencySignal {
    /// Until the last byte of the answer.
    Total,
    /// Until the first token of a stream.
    FirstToken,
}

/// A latency objective as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LatencyObjective {
    /// What is timed.
    pub signal: LatencySignal,
    /// The one percentile to look at; without it the whole distribution counts.
    pub percentile: Option<Percentile>,
    /// Tolerated slow-down x: 10 % is x1.10.
    pub max_increase: Ppm,
}

impl LatencyObjective {
    /// Slow-down above which the candidate is harmful: 1 + x/2.
    #[must_use]
    pub fn roll_back_rho(&self) -> Ppm {
        self.max_increase.times(1, 2).increased()
    }

    /// Slow-down that must be excluded on the typical unit (p50 to p95) to pass: 1 + x.
    #[must_use]
    pub fn promote_rho(&self) -> Ppm {
        self.max_increase.increased()
    }

    /// Slow-down that must be excluded on p95 to pass: 1 + 2.5x. None for a single percentile.
    #[must_use]
    pub fn promote_tail_rho(&self) -> Option<Ppm> {
        match self.percentile {
            None => Some(self.max_increase.times(5, 2).increased()),
            Some(_) => None,
        }
    }

    /// Slow-downs to count for these objectives: what they use by name and what is always reported, ascending.
    #[must_use]
    pub fn rhos<'a>(objectives: impl IntoIterator<Item = &'a Self>) -> Vec<Ppm> {
        let mut rhos = REPORTED_RHOS.to_vec();
        for objective in objectives {
            rhos.extend([objective.roll_back_rho(), objective.promote_rho()]);
            rhos.extend(objective.promote_tail_rho());
        }
        rhos.sort_unstable();
        rhos.dedup();
        rhos
    }

    /// Weight of each threshold in the evidence of harm.
    #[must_use]
    pub fn roll_back_weights(&self) -> Vec<(Percentile, f64)> {
        match self.percentile {
            Some(percentile) => vec![(percentile, 1.0)],
            None => Percentile::ALL
                .into_iter()
                .zip(PERCENTILE_WEIGHTS)
                .collect(),
        }
    }

    /// Weight of each threshold in the evidence for promotion: the typical unit, or the user's percentile.
    #[must_use]
    pub fn promote_weights(&self) -> Vec<(Percentile, f64)> {
        match self.percentile {
            Some(percentile) => vec![(percentile, 1.0)],
            None => Percentile::ALL[..4]
                .iter()
                .map(|percentile| (*percentile, 0.25))
                .collect(),
        }
    }

    /// Where the tail begins that matters to people: p95, or the user's percentile.
    #[must_use]
    pub fn tail_percentile(&self) -> Percentile {
        self.percentile.unwrap_or(Percentile::P95)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(percent: u32) -> LatencyObjective {
        LatencyObjective {
            signal: LatencySignal::Total,
            percentile: None,
            max_increase: Ppm::from_percent(percent),
        }
    }

    #[test]
    fn the_slow_downs_follow_from_the_users_margin() {
        let ratios = |percent| -> Vec<f64> {
            LatencyObjective::rhos([&objective(percent)])
                .into_iter()
                .map(Ppm::as_f64)
                .collect()
        };
        assert_eq!(ratios(10), [1.0, 1.05, 1.1, 1.25, 1.5, 2.0]);
        assert_eq!(ratios(20), [1.0, 1.1, 1.2, 1.5, 2.0]);
    }

    #[test]
    fn a_named_percentile_has_all_the_weight() {
        let mut named = objective(10);
        named.percentile = Some(Percentile::P99);
        assert_eq!(named.roll_back_weights(), [(Percentile::P99, 1.0)]);
        assert_eq!(named.promote_weights(), [(Percentile::P99, 1.0)]);
        assert_eq!(named.promote_tail_rho(), None);
    }

    #[test]
    fn weights_sum_to_one() {
        let sum = |weights: Vec<(Percentile, f64)>| {
            weights.into_iter().map(|(_, weight)| weight).sum::<f64>()
        };
        assert!((sum(objective(10).roll_back_weights()) - 1.0).abs() < 1e-12);
        assert!((sum(objective(10).promote_weights()) - 1.0).abs() < 1e-12);
    }
}
