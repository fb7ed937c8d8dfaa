//! RollingBack: routes are cut; the pods go when nothing is sent to them any more.

use smallfleet_crds::reason;
use smallfleet_crds::status::RolloutState;

use super::exit;
use crate::action::Action;
use crate::constants::PATIENCE_TICK;
use crate::draft::{Cx, Draft};
use crate::objects;
use crate::world::OwnCut;

pub(super) fn step(cx: &Cx<'_>, draft: &mut Draft) {
    tell_cut(cx, draft);
    draft.look_again(PATIENCE_TICK);
    if objects::trials_left(cx) {
        return;
    }
    let rollout = draft.rollout().clone();
    let summary = rollout
        .refusal
        .as_ref()
        .map_or_else(String::new, |refusal| {
            format!("{}: {}", refusal.reason, refusal.effect)
        });
    let serves = if rollout.from.is_empty() {
        "nothing serves".to_owned()
    } else {
        format!("revision {} goes on serving", rollout.from)
    };
    draft.warn(
        reason::ROLLED_BACK,
        format!("{serves}; {summary}; edit spec or retry"),
    );
    draft.status.last_rollout = Some(exit::last(&rollout, "RolledBack", summary));
    let rollout = draft.rollout();
    rollout.state = RolloutState::RolledBack;
    rollout.wave.clear();
    rollout.blocked = None;
}

/// A leader that has not cut this rollout itself does so: the status that it read says that it is over.
pub(super) fn tell_cut(cx: &Cx<'_>, draft: &mut Draft) {
    let rollout = draft.rollout();
    if !rollout.wave.is_empty() && !cx.world.sessions.cut.contains(&rollout.id) {
        let cut = OwnCut {
            rollout: rollout.id.clone(),
            refusal: rollout.refusal.clone(),
        };
        draft.act(Action::Cut(Box::new(cut)));
    }
}
