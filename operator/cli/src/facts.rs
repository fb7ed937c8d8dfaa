//! What status says, in the terms that both views need. Tolerates whatever is missing: a reader of another version still gets an
//! answer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use smallfleet_crds::names::condition;
use smallfleet_crds::status::{ObjectiveStatus, RolloutState, RolloutStatus, SmallModelStatus};
use smallfleet_crds::{Analysis, FlagState, ObjectiveType, SmallModel, Step};

/// Where a model is on its way, seen from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// No operator has looked at it.
    Unseen,
    /// Its manifest is refused; what served before goes on serving.
    Rejected,
    /// Nothing serves yet.
    Installing,
    /// What spec asks for serves, or is being spread without a rollout.
    Serving,
    /// A rollout is in progress, or its end is still what spec asks for.
    Rollout(RolloutState),
}

/// A SmallModel with a status that is never missing.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub model: &'a SmallModel,
    status: Option<&'a SmallModelStatus>,
}

/// The current step of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrentStep {
    /// From 1.
    pub number: usize,
    pub of: usize,
    pub settings: Step,
}

/// One objective with its figures against their thresholds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    pub name: String,
    pub units: u64,
    pub stable_units: u64,
    pub candidate_units: u64,
    pub stable_events: u64,
    pub candidate_events: u64,
    /// Evidence of harm, and what rolls back.
    pub harm: String,
    pub harm_threshold: String,
    /// Evidence of no harm, and what passes.
    pub pass: String,
    pub pass_threshold: String,
    pub passed: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    #[serde(skip)]
    pub kind: Option<ObjectiveType>,
}

impl<'a> Facts<'a> {
    #[must_use]
    pub fn new(model: &'a SmallModel) -> Self {
        Self {
            model,
            status: model.status.as_ref(),
        }
    }

    #[must_use]
    pub fn name(&self) -> &'a str {
        self.model.metadata.name.as_deref().unwrap_or_default()
    }

    #[must_use]
    pub fn namespace(&self) -> &'a str {
        self.model.metadata.namespace.as_deref().unwrap_or_default()
    }

    #[must_use]
    pub fn status(&self) -> Option<&'a SmallModelStatus> {
        self.status
    }

    /// The rollout in progress, or the one that ended refused.
    #[must_use]
    pub fn rollout(&self) -> Option<&'a RolloutStatus> {
        self.status?
            .rollout
            .as_ref()
            .filter(|rollout| !rollout.id.is_empty())
    }

    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&'a Condition> {
        self.status?
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind)
    }

    /// Whether a condition is there and says this.
    #[must_use]
    pub fn says(&self, kind: &str, status: &str) -> bool {
        self.condition(kind)
            .is_some_and(|condition| condition.status == status)
    }

    /// Whether status speaks of an older spec.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let observed = self.status.and_then(|status| status.observed_generation);
        observed.is_some() && observed < self.model.metadata.generation
    }

    #[must_use]
    pub fn flag_is_off(&self) -> bool {
        self.model.spec.feature_flag.state == FlagState::Disabled
    }

    #[must_use]
    pub fn situation(&self) -> Situation {
        let Some(status) = self
            .status
            .filter(|status| status.observed_generation.is_some())
        else {
            return Situation::Unseen;
        };
        if self.says(condition::ACCEPTED, "False") {
            return Situation::Rejected;
        }
        if let Some(rollout) = self.rollout() {
            return Situation::Rollout(rollout.state);
        }
        let serves = status.stable.is_some() && !self.says(condition::AVAILABLE, "False");
        if serves {
            Situation::Serving
        } else {
            Situation::Installing
        }
    }

    /// Whether no revision has been installed or promoted yet.
    #[must_use]
    pub fn has_no_stable(&self) -> bool {
        self.status.is_none_or(|status| status.stable.is_none())
    }

    /// Steps and rates as the rollout froze them, else as spec has them.
    fn frozen(&self) -> (&'a [Step], &'a Analysis) {
        let frozen = self.rollout().and_then(|rollout| rollout.frozen.as_ref());
        let spec = &self.model.spec.rollout;
        match frozen {
            Some(frozen) if !frozen.steps.is_empty() => (&frozen.steps, &frozen.analysis),
            _ => (&spec.steps, &spec.analysis),
        }
    }

    #[must_use]
    pub fn step(&self) -> Option<CurrentStep> {
        let index = usize::try_from(self.rollout()?.step).ok()?;
        let (steps, _) = self.frozen();
        Some(CurrentStep {
            number: index + 1,
            of: steps.len(),
            settings: steps.get(index)?.clone(),
        })
    }

    /// The evidence, one entry an objective.
    #[must_use]
    pub fn judged(&self) -> Vec<Judged> {
        let analysis = self.status.and_then(|status| status.analysis.as_ref());
        let (_, settings) = self.frozen();
        let objectives = analysis
            .into_iter()
            .flat_map(|analysis| &analysis.objectives);
        objectives
            .map(|objective| judged(objective, settings))
            .collect()
    }
}

fn judged(objective: &ObjectiveStatus, settings: &Analysis) -> Judged {
    // ln(1/beta): analysis.md 3.
    let pass_threshold = -settings.false_promotion_rate.fraction().ln();
    let pass = objective.log_p.parse::<f64>().ok();
    let configured = settings
        .objectives
        .iter()
        .find(|other| other.name == objective.name);
    Judged {
        name: objective.name.clone(),
        units: objective.units.stable + objective.units.candidate,
        stable_units: objective.units.stable,
        candidate_units: objective.units.candidate,
        stable_events: objective.events.stable,
        candidate_events: objective.events.candidate,
        harm: objective.log_e.clone(),
        harm_threshold: objective.threshold.clone(),
        pass: objective.log_p.clone(),
        pass_threshold: format!("{pass_threshold:.2}"),
        passed: pass.is_some_and(|pass| pass >= pass_threshold),
        effect: objective.effect.clone(),
        eta_seconds: objective.eta_seconds,
        kind: configured.map(|objective| objective.r#type),
    }
}
