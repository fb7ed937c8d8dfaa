//! Late onset (a leak, a filling cache): a mixture over restarts, computed from cumulative counts.
//!
//! `M = sum_k w_k E(counts - snapshot_k) + reserve` over the restarts started so far, with
//! `w_k = 1/(2k(k+1)) + 1/(2K)`. The reserve is the weight of the restarts still to come. Because each term needs
//! only the counts since its snapshot, the order in which reports arrive does not matter.

use serde::{Deserialize, Serialize};

use crate::constants::{MAX_RESTARTS, RESTART_SECONDS, RESTART_UNITS};
use crate::counts::Counts;
use crate::grid::log_sum_exp;
use crate::settings::{AnalysisSettings, Unit};

/// Copy of the cumulative counts at a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// Exposed seconds at the restart.
    pub exposed_seconds: u64,
    /// Counts at the restart, closed and open epochs.
    pub counts: Counts,
}

/// How often the evidence is started afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPlan {
    planned: u32,
    interval_seconds: u64,
}

impl RestartPlan {
    /// One restart every 120 s of `max_exposed_seconds`, but at most [`MAX_RESTARTS`]: longer rollouts restart less
    /// often. Sticky keys: none but the first, see [`Unit::Key`].
    #[must_use]
    pub fn new(settings: &AnalysisSettings) -> Self {
        match settings.unit {
            Unit::Key => Self::single(),
            Unit::Request => {
                let wanted = settings
                    .max_exposed_seconds
                    .div_ceil(RESTART_SECONDS)
                    .clamp(1, u64::from(MAX_RESTARTS));
                Self {
                    planned: u32::try_from(wanted).unwrap_or(MAX_RESTARTS),
                    interval_seconds: settings
                        .max_exposed_seconds
                        .div_ceil(wanted)
                        .max(RESTART_SECONDS),
                }
            }
        }
    }

    /// One start with all the weight: the plain e-value.
    pub(crate) const fn single() -> Self {
        Self {
            planned: 1,
            interval_seconds: RESTART_SECONDS,
        }
    }

    /// Number of restarts K, the first (at zero counts) included.
    #[must_use]
    pub fn planned(&self) -> u32 {
        self.planned
    }

    /// Whether to take a snapshot now: enough exposed time and units since the last restart, and not all taken.
    #[must_use]
    pub fn is_due(&self, snapshots: &[Snapshot], exposed_seconds: u64, units: u64) -> bool {
        let started = snapshots.len() as u64 + 1;
        let (last_seconds, last_units) = snapshots.last().map_or((0, 0), |last| {
            (last.exposed_seconds, last.counts.units().total())
        });
        started < u64::from(self.planned)
            && exposed_seconds.saturating_sub(last_seconds) >= self.interval_seconds
            && units.saturating_sub(last_units) >= RESTART_UNITS
    }

    /// Counts since each restart, the first since the beginning.
    #[must_use]
    pub fn starts(&self, total: &Counts, snapshots: &[Snapshot]) -> Vec<Counts> {
        let restarted = snapshots
            .iter()
            .map(|snapshot| total.since(&snapshot.counts));
        std::iter::once(total.clone())
            .chain(restarted)
            .take(self.planned as usize)
            .collect()
    }

    /// `ln M` from the log e-values of the restarts started so far, in their order.
    #[must_use]
    pub fn log_mixture(&self, log_es: impl IntoIterator<Item = f64>) -> f64 {
        let mut reserve = 1.0;
        let mut terms = Vec::new();
        for (k, log_e) in (1..=self.planned).zip(log_es) {
            let weight = self.weight(k);
            reserve -= weight;
            terms.push(weight.ln() + log_e);
        }
        // Rounding may leave the spent reserve a hair below zero.
        terms.push(f64::max(reserve, 0.0).ln());
        log_sum_exp(&terms)
    }

    /// w_k; a single start has all the weight.
    fn weight(&self, k: u32) -> f64 {
        if self.planned == 1 {
            return 1.0;
        }
        let k = f64::from(k);
        1.0 / (2.0 * k * (k + 1.0)) + 1.0 / (2.0 * f64::from(self.planned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::ratio;

    const PLAN: RestartPlan = RestartPlan {
        planned: 180,
        interval_seconds: 120,
    };

    #[test]
    fn late_onset_golden() {
        let log_e =
            |stable, candidate| ratio::log_e(&[Cell::of_events(0.5, stable, candidate)], 1.0);
        let log_m = PLAN.log_mixture([log_e(60, 80), log_e(10, 30)]);
        assert!((log_m - 1.840_453_15).abs() < 1e-6, "{log_m}");
    }

    #[test]
    fn no_evidence_is_one_whatever_was_started() {
        for planned in [1, 2, 180] {
            let plan = RestartPlan { planned, ..PLAN };
            for started in 1..=planned {
                assert!(plan.log_mixture(vec![0.0; started as usize]).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn weights_never_exceed_the_stake() {
        for planned in 1..=MAX_RESTARTS {
            let plan = RestartPlan { planned, ..PLAN };
            let total: f64 = (1..=planned).map(|k| plan.weight(k)).sum();
            assert!(total <= 1.0 + 1e-12, "{planned} restarts stake {total}");
        }
    }

    #[test]
    fn a_snapshot_is_due_after_time_and_units() {
        assert!(!PLAN.is_due(&[], 119, 1000));
        assert!(!PLAN.is_due(&[], 1000, 199));
        assert!(PLAN.is_due(&[], 120, 200));
        let taken = Snapshot {
            exposed_seconds: 120,
            counts: Counts::default(),
        };
        assert!(!PLAN.is_due(std::slice::from_ref(&taken), 239, 1000));
        assert!(PLAN.is_due(std::slice::from_ref(&taken), 240, 1000));
        let single = RestartPlan { planned: 1, ..PLAN };
        assert!(!single.is_due(&[], 1_000_000, 1_000_000));
    }

    #[test]
    fn long_rollouts_restart_less_often() {
        let mut settings = AnalysisSettings::with_objectives(Vec::new(), 14_400);
        assert_eq!(
            RestartPlan::new(&settings),
            RestartPlan {
                planned: 120,
                interval_seconds: 120
            }
        );
        settings.max_exposed_seconds = 180_000;
        assert_eq!(
            RestartPlan::new(&settings),
            RestartPlan {
                planned: 180,
                interval_seconds: 1000
            }
        );
        settings.unit = Unit::Key;
        assert_eq!(RestartPlan::new(&settings).planned(), 1);
    }
}
