//! Reverting: the template goes back to the revision that served before.

use smallfleet_crds::reason;
use smallfleet_crds::status::RolloutState;

use super::exit;
use super::rolling_back::tell_cut;
use crate::constants::PATIENCE_TICK;
use crate::draft::{Cx, Draft};
use crate::objects;

pub(super) fn step(cx: &Cx<'_>, draft: &mut Draft) {
    draft.look_again(PATIENCE_TICK);
    tell_cut(cx, draft);
    let rollout = draft.rollout().clone();
    objects::revert_daemon_set(cx, &rollout.from, &rollout.id, draft);
    let of_new = |pod: &&&crate::world::PodView| pod.revision == rollout.to && !pod.deleting;
    // A silent node ends its pod when it is back.
    let mut reached = cx.fleet.serving().filter(|site| site.node.ready);
    let left = reached.any(|site| site.stable.iter().find(of_new).is_some());
    if left || !objects::template_is(cx, &rollout.from) || !objects::is_reverted(cx, &rollout.id) {
        return;
    }
    if let Some(refusal) = &rollout.refusal {
        let summary = format!("{}: {}", refusal.reason, refusal.effect);
        draft.warn(
            reason::ROLLED_BACK,
            format!("revision {} serves again; {summary}", rollout.from),
        );
        draft.status.last_rollout = Some(exit::last(&rollout, "RolledBack", summary));
        draft.rollout().state = RolloutState::RolledBack;
    } else {
        let summary = format!("spec went back to revision {}", rollout.from);
        draft.note(reason::ROLLOUT_ENDED, format!("Cancelled: {summary}"));
        draft.status.last_rollout = Some(exit::last(&rollout, "Cancelled", summary));
        draft.status.rollout = None;
    }
}
