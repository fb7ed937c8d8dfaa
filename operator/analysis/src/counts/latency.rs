use serde::{Deserialize, Serialize};

use super::{Arm, ArmCounts, check, scaled};
use crate::error::{AnalysisError, Shape};

/// Matured units of both arms and how many of them were slower than the frozen thresholds.
///
/// A unit is slower than T when no good complete answer was delivered within T of its coin; errors, hangs and
/// fallbacks are slower than everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Raw")]
pub struct LatencyCounts {
    n_stable: u64,
    n_candidate: u64,
    stable: Vec<u64>,
    candidate: Vec<Vec<u64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    n_stable: u64,
    n_candidate: u64,
    stable: Vec<u64>,
    candidate: Vec<Vec<u64>>,
}

impl TryFrom<Raw> for LatencyCounts {
    type Error = AnalysisError;

    fn try_from(raw: Raw) -> Result<Self, AnalysisError> {
        let units = ArmCounts {
            stable: raw.n_stable,
            candidate: raw.n_candidate,
        };
        Self::new(units, raw.stable, raw.candidate)
    }
}

impl LatencyCounts {
    /// Counts of one cell: `stable[p]` stable units above threshold p, `candidate[p][r]` candidate units above
    /// rho r times threshold p. Ragged tables and more events than units are refused.
    pub fn new(
        units: ArmCounts,
        stable: Vec<u64>,
        candidate: Vec<Vec<u64>>,
    ) -> Result<Self, AnalysisError> {
        let rhos = candidate.first().map_or(0, Vec::len);
        let expected = Shape {
            thresholds: stable.len(),
            rhos,
        };
        if candidate.len() != stable.len() {
            let found = Shape {
                thresholds: candidate.len(),
                rhos,
            };
            return Err(AnalysisError::Shape { expected, found });
        }
        for row in &candidate {
            if row.len() != rhos {
                let found = Shape {
                    thresholds: candidate.len(),
                    rhos: row.len(),
                };
                return Err(AnalysisError::Shape { expected, found });
            }
            row.iter()
                .try_for_each(|events| check(Arm::Candidate, units.candidate, *events))?;
        }
        stable
            .iter()
            .try_for_each(|events| check(Arm::Stable, units.stable, *events))?;
        Ok(Self {
            n_stable: units.stable,
            n_candidate: units.candidate,
            stable,
            candidate,
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

    /// Units of stable above threshold `percentile` and of the candidate above rho times it; zero outside the table.
    #[must_use]
    pub fn events(&self, percentile: usize, rho: usize) -> ArmCounts {
        ArmCounts {
            stable: self.stable.get(percentile).copied().unwrap_or(0),
            candidate: self
                .candidate
                .get(percentile)
                .and_then(|row| row.get(rho))
                .copied()
                .unwrap_or(0),
        }
    }

    /// Number of thresholds and slow-downs counted.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            thresholds: self.stable.len(),
            rhos: self.candidate.first().map_or(0, Vec::len),
        }
    }

    /// Refuses counts of another shape.
    pub(crate) fn expect_shape(&self, expected: Shape) -> Result<(), AnalysisError> {
        let found = self.shape();
        if found == expected {
            Ok(())
        } else {
            Err(AnalysisError::Shape { expected, found })
        }
    }

    /// Both must have one shape.
    pub(super) fn add(&mut self, other: &Self) {
        *self = self.zip(other, u64::saturating_add);
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    pub(super) fn scaled(&self, factor: f64) -> Self {
        self.zip(self, |count, _| scaled(count, factor))
    }

    fn zip(&self, other: &Self, combine: impl Fn(u64, u64) -> u64 + Copy) -> Self {
        let row = |ours: &[u64], theirs: &[u64]| -> Vec<u64> {
            ours.iter()
                .zip(theirs)
                .map(|(a, b)| combine(*a, *b))
                .collect()
        };
        Self {
            n_stable: combine(self.n_stable, other.n_stable),
            n_candidate: combine(self.n_candidate, other.n_candidate),
            stable: row(&self.stable, &other.stable),
            candidate: self
                .candidate
                .iter()
                .zip(&other.candidate)
                .map(|(a, b)| row(a, b))
                .collect(),
        }
    }
}
