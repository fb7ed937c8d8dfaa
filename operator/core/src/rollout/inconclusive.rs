//! Inconclusive: no boundary in time. Routes stay, rollback stays armed; what happens next is the user's choice.

use smallfleet_analysis::verdict::promote_if_bounded;
use smallfleet_crds::OnInconclusive;
use smallfleet_crds::reason;
use smallfleet_crds::status::{PauseReason, RolloutState, RolloutStatus};

use super::analyzing::{approved, is_over, show_missing, summary, trusted};
use super::exit::{self, Moved};
use super::modifiers;
use super::preparing::keep_wave;
use crate::draft::{Cx, Draft};
use crate::look::{Evidence, Look};
use crate::{health, wave};

/// Enters the state, or does at once what the user chose for it.
pub(super) fn enter(cx: &Cx<'_>, why: &str, look: Option<&Look>, draft: &mut Draft) {
    if decide(cx, why, look, draft) == Moved::Yes {
        return;
    }
    draft.rollout().state = RolloutState::Inconclusive;
    let step = draft.rollout().step + 1;
    draft.warn(
        reason::INCONCLUSIVE,
        format!("step {step}: {why}; promote it, abort it, or give it more time"),
    );
    modifiers::pause(cx, Some(PauseReason::Inconclusive), draft);
}

pub(super) fn step(cx: &Cx<'_>, draft: &mut Draft) {
    let Some(evidence) = super::guard(cx, draft) else {
        return;
    };
    if cx.world.leader.resuming {
        return;
    }
    keep_wave(cx, draft);
    show_missing(cx, draft);
    let flag_is_back = modifiers::lower_traffic(cx, draft);
    let look = match &evidence {
        Evidence::Here(look) => Some(look.as_ref()),
        Evidence::NotYet | Evidence::Void => None,
    };
    modifiers::pause(
        cx,
        modifiers::users(cx).or(Some(PauseReason::Inconclusive)),
        draft,
    );
    if cx.held() || !cx.flag_enabled() {
        return;
    }
    let why = "no evidence decided the step in time";
    if decide(cx, why, look, draft) == Moved::Yes {
        return;
    }
    let has_time = look.is_none_or(|look| !is_over(cx, look, draft.rollout()));
    let answers =
        |rollout| wave::is_ready(cx, rollout) && health::missing(&cx.fleet, rollout).is_none();
    if has_time && answers(draft.rollout()) {
        draft.rollout().state = RolloutState::Preparing;
        modifiers::pause(cx, None, draft);
    } else if flag_is_back && was_switched_off(draft.rollout()) {
        super::preparing::raise(cx, &evidence, RolloutState::Inconclusive, draft);
    }
}

/// The flag took the traffic away. A step whose candidates were never ready had none, or that of the step before.
fn was_switched_off(rollout: &RolloutStatus) -> bool {
    rollout.candidate_traffic_permille == 0 && !rollout.granted.is_empty()
}

/// What the user chose: roll back, or go on when enough harm is excluded.
fn decide(cx: &Cx<'_>, why: &str, look: Option<&Look>, draft: &mut Draft) -> Moved {
    match cx.spec().rollout.on_inconclusive {
        OnInconclusive::RollBack => {
            let to = draft.rollout().to.clone();
            exit::roll_back(cx, exit::refusal(&to, reason::INCONCLUSIVE, why), draft)
        }
        OnInconclusive::Pause => Moved::No,
        OnInconclusive::PromoteIfBounded => match look {
            Some(look) => go_on_if_bounded(cx, look, draft),
            None => Moved::No,
        },
    }
}

fn go_on_if_bounded(cx: &Cx<'_>, look: &Look, draft: &mut Draft) -> Moved {
    let Some(assessment) = trusted(cx, look, draft) else {
        return Moved::No;
    };
    let rollout = draft.rollout();
    if !approved(rollout) {
        return Moved::No;
    }
    let passed = summary(cx, look, assessment, rollout);
    let bounded = || {
        let over = is_over(cx, look, rollout);
        promote_if_bounded(assessment).filter(|_| over)
    };
    let summary = match (passed, bounded()) {
        (Some(summary), _) => summary,
        (None, Some(words)) => {
            draft.rollout().evidence_limited = words.clone();
            format!("EvidenceLimited at the deadline: {words}")
        }
        (None, None) => return Moved::No,
    };
    look.show(draft);
    exit::forward(cx, &summary, draft)
}
