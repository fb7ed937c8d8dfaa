//! The decision of the gate, over all node classes.

use serde::{Deserialize, Serialize};

use super::bets::{PairedCounts, log_fail, log_pass};
use crate::constants::GATE_ALPHA_FRACTION;
use crate::error::AnalysisError;
use crate::ppm::Ppm;

/// What the gate asks of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateSettings {
    /// Least accuracy on the examples, if any.
    pub minimum: Option<Ppm>,
    /// Tolerated drop against stable, m: 2 points are 2 %.
    pub max_drop: Ppm,
    /// Alpha of the whole rollout, of which the gate spends a tenth.
    pub false_rollback_rate: Ppm,
    /// Beta: a candidate that is worse by the drop or more passes with this probability at most.
    pub false_promotion_rate: Ppm,
}

/// Results of one node class (architecture and instruction set), one bit an example, true where right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassResult {
    /// Name of the node class.
    pub class: String,
    /// Stable's results on the same examples in the same order; none on the first install.
    pub stable: Option<Vec<bool>>,
    /// The candidate's results.
    pub candidate: Vec<bool>,
}

/// Whether the candidate may get traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GateOutcome {
    /// It may.
    Pass,
    /// It may by the point rule, on these examples: too few to exclude the drop. Condition `EvidenceLimited`.
    PassEvidenceLimited,
    /// It may not.
    Fail,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateReason {
    /// Accuracy is below the absolute minimum on the examples.
    BelowMinimum,
    /// The evidence shows a drop beyond the margin.
    DropShown,
    /// The evidence excludes a drop beyond the margin.
    DropExcluded,
    /// Undecided; the observed drop is beyond the margin.
    ObservedDropTooLarge,
    /// Undecided; the observed drop is within the margin.
    ObservedDropWithin,
    /// There is no stable revision to compare with, and the minimum (if any) is met.
    NothingToCompare,
}

/// The gate's decision: that of the worst node class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateDecision {
    /// Whether the candidate may get traffic.
    pub outcome: GateOutcome,
    /// What decided.
    pub reason: GateReason,
    /// The node class that decided.
    pub class: String,
    /// Examples evaluated there.
    pub examples: u64,
    /// The candidate's accuracy on them, 0..=1.
    pub accuracy: f64,
    /// The pairs, where there was a stable revision.
    pub pairs: Option<PairedCounts>,
    /// Log evidence of a drop beyond the margin; 0 without pairs.
    pub log_fail: f64,
    /// Log evidence that the drop is within the margin; 0 without pairs.
    pub log_pass: f64,
    /// One sentence for the event.
    pub words: String,
}

/// Decides over the node classes. The same examples on another class are no new evidence, so the classes are not added
/// up: the worst one decides.
pub fn decide(
    settings: &GateSettings,
    classes: &[ClassResult],
) -> Result<GateDecision, AnalysisError> {
    check(settings)?;
    let decisions = classes
        .iter()
        .map(|class| decide_class(settings, class))
        .collect::<Result<Vec<_>, _>>()?;
    decisions
        .into_iter()
        .max_by(badness)
        .ok_or(AnalysisError::NoClasses)
}

fn check(settings: &GateSettings) -> Result<(), AnalysisError> {
    let rate = |rate: Ppm| (1..=500_000).contains(&rate.0);
    let wrong = if !(1..Ppm::ONE.0).contains(&settings.max_drop.0) {
        ("maxDropPoints", "above 0, below 100")
    } else if settings.minimum.is_some_and(|minimum| minimum > Ppm::ONE) {
        ("minimum", "at most 100 %")
    } else if !rate(settings.false_rollback_rate) {
        ("falseRollbackRate", "above 0, at most 50 %")
    } else if !rate(settings.false_promotion_rate) {
        ("falsePromotionRate", "above 0, at most 50 %")
    } else {
        return Ok(());
    };
    Err(AnalysisError::Setting {
        objective: "accuracy".to_owned(),
        field: wrong.0,
        requirement: wrong.1,
    })
}

/// Worse outcomes first, then less evidence of being within the margin, then less accuracy.
fn badness(a: &GateDecision, b: &GateDecision) -> std::cmp::Ordering {
    let evidence = |decision: &GateDecision| decision.log_fail - decision.log_pass;
    a.outcome
        .cmp(&b.outcome)
        .then(evidence(a).total_cmp(&evidence(b)))
        .then(b.accuracy.total_cmp(&a.accuracy))
}

