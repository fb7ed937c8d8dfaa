//! Texts for people: the phase and the printer columns.

use smallfleet_crds::status::{Display, RolloutState, RolloutStatus, SmallModelStatus};

use crate::draft::{Cx, Draft};
use crate::revision::Verdict;

/// One word. A pause or a block hides the state that it holds up.
pub(super) fn phase(cx: &Cx<'_>, draft: &Draft) -> &'static str {
    if cx.conflict.is_some() {
        return "NameConflict";
    }
    match &draft.status.rollout {
        Some(rollout) => of_rollout(&draft.status, rollout),
        None if cx.desired.is_err() => "Rejected",
        None => at_rest(cx, &draft.status),
    }
}

fn of_rollout(status: &SmallModelStatus, rollout: &RolloutStatus) -> &'static str {
    if rollout.paused.is_some() {
        return "Paused";
    }
    if rollout.blocked.is_some() {
        return "Blocked";
    }
    match rollout.state {
        RolloutState::Gating => "Gating",
        RolloutState::Preparing => "Preparing",
        RolloutState::Analyzing => "Analyzing",
        RolloutState::Inconclusive => "Inconclusive",
        RolloutState::Promoting => "Promoting",
        RolloutState::Reverting => "Reverting",
        RolloutState::RollingBack => "RollingBack",
        RolloutState::RolledBack if is_refused(status, rollout) => "RolledBack",
        RolloutState::RolledBack => "Rejected",
    }
}

/// Refused, and not only rejected for what spec names.
pub(super) fn is_refused(status: &SmallModelStatus, rollout: &RolloutStatus) -> bool {
    status
        .refused
        .iter()
        .any(|refused| refused.revision == rollout.to)
}

fn at_rest(cx: &Cx<'_>, status: &SmallModelStatus) -> &'static str {
    let stable = status.stable.as_ref();
    let installed =
        stable.is_some_and(|stable| cx.verdict(&stable.revision) == Some(Verdict::Stable));
    if installed { "Stable" } else { "Installing" }
}

pub(super) fn display(status: &SmallModelStatus) -> Display {
    let rollout = status.rollout.as_ref();
    let running = rollout.filter(|rollout| rollout.state != RolloutState::RolledBack);
    Display {
        ready: format!("{}/{}", status.nodes.ready, status.nodes.desired),
        candidate: running.map_or_else(String::new, |rollout| rollout.to.clone()),
        step: running.map_or_else(String::new, step),
        evidence: running.map_or_else(String::new, |_| evidence(status)),
    }
}

fn step(rollout: &RolloutStatus) -> String {
    let steps = rollout.frozen.as_ref().map(|frozen| &frozen.steps);
    let (true, Some(steps)) = (rollout.state.is_in_step(), steps) else {
        return String::new();
    };
    let name = steps
        .get(rollout.step as usize)
        .map_or("", |step| &step.name);
    format!("{}/{} {name}", rollout.step + 1, steps.len())
}

/// The objective that is nearest to its threshold.
fn evidence(status: &SmallModelStatus) -> String {
    let objectives = status
        .analysis
        .iter()
        .flat_map(|analysis| &analysis.objectives);
    let distance = |one: &&smallfleet_crds::status::ObjectiveStatus| {
        let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
        number(&one.threshold) - number(&one.log_e)
    };
    objectives
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))
        .map_or_else(String::new, |one| {
            format!("{}/{}", one.log_e, one.threshold)
        })
}
