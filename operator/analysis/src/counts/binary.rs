use serde::{Deserialize, Serialize};

use super::{Arm, ArmCounts, check, scaled};
use crate::AnalysisError;

/// Matured units and events of both arms where a unit either has the event or has not: errors, escalations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Raw")]
pub struct BinaryCounts {
    n_stable: u64,
    n_candidate: u64,
    k_stable: u64,
    k_candidate: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    n_stable: u64,
    n_candidate: u64,
    k_stable: u64,
    k_candidate: u64,
}

impl TryFrom<Raw> for BinaryCounts {
    type Error = AnalysisError;

    fn try_from(raw: Raw) -> Result<Self, AnalysisError> {
        Self::new(
            ArmCounts {
                stable: raw.n_stable,
                candidate: raw.n_candidate,
            },
            ArmCounts {
                stable: raw.k_stable,
                candidate: raw.k_candidate,
            },
        )
    }
}

impl BinaryCounts {
    /// Counts of one cell; an arm with more events than units is refused.
    pub fn new(units: ArmCounts, events: ArmCounts) -> Result<Self, AnalysisError> {
        check(Arm::Stable, units.stable, events.stable)?;
        check(Arm::Candidate, units.candidate, events.candidate)?;
        Ok(Self {
            n_stable: units.stable,
            n_candidate: units.candidate,
            k_stable: events.stable,
            k_candidate: events.candidate,
        })
    }

    /// Matured units.
    #[must_use]
    pub fn units(&self) -> ArmCounts {
        ArmCounts {
            stable: self.n_stable,
            candidate: self.n_candidate,
        }
    }

    /// Units that had the event.
    #[must_use]
    pub fn events(&self) -> ArmCounts {
        ArmCounts {
            stable: self.k_stable,
            candidate: self.k_candidate,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        *self = self.zip(other, u64::saturating_add);
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    pub(super) fn scaled(&self, factor: f64) -> Self {
        self.zip(self, |count, _| scaled(count, factor))
    }

    fn zip(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            n_stable: combine(self.n_stable, other.n_stable),
            n_candidate: combine(self.n_candidate, other.n_candidate),
            k_stable: combine(self.k_stable, other.k_stable),
            k_candidate: combine(self.k_candidate, other.k_candidate),
        }
    }
}
