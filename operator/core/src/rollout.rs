//! A rollout: one file a state, transitions between them in `exit` and `begin`.
//!
//! A handler reads the persisted status, makes at most one transition of the draft's status, and acts only on what is persisted.

mod analyzing;
pub(crate) mod begin;
mod commands;
mod edits;
mod exit;
mod gating;
mod grants;
mod inconclusive;
mod modifiers;
mod preparing;
mod promoting;
mod reverting;
mod rolled_back;
mod rolling_back;

use smallfleet_crds::reason;
use smallfleet_crds::status::RolloutState;

use crate::constants::{EVIDENCE_TICK, ROUTE_LEASE};
use crate::desired::Desired;
use crate::draft::{Cx, Draft};
use crate::faults::{self, Finding};
use crate::look::{self, Evidence};
use crate::objects;

use exit::Moved;

/// One plan's part of a rollout with a valid spec.
pub(crate) fn advance(cx: &Cx<'_>, desired: &Desired<'_>, draft: &mut Draft) {
    objects::restore_daemon_set(cx, draft);
    if desired.hash == draft.rollout().to {
        objects::ensure_revision(cx, desired, draft);
    }
    if commands::carry_out(cx, Some(desired), draft) == Moved::Yes {
        return;
    }
    let state = draft.rollout().state;
    if edits::follow(cx, desired, state, draft) == Moved::Yes || finish_cut(cx, draft) == Moved::Yes
    {
        return;
    }
    match state {
        RolloutState::Gating => gating::step(cx, draft),
        RolloutState::Preparing => preparing::step(cx, draft),
        RolloutState::Analyzing => analyzing::step(cx, draft),
        RolloutState::Inconclusive => inconclusive::step(cx, draft),
        RolloutState::Promoting => promoting::step(cx, draft),
        RolloutState::Reverting => reverting::step(cx, draft),
        RolloutState::RollingBack => rolling_back::step(cx, draft),
        RolloutState::RolledBack => rolled_back::step(cx, desired, draft),
    }
}

/// Answers a command that has no rollout to act on.
pub(crate) fn answer(cx: &Cx<'_>, draft: &mut Draft) {
    let moved = commands::carry_out(cx, None, draft);
    debug_assert_eq!(moved, Moved::No, "there is nothing to move");
}

/// Spec cannot be followed: nothing goes forward, but harm still ends, and what is being rolled back is.
pub(crate) fn hold(cx: &Cx<'_>, draft: &mut Draft) {
    let Some(rollout) = &cx.persisted.rollout else {
        return answer(cx, draft);
    };
    if commands::carry_out(cx, None, draft) == Moved::Yes || finish_cut(cx, draft) == Moved::Yes {
        return;
    }
    match rollout.state {
        RolloutState::Preparing | RolloutState::Analyzing | RolloutState::Inconclusive => {
            guard(cx, draft);
        }
        RolloutState::Promoting => {
            promoting::guard(cx, draft);
        }
        RolloutState::Reverting => reverting::step(cx, draft),
        RolloutState::RollingBack => rolling_back::step(cx, draft),
        RolloutState::Gating | RolloutState::RolledBack => {}
    }
}

/// The routes were cut and the reason was not written: it is completed, never undone. We know our own reason. What a leader before us
/// saw is still there to be seen: faults, then evidence, say why; only when they say nothing nobody knows.
fn finish_cut(cx: &Cx<'_>, draft: &mut Draft) -> Moved {
    let rollout = draft.rollout().clone();
    if !rollout.state.is_in_step()
        || !cx.world.sessions.cut.contains(&rollout.id)
        || cx.world.leader.resuming
    {
        return Moved::No;
    }
    let own = cx.world.own_cut.as_ref();
    let own = own.filter(|own| own.rollout == rollout.id);
    if let Some(refusal) = own.and_then(|own| own.refusal.clone()) {
        return exit::roll_back(cx, refusal, draft);
    }
    if let Some(finding) = faults::of_wave(cx, draft) {
        return follow_finding(cx, finding, draft);
    }
    let refusal = match look::look(cx, &rollout) {
        Evidence::Here(look) => exit::of_evidence(&rollout, &look),
        Evidence::Void => return exit::restart(cx, EVIDENCE_LOST, draft),
        // Our own write of it may not be in the caches yet.
        Evidence::NotYet if cx.in_state() < ROUTE_LEASE => {
            draft.look_again(EVIDENCE_TICK);
            return Moved::Yes;
        }
        Evidence::NotYet => None,
    };
    match refusal {
        Some(refusal) => exit::roll_back(cx, refusal, draft),
        None if own.is_some() => exit::restart(cx, TAKEN_BACK, draft),
        None => {
            let why = "the routes were cut by a leader that was lost before it wrote why";
            let refusal = exit::refusal(&rollout.to, reason::INTERRUPTED, why);
            exit::roll_back(cx, refusal, draft)
        }
    }
}

const TAKEN_BACK: &str = "its routes were cut for a reason that holds no longer";

const EVIDENCE_LOST: &str = "its evidence was lost, so it begins anew";

/// What stays armed in every state with traffic: faults, then evidence. `Some` while the rollout goes on, with the look if there is one.
fn guard(cx: &Cx<'_>, draft: &mut Draft) -> Option<Evidence> {
    if let Some(finding) = faults::of_wave(cx, draft)
        && !cx.world.leader.resuming
    {
        follow_finding(cx, finding, draft);
        return None;
    }
    let rollout = draft.rollout().clone();
    if rollout.step == 0 && rollout.state == RolloutState::Preparing {
        return Some(Evidence::NotYet);
    }
    draft.look_again(EVIDENCE_TICK);
    let evidence = look::look(cx, &rollout);
    match &evidence {
        _ if cx.world.leader.resuming => {}
        Evidence::Here(look) => {
            if let Some(refusal) = exit::of_evidence(&rollout, look) {
                look.show(draft);
                exit::roll_back(cx, refusal, draft);
                return None;
            }
            look.keep(cx, draft);
        }
        Evidence::Void => {
            exit::restart(cx, EVIDENCE_LOST, draft);
            return None;
        }
        Evidence::NotYet => {}
    }
    Some(evidence)
}

fn follow_finding(cx: &Cx<'_>, finding: Finding, draft: &mut Draft) -> Moved {
    let to = draft.rollout().to.clone();
    match finding {
        Finding::Spec { reason, message } => {
            exit::reject(cx, exit::refusal(&to, &reason, &message), draft)
        }
        Finding::Candidate { reason, effect } => {
            exit::roll_back(cx, exit::refusal(&to, &reason, &effect), draft)
        }
    }
}
