//! Pauses, and the share that the candidate is to have.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use smallfleet_crds::reason;
use smallfleet_crds::status::{PauseReason, Paused, RolloutState, RolloutStatus};

use crate::draft::{Cx, Draft};

/// Sets or clears the pause; since when stays while the reason does.
pub(super) fn pause(cx: &Cx<'_>, reason: Option<PauseReason>, draft: &mut Draft) {
    let before = draft.rollout().paused.clone();
    let reason = sticky(before.as_ref()).or(reason);
    if before.as_ref().map(|paused| paused.reason) == reason {
        return;
    }
    draft.rollout().paused = reason.map(|reason| Paused {
        reason,
        since: Time(cx.world.clock.now),
    });
    match reason {
        Some(reason) => draft.warn(
            reason::ROLLOUT_PAUSED,
            format!("{reason:?}: {}", next_step(reason)),
        ),
        None => draft.note(reason::ROLLOUT_RESUMED, "the rollout goes on".to_owned()),
    }
}

/// Counts that cannot be trusted do not become trustworthy.
fn sticky(before: Option<&Paused>) -> Option<PauseReason> {
    before
        .map(|paused| paused.reason)
        .filter(|reason| *reason == PauseReason::SampleRatio)
}

fn next_step(reason: PauseReason) -> &'static str {
    match reason {
        PauseReason::User => "set spec.rollout.paused to false to go on",
        PauseReason::Approval => "the evidence is there; kubectl smallfleet promote ends the step",
        PauseReason::Inconclusive => {
            "no evidence decided the step in time; kubectl smallfleet promote or abort"
        }
        PauseReason::SampleRatio => {
            "the share of requests is not what was asked for, so the counts cannot be trusted; kubectl smallfleet abort"
        }
    }
}

/// The pause that the user asks for.
pub(super) fn users(cx: &Cx<'_>) -> Option<PauseReason> {
    cx.spec().rollout.paused.then_some(PauseReason::User)
}

/// Index of the step whose exposure is granted: while candidates of the next step start, that of the step before.
pub(super) fn exposed_step(rollout: &RolloutStatus) -> Option<u32> {
    match rollout.state {
        RolloutState::Preparing => rollout.step.checked_sub(1),
        RolloutState::Analyzing | RolloutState::Inconclusive => Some(rollout.step),
        RolloutState::Gating
        | RolloutState::Promoting
        | RolloutState::Reverting
        | RolloutState::RollingBack
        | RolloutState::RolledBack => None,
    }
}

/// The share that the candidate is to have now.
pub(super) fn wanted_permille(cx: &Cx<'_>, rollout: &RolloutStatus) -> u32 {
    let mistrusted = sticky(rollout.paused.as_ref()).is_some();
    if mistrusted || !cx.flag_enabled() {
        return 0;
    }
    let steps = rollout.frozen.as_ref().map(|frozen| &frozen.steps);
    let step = exposed_step(rollout).and_then(|step| steps?.get(step as usize));
    step.map_or(0, |step| step.candidate_traffic.permille())
}

/// Lowers the share at once where less is wanted. Says whether more is wanted than is granted.
pub(super) fn lower_traffic(cx: &Cx<'_>, draft: &mut Draft) -> bool {
    let rollout = draft.rollout();
    let wanted = wanted_permille(cx, rollout);
    if wanted < rollout.candidate_traffic_permille {
        rollout.candidate_traffic_permille = wanted;
        rollout.sequence += 1;
    }
    wanted > rollout.candidate_traffic_permille
}
