//! Settings and counts for the tests.

use smallfleet_analysis::constants as c;
use smallfleet_analysis::settings::HarmMargins;
pub use smallfleet_analysis::simulator::objectives::{
    errors, latency, latency_objective, settings,
};
use smallfleet_analysis::simulator::{Rollout, Scenario};
use smallfleet_analysis::{
    AnalysisSettings, ArmCounts, BinaryCounts, Counts, FrozenLatency, LatencySignal, Objective,
    ObjectiveKind, Ppm,
};

pub fn escalation() -> Objective {
    let margins = HarmMargins::escalation(
        c::ESCALATION_MAX_INCREASE,
        c::ESCALATION_MAX_INCREASE_POINTS,
    );
    Objective {
        name: "escalation".to_owned(),
        kind: ObjectiveKind::Escalation(margins),
    }
}

/// Thresholds 500, 750, 900, 950, 990 and 995 us.
pub fn frozen() -> Vec<FrozenLatency> {
    let sample_us = (1..=1000).collect();
    vec![
        FrozenLatency::from_burn_in(LatencySignal::Total, sample_us, [&latency_objective()])
            .unwrap(),
    ]
}

pub fn arms(stable: u64, candidate: u64) -> ArmCounts {
    ArmCounts { stable, candidate }
}

pub fn binary(units: u64, stable: u64, candidate: u64) -> BinaryCounts {
    BinaryCounts::new(arms(units, units), arms(stable, candidate)).unwrap()
}

/// `units` an arm at 50/50 with these error counts.
pub fn error_counts(units: u64, stable: u64, candidate: u64) -> Counts {
    let mut counts = Counts::default();
    counts
        .add_errors(500, &binary(units, stable, candidate))
        .unwrap();
    counts
}

/// A simulated rollout under these settings after `requests` requests.
pub fn rollout_after(
    scenario: &Scenario,
    settings: &AnalysisSettings,
    seed: u64,
    requests: u64,
) -> Rollout {
    let mut rollout = Rollout::new(scenario, settings, seed);
    rollout.serve(requests).unwrap();
    rollout
}

/// An increase in percent.
pub fn percent(percent: u32) -> Ppm {
    Ppm::from_percent(percent)
}
