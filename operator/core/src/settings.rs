//! The analysis settings of the API in the terms of the statistics.

use smallfleet_analysis::gate::GateSettings;
use smallfleet_analysis::latency::LatencyObjective as LatencyTerms;
use smallfleet_analysis::settings::{AccuracyGate, HarmMargins, Unit};
use smallfleet_analysis::{
    AnalysisSettings, FrozenLatency, LatencySignal as Timed, Objective as Term, ObjectiveKind,
    Percentile, Ppm, constants,
};
use smallfleet_crds::status::{Frozen, FrozenThresholds};
use smallfleet_crds::{
    AccuracyObjective, Analysis, LatencyPercentile, LatencySignal, Objective, ObjectiveType,
    Percent, Task,
};

/// An accuracy objective: the labelled set and what is asked of the candidate on it.
#[derive(Clone, Debug)]
pub(crate) struct Gate<'a> {
    pub name: &'a str,
    pub dataset: &'a str,
    pub settings: GateSettings,
}

impl Gate<'_> {
    /// `sha256:...`
    pub fn dataset_digest(&self) -> &str {
        self.dataset
            .split_once('@')
            .map_or("", |(_, digest)| digest)
    }
}

/// The accuracy gate, if there is one.
pub(crate) fn gate(analysis: &Analysis) -> Option<Gate<'_>> {
    let with_block = |objective: &'_ Objective| objective.r#type == ObjectiveType::Accuracy;
    let objective = analysis.objectives.iter().find(|one| with_block(one))?;
    let accuracy: &AccuracyObjective = objective.accuracy.as_ref()?;
    Some(Gate {
        name: &objective.name,
        dataset: &accuracy.dataset.image,
        settings: GateSettings {
            minimum: Some(ppm(accuracy.minimum)).filter(|minimum| minimum.0 > 0),
            max_drop: ppm(accuracy.max_drop_points),
            false_rollback_rate: ppm(analysis.false_rollback_rate),
            false_promotion_rate: ppm(analysis.false_promotion_rate),
        },
    })
}

/// What a latency objective of the task times where it does not say.
pub(crate) const fn default_signal(task: Task) -> LatencySignal {
    match task {
        Task::TextClassification => LatencySignal::Total,
        Task::TextGeneration => LatencySignal::FirstToken,
    }
}

/// The analysis with its latency signal written out: what is frozen, so that no default of a later release changes it.
/// What an earlier release froze without a signal was `Total`.
pub(crate) fn resolved(analysis: &Analysis, default: LatencySignal) -> Analysis {
    let mut analysis = analysis.clone();
    for objective in &mut analysis.objectives {
        if objective.r#type == ObjectiveType::Latency {
            let latency = objective.latency.get_or_insert_default();
            latency.signal.get_or_insert(default);
        }
    }
    analysis
}

/// What the routers of a rollout time.
pub(crate) fn signal(frozen: &Frozen) -> Timed {
    let settings = live(&frozen.analysis, 0);
    timed(&latency_terms(&settings))
}

/// The API allows one latency objective; without one it does not matter what is timed.
pub(crate) fn timed(terms: &[&LatencyTerms]) -> Timed {
    terms.first().map_or(Timed::Total, |term| term.signal)
}

/// Settings of the objectives that live traffic decides.
pub(crate) fn live(analysis: &Analysis, max_exposed_seconds: u64) -> AnalysisSettings {
    let objectives = analysis.objectives.iter().filter_map(term).collect();
    let accuracy_gate = match gate(analysis) {
        Some(_) => AccuracyGate::Configured,
        None => AccuracyGate::Absent,
    };
    AnalysisSettings {
        false_rollback_rate: ppm(analysis.false_rollback_rate),
        false_promotion_rate: ppm(analysis.false_promotion_rate),
        accuracy_gate,
        unit: Unit::Request,
        max_exposed_seconds,
        harm_budget_requests: constants::HARM_BUDGET_REQUESTS,
        objectives,
    }
}

fn term(objective: &Objective) -> Option<Term> {
    let kind = match objective.r#type {
        ObjectiveType::Latency => ObjectiveKind::Latency(latency(objective)),
        ObjectiveType::Errors => {
            let errors = objective.errors.clone().unwrap_or_default();
            ObjectiveKind::Errors(HarmMargins::errors(
                ppm(errors.max_increase),
                ppm(errors.or_max_increase_points),
            ))
        }
        ObjectiveType::Accuracy => return None,
    };
    Some(Term {
        name: objective.name.clone(),
        kind,
    })
}

