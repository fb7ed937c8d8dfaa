//! Settings that simulations use: the documented defaults.

use crate::constants as c;
use crate::latency::LatencyObjective;
use crate::settings::HarmMargins;
use crate::{AnalysisSettings, LatencySignal, Objective, ObjectiveKind};

/// Longest exposure of the simulated rollouts: two hours, hence 60 restarts.
const MAX_EXPOSED_SECONDS: u64 = 7_200;

/// What a model without an `analysis` of its own is judged by.
#[must_use]
pub fn latency_and_errors() -> AnalysisSettings {
    settings(vec![latency(), errors()])
}

/// Errors alone.
#[must_use]
pub fn errors_only() -> AnalysisSettings {
    settings(vec![errors()])
}

/// Latency with the documented margin.
#[must_use]
pub fn latency() -> Objective {
    Objective {
        name: "latency".to_owned(),
        kind: ObjectiveKind::Latency(latency_objective()),
    }
}

/// Latency to the last byte, over the whole distribution.
#[must_use]
pub fn latency_objective() -> LatencyObjective {
    LatencyObjective {
        signal: LatencySignal::Total,
        percentile: None,
        max_increase: c::LATENCY_MAX_INCREASE,
    }
}

/// Errors with the documented margins.
#[must_use]
pub fn errors() -> Objective {
    let margins = HarmMargins::errors(c::ERRORS_MAX_INCREASE, c::ERRORS_MAX_INCREASE_POINTS);
    Objective {
        name: "errors".to_owned(),
        kind: ObjectiveKind::Errors(margins),
    }
}

/// The documented defaults with these objectives.
#[must_use]
pub fn settings(objectives: Vec<Objective>) -> AnalysisSettings {
    AnalysisSettings::with_objectives(objectives, MAX_EXPOSED_SECONDS)
}
