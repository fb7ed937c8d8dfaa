//! What people are told of each objective.

use serde::{Deserialize, Serialize};

use super::HarmEvidence;
use super::objective::ObjectiveEvidence;
use super::words;
use crate::constants::INTERVAL_ALPHA;
use crate::counts::{ArmCounts, Counts};
use crate::error::AnalysisError;
use crate::errors::excess_at_most;
use crate::interval::{Interval, confidence_sequence};
use crate::latency::{FrozenLatency, LatencyEvidence};
use crate::restart::RestartPlan;
use crate::settings::AnalysisSettings;

/// Most times the present counts that a forecast reaches ahead.
const FORECAST_FACTOR_MAX: f64 = 1024.0;

/// One objective at one look. Logs are natural.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveReport {
    /// The user's name of the objective.
    pub name: String,
    /// Events of each arm: failed, escalated, or slower than the threshold that shows most harm (than the tail's, while none does).
    pub events: ArmCounts,
    /// Matured units of each arm.
    pub units: ArmCounts,
    /// Log evidence of harm.
    pub log_e: f64,
    /// `ln(1/(alpha v))`: at this evidence the objective alone rolls back, whatever the others say.
    pub threshold: f64,
    /// Log evidence of being within the promotion margin.
    pub log_p: f64,
    /// Of latency, what it is the smaller of: the evidence of the typical unit and of the tail.
    pub log_p_parts: Option<(f64, f64)>,
    /// `ln(1/beta)`: at this evidence the objective passes.
    pub promote_threshold: f64,
    /// Whether the objective passes at this look.
    pub passes: bool,
    /// Whether the bound of a promotion with limited evidence is excluded (also true when it passes).
    pub bounded: bool,
    /// Latency: times slower than stable, from the counted slow-downs. Errors and escalations: ratio of the event
    /// probabilities, a 95 % confidence sequence.
    pub interval: Interval,
    /// Smallest excess of harmed requests, as a fraction of the candidate's, that is excluded; none yet without one.
    pub excess_at_most: Option<f64>,
    /// The effect in words, such as "at most x1.25 slower".
    pub effect: String,
    /// How much more is needed, if everything goes on in proportion; none when no boundary is in sight.
    pub forecast: Option<Forecast>,
}

/// A rough forecast: enough to divide by a rate for a time, never to decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Which boundary will be reached.
    pub toward: Toward,
    /// Events of both arms still needed.
    pub events: u64,
    /// Matured units of both arms still needed.
    pub units: u64,
}

/// A boundary of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Toward {
    /// Its margin is excluded.
    Promotion,
    /// It alone rolls back.
    RollBack,
}

/// Reports in the order of the settings.
pub(super) fn reports(
    settings: &AnalysisSettings,
    frozen: &[FrozenLatency],
    counts: &Counts,
    harm: &HarmEvidence,
) -> Result<Vec<ObjectiveReport>, AnalysisError> {
    let thresholds = settings
        .objective_weights()
        .into_iter()
        .map(|weight| settings.roll_back_threshold() - weight.ln());
    let mut reports = Vec::with_capacity(settings.objectives.len());
    for ((objective, log_e), threshold) in settings
        .objectives
        .iter()
        .zip(&harm.objectives)
        .zip(thresholds)
    {
        let look = Look {
            settings,
            counts,
            evidence: ObjectiveEvidence::new(objective, frozen)?,
        };
        reports.push(look.report(&objective.name, *log_e, threshold));
    }
    Ok(reports)
}

struct Look<'a> {
    settings: &'a AnalysisSettings,
    counts: &'a Counts,
    evidence: ObjectiveEvidence<'a>,
}

