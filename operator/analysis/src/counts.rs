//! What the routers count: cumulative integers per cell, merged by addition, so that neither the order of the
//! reports nor the number of routers matters.

mod binary;
mod latency;
mod total;

use serde::{Deserialize, Serialize};

pub use binary::BinaryCounts;
pub use latency::LatencyCounts;
pub use total::{BinaryCell, Counts, LatencyCell};

/// One of the two revisions of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Arm {
    /// The promoted revision (A).
    Stable,
    /// The revision under test (B).
    Candidate,
}

impl std::fmt::Display for Arm {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Stable => "stable",
            Self::Candidate => "candidate",
        })
    }
}

/// One number per arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmCounts {
    /// Of the stable arm.
    pub stable: u64,
    /// Of the candidate arm.
    pub candidate: u64,
}

impl ArmCounts {
    /// Both arms together, saturating.
    #[must_use]
    pub fn total(self) -> u64 {
        self.stable.saturating_add(self.candidate)
    }

    pub(crate) fn saturating_add(self, other: Self) -> Self {
        Self {
            stable: self.stable.saturating_add(other.stable),
            candidate: self.candidate.saturating_add(other.candidate),
        }
    }
}

fn check(arm: Arm, units: u64, events: u64) -> Result<(), crate::AnalysisError> {
    if events > units {
        return Err(crate::AnalysisError::MoreEventsThanUnits { arm, units, events });
    }
    Ok(())
}

/// `count * factor`, rounded down. Saturates; used for forecasts only.
fn scaled(count: u64, factor: f64) -> u64 {
    (count as f64 * factor) as u64
}
