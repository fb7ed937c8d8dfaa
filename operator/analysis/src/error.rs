//! What can be wrong with the input of the analysis. Nothing here is transient: the same input fails again.

use thiserror::Error;

use crate::counts::Arm;

/// Why counts, settings or a gate result cannot be analysed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnalysisError {
    /// More events than units were reported for an arm: a counting bug or a corrupt report.
    #[error("{events} events among {units} units of the {arm} arm")]
    MoreEventsThanUnits {
        /// The arm whose counts contradict each other.
        arm: Arm,
        /// Units reported.
        units: u64,
        /// Events reported.
        events: u64,
    },
    /// A candidate share above 1.
    #[error("a candidate share of {0} permille is above 1000")]
    ShareAboveOne(u16),
    /// Two sets of latency counts do not have the same thresholds and slow-downs.
    #[error("latency counts of {found} thresholds x slow-downs where {expected} were frozen")]
    Shape {
        /// Shape that the frozen settings or the other counts have.
        expected: Shape,
        /// Shape that was found.
        found: Shape,
    },
    /// Latency counts name thresholds that were never frozen.
    #[error("latency counts of freeze {0}, which does not exist")]
    UnknownFreeze(u16),
    /// No unit of the burn-in was answered, so no threshold can be frozen.
    #[error("no answered unit in the burn-in sample")]
    EmptyBurnIn,
    /// A setting is outside its range.
    #[error("{field} of {objective} is outside its range: {requirement}")]
    Setting {
        /// Name of the objective, or `analysis` for a setting of the whole.
        objective: String,
        /// Field that is wrong.
        field: &'static str,
        /// What it must be.
        requirement: &'static str,
    },
    /// Two objectives have one name.
    #[error("two objectives are named {0}")]
    DuplicateObjective(String),
    /// Stable's and the candidate's results are not of the same examples.
    #[error("{stable} results of stable and {candidate} of the candidate on node class {class}")]
    Unpaired {
        /// Node class.
        class: String,
        /// Examples answered by stable.
        stable: usize,
        /// Examples answered by the candidate.
        candidate: usize,
    },
    /// An evaluation without examples.
    #[error("no examples were evaluated on node class {0}")]
    NoExamples(String),
    /// A gate without a result from any node class.
    #[error("no node class reported an evaluation")]
    NoClasses,
}

impl AnalysisError {
    /// Reason for the event and the metric label. Settings are the user's to mend, all else is a bug of ours.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Setting { .. } | Self::DuplicateObjective(_) => "InvalidAnalysis",
            Self::EmptyBurnIn | Self::NoExamples(_) | Self::NoClasses => "NoEvidence",
            Self::MoreEventsThanUnits { .. }
            | Self::ShareAboveOne(_)
            | Self::Shape { .. }
            | Self::UnknownFreeze(_)
            | Self::Unpaired { .. } => "CorruptEvidence",
        }
    }
}

/// Number of thresholds and of slow-downs in latency counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Frozen thresholds.
    pub thresholds: usize,
    /// Frozen slow-downs rho.
    pub rhos: usize,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} x {}", self.thresholds, self.rhos)
    }
}
