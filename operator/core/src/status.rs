//! The status that goes with a plan: facts at once, numbers now and then, nothing at rest.

mod conditions;
mod nodes;
mod words;

use std::time::Duration;

use smallfleet_crds::status::{NodeCounts, SmallModelStatus};

use crate::constants::NUMBERS_INTERVAL;
use crate::draft::{Cx, Draft};

/// When a status is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    In(Duration),
    Never,
}

/// Fills in all that follows from the rest: counts, conditions, texts.
pub(crate) fn assemble(cx: &Cx<'_>, draft: &mut Draft) {
    sequence_of_edit(cx, draft);
    draft.status.nodes = nodes::counts(cx, &draft.status);
    draft.status.worst_nodes = nodes::worst(cx, &draft.status);
    draft.status.display = words::display(&draft.status);
    draft.status.phase = words::phase(cx, draft).to_owned();
    conditions::update(cx, draft);
    draft.status.observed_generation = cx.world.model.metadata.generation;
}

/// Flag, overrides and the like are live: an edit of spec is a new route, hence a new sequence.
fn sequence_of_edit(cx: &Cx<'_>, draft: &mut Draft) {
    let edited = cx.persisted.observed_generation != cx.world.model.metadata.generation;
    let (Some(before), Some(now)) = (&cx.persisted.rollout, &mut draft.status.rollout) else {
        return;
    };
    if edited && now.state.is_in_step() && before.id == now.id && before.sequence == now.sequence {
        now.sequence += 1;
    }
}

/// Transitions at once; what only counts at most every 10 s.
pub(crate) fn due(cx: &Cx<'_>, next: &SmallModelStatus) -> Due {
    if cx.world.model.status.is_none() || facts(&cx.persisted) != facts(next) {
        return Due::Now;
    }
    if cx.persisted == *next {
        return Due::Never;
    }
    match NUMBERS_INTERVAL.checked_sub(cx.world.clock.since_numbers) {
        None | Some(Duration::ZERO) => Due::Now,
        Some(wait) => Due::In(wait),
    }
}

/// The status without what only counts.
fn facts(status: &SmallModelStatus) -> SmallModelStatus {
    let mut facts = status.clone();
    facts.nodes = NodeCounts::default();
    facts.worst_nodes.clear();
    facts.analysis = None;
    facts.display.ready.clear();
    facts.display.evidence.clear();
    for condition in &mut facts.conditions {
        condition.message.clear();
    }
    if let Some(rollout) = &mut facts.rollout {
        rollout.exposed_seconds = 0;
        rollout.step_exposed_seconds = 0;
        if let Some(blocked) = &mut rollout.blocked {
            blocked.message.clear();
            blocked.nodes.clear();
        }
    }
    facts
}
