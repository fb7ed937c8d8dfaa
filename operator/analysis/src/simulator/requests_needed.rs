//! Which objective a promotion waits for.

use super::rollout::Rollout;
use super::scenario::Scenario;
use crate::latency::LatencyEvidence;
use crate::ratio::log_p;
use crate::{AnalysisError, AnalysisSettings, ObjectiveKind, Percentile};

/// Requests on wave nodes at which each part of a promotion held for the first time; none within the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestsNeeded {
    /// The typical request is not slower than the margin (x1.10 on p50 to p95).
    pub typical: Option<u64>,
    /// The tail is not slower than its margin (x1.25 on p95).
    pub tail: Option<u64>,
    /// Errors are within their ratio or their points.
    pub errors: Option<u64>,
    /// All of them at one look.
    pub all: Option<u64>,
}

impl RequestsNeeded {
    /// Requests at which every part had held once: what a promotion would need if a part that was excluded stayed so.
    #[must_use]
    pub fn each_once(&self) -> Option<u64> {
        Some(self.typical?.max(self.tail?).max(self.errors?))
    }
}

/// Watches a rollout, with a look every two seconds, until every part has held or `limit` requests are served.
pub fn requests_needed(
    scenario: &Scenario,
    settings: &AnalysisSettings,
    seed: u64,
    limit: u64,
) -> Result<RequestsNeeded, AnalysisError> {
    let mut rollout = Rollout::new(scenario, settings, seed);
    let mut needed = RequestsNeeded::default();
    while needed.all.is_none() && rollout.requests() < limit {
        rollout.pass_second()?;
        rollout.pass_second()?;
        let now = rollout.requests();
        let [typical, tail, errors] = parts(&rollout, settings)?;
        let first = |seen: &mut Option<u64>, holds: bool| {
            if holds {
                seen.get_or_insert(now);
            }
        };
        first(&mut needed.typical, typical);
        first(&mut needed.tail, tail);
        first(&mut needed.errors, errors);
        first(&mut needed.all, typical && tail && errors);
    }
    Ok(needed)
}

/// Whether the typical request, the tail and the errors pass. What is no objective passes.
fn parts(rollout: &Rollout, settings: &AnalysisSettings) -> Result<[bool; 3], AnalysisError> {
    let (counts, threshold) = (rollout.counts(), settings.promote_threshold());
    let mut parts = [true; 3];
    for objective in &settings.objectives {
        match &objective.kind {
            ObjectiveKind::Latency(latency) => {
                let evidence = LatencyEvidence::new(&objective.name, latency, rollout.frozen())?;
                parts[0] &= evidence.log_faster(counts, latency.promote_rho()) >= threshold;
                parts[1] &= latency.promote_tail_rho().is_none_or(|rho| {
                    log_p(&evidence.cells(counts, Percentile::P95, rho), 1.0) >= threshold
                });
            }
            ObjectiveKind::Errors(margins) | ObjectiveKind::Escalation(margins) => {
                let cells: Vec<_> = counts
                    .errors()
                    .map(|(pi, counts)| crate::cell::Cell::of(pi, counts))
                    .collect();
                parts[2] &= crate::errors::log_promote(margins, &cells) >= threshold;
            }
        }
    }
    Ok(parts)
}
