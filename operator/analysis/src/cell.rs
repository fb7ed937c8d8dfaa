//! The input of every bet: counts of one candidate share.

use crate::counts::{ArmCounts, BinaryCounts};
use crate::error::AnalysisError;

/// Matured units and events of the units tossed with one probability of the candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    pi: f64,
    units: f64,
    stable: f64,
    candidate: f64,
}

impl Cell {
    /// A cell of share `pi` in 0..=1. More events than units are refused; so is a share outside its range.
    pub fn new(
        pi_permille: u16,
        units: ArmCounts,
        events: ArmCounts,
    ) -> Result<Self, AnalysisError> {
        if pi_permille > 1000 {
            return Err(AnalysisError::ShareAboveOne(pi_permille));
        }
        BinaryCounts::new(units, events).map(|counts| Self::of(pi_permille, &counts))
    }

    pub(crate) fn of(pi_permille: u16, counts: &BinaryCounts) -> Self {
        Self::unchecked(pi_permille, counts.units(), counts.events())
    }

    /// For counts that were checked when they were made.
    pub(crate) fn unchecked(pi_permille: u16, units: ArmCounts, events: ArmCounts) -> Self {
        Self {
            pi: f64::from(pi_permille) / 1000.0,
            units: units.stable as f64 + units.candidate as f64,
            stable: events.stable as f64,
            candidate: events.candidate as f64,
        }
    }

    /// Probability of the candidate at the coin.
    #[must_use]
    pub fn pi(&self) -> f64 {
        self.pi
    }

    /// Events of stable, k_A.
    #[must_use]
    pub fn stable(&self) -> f64 {
        self.stable
    }

    /// Events of the candidate, k_B.
    #[must_use]
    pub fn candidate(&self) -> f64 {
        self.candidate
    }

    /// Units without an event, n_0. Not below zero, even after a router's counts were lost between two snapshots.
    #[must_use]
    pub fn harmless(&self) -> f64 {
        (self.units - self.stable - self.candidate).max(0.0)
    }
}

/// Cells whose coin had two sides: nothing can be learned from the others.
pub(crate) fn split(cells: &[Cell]) -> impl Iterator<Item = &Cell> {
    cells.iter().filter(|cell| cell.pi > 0.0 && cell.pi < 1.0)
}

#[cfg(test)]
impl Cell {
    /// A cell where every unit had the event.
    pub(crate) fn of_events(pi: f64, stable: u64, candidate: u64) -> Self {
        Self::of_units(pi, stable + candidate, stable, candidate)
    }

    pub(crate) fn of_units(pi: f64, units: u64, stable: u64, candidate: u64) -> Self {
        Self {
            pi,
            units: units as f64,
            stable: stable as f64,
            candidate: candidate as f64,
        }
    }
}