fn decide_class(
    settings: &GateSettings,
    result: &ClassResult,
) -> Result<GateDecision, AnalysisError> {
    let pairs = pairs(result)?;
    let right = result.candidate.iter().filter(|right| **right).count() as u64;
    let examples = result.candidate.len() as u64;
    let m = settings.max_drop.as_f64();
    let log =
        |bet: fn(&PairedCounts, f64) -> f64| pairs.as_ref().map_or(0.0, |pairs| bet(pairs, m));
    let (log_fail, log_pass) = (log(log_fail), log(log_pass));
    let below_minimum = settings.minimum.is_some_and(|minimum| {
        // right/examples < minimum in integers, so that exactly the minimum passes.
        u128::from(right) * u128::from(Ppm::ONE.0) < u128::from(minimum.0) * u128::from(examples)
    });
    let reason = match &pairs {
        _ if below_minimum => GateReason::BelowMinimum,
        None => GateReason::NothingToCompare,
        Some(_) if log_fail >= fail_threshold(settings) => GateReason::DropShown,
        Some(_) if log_pass >= -settings.false_promotion_rate.as_f64().ln() => {
            GateReason::DropExcluded
        }
        Some(pairs) if pairs.drop() > m => GateReason::ObservedDropTooLarge,
        Some(_) => GateReason::ObservedDropWithin,
    };
    let accuracy = right as f64 / examples as f64;
    Ok(GateDecision {
        outcome: outcome(reason),
        reason,
        words: words(settings, result, accuracy, pairs.as_ref(), reason),
        class: result.class.clone(),
        examples,
        accuracy,
        pairs,
        log_fail,
        log_pass,
    })
}

fn pairs(result: &ClassResult) -> Result<Option<PairedCounts>, AnalysisError> {
    if result.candidate.is_empty() {
        return Err(AnalysisError::NoExamples(result.class.clone()));
    }
    match &result.stable {
        Some(stable) if stable.len() != result.candidate.len() => Err(AnalysisError::Unpaired {
            class: result.class.clone(),
            stable: stable.len(),
            candidate: result.candidate.len(),
        }),
        Some(stable) => Ok(Some(PairedCounts::from_bits(stable, &result.candidate))),
        None => Ok(None),
    }
}

/// `ln(1/(.1 alpha))`.
fn fail_threshold(settings: &GateSettings) -> f64 {
    -(GATE_ALPHA_FRACTION * settings.false_rollback_rate.as_f64()).ln()
}

fn outcome(reason: GateReason) -> GateOutcome {
    match reason {
        GateReason::BelowMinimum | GateReason::DropShown | GateReason::ObservedDropTooLarge => {
            GateOutcome::Fail
        }
        GateReason::DropExcluded | GateReason::NothingToCompare => GateOutcome::Pass,
        GateReason::ObservedDropWithin => GateOutcome::PassEvidenceLimited,
    }
}

fn words(
    settings: &GateSettings,
    result: &ClassResult,
    accuracy: f64,
    pairs: Option<&PairedCounts>,
    reason: GateReason,
) -> String {
    let on = format!(
        "{:.1} % right on these {} examples on {}",
        accuracy * 100.0,
        result.candidate.len(),
        result.class
    );
    let drop = pairs.map_or(0.0, PairedCounts::drop) * 100.0;
    let margin = settings.max_drop.as_f64() * 100.0;
    match reason {
        GateReason::BelowMinimum => {
            let minimum = settings.minimum.map_or(0.0, Ppm::as_f64) * 100.0;
            format!("{on}, below the minimum of {minimum} %")
        }
        GateReason::DropShown => {
            format!("{on}: {drop:.1} points fewer than stable, a drop of more than {margin} shown")
        }
        GateReason::DropExcluded => {
            format!("{on}: a drop of {margin} points or more against stable is excluded")
        }
        GateReason::ObservedDropTooLarge => {
            format!(
                "{on}: {drop:.1} points fewer than stable, {margin} are tolerated; too few examples to be sure"
            )
        }
        GateReason::ObservedDropWithin => {
            format!(
                "{on}: {drop:.1} points fewer than stable, {margin} are tolerated; too few examples to exclude more"
            )
        }
        GateReason::NothingToCompare => format!("{on}, with no stable revision to compare"),
    }
}
