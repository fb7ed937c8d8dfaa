//! Edits in the middle of a rollout (`rollout.md` 4).

use smallfleet_analysis::constants::ANALYSIS_VERSION;
use smallfleet_crds::LatencySignal;
use smallfleet_crds::status::{RolloutState, RolloutStatus};

use super::exit::{self, Left, Moved};
use crate::constants::COIN_VERSION;
use crate::desired::Desired;
use crate::draft::{Cx, Draft};
use crate::settings;

/// Follows an edit of spec where the state allows it; RollingBack, Reverting and a third revision while Promoting wait.
pub(super) fn follow(
    cx: &Cx<'_>,
    desired: &Desired<'_>,
    state: RolloutState,
    draft: &mut Draft,
) -> Moved {
    let rollout = draft.rollout().clone();
    match state {
        RolloutState::Gating
        | RolloutState::Preparing
        | RolloutState::Analyzing
        | RolloutState::Inconclusive => {
            if desired.hash == rollout.from {
                exit::leave(cx, Left::Cancelled, draft)
            } else if desired.hash != rollout.to {
                exit::leave(cx, Left::Superseded, draft)
            } else if settings_changed(cx, &rollout) {
                exit::restart(cx, "steps or analysis were edited", draft)
            } else {
                Moved::No
            }
        }
        RolloutState::Promoting if desired.hash == rollout.from => exit::revert(cx, None, draft),
        RolloutState::Promoting
        | RolloutState::Reverting
        | RolloutState::RollingBack
        | RolloutState::RolledBack => Moved::No,
    }
}

/// What the verdict depends on is not what spec asks for, or not what this version computes.
pub(super) fn settings_changed(cx: &Cx<'_>, rollout: &RolloutStatus) -> bool {
    let wanted = &cx.spec().rollout;
    let signal = settings::default_signal(cx.spec().task);
    let analysis = settings::resolved(&wanted.analysis, signal);
    rollout.frozen.as_ref().is_none_or(|frozen| {
        settings::resolved(&frozen.analysis, LatencySignal::Total) != analysis
            || frozen.steps != wanted.steps
            || frozen.analysis_version != ANALYSIS_VERSION
            || frozen.coin_version != COIN_VERSION
    })
}
