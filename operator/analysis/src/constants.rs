//! Every default of the analysis in one place. Source of the numbers: the project's rollout analysis note,
//! sections 1 to 3 and 5; each was chosen there by simulation of its operating characteristic.

use crate::ppm::Ppm;

/// Version of the formulas. Frozen in status with the settings: evidence gathered under one version is never
/// read by another, the rollout starts again instead.
pub const ANALYSIS_VERSION: u32 = 1;

/// Probability of rolling back a harmless revision over its whole rollout (alpha): 1 %.
pub const FALSE_ROLLBACK_RATE: Ppm = Ppm::from_permille(10);
/// Probability of promoting a revision at or beyond the promotion margin (beta): 5 %.
pub const FALSE_PROMOTION_RATE: Ppm = Ppm::from_permille(50);
/// Part of alpha that an accuracy gate before traffic spends: one tenth; the live objectives keep the rest.
pub const GATE_ALPHA_FRACTION: f64 = 0.1;
/// Error probability of the sample-ratio check, outside alpha: its outcome is a pause, not a rollback.
pub const SAMPLE_RATIO_ALPHA: f64 = 1e-4;
/// Concentration c of the Beta prior of the sample-ratio check, around the promised share.
pub const SAMPLE_RATIO_CONCENTRATION: f64 = 10.0;
/// Error probability of the intervals that are quoted to people (95 % confidence sequences).
pub const INTERVAL_ALPHA: f64 = 0.05;

/// Size of the grid of alternatives g.
pub const GRID_POINTS: usize = 24;
/// Smallest ratio above the null that is bet on.
pub const GRID_MIN: f64 = 1.05;
/// Largest ratio above the null that is bet on.
pub const GRID_MAX: f64 = 20.0;

/// Stakes of the difference and gate bets, as a fraction of the largest stake that cannot go bankrupt.
pub const STAKES: [f64; 6] = [0.02, 0.05, 0.12, 0.3, 0.6, 0.95];
/// Prior weights of [`STAKES`]; they sum to 1.
pub const STAKE_WEIGHTS: [f64; 6] = [0.1, 0.1, 0.15, 0.15, 0.2, 0.3];

/// Weight of latency objectives in the combined evidence (renormalised over the kinds present).
pub const LATENCY_WEIGHT: f64 = 0.5;
/// Weight of error objectives.
pub const ERRORS_WEIGHT: f64 = 0.3;
/// Weight of escalation objectives.
pub const ESCALATION_WEIGHT: f64 = 0.2;

/// Latency: promotion margin on the typical request (x1.10).
pub const LATENCY_MAX_INCREASE: Ppm = Ppm::from_percent(10);
/// Errors: ratio margin (x1.2), for rollback and for promotion.
pub const ERRORS_MAX_INCREASE: Ppm = Ppm::from_percent(20);
/// Errors: promotion margin in points (+1 point), whichever of ratio and points is reached.
pub const ERRORS_MAX_INCREASE_POINTS: Ppm = Ppm::from_percent(1);
/// Errors: an excess below this (+0.1 point) is no harm, whatever its ratio.
pub const ERRORS_HARM_POINTS: Ppm = Ppm::from_permille(1);
/// Escalations: ratio margin (x1.5).
pub const ESCALATION_MAX_INCREASE: Ppm = Ppm::from_percent(50);
/// Escalations: promotion margin in points (+5 points).
pub const ESCALATION_MAX_INCREASE_POINTS: Ppm = Ppm::from_percent(5);
/// Escalations: an excess below this (+1 point) is no harm.
pub const ESCALATION_HARM_POINTS: Ppm = Ppm::from_percent(1);

/// Latency slow-down that must be excluded for a promotion with limited evidence (x1.5).
pub const BOUNDED_SLOWDOWN: Ppm = Ppm::from_percent(150);
/// Excess of errors or escalations that must be excluded for a promotion with limited evidence (+5 points).
pub const BOUNDED_POINTS: Ppm = Ppm::from_percent(5);
/// A step that is not the last may end when no more than this many requests of the next one can be harmed.
pub const HARM_BUDGET_REQUESTS: u64 = 50;

/// Slow-downs that are always counted besides those that follow from the user's margin.
pub const REPORTED_RHOS: [Ppm; 3] = [Ppm::ONE, BOUNDED_SLOWDOWN, Ppm::from_percent(200)];
/// Rollback weight of a percentile that the user did not single out, p50 to p99.5.
pub const PERCENTILE_WEIGHTS: [f64; 6] = [0.1, 0.1, 0.1, 0.3, 0.3, 0.1];
/// Units at the start of each arm on each node, in coin order, that are not counted (cold caches).
pub const BURN_IN_UNITS: u64 = 50;
/// Units over which the pooled share above the p95 threshold is looked at.
pub const REFREEZE_UNITS: u64 = 500;
/// Below this pooled share above the p95 threshold the thresholds are frozen again.
pub const REFREEZE_SHARE_MIN: f64 = 0.02;
/// Above this pooled share above the p95 threshold the thresholds are frozen again.
pub const REFREEZE_SHARE_MAX: f64 = 0.12;

/// Exposed seconds between two restarts of the late-onset mixture.
pub const RESTART_SECONDS: u64 = 120;
/// Matured units between two restarts.
pub const RESTART_UNITS: u64 = 200;
/// Most restarts of one rollout. A snapshot is about 300 bytes a cell, and the evidence must fit in one ConfigMap;
/// longer rollouts restart less often instead.
pub const MAX_RESTARTS: u32 = 180;

/// Accuracy gate: tolerated drop against stable (2 points).
pub const GATE_MAX_DROP: Ppm = Ppm::from_percent(2);

/// Highest utilisation of the engines after promotion that the capacity gate accepts.
pub const CAPACITY_MAX_UTILISATION: f64 = 0.75;
/// Error probability of the routers' own error-burst cuts, over all nodes together.
pub const LOCAL_CUT_ALPHA: f64 = 0.001;
