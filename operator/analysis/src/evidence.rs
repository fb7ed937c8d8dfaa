//! What the operator keeps of a rollout between looks and restarts (the `<model>-evidence` ConfigMap).

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::error::AnalysisError;
use crate::latency::Window;
use crate::restart::{RestartPlan, Snapshot};
use crate::verdict::Assessment;

/// Persisted evidence. Open epochs are not in it: their routers send them again, so nothing counts twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evidence {
    /// Totals of the closed epochs.
    pub closed: Counts,
    /// Copies of the totals (closed and open) at the restarts after the first, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Highest combined evidence of any look: a boundary crossed once stays crossed.
    pub peak: Peak,
    /// Highest sample-ratio evidence of any look, in millionths of a natural log.
    pub sample_ratio_peak_micronats: i64,
    /// Exposed seconds so far: time during which at least one route with a candidate share was granted.
    pub exposed_seconds: u64,
    /// Where the re-freeze window of each freeze in use began.
    pub windows: Vec<Window>,
}

/// Highest combined log evidence and the objective that contributed most to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Peak {
    /// In millionths of a natural log, rounded down: integers read back exactly, so a verdict does not change
    /// when a new leader reads it.
    pub log_e_micronats: i64,
    /// Name of the objective with the largest part in it; none before the first event.
    pub objective: Option<String>,
}

impl Evidence {
    /// The counts of a look: closed epochs and the open ones that the routers sent.
    pub fn total<'a>(
        &self,
        open: impl IntoIterator<Item = &'a Counts>,
    ) -> Result<Counts, AnalysisError> {
        let mut total = self.closed.clone();
        open.into_iter().try_for_each(|epoch| total.merge(epoch))?;
        Ok(total)
    }

    /// Adds a closed epoch to the totals. The caller sees to it that each epoch is added once, by its id.
    pub fn merge(&mut self, epoch: &Counts) -> Result<(), AnalysisError> {
        self.closed.merge(epoch)
    }

    /// Records the peaks of a look. Persist before acting on a raise.
    pub fn record(&mut self, assessment: &Assessment) {
        if assessment.peak.log_e_micronats > self.peak.log_e_micronats {
            self.peak = assessment.peak.clone();
        }
        self.sample_ratio_peak_micronats = self
            .sample_ratio_peak_micronats
            .max(assessment.sample_ratio.peak_micronats);
    }

    /// Takes the snapshot of a restart when one is due; says whether it did.
    pub fn restart_if_due(&mut self, plan: &RestartPlan, total: &Counts) -> bool {
        let due = plan.is_due(&self.snapshots, self.exposed_seconds, total.units().total());
        if due {
            self.snapshots.push(Snapshot {
                exposed_seconds: self.exposed_seconds,
                counts: total.clone(),
            });
        }
        due
    }
}

/// Log evidence in the unit it is compared and stored in: rounded down, so never in favour of a rollback.
pub(crate) fn micronats(log_e: f64) -> i64 {
    (log_e * 1e6).floor() as i64
}