fn latency(objective: &Objective) -> LatencyTerms {
    let wish = objective.latency.clone().unwrap_or_default();
    LatencyTerms {
        signal: match wish.signal {
            Some(LatencySignal::FirstToken) => Timed::FirstToken,
            Some(LatencySignal::Total) | None => Timed::Total,
        },
        percentile: wish.percentile.map(|percentile| match percentile {
            LatencyPercentile::P50 => Percentile::P50,
            LatencyPercentile::P75 => Percentile::P75,
            LatencyPercentile::P90 => Percentile::P90,
            LatencyPercentile::P95 => Percentile::P95,
            LatencyPercentile::P99 => Percentile::P99,
        }),
        max_increase: ppm(wish.max_increase),
    }
}

/// The latency objectives of settings.
pub(crate) fn latency_terms(settings: &AnalysisSettings) -> Vec<&LatencyTerms> {
    let latency = |term: &'_ Term| matches!(term.kind, ObjectiveKind::Latency(_));
    let terms = settings.objectives.iter().filter(|term| latency(term));
    terms
        .filter_map(|term| match &term.kind {
            ObjectiveKind::Latency(latency) => Some(latency),
            ObjectiveKind::Errors(_) | ObjectiveKind::Escalation(_) => None,
        })
        .collect()
}

/// The freezes of a rollout. Slow-downs follow from the frozen settings, so status keeps the thresholds only.
pub(crate) fn freezes(frozen: &Frozen) -> Vec<FrozenLatency> {
    let settings = live(&frozen.analysis, 0);
    let terms = latency_terms(&settings);
    let signal = timed(&terms);
    let rhos = LatencyTerms::rhos(terms);
    let freeze = |thresholds: &FrozenThresholds| FrozenLatency {
        signal,
        percentiles: Percentile::ALL.to_vec(),
        thresholds_us: thresholds.thresholds_microseconds.clone(),
        rhos: rhos.clone(),
    };
    frozen.latency.iter().map(freeze).collect()
}

/// Hundredths of a percent are a hundred parts per million each.
fn ppm(percent: Percent) -> Ppm {
    Ppm((percent.fraction() * 1e6).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_analysis_is_the_documented_one() {
        let settings = live(&Analysis::default(), 14_400);
        let expected = AnalysisSettings::with_objectives(settings.objectives.clone(), 14_400);
        assert_eq!(settings, expected);
        settings.validate().unwrap();
        let ObjectiveKind::Errors(errors) = settings.objectives[1].kind else {
            panic!("the second default objective is errors");
        };
        assert_eq!(errors.max_increase, constants::ERRORS_MAX_INCREASE);
        assert_eq!(
            errors.max_increase_points,
            constants::ERRORS_MAX_INCREASE_POINTS
        );
    }

    #[test]
    fn two_decimals_of_a_percent_are_exact() {
        assert_eq!(ppm("0.01%".parse().unwrap()), Ppm(100));
        assert_eq!(ppm("12.34%".parse().unwrap()), Ppm(123_400));
    }

    #[test]
    fn a_generator_is_timed_to_its_first_token_unless_spec_says_otherwise() {
        let analysis = Analysis::default();
        let frozen = |default| resolved(&analysis, default);
        let of = |analysis: &Analysis| timed(&latency_terms(&live(analysis, 0)));
        assert_eq!(
            of(&frozen(default_signal(Task::TextGeneration))),
            Timed::FirstToken
        );
        assert_eq!(
            of(&frozen(default_signal(Task::TextClassification))),
            Timed::Total
        );
        let mut total = analysis.clone();
        total.objectives[0].latency.as_mut().unwrap().signal = Some(LatencySignal::Total);
        let total = resolved(&total, LatencySignal::FirstToken);
        assert_eq!(of(&total), Timed::Total);
    }

    #[test]
    fn the_default_block_means_the_same_left_out() {
        let mut left_out = Analysis::default();
        left_out.objectives[0].latency = None;
        assert_eq!(
            resolved(&left_out, LatencySignal::Total),
            resolved(&Analysis::default(), LatencySignal::Total)
        );
    }
}
