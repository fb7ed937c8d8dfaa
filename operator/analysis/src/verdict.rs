//! The verdict of a look: all objectives together.
//!
//! `E = sum_m v_m E_m` with weights that sum to 1: a mean of e-values is one, so the whole rollout, all its steps,
//! looks and objectives share one alpha. Promotion asks every objective, rollback their mean.

mod objective;
mod report;
mod step;
mod words;

use serde::{Deserialize, Serialize};

pub use report::{Forecast, ObjectiveReport, Toward};
pub use step::{NextStep, StepEnd, promote_if_bounded, step_end};

use crate::counts::Counts;
use crate::error::AnalysisError;
use crate::evidence::{Evidence, Peak, micronats};
use crate::grid::log_sum_exp;
use crate::latency::FrozenLatency;
use crate::restart::RestartPlan;
use crate::settings::AnalysisSettings;
use crate::two_sided::{log_two_sided, sample_ratio_threshold};
use objective::ObjectiveEvidence;

/// What the evidence says now, in the order in which it is to be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Verdict {
    /// The coin does not deliver its share: counting or routing is broken. Traffic to stable, pause. It goes before a
    /// rollback, because alpha is only promised for evidence from the promised coin; exposure ends either way.
    SampleRatioMismatch,
    /// The boundary was crossed, now or at an earlier look.
    RollBack {
        /// The objective that contributed most when the evidence was highest.
        objective: String,
    },
    /// Every objective excludes its margin: the step may end.
    Pass,
    /// Neither yet.
    Continue,
}

/// A look at the evidence. Logs are natural; every number can be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assessment {
    /// What to do.
    pub verdict: Verdict,
    /// Combined log evidence of harm at this look.
    pub log_e: f64,
    /// Combined log evidence at which the rollout is rolled back.
    pub threshold: f64,
    /// Highest combined evidence of this look and all before.
    pub peak: Peak,
    /// The sample-ratio check.
    pub sample_ratio: SampleRatio,
    /// One report an objective, in the order of the settings.
    pub objectives: Vec<ObjectiveReport>,
}

/// The sample-ratio check over the matured units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleRatio {
    /// Log evidence at this look.
    pub log_e: f64,
    /// Log evidence of a mismatch.
    pub threshold: f64,
    /// Highest evidence of this look and all before, in millionths.
    pub peak_micronats: i64,
}

impl SampleRatio {
    /// Whether the check failed at this look or before.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        crossed(self.peak_micronats, self.threshold)
    }
}

impl Assessment {
    /// Report of the objective with this name.
    #[must_use]
    pub fn objective(&self, name: &str) -> Option<&ObjectiveReport> {
        self.objectives.iter().find(|report| report.name == name)
    }
}

/// Log evidence of harm of a look, without the reports.
#[derive(Debug, Clone, PartialEq)]
pub struct HarmEvidence {
    /// Combined log evidence; 0 (no evidence) without objectives.
    pub log_e: f64,
    /// Log evidence of each objective.
    pub objectives: Vec<f64>,
    /// Index of the objective that contributes most; none without objectives.
    pub largest: Option<usize>,
}

/// Looks at `counts`, the total of closed and open epochs ([`Evidence::total`]), and at what is kept of earlier looks.
///
/// The caller records the peaks ([`Evidence::record`]) and persists them.
pub fn assess(
    settings: &AnalysisSettings,
    frozen: &[FrozenLatency],
    evidence: &Evidence,
    counts: &Counts,
) -> Result<Assessment, AnalysisError> {
    let harm = harm(settings, frozen, evidence, counts)?;
    let objectives = report::reports(settings, frozen, counts, &harm)?;
    let peak = peak(settings, &evidence.peak, &harm);
    let sample_ratio = sample_ratio(evidence, counts);
    let threshold = settings.roll_back_threshold();
    let verdict = if sample_ratio.is_mismatch() {
        Verdict::SampleRatioMismatch
    } else if let Some(objective) = peak
        .objective
        .clone()
        .filter(|_| crossed(peak.log_e_micronats, threshold))
    {
        Verdict::RollBack { objective }
    } else if objectives.iter().all(|report| report.passes) {
        Verdict::Pass
    } else {
        Verdict::Continue
    };
    Ok(Assessment {
        verdict,
        log_e: harm.log_e,
        threshold,
        peak,
        sample_ratio,
        objectives,
    })
}

/// Combined log evidence of harm, with late-onset restarts.
pub fn harm(
    settings: &AnalysisSettings,
    frozen: &[FrozenLatency],
    evidence: &Evidence,
    counts: &Counts,
) -> Result<HarmEvidence, AnalysisError> {
    settings.validate()?;
    check_freezes(frozen, counts)?;
    let plan = RestartPlan::new(settings);
    let starts = plan.starts(counts, &evidence.snapshots);
    let mut objectives = Vec::with_capacity(settings.objectives.len());
    for objective in &settings.objectives {
        objectives.push(ObjectiveEvidence::new(objective, frozen)?.log_roll_back(&starts, &plan));
    }
    if objectives.is_empty() {
        return Ok(HarmEvidence {
            log_e: 0.0,
            objectives,
            largest: None,
        });
    }
    let weights = settings.objective_weights();
    let parts: Vec<f64> = weights
        .iter()
        .zip(&objectives)
        .map(|(weight, log)| weight.ln() + log)
        .collect();
    let largest = (0..parts.len()).max_by(|a, b| parts[*a].total_cmp(&parts[*b]));
    Ok(HarmEvidence {
        log_e: log_sum_exp(&parts),
        objectives,
        largest,
    })
}

/// Counts must belong to a freeze and have its shape.
fn check_freezes(frozen: &[FrozenLatency], counts: &Counts) -> Result<(), AnalysisError> {
    for (_, freeze, cell) in counts.latency() {
        let freeze = frozen
            .get(usize::from(freeze))
            .ok_or(AnalysisError::UnknownFreeze(freeze))?;
        cell.expect_shape(freeze.shape())?;
    }
    Ok(())
}

fn peak(settings: &AnalysisSettings, before: &Peak, harm: &HarmEvidence) -> Peak {
    let log_e_micronats = micronats(harm.log_e);
    match harm
        .largest
        .and_then(|index| settings.objectives.get(index))
    {
        Some(objective) if log_e_micronats > before.log_e_micronats => Peak {
            log_e_micronats,
            objective: Some(objective.name.clone()),
        },
        _ => before.clone(),
    }
}

/// Shares are cells of their own: their coins are independent, so the logs add up.
fn sample_ratio(evidence: &Evidence, counts: &Counts) -> SampleRatio {
    let log_of = |units: crate::ArmCounts, pi: u16| {
        log_two_sided(
            f64::from(pi) / 1000.0,
            units.stable as f64,
            units.candidate as f64,
        )
    };
    let log_e = counts
        .errors()
        .map(|(pi, cell)| log_of(cell.units(), pi))
        .sum();
    SampleRatio {
        log_e,
        threshold: sample_ratio_threshold(),
        peak_micronats: evidence.sample_ratio_peak_micronats.max(micronats(log_e)),
    }
}

fn crossed(peak_micronats: i64, threshold: f64) -> bool {
    peak_micronats as f64 / 1e6 >= threshold
}
