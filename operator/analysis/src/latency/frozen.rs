//! Thresholds: frozen from the burn-in, and frozen again when the load has moved away from them.

use serde::{Deserialize, Serialize};

use super::{LatencyObjective, LatencySignal, Percentile};
use crate::constants::{REFREEZE_SHARE_MAX, REFREEZE_SHARE_MIN, REFREEZE_UNITS};
use crate::counts::Counts;
use crate::error::{AnalysisError, Shape};
use crate::ppm::Ppm;

/// One freeze: what routers count against. A rollout keeps the list of all its freezes; counts name an entry by its
/// index. A second signal or a class of input lengths with thresholds of its own is one more entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FrozenLatency {
    /// What is timed.
    pub signal: LatencySignal,
    /// Percentiles of the thresholds, ascending.
    pub percentiles: Vec<Percentile>,
    /// Thresholds T in microseconds, one a percentile.
    pub thresholds_us: Vec<u64>,
    /// Slow-downs rho at which the candidate's units are counted, ascending.
    pub rhos: Vec<Ppm>,
}

impl FrozenLatency {
    /// Freezes thresholds from the burn-in latencies of both arms pooled, in microseconds and any order.
    ///
    /// The threshold of percentile p is the nearest-rank percentile: the smallest sample that at least p of the
    /// samples do not exceed. Units without a good answer have no latency and are left out: any threshold is valid,
    /// and an infinite one would never mature.
    pub fn from_burn_in<'a>(
        signal: LatencySignal,
        mut sample_us: Vec<u64>,
        objectives: impl IntoIterator<Item = &'a LatencyObjective>,
    ) -> Result<Self, AnalysisError> {
        sample_us.sort_unstable();
        let size = sample_us.len() as u64;
        let nearest_rank = |percentile: Percentile| {
            let rank = (size * percentile.permille()).div_ceil(1000).max(1);
            sample_us.get(rank as usize - 1).copied()
        };
        let thresholds: Option<Vec<u64>> = Percentile::ALL.into_iter().map(nearest_rank).collect();
        Ok(Self {
            signal,
            percentiles: Percentile::ALL.to_vec(),
            thresholds_us: thresholds.ok_or(AnalysisError::EmptyBurnIn)?,
            rhos: LatencyObjective::rhos(
                objectives
                    .into_iter()
                    .filter(|objective| objective.signal == signal),
            ),
        })
    }

    /// Shape that counts of this freeze have.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            thresholds: self.thresholds_us.len(),
            rhos: self.rhos.len(),
        }
    }

    /// Row of a percentile in the counts.
    #[must_use]
    pub fn percentile_index(&self, percentile: Percentile) -> Option<usize> {
        self.percentiles
            .iter()
            .position(|other| *other == percentile)
    }

    /// Column of a slow-down in the candidate's counts.
    #[must_use]
    pub fn rho_index(&self, rho: Ppm) -> Option<usize> {
        self.rhos.iter().position(|other| *other == rho)
    }

    /// What the candidate's units are compared with, in microseconds: `[p][r]` is rho r times threshold p, rounded
    /// down. A unit is an event when it is slower than (above) the number.
    #[must_use]
    pub fn candidate_thresholds_us(&self) -> Vec<Vec<u64>> {
        let row = |threshold: &u64| self.rhos.iter().map(|rho| rho.scale(*threshold)).collect();
        self.thresholds_us.iter().map(row).collect()
    }

    /// Time from the coin after which every event of this freeze is known, in microseconds.
    fn maturity_us(&self) -> u64 {
        let longest = self.thresholds_us.iter().copied().max().unwrap_or(0);
        self.rhos
            .iter()
            .map(|rho| rho.scale(longest))
            .max()
            .unwrap_or(longest)
    }
}

/// Delay D, in microseconds, after which latency events are booked, the same for both arms: the largest rho times the
/// largest threshold of the freezes in use.
///
/// The analysis note says 1.25 times the largest threshold because its largest rho is 1.25; here larger slow-downs are
/// counted as well (x1.5 and x2 for the bounds in words), and booking before they can be seen would make a slow
/// candidate look fast.
#[must_use]
pub fn maturity_us(in_use: &[FrozenLatency]) -> u64 {
    in_use
        .iter()
        .map(FrozenLatency::maturity_us)
        .max()
        .unwrap_or(0)
}

/// Where the re-freeze window of a freeze began: cumulative units and events there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Index of the freeze.
    pub freeze: u16,
    /// Matured units of both arms.
    pub units: u64,
    /// Units of both arms above the p95 threshold.
    pub above: u64,
}

