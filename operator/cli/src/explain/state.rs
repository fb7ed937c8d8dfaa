//! What happens at the moment.

use smallfleet_crds::ObjectiveType;
use smallfleet_crds::names::condition;
use smallfleet_crds::status::{RolloutState, RolloutStatus};

use crate::facts::{CurrentStep, Facts, Situation};
use crate::words;

/// Nodes that are named before the rest is counted.
const NAMED_NODES: usize = 3;

/// All of it in one line.
pub(super) fn headline(facts: &Facts<'_>) -> String {
    let ready = facts.says(condition::READY, "True");
    match facts.situation() {
        Situation::Unseen => "no operator has looked at it yet".to_owned(),
        Situation::Rejected => {
            "its manifest is refused; what served before goes on serving".to_owned()
        }
        Situation::Installing => "it is being installed; nothing serves yet".to_owned(),
        Situation::Serving if ready => "what spec asks for serves".to_owned(),
        Situation::Serving => "it serves, but not yet all that spec asks for".to_owned(),
        Situation::Rollout(state) => of_rollout(facts, state).to_owned(),
    }
}

fn of_rollout(facts: &Facts<'_>, state: RolloutState) -> &'static str {
    let rollout = facts.rollout();
    let paused = rollout.is_some_and(|rollout| rollout.paused.is_some());
    let blocked = rollout.is_some_and(|rollout| rollout.blocked.is_some());
    match state {
        RolloutState::RollingBack => "the candidate lost; the rollout is being rolled back",
        RolloutState::RolledBack if facts.has_no_stable() => {
            "the first revision was refused; nothing serves yet"
        }
        RolloutState::RolledBack => "the candidate was refused; stable serves everywhere",
        RolloutState::Promoting => "the candidate won; it is being spread over all nodes",
        RolloutState::Reverting => "promotion is being taken back; the old revision returns",
        _ if blocked => "a rollout is in progress and waits for its environment",
        _ if paused => "a rollout is in progress and waits for a person",
        RolloutState::Gating => "a rollout is in progress: the candidate answers a labelled set",
        RolloutState::Preparing => "a rollout is in progress: candidates are being started",
        RolloutState::Analyzing => {
            "a rollout is in progress: the candidate is compared with stable"
        }
        RolloutState::Inconclusive => "a rollout is in progress and came to no verdict in time",
    }
}

/// In sentences.
pub(super) fn now(facts: &Facts<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if facts.is_behind() {
        lines.push("The operator has not looked at the last edit yet; what follows is about the edit before.".to_owned());
    }
    match (facts.rollout(), facts.situation()) {
        (_, Situation::Unseen) => {}
        (Some(rollout), _) => lines.extend(rollout_now(facts, rollout)),
        (None, _) => lines.extend(serving(facts)),
    }
    lines
}

fn serving(facts: &Facts<'_>) -> Option<String> {
    let nodes = &facts.status()?.nodes;
    let of = words::counted(nodes.desired.into(), "node");
    Some(format!(
        "{} of {of} serve, {} of them what is promoted.",
        nodes.ready, nodes.updated
    ))
}

fn rollout_now(facts: &Facts<'_>, rollout: &RolloutStatus) -> Vec<String> {
    let mut lines = vec![format!(
        "Rollout {}{} to {}, {:?}.",
        rollout.id,
        from(&rollout.from),
        rollout.to,
        rollout.state
    )];
    if !rollout.gate.is_empty() {
        lines.push(format!("The gate: {}.", rollout.gate.trim_end_matches('.')));
    }
    lines.extend(match rollout.state {
        RolloutState::Gating => Some(gating(facts)),
        RolloutState::Preparing => facts.step().map(|step| preparing(facts, rollout, &step)),
        RolloutState::Analyzing | RolloutState::Inconclusive => {
            facts.step().map(|step| analyzing(rollout, &step))
        }
        RolloutState::Promoting => serving(facts),
        RolloutState::Reverting | RolloutState::RollingBack => {
            Some("No request reaches the candidate any more; its pods are being removed.".to_owned())
        }
        RolloutState::RolledBack => Some("The candidate's pods are gone, and nothing is done until spec changes or someone retries.".to_owned()),
    });
    lines
}

/// A first revision replaces nothing.
fn from(revision: &str) -> String {
    match revision {
        "" => String::new(),
        revision => format!(" from {revision}"),
    }
}

fn gating(facts: &Facts<'_>) -> String {
    let objectives = &facts.model.spec.rollout.analysis.objectives;
    let accuracy = objectives
        .iter()
        .filter(|objective| objective.r#type == ObjectiveType::Accuracy)
        .find_map(|objective| objective.accuracy.as_ref());
    let limits = accuracy.map(|accuracy| {
        format!(
            " It has to be right on at least {}, and at most {} points below stable.",
            accuracy.minimum,
            accuracy.max_drop_points.to_string().trim_end_matches('%')
        )
    });
    format!(
        "Before it gets any traffic, the candidate answers the labelled set on one node of each class.{}",
        limits.unwrap_or_default()
    )
}

fn step_name(step: &CurrentStep) -> String {
    format!(
        "Step {} of {} \"{}\"",
        step.number, step.of, step.settings.name
    )
}

fn wave(rollout: &RolloutStatus) -> String {
    let nodes = words::counted(rollout.wave.len() as u64, "node");
    match rollout.wave.is_empty() {
        true => nodes,
        false => format!("{nodes} ({})", words::list(&rollout.wave, NAMED_NODES)),
    }
}

fn preparing(facts: &Facts<'_>, rollout: &RolloutStatus, step: &CurrentStep) -> String {
    let patience = u64::from(facts.model.spec.rollout.candidate_ready_seconds);
    format!(
        "{}: candidates start on {} and have {} to become ready.",
        step_name(step),
        wave(rollout),
        words::duration(patience)
    )
}

fn analyzing(rollout: &RolloutStatus, step: &CurrentStep) -> String {
    let share = rollout.candidate_traffic_permille;
    let traffic = match share {
        0 => "no request reaches the candidate at the moment".to_owned(),
        _ => format!(
            "the candidate answers {} of the requests",
            words::permille(share)
        ),
    };
    format!("{}: on {} {traffic}.", step_name(step), wave(rollout))
}
