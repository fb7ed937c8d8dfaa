//! The settings of one rollout's analysis, frozen in status at its start: editing them starts a new rollout.

use serde::{Deserialize, Serialize};

use crate::constants as c;
use crate::error::AnalysisError;
use crate::latency::LatencyObjective;
use crate::ppm::Ppm;

/// All that decides a live verdict, besides the counts and the frozen thresholds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnalysisSettings {
    /// Alpha: probability of rolling back a harmless revision over its whole rollout.
    pub false_rollback_rate: Ppm,
    /// Beta: probability of promoting a revision at or beyond the promotion margin.
    pub false_promotion_rate: Ppm,
    /// Whether an accuracy gate spends its part of alpha before traffic.
    pub accuracy_gate: AccuracyGate,
    /// What the coin is tossed for.
    pub unit: Unit,
    /// Longest exposed time of the whole rollout (all step deadlines together), for the planned restarts.
    pub max_exposed_seconds: u64,
    /// Requests that may be harmed when a step ends before every objective passes.
    pub harm_budget_requests: u64,
    /// The live objectives.
    pub objectives: Vec<Objective>,
}

/// Whether an accuracy gate was run for this rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccuracyGate {
    /// No accuracy objective: the live objectives have all of alpha.
    Absent,
    /// The gate has a tenth of alpha, the live objectives the rest.
    Configured,
}

/// What the coin is tossed for; events are counted per the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Every request has its own coin.
    Request,
    /// A key keeps its arm; its first event counts. No restarts then: a key exposed before a restart is not a
    /// fresh unit after it, and counting it as one rolls back better candidates.
    Key,
}

/// A named objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Objective {
    /// The user's name for it, unique in the rollout.
    pub name: String,
    /// What is measured and how much of it is tolerated.
    pub kind: ObjectiveKind,
}

/// What an objective measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum ObjectiveKind {
    /// Slow requests.
    Latency(LatencyObjective),
    /// Failed requests.
    Errors(HarmMargins),
    /// Requests passed on to a larger model or a person.
    Escalation(HarmMargins),
}

/// Margins of an objective that is harmed only when ratio **and** difference are (5 errors in a million requests
/// are no harm), and passes when either is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HarmMargins {
    /// Increase of the ratio: 20 % is x1.2. Harm beyond it, promotion when it is excluded.
    pub max_increase: Ppm,
    /// Difference (candidate minus stable) above which there is harm.
    pub harm_points: Ppm,
    /// Difference whose exclusion passes.
    pub max_increase_points: Ppm,
}

impl HarmMargins {
    /// Margins for errors. The harmful difference is +0.1 point, or less where the user tolerates less.
    #[must_use]
    pub fn errors(max_increase: Ppm, max_increase_points: Ppm) -> Self {
        let harm_points = c::ERRORS_HARM_POINTS.min(max_increase_points);
        Self {
            max_increase,
            harm_points,
            max_increase_points,
        }
    }

    /// Margins for escalations. The harmful difference is +1 point, or less where the user tolerates less.
    #[must_use]
    pub fn escalation(max_increase: Ppm, max_increase_points: Ppm) -> Self {
        let harm_points = c::ESCALATION_HARM_POINTS.min(max_increase_points);
        Self {
            max_increase,
            harm_points,
            max_increase_points,
        }
    }
}

impl AnalysisSettings {
    /// The documented defaults with these objectives: no gate, a coin per request.
    #[must_use]
    pub fn with_objectives(objectives: Vec<Objective>, max_exposed_seconds: u64) -> Self {
        Self {
            false_rollback_rate: c::FALSE_ROLLBACK_RATE,
            false_promotion_rate: c::FALSE_PROMOTION_RATE,
            accuracy_gate: AccuracyGate::Absent,
            unit: Unit::Request,
            max_exposed_seconds,
            harm_budget_requests: c::HARM_BUDGET_REQUESTS,
            objectives,
        }
    }