/// What a window says about its thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowCheck {
    /// Fewer than 500 units so far.
    Filling,
    /// The thresholds still fit; the next window begins here.
    Fits(Window),
    /// The pooled share above the p95 threshold left [.02, .12]: freeze again, in a new cell.
    Refreeze,
}

impl Window {
    /// The first window of a freeze.
    #[must_use]
    pub fn first(freeze: u16) -> Self {
        Self {
            freeze,
            units: 0,
            above: 0,
        }
    }

    /// Looks at the units since the window began, both arms and all shares pooled, so that the rule cannot favor
    /// an arm.
    #[must_use]
    pub fn check(&self, frozen: &FrozenLatency, counts: &Counts) -> WindowCheck {
        let now = self.advanced(frozen, counts);
        let units = now.units.saturating_sub(self.units);
        if units < REFREEZE_UNITS {
            return WindowCheck::Filling;
        }
        let share = now.above.saturating_sub(self.above) as f64 / units as f64;
        if (REFREEZE_SHARE_MIN..=REFREEZE_SHARE_MAX).contains(&share) {
            WindowCheck::Fits(now)
        } else {
            WindowCheck::Refreeze
        }
    }

    fn advanced(&self, frozen: &FrozenLatency, counts: &Counts) -> Self {
        let (percentile, rho) = (
            frozen.percentile_index(Percentile::P95),
            frozen.rho_index(Ppm::ONE),
        );
        let mut now = Self::first(self.freeze);
        for (_, _, cell) in counts
            .latency()
            .filter(|(_, freeze, _)| *freeze == self.freeze)
        {
            now.units = now.units.saturating_add(cell.units().total());
            if let (Some(percentile), Some(rho)) = (percentile, rho) {
                now.above = now
                    .above
                    .saturating_add(cell.events(percentile, rho).total());
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::{ArmCounts, LatencyCounts};

    fn objective() -> LatencyObjective {
        LatencyObjective {
            signal: LatencySignal::Total,
            percentile: None,
            max_increase: Ppm::from_percent(10),
        }
    }

    fn frozen(sample_us: Vec<u64>) -> Result<FrozenLatency, AnalysisError> {
        FrozenLatency::from_burn_in(LatencySignal::Total, sample_us, [&objective()])
    }

    #[test]
    fn thresholds_are_nearest_rank_percentiles() {
        let thousand = frozen((1..=1000).rev().collect()).unwrap();
        assert_eq!(thousand.thresholds_us, [500, 750, 900, 950, 990, 995]);
        assert_eq!(frozen(vec![7]).unwrap().thresholds_us, [7; 6]);
        assert_eq!(frozen(Vec::new()), Err(AnalysisError::EmptyBurnIn));
    }

    #[test]
    fn events_are_booked_when_the_largest_slow_down_is_known() {
        let freeze = frozen((1..=1000).collect()).unwrap();
        assert_eq!(maturity_us(std::slice::from_ref(&freeze)), 1990);
        assert_eq!(
            freeze.candidate_thresholds_us()[5],
            [995, 1044, 1094, 1243, 1492, 1990]
        );
    }

    #[test]
    fn thresholds_are_frozen_again_when_the_load_moved() {
        let freeze = frozen((1..=1000).collect()).unwrap();
        let counts = |units: u64, above: u64| {
            let units = ArmCounts {
                stable: units,
                candidate: units,
            };
            let stable = vec![above; 6];
            let mut counts = Counts::default();
            let table = LatencyCounts::new(units, stable, vec![vec![above; 6]; 6]).unwrap();
            counts.add_latency(500, 3, &table).unwrap();
            counts
        };
        let window = Window::first(3);
        assert_eq!(
            window.check(&freeze, &counts(249, 249)),
            WindowCheck::Filling
        );
        assert_eq!(
            window.check(&freeze, &counts(250, 31)),
            WindowCheck::Refreeze
        );
        assert_eq!(
            window.check(&freeze, &counts(250, 4)),
            WindowCheck::Refreeze
        );
        let next = Window {
            freeze: 3,
            units: 500,
            above: 60,
        };
        assert_eq!(
            window.check(&freeze, &counts(250, 30)),
            WindowCheck::Fits(next)
        );
        assert_eq!(next.check(&freeze, &counts(300, 30)), WindowCheck::Filling);
        assert_eq!(
            next.check(&freeze, &counts(500, 100)),
            WindowCheck::Refreeze
        );
        assert_eq!(
            Window::first(2).check(&freeze, &counts(9000, 0)),
            WindowCheck::Filling
        );
    }
}
