//! Promoting: cut, candidates away, then the DaemonSet's template.

use smallfleet_crds::reason;
use smallfleet_crds::status::RevisionRef;

use super::exit::{self, Moved};
use super::rolling_back::tell_cut;
use crate::constants::PATIENCE_TICK;
use crate::draft::{Cx, Draft};
use crate::faults::{self, Finding};
use crate::{objects, rest};

pub(super) fn step(cx: &Cx<'_>, draft: &mut Draft) {
    if guard(cx, draft) == Moved::Yes {
        return;
    }
    let to = draft.rollout().to.clone();
    tell_cut(cx, draft);
    if objects::trials_left(cx) {
        return;
    }
    objects::daemon_set(cx, &to, draft);
    if objects::template_is(cx, &to) && cx.fleet.converged_to(&to) {
        finish(cx, &to, draft);
    } else {
        draft.trouble = rest::trouble(cx, &to);
    }
}

/// What stays armed while it rolls: faults of its own pods.
pub(super) fn guard(cx: &Cx<'_>, draft: &mut Draft) -> Moved {
    draft.look_again(PATIENCE_TICK);
    let Some(Finding::Candidate { reason, effect }) = faults::of_promotion(cx, draft) else {
        return Moved::No;
    };
    let refused = exit::refusal(&draft.rollout().to, &reason, &effect);
    exit::revert(cx, Some(refused), draft)
}

/// All Ready nodes serve it: it is the stable revision.
fn finish(cx: &Cx<'_>, to: &str, draft: &mut Draft) {
    let rollout = draft.rollout().clone();
    let digest = cx
        .revision(to)
        .map_or_else(String::new, |object| object.revision.digest().to_owned());
    draft.status.stable = Some(RevisionRef {
        revision: to.to_owned(),
        digest,
    });
    draft.note(
        reason::PROMOTED,
        format!("revision {to} serves on all Ready nodes: {}", rollout.gate),
    );
    draft.status.last_rollout = Some(exit::last(&rollout, "Promoted", rollout.gate.clone()));
    draft.status.rollout = None;
}