    /// Refuses settings under which the promises would be empty or a logarithm undefined.
    pub fn validate(&self) -> Result<(), AnalysisError> {
        let rate = |rate: Ppm| (1..=500_000).contains(&rate.0);
        require(
            "analysis",
            "falseRollbackRate",
            rate(self.false_rollback_rate),
            "above 0, at most 50 %",
        )?;
        require(
            "analysis",
            "falsePromotionRate",
            rate(self.false_promotion_rate),
            "above 0, at most 50 %",
        )?;
        for (index, objective) in self.objectives.iter().enumerate() {
            objective.validate()?;
            if self.objectives[..index]
                .iter()
                .any(|other| other.name == objective.name)
            {
                return Err(AnalysisError::DuplicateObjective(objective.name.clone()));
            }
        }
        Ok(())
    }

    /// Alpha of the live objectives: without the gate's tenth where there is a gate.
    #[must_use]
    pub fn live_alpha(&self) -> f64 {
        let alpha = self.false_rollback_rate.as_f64();
        match self.accuracy_gate {
            AccuracyGate::Absent => alpha,
            AccuracyGate::Configured => alpha * (1.0 - c::GATE_ALPHA_FRACTION),
        }
    }

    /// `ln(1/alpha)` of the live objectives: the combined evidence at which the rollout is rolled back.
    #[must_use]
    pub fn roll_back_threshold(&self) -> f64 {
        -self.live_alpha().ln()
    }

    /// `ln(1/beta)`: the evidence of being better than its margin at which an objective passes.
    #[must_use]
    pub fn promote_threshold(&self) -> f64 {
        -self.false_promotion_rate.as_f64().ln()
    }

    /// Weights v_m of the objectives, summing to 1: the weight of a kind is shared among its objectives and
    /// renormalised over the kinds present.
    #[must_use]
    pub fn objective_weights(&self) -> Vec<f64> {
        let of_kind = |kind: &ObjectiveKind| {
            let alike = |other: &&Objective| {
                std::mem::discriminant(&other.kind) == std::mem::discriminant(kind)
            };
            kind.weight() / self.objectives.iter().filter(alike).count() as f64
        };
        let weights: Vec<f64> = self
            .objectives
            .iter()
            .map(|objective| of_kind(&objective.kind))
            .collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / total).collect()
    }
}

impl Objective {
    fn validate(&self) -> Result<(), AnalysisError> {
        match &self.kind {
            ObjectiveKind::Latency(latency) => require(
                &self.name,
                "maxIncrease",
                positive_share(latency.max_increase),
                "above 0, at most 1000 %",
            ),
            ObjectiveKind::Errors(margins) | ObjectiveKind::Escalation(margins) => {
                let points = |points: Ppm| (1..Ppm::ONE.0).contains(&points.0);
                require(
                    &self.name,
                    "maxIncrease",
                    positive_share(margins.max_increase),
                    "above 0, at most 1000 %",
                )?;
                require(
                    &self.name,
                    "harmPoints",
                    points(margins.harm_points),
                    "above 0, below 100",
                )?;
                require(
                    &self.name,
                    "maxIncreasePoints",
                    points(margins.max_increase_points),
                    "above 0, below 100",
                )
            }
        }
    }
}

impl ObjectiveKind {
    fn weight(&self) -> f64 {
        match self {
            Self::Latency(_) => c::LATENCY_WEIGHT,
            Self::Errors(_) => c::ERRORS_WEIGHT,
            Self::Escalation(_) => c::ESCALATION_WEIGHT,
        }
    }
}

fn positive_share(increase: Ppm) -> bool {
    (1..=10_000_000).contains(&increase.0)
}

fn require(
    objective: &str,
    field: &'static str,
    holds: bool,
    requirement: &'static str,
) -> Result<(), AnalysisError> {
    if holds {
        return Ok(());
    }
    Err(AnalysisError::Setting {
        objective: objective.to_owned(),
        field,
        requirement,
    })
}
