//! Preparing: candidates of a step start. What was granted in the step before stays granted.

use smallfleet_crds::Step;
use smallfleet_crds::reason;
use smallfleet_crds::status::{RolloutState, RolloutStatus};

use super::exit;
use super::{grants, inconclusive, modifiers};
use crate::constants::NOTHING_SERVES_PATIENCE;
use crate::draft::{Cx, Draft};
use crate::look::{self, Evidence};
use crate::wave;

pub(super) fn step(cx: &Cx<'_>, draft: &mut Draft) {
    let Some(evidence) = super::guard(cx, draft) else {
        return;
    };
    if cx.world.leader.resuming {
        return;
    }
    if nothing_serves(cx) && !cx.held() {
        exit::promote(
            cx,
            "no Ready pod of the stable revision is left anywhere",
            draft,
        );
        return;
    }
    keep_wave(cx, draft);
    modifiers::pause(cx, modifiers::users(cx), draft);
    let flag_is_back = modifiers::lower_traffic(cx, draft);
    if cx.held() || !cx.flag_enabled() {
        return;
    }
    let settled = draft.rollout().wave == persisted(cx).wave;
    if settled && wave::is_ready(cx, draft.rollout()) {
        raise(cx, &evidence, RolloutState::Analyzing, draft);
    } else if flag_is_back {
        raise(cx, &evidence, RolloutState::Preparing, draft);
    } else if late(cx, draft) {
        let message =
            "its candidates are not ready after candidateReadySeconds, and nothing says why";
        inconclusive::enter(cx, message, None, draft);
    }
}

fn persisted<'c>(cx: &'c Cx<'_>) -> &'c RolloutStatus {
    cx.persisted
        .rollout
        .as_ref()
        .expect("the states of a rollout are entered with a rollout in status only")
}

/// The wave of the step and its pods.
pub(super) fn keep_wave(cx: &Cx<'_>, draft: &mut Draft) {
    let nodes = current_step(draft.rollout()).map(|step| step.nodes.clone());
    let size = nodes.map_or(1, |nodes| wave::size(cx, &nodes));
    wave::upkeep(cx, size, draft);
    grants::replace_lost(cx, draft);
    wave::pods(cx, draft);
}

pub(super) fn current_step(rollout: &RolloutStatus) -> Option<&Step> {
    rollout.frozen.as_ref()?.steps.get(rollout.step as usize)
}

/// Nothing serves, and nothing has for a while: there is nothing left to protect.
pub(super) fn nothing_serves(cx: &Cx<'_>) -> bool {
    cx.world.clock.nothing_serves_for >= NOTHING_SERVES_PATIENCE
}

fn late(cx: &Cx<'_>, draft: &mut Draft) -> bool {
    draft.rollout().blocked.is_none() && cx.in_state() >= cx.candidate_ready_limit()
}

/// Raises the share: evidence and status are persisted, routes follow from them.
pub(super) fn raise(cx: &Cx<'_>, evidence: &Evidence, state: RolloutState, draft: &mut Draft) {
    let rollout = draft.rollout();
    let begins = rollout.state == RolloutState::Preparing && state == RolloutState::Analyzing;
    rollout.state = state;
    let wanted = modifiers::wanted_permille(cx, rollout);
    rollout.candidate_traffic_permille = wanted;
    if begins {
        grants::all(rollout);
    }
    rollout.sequence += 1;
    let (id, nodes, step) = (rollout.id.clone(), rollout.granted.len(), rollout.step + 1);
    let store = match evidence {
        Evidence::Here(look) => look.next_store(cx),
        Evidence::NotYet | Evidence::Void => {
            let stored = look::stored(cx);
            if stored.rollout == id {
                stored
            } else {
                look::fresh_store(cx, &id)
            }
        }
    };
    look::save(cx, store, draft);
    draft.note(
        reason::TRAFFIC_RAISED,
        format!(
            "step {step}: the candidate answers {}.{} % of the requests on {nodes} nodes",
            wanted / 10,
            wanted % 10
        ),
    );
}