impl Look<'_> {
    fn report(&self, name: &str, log_e: f64, threshold: f64) -> ObjectiveReport {
        let (units, events) = self.evidence.shown(self.counts);
        let promote_threshold = self.settings.promote_threshold();
        let log_p = self.evidence.log_promote(self.counts);
        let passes = log_p >= promote_threshold;
        let interval = self.interval();
        let excess_at_most =
            excess_at_most(&self.evidence.harm_cells(self.counts), promote_threshold);
        ObjectiveReport {
            name: name.to_owned(),
            events,
            units,
            log_e,
            threshold,
            log_p,
            log_p_parts: self.log_p_parts(),
            promote_threshold,
            passes,
            bounded: passes || self.evidence.log_bounded(self.counts) >= promote_threshold,
            interval,
            excess_at_most,
            effect: self.effect(interval, excess_at_most),
            forecast: self.forecast(threshold, units, events),
        }
    }

    fn log_p_parts(&self) -> Option<(f64, f64)> {
        let ObjectiveEvidence::Latency(_, evidence) = &self.evidence else {
            return None;
        };
        let (typical, tail) = evidence.log_promote_parts(self.counts);
        Some((typical, tail?))
    }

    fn interval(&self) -> Interval {
        match &self.evidence {
            ObjectiveEvidence::Latency(_, evidence) => self.slowdown(evidence),
            ObjectiveEvidence::Errors(_) | ObjectiveEvidence::Escalation(_) => {
                confidence_sequence(&self.evidence.harm_cells(self.counts), INTERVAL_ALPHA)
            }
        }
    }

    /// Largest counted slow-down with evidence of being slower, `ln(2/alpha)`, and smallest one with evidence of
    /// being faster, `ln(1/beta)`. Both may be chosen after seeing the counts: the evidence is monotone in rho.
    fn slowdown(&self, evidence: &LatencyEvidence<'_>) -> Interval {
        let harm_threshold = (2.0 / self.settings.false_rollback_rate.as_f64()).ln();
        let promote_threshold = self.settings.promote_threshold();
        let rhos = evidence.rhos();
        let slower = rhos
            .iter()
            .rev()
            .find(|rho| evidence.log_slower(self.counts, **rho) >= harm_threshold);
        let faster = rhos
            .iter()
            .find(|rho| evidence.log_faster(self.counts, **rho) >= promote_threshold);
        Interval {
            lower: slower.map(|rho| rho.as_f64()),
            upper: faster.map(|rho| rho.as_f64()),
        }
    }

    fn effect(&self, interval: Interval, excess_at_most: Option<f64>) -> String {
        match &self.evidence {
            ObjectiveEvidence::Latency(..) => words::slowdown(interval),
            ObjectiveEvidence::Errors(_) => words::events("errors", interval, excess_at_most),
            ObjectiveEvidence::Escalation(_) => {
                words::events("escalations", interval, excess_at_most)
            }
        }
    }

    /// The nearer of the two boundaries if the counts grow in proportion. Late-onset restarts are left out.
    fn forecast(&self, threshold: f64, units: ArmCounts, events: ArmCounts) -> Option<Forecast> {
        let single = RestartPlan::single();
        let promotes = |counts: &Counts| {
            self.evidence.log_promote(counts) >= self.settings.promote_threshold()
        };
        let rolls_back = |counts: &Counts| {
            self.evidence
                .log_roll_back(std::slice::from_ref(counts), &single)
                >= threshold
        };
        let promotion = self
            .growth_until(promotes)
            .map(|factor| (Toward::Promotion, factor));
        let roll_back = self
            .growth_until(rolls_back)
            .map(|factor| (Toward::RollBack, factor));
        let (toward, factor) = [promotion, roll_back]
            .into_iter()
            .flatten()
            .min_by(|a, b| a.1.total_cmp(&b.1))?;
        let more = |now: ArmCounts| ((factor - 1.0) * now.total() as f64).ceil() as u64;
        Some(Forecast {
            toward,
            events: more(events),
            units: more(units),
        })
    }

    /// Factor on the counts at which `reached` holds, to about 2 %.
    fn growth_until(&self, reached: impl Fn(&Counts) -> bool) -> Option<f64> {
        if reached(self.counts) {
            return Some(1.0);
        }
        let at = |factor: f64| reached(&self.counts.scaled(factor));
        let (mut low, mut high) = (1.0, 2.0);
        while !at(high) {
            (low, high) = (high, high * 2.0);
            if high > FORECAST_FACTOR_MAX {
                return None;
            }
        }
        for _ in 0..6 {
            let middle = f64::midpoint(low, high);
            if at(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }
}
