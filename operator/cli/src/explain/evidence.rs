//! The evidence of each objective, with figures.

use smallfleet_crds::ObjectiveType;

use crate::facts::{Facts, Judged};
use crate::words;

use super::Evidence;

/// One entry an objective.
pub(super) fn all(facts: &Facts<'_>) -> Vec<Evidence> {
    facts
        .judged()
        .into_iter()
        .map(|figures| Evidence {
            meaning: meaning(&figures),
            figures,
        })
        .collect()
}

fn meaning(judged: &Judged) -> String {
    let mut parts = vec![
        events(judged),
        format!(
            "evidence of harm {} ({} rolls back)",
            judged.harm, judged.harm_threshold
        ),
        passing(judged),
    ];
    if !judged.effect.is_empty() {
        parts.push(judged.effect.clone());
    }
    if let (false, Some(eta)) = (judged.passed, judged.eta_seconds) {
        parts.push(format!("about {} to go", words::duration(eta)));
    }
    parts.join("; ")
}

fn events(judged: &Judged) -> String {
    let bad = match judged.kind {
        Some(ObjectiveType::Latency) => "slow",
        Some(ObjectiveType::Errors) => "failed",
        Some(ObjectiveType::Accuracy) => "wrong",
        None => "bad",
    };
    format!(
        "{} {bad} of {} by stable, {} of {} by the candidate",
        words::count(judged.stable_events),
        words::count(judged.stable_units),
        words::count(judged.candidate_events),
        words::count(judged.candidate_units),
    )
}

fn passing(judged: &Judged) -> String {
    match judged.passed {
        true => format!(
            "of no harm {} ({} passes): passed",
            judged.pass, judged.pass_threshold
        ),
        false => format!(
            "of no harm {} ({} passes)",
            judged.pass, judged.pass_threshold
        ),
    }
}
