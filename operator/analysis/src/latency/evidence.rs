//! Log evidence of a latency objective from its counts.

use super::{FrozenLatency, LatencyObjective, Percentile};
use crate::cell::Cell;
use crate::counts::{ArmCounts, Counts};
use crate::error::AnalysisError;
use crate::grid::log_sum_exp;
use crate::ppm::Ppm;
use crate::ratio;

/// A latency objective and the rollout's freezes, to read counts with.
#[derive(Debug, Clone, Copy)]
pub struct LatencyEvidence<'a> {
    objective: &'a LatencyObjective,
    frozen: &'a [FrozenLatency],
}

impl<'a> LatencyEvidence<'a> {
    /// Refuses freezes of the objective's signal that lack a threshold or slow-down which it uses by name.
    pub fn new(
        name: &str,
        objective: &'a LatencyObjective,
        frozen: &'a [FrozenLatency],
    ) -> Result<Self, AnalysisError> {
        let mut rhos = vec![Ppm::ONE, objective.roll_back_rho(), objective.promote_rho()];
        rhos.extend(objective.promote_tail_rho());
        let complete = |freeze: &FrozenLatency| {
            rhos.iter().all(|rho| freeze.rho_index(*rho).is_some())
                && objective
                    .roll_back_weights()
                    .iter()
                    .all(|(p, _)| freeze.percentile_index(*p).is_some())
        };
        if !frozen
            .iter()
            .filter(|freeze| freeze.signal == objective.signal)
            .all(complete)
        {
            return Err(AnalysisError::Setting {
                objective: name.to_owned(),
                field: "frozen",
                requirement: "every freeze must hold the percentiles and slow-downs of the objective",
            });
        }
        Ok(Self { objective, frozen })
    }

    /// Log evidence that the candidate is slower than `rho` times stable: the thresholds' e-values, averaged.
    #[must_use]
    pub fn log_slower(&self, counts: &Counts, rho: Ppm) -> f64 {
        self.average(
            self.objective.roll_back_weights(),
            counts,
            rho,
            ratio::log_e,
        )
    }

    /// Log evidence that the candidate is faster than `rho` times stable, on the typical unit.
    #[must_use]
    pub fn log_faster(&self, counts: &Counts, rho: Ppm) -> f64 {
        self.average(self.objective.promote_weights(), counts, rho, ratio::log_p)
    }

    /// Log evidence for a rollback.
    #[must_use]
    pub fn log_roll_back(&self, counts: &Counts) -> f64 {
        self.log_slower(counts, self.objective.roll_back_rho())
    }

    /// Log evidence for promotion: of the typical unit and of the tail, whichever is less, for both margins must be
    /// excluded.
    #[must_use]
    pub fn log_promote(&self, counts: &Counts) -> f64 {
        let (typical, tail) = self.log_promote_parts(counts);
        tail.map_or(typical, |tail| typical.min(tail))
    }

    /// The two: of the typical unit and, without a named percentile, of the tail.
    #[must_use]
    pub fn log_promote_parts(&self, counts: &Counts) -> (f64, Option<f64>) {
        let typical = self.log_faster(counts, self.objective.promote_rho());
        let tail = |rho| ratio::log_p(&self.cells(counts, Percentile::P95, rho), 1.0);
        (typical, self.objective.promote_tail_rho().map(tail))
    }

    /// Slow-downs that every freeze of the objective counts, ascending; none before the first freeze.
    #[must_use]
    pub fn rhos(&self) -> Vec<Ppm> {
        let mut freezes = self
            .frozen
            .iter()
            .filter(|freeze| freeze.signal == self.objective.signal);
        let mut rhos = freezes
            .next()
            .map_or_else(Vec::new, |first| first.rhos.clone());
        for freeze in freezes {
            rhos.retain(|rho| freeze.rho_index(*rho).is_some());
        }
        rhos
    }

    /// Cells of one threshold: stable's units above it and the candidate's above `rho` times it.
    #[must_use]
    pub fn cells(&self, counts: &Counts, percentile: Percentile, rho: Ppm) -> Vec<Cell> {
        let cell = |(pi, units, events)| Cell::unchecked(pi, units, events);
        self.rows(counts, percentile, rho).map(cell).collect()
    }

