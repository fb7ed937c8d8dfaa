//! When a step may end, and what is left at its deadline.

use super::{Assessment, Verdict};
use crate::settings::AnalysisSettings;

/// The step that would follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextStep {
    /// The candidate's share on its wave nodes, in permille.
    pub pi_permille: u16,
    /// Requests expected on those nodes, both arms together, over its minimum exposure.
    pub expected_requests: u64,
}

/// Whether the evidence lets a step end. Minimum exposure and approval are the caller's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StepEnd {
    /// Every objective passes.
    Passed,
    /// Not all pass, but the next step can harm no more than the budget.
    LittleHarm {
        /// Requests that the next step harms at most, at confidence 1 - beta.
        requests: f64,
    },
    /// Neither.
    NotYet,
}

/// Whether the step may end; `next` is none for the last step, which only passing ends.
///
/// The harm that cannot be excluded: the smallest excess rate that each objective excludes (1 if none), the largest of
/// the objectives, times the candidate's share and the requests of the next step.
#[must_use]
pub fn step_end(settings: &AnalysisSettings, look: &Assessment, next: Option<NextStep>) -> StepEnd {
    match (&look.verdict, next) {
        (Verdict::Pass, _) => StepEnd::Passed,
        (Verdict::Continue, Some(next)) => {
            let excess = look
                .objectives
                .iter()
                .map(|report| report.excess_at_most.unwrap_or(1.0))
                .fold(0.0, f64::max);
            let requests =
                excess * f64::from(next.pi_permille) / 1000.0 * next.expected_requests as f64;
            if requests <= settings.harm_budget_requests as f64 {
                StepEnd::LittleHarm { requests }
            } else {
                StepEnd::NotYet
            }
        }
        _ => StepEnd::NotYet,
    }
}

/// At the step's deadline: the bounds in words when every objective excludes the wide margins (latency x1.5, errors +5
/// points), so that promotion with the condition `EvidenceLimited` is justified; none when it is inconclusive.
#[must_use]
pub fn promote_if_bounded(look: &Assessment) -> Option<String> {
    let undecided = matches!(look.verdict, Verdict::Pass | Verdict::Continue);
    if !undecided || !look.objectives.iter().all(|report| report.bounded) {
        return None;
    }
    let words: Vec<String> = look
        .objectives
        .iter()
        .map(|report| format!("{}: {}", report.name, report.effect))
        .collect();
    Some(words.join("; "))
}
