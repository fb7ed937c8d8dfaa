//! The one negative control that is a matter of adding up and not of what happens.

use super::objectives::{latency_and_errors, latency_objective};
use super::rollout::Rollout;
use super::scenario::Scenario;
use crate::cell::Cell;
use crate::latency::LatencyEvidence;
use crate::ratio::log_e;
use crate::{AnalysisError, Percentile, Ppm};

/// Looks of a rollout and requests between two of them.
const LOOKS: u32 = 15;
const REQUESTS: u64 = 100;

/// How many rollouts of equal revisions reach `1/alpha`, the thresholds' events taken for independent and summed, and
/// their evidence averaged as it must be. The null is exact: no tolerance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summed {
    /// By the sum. A unit above p95 is above p50 as well and counts five times.
    pub summed: u64,
    /// By the average, in the same rollouts.
    pub averaged: u64,
}

/// Simulates rollouts with these seeds and reads their counts in both ways.
pub fn summed_thresholds(seeds: std::ops::Range<u64>, alpha: f64) -> Result<Summed, AnalysisError> {
    let objective = latency_objective();
    let mut total = Summed::default();
    for seed in seeds {
        let mut rollout = Rollout::new(&Scenario::calm(), &latency_and_errors(), seed);
        let mut crossed = [false; 2];
        for _ in 0..LOOKS {
            rollout.serve(REQUESTS)?;
            let evidence = LatencyEvidence::new("latency", &objective, rollout.frozen())?;
            let of = |percentile| evidence.cells(rollout.counts(), percentile, Ppm::ONE);
            let cells: Vec<Cell> = Percentile::ALL.into_iter().flat_map(of).collect();
            let average = evidence.log_slower(rollout.counts(), Ppm::ONE);
            crossed[0] |= log_e(&cells, 1.0) >= -alpha.ln();
            crossed[1] |= average >= -alpha.ln();
        }
        total.summed += u64::from(crossed[0]);
        total.averaged += u64::from(crossed[1]);
    }
    Ok(total)
}