    /// Matured units and the events shown to people: slower than the threshold that contributes most to the evidence of
    /// harm, in either arm. Where none has any, than the tail's.
    #[must_use]
    pub fn shown(&self, counts: &Counts) -> (ArmCounts, ArmCounts) {
        let harmed = self
            .contributions(
                self.objective.roll_back_weights(),
                counts,
                self.objective.roll_back_rho(),
                ratio::log_e,
            )
            .filter(|(_, log_e)| *log_e > 0.0)
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let percentile = harmed.map_or(self.objective.tail_percentile(), |(percentile, _)| {
            percentile
        });
        let rows = self.rows(counts, percentile, Ppm::ONE);
        rows.fold(
            (ArmCounts::default(), ArmCounts::default()),
            |(units, events), row| (units.saturating_add(row.1), events.saturating_add(row.2)),
        )
    }

    fn average(
        &self,
        weights: Vec<(Percentile, f64)>,
        counts: &Counts,
        rho: Ppm,
        log: impl Fn(&[Cell], f64) -> f64,
    ) -> f64 {
        let contributions = self.contributions(weights, counts, rho, log);
        log_sum_exp(&contributions.map(|(_, log)| log).collect::<Vec<_>>())
    }

    /// The weighed log evidence of each threshold.
    fn contributions(
        &self,
        weights: Vec<(Percentile, f64)>,
        counts: &Counts,
        rho: Ppm,
        log: impl Fn(&[Cell], f64) -> f64,
    ) -> impl Iterator<Item = (Percentile, f64)> {
        weights.into_iter().map(move |(percentile, weight)| {
            let cells = self.cells(counts, percentile, rho);
            (percentile, weight.ln() + log(&cells, 1.0))
        })
    }

    fn rows(
        &self,
        counts: &Counts,
        percentile: Percentile,
        rho: Ppm,
    ) -> impl Iterator<Item = (u16, ArmCounts, ArmCounts)> {
        counts.latency().filter_map(move |(pi, freeze, cell)| {
            let freeze = self.frozen.get(usize::from(freeze))?;
            if freeze.signal != self.objective.signal || !(1..1000).contains(&pi) {
                return None;
            }
            let events = cell.events(freeze.percentile_index(percentile)?, freeze.rho_index(rho)?);
            Some((pi, cell.units(), events))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::LatencySignal;
    use super::*;
    use crate::counts::LatencyCounts;

    #[test]
    fn average_of_thresholds_golden() {
        let objective = LatencyObjective {
            signal: LatencySignal::Total,
            percentile: None,
            max_increase: Ppm::from_percent(10),
        };
        let frozen =
            [
                FrozenLatency::from_burn_in(
                    LatencySignal::Total,
                    (1..=1000).collect(),
                    [&objective],
                )
                .unwrap(),
            ];
        let evidence = LatencyEvidence::new("latency", &objective, &frozen).unwrap();
        let candidate = [300, 170, 80, 45, 12, 6]
            .map(|events| vec![events; 6])
            .to_vec();
        let units = ArmCounts {
            stable: 500,
            candidate: 500,
        };
        let table = LatencyCounts::new(units, vec![250, 125, 50, 25, 5, 2], candidate).unwrap();
        let mut counts = Counts::default();
        counts.add_latency(500, 0, &table).unwrap();
        let log_e = evidence.log_roll_back(&counts);
        assert!((log_e - 1.567_291_21).abs() < 1e-6, "{log_e}");
        assert_eq!(
            evidence.shown(&counts),
            (
                units,
                ArmCounts {
                    stable: 25,
                    candidate: 45
                }
            )
        );
    }

    #[test]
    fn people_are_shown_the_threshold_that_holds_the_evidence() {
        let objective = LatencyObjective {
            signal: LatencySignal::Total,
            percentile: None,
            max_increase: Ppm::from_percent(10),
        };
        let sample = (1..=1000).collect();
        let frozen =
            [FrozenLatency::from_burn_in(LatencySignal::Total, sample, [&objective]).unwrap()];
        let evidence = LatencyEvidence::new("latency", &objective, &frozen).unwrap();
        let units = ArmCounts {
            stable: 31,
            candidate: 21,
        };
        let shown = |candidate: [u64; 6]| {
            let candidate = candidate.map(|events| vec![events; 6]).to_vec();
            let table = LatencyCounts::new(units, vec![15, 8, 3, 0, 0, 0], candidate).unwrap();
            let mut counts = Counts::default();
            counts.add_latency(500, 0, &table).unwrap();
            evidence.shown(&counts)
        };
        let events = |stable, candidate| (units, ArmCounts { stable, candidate });
        assert_eq!(shown([21, 21, 20, 1, 0, 0]), events(3, 20));
        assert_eq!(
            shown([10, 5, 2, 1, 0, 0]),
            events(0, 1),
            "p95: nothing shows harm"
        );
    }
}
