//! One way to ask any kind of objective for its evidence.

use crate::cell::{Cell, split};
use crate::counts::{ArmCounts, BinaryCounts, Counts};
use crate::difference::log_q;
use crate::error::AnalysisError;
use crate::errors;
use crate::latency::{FrozenLatency, LatencyEvidence, LatencyObjective};
use crate::ppm::Ppm;
use crate::restart::RestartPlan;
use crate::settings::{HarmMargins, Objective, ObjectiveKind};

/// An objective with what it needs to read counts.
#[derive(Clone, Copy)]
pub(super) enum ObjectiveEvidence<'a> {
    Latency(&'a LatencyObjective, LatencyEvidence<'a>),
    Errors(&'a HarmMargins),
    Escalation(&'a HarmMargins),
}

impl<'a> ObjectiveEvidence<'a> {
    pub(super) fn new(
        objective: &'a Objective,
        frozen: &'a [FrozenLatency],
    ) -> Result<Self, AnalysisError> {
        Ok(match &objective.kind {
            ObjectiveKind::Latency(latency) => Self::Latency(
                latency,
                LatencyEvidence::new(&objective.name, latency, frozen)?,
            ),
            ObjectiveKind::Errors(margins) => Self::Errors(margins),
            ObjectiveKind::Escalation(margins) => Self::Escalation(margins),
        })
    }

    /// Log evidence of harm over the counts since each restart.
    pub(super) fn log_roll_back(&self, starts: &[Counts], plan: &RestartPlan) -> f64 {
        match self {
            Self::Latency(_, evidence) => {
                plan.log_mixture(starts.iter().map(|start| evidence.log_roll_back(start)))
            }
            Self::Errors(margins) | Self::Escalation(margins) => {
                let cells: Vec<Vec<Cell>> =
                    starts.iter().map(|start| self.harm_cells(start)).collect();
                errors::log_roll_back(margins, &cells, plan)
            }
        }
    }

    /// Log evidence that the candidate is within its promotion margin.
    pub(super) fn log_promote(&self, counts: &Counts) -> f64 {
        match self {
            Self::Latency(_, evidence) => evidence.log_promote(counts),
            Self::Errors(margins) | Self::Escalation(margins) => {
                errors::log_promote(margins, &self.harm_cells(counts))
            }
        }
    }

    /// Log evidence that the candidate is within the bound of a promotion with limited evidence: latency x1.5,
    /// errors and escalations +5 points. A slow-down that is not counted is not bounded.
    pub(super) fn log_bounded(&self, counts: &Counts) -> f64 {
        match self {
            Self::Latency(_, evidence) => {
                evidence.log_faster(counts, crate::constants::BOUNDED_SLOWDOWN)
            }
            Self::Errors(_) | Self::Escalation(_) => log_q(
                &self.harm_cells(counts),
                crate::constants::BOUNDED_POINTS.as_f64(),
            ),
        }
    }

    /// Matured units and the events shown to people.
    pub(super) fn shown(&self, counts: &Counts) -> (ArmCounts, ArmCounts) {
        match self {
            Self::Latency(_, evidence) => evidence.shown(counts),
            Self::Errors(_) => sum(counts.errors()),
            Self::Escalation(_) => sum(counts.escalations()),
        }
    }

    /// Cells whose difference says how many requests are harmed: failed or escalated ones, and for latency those
    /// beyond the tolerated slow-down of the tail.
    pub(super) fn harm_cells(&self, counts: &Counts) -> Vec<Cell> {
        let cell = |(pi, counts): (u16, &BinaryCounts)| Cell::of(pi, counts);
        let cells: Vec<Cell> = match self {
            Self::Latency(objective, evidence) => {
                evidence.cells(counts, objective.tail_percentile(), tolerated(objective))
            }
            Self::Errors(_) => counts.errors().map(cell).collect(),
            Self::Escalation(_) => counts.escalations().map(cell).collect(),
        };
        split(&cells).copied().collect()
    }
}

/// The slow-down that the tail may have at promotion: beyond it a request counts as harmed.
fn tolerated(objective: &LatencyObjective) -> Ppm {
    objective
        .promote_tail_rho()
        .unwrap_or_else(|| objective.promote_rho())
}

fn sum<'a>(cells: impl Iterator<Item = (u16, &'a BinaryCounts)>) -> (ArmCounts, ArmCounts) {
    let coin = cells.filter(|(pi, _)| (1..1000).contains(pi));
    coin.fold(
        (ArmCounts::default(), ArmCounts::default()),
        |(units, events), (_, counts)| {
            (
                units.saturating_add(counts.units()),
                events.saturating_add(counts.events()),
            )
        },
    )
}
